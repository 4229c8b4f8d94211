"""Published figures: which results may stand beside them, and what is said of the difference."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench import anchors, catalog, targets
from bench.environment import environment
from bench.machine import observe
from bench.records import Job, Procedure, Provenance, Reported, TensorSpec
from bench.store import Store
from tests.builders import ENVIRONMENT, measurement, ok, refused

if TYPE_CHECKING:
    from pathlib import Path

    from bench.records import Result

T4_FP16 = 1.03  # ms, resnet50, device: as published


def ran(
    ms: float = T4_FP16,
    *,
    model: str = "resnet50",
    target: str = "t4-fp16",
    hardware: str = "Tesla T4",
    size: int = 224,
    flags: dict[str, Any] | None = None,
    **how: Any,
) -> Result:
    (chosen,) = targets.select([target])
    procedure = Procedure(**{"window": "device", **how})
    made = ok(model=f"timm:{model}")
    assert made.model is not None
    measured = measurement(centre_ns=ms * 1e6, noise=0.001)
    return replace(
        made,
        job=Job(f"timm:{model}", chosen, procedure=procedure),
        model=replace(made.model, inputs=(TensorSpec("input", (None, 3, size, size), "float32"),)),
        environment=replace(
            ENVIRONMENT, hardware=hardware, flags=flags or {}, versions={"tensorrt": "10.9.0"}
        ),
        measurement=replace(measured, window=procedure.window),
    )


def found(*results: Result, model: str = "resnet50", target: str = "t4-fp16") -> Any:
    """The comparison with Deci's own figure of the window device."""
    every = anchors.compare(anchors.select([model], [target]), results)
    (deci,) = [
        each
        for each in every
        if each.anchor.table.source.startswith("deci") and each.anchor.table.windows[0] == "device"
    ]
    return deci


def test_every_anchor_is_whole() -> None:
    for anchor in anchors.published():
        assert targets.hardware(anchor.table.hardware)
        assert 0 < anchor.least_ms <= anchor.most_ms < 1000
        assert anchor.names
        assert anchor.source.title


def test_the_issues_figures_are_there() -> None:
    wanted = {
        ("t4-fp16", "device"): {
            "resnet18": 0.52,
            "resnet50": 1.03,
            "mobilenet_v2": 0.46,
            "mobilenet_v3_large": 0.67,
            "efficientnet_b0": 0.93,
            "vit_base": 4.46,
        },
        ("xavier-nx-fp16", "device"): {"resnet18": 2.01, "resnet50": 4.78, "mobilenet_v2": 1.65},
        ("cascade-lake-fp32", "device"): {
            "resnet18": 4.56,
            "resnet50": 9.25,
            "mobilenet_v2": 1.56,
        },
    }
    kept = {
        (anchor.target, anchor.table.windows[0], anchor.model): anchor.least_ms
        for anchor in anchors.published()
        if anchor.table.source.startswith("deci")
    }
    for (target, window), figures in wanted.items():
        for model, ms in figures.items():
            assert kept[target, window, model] == ms


@pytest.mark.slow
def test_the_names_are_the_zoos_own() -> None:
    from bench.cache import Cache, default_root

    known = {
        n for zoo in ("timm", "torchvision") for n in catalog.names(zoo, Cache(default_root()))
    }
    for anchor in anchors.published():
        assert set(anchor.names) <= known


@pytest.mark.parametrize(
    ("ms", "verdict"),
    [(1.03, "WITHIN"), (1.22, "WITHIN"), (1.25, "SLOWER"), (0.84, "WITHIN"), (0.81, "FASTER")],
)
def test_a_fifth_off_is_out_of_band(ms: float, verdict: str) -> None:
    one = found(ran(ms))
    assert one.verdict == verdict
    assert bool(one.causes) is (verdict != "WITHIN")
    assert one.ratio == pytest.approx(ms / 1.03, rel=0.01)


@pytest.mark.parametrize("ms", [0.66, 0.82, 0.9, 0.99, 1.19])
def test_between_several_logs_is_within(ms: float) -> None:
    result = ran(ms, target="t4-int8", window="io")
    every = anchors.compare(anchors.select(["resnet50"], ["t4-int8"]), [result])
    (mlperf,) = [each for each in every if each.anchor.table.source == "mlperf"]
    assert mlperf.verdict == "WITHIN"
    assert (mlperf.ratio == 1) is (0.816 <= ms <= 0.998)


