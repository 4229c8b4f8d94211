"""The commands beside `run`: list, show, report, doctor, export, import, cache."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench import (
    __version__,
    cells,
    diagnosis,
    pipeline,
    present,
    present_result,
    targets,
    terminal,
)
from bench.errors import unknown
from bench.public import result_id, to_public
from bench.records import Job, Procedure
from bench.store import Store
from tests.builders import invalid, ok
from tests.conftest import QUICK

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.records import Result

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def once(tiny_onnx: Path, shared_cache: Path) -> list[Result]:
    """One good result and one refusal."""
    how = Procedure(processes=2, min_seconds=0.05, max_seconds=0.05)
    return [
        pipeline.run(Job(str(tiny_onnx), target, procedure=how), pipeline.Settings(shared_cache))
        for target in targets.select(["null-fp32", "t4-int8"])
    ]


@pytest.fixture
def measured(once: list[Result], own_store: Path) -> Any:
    """One good result and one refusal in the store; the good one's public row."""
    for result in once:
        Store(str(own_store)).append(result)
    return json.loads(json.dumps(to_public(once[0])))


@pytest.mark.parametrize("module", ["bench", "bench.cli"])
def test_python_can_run_it_by_the_name_of_its_module(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"bench {__version__}\n"


def test_help_version_and_wrong_commands(bench: Any) -> None:
    assert "run" in bench("--help").out
    assert bench("--version").out.strip() == f"bench {__version__}"
    assert bench("run", "--help").status == 0
    wrong = bench("rum")
    assert wrong.status == 2
    assert "Traceback" not in wrong.err
    assert bench("run").status == 2


def test_every_exit_status_in_the_readme_is_one_we_use() -> None:
    from bench import campaign, errors

    text = (ROOT / "README.md").read_text()
    cells = re.findall(r"^\| ([\d, ]+) \| ", text, re.M)
    stated = {int(n) for cell in cells for n in cell.split(",")}
    used = {kind.exit_status for kind in (errors.BenchError, *errors.BenchError.__subclasses__())}
    assert stated == used | {0, 4, 5, 6, 130, 143}  # 4 and 5 are the gate's
    assert campaign.exit_status([]) == 0


def test_list_targets_and_runners(bench: Any) -> None:
    listed = bench("list", "targets")
    assert listed.status == 0
    for target in targets.every():
        assert target.name in listed.out
    assert max(map(len, listed.out.splitlines())) <= 80
    names = {row["runner"] for row in bench("list", "runners", "--json").json}
    assert names >= {"null", "ort", "openvino"}
    assert "onnxruntime" in bench("list", "runners").out


def test_list_models(bench: Any) -> None:
    found = bench("list", "models", "builtin:*").out.split()
    assert len(found) >= 6
    assert all(name.startswith("builtin:") for name in found)
    assert {"builtin:digits-resnet", "builtin:segnet"} <= set(found)
    assert bench("list", "models", "builtin:*", "--json").json == found
    nothing = bench("list", "models", "no-such-model-anywhere")
    assert nothing.status == 2
    assert "Traceback" not in nothing.err


def test_list_results_and_show(bench: Any, measured: Any) -> None:
    listed = bench("list", "results")
    assert measured["id"][:8] in listed.out
    assert "failed" in listed.out
    assert max(map(len, listed.out.splitlines())) <= 80
    assert [row["id"] for row in bench("list", "results", "-t", "null-fp32", "--json").json] == [
        measured["id"]
    ]
    assert bench("show", measured["id"][:6], "--json").json == measured
    sheet = bench("show", measured["id"][:6]).out
    assert measured["id"] in sheet
    assert f"{measured['latency']['p50_ms']:.4g} ms" in sheet or measured["verdict"] == "INVALID"
    unknown = bench("show", "nonsense")
    assert unknown.status == 2
    assert "bench list results" in unknown.err


def test_results_are_listed_by_a_glob_and_a_slip_is_told(
    bench: Any, measured: Any, tmp_path: Path
) -> None:
    listed = bench("list", "results", "-t", "null-*", "--json").json
    assert [row["id"] for row in listed] == [measured["id"]]
    for command in (["list", "results"], ["report", "--out", tmp_path / "report"]):
        slip = bench(*command, "-t", "null-fp33")
        assert slip.status == 2
        assert "did you mean null-fp32" in slip.err
    assert bench("list", "results", "-t", "null-int8", "--json").json == []
    assert "bench run" in bench("report", "-t", "t4-fp1*", "--out", tmp_path / "report").err


@pytest.mark.parametrize(
    "pattern", ["tiny.onnx", "tiny", "*/tiny.onnx"], ids=["file", "no ending", "glob"]
)
def test_results_are_chosen_by_model(
    bench: Any, measured: Any, own_store: Path, pattern: str
) -> None:
    Store(str(own_store)).append(ok(model="builtin:digits-lenet.digits"))
    for command in (["list", "results", "--json"], ["export"]):
        found = bench(*command, "-m", pattern).out
        assert "tiny.onnx" in found
        assert "digits-lenet" not in found
    assert [r["model"] for r in bench("list", "results", "-m", "digits-lenet", "--json").json] == [
        to_public(ok(model="builtin:digits-lenet.digits"))["model"]
    ]
    slip = bench("list", "results", "-m", "digits-lenett")
    assert slip.status == 2
    assert "did you mean" in slip.err


def test_results_are_removed_unless_a_baseline_needs_them(bench: Any, own_store: Path) -> None:
    store = Store(str(own_store))
    kept, mistaken = store.append(ok(1)), store.append(ok(2))
    store.set_baseline("main", [kept])
    refused = bench("remove", kept[:6], mistaken[:6])
    assert refused.status == 2
    assert "baseline main" in refused.err
    assert len(store.read()) == 2
    assert mistaken in bench("remove", mistaken[:6]).err
    assert [result_id(each) for each in store.read()] == [kept]
    assert bench("remove", mistaken[:6]).status == 2
    for nothing in ("", "%", "main"):
        assert bench("remove", nothing).status == 2
    assert len(store.read()) == 1


def test_a_damaged_result_can_be_removed(bench: Any, own_store: Path) -> None:
    store = Store(str(own_store))
    good, damaged = store.append(ok(1)), store.append(ok(2))
    with sqlite3.connect(own_store) as database:
        database.execute("UPDATE results SET record = x'00' WHERE id = ?", (damaged,))
    assert damaged in bench("list", "results").err
    assert bench("remove", damaged[:8]).status == 0
    assert good[:8] in bench("list", "results").out


def test_a_failure_does_not_change_how_its_neighbours_are_called() -> None:
    good = to_public(ok(1))
    bad = {**good, "status": "failed", "threads": None, "calibration": None, "recipe": None}
    assert cells.targets([good, bad])[0] == good["target"]


def test_an_imported_result_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    row = {**to_public(ok(1)), "threads": "auto", "measured_by": "trtexec 10"}
    present_result.sheet(row)
    assert "limit of time" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [["coverage", "--timeout", "inf"], ["doctor", "--noise", "--seconds", "inf"]],
    ids=" ".join,
)
def test_a_time_that_is_not_finite_is_refused(bench: Any, words: list[str]) -> None:
    ran = bench(*words)
    assert ran.status == 2
    assert "finite" in ran.err


