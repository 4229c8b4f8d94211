"""Other tools' files: what they tell becomes a row, what they leave open is refused, and nothing is
made up."""

from __future__ import annotations

import json
import os
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.store import Store
from tests import foreign_files as files
from tests.builders import message_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = ["--model", "builtin:digits-resnet"]
XEON = ["--hardware", "Intel Xeon Gold 6230, 20 cores"]


@pytest.fixture
def bring(bench: Any) -> Any:
    """`bring("trtexec", file, log, "t4-fp16")`: bench import."""

    def call(source: str, file: Path, log: Path | None, target: str, *more: str) -> Any:
        told = ["--log", log] if log else []
        return bench("import", file, "--from", source, *told, "-t", target, *MODEL, *more)

    return call


def rows(bench: Any) -> list[dict[str, Any]]:
    listed = bench("list", "results", "--json")
    return json.loads(listed.out) if listed.out else []


def refused(done: Any, *words: str) -> None:
    assert done.status == 2
    assert done.err.startswith("bench: ")
    assert len(done.err.splitlines()) == 1
    for word in words:
        assert word in done.err


@pytest.mark.parametrize(
    ("how", "flags"),
    [
        ({"version": "8.5.2"}, {"cuda_graph": False, "transfers": True, "spin_wait": False}),
        ({"version": "10.9.0"}, {"cuda_graph": False, "transfers": True, "spin_wait": False}),
        (
            {
                "version": "11.1.0",
                "precision": "Strongly Typed",
                "graph": "Enabled",
                "spin": "Enabled",
                "transfers": "Disabled",
            },
            {"cuda_graph": True, "transfers": False, "spin_wait": True},
        ),
    ],
    ids=["8.5", "10.9", "11.1"],
)
def test_trtexec(
    bench: Any, bring: Any, tmp_path: Path, how: dict[str, Any], flags: dict[str, bool]
) -> None:
    entries = files.times(transfers=flags["transfers"])
    done = bring("trtexec", *files.trtexec(tmp_path, entries=entries, **how), "t4-fp16")
    assert done.status == 0, done.err
    (row,) = rows(bench)
    assert row["measured_by"] == f"trtexec {how['version']}"
    assert row["environment"]["versions"] == {"tensorrt": how["version"]}
    assert row["hardware"] == "Tesla T4"
    assert (row["model"], row["target"], row["batch"]) == ("digits-resnet", "t4-fp16", 1)
    assert flags.items() <= row["environment"]["flags"].items()
    assert row["environment"]["flags"]["inputs"] == "input=1x3x224x224"
    latency = row["latency"]
    assert latency["window"] == "device"
    assert latency["samples"] == 600
    assert latency["processes"] == 1
    assert latency["ci95_ms"] is None  # ours is an interval over processes
    assert latency["canary_ratio"] is None
    assert latency["p50_ms"] == pytest.approx(median(entry["computeMs"] for entry in entries))
    assert row["started_at"] == "2026-11-20T10:11:12.000+00:00"
    # What trtexec does not measure is not there, rather than 0.
    assert row["accuracy"] is row["load_ms"] is row["first_ms"] is row["peak_rss_mb"] is None
    assert row["verdict"] == "NOISY"
    assert any("in one process" in reason for reason in row["reasons"])
    told = any("does not tell the precision" in note for note in row["notes"])
    assert told is (how["version"] == "11.1.0")
    assert any("unstable" in note for note in row["notes"])


@pytest.mark.parametrize(
    ("version", "warning"),
    [
        (
            "8.5.2",
            "The specified --useCudaGraph flag has been ignored. The inference will be launched "
            "without using CUDA graph launch.",
        ),
        (
            "11.1.0",
            "CUDA graph capture failed. The inference will be launched without using CUDA graph.",
        ),
    ],
)
def test_a_cuda_graph_that_could_not_be_captured_was_none(
    bench: Any, bring: Any, tmp_path: Path, version: str, warning: str
) -> None:
    """trtexec prints its options, captures, and warns where that failed."""
    json_file, log = files.trtexec(tmp_path, version=version, graph="Enabled")
    text = log.read_text()
    (start,) = [line for line in text.splitlines() if "Starting inference" in line]
    stamp = start.split()[0]
    told = f"{stamp} [W] The CUDA graph capture on the stream has failed.\n{stamp} [W] {warning}\n"
    log.write_text(text.replace(start, told + start))
    assert bring("trtexec", json_file, log, "t4-fp16").status == 0
    (row,) = rows(bench)
    assert row["environment"]["flags"]["cuda_graph"] is False
    assert f"trtexec warned: {warning}" in row["notes"]


