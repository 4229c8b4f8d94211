"""The search for the most images a second, on the null runner; streams on real runtimes."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from time import sleep
from typing import Any

import pytest

from bench import present, present_answers, throughput, timing
from bench.records import Job, Procedure, Target
from bench.throughput import splits
from tests.conftest import write_network

SEARCH = ["--processes", "2", "--min-seconds", "0.05", "--max-seconds", "0.05", "--max-batch", "4"]


def search(bench: Any, *arguments: str | Path) -> Any:
    return bench("throughput", *arguments, *SEARCH, "--json")


def test_the_largest_batch_that_helps_is_found(
    bench: Any, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "DEVICE_STREAMS", (1, 2))
    ran = search(bench, "-m", tiny_onnx, "-t", "null-fp32", "-o", "latency_us=500")
    found = ran.json
    one = [row for row in found["tried"] if row["streams"] == 1]
    assert [row["batch"] for row in one] == [1, 2, 4]
    assert {row["streams"] for row in found["tried"]} == {1, 2}
    best = found["best"]
    if best:  # the null runner takes as long for four images as for one
        assert ran.status == 0
        assert best["batch"] == 4
        valid = [row for row in found["tried"] if row["verdict"] != "INVALID"]
        assert best["throughput_ips"] == max(row["throughput_ips"] for row in valid)
    else:
        assert ran.status == 6
    stored = bench("export").out.splitlines()
    assert len(stored) == len(found["tried"])


def test_nothing_keeps_an_impossible_bound(
    bench: Any, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = search(bench, "-m", tiny_onnx, "-t", "null-fp32", "--max-latency", "0.01")
    assert ran.status == 1
    assert ran.json["best"] is None
    assert {row["batch"] for row in ran.json["tried"]} == {1}  # more would only take longer
    present_answers.throughput(ran.json)  # as without --json
    assert "no valid measurement within 0.01 ms" in capsys.readouterr().out


def test_a_network_of_fixed_batch_is_tried_at_that(bench: Any, tmp_path: Path) -> None:
    fixed = write_network(tmp_path / "fixed.onnx", batch=1)
    found = search(bench, "-m", fixed, "-t", "cpu-ort-fp32", "--threads", "1").json
    first, second = found["tried"]
    assert first["failure"] is None
    assert second["failure"]["kind"] == "fixed-batch"


@pytest.mark.parametrize(
    ("threads", "tried"), [(1, [(1, 1)]), (6, [(1, 6), (2, 3), (3, 2), (6, 1)])]
)
def test_a_cpu_is_split_among_streams_without_a_rest(
    threads: int, tried: list[tuple[int, int]]
) -> None:
    target = Target("x", "cpu", "ort", "fp32")
    assert list(splits(Job("x", target, procedure=Procedure(threads=threads)))) == tried


def test_another_device_takes_a_few_streams() -> None:
    target = Target("x", "simulated", "null", "fp32", "simulated")
    assert list(splits(Job("x", target))) == [(1, None), (2, None), (4, None)]


def tried(ips: float, *, p99: float | None, most: float, verdict: str = "VALID") -> dict[str, Any]:
    latency = {"p50_ms": 1.0, "p99_ms": p99, "max_ms": most}
    return {"throughput_ips": ips, "latency": latency, "verdict": verdict, "failure": None}


FEW = tried(100, p99=None, most=3.0)
MANY = tried(300, p99=5.0, most=40.0)
SLOW = tried(900, p99=20.0, most=90.0)
INVALID = tried(5000, p99=1.0, most=1.0, verdict="INVALID")
FAILED = {"failure": {"kind": "crash"}, "verdict": None, "latency": None, "throughput_ips": None}
ABSENT = {**FAILED, "failure": {"kind": "unavailable"}}


def test_the_slowest_calls_are_the_99th_percentile_where_there_is_one() -> None:
    assert throughput.slowest_ms(MANY) == 5.0
    assert throughput.slowest_ms(FEW) == 3.0
    assert throughput.within(MANY, 5.0)
    assert not throughput.within(FEW, 2.9)
    assert throughput.within(SLOW, None)


def test_the_best_keeps_the_bound_and_is_believed() -> None:
    rows = [FEW, MANY, SLOW, INVALID, FAILED]
    assert throughput.best(rows, None) is SLOW
    assert throughput.best(rows, 10.0) is MANY
    assert throughput.best(rows, 4.0) is FEW
    assert throughput.best(rows, 2.0) is None
    assert throughput.best([INVALID, FAILED], None) is None


@pytest.mark.parametrize(
    ("rows", "bound", "status"),
    [
        ([FEW, MANY], 4.0, 0),
        ([INVALID], None, 6),
        ([INVALID, SLOW], 2.0, 6),
        ([SLOW, FAILED], 2.0, 1),
        ([FAILED], None, 1),
        ([ABSENT], None, 3),
    ],
)
def test_why_there_is_no_best(rows: list[dict[str, Any]], bound: float | None, status: int) -> None:
    assert throughput.exit_status(throughput.to_public(rows, bound)) == status


def test_what_cannot_run_is_said_as_by_run(bench: Any, tiny_onnx: Path) -> None:
    ran = search(bench, "-m", tiny_onnx, "-t", "t4-int8")
    assert ran.status == 3
    assert all(row["failure"]["kind"] == "unavailable" for row in ran.json["tried"])


@pytest.mark.parametrize("bound", ["0", "-1", "nan", "inf"])
def test_a_bound_that_is_none_is_refused(bench: Any, tiny_onnx: Path, bound: str) -> None:
    ran = bench("throughput", "-m", tiny_onnx, "-t", "null-fp32", f"--max-latency={bound}")
    assert ran.status == 2
    assert "must be a number of milliseconds" in ran.err


def test_streams_take_their_samples_at_the_same_time() -> None:
    lock = Lock()
    inside = most = 0

    class Sleeper:
        inputs = ()

        def stage(self, feed: Any) -> None: ...

        def step(self) -> None:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            sleep(0.002)
            with lock:
                inside -= 1

    feeds: list[Any] = [{}]
    sleepers: list[Any] = [Sleeper(), Sleeper()]
    both = timing.Streams([timing.Stopwatch(each, feeds, "device") for each in sleepers])
    warmup, _ = both.warm_up(0.05)
    assert len(warmup) >= 2
    dropped, block = both.block(0.1)
    assert min(block) >= 2_000_000
    assert len(block) >= 2 <= len(dropped)
    assert (inside, most) == (0, 2)


def test_a_row_of_several_streams_and_batches(
    bench: Any, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--processes", "2", "--min-seconds", "0.05", "--max-seconds", "0.05"]
    job = ["run", "-m", tiny_onnx, "-t", "cpu-ort-fp32", "--streams", "2", "--threads", "1", *quick]
    rows = bench(*job, "--batch", "1", "--batch", "2", "--batch", "1", "--json").json
    assert [(row["batch"], row["streams"], row["threads"]) for row in rows] == [
        (1, 2, 1),
        (2, 2, 1),
    ]
    for row in rows:
        latency = row["latency"]
        of_all = 1e3 * row["batch"] * row["streams"] / latency["mean_ms"]
        assert row["throughput_ips"] == pytest.approx(of_all)
        assert latency["max_ms"] >= (latency["p99_ms"] or latency["p50_ms"])
    present.results(rows)  # as without --json
    shown = capsys.readouterr().out
    assert "images/s" in shown
    assert "2 x 2" in shown
