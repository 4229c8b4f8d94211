"""`bench gate`: what alarms, what does not, and what it leaves behind."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bench import pipeline, sides, stats
from bench.cache import Cache, sha256_of
from bench.errors import UsageError
from bench.gate import changes, matrix, series
from bench.public import to_public
from bench.records import Accuracy, Recipe
from bench.store import Store
from bench.timing import utc
from tests.builders import invalid, ok, refused
from tests.conftest import QUICK, WORKED, write_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.records import Job, Result

MATRIX = """
models = ["net.onnx"]
targets = ["null-fp32"]
margin = 0.1
processes = 3
min_seconds = 0.05
max_seconds = 0.05
confirm_seconds = 60
"""
#: Two processes that a busy machine sets one percent apart are INVALID, and no baseline.
BELIEVED = [*QUICK, "--processes", "3"]
KEYS = {
    "model", "target", "recipe", "status", "ratio", "p50_ms", "canary_ratio", "verdict", "accuracy",
    "result", "baseline", "comparison", "notes",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and a matrix."""
    monkeypatch.chdir(tmp_path)
    write_network(tmp_path / "net.onnx")
    (tmp_path / "matrix.toml").write_text(MATRIX)
    return tmp_path


@pytest.fixture(scope="module")
def once(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The job of the matrix, really measured: once for all tests."""
    folder = tmp_path_factory.mktemp("once")
    write_network(folder / "net.onnx")
    (folder / "matrix.toml").write_text(MATRIX)
    (job,) = matrix.read(folder / "matrix.toml").jobs(folder, Cache(shared_cache))
    for _ in range(3):  # two processes that a busy machine sets apart are INVALID, and no baseline
        found = pipeline.run(job, pipeline.Settings(shared_cache))
        if to_public(found)["verdict"] != "INVALID":
            return found
    raise AssertionError(f"three times INVALID: {to_public(found)['reasons']}")


@pytest.fixture
def measured(once: Result, folder: Path, own_store: Path) -> Result:
    """One result of the job of the matrix in this test's store, as if measured in its folder."""
    assert once.model is not None
    result = replace(
        once,
        job=replace(once.job, model="net.onnx"),
        model=replace(once.model, name="net.onnx"),
        artifacts=tuple(replace(each, path=str(folder / "net.onnx")) for each in once.artifacts),
    )
    Store(str(own_store)).append(result)
    return result


@pytest.fixture
def tonight(measured: Result, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nights in which what can run gives the numbers of `measured`, for the network as its file is
    then: where the judge is the question, and not what a busy machine does to a measurement."""
    real = pipeline.run

    def run(job: Job, settings: pipeline.Settings) -> Result:
        if job.target.hardware != "simulated":
            return real(job, settings)
        sha256 = sha256_of([folder / "net.onnx"])
        made = tuple(replace(each, sha256=sha256) for each in measured.artifacts)
        return replace(measured, job=job, artifacts=made, started_at=utc())

    monkeypatch.setattr(pipeline, "run", run)


def faster(result: Result, factor: float) -> Result:
    """The same result, had the network run that much faster and the canary as it did."""
    assert result.measurement is not None
    runs = tuple(
        replace(run, blocks_ns=tuple(tuple(int(ns / factor) for ns in b) for b in run.blocks_ns))
        for run in result.measurement.processes
    )
    return replace(result, measurement=replace(result.measurement, processes=runs))


def changed_file(path: Path) -> None:
    """Another artifact that computes the same."""
    model = onnx.load(path)
    model.doc_string = "changed"
    onnx.save(model, path)


def make_baseline(bench: Any, store: Path, result: Result) -> str:
    name = Store(str(store)).append(result)
    assert bench("baseline", "set", "main", name).status == 0
    return name


def gate(bench: Any, *arguments: Any) -> Any:
    return bench("gate", "matrix.toml", "-b", "main", "--json", *arguments)


def test_silence_when_nothing_changed(bench: Any, measured: Result, own_store: Path) -> None:
    name = make_baseline(bench, own_store, measured)
    ran = gate(bench)
    assert ran.status == 0
    (row,) = ran.json
    assert row.keys() == KEYS
    assert row["status"] == "OK"
    assert row["baseline"] == name
    assert row["ratio"] == pytest.approx(1, abs=0.05)
    assert row["comparison"] is None
    assert len(Store(str(own_store)).read()) == 2


@pytest.mark.usefixtures("short_turns")
def test_what_looks_slower_and_is_not_is_silent(
    bench: Any, measured: Result, own_store: Path, folder: Path
) -> None:
    """The baseline's numbers were lucky; its artifact, timed beside tonight's, is as slow."""
    old = folder / "old.onnx"
    (folder / "net.onnx").rename(old)
    onnx.save(onnx.load(old), folder / "net.onnx")
    changed_file(folder / "net.onnx")
    built = replace(measured.artifacts[-1], path=str(old))
    make_baseline(bench, own_store, replace(faster(measured, 3), artifacts=(built,)))
    ran = gate(bench)
    (row,) = ran.json
    assert (ran.status, row["status"]) == (0, "OK")
    assert "the comparison says SAME" in row["notes"][0]
    assert row["comparison"]["verdict"] == "SAME"
    assert row["ratio"] == row["comparison"]["ratio"]


def test_what_cannot_be_confirmed_is_no_alarm_and_not_silent(
    bench: Any, measured: Result, own_store: Path, folder: Path
) -> None:
    make_baseline(bench, own_store, faster(measured, 3))
    changed_file(folder / "net.onnx")  # where the baseline's artifact lay
    assert bench("cache", "clear", "kept").status == 0
    ran = gate(bench)
    (row,) = ran.json
    assert (ran.status, row["status"]) == (6, "UNCONFIRMED")
    assert "could not be confirmed" in row["notes"][0]
    assert "not there any more" in row["notes"][0]


@pytest.mark.usefixtures("short_turns")
def test_a_file_that_was_overwritten_is_confirmed_with_the_copy_that_was_kept(
    bench: Any, measured: Result, own_store: Path, folder: Path
) -> None:
    make_baseline(bench, own_store, faster(measured, 3))
    changed_file(folder / "net.onnx")
    (row,) = gate(bench).json
    assert row["comparison"]["verdict"] == "SAME"


def test_a_baseline_whose_artifact_is_gone_already_says_so(
    bench: Any, measured: Result, own_store: Path
) -> None:
    overwritten = replace(measured.artifacts[-1], sha256="ab" * 32)  # and nobody kept a copy
    name = Store(str(own_store)).append(replace(measured, artifacts=(overwritten,)))
    ran = bench("baseline", "set", "main", name)
    assert ran.status == 0
    assert f"artifact of result {name} is gone" in ran.err


@pytest.mark.usefixtures("short_turns")
def test_another_canary_means_nothing_so_it_is_compared(
    bench: Any, measured: Result, own_store: Path, folder: Path
) -> None:
    """A night on which the machine was twice as slow, and the canary another one."""
    slow = faster(measured, 0.5)
    assert slow.measurement is not None
    other = replace(slow.measurement, canary="ab" * 32)
    make_baseline(bench, own_store, replace(measured, measurement=other))
    changed_file(folder / "net.onnx")
    (row,) = gate(bench).json
    assert row["status"] == "OK"
    assert row["comparison"]["verdict"] == "SAME"


def test_a_fall_of_accuracy_outlives_a_slowdown_that_is_not_confirmed() -> None:
    from bench.gate import judge
    from tests.builders import job

    outcome = judge.Outcome(job(), "UNCONFIRMED", accuracy_fell=True)
    judge.correct([outcome])
    assert outcome.status == "ACCURACY"
    assert judge.exit_status([outcome]) == 5
    worse = judge.Outcome(job(), "REGRESSED", accuracy_fell=True, p=1e-9)
    judge.correct([worse])
    assert (worse.status, judge.exit_status([worse, outcome])) == ("REGRESSED", 4)


@pytest.fixture
def ended(
    bench: Any,
    measured: Result,
    own_store: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tonight: None,
) -> Callable[[Callable[[], object]], int]:
    """What ends a night in the second of its jobs -> the exit status; what was found is told, and
    until then nothing stands for JUnit's file, not even that of the night before."""
    make_baseline(bench, own_store, measured)
    (folder / "matrix.toml").write_text(MATRIX.replace('"null-fp32"', '"null-fp32", "null-int8"'))
    junit = folder / "junit.xml"
    junit.write_text("<testsuite/>")
    real = pipeline.run

    def night(end: Callable[[], object]) -> int:
        def run(job: Any, settings: Any) -> Any:
            assert not junit.exists()
            if job.target.name == "null-int8":
                end()
            return real(job, settings)

        monkeypatch.setattr(pipeline, "run", run)
        ran = gate(bench, "--junit", junit)
        assert [row["status"] for row in ran.json] == ["OK", "SKIPPED"]
        assert "1 of 2 jobs are stored" in ran.err
        assert len(ElementTree.parse(junit).getroot()) == 2
        return int(ran.status)

    return night


def test_an_interrupted_night_tells_what_it_has(
    ended: Callable[[Callable[[], object]], int],
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert ended(interrupt) == 130


def test_a_night_that_is_terminated_tells_what_it_has(
    ended: Callable[[Callable[[], object]], int],
) -> None:
    """As CI does when its time is up."""

    def ours(*_: Any) -> None: ...

    usual = signal.signal(signal.SIGTERM, ours)
    try:
        assert ended(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 143
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, usual)


@pytest.mark.usefixtures("tonight")
def test_a_missing_baseline_is_an_error_unless_it_is_the_first_night(
    bench: Any, measured: Result
) -> None:
    assert gate(bench).status == 2
    ran = gate(bench, "--allow-missing")
    assert (ran.status, ran.json[0]["status"]) == (0, "NEW")


@pytest.mark.usefixtures("tonight")
def test_a_store_from_before_baselines_gets_them(
    bench: Any, measured: Result, own_store: Path
) -> None:
    import sqlite3

    with sqlite3.connect(own_store) as connection:
        connection.execute("DROP TABLE baselines")
        connection.execute("DROP TABLE reported")
    assert bench("baseline", "list", "--json").json == {}
    make_baseline(bench, own_store, measured)
    assert gate(bench).status == 0


def test_junit_holds_any_name() -> None:
    from bench.gate import judge, outputs
    from tests.builders import job

    outcome = judge.Outcome(job("./\uffff\x00\ud800<&.onnx"), "FAILED", notes=["\x1b[31m"])
    ElementTree.fromstring(outputs.junit([outcome]).encode())


@pytest.mark.usefixtures("tonight")
def test_the_very_artifact_cannot_have_regressed(
    bench: Any, measured: Result, own_store: Path
) -> None:
    make_baseline(bench, own_store, faster(measured, 3))
    ran = gate(bench)
    (row,) = ran.json
    assert (ran.status, row["status"]) == (0, "OK")
    assert "the machine was slower" in row["notes"][0]


def write_chain(path: Path, layers: int) -> None:
    """A network of so many convolutions of one size."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.standard_normal((3, 3, 3, 3)).astype("f4") / 9, "w")
    nodes = [
        helper.make_node("Conv", [f"x{i}", "w"], [f"x{i + 1}"], pads=[1] * 4) for i in range(layers)
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 32, 32])
        for name in ("x0", f"x{layers}")
    ]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], [weight])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


@pytest.mark.slow
@pytest.mark.usefixtures("short_turns")
def test_a_real_regression_alarms(bench: Any, folder: Path) -> None:
    """A network that takes twice as long; the baseline's artifact lies in the cache."""
    write_chain(folder / "net.onnx", 20)
    matrix = MATRIX.replace("null-fp32", "cpu-ort-int8") + "threads = 1\n"
    (folder / "matrix.toml").write_text(matrix)
    run = ["run", "-m", "net.onnx", "-t", "cpu-ort-int8", "--threads", "1"]

    def has_a_baseline() -> bool:
        assert bench(*run, "--processes", "4", "--max-seconds", "1").status in WORKED
        return bool(bench("baseline", "set", "main").status == 0)

    assert any(has_a_baseline() for _ in range(3))  # of an INVALID one there is none
    write_chain(folder / "net.onnx", 40)
    for _ in range(3):  # a busy machine may leave a night UNCONFIRMED
        ran = gate(bench, "--summary", folder / "summary.md", "--junit", folder / "junit.xml")
        (row,) = ran.json
        if row["status"] != "UNCONFIRMED":
            break
    assert (ran.status, row["status"]) == (4, "REGRESSED")
    assert row["comparison"]["verdict"] == "SLOWER"
    assert row["ratio"] > 1.2
    assert "1 REGRESSED" in (folder / "summary.md").read_text()
    suite = ElementTree.parse(folder / "junit.xml").getroot()
    assert suite.attrib["failures"] == "1"
    assert suite.find("testcase/failure") is not None


@pytest.mark.usefixtures("tonight")
def test_a_job_that_is_not_in_the_baseline_is_new(
    bench: Any, measured: Result, own_store: Path, folder: Path
) -> None:
    make_baseline(bench, own_store, measured)
    (folder / "matrix.toml").write_text(MATRIX.replace("null-fp32", "null-int8"))
    ran = gate(bench)
    assert (ran.status, ran.json[0]["status"]) == (0, "NEW")


@pytest.mark.usefixtures("tonight")
@pytest.mark.parametrize(
    "change",
    [
        {"versions": {"onnxruntime": "1.0"}},
        {"hardware": "another machine"},
        {"gpus": ("NVIDIA T4 (driver 1)",)},
    ],
)
def test_another_runtime_driver_or_host_is_a_new_series(
    bench: Any, measured: Result, own_store: Path, change: dict[str, Any]
) -> None:
    seen = replace(measured.environment, **change)
    make_baseline(bench, own_store, replace(faster(measured, 2), environment=seen))
    ran = gate(bench)
    (row,) = ran.json
    assert (ran.status, row["status"]) == (0, "NEW-SERIES")
    assert "a new series" in row["notes"][0]
    assert "->" in row["notes"][0]


@pytest.mark.slow
def test_a_fall_of_accuracy_gates(bench: Any, folder: Path, own_store: Path) -> None:
    (folder / "matrix.toml").write_text(MATRIX.replace("net.onnx", "builtin:digits-mobilenet"))
    run = ["run", "-m", "builtin:digits-mobilenet", "-t", "null-fp32", *BELIEVED]
    assert bench(*run).status in WORKED
    (result,) = Store(str(own_store)).read()
    assert result.accuracy is not None
    for points, status in ((0.5, 0), (3.0, 5)):
        better = replace(result.accuracy, value=result.accuracy.value + points)
        make_baseline(bench, own_store, replace(result, accuracy=better))
        ran = gate(bench)
        (row,) = ran.json
        assert ran.status == status
        assert row["status"] == ("ACCURACY" if status else "OK")
        assert row["accuracy"]["baseline"] - row["accuracy"]["now"] == pytest.approx(points)


def test_a_job_that_fails_is_a_failure(
    bench: Any, measured: Result, own_store: Path, folder: Path
) -> None:
    make_baseline(bench, own_store, measured)
    (folder / "net.onnx").write_text("nothing")
    ran = gate(bench)
    assert (ran.status, ran.json[0]["status"]) == (1, "FAILED")
    assert "ONNX" in ran.json[0]["notes"][0]


@pytest.mark.usefixtures("tonight")
def test_a_target_that_is_not_here(
    bench: Any, measured: Result, own_store: Path, folder: Path
) -> None:
    make_baseline(bench, own_store, measured)
    (folder / "matrix.toml").write_text(MATRIX.replace('"null-fp32"', '"null-fp32", "t4-int8"'))
    ran = gate(bench, "--junit", folder / "junit.xml")
    assert ran.status == 3
    assert [row["status"] for row in ran.json] == ["OK", "UNAVAILABLE"]
    assert ElementTree.parse(folder / "junit.xml").getroot().attrib["skipped"] == "1"


def test_a_budget_that_is_over_measures_nothing_more(
    bench: Any, measured: Result, own_store: Path, folder: Path
) -> None:
    make_baseline(bench, own_store, measured)
    (folder / "matrix.toml").write_text(MATRIX + "budget_minutes = 1e-9\n")
    ran = gate(bench)
    assert (ran.status, ran.json[0]["status"]) == (6, "SKIPPED")
    assert len(Store(str(own_store)).read()) == 1


@pytest.mark.usefixtures("tonight")
def test_the_table_fits_and_the_headline_comes_last(
    bench: Any, measured: Result, own_store: Path
) -> None:
    make_baseline(bench, own_store, measured)
    ran = bench("gate", "matrix.toml", "-b", "main")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert ran.err.strip().splitlines()[-1] == "bench gate: 1 OK"


@pytest.mark.usefixtures("tonight")
def test_a_change_point_is_told_once(bench: Any, measured: Result, own_store: Path) -> None:
    store = Store(str(own_store))
    for night in range(16):
        earlier = faster(measured, 1.25 if night < 8 else 1.0)
        date = f"2026-10-{night + 1:02}T01:00:00.000+00:00"
        store.append(replace(earlier, started_at=date))
    assert bench("baseline", "set", "main").status == 0
    first, second = gate(bench), gate(bench)
    (note,) = first.json[0]["notes"]
    assert note.startswith("since 2026-10-09 ")
    assert "+25" in note or "+24" in note or "+26" in note
    assert second.json[0]["notes"] == []
    assert first.status == second.status == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models = [", ["not TOML"]),
        ("models = ['net.onnx']", ["targets"]),
        ("models = []\ntargets = ['null-fp32']", ["models", "empty"]),
        ("models = ['net.onnx']\ntargets = ['null-fp33']", ["null-fp33", "did you mean"]),
        ("models = ['nowhere.onnx']\ntargets = ['null-fp32']", ["nowhere.onnx"]),
        ("models = ['net.onnx']\ntargets = ['null-fp32']\nmargins = 1", ["margins"]),
        ("models = ['net.onnx']\ntargets = ['null-fp32']\nmargin = 0.0", ["margin"]),
        ("models = ['net.onnx']\ntargets = ['null-fp32']\nmargin = nan", ["margin"]),
        ("models = ['net.onnx']\ntargets = ['null-fp32']\nthreads = 0", ["threads"]),
        ("models = ['net.onnx']\ntargets = ['null-fp32']\nmax_seconds = inf", ["max_seconds"]),
        ("models = ['net.onnx']\ntargets = ['null-fp32']\naccuracy_drop = -1", ["accuracy_drop"]),
        ("models = ['net.onnx', 'a/net.onnx']\ntargets = ['null-fp32']", ["rename one"]),
    ],
)
def test_a_bad_matrix_is_one_sentence(
    bench: Any, measured: Result, own_store: Path, folder: Path, text: str, words: list[str]
) -> None:
    make_baseline(bench, own_store, measured)
    (folder / "a").mkdir()
    write_network(folder / "a" / "net.onnx")
    (folder / "matrix.toml").write_text(text)
    ran = gate(bench)
    assert ran.status == 2
    assert ran.out == ""
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gate", "nowhere.toml", "-b", "main"], ["nowhere.toml", "cannot be read"]),
        (["gate", "matrix.toml", "-b", "mian"], ["mian", "did you mean main"]),
        (["gate", "matrix.toml", "-b", "main", "--junit", "no/where.xml"], ["no/where.xml"]),
        (["gate", "matrix.toml", "-b", "main", "--summary", "."], ["cannot be written"]),
        (["gate", "matrix.toml", "-b", ""], ["unknown baseline ''"]),
        (["baseline", "set", ""], ["needs a name"]),
        (["baseline", "remove", "mian"], ["mian"]),
        (["baseline", "set", "main", "ffff"], ["ffff"]),
    ],
)
def test_bad_arguments_are_one_sentence(
    bench: Any, measured: Result, own_store: Path, arguments: list[str], words: list[str]
) -> None:
    make_baseline(bench, own_store, measured)
    ran = bench(*arguments)
    assert ran.status == 2
    for word in words:
        assert word in ran.err.strip().splitlines()[-1]