def test_the_window_io_is_latency_and_needs_transfers(
    bench: Any, bring: Any, tmp_path: Path
) -> None:
    entries = files.times()
    json_file, log = files.trtexec(tmp_path, entries=entries)
    assert bring("trtexec", json_file, log, "t4-fp16", "--window", "io").status == 0
    (row,) = rows(bench)
    assert row["latency"]["window"] == "io"
    assert row["latency"]["p50_ms"] == pytest.approx(median(e["latencyMs"] for e in entries))
    json_file, log = files.trtexec(
        tmp_path, entries=files.times(transfers=False), transfers="Disabled"
    )
    refused(bring("trtexec", json_file, log, "t4-fp16", "--window", "io"), "transfers were off")


def test_a_drift_within_the_file_is_seen(bench: Any, bring: Any, tmp_path: Path) -> None:
    """The samples are in blocks of a tenth of a second, so that the verdict's own rules apply."""
    entries = files.times(3000)
    for i, entry in enumerate(entries):
        entry["computeMs"] *= 1 + 0.09 * i / len(entries)
    assert bring("trtexec", *files.trtexec(tmp_path, entries=entries), "t4-fp16").status == 0
    (row,) = rows(bench)
    assert any("drifted by +" in reason for reason in row["reasons"])


@pytest.mark.parametrize("form", ["trtexec", "csv"])
def test_what_is_advised_can_be_done(bench: Any, bring: Any, tmp_path: Path, form: str) -> None:
    if form == "trtexec":
        entries = files.times()
        for i, entry in enumerate(entries):
            entry["computeMs"] *= 1 + i // 100 % 2 * 0.06
        pair = files.trtexec(tmp_path, entries=entries)
        assert bring("trtexec", *pair, "t4-fp16").status == 0
    else:
        path = tmp_path / "samples.csv"
        path.write_text(CSV + samples() + samples().replace("\n10", "\n11"))
        assert bring("csv", path, None, "cpu-ort-fp32").status == 0
    (row,) = rows(bench)
    (why,) = [reason for reason in row["reasons"] if "wanted" in reason]
    assert "--" not in why
    assert "measure for longer" in why
    assert ("one process" in why) is (row["latency"]["ci95_ms"] is None) is (form == "trtexec")
    assert bench("list", "results").status == 0
    assert bench("report", "--format", "md", "--format", "csv", "--out", tmp_path).status == 0
    assert bench("export", "--format", "csv").status == 0


def test_warm_ups_that_an_old_trtexec_exports_are_not_samples(
    bench: Any, bring: Any, tmp_path: Path
) -> None:
    entries = files.times(620)
    for entry in entries[:20]:
        entry["computeMs"] = 9.0
    done = bring("trtexec", *files.trtexec(tmp_path, entries=entries, queries=600), "t4-fp16")
    assert done.status == 0
    (row,) = rows(bench)
    assert row["latency"]["samples"] == 600
    assert row["latency"]["max_ms"] < 2


def test_a_board_is_told_from_its_sister_by_its_sms(bring: Any, bench: Any, tmp_path: Path) -> None:
    """The CUDA runtime calls the GPUs of Xavier NX and AGX Xavier the same."""
    int8 = {"precision": "FP32+FP16+INT8"}
    done = bring(
        "trtexec", *files.trtexec(tmp_path, device=files.AGX_XAVIER, **int8), "xavier-nx-int8"
    )
    refused(done, "needs an NVIDIA Jetson Xavier NX", "8 SMs")
    done = bring(
        "trtexec", *files.trtexec(tmp_path, device=files.XAVIER_NX, **int8), "xavier-nx-int8"
    )
    assert done.status == 0
    assert rows(bench)[0]["hardware"] == "Xavier, 6 SMs"


