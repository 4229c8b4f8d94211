"""A run of several jobs: which exit status it has, and that no result is lost."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from bench import campaign, child, comparison, launch, pipeline, sides
from bench.errors import StageError, StoreError
from bench.records import Failure, Job, Procedure
from bench.store import Store
from tests.builders import ok

#: The README: of several, the exit status is the first of these.
BY_NEED = [2, 1, 5, 3, 6, 0]
ROWS: dict[int, dict[str, Any]] = {
    2: {"failure": {"kind": "usage"}},
    1: {"failure": {"kind": "crash"}},
    5: {"failure": {"kind": "accuracy"}},
    3: {"failure": {"kind": "unavailable"}},
    6: {"failure": None, "verdict": "INVALID"},
    0: {"failure": None, "verdict": "NOISY"},
}


@pytest.mark.parametrize(("more", "less"), [*combinations(BY_NEED, 2)])
def test_of_several_exit_statuses_it_is_the_one_that_needs_a_person_most(
    more: int, less: int
) -> None:
    assert campaign.exit_status([ROWS[more]]) == more
    assert campaign.exit_status([ROWS[less], ROWS[more], ROWS[less]]) == more


def test_what_is_asked_for_is_what_is_measured(
    bench: Any, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def measured(job: Job, _: object) -> Any:
        jobs.append(job)
        return ok(len(jobs))

    monkeypatch.setattr(pipeline, "run", measured)
    options = [
        *("--rel-error", "0.05", "--threads", "1", "--streams", "2", "--window", "io"),
        *("--processes", "7", "--min-seconds", "1", "--max-seconds", "2", "--timeout", "9"),
        *("--batch", "4", "--batch", "1", "-o", "latency_us=7"),
    ]
    ran = bench("run", "-m", tiny_onnx, "-t", "null-fp32", *options, "--json")
    assert ran.status == 0
    how = Procedure(
        rel_error=0.05,
        threads=1,
        streams=2,
        window="io",
        processes=7,
        min_seconds=1,
        max_seconds=2,
        timeout_seconds=9,
    )
    assert [job.procedure for job in jobs] == [replace(how, batch=4), replace(how, batch=1)]
    assert jobs[0].target.options == {"latency_us": 7}
    newest = bench("list", "results", "--last", "1", "--json").json
    assert [row["id"] for row in newest] == [ran.json[1]["id"]]


def test_the_seed_of_a_comparison_is_the_one_that_is_asked_for(
    bench: Any, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[comparison.Rules] = []

    def compare(a: Any, b: Any, rules: comparison.Rules, *_: object) -> Any:
        asked.append(rules)
        raise StageError("simulated", "no comparison today")

    monkeypatch.setattr(comparison, "compare", compare)
    monkeypatch.setattr(sides, "prepare", lambda *_, **__: None)
    given = ["--seed", "7", "--margin", "0.05", "--max-seconds", "9"]
    assert bench("compare", tiny_onnx, tiny_onnx, "-t", "null-fp32", *given).status == 1
    (rules,) = asked
    assert (rules.seed, rules.margin, rules.max_seconds) == (7, 0.05, 9)


RUN = ["run", "-m", "net.onnx", "-t", "null-fp32"]


@pytest.fixture
def gone(network: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`with gone:` the store is full; what is measured is `ok(1)`."""
    monkeypatch.chdir(network.parent)
    monkeypatch.setattr(pipeline, "run", lambda *_: ok(1))

    def full(*_: object) -> None:
        raise StoreError("the store cannot be written: the disk is full")

    patched = pytest.MonkeyPatch()
    patched.setattr(Store, "append", full)
    yield patched
    patched.undo()


def test_a_result_is_rescued_when_the_store_has_gone(
    bench: Any,
    own_store: Path,
    tmp_path: Path,
    gone: pytest.MonkeyPatch,
) -> None:
    gone.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    ran = bench(*RUN)
    assert ran.status == 1
    (rescued,) = tmp_path.glob("bench-*.jsonl")
    assert "the disk is full" in ran.err
    assert f"saved in {rescued}: `bench import` it" in ran.err
    gone.undo()
    assert bench("import", rescued).status == 0
    assert Store(str(own_store)).read() == [ok(1)]


def test_where_nothing_can_be_written_that_is_said(
    bench: Any, tmp_path: Path, gone: pytest.MonkeyPatch
) -> None:
    gone.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "nowhere"))
    ran = bench(*RUN)
    assert ran.status == 1
    assert "the disk is full" in ran.err
    assert "saved" not in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("command", "works", "said"),
    [
        (["compile"], "bench.pipeline.build_only", "interrupted after 0 of 1"),
        (["throughput"], "bench.pipeline.run", "interrupted; 0 results are stored"),
        (["run"], "bench.pipeline.run", "interrupted; 0 of 1 jobs are stored"),
    ],
)
def test_an_interruption_is_130(
    bench: Any,
    tiny_onnx: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    works: str,
    said: str,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(works, interrupted)
    ran = bench(*command, "-m", tiny_onnx, "-t", "null-fp32", "--json")
    assert (ran.status, ran.json) == (130, None)
    assert said in ran.err


def test_an_interrupted_comparison_has_no_answer(
    bench: Any, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "_pair", interrupted)
    ran = bench("compare", tiny_onnx, tiny_onnx, "-t", "null-fp32", "--json")
    assert (ran.status, ran.out) == (130, "")
    assert "there is no answer" in ran.err


# What a machine has run out of.


def test_a_cache_that_cannot_be_written_is_named(
    bench: Any, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file" / "cache"))
    ran = bench("run", "-m", tiny_onnx, "-t", "null-fp32", "--json")
    assert ran.status == 1
    assert "cannot be written: Not a directory" in ran.json["failure"]["message"]
    assert "BENCH_CACHE" in ran.json["failure"]["message"]


def test_a_full_disk_and_no_memory_have_kinds_of_their_own() -> None:
    full = child._failure(OSError(28, "No space left on device", "/cache/x"), "build")
    assert full == Failure(
        "build", "disk-full", "no space left on the disk (/cache/x): see `bench cache`"
    )
    assert child._failure(MemoryError(), "open").kind == "oom"
    other = child._failure(OSError(13, "Permission denied", "/cache/x"), "export")
    assert other.kind == "exception"
    assert "Permission denied" in other.message


def test_a_kill_by_the_kernel_for_memory_is_told_from_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kills = [3]
    monkeypatch.setattr(launch, "_oom_kills", lambda: kills[0])
    from bench.messages import Names

    with launch.Child(Names("builtin")) as process:
        assert process._death(-9) == Failure("target", "crash", "the process was killed by SIGKILL")
        kills[0] += 1
        assert process._death(-9).kind == "oom"
        assert process._death(-11).kind == "crash"