def test_baselines_are_set_listed_and_removed(
    bench: Any, measured: Result, own_store: Path
) -> None:
    assert "no baseline yet" in bench("baseline", "list").err
    make_baseline(bench, own_store, measured)
    assert bench("baseline", "list", "--json").json == {"main": 1}
    assert "main" in bench("baseline", "list").out
    assert bench("baseline", "remove", "main").status == 0
    assert bench("baseline", "list", "--json").json == {}
    assert len(Store(str(own_store)).read()) == 1


def test_a_failed_result_and_two_of_one_job_make_no_baseline(
    bench: Any, measured: Result, own_store: Path
) -> None:
    store = Store(str(own_store))
    twin = store.append(replace(measured, started_at="2026-10-01T00:00:00.000+00:00"))
    bench("run", "-m", "net.onnx", "-t", "t4-int8")
    first, failed = (
        next(row["id"] for row in bench("list", "results", "--json").json if row["status"] == status
             and row["id"] != twin)
        for status in ("ok", "failed")
    )  # fmt: skip
    for ids, word in (([failed], "failed"), ([first, twin], "one job")):
        ran = bench("baseline", "set", "main", *ids)
        assert ran.status == 2
        assert word in ran.err


def spread_out(result: Result) -> Result:
    """The same result, had its processes had nothing in common."""
    assert result.measurement is not None
    first, *others = result.measurement.processes
    slow = replace(first, blocks_ns=tuple(tuple(3 * ns for ns in b) for b in first.blocks_ns))
    return replace(result, measurement=replace(result.measurement, processes=(slow, *others)))