def test_the_same_files_are_one_result(bench: Any, bring: Any, tmp_path: Path) -> None:
    pair = files.trtexec(tmp_path)
    assert "1 result imported" in bring("trtexec", *pair, "t4-fp16").err
    for file in pair:
        os.utime(file, (1, 1))
    assert "in the store already" in bring("trtexec", *pair, "t4-fp16").err
    assert len(rows(bench)) == 1
    assert bring("trtexec", *pair, "t4-fp16", "--window", "io").status == 0
    assert len(rows(bench)) == 2


def test_an_imported_result_is_neither_baseline_nor_side(
    bench: Any, bring: Any, tmp_path: Path
) -> None:
    bring("trtexec", *files.trtexec(tmp_path), "t4-fp16")
    name = rows(bench)[0]["id"]
    refused(bench("baseline", "set", "main", name), "was imported")
    refused(bench("baseline", "set", "main"), "no good result")
    refused(bench("compare", name, name), "measured by trtexec")


def test_an_imported_result_survives_export_and_import(
    bench: Any, bring: Any, tmp_path: Path
) -> None:
    bring("trtexec", *files.trtexec(tmp_path), "t4-fp16")
    bench("export", "--out", tmp_path / "all.jsonl")
    again = tmp_path / "again.db"
    assert bench("import", tmp_path / "all.jsonl", "--store", again).status == 0
    assert Store(str(again)).read() == Store().read()


def test_a_report_keeps_it_apart(bench: Any, bring: Any, tmp_path: Path) -> None:
    bring("trtexec", *files.trtexec(tmp_path), "t4-fp16")
    report, log = files.benchmark_app(tmp_path)
    bring("benchmark_app", report, log, "cpu-openvino-fp32", *XEON)
    assert bench("report", "--format", "md", "--out", tmp_path / "r").status == 0
    text = (tmp_path / "r" / "results.md").read_text()
    assert "Measured 2026-11-20 by trtexec 8.5.2." in text
    _, told = text.split("## Reported by other tools")
    assert "no samples" in told
    assert "| 1.31 | 728 |" in told


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"device": ("NVIDIA A10", "8.6", 72)}, ["needs an NVIDIA T4", "NVIDIA A10"]),
        ({"device": ("NVIDIA T400", "7.5", 6)}, ["needs an NVIDIA T4", "T400"]),
        ({"precision": "FP32"}, ["built as FP32", "t4-fp16 is fp16"]),
        ({"precision": "FP32+FP16+INT8"}, ["INT8", "fp16"]),
        ({"dla": "0"}, ["DLA core 0"]),
        ({"queries": 599, "warmups": 20}, ["600 inferences", "599", "not of the same run"]),
        ({"median": 1.4}, ["median", "not of the same run"]),
        ({"graph": ""}, ["CUDA Graph"]),
        ({"streams": "two"}, ["Inference Streams", "no number"]),
        ({"shape": "0x3"}, ["one batch size"]),
    ],
)
def test_a_log_that_tells_of_something_else(
    bench: Any, bring: Any, tmp_path: Path, how: dict[str, Any], words: list[str]
) -> None:
    refused(bring("trtexec", *files.trtexec(tmp_path, **how), "t4-fp16"), *words)
    assert rows(bench) == []