def test_a_number_that_is_invalid_is_not_listed_as_one(bench: Any, own_store: Path) -> None:
    Store(str(own_store)).append(invalid(ok(model="builtin:digits-lenet")))
    assert "invalid" in bench("list", "results").out


def test_the_password_of_the_store_is_shown_nowhere(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "_runner_problems", lambda _, fit: [None] * (1 + len(fit)))
    monkeypatch.setenv("BENCH_STORE", "postgresql://me:secret@host/db")
    for shown in (bench("doctor"), bench("doctor", "--json")):
        assert shown.status == 0
        assert "secret" not in shown.out
        assert "@host/db" in shown.out.replace("\n", "")


def test_a_home_that_is_nobodys_is_one_sentence(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (
        ["run", "-m", "~nobody-here/net.onnx", "-t", "null-fp32"],
        ["list", "results", "--store", "~nobody-here/results.db"],
    ):
        ran = bench(*command)
        assert ran.status == 2
        assert "no user 'nobody-here'" in ran.err
    assert not list(tmp_path.glob("~*")), "a store would have been made there"


def test_an_empty_store_says_what_to_do(bench: Any) -> None:
    assert "bench run" in bench("list", "results").err
    empty = bench("report")
    assert empty.status == 2
    assert "bench run" in empty.err
    assert bench("export").out == ""


def test_report_without_accuracy_writes_the_table(
    bench: Any, measured: Any, tmp_path: Path
) -> None:
    written = bench("report", "--out", tmp_path / "report")
    assert written.status == 0
    names = {Path(line).name for line in written.out.split()}
    assert {"results.md", "results.csv"} <= names
    assert "NVIDIA T4" in (tmp_path / "report" / "results.md").read_text()
    refused = bench("report", "--out", tmp_path / "report", "--format", "png")
    assert refused.status == 2  # asked for by name, it says why there is none
    assert "accuracy" in refused.err
    wrong = bench("report", "--format", "docx")
    assert wrong.status == 2
    assert "png" in wrong.err


def test_export_and_import_move_results_whole(
    bench: Any, measured: Any, own_store: Path, tmp_path: Path
) -> None:
    lines = bench("export").out
    assert [json.loads(line)["id"] for line in lines.splitlines()].count(measured["id"]) == 1
    file = tmp_path / "results.jsonl"
    assert bench("export", "--out", file).status == 0
    assert file.read_text() == lines
    other = tmp_path / "other.db"
    assert "2 results imported" in bench("import", file, "--store", other).err
    assert "0 results imported, 2" in bench("import", file, "--store", other).err
    assert Store(str(other)).read() == Store(str(own_store)).read()
    table = list(csv.DictReader(io.StringIO(bench("export", "--format", "csv").out)))
    assert {row["status"] for row in table} == {"ok", "failed"}
    assert float(table[0]["latency_p50_ms"] or table[1]["latency_p50_ms"]) > 0


def test_export_to_parquet(bench: Any, measured: Any, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    assert bench("export", "--format", "parquet").status == 2
    assert bench("export", "--format", "parquet", "--out", tmp_path / "r.parquet").status == 0
    assert len(pd.read_parquet(tmp_path / "r.parquet")) == 2


def test_import_refuses_what_it_cannot_read(bench: Any, tmp_path: Path, own_store: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    for content in (b"not json\n", b"{}\n", b'{"record": 1}\n', b"\xff\xfe\x00", b"[1, 2]\n"):
        bad.write_bytes(content)
        refused = bench("import", bad)
        assert refused.status == 2, content
        assert "line 1" in refused.err
        assert "Traceback" not in refused.err
    assert bench("import", tmp_path / "nowhere").status == 2
    assert bench("import", tmp_path).status == 2


def test_doctor_knows_every_target(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = bench("doctor", "--json").json
    verdicts = {row["target"]: row for row in told["targets"]}
    assert verdicts.keys() == {target.name for target in targets.every()}
    assert verdicts["null-fp32"]["ready"]
    assert verdicts["cpu-ort-fp32"]["ready"]
    assert not verdicts["xavier-nx-int8"]["ready"]
    assert "Xavier NX" in verdicts["xavier-nx-int8"]["reason"]
    assert told["machine"]["threads"]
    runners = {row["runner"]: row for row in told["runners"]}
    assert runners["ort"]["ready"]
    assert runners.keys() >= {target.runner for target in targets.every()}
    assert all(row["ready"] or row["reason"] for row in runners.values())
    monkeypatch.setattr(diagnosis, "examine", lambda _: told)
    table = bench("doctor")
    assert table.status == 0
    assert max(map(len, table.out.splitlines())) <= 80


def test_cache_size_and_clear(
    bench: Any, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    assert bench("cache", "size").status == 0
    # Three processes: two that a busy machine sets one percent apart make no baseline.
    bench("run", "-m", tiny_onnx, "-t", "null-fp32", *QUICK, "--processes", "3")
    stages = bench("cache", "size", "--json").json["stages"]
    assert stages["inputs"]["bytes"] > 0
    assert bench("cache", "clear", "nonsense").status == 2
    assert bench("cache", "clear", "inputs").status == 0
    assert "inputs" not in bench("cache", "size", "--json").json["stages"]
    bench("baseline", "set", "main")
    told = bench("cache", "clear").err
    assert "MB stay" in told
    assert bench("cache", "size", "--json").json["stages"].keys() == {"kept"}
    bench("cache", "clear", "kept")
    assert bench("cache", "size", "--json").json["stages"] == {}


def test_a_damaged_target_file_is_named(bench: Any, own_targets: Callable[[str], Path]) -> None:
    damaged = own_targets("[target.x\n")
    refused = bench("list", "targets")
    assert refused.status == 2
    assert damaged.name in refused.err


def test_output_that_nobody_reads_is_no_error() -> None:
    line = "from bench.cli import main; main()"
    done = subprocess.run(
        f"{sys.executable} -c '{line}' list targets --json | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "["
    assert done.stderr == ""


@pytest.mark.parametrize(("width", "kept"), [(80, 80), (30, 30), (8, 8)])
def test_a_narrow_live_line_shows_how_it_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, kept: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    now = ": evaluate 50/650"
    terminal.draw("[1/1] somewhere/a_network_with_a_long_name.onnx @ cpu-ort-fp32" + 9 * " .", now)
    line = capsys.readouterr().err.removeprefix("\r\033[K")
    assert len(line) == kept - 1
    assert line.endswith(now[: width - 1])


def test_a_name_that_two_sources_have_is_offered_once() -> None:
    said = str(unknown("model", "resnet5O", ["resnet50", "vgg16", "resnet50"], "bench list models"))
    assert said == "unknown model 'resnet5O': did you mean resnet50?"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("the 95 % interval is ±1.5%, wanted ±1.0%: quieten", "the 95 % interval is …, wanted …"),
        ("blocks took 1.25 to 3 ms (10th to 90th percentile)", "blocks took … to … ms"),
        ("latency drifted by +4.0% from", "latency drifted by … from"),
    ],
)
def test_reasons_are_counted_without_their_figures(reason: str, kind: str) -> None:
    assert present._kind(reason) == kind