@pytest.mark.parametrize(
    "other",
    [
        {"hardware": "NVIDIA H100 80GB HBM3"},
        {"hardware": "NVIDIA T400"},
        {"hardware": "no GPU"},
        {"target": "t4-int8"},
        {"model": "resnet101"},
        {"batch": 8},
        {"streams": 2},
        {"window": "io"},
        {"size": 160},
    ],
)
def test_a_result_of_something_else_never_matches(other: dict[str, Any]) -> None:
    assert found(ran(**other)).verdict == "NOT MEASURED"


def test_an_invalid_or_failed_result_never_matches() -> None:
    fast, slow = (measurement(centre_ns=ms * 1e6).processes[0] for ms in (0.5, 1.5))
    one = ran()
    assert one.measurement
    wide = replace(one, measurement=replace(one.measurement, processes=(fast, slow)))
    assert found(wide).verdict == "NOT MEASURED"
    assert found(replace(ran(), measurement=None)).verdict == "NOT MEASURED"


def test_a_run_elsewhere_anyway_is_of_the_hardware_it_saw() -> None:
    elsewhere = ran(target="xavier-nx-fp16", hardware="Tesla T4")
    assert found(elsewhere).verdict == "WITHIN"
    assert found(elsewhere, target="xavier-nx-fp16").verdict == "NOT MEASURED"


def test_the_newest_counts() -> None:
    old, new = ran(1.0), replace(ran(2.0), started_at="2026-12-01T00:00:00.000+00:00")
    assert found(new, old).verdict == "SLOWER"
    assert found(old, new).verdict == "SLOWER"


def imported(ms: float = T4_FP16, samples: int = 600, **how: Any) -> Result:
    """The same as trtexec would have measured it, later."""
    one = ran(ms, **how)
    assert one.measurement
    (run, *_) = one.measurement.processes
    run = replace(run, blocks_ns=(tuple(round(ms * 1e6) for _ in range(samples)),))
    return replace(
        one,
        started_at="2026-12-24T00:00:00.000+00:00",
        measurement=replace(one.measurement, processes=(run,)),
        provenance=Provenance("trtexec", "8.5.2", ("times.json",), "0" * 64),
        notes=("trtexec warned: of something",),
    )


def test_the_more_believable_counts_before_the_newer() -> None:
    for results in ([ran(1.0), imported(2.0)], [imported(2.0), ran(1.0)]):
        assert found(*results).row["measured_by"] == "bench"  # VALID before NOISY
    few = replace(imported(2.0, samples=10), started_at="2026-12-25T00:00:00.000+00:00")
    assert found(few, imported(1.0)).verdict == "WITHIN"
    assert found(few).verdict == "SLOWER"


@pytest.mark.parametrize("ms", [0.5, 1.03, 2.0])
def test_a_few_inferences_decide_nothing(bench: Any, ms: float) -> None:
    one = found(imported(ms, samples=9))
    assert (one.verdict, one.ratio) == ("UNDECIDED", None)
    told = Reported("device", 3, ms, ms, ms, ms, 0.01)
    assert found(replace(ran(), measurement=None, reported=told)).verdict == "UNDECIDED"
    Store().append(imported(ms, samples=9))
    done = bench("anchors", "-m", "resnet50", "-t", "t4-fp16")
    assert "no verdict:\n  - inferences timed here: 9; fewer than 10 say nothing" in done.err


def test_what_the_log_told_is_used(bench: Any) -> None:
    told = {"max_clock": "1.59 GHz", "idle_time": "50ms"}
    Store().append(imported(2.0, flags=told))
    done = bench("anchors", "-m", "resnet50", "-t", "t4-fp16")
    assert "trtexec 8.5.2 measured here, with a stopwatch of its own (events on the GPU" in done.err
    assert "1.59 GHz at most" in done.err
    assert "50ms of idling between inferences" in done.err
    assert done.err.count("note: resnet50 @ t4-fp16: trtexec warned: of something") == 1
    assert not any("idling" in cause for cause in found(imported(2.0)).causes)
    assert not any("stopwatch" in cause for cause in found(ran(2.0)).causes)
    every = bench("anchors", "--json", "-m", "resnet50", "-t", "t4-fp16").json
    measured = [each["measured"] for each in every if each["measured"]]
    assert {each["samples"] for each in measured} == {600}
    assert all(each["notes"] == ["trtexec warned: of something"] for each in measured)


def test_a_board_and_what_its_log_says() -> None:
    how = {"target": "xavier-nx-fp16"}
    for name in ("NVIDIA Jetson Xavier NX Developer Kit", "Xavier, 6 SMs"):
        assert found(ran(4.8, hardware=name, **how), target="xavier-nx-fp16").verdict == "WITHIN"
    for name in ("Xavier, 8 SMs", "NVIDIA Jetson AGX Xavier", "Jetson Orin NX"):
        one = found(ran(4.8, hardware=name, **how), target="xavier-nx-fp16")
        assert one.verdict == "NOT MEASURED"


