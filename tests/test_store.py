"""The store: what was appended is there, whole, and everything that goes wrong is one sentence."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings

from bench.errors import StoreError, UsageError
from bench.public import encode, result_id
from bench.records import SCHEMA, Result
from bench.store import Store, default_url
from tests.builders import TARGET, failed, job, message_of, ok, refused, results

ROOT = Path(__file__).parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own.db"


@pytest.fixture
def store(path: Path) -> Store:
    return Store(str(path))


def sql(path: Path, statement: str, *values: object) -> None:
    """Behind the store's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def in_threads(n: int, do: Callable[[int], object]) -> list[Exception]:
    """Run `do(i)` n times at once; what was raised."""
    troubles: list[Exception] = []
    barrier = Barrier(n)

    def run(i: int) -> None:
        barrier.wait()
        try:
            do(i)
        except Exception as trouble:
            troubles.append(trouble)

    threads = [Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return troubles


def test_what_is_appended_is_there_when_opened_anew(path: Path, store: Store) -> None:
    kept = [ok(1), failed(2)]
    names = [store.append(result) for result in kept]
    again = Store(str(path))
    assert again.read() == kept
    assert [again.get(name) for name in names] == kept
    assert all(name in again for name in names)
    assert "0" * 12 not in again


def test_ids_stay_when_records_get_new_fields() -> None:
    """What is in stores and exports already is found by its id. Where this fails, name the new
    field in `bench.public._LATER`."""
    assert result_id(ok()) == "8c18f9e1ddd5"


def test_an_id_is_the_hash_of_the_record(store: Store) -> None:
    name = store.append(ok(1))
    assert name == result_id(ok(1))
    assert len(name) == 12
    assert int(name, 16) >= 0


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(results())
def test_any_record_survives(store: Store, result: Result) -> None:
    found = store.get(store.append(result))
    assert found == result
    assert encode(found) == encode(result)  # 1, 1.0 and true are equal, and not the same


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_cannot_be_kept_does_not_spoil_the_rest(store: Store, value: float) -> None:
    """JSON has no infinity, so that `-o noise=inf` could not be read again."""
    store.append(ok(1))
    odd = ok(2, job=job(target=replace(TARGET, options={"noise": value})))
    with refused(StoreError, "cannot be kept"):
        store.append(odd)
    assert store.read() == [ok(1)]


def test_a_number_of_any_size_is_kept(store: Store) -> None:
    large = ok(2, job=job(target=replace(TARGET, options={"noise": 10**30})))
    assert store.get(store.append(large)) == large


def test_a_name_that_is_no_unicode_does_not_spoil_the_rest(store: Store) -> None:
    """Linux allows any bytes as a file name; Python shows those that are no UTF-8 so."""
    store.append(ok(1))
    with refused(StoreError, "cannot be kept"):
        store.append(ok(2, model="onnx:caf\udce9.onnx"))
    assert store.read() == [ok(1)]


def test_the_same_result_twice_is_one_row(store: Store) -> None:
    assert store.append(ok(1)) == store.append(ok(1))
    assert store.read() == [ok(1)]


def test_reading_is_from_the_oldest_to_the_newest(store: Store) -> None:
    for seed in (3, 1, 2, 0):
        store.append(ok(seed))
    assert store.read() == [ok(seed) for seed in range(4)]
    assert store.read(newest=2) == [ok(2), ok(3)]
    assert store.read(newest=99) == store.read()


def test_files_are_read_by_their_name_in_whatever_folder(store: Store) -> None:
    for seed, model in enumerate(("/a/net_1.onnx", "/b/net_1.onnx", "/a/net21.onnx")):
        store.append(ok(seed, model=model))
    found = store.read(file="net_1.onnx", newest=5)
    assert [each.job.model for each in found] == ["/a/net_1.onnx", "/b/net_1.onnx"]


def test_only_the_results_of_a_target(store: Store) -> None:
    for seed in range(4):
        store.append(ok(seed, job=job(target=replace(TARGET, name="ab"[seed % 2]))))
    assert [result.started_at[17:19] for result in store.read(targets=["a"])] == ["00", "02"]
    assert [result.started_at[17:19] for result in store.read(targets=["b"], newest=1)] == ["03"]
    assert len(store.read(targets=["a", "b"])) == 4
    assert store.read(targets=["A"]) == store.read(targets=["%"]) == store.read(targets=[]) == []
    assert store.targets() == ["a", "b"]


def test_a_result_is_got_by_the_start_of_its_id(store: Store) -> None:
    found = {store.append(ok(seed)): ok(seed) for seed in range(17)}
    for name, result in found.items():
        unique = next(
            name[:n] for n in range(13) if sum(other.startswith(name[:n]) for other in found) == 1
        )
        assert store.get(unique) == result
    twice = next(a[0] for a in found if sum(b[0] == a[0] for b in found) > 1)
    with refused(UsageError, repr(twice), "more digits"):
        store.get(twice)
    for nothing in ("zz", "%", "_", "'"):
        with refused(UsageError, "no result", "own.db"):
            store.get(nothing)


def test_an_empty_store(store: Store) -> None:
    assert store.read() == []
    store.require_writable()
    with refused(UsageError, "no result"):
        store.get("")


def test_the_folder_is_made(tmp_path: Path) -> None:
    Store(str(tmp_path / "not" / "yet" / "results.db")).append(ok())
    assert (tmp_path / "not" / "yet" / "results.db").is_file()


@pytest.mark.parametrize("name", ["a b.db", "what?.db", "100%.db", "a#b.db", "über.db", "x@y:z.db"])
def test_the_path_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    Store(str(tmp_path / name)).append(ok())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Store("~/results.db").append(ok())
    assert (tmp_path / "results.db").is_file()


def test_default_is_the_environments(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_STORE", str(path))
    assert default_url() == str(path)
    Store().append(ok())
    assert Store(f"sqlite:///{path}").read() == [ok()]
    monkeypatch.delenv("BENCH_STORE")
    assert default_url().endswith("results.db")


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_text("Dear diary, " * 1000)
    with refused(StoreError, path, "not a database"):
        Store(str(path))
    assert path.read_text().startswith("Dear diary")


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with refused(StoreError, tmp_path):
        Store(str(tmp_path))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with refused(StoreError, tmp_path / "file"):
        Store(str(tmp_path / "file" / "results.db"))


@pytest.mark.parametrize(
    "where",
    [
        "://",
        "nosuchdatabase://host/db",
        "sqlite+nosuch:///x.db",
        "postgresql://host:port/db",
        "sqlite://host/x.db",
    ],
)
def test_a_url_that_means_nothing(where: str) -> None:
    with refused(UsageError, where):
        Store(where)


@pytest.mark.parametrize("scheme", ["nosuchdatabase", "postgresql+nosuchdriver"])
def test_a_password_is_not_shown(scheme: str) -> None:
    with pytest.raises(UsageError) as caught:
        Store(f"{scheme}://me:secret@host/db")
    assert "secret" not in message_of(caught.value)


@pytest.fixture
def read_only(path: Path, store: Store) -> Store:
    store.append(ok(1))
    return Store(f"sqlite:///file:{path}?mode=ro&uri=true")


def test_a_read_only_database_can_be_read(read_only: Store) -> None:
    assert read_only.read() == [ok(1)]
    assert read_only.get(result_id(ok(1))) == ok(1)


def test_a_read_only_database_refuses_before_anything_is_measured(read_only: Store) -> None:
    with refused(StoreError, "own.db", "readonly"):
        read_only.require_writable()
    with refused(StoreError, "own.db", "readonly"):
        read_only.append(ok(2))
    assert read_only.read() == [ok(1)]


@pytest.mark.parametrize("kept", [str(SCHEMA + 1), "one", ""])
def test_a_store_of_a_newer_version(path: Path, store: Store, kept: str) -> None:
    store.append(ok())
    sql(path, "UPDATE about SET value = ? WHERE key = 'schema'", kept)
    with refused(StoreError, "own.db", f"schema {kept}", "upgrade"):
        Store(str(path))


def test_a_database_of_something_else(path: Path) -> None:
    sql(path, "CREATE TABLE results (name TEXT)")
    with refused(StoreError, "own.db"):
        Store(str(path)).read()


NEWER = zlib.compress(encode(replace(ok(), schema=SCHEMA + 1)))


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"junk",
        zlib.compress(encode(ok()))[:-20],
        zlib.compress(b""),
        zlib.compress(b"\xff\xfe"),
        zlib.compress(b'{"job": "\xff"}'),
        zlib.compress(b"[]"),
        zlib.compress(encode(ok()).replace(b'"started_at":"', b'"started_at":1,"x":"')),
        zlib.compress(encode(ok())[:-1]),
        zlib.compress(b"[" * 100_000),
        NEWER,
        "text",
    ],
)
def test_a_damaged_record(path: Path, store: Store, blob: object) -> None:
    name = store.append(ok())
    sql(path, "UPDATE results SET record = ?", blob)
    with refused(StoreError, name, "own.db"):
        store.get(name)
    with refused(StoreError, name, "own.db"):
        store.read()