def test_a_result_that_is_invalid_makes_no_baseline(
    bench: Any, measured: Result, own_store: Path
) -> None:
    name = Store(str(own_store)).append(spread_out(measured))
    ran = bench("baseline", "set", "main", name)
    assert ran.status == 2
    assert "is INVALID" in ran.err
    assert bench("baseline", "set", "main").status == 0
    (kept,) = Store(str(own_store)).baseline("main")
    assert kept == measured


def test_a_newer_result_that_is_passed_over_is_said(
    bench: Any, measured: Result, own_store: Path
) -> None:
    newer = replace(spread_out(measured), started_at="2099-01-01T00:00:00.000+00:00")
    name = Store(str(own_store)).append(newer)
    ran = bench("baseline", "set", "main")
    assert ran.status == 0
    (kept,) = Store(str(own_store)).baseline("main")
    assert kept == measured
    assert f"result {name}" in ran.err
    assert "is INVALID" in ran.err
    assert "is taken" in ran.err


@pytest.mark.usefixtures("tonight")
def test_a_result_of_a_runner_that_is_elsewhere(
    bench: Any, measured: Result, own_store: Path
) -> None:
    target = replace(measured.job.target, name="theirs", runner="theirs")
    theirs = replace(measured, job=replace(measured.job, target=target))
    Store(str(own_store)).append(theirs)
    assert bench("baseline", "set", "main").status == 0
    assert bench("baseline", "list", "--json").json == {"main": 2}
    assert gate(bench).status == 0