def test_a_cpu_is_known_by_its_numbers() -> None:
    how = {"target": "cpu-openvino-fp32", "hardware": "Intel(R) Xeon(R) Gold 6230, 20 cores"}
    for cpuid, verdict in (
        ("6-85-7", "WITHIN"),
        ("6-85-4", "NOT MEASURED"),
        (None, "NOT MEASURED"),
    ):
        flags = {"cpuid": cpuid} if cpuid else {}
        one = found(ran(9.25, flags=flags, **how), target="cascade-lake-fp32")
        assert one.verdict == verdict


def test_a_result_has_the_numbers_of_its_cpu() -> None:
    here = observe()
    seen = environment(targets.select(["cpu-ort-fp32"])[0])
    wanted = f"{here.family}-{here.model}-{here.stepping}" if here.family >= 0 else None
    assert seen.flags.get("cpuid") == wanted


def test_a_figure_without_samples_counts_and_says_so() -> None:
    told = Reported("device", 700, 1.5, 1.5, 1.4, 9.0, 0.01)
    one = found(replace(ran(), measurement=None, reported=told))
    assert one.verdict == "SLOWER"
    assert one.measured_ms == 1.5


@pytest.mark.parametrize(
    ("flags", "ms", "word"),
    [
        ({"cuda_graph": False}, 2.0, "CUDA graph is off here and may be on in the source"),
        ({"cuda_graph": True}, 0.5, "CUDA graph is on here and may be off in the source"),
        ({"cuda_graph": True}, 2.0, "cannot be the cause"),
        ({}, 2.0, "CUDA graph: not known here"),
        ({}, 2.0, "nvidia-smi -lgc"),
        ({"gpu_clocks": "585 to 1590 MHz"}, 2.0, "585 to 1590 MHz"),
        ({}, 2.0, "TensorRT 10.9.0 here, unstated there"),
    ],
)
def test_causes(flags: dict[str, Any], ms: float, word: str) -> None:
    one = found(ran(ms, flags=flags))
    assert any(word in cause for cause in one.causes), one.causes


def test_the_command(bench: Any) -> None:
    Store().append(ran(1.4))
    done = bench("anchors", "-m", "resnet50", "-t", "t4-*")
    assert done.status == 0
    line = next(line for line in done.out.splitlines() if "SLOWER" in line)
    assert line.split()[:5] == ["resnet50", "t4-fp16", "device", "deci", "1.03"]
    assert max(map(len, done.out.splitlines())) <= 80
    assert "it may be:" in done.err
    assert "super-gradients" in done.err


def test_what_is_published_is_never_shown_as_measured(bench: Any) -> None:
    done = bench("anchors")
    assert done.status == 0
    rows = [line.split() for line in done.out.splitlines() if "NOT MEASURED" in line]
    assert len(rows) == len(anchors.published())
    assert all(row[-3:] == ["-", "NOT", "MEASURED"] for row in rows)
    for each in bench("anchors", "--json").json:
        assert each["measured"] is None
        assert each["ratio"] is None
        assert each["published"]["source"]


def test_a_target_is_never_cut_in_80_columns(bench: Any) -> None:
    Store().append(ran(1.4))
    lines = bench("anchors").out.splitlines()
    assert max(map(len, lines)) <= 80
    words = {word for line in lines for word in line.split()}
    assert {anchor.target for anchor in anchors.published()} <= words
    assert {anchor.table.source for anchor in anchors.published()} <= words


def test_json(bench: Any) -> None:
    Store().append(ran(1.4))
    every = bench("anchors", "--json", "-m", "timm:resnet50", "-t", "t4-fp16").json
    one = next(each for each in every if each["verdict"] == "SLOWER")
    assert one["published"]["ms"] == [1.03, 1.03]
    assert one["measured"]["p50_ms"] == pytest.approx(1.4, rel=0.01)
    assert one["measured"]["hardware"] == "Tesla T4"
    assert one["ratio"] == pytest.approx(1.36, rel=0.01)


def test_a_filter_that_names_nothing(bench: Any, tmp_path: Path) -> None:
    done = bench("anchors", "-m", "resnet5")
    assert done.status == 2
    assert "did you mean" in done.err
    done = bench("anchors", "-t", "h100-*")
    assert done.status == 2
    assert "t4-fp16" in done.err


def test_refusals_are_sentences() -> None:
    from bench.errors import UsageError

    with refused(UsageError, "nothing published"):
        anchors.select([], ["x"])
