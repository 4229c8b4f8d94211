"""Artifacts and small facts, cached by content.

An entry is a folder named after the hash of everything that decides what is in it (model, weights,
options, package versions). It is made in a temporary folder and appears by one atomic rename, so
a reader sees a whole entry or none, whatever died in between. Files are verified against their
recorded sha256 when an entry is used: the number has to belong to the bytes it names.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bench.errors import BenchError, StageError
from bench.paths import expanded
from bench.records import Artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.records import Option

T = TypeVar("T")

#: The stage of artifacts that baselines need, whatever becomes of the files that they were.
KEPT = "kept"


def default_root() -> Path:
    """`BENCH_CACHE`, or the user's cache directory."""
    import platformdirs

    named = os.environ.get("BENCH_CACHE")
    return expanded(named) if named else platformdirs.user_cache_path("bench")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed versions of distributions, without importing them; absent ones are left out. Of
    one that is installed as another distribution: "1.20.1 (onnxruntime-gpu)"."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if others := _others(package.replace("-", "_")):
                found[package] = others
    return found


@cache
def _others(module: str) -> str:
    """Versions and names of the distributions that a module is of; empty where there are none."""
    if PathFinder.find_spec(module) is None:
        return ""  # to ask for everything that is installed takes half a second
    names = sorted(set(packages_distributions().get(module, ())))
    return ", ".join(f"{version(name)} ({name})" for name in names)