def test_a_record_of_a_newer_version_says_so(path: Path, store: Store) -> None:
    store.append(ok())
    sql(path, "UPDATE results SET record = ?", NEWER)
    with refused(StoreError, f"schema {SCHEMA + 1}", f"up to {SCHEMA}"):
        store.read()


def test_a_store_that_was_removed(path: Path, store: Store) -> None:
    store.append(ok(1))
    path.unlink()
    with refused(StoreError, "own.db"):
        store.append(ok(2))


def test_a_locked_store(path: Path, store: Store) -> None:
    def at_once(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA busy_timeout = 50")

    sa.event.listen(sa.Engine, "connect", at_once)
    try:
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with refused(StoreError, "own.db", "locked"):
                Store(str(path)).append(ok())
    finally:
        sa.event.remove(sa.Engine, "connect", at_once)
    store.append(ok())
    assert store.read() == [ok()]


@contextmanager
def limited(pages: int) -> Iterator[None]:
    """No database grows past so many pages of 4 KiB."""

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    sa.event.listen(sa.Engine, "connect", limit)
    yield
    sa.event.remove(sa.Engine, "connect", limit)


def fill(store: Store) -> list[Result]:
    """Append until it is refused; what was kept."""
    kept: list[Result] = []
    with refused(StoreError, "full"):
        for seed in range(200):
            store.append(ok(seed))
            kept.append(ok(seed))
    return kept


def test_a_full_disk_loses_nothing_that_was_kept(path: Path) -> None:
    with limited(40):
        store = Store(str(path))
        kept = fill(store)
        assert len(kept) > 2
        assert store.read() == kept
        assert Store(str(path)).read() == kept


def test_a_disk_that_was_full_is_used_again(path: Path) -> None:
    with limited(40):
        kept = fill(Store(str(path)))
    store = Store(str(path))
    store.append(failed(1000))
    assert store.read() == [*kept, failed(1000)]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_really_full(mounted: Path) -> None:
    store = Store(str(mounted / "results.db"))
    kept = fill(store)
    assert kept
    assert store.read() == kept


WRITER = """
import sys
from bench.store import Store
from tests.builders import ok

store = Store(sys.argv[1])
for seed in range(1000):
    print(store.append(ok(seed)), flush=True)
"""


def test_a_writer_that_is_killed_loses_nothing_that_it_appended(path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert writer.stdout is not None
    names = [writer.stdout.readline().strip() for _ in range(5)]
    writer.kill()
    names += [line.strip() for line in writer.stdout if line.endswith("\n")]
    assert writer.wait() == -signal.SIGKILL
    store = Store(str(path))
    assert all(name in store for name in names)
    assert [result_id(result) for result in store.read()][: len(names)] == names
    store.append(failed(2000))
    assert store.read()[-1] == failed(2000)


def test_many_write_at_once(path: Path) -> None:
    Store(str(path))

    def write(i: int) -> None:
        for seed in (*range(i * 10, i * 10 + 5), 999):
            Store(str(path)).append(failed(seed))

    assert in_threads(4, write) == []
    assert len(Store(str(path)).read()) == 4 * 5 + 1


def test_many_open_a_new_store_at_once(tmp_path: Path) -> None:
    """Two jobs of one night may be the first ones to need the store."""

    def troubles(where: Path) -> list[Exception]:
        return in_threads(4, lambda _: Store(str(where)))

    assert [troubles(tmp_path / f"{turn}.db") for turn in range(15)] == [[]] * 15


def test_a_long_series_is_not_read_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand nights with all their samples would fill the memory of a small machine."""
    for i in range(40):
        store.append(ok(i))
    read: list[str] = []
    decode = store._decode

    def noted(name: str, blob: bytes) -> Result:
        read.append(name)
        return decode(name, blob)

    monkeypatch.setattr(store, "_decode", noted)
    walk = store.walk(newest=38)
    assert (next(walk), len(read)) == (ok(2), 1)
    store.append(ok(40))  # nobody waits meanwhile
    assert [next(walk), *walk] == [ok(i) for i in range(3, 40)]