def test_a_night_that_is_invalid_is_not_silent() -> None:
    from bench.gate import judge
    from tests.builders import job

    row = {"verdict": "INVALID", "reasons": ["another process used the GPU"]}
    before, after = ok(0), ok(1)
    new = replace(after, artifacts=(replace(after.artifacts[-1], sha256="ab" * 32),))
    other = replace(before, environment=replace(before.environment, hardware="another"))
    for known, tonight, status in (
        (None, after, 6),
        (before, new, 6),
        (other, before, 6),
        (before, before, 0),
    ):
        outcome = judge.Outcome(job(), "OK", row)
        judge._judge_validity(outcome, known, tonight)
        judge.correct([outcome])
        assert judge.exit_status([outcome]) == status
        assert "another process used the GPU" in outcome.notes[0]


KNOWN = Accuracy("classification", "top1", 80.0, (79.0, 81.0), 1000, "val", "f")


@pytest.mark.usefixtures("tonight")
@pytest.mark.parametrize(
    ("earlier", "said"),
    [
        (lambda result: replace(result, accuracy=KNOWN), "was not measured tonight"),
        (
            lambda result: replace(result, model=replace(result.model, weights="random")),
            "and were random",
        ),
    ],
)
def test_what_the_baseline_has_and_tonight_has_not_is_not_silent(
    bench: Any, measured: Result, own_store: Path, earlier: Any, said: str
) -> None:
    make_baseline(bench, own_store, earlier(measured))
    ran = gate(bench)
    assert (ran.status, ran.json[0]["status"]) == (6, "UNCONFIRMED")
    assert said in ran.json[0]["notes"][0]


