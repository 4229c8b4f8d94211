"""`bench compare`: its answers, and what it does when a side fails."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from bench import comparison, launch, timing
from bench.records import GpuLoad, Load
from bench.store import Store
from tests.conftest import QUICK, WORKED, write_network

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = {"verdict", "ratio", "ci95", "margin", "pairs", "seconds", "reasons", "a", "b"}
TARGETS = """
[target.null-slower]
hardware = "simulated"
runner = "null"
precision = "fp32"
options = { latency_us = 220 }

[target.null-crash]
hardware = "simulated"
runner = "null"
precision = "fp32"
options = { fault = "kill@time" }

[target.null-hang]
hardware = "simulated"
runner = "null"
precision = "fp32"
options = { fault = "hang@time" }

[target.null-slow]
hardware = "simulated"
runner = "null"
precision = "fp32"
options = { latency_us = 300000 }
"""


@pytest.fixture
def more_targets(own_targets: Callable[[str], Path]) -> None:
    own_targets(TARGETS)


@pytest.mark.usefixtures("short_turns", "more_targets")
def test_ten_percent_slower_is_slower_and_the_other_way_faster(bench: Any, tiny_onnx: Path) -> None:
    sides = f"{tiny_onnx}@null-fp32", f"{tiny_onnx}@null-slower"
    ran = bench("compare", *sides, "--fail-slower", "--json")
    assert ran.status == 4
    assert ran.json.keys() == KEYS
    assert ran.json["verdict"] == "SLOWER"
    low, high = ran.json["ci95"]
    assert low <= ran.json["ratio"] <= high
    assert ran.json["ratio"] == pytest.approx(1.1, abs=0.03)
    assert ran.json["pairs"] >= 6
    assert ran.json["a"]["target"] == "null-fp32"
    assert ran.json["a"]["p50_ms"] == pytest.approx(0.2, rel=0.2)
    back = bench("compare", *sides[::-1])
    assert back.status == 0
    assert back.out.splitlines()[-1].startswith("FASTER: B takes 0.9")
    assert max(map(len, back.out.splitlines())) <= 100


@pytest.mark.usefixtures("short_turns")
def test_an_artifact_against_itself_is_the_same(bench: Any, tiny_onnx: Path) -> None:
    ran = bench("compare", tiny_onnx, tiny_onnx, "-t", "null-fp32", "--margin", "0.1", "--json")
    assert (ran.status, ran.json["verdict"]) == (0, "SAME")
    assert ran.json["a"]["artifact_sha256"] == ran.json["b"]["artifact_sha256"]


@pytest.mark.slow
def test_time_that_runs_out_is_unsure_with_the_interval(bench: Any, tiny_onnx: Path) -> None:
    sides = f"{tiny_onnx}@cpu-ort-fp32", f"{tiny_onnx}@cpu-ort-fp32"
    ran = bench("compare", *sides, "--margin", "0.00001", "--max-seconds", "1", "--json")
    assert ran.status == 6
    assert ran.json["verdict"] == "UNSURE"
    assert ran.json["ratio"] is not None
    assert "--max-seconds" in ran.json["reasons"][0]


@pytest.mark.parametrize(("target", "word"), [("null-crash", "SIGKILL"), ("null-hang", "hangs")])
def test_a_side_that_dies_or_hangs_is_unsure_and_no_number(
    bench: Any,
    tiny_onnx: Path,
    more_targets: None,
    target: str,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison, "PATIENCE_SECONDS", 6.0)
    sides = [f"{tiny_onnx}@null-fp32", f"{tiny_onnx}@{target}"]
    ran = bench("compare", *sides, "--timeout", "6", "--json")
    assert ran.status == 1
    assert ran.json["verdict"] == "UNSURE"
    assert ran.json["ratio"] is None
    assert ran.json["ci95"] is None
    assert ran.json["b"]["p50_ms"] is None
    stage, _, said = ran.json["reasons"][0].partition(": ")
    assert stage == "a process failed at time"
    assert word in said


def pairs(n: int, a: tuple[int, ...], b: tuple[int, ...]) -> list[comparison.Pair]:
    quiet = Load(10**9, 10**9, 0, 0, 0, 0)
    return [comparison.Pair((a,) * 3, (b,) * 3, (quiet, quiet)) for _ in range(n)]


def compared(found: list[comparison.Pair], seconds: float = 1.0, **rules: Any) -> Any:
    side: Any = None
    return comparison.Comparison(side, side, comparison.Rules(**rules), found, seconds)


def test_what_is_slower_is_given_the_time_to_be_certain() -> None:
    """A slow network has few pairs a minute, and six pairs no p below 1/64."""
    slower = pairs(6, (100,) * 9, (200,) * 9)
    assert not compared(slower, 60.0, max_p=0.001).out_of_time
    assert compared(slower, 180.0, max_p=0.001).out_of_time
    assert compared(slower, 60.0).out_of_time
    assert compared(pairs(12, (100,) * 9, (200,) * 9), 60.0, max_p=0.001).clear
    unsure = pairs(3, (100,) * 9, (200,) * 9)
    assert compared(unsure, 60.0, max_p=0.001).out_of_time


def test_a_slowdown_is_an_exit_status_only_where_it_is_asked_for() -> None:
    slower = compared(pairs(8, (100,) * 9, (200,) * 9))
    assert comparison.exit_status(slower, fail_slower=False) == 0
    assert comparison.exit_status(slower, fail_slower=True) == 4
    faster = compared(pairs(8, (200,) * 9, (100,) * 9))
    assert comparison.exit_status(faster, fail_slower=True) == 0


def test_medians_that_say_another_thing_are_told() -> None:
    """B's fast calls are faster, and half of its calls take twice as long."""
    steady, wild = (1000,) * 10, (700,) * 4 + (2000,) * 6
    found = compared(pairs(8, steady, wild))
    assert found.verdict == "FASTER"
    assert found.contradicted
    (said,) = comparison.reasons(found)
    assert "by the medians it is SLOWER (+100.0 %)" in said
    assert not compared(pairs(8, steady, steady)).contradicted
    assert comparison.reasons(compared(pairs(8, steady, steady))) == []


