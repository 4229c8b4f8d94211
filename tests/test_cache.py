"""The cache: hits and misses, and what is left whatever dies, or is altered, on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.cache import Cache, artifact, default_root, sha256_of, versions
from bench.records import Artifact, Facts

if TYPE_CHECKING:
    from collections.abc import Callable

FACTS = Facts(params=1, macs=None)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def making(text: str = "weights", *, companion: str | None = None) -> Callable[[Path], Artifact]:
    """A `make` that writes a file, and another beside it."""

    def make(to: Path) -> Artifact:
        (to / "net.bin").write_text(text)
        if companion is not None:
            (to / "net.side").write_text(companion)
        names = ["net.side"] if companion is not None else []
        return artifact(to / "net.bin", form="bin", made_by="test", build_s=0.5, companions=names)

    return make


def never(_: Path) -> Any:
    raise AssertionError("made, though it was there")


def files(cache: Cache) -> list[Path]:
    return [path for path in cache.root.rglob("*") if path.is_file()]


def leftovers(cache: Cache) -> list[Path]:
    return list(cache.root.glob("unfinished/*"))


def is_whole(made: Artifact) -> bool:
    path = Path(made.path)
    return sha256_of([path, *(path.parent / name for name in made.companions)]) == made.sha256


def test_a_miss_makes_and_a_hit_does_not(cache: Cache) -> None:
    made, hit = cache.get_or_make("build", ["a", 1], Artifact, making())
    assert not hit
    assert cache.get_or_make("build", ["a", 1], Artifact, never) == (made, True)
    assert cache.get("build", ["a", 1], Artifact) == made


@pytest.mark.parametrize("other", [["a", 2], ["a"], {"a": 1}, ["a", "1"]])
def test_another_key_is_another_entry(cache: Cache, other: Any) -> None:
    cache.put("facts", ["a", 1], FACTS)
    assert cache.get("facts", other, Facts) is None


def test_a_key_is_its_content_and_not_its_order(cache: Cache) -> None:
    cache.put("facts", {"a": 1, "b": 2}, FACTS)
    assert cache.get("facts", {"b": 2, "a": 1}, Facts) == FACTS


def test_stages_are_kept_apart(cache: Cache) -> None:
    cache.put("facts", "key", FACTS)
    assert cache.get("check", "key", Facts) is None


def test_the_file_of_an_artifact_lies_in_its_entry(cache: Cache) -> None:
    made, _ = cache.get_or_make("build", "key", Artifact, making("w", companion="s"))
    path = Path(made.path)
    assert path.read_text() == "w"
    assert (path.parent / "net.side").read_text() == "s"
    assert path.parent.parent == cache.root / "build"
    assert is_whole(made)
    assert made.bytes == 2


def test_the_whole_cache_may_be_moved(cache: Cache, tmp_path: Path) -> None:
    cache.get_or_make("build", "key", Artifact, making())
    cache.root.rename(tmp_path / "moved")
    found = Cache(tmp_path / "moved").get("build", "key", Artifact)
    assert found is not None
    assert Path(found.path).is_relative_to(tmp_path / "moved")
    assert is_whole(found)


def test_a_file_of_the_user_stays_where_it_is(cache: Cache, tmp_path: Path) -> None:
    own = tmp_path / "net.onnx"
    own.write_text("mine")
    record = artifact(own, form="onnx", made_by="user", build_s=0.0)
    for _ in range(2):
        found, _ = cache.get_or_make("export", "key", Artifact, lambda _: record)
        assert found == record
    assert own.read_text() == "mine"


@pytest.mark.parametrize("harm", ["alter", "remove", "companion"])
def test_an_artifact_whose_files_changed_is_made_anew(cache: Cache, harm: str) -> None:
    made, _ = cache.get_or_make("build", "key", Artifact, making("one", companion="two"))
    path = Path(made.path)
    if harm == "remove":
        path.unlink()
    else:
        (path if harm == "alter" else path.parent / "net.side").write_text("xxx")
    assert cache.get("build", "key", Artifact) is None
    again, hit = cache.get_or_make("build", "key", Artifact, making("one", companion="two"))
    assert not hit
    assert again == made
    assert is_whole(again)
    assert len(files(cache)) == 3


def test_fresh_reads_nothing_and_replaces(cache: Cache) -> None:
    cache.get_or_make("build", "key", Artifact, making("old"))
    fresh = Cache(cache.root, fresh=True)
    assert fresh.get("build", "key", Artifact) is None
    new, hit = fresh.get_or_make("build", "key", Artifact, making("new"))
    assert not hit
    assert Path(new.path).read_text() == "new"
    assert cache.get("build", "key", Artifact) == new
    assert cache.size()["build"][0] == 1


def test_put_replaces(cache: Cache) -> None:
    cache.put("names", "timm", ["a"])
    cache.put("names", "timm", ["a", "b"])
    assert cache.get("names", "timm", list[str]) == ["a", "b"]
    assert cache.size()["names"][0] == 1


class Refused(Exception):
    pass


def test_what_raises_leaves_nothing_behind(cache: Cache) -> None:
    def make(to: Path) -> Facts:
        (to / "half").write_text("half")
        raise Refused

    with pytest.raises(Refused):
        cache.get_or_make("build", "key", Facts, make)
    assert not files(cache)
    assert not leftovers(cache)
    assert cache.get_or_make("build", "key", Facts, lambda _: FACTS) == (FACTS, False)


def test_what_raises_leaves_the_old_entry(cache: Cache) -> None:
    def make(_: Path) -> Artifact:
        raise Refused

    made, _ = cache.get_or_make("build", "key", Artifact, making())
    with pytest.raises(Refused):
        Cache(cache.root, fresh=True).get_or_make("build", "key", Artifact, make)
    assert cache.get("build", "key", Artifact) == made


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


KILLED = """
import os, signal, sys
from pathlib import Path
from bench.cache import Cache
from bench.records import Artifact

