"""Export and import: nothing is lost, nothing comes twice, nothing that was changed comes in."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from bench import transfer
from bench.errors import UsageError
from bench.public import encode, result_id, to_public
from bench.store import Store
from tests.builders import TARGET, failed, job, message_of, ok, refused, results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.records import Result

KEPT = [
    ok(1),
    failed(2),
    ok(3, model="py:pkg.net:make", accuracy=None),
    ok(4, notes=('a line\nand another, with "quotes"; and a ✓',)),
]
#: A public row takes a bootstrap: few of them, and not thousands to find a smaller one.
SLOW = settings(
    phases=[Phase.explicit, Phase.generate],
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def lines_of(results: list[Result]) -> list[str]:
    out = io.StringIO()
    transfer.write(results, "jsonl", out)
    return out.getvalue().splitlines(keepends=True)


def test_jsonl_loses_nothing(path: Path) -> None:
    transfer.write_file(KEPT, "jsonl", path)
    found = transfer.read(path)
    assert found == KEPT
    assert [encode(result) for result in found] == [encode(result) for result in KEPT]


@SLOW
@given(st.lists(results(), max_size=3))
def test_jsonl_loses_nothing_of_any_record(path: Path, kept: list[Result]) -> None:
    transfer.write_file(kept, "jsonl", path)
    assert [encode(result) for result in transfer.read(path)] == list(map(encode, kept))


def test_a_line_is_the_public_result_and_its_record() -> None:
    for line, result in zip(lines_of(KEPT), KEPT, strict=True):
        row = json.loads(line)
        assert json.dumps(row.pop("record")) == json.dumps(json.loads(encode(result)))
        assert row == json.loads(json.dumps(to_public(result)))


def test_export_and_import_is_the_same_store(tmp_path: Path, path: Path) -> None:
    here, there = (Store(str(tmp_path / name)) for name in ("here.db", "there.db"))
    for result in KEPT:
        here.append(result)
    transfer.write_file(here.read(), "jsonl", path)
    assert transfer.copy(transfer.read(path), there) == (4, 0)
    assert transfer.copy(transfer.read(path), there) == (0, 4)
    assert there.read() == here.read()
    assert lines_of(there.read()) == path.read_text(encoding="utf-8").splitlines(keepends=True)


def test_copy_counts_what_is_new(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "some.db"))
    assert transfer.copy([], store) == (0, 0)
    assert transfer.copy(KEPT[:2], store) == (2, 0)
    assert transfer.copy(KEPT, store) == (2, 2)
    assert transfer.copy([ok(9), ok(9)], store) == (1, 1)


def test_an_empty_file_has_no_results(path: Path) -> None:
    path.touch()
    assert transfer.read(path) == []
    path.write_text("\n  \n\n")
    assert transfer.read(path) == []


def test_empty_lines_count_but_do_not_matter(path: Path) -> None:
    first, second, *_ = lines_of(KEPT)
    path.write_text(f"\n{first}\n\n{second}")
    assert transfer.read(path) == KEPT[:2]
    path.write_text(f"\n{first}\nno\n")
    with refused(UsageError, path, "line 4"):
        transfer.read(path)


def test_the_last_line_may_lack_its_end(path: Path) -> None:
    path.write_text("".join(lines_of(KEPT)).rstrip("\n"))
    assert transfer.read(path) == KEPT


def shortened(line: str) -> str:
    return line[: len(line) // 2]


def faster(line: str) -> str:
    row = json.loads(line)
    row["record"]["measurement"]["processes"][0]["blocks_ns"][0][0] -= 1
    return json.dumps(row)


def renamed(line: str) -> str:
    return json.dumps({**json.loads(line), "id": "0" * 12})


def recordless(line: str) -> str:
    row = json.loads(line)
    del row["record"]
    return json.dumps(row)


def of_a_newer_version(line: str) -> str:
    row = json.loads(line)
    row["record"]["schema"] = 99
    return json.dumps(row)


def without_samples(line: str) -> str:
    """As no result of ours is; without an id nothing tells that it was changed."""
    row = json.loads(line)
    row["record"]["measurement"]["processes"] = []
    return json.dumps({"record": row["record"]})


def of_no_time(line: str) -> str:
    row = json.loads(line)
    for run in row["record"]["measurement"]["processes"]:
        run["blocks_ns"] = [[0]]
    return json.dumps({"record": row["record"]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_samples, "samples"),
        (of_no_time, "samples"),
        (faster, "changed after it was exported"),
        (renamed, "000000000000"),
        (shortened, ""),
        (recordless, '"record"'),
        (of_a_newer_version, "schema 99"),
        (lambda _: "[]", '"record"'),
        (lambda _: "null", '"record"'),
        (lambda _: '{"record": null}', ""),
        (lambda _: '{"record": {}}', "job"),
        (lambda _: "id,model,p50_ms", ""),
        (lambda _: "[" * 100_000, ""),
    ],
)
def test_a_line_that_was_changed_is_named(
    tmp_path: Path, path: Path, change: Callable[[str], str], words: str
) -> None:
    lines = lines_of(KEPT)
    path.write_text("".join([*lines[:2], change(lines[2]).rstrip("\n") + "\n", lines[3]]))
    store = Store(str(tmp_path / "some.db"))
    with refused(UsageError, path, "line 3", words, "nothing was imported"):
        transfer.copy(transfer.read(path), store)
    assert store.read() == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=60))
@example(b"\x89PNG\r\n\x1a\n\x00\x00")
@example(b'{"record": "\xff"}')
@example(b'{"id": NaN}')
def test_binary_junk_is_refused(path: Path, junk: bytes) -> None:
    path.write_bytes(junk)
    try:
        said = f"line {transfer.read(path)}"
    except UsageError as error:
        said = message_of(error)
    assert "line " in said
    assert "[Result" not in said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_no_changed_byte_changes_a_result(path: Path, at: int, byte: int) -> None:
    """Whatever a bad disk does to a line: it is refused, or it is the result that was exported."""
    line = bytearray(lines_of([failed(2)])[0].encode())
    line[at % len(line)] = byte
    path.write_bytes(line)
    try:
        found = transfer.read(path)
    except UsageError as error:
        message_of(error)
    else:
        row = json.loads(line) if found else {}
        assert found in ([], [failed(2)]) or "id" not in row


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with refused(UsageError, "nothing.jsonl", "No such file"):
        transfer.read(tmp_path / "nothing.jsonl")
    with refused(UsageError, tmp_path, "directory"):
        transfer.read(tmp_path)


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_file_that_cannot_be_written(tmp_path: Path, form: transfer.Format) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    with refused(UsageError, "no/such"):
        transfer.write_file(KEPT, form, tmp_path / "no" / "such" / "results")


def csv_rows(results: list[Result]) -> list[dict[str, str]]:
    out = io.StringIO(newline="")
    transfer.write(results, "csv", out)
    table = csv.reader(io.StringIO(out.getvalue(), newline=""))
    header, *rows = table
    assert len(set(header)) == len(header)
    assert {len(row) for row in rows} <= {len(header)}
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_csv_has_a_row_a_result() -> None:
    rows = csv_rows(KEPT)
    assert [row["id"] for row in rows] == [result_id(result) for result in KEPT]
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok"]
    assert [row["failure_kind"] for row in rows] == ["", "crash", "", ""]
    assert float(rows[0]["latency_p50_ms"]) == to_public(KEPT[0])["latency"]["p50_ms"]
    assert json.loads(rows[0]["latency_ci95_ms"]) == to_public(KEPT[0])["latency"]["ci95_ms"]
    assert json.loads(rows[3]["notes"]) == [*KEPT[3].notes]
    assert json.loads(rows[0]["environment_flags"])["threads"] == 2
    assert rows[1]["latency_p50_ms"] == rows[1]["accuracy_value"] == ""


@pytest.mark.parametrize("some", [KEPT[:1], KEPT[1:2], KEPT[:2], KEPT[1::-1]])
def test_columns_do_not_depend_on_what_is_there(some: list[Result]) -> None:
    every = [name for name in csv_rows(KEPT)[0] if not name.startswith("accuracy_metrics_")]
    for row in csv_rows(some):
        assert set(every) <= row.keys()
        assert not row.keys() & {"latency", "accuracy", "published", "check", "failure"}


def test_the_columns_of_an_object_are_its_keys() -> None:
    row = to_public(KEPT[0])
    for key in ("latency", "accuracy", "check"):
        assert set(row[key]) - {"metrics", "reference_metrics"} == set(transfer._NESTED[key])


def test_csv_of_nothing() -> None:
    assert csv_rows([]) == []


@pytest.mark.parametrize(
    "name", ["a,b", 'say "x"', "two\nlines", "back\rwards", "both\r\n", "", " ", "'", "=1+1", "✓"]
)
def test_csv_can_be_read_whatever_it_holds(name: str) -> None:
    (row,) = csv_rows([ok(notes=(name,), job=job(target=replace(TARGET, name=name)))])
    assert row["target"] == name
    assert json.loads(row["notes"]) == [name]


@SLOW
@given(st.lists(results(), min_size=1, max_size=3))
def test_csv_of_any_record_has_its_columns(kept: list[Result]) -> None:
    assume(b"\\u0000" not in b"".join(map(encode, kept)))  # before Python 3.11, csv reads no NUL
    rows = csv_rows(kept)
    assert [row["id"] for row in rows] == [result_id(result) for result in kept]


def test_flat_joins_the_keys() -> None:
    row: dict[str, Any] = {"a": {"b": 1, "c": {"d": 2}}, "versions": {"x": "1"}, "e": [1, None]}
    assert transfer.flat(row) == {"a_b": 1, "a_c_d": 2, "versions": '{"x": "1"}', "e": "[1, null]"}


@pytest.mark.parametrize("some", [KEPT, KEPT[1:2], KEPT[:1]], ids=["all", "failed", "ok"])
def test_parquet_is_read_by_pandas(path: Path, some: list[Result]) -> None:
    pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    transfer.write_file(some, "parquet", path)
    table = pd.read_parquet(path)
    assert table["id"].tolist() == [result_id(result) for result in some]
    assert list(table.columns) == list(csv_rows(some)[0])
    assert table["batch"].tolist() == [1] * len(some)
    if some[0].measurement is not None:
        assert table["latency_p50_ms"][0] == to_public(some[0])["latency"]["p50_ms"]


def test_parquet_of_nothing(path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    transfer.write_file([], "parquet", path)
    assert len(pd.read_parquet(path)) == 0