@pytest.mark.parametrize("engine", ["net.plan", ""])
def test_tf32_is_no_fp32(
    bring: Any, tmp_path: Path, own_targets: Callable[[str], Path], engine: str
) -> None:
    own_targets(
        '[hardware.a10]\nname = "an A10"\ndevice = "gpu"\ngpu = "A10"\n'
        '[target.a10-fp32]\nhardware = "a10"\nrunner = "tensorrt"\nprecision = "fp32"\n'
    )
    how = {"device": ("NVIDIA A10", "8.6", 72), "precision": "FP32", "engine": engine}
    pair = files.trtexec(tmp_path, version="10.9.0", **how)
    log = pair[1].read_text().replace("=== Model", "TF32 is enabled by default.\n=== Model", 1)
    pair[1].write_text(log)
    done = bring("trtexec", *pair, "a10-fp32")
    if engine:  # whether the engine was built with it, its log does not tell
        assert done.status == 0
        assert "does not tell the precision" in done.err
    else:
        refused(done, "TF32", "--noTF32")


def without(line: str) -> Any:
    def change(text: str) -> str:
        kept = [each for each in text.splitlines() if line not in each]
        assert len(kept) < len(text.splitlines())
        return "\n".join(kept)

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (without("Data transfers"), "Data transfers"),
        (without("CUDA Graph"), "CUDA Graph"),
        (without("Spin-wait"), "Spin-wait"),
        (without("Streams"), "Streams"),
        (without("TensorRT version"), "TensorRT version"),
        (without("Selected Device"), "Selected Device"),
        (without("binding for"), "one batch size"),
        (without("Timing trace"), "Timing trace has"),
        (without("PASSED"), "PASSED"),
        (without("RUNNING"), "not what trtexec printed"),
        (lambda text: text[: len(text) // 2], "PASSED"),
        (lambda text: text + text, "2 runs"),
        (lambda text: text.replace("PASSED", "FAILED"), "PASSED"),
        (lambda _: "", "not what trtexec printed"),
        (lambda _: "\0\1\2", "binary"),
        (lambda _: "[]", "not what trtexec printed"),
        (lambda text: text.replace("SMs: 40", "SMs: ²"), "SMs is '²'"),
        (lambda text: text.replace("has 600", f"has {'6' * 5000}"), "Timing trace has"),
        (lambda text: text.replace("1x3x224", f"{'1' * 5000}x3x224"), "one batch size"),
        (lambda text: text.replace("median = ", "median = 1e999"), "GPU Compute Time"),
        (lambda text: text.replace("Capability: 7.5", "Capability: x"), "Compute Capability"),
    ],
)
def test_a_log_that_leaves_open_what_was_measured(
    bench: Any, bring: Any, tmp_path: Path, change: Any, word: str
) -> None:
    json_file, log = files.trtexec(tmp_path)
    log.write_text(change(log.read_text()))
    refused(bring("trtexec", json_file, log, "t4-fp16"), word)
    assert rows(bench) == []


def first(**changed: Any) -> Any:
    return lambda entries: [{**entries[0], **changed}, *entries[1:]]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (first(computeMs=-1.0), "entry 1: computeMs is -1"),
        (first(computeMs=0), "no inference takes that long"),
        (first(computeMs="1.0"), "not a time"),
        (first(computeMs=True), "not a time"),
        (first(computeMs=1e300), "no inference takes that long"),
        (first(computeMs=10**400), "entry 1: computeMs is inf"),
        (first(startComputeMs=10**400), "entry 1: startComputeMs is inf"),
        (first(startComputeMs="200"), "entry 1: startComputeMs is '200'"),
        (first(startComputeMs=None), "not a time"),
        (lambda entries: entries[:-1], "599 inferences"),
        (lambda entries: [*entries[:-1], 3], "entry 600"),
        (lambda _: [], "no list of times"),
        (lambda _: {}, "no list of times"),
        (lambda _: [{"count": 10}], "no list of times"),
    ],
)
def test_times_that_are_none(
    bench: Any, bring: Any, tmp_path: Path, change: Any, word: str
) -> None:
    entries = files.times()
    json_file, log = files.trtexec(tmp_path, entries=entries)
    json_file.write_text(json.dumps(change(entries)))
    refused(bring("trtexec", json_file, log, "t4-fp16"), word)
    assert rows(bench) == []