def make(to):
    (to / "net.bin").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

Cache(Path(sys.argv[1])).get_or_make("build", "key", Artifact, make)
"""


def test_a_process_killed_while_making_does_no_harm(cache: Cache) -> None:
    assert run_python(KILLED, cache.root).wait() == -signal.SIGKILL
    assert cache.get("build", "key", Artifact) is None
    made, hit = cache.get_or_make("build", "key", Artifact, making())
    assert not hit
    assert cache.get("build", "key", Artifact) == made
    cache.clear()
    assert not files(cache)
    assert not leftovers(cache)


# Both are inside `make` before either publishes; each looks at what it got when both have
# published, as a measurement does that runs for a while on an artifact.
PUBLISHING = """
import os, sys, time
from pathlib import Path
from bench.cache import Cache, artifact, sha256_of
from bench.records import Artifact

folder, twin = Path(sys.argv[1]), sys.argv[2]

def meet(where):
    (folder / f"{where}-{twin}").touch()
    while len(list(folder.glob(f"{where}-*"))) < 2:
        time.sleep(0.002)

def make(to):
    (to / "net.bin").write_text(f"made by {twin}")
    meet("making")
    return artifact(to / "net.bin", form="bin", made_by=twin, build_s=0.0)

found, _ = Cache(folder / "cache").get_or_make("build", "key", Artifact, make)
meet("published")
print("whole" if sha256_of([Path(found.path)]) == found.sha256 else "another's bytes")
"""


def test_two_processes_that_publish_at_once_both_get_what_they_are_told(tmp_path: Path) -> None:
    twins = [run_python(PUBLISHING, tmp_path, twin) for twin in "ab"]
    said = [twin.communicate(timeout=60)[0].strip() for twin in twins]
    assert [twin.returncode for twin in twins] == [0, 0]
    assert said == ["whole", "whole"]
    cache = Cache(tmp_path / "cache")
    found = cache.get("build", "key", Artifact)
    assert found is not None
    assert is_whole(found)
    assert not leftovers(cache)


def test_who_publishes_second_takes_what_is_there(cache: Cache) -> None:
    """A build need not be the same to the bit twice, and the first one may be in use already."""
    first: list[Artifact] = []

    def make(to: Path) -> Artifact:
        first.append(Cache(cache.root).get_or_make("build", "key", Artifact, making("first"))[0])
        return making("second")(to)

    second, _ = cache.get_or_make("build", "key", Artifact, make)
    assert is_whole(first[0])
    assert is_whole(second)


def test_many_who_replace_one_entry_do_not_meet(cache: Cache) -> None:
    """`put` replaces: two commands that list a zoo for the first time do it at the same time."""
    troubles: list[Exception] = []
    barrier = Barrier(4)

    def replace() -> None:
        barrier.wait()
        for _ in range(100):
            try:
                cache.put("names", "timm", ["a"])
            except Exception as trouble:
                troubles.append(trouble)

    threads = [Thread(target=replace) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert cache.get("names", "timm", list[str]) == ["a"]
    assert not leftovers(cache)


def value_file(cache: Cache) -> Path:
    (found,) = cache.root.glob("*/*/value.json")
    return found


@pytest.mark.parametrize(
    "junk", [b"", b"{", b"null", b"[]", b'"\xff"', b'{"params": "many", "macs": 1}', b"\x00" * 9]
)
def test_an_unreadable_value_is_made_anew(cache: Cache, junk: bytes) -> None:
    cache.put("facts", "key", FACTS)
    value_file(cache).write_bytes(junk)
    assert cache.get("facts", "key", Facts) is None
    assert cache.get_or_make("facts", "key", Facts, lambda _: FACTS) == (FACTS, False)
    assert cache.get("facts", "key", Facts) == FACTS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40), st.integers(0, 300))
@example(b"\x80", 9)
def test_no_damage_to_a_value_is_fatal(tmp_path: Path, junk: bytes, at: int) -> None:
    cache = Cache(tmp_path / "damaged")
    Cache(cache.root, fresh=True).get_or_make("build", "key", Artifact, making())
    path = value_file(cache)
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    found = cache.get("build", "key", Artifact)
    assert found is None or isinstance(found, Artifact)


def test_an_entry_without_its_value_is_made_anew(cache: Cache) -> None:
    cache.get_or_make("build", "key", Artifact, making())
    value_file(cache).unlink()
    made, hit = cache.get_or_make("build", "key", Artifact, making())
    assert not hit
    assert cache.get("build", "key", Artifact) == made


def test_size_counts_entries_and_bytes(cache: Cache) -> None:
    assert cache.size() == {}
    cache.get_or_make("build", "a", Artifact, making("x" * 1000))
    cache.get_or_make("build", "b", Artifact, making("x" * 1000))
    cache.put("facts", "a", FACTS)
    sizes = cache.size()
    assert {stage: entries for stage, (entries, _) in sizes.items()} == {"build": 2, "facts": 1}
    assert sum(size for _, size in sizes.values()) == sum(
        path.stat().st_size for path in files(cache)
    )
    assert sizes["build"][1] > 2000


def test_clear_takes_a_stage_or_all(cache: Cache) -> None:
    for stage in ("build", "facts", "check"):
        cache.put(stage, "key", FACTS)
    cache.clear(["facts"])
    assert set(cache.size()) == {"build", "check"}
    cache.clear()
    assert cache.size() == {}
    cache.clear()
    cache.put("build", "key", FACTS)
    assert cache.get("build", "key", Facts) == FACTS


def test_the_root_is_made_when_needed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "not" / "yet")
    assert cache.get("facts", "key", Facts) is None
    assert cache.size() == {}
    assert not cache.root.exists()
    cache.put("facts", "key", FACTS)
    assert cache.get("facts", "key", Facts) == FACTS


def test_a_relative_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = Cache(Path("cache"))
    made, _ = cache.get_or_make("build", "key", Artifact, making())
    assert is_whole(made)
    assert cache.get("build", "key", Artifact) == made


def test_default_root_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", "~/elsewhere")
    assert default_root() == Path.home() / "elsewhere"
    monkeypatch.delenv("BENCH_CACHE")
    assert default_root().name == "bench"


def test_an_artifact_is_hashed_like_cat_and_sha256sum(tmp_path: Path) -> None:
    made = making("one", companion="two")(tmp_path)
    (tmp_path / "both").write_text("onetwo")
    assert made.sha256 == sha256_of([tmp_path / "both"])


def test_versions_leave_out_what_is_absent() -> None:
    found = versions(["numpy", "no-such-distribution", "msgspec"])
    assert list(found) == ["numpy", "msgspec"]
    assert found["msgspec"] == msgspec.__version__


def test_nothing_is_written_outside_of_the_root(tmp_path: Path, cache: Cache) -> None:
    cache.get_or_make("build", "key", Artifact, making())
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert {path.name for path in cache.root.iterdir()} == {"build", "unfinished"}


@pytest.mark.parametrize("companion", [None, "external data"])
def test_what_is_kept_outlives_what_replaces_it(cache: Cache, companion: str | None) -> None:
    """A model of one's own code has one key, and each export of it replaces the last."""
    made, _ = cache.get_or_make("export", "own", Artifact, making("v1", companion=companion))
    assert cache.keep(made)
    fresh = Cache(cache.root, fresh=True)
    fresh.get_or_make("export", "own", Artifact, making("v2", companion=companion))
    kept = cache.kept(made)
    assert kept is not None
    assert kept.sha256 == made.sha256
    assert Path(kept.path).read_text() == "v1"


def test_what_is_kept_takes_no_more_space(cache: Cache) -> None:
    made, _ = cache.get_or_make("export", "own", Artifact, making())
    assert cache.keep(made)
    assert cache.keep(made)
    assert Path(made.path).stat().st_nlink == 2


def test_versions_of_what_another_distribution_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime-gpu is onnxruntime under another name: its upgrade must not go unseen."""
    about = tmp_path / "fake_runtime_gpu-1.20.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: fake-runtime-gpu\nVersion: 1.20.1\n"
    )
    (about / "top_level.txt").write_text("fake_runtime\n")
    (tmp_path / "fake_runtime").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert versions(["fake-runtime"]) == {"fake-runtime": "1.20.1 (fake-runtime-gpu)"}