def sha256_of(paths: Iterable[Path]) -> str:
    """Hash of the files' bytes one after the other: `cat FILES | sha256sum`."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def artifact(
    path: Path,
    *,
    form: str,
    made_by: str,
    build_s: float,
    companions: Iterable[str] = (),
    details: dict[str, Option] | None = None,
) -> Artifact:
    """The record of a file just made, hashed together with its companions."""
    names = tuple(sorted(companions))
    files = [path, *(path.parent / name for name in names)]
    return Artifact(
        path=str(path),
        format=form,
        sha256=sha256_of(files),
        bytes=sum(file.stat().st_size for file in files),
        made_by=made_by,
        build_s=build_s,
        companions=names,
        details=details or {},
    )


@dataclass(frozen=True)
class Cache:
    """A folder of entries, `STAGE/KEY/`. With `fresh`, nothing is read; entries are replaced."""

    root: Path
    fresh: bool = False

    def get_or_make(
        self, stage: str, key: Any, kind: type[T], make: Callable[[Path], T]
    ) -> tuple[T, bool]:
        """The value for `key`, and whether it was there already. `make` writes its files into the
        folder it is given; an Artifact it returns moves with that folder."""
        entry = self._entry(stage, key)
        if not self.fresh and (value := self._read(entry, kind)) is not None:
            return value, True
        # On the same file system, for the rename; what a killed process leaves there shows up in
        # `size` and goes with `clear`.
        unfinished = self.root / "unfinished"
        try:
            unfinished.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=f"{stage}-", dir=unfinished))
        except OSError as error:
            raise BenchError(
                f"the cache {self.root} cannot be written: {error.strerror}; BENCH_CACHE names "
                "another folder, `bench cache clear` empties it"
            ) from error
        try:
            value = make(made)
            (made / "value.json").write_bytes(msgspec.json.encode(_moved(value, made, Path())))
            if not self._publish(made, entry):
                if (first := self._read(entry, kind)) is not None and not self.fresh:
                    return first, False  # already in use there, and builds differ from run to run
                self._replace(made, entry)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return _moved(value, made, entry), False

    def put(self, stage: str, key: Any, value: T) -> None:
        """Store a value without files, replacing what was there."""
        Cache(self.root, fresh=True).get_or_make(stage, key, type(value), lambda _: value)

    def get(self, stage: str, key: Any, kind: type[T]) -> T | None:
        """The value for `key`, or None."""
        return None if self.fresh else self._read(self._entry(stage, key), kind)

    def keep(self, value: Artifact) -> bool:
        """Keep an artifact whatever becomes of the place where it lies: its owner may change a
        file, and a new export may replace one in the cache. Whether it is (still) there to be kept.
        """
        if self.kept(value) is None:
            return False
        # Entries of the cache are replaced, never written to, so that a second name is enough.
        within = Path(value.path).is_relative_to(self.root.resolve())
        hold = _link if within else shutil.copyfile
        self.get_or_make(KEPT, value.sha256, Artifact, lambda to: copied(value, to, hold))
        return True

    def kept(self, value: Artifact) -> Artifact | None:
        """An artifact where it was made, or the copy that was kept of it; None when it is gone."""
        return value if _intact(value) else self.get(KEPT, value.sha256, Artifact)

    def size(self) -> dict[str, tuple[int, int]]:
        """For each stage that has entries: how many, and their bytes."""
        stages = sorted(path for path in self._children(self.root) if self._children(path))
        return {
            stage.name: (
                len(self._children(stage)),
                sum(file.stat().st_size for file in stage.rglob("*") if file.is_file()),
            )
            for stage in stages
        }

    def clear(self, stages: Iterable[str] | None = None) -> None:
        """Remove the entries of the named stages, or all."""
        for name in self.size() if stages is None else stages:
            shutil.rmtree(self.root / name, ignore_errors=True)

    def _entry(self, stage: str, key: Any) -> Path:
        encoded = msgspec.json.encode(key, order="deterministic")
        return self.root / stage / hashlib.sha256(encoded).hexdigest()[:32]

    def _read(self, entry: Path, kind: type[T]) -> T | None:
        try:
            encoded = (entry / "value.json").read_bytes()
            value = _moved(msgspec.json.decode(encoded, type=kind), Path(), entry)
        except (OSError, ValueError, RecursionError, msgspec.MsgspecError):
            return None  # not there, or not readable by this version: make it anew
        return None if isinstance(value, Artifact) and not _intact(value) else value

    @staticmethod
    def _publish(made: Path, entry: Path) -> bool:
        """Rename, unless there is an entry already."""
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(entry)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
        return True

    def _replace(self, made: Path, entry: Path) -> None:
        """Put `made` where a stale or broken entry is, whoever else does so at the same time."""
        old = made.parent / f"{made.name}-old"
        while not self._publish(made, entry):
            with suppress(FileNotFoundError):
                entry.rename(old)
            shutil.rmtree(old, ignore_errors=True)

    @staticmethod
    def _children(folder: Path) -> list[Path]:
        return list(folder.iterdir()) if folder.is_dir() else []


def copied(
    value: Artifact, to: Path, hold: Callable[[Path, Path], object] = shutil.copyfile
) -> Artifact:
    """The artifact with its files in folder `to`, held there by a copy or by a link."""
    path = Path(value.path)
    for name in (path.name, *value.companions):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        hold(path.parent / name, to / name)
    return replace(value, path=str(to / path.name))


def _link(file: Path, to: Path) -> None:
    try:
        os.link(file, to)
    except OSError:  # a file system without links
        shutil.copyfile(file, to)


def require_intact(value: Artifact) -> None:
    """Raise StageError "changed" when an artifact's files are no longer those that were hashed."""
    if not _intact(value):
        raise StageError("changed", f"{value.path} was changed while the job ran: run it again")


def _intact(value: Artifact) -> bool:
    path = Path(value.path)
    files = [path, *(path.parent / name for name in value.companions)]
    return all(file.is_file() for file in files) and sha256_of(files) == value.sha256


def _moved(value: T, old: Path, new: Path) -> T:
    """`value` with an Artifact's path moved from folder `old` to `new`; absolute paths outside
    `old` (a user's own ONNX file) stay."""
    if not isinstance(value, Artifact):
        return value
    path = Path(value.path)
    if old == Path():
        return value if path.is_absolute() else replace(value, path=str(new / path))
    if not path.is_relative_to(old):
        return value
    return replace(value, path=str(new / path.relative_to(old)))