@pytest.mark.usefixtures("tonight")
def test_a_baseline_of_two_machines_serves_both(
    bench: Any, measured: Result, own_store: Path
) -> None:
    elsewhere = replace(measured.environment, hardware="another machine")
    Store(str(own_store)).append(replace(measured, environment=elsewhere))
    assert bench("baseline", "set", "main").status == 0
    assert bench("baseline", "list", "--json").json == {"main": 2}
    ran = gate(bench)
    assert (ran.status, ran.json[0]["status"]) == (0, "OK")


def test_accuracy_is_that_of_the_newest_of_the_network(measured: Result) -> None:
    """On a machine that the baseline has not; what is another network has nothing to fall from."""
    from bench.gate import judge

    def elsewhere(hardware: str, started_at: str) -> Result:
        seen = replace(measured.environment, hardware=hardware)
        return replace(measured, environment=seen, started_at=started_at)

    old, new = elsewhere("a", "2026-01-01"), elsewhere("b", "2026-02-01")
    for known in ([old, new], [new, old]):
        assert judge.counterpart(measured, known) is new
    assert measured.model is not None
    detector = replace(measured.model, task="detection")
    other = replace(measured, model=detector, accuracy=KNOWN)
    worse = replace(measured, accuracy=replace(KNOWN, value=60.0))
    outcome = judge.Outcome(measured.job, result={"verdict": "VALID"})
    unused: Any = None
    judge.judge(outcome, worse, [other], unused)
    assert (outcome.status, outcome.accuracy_fell) == ("NEW-SERIES", False)