def test_json_that_is_cut_short_or_none(bring: Any, tmp_path: Path) -> None:
    json_file, log = files.trtexec(tmp_path)
    whole = json_file.read_text()
    for damaged in (whole[: len(whole) // 2], "", "NaN", "[" * 100_000, "&&&&"):
        json_file.write_text(damaged)
        refused(bring("trtexec", json_file, log, "t4-fp16"), "cut short")
    refused(bring("trtexec", log, log, "t4-fp16"), "cut short")
    json_file.unlink()
    refused(bring("trtexec", json_file, log, "t4-fp16"), "No such file")
    refused(bring("trtexec", tmp_path, log, "t4-fp16"), "directory")


@pytest.mark.parametrize("source", ["trtexec", "benchmark_app", "csv"])
def test_a_file_that_is_not_there_is_what_is_said(bench: Any, tmp_path: Path, source: str) -> None:
    gone = tmp_path / "gone.json"
    ran = bench("import", "--from", source, gone, "-t", "t4-fp16", "-m", "timm:resnet18")
    assert ran.status == 2
    assert f"{gone} cannot be read: No such file" in ran.err


def test_the_log_beside_the_file_is_its_log(bench: Any, bring: Any, tmp_path: Path) -> None:
    json_file, log = files.trtexec(tmp_path)
    log = log.rename(json_file.with_suffix(".log"))
    assert bring("trtexec", json_file, None, "t4-fp16").status == 0
    (result,) = Store().read()
    assert result.provenance
    assert result.provenance.files == ("times.json", "times.log")
    assert "in the store already" in bring("trtexec", json_file, log, "t4-fp16").err
    for none in (log, tmp_path, "/"):
        refused(bring("trtexec", none, None, "t4-fp16"))
    report, log = files.benchmark_app(tmp_path)
    log.rename(report.with_suffix(".log"))
    assert bring("benchmark_app", report, None, "cpu-openvino-fp32", *XEON).status == 0


def test_a_request_that_is_wrong(bench: Any, bring: Any, tmp_path: Path) -> None:
    json_file, log = files.trtexec(tmp_path)
    refused(bring("trtexec", json_file, None, "t4-fp16"), "--log", "TensorRT 11.0")
    refused(bring("trtexec", json_file, log, "cpu-ort-fp32"), "runner ort")
    refused(bring("trtexec", json_file, log, "t4-*"), "3 targets")
    refused(bring("trtexec", json_file, log, "t5-fp16"), "did you mean")
    refused(bring("trtexec", json_file, log, "t4-fp16", "--batch", "4"), "says 1")
    other = bring("trtexec", json_file, log, "t4-fp16", "--hardware", "NVIDIA A10")
    refused(other, "--hardware NVIDIA A10 was given", "says Tesla T4")
    for same in ("Tesla T4", "NVIDIA T4"):
        assert bring("trtexec", json_file, log, "t4-fp16", "--hardware", same).status == 0
    refused(bench("import", json_file, "--from", "trtexec", "--log", log), "--model and --target")
    refused(bench("import", json_file, "-t", "t4-fp16"), "--from TOOL")
    done = bench(
        *("import", json_file, "--from", "trtexec", "--log", log, "-t", "t4-fp16"),
        *("-m", "builtin:digits-rsnet"),
    )
    refused(done, "digits-resnet")


@pytest.mark.parametrize("form", ["json", "csv"])
def test_benchmark_app_has_figures_and_no_samples(
    bench: Any, bring: Any, tmp_path: Path, form: str
) -> None:
    report, log = files.benchmark_app(tmp_path, form=form)
    done = bring("benchmark_app", report, log, "cpu-openvino-fp32", *XEON)
    assert done.status == 0, done.err
    assert "no interval" in done.err
    (row,) = rows(bench)
    assert row["status"] == "ok"
    assert row["latency"] is row["verdict"] is row["throughput_ips"] is None
    assert row["reported"] == {
        "window": "device",
        "n": 728,
        "p50_ms": 1.31,
        "mean_ms": 1.37,
        "min_ms": 1.26,
        "max_ms": 8.2,
        "resolution_ms": 0.01,
    }
    assert row["measured_by"] == "benchmark_app 2026.4.1"
    assert row["hardware"] == XEON[1]
    assert row["threads"] == 2
    assert "(1.31)" in bench("list", "results").out


def test_bf16_is_not_taken_for_fp32(bring: Any, tmp_path: Path) -> None:
    """Left alone, OpenVINO's CPU plug-in runs fp32 models in bf16; only the log tells."""
    for hint in ("<Type: 'bfloat16'>", "bf16"):
        report, log = files.benchmark_app(tmp_path, hint=hint)
        done = bring("benchmark_app", report, log, "cpu-openvino-fp32", *XEON)
        refused(done, "ran in bf16", "-infer_precision f32")
        done = bring("benchmark_app", report, log, "cpu-openvino-bf16", *XEON)
        assert done.status == 0


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ({"results": {"latency (ms)": None, "latency (99 percentile) (ms)": "3"}}, "percentile"),
        ({"results": {"latency (ms)": "-1.00"}}, "-1"),
        ({"results": {"latency (ms)": "0.00"}}, "no inference takes that long"),
        ({"results": {"latency (ms)": "nan"}}, "not a time"),
        ({"results": {"latency (ms)": "9.99"}}, "not between"),
        ({"results": {"avg latency": "900"}}, "the mean 900 ms is not between"),
        ({"results": {"max latency": 10**400}}, "max latency"),
        ({"setup": {"batch size": "²"}}, "batch size"),
        ({"results": {"avg latency": None}}, "avg latency"),
        ({"results": {"error": "no such model"}}, "that run failed: no such model"),
        ({"results": {"total number of iterations": "9"}}, "not of the same run"),
        ({"setup": {"inference_only": False}}, "-inference_only"),
        ({"setup": {"target device": "GPU"}}, "ran on gpu"),
        ({"setup": {"batch size": "x"}}, "batch size"),
        ({"hint": "f16"}, "INFERENCE_PRECISION_HINT"),
    ],
)
def test_a_report_that_leaves_open_what_was_measured(
    bench: Any, bring: Any, tmp_path: Path, how: dict[str, Any], word: str
) -> None:
    for form in ("json", "csv"):
        report, log = files.benchmark_app(tmp_path, form=form, **how)
        refused(bring("benchmark_app", report, log, "cpu-openvino-fp32", *XEON), word)
    assert rows(bench) == []