def test_a_network_of_seconds_a_step_is_no_hang(
    bench: Any, tiny_onnx: Path, more_targets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turns take longer than the patience for what hangs."""
    monkeypatch.setattr(comparison, "PATIENCE_SECONDS", 5.0)
    ran = bench("compare", tiny_onnx, tiny_onnx, "-t", "null-slow", "--max-seconds", "1")
    assert ran.status == 6
    assert "1 pair is too few" in ran.err


@pytest.mark.usefixtures("short_turns")
def test_a_recorded_result_is_compared_by_its_own_artifact(
    bench: Any, tiny_onnx: Path, tmp_path: Path, own_store: Path
) -> None:
    assert bench("run", "-m", tiny_onnx, "-t", "cpu-ort-int8", *QUICK).status in WORKED
    (result,) = Store(str(own_store)).read()
    name = bench("list", "results", "--json").json[0]["id"]
    short = ["--max-seconds", "2", "--json"]
    ran = bench("compare", name, f"{tiny_onnx}@cpu-ort-int8", *short)
    assert ran.json["a"]["result"] == name
    assert ran.json["a"]["artifact_sha256"] == result.artifacts[-1].sha256
    assert ran.json["b"]["result"] is None


@pytest.mark.usefixtures("short_turns")
def test_a_recorded_result_says_at_which_batch_and_window(bench: Any, tiny_onnx: Path) -> None:
    many = ["--batch", "8", "--window", "io", *QUICK]
    assert bench("run", "-m", tiny_onnx, "-t", "null-fp32", *many).status in WORKED
    assert bench("run", "-m", tiny_onnx, "-t", "null-fp32", *QUICK).status in WORKED
    rows = bench("list", "results", "--json").json
    io, device = (row["id"] for row in sorted(rows, key=lambda row: -row["batch"]))
    ran = bench("compare", io, f"{tiny_onnx}@null-fp32", "--max-seconds", "2", "--json")
    for side in (ran.json["a"], ran.json["b"]):
        assert (side["batch"], side["window"]) == (8, "io")
    ran = bench("compare", io, device)
    assert ran.status == 2
    assert "batch 8, window io" in ran.err


def test_a_recorded_result_whose_artifact_is_gone(bench: Any, tmp_path: Path) -> None:
    path = write_network(tmp_path / "mine.onnx")
    assert bench("run", "-m", path, "-t", "null-fp32", *QUICK).status in WORKED
    name = bench("list", "results", "--json").json[0]["id"]
    other = write_network(tmp_path / "other.onnx")
    model = onnx.load(path)
    model.doc_string = "changed, and nobody kept the old one"
    onnx.save(model, path)
    bench("cache", "clear", "kept")
    ran = bench("compare", name, f"{other}@null-fp32", "--json")
    assert ran.status == 1
    assert ran.out == ""
    assert name in ran.err
    assert "not there any more" in ran.err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["{onnx}", "{onnx}"], 2, ["has no target", "--target"]),
        (["{onnx}@null-fp32", "{onnx}@null-fp33"], 2, ["null-fp33", "did you mean"]),
        (["{onnx}@null-*", "{onnx}@null-fp32"], 2, ["names 2 jobs"]),
        (["nothing.onnx@null-fp32", "{onnx}@null-fp32"], 2, ["nothing.onnx does not exist"]),
        (["{onnx}", "{onnx}", "-t", "null-fp32", "-o", "foo=1"], 2, ["foo"]),
        (["abcdef", "{onnx}@null-fp32"], 2, ["no result 'abcdef'"]),
        (["{onnx}@t4-int8", "{onnx}@null-fp32"], 3, ["T4"]),
        (["{onnx}", "{onnx}", "-t", "null-fp32", "--margin", "0"], 2, ["--margin"]),
        (["{onnx}", "{onnx}", "-t", "null-fp32", "--margin", "nan"], 2, ["--margin"]),
        (["{onnx}", "{onnx}", "-t", "null-fp32", "--max-seconds", "inf"], 2, ["--max-seconds"]),
        (["{onnx}", "{onnx}", "-t", "null-fp32", "--python-b", "/nowhere/python"], 2, ["/nowhere"]),
        (["{onnx}", "{onnx}", "-t", "null-fp32", "--python-a", "/bin/true"], 2, ["needs frontier"]),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    bench: Any, tiny_onnx: Path, arguments: list[str], status: int, words: list[str]
) -> None:
    ran = bench("compare", *(argument.format(onnx=tiny_onnx) for argument in arguments))
    assert ran.status == status
    assert "Traceback" not in ran.err
    assert ran.out == ""
    for word in words:
        assert word in ran.err.strip().splitlines()[-1]


@pytest.mark.usefixtures("short_turns")
def test_another_interpreter_runs_its_side(bench: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    """A second interpreter: a wrapper that leaves a mark whenever it is started."""
    mark = tmp_path / "mark"
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\necho x >> {mark}\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    sides = [f"{tiny_onnx}@null-fp32", f"{tiny_onnx}@null-int8"]
    ran = bench("compare", *sides, "--python-b", other, "--max-seconds", "2", "--json")
    assert ran.json["b"]["python"] == str(other)
    # Its version was asked for, its side prepared, and each pair had one process of it.
    assert len(mark.read_text().splitlines()) == 2 + ran.json["pairs"]


def test_a_stranger_on_the_gpu_leaves_no_answer() -> None:
    """What it takes, it takes of both sides: their ratio comes nearer to 1."""
    alone = GpuLoad(1000, None, (1590, 1590), 60, None, (), 0, 0, 0, 0)
    for seen, words in (
        (replace(alone, others=1, others_percent=30), "another process used 30% of the GPU"),
        (replace(alone, slowed_by=("external power brake",)), "halved its clock"),
    ):
        load = Load(10**9, 10**9, 0, 0, 0, 0, seen)
        beside = [replace(pair, loads=(load, load)) for pair in pairs(8, (100,) * 9, (101,) * 9)]
        found = compared(beside)
        assert found.verdict == "UNSURE"
        assert found.clear  # more pairs would not change it
        (said,) = comparison.reasons(found)
        assert words in said
        assert comparison.exit_status(found, fail_slower=True) == 6


def test_each_process_has_its_own_time_to_be_ready(
    bench: Any, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiling a slow network takes minutes, of each side."""
    left: list[float] = []
    real = launch.Child.answer

    def answer(child: Any, kind: Any, deadline: Any) -> Any:
        left.append(deadline.left())
        timing.spin(50_000_000)
        return real(child, kind, deadline)

    monkeypatch.setattr(launch.Child, "answer", answer)
    monkeypatch.setattr(comparison, "PATIENCE_SECONDS", 100.0)
    monkeypatch.setattr(comparison, "TURNS_SECONDS", 0.0)
    how = ["-t", "null-fp32", "--timeout", "500", "--max-seconds", "1"]
    bench("compare", tiny_onnx, tiny_onnx, *how)
    both = left[:6]  # prepared, ready, warm
    assert min(both) > 499.9
    assert left[6] < 110


@pytest.mark.parametrize(
    "command",
    [["compare", "{onnx}", "{onnx}"], ["throughput", "-m", "{onnx}", "--max-batch", "1"]],
    ids=" ".join,
)
def test_a_command_that_says_raise_timeout_has_it(
    bench: Any, tiny_onnx: Path, command: list[str]
) -> None:
    asked = [argument.format(onnx=tiny_onnx) for argument in command]
    ran = bench(*asked, "-t", "null-fp32", "--timeout", "0.1")
    assert ran.status == 1
    assert "the time limit ran out: raise --timeout" in ran.err


def test_what_scatters_widely_is_told_when_it_is_certain() -> None:
    """It is looked for after every pair: nine alike would be one look of 512 by chance."""

    def scattered(n: int, *, slower: bool) -> Any:
        each = [pairs(1, (100,) * 9, ((104, 130)[i % 2],) * 9)[0] for i in range(n)]
        if not slower:
            each = [replace(pair, a_ns=pair.b_ns, b_ns=pair.a_ns) for pair in each]
        return compared(each, 59.0)

    for slower, verdict in ((True, "SLOWER"), (False, "FASTER")):
        nine, ten = (scattered(n, slower=slower) for n in (9, 10))
        assert (nine.looks, nine.verdict, nine.clear) == (verdict, "UNSURE", False)
        assert not nine.out_of_time
        (said,) = comparison.reasons(nine)
        assert f"after 9 pairs it looks {verdict}" in said
        assert "so that it is not certain (p 0.002, wanted 0.001)" in said
        assert (ten.verdict, ten.clear) == (verdict, True)
        assert comparison.reasons(ten) == []
        assert (ten.p < 0.01) == slower  # a gate corrects for slowdowns alone
    assert compared(pairs(6, (100,) * 9, (110,) * 9)).clear
    assert compared(pairs(6, (100,) * 9, (100,) * 9)).verdict == "SAME"


@pytest.mark.filterwarnings("error")
def test_of_no_pairs_and_of_few_nothing_is_computed() -> None:
    assert (compared([]).verdict, compared([]).clear) == ("UNSURE", False)
    one = compared(pairs(1, (100,) * 9, (101,) * 9))
    assert one.verdict == "UNSURE"
    assert comparison.reasons(one) == [
        "1 pair is too few for an interval, which takes six: raise --max-seconds"
    ]