@pytest.mark.usefixtures("tonight")
def test_what_is_odd_ends_its_job_and_not_the_night(
    bench: Any, measured: Result, own_store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "net.onnx")

    make_baseline(bench, own_store, faster(measured, 3))
    changed_file(folder / "net.onnx")
    (folder / "matrix.toml").write_text(MATRIX.replace('"null-fp32"', '"null-fp32", "null-int8"'))
    monkeypatch.setattr(sides, "prepare", odd)
    ran = gate(bench)
    assert [row["status"] for row in ran.json] == ["UNCONFIRMED", "NEW"]
    assert "Permission denied" in ran.json[0]["notes"][0]
    assert ran.status == 6


@pytest.mark.usefixtures("tonight")
def test_what_was_found_outlasts_what_ends_the_night(
    bench: Any, measured: Result, own_store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.errors import StoreError
    from bench.gate import judge

    def fell(outcome: Any, *_: Any) -> None:
        outcome.accuracy_fell = True

    real = pipeline.run

    def full(job: Any, settings: Any) -> Any:
        if job.target.name == "null-int8":
            raise StoreError("the disk is full")
        return real(job, settings)

    make_baseline(bench, own_store, measured)
    (folder / "matrix.toml").write_text(MATRIX.replace('"null-fp32"', '"null-fp32", "null-int8"'))
    monkeypatch.setattr(judge, "_judge_accuracy", fell)
    monkeypatch.setattr(pipeline, "run", full)
    ran = gate(bench)
    assert ran.status == 5
    assert [row["status"] for row in ran.json] == ["ACCURACY", "SKIPPED"]
    assert "the disk is full" in ran.err


def test_a_series_is_the_same_in_another_folder_and_another_for_another_network() -> None:
    from tests.builders import job

    mine = replace(job(), weights="/home/a/mine.safetensors")
    assert series.key(mine) == series.key(replace(mine, weights="/ci/mine.safetensors"))
    assert series.key(mine) != series.key(replace(mine, weights="random"))
    before = ok()
    assert before.model is not None
    other = replace(before, model=replace(before.model, task="detection"))
    assert series.changed(before, before) == []
    assert series.changed(before, other) == [
        "it is another network: its inputs, task or labels differ"
    ]


# Change points.


def series_of(*levels: tuple[int, float], seed: int = 0, noise: float = 0.01) -> list[float]:
    rng = np.random.default_rng(seed)
    return [level + noise * rng.standard_normal() for n, level in levels for _ in range(n)]


@settings(max_examples=30)
@given(st.integers(6, 30), st.integers(6, 30), st.sampled_from([-1, 1]), st.integers(0, 10**6))
def test_a_step_is_found_where_it_is(before: int, after: int, sign: int, seed: int) -> None:
    values = series_of((before, 0.0), (after, 0.1 * sign), seed=seed)
    found = changes.find(values, 0.02)
    largest = max(found, key=lambda change: abs(change.shift))
    assert abs(largest.index - before) <= 1
    # One series in a hundred has a second change, of the noise alone, which moves the means a bit.
    assert largest.shift == pytest.approx(0.1 * sign, abs=0.03)


def test_a_step_is_rarely_more_than_one() -> None:
    """The rate of `changes.P`, for each of the two sides."""
    found = [changes.find(series_of((10, 0.0), (10, 0.1), seed=s), 0.02) for s in range(200)]
    assert sum(len(each) > 1 for each in found) <= 8


def test_noise_alone_has_no_changes() -> None:
    """One series in a hundred, as P says."""
    found = sum(bool(changes.find(series_of((40, 0.0), seed=s), 0.002)) for s in range(200))
    assert found <= 4


def test_two_steps_are_both_found() -> None:
    found = changes.find(series_of((20, 0.0), (20, 0.1), (20, 0.03)), 0.02)
    assert [change.index for change in found] == [20, 40]


def test_a_short_series_a_small_step_and_a_flat_one_have_none() -> None:
    assert changes.find(series_of((5, 0.0), (5, 1.0)), 0.02) == []
    assert changes.find(series_of((20, 0.0), (20, 0.01), noise=0.001), 0.02) == []
    assert changes.find([1.0] * 30, 0.02) == []


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(-100, 100))
def test_changes_do_not_depend_on_the_level(seed: int, level: float) -> None:
    values = series_of((15, 0.0), (15, 0.1), seed=seed)
    moved = [value + level for value in values]
    assert [c.index for c in changes.find(values, 0.02)] == [
        c.index for c in changes.find(moved, 0.02)
    ]