def test_benchmark_app_asked_wrongly(bring: Any, tmp_path: Path) -> None:
    report, log = files.benchmark_app(tmp_path)
    target = "cpu-openvino-fp32"
    refused(bring("benchmark_app", report, None, target, *XEON), "--log")
    refused(bring("benchmark_app", report, log, target), "--hardware")
    refused(bring("benchmark_app", report, log, "cpu-ort-fp32", *XEON), "runner ort")
    refused(bring("benchmark_app", report, log, target, *XEON, "--window", "io"), "device only")
    refused(bring("benchmark_app", log, log, target, *XEON), "lacks")
    log.write_text("cut")
    refused(bring("benchmark_app", report, log, target, *XEON), "not the whole")


CSV = "latency_us,window,tool,hardware,process,block\n"


def samples(n: int = 40) -> str:
    return "".join(
        f"{1000 + i % 7},device,mytool,AMD EPYC,{p},{i // 10}\n" for p in (1, 2) for i in range(n)
    )


def test_csv(bench: Any, bring: Any, tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text(CSV + samples())
    assert bring("csv", path, None, "cpu-ort-fp32").status == 0
    (row,) = rows(bench)
    assert row["latency"]["p50_ms"] == pytest.approx(1.003)
    assert (row["latency"]["samples"], row["latency"]["processes"]) == (80, 2)
    assert row["measured_by"] == "mytool"
    assert row["hardware"] == "AMD EPYC"
    (result,) = Store().read()
    assert result.measurement is not None
    assert [len(run.blocks_ns) for run in result.measurement.processes] == [4, 4]


def test_csv_of_one_column_of_latencies(bench: Any, bring: Any, tmp_path: Path) -> None:
    """Without blocks it is cut into stretches of a tenth of a second: the extremes of single calls
    are not what the median is sure to."""
    path = tmp_path / "samples.csv"
    lines = [f"{1 + i % 7 / 100 + (i % 50 == 0)},device,mytool,AMD EPYC\n" for i in range(1000)]
    path.write_text("latency_ms,window,tool,hardware\n" + "".join(lines))
    assert bring("csv", path, None, "cpu-ort-fp32", "--batch", "8").status == 0
    (row,) = rows(bench)
    assert row["verdict"] == "NOISY"
    assert row["batch"] == 8, "the file says nothing of it"
    (result,) = Store().read()
    assert result.measurement is not None
    (blocks,) = (run.blocks_ns for run in result.measurement.processes)
    assert len(blocks) == 11
    assert sum(map(len, blocks)) == 1000


def test_blocks_of_a_csv_may_take_turns(bench: Any, bring: Any, tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text(CSV + "".join(f"{1000 + i},device,t,h,1,{i % 2}\n" for i in range(40)))
    assert bring("csv", path, None, "cpu-ort-fp32").status == 0
    (result,) = Store().read()
    assert result.measurement is not None
    assert [len(block) for block in result.measurement.processes[0].blocks_ns] == [20, 20]


def test_hardware_that_was_mistyped_is_corrected(bench: Any, bring: Any, tmp_path: Path) -> None:
    pair = files.benchmark_app(tmp_path)
    for name in ("Intel Xeon Gold 6320", "Intel Xeon Gold 6230", "Intel Xeon Gold 6230"):
        assert bring("benchmark_app", *pair, "cpu-openvino-fp32", "--hardware", name).status == 0
    found = sorted(row["hardware"] for row in rows(bench))
    assert found == ["Intel Xeon Gold 6230", "Intel Xeon Gold 6320"]


def test_a_dot_in_the_name_of_a_hub_is_no_tag(bench: Any, tmp_path: Path) -> None:
    json_file, log = files.trtexec(tmp_path)
    name = "hf:google/mobilenet_v2_1.0_224"
    assert bench(
        *("import", json_file, "--from", "trtexec", "--log", log, "-t", "t4-fp16", "-m", name)
    ).status == 0  # fmt: skip
    (row,) = rows(bench)
    assert (row["model"], row["weights"]) == ("google/mobilenet_v2_1.0_224", "unstated")


@pytest.mark.parametrize("form", ["Caffe", "UFF"])
def test_the_inputs_of_caffe_and_uff_have_no_batch(
    bench: Any, bring: Any, tmp_path: Path, form: str
) -> None:
    pair = files.trtexec(tmp_path, form=form, batch=1, shape="3x224x224")
    assert bring("trtexec", *pair, "t4-fp16").status == 0
    assert rows(bench)[0]["batch"] == 1


def test_csv_says_when_it_was(bench: Any, bring: Any, tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text(
        "latency_ms,window,tool,version,hardware,batch,started_at\n"
        + "4.5,io,x,2,Tesla T4,8,2026-11-20T12:00:00+02:00\n" * 3
    )
    assert bring("csv", path, None, "t4-fp16").status == 0
    (row,) = rows(bench)
    assert row["started_at"] == "2026-11-20T10:00:00.000+00:00"
    assert (row["batch"], row["latency"]["window"], row["measured_by"]) == (8, "io", "x 2")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no column latency_ms"),
        ("a,b\n1,2\n", "no column latency_ms"),
        (CSV, "no samples"),
        (CSV.replace("window", "windw") + samples(), "did you mean window"),
        (CSV.replace("block", "latency_ms") + samples(), "two units"),
        (CSV + samples() + "1\n", "line 82"),
        (CSV + samples() + "1,2,3,4,5,6,7\n", "line 82"),
        (CSV + "-5,device,t,h,1,1\n", "line 2: latency_us is -5"),
        (CSV + "inf,device,t,h,1,1\n", "line 2"),
        (CSV + "x,device,t,h,1,1\n", "not a time"),
        (CSV + "5,e2e,t,h,1,1\n", "neither device nor io"),
        (CSV + "5,,t,h,1,1\n", "--window"),
        (CSV + "5,device,,h,1,1\n", "which tool"),
        (CSV + "5,device,bench,h,1,1\n", "bench export"),
        (CSV + "5,device,t,,1,1\n", "--hardware"),
        (CSV + "5,device,t,h,1,1\n5,device,u,h,1,1\n", "tool differs"),
        (CSV.replace("block", "batch") + "5,device,t,h,1,0\n", "no count"),
        (CSV.replace("block", "batch") + "5,device,t,h,1,²\n", "no count"),
        (CSV.replace("block", "batch") + f"5,device,t,h,1,{'9' * 5000}\n", "no count"),
        (CSV.replace("block", "started_at") + "5,device,t,h,1,yesterday\n", "ISO 8601"),
        (CSV.replace("block", "started_at") + "5,device,t,h,1,9999-12-31T23:59:59-14:00\n", "ISO"),
        (CSV + '5,device,"t\nu",h,1,1\n', "line 2 has a value of several lines"),
        ("\0", "binary"),
    ],
)
def test_csv_that_leaves_something_open(
    bench: Any, bring: Any, tmp_path: Path, text: str, word: str
) -> None:
    path = tmp_path / "samples.csv"
    path.write_text(text)
    refused(bring("csv", path, None, "cpu-ort-fp32"), word)
    assert rows(bench) == []


def test_nothing_in_a_file_is_obeyed_by_the_terminal(
    bench: Any, bring: Any, tmp_path: Path
) -> None:
    """Names are whatever somebody wrote; an escape sequence among them is left out."""
    path = tmp_path / "samples.csv"
    path.write_text(CSV + samples().replace("mytool", "my\x1b[31mto\bol\u202e"))
    json_file, log = files.trtexec(tmp_path)
    log.write_text(log.read_text().replace("Tesla T4", "Tesla\x1b[2J T4\x07"))
    done = [bring("csv", path, None, "cpu-ort-fp32"), bring("trtexec", json_file, log, "t4-fp16")]
    log.write_text(log.read_text().replace("Selected Device: ", "Selected Device: \x1b[2Jnot "))
    refused(bring("trtexec", json_file, log, "xavier-nx-fp16"), "is of not Tesla T4")
    escaped = {"API": "sy\x1b[2Jnc", "target device": "GPU\n\x1b[2J"}
    for setup in ({"API": "sy\x1b[2Jnc"}, escaped):
        pair = files.benchmark_app(tmp_path, setup=setup)
        done.append(bring("benchmark_app", *pair, "cpu-openvino-fp32", *XEON))
    assert [each.status for each in done] == [0, 0, 0, 2]
    for each in (*done, bench("list", "results"), bench("list", "results", "--json")):
        assert all(letter.isprintable() or letter == "\n" for letter in each.out + each.err)
        assert "\\u001b" not in each.out
    assert {row["measured_by"] for row in rows(bench)} >= {"mytool", "trtexec 8.5.2"}


def test_csv_of_other_hardware(bring: Any, tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text(CSV + samples())
    refused(bring("csv", path, None, "t4-fp16"), "needs an NVIDIA T4", "AMD EPYC")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), which=st.integers(0, 1))
def test_no_damaged_byte_is_more_than_a_sentence(
    tmp_path: Path, at: int, byte: int, which: int
) -> None:
    """Whatever a bad disk does to the files: they are read, or refused in one line."""
    from bench import targets
    from bench.importing import trtexec
    from bench.importing.foreign import Asked

    pair = files.trtexec(tmp_path, entries=files.times(20))
    damaged = bytearray(pair[which].read_bytes())
    damaged[at % len(damaged)] = byte
    pair[which].write_bytes(damaged)
    (target,) = targets.select(["t4-fp16"])
    try:
        found = trtexec.read(Asked(*pair), target)
    except UsageError as error:
        message_of(error)
    else:
        assert sum(map(len, found.processes[0])) == 20