def test_welch_is_scipys() -> None:
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(200), rng.standard_normal(300) + 0.2
    assert changes.welch_p(a, b) == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue, rel=0.01)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.2))
def test_benjamini_hochberg_is_scipys(ps: list[float], rate: float) -> None:
    from scipy.stats import false_discovery_control

    believed = stats.benjamini_hochberg(ps, rate)
    adjusted = false_discovery_control(ps, method="bh")
    for p, mine in zip(adjusted, believed, strict=True):
        assert mine == (p <= rate) or p == pytest.approx(rate)


@settings(max_examples=30)
@given(st.integers(1, 20), st.floats(-0.5, 1.0), st.integers(0, 10**6))
def test_signed_rank_p_is_scipys(n: int, shift: float, seed: int) -> None:
    from scipy.stats import wilcoxon

    values = np.random.default_rng(seed).standard_normal(n) + shift
    wanted = wilcoxon(values, alternative="greater", method="exact").pvalue
    assert stats.signed_rank_p(values.tolist()) == pytest.approx(wanted)


def test_the_matrix_says_how_int8_is_made(tmp_path: Path) -> None:
    for name in ("val", "train"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    write_network(tmp_path / "net.onnx")
    path = tmp_path / "bench.toml"
    many = 'models = ["net.onnx"]\ntargets = ["cpu-ort-*"]\ndata = "val"\ncalib = "train"\n'
    path.write_text(many + 'calibration = ["minmax:64", 32]\n')
    fp32, *int8 = matrix.read(path).jobs(tmp_path, Cache(tmp_path))
    assert fp32.recipe == Recipe()
    assert [job.recipe for job in int8] == [Recipe("minmax", 64), Recipe(None, 32)]
    assert fp32.data.calibration_path == str(tmp_path / "train")
    assert fp32.data.calibration == 64
    assert len({series.key(job) for job in (fp32, *int8)}) == 3
    path.write_text(many + "max_drop = 1\nstrict = true\n")
    job = matrix.read(path).jobs(tmp_path, Cache(tmp_path))[1]
    assert (job.max_drop, job.data.strict) == (1, True)
    for more, words in (
        ("max_drop = -1", "number of points"),
        ("max_drop = 1\ncalibration = [1, 2]", "one calibration"),
        ('calibration = "minmax:"', "METHOD"),
    ):
        path.write_text(f"{many}{more}\n")
        with refused(UsageError, words):
            matrix.read(path).jobs(tmp_path, Cache(tmp_path))


@pytest.mark.parametrize(
    ("factor", "status"), [(1.0, "OK"), (2.0, "REGRESSED")], ids=["same", "slower"]
)
def test_what_speaks_against_a_comparison_is_noted_whatever_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factor: float, status: str
) -> None:
    from bench.comparison import Comparison, Pair
    from bench.gate import judge
    from bench.messages import Timed
    from bench.records import Load
    from bench.sides import Asked, Side
    from tests.builders import job

    before = ok()
    assert before.model is not None
    built = before.artifacts[-1]
    side = Side(Asked("a", job()), before.model, Timed(built, built), ())
    crowded = Load(10**9, 10**9, 10**9, 0, 0, 0)
    pair = Pair(((1000,),) * 3, ((int(1000 * factor),),) * 3, (crowded, crowded))
    monkeypatch.setattr(judge.sides, "prepare", lambda *_, **__: side)
    monkeypatch.setattr(
        judge.comparison, "compare", lambda a, b, rules, _: Comparison(a, b, rules, [pair] * 12)
    )
    terms = judge.Terms(matrix.Matrix(models=(), targets=()), 1, tmp_path, lambda _: None)
    outcome = judge.Outcome(job())
    judge._confirm(outcome, before, ok(1), terms)
    assert outcome.status == status
    assert "other processes used 100% of a CPU" in outcome.notes[-1]


def test_nights_that_are_invalid_are_no_history(own_store: Path) -> None:
    """Eight of them, and the change that they would make."""
    from bench.gate import judge, night

    store = Store(str(own_store))
    for i in range(17):
        result = invalid(ok(i)) if i < 8 else ok(i)
        store.append(replace(result, started_at=f"2026-10-{i + 1:02}T01:00:00.000+00:00"))
    outcome = judge.Outcome(ok().job)
    night._read_history(outcome, ok(16), 0.02, store)
    assert (outcome.notes, outcome.told) == ([], [])


def test_the_timeout_of_a_matrix_is_what_its_jobs_may_take(bench: Any, folder: Path) -> None:
    (folder / "matrix.toml").write_text(MATRIX + "timeout = 0.1\n")
    ran = bench("gate", "matrix.toml", "--json")
    assert (ran.status, ran.json[0]["status"]) == (1, "FAILED")
    assert ran.json[0]["notes"] == ["the time limit ran out: raise `timeout` in the matrix"]
