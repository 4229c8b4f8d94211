"""A listing of images parted into calibration and test, the same way on every machine."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import msgspec

from bench.contracts import Sample
from bench.datasets.images import read

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence
    from pathlib import Path

    from PIL import Image

#: Of data without calibration images of their own, at most this share calibrates.
CALIBRATION_SHARE = 5
#: Bytes of two files that are compared before the whole of them.
_HEAD = 1 << 14


@dataclass(frozen=True)
class Listed:
    """One image of a listing: its path, its name within the data, and its truth (`said`: see
    `bench.contracts.Sample`); the file of its truth where it has one of its own, and what raises
    StageError "bad-image" where the truth is none of this image."""

    path: Path
    name: str
    truth: Any
    beside: Path | None = None
    check: Callable[[Image.Image], None] | None = None
    said: Any = None


@dataclass(frozen=True)
class Folder:
    """A folder of labelled images (`bench.contracts.Dataset`).

    Images are put in an order that is drawn once and for all, by the hash of their names, and in
    which each class has its share of any stretch: so that the first n are a fair sample for every
    n, and a rare class is in either part. A fifth at most, and no more than `calibration_limit`,
    calibrates; the rest evaluates, and copies of what evaluates. With images to calibrate on given
    apart (`apart`) all of them evaluate, and whatever is in both only evaluates.
    """

    name: str
    classes: tuple[str, ...]
    listed: tuple[Listed, ...]
    calibration_limit: int
    apart: tuple[Listed, ...] | None = None
    #: What has its share of any stretch of the images, by a truth: its class.
    stratum: Callable[[Any], Hashable] = lambda truth: truth
    #: What was noticed in reading the folder, for the result.
    notes: tuple[str, ...] = ()

    @cached_property
    def _parts(self) -> tuple[list[Listed], list[Listed]]:
        ordered = _in_shares(self.listed, self.stratum)
        if self.apart is None:
            n = min(self.calibration_limit, len(ordered) // CALIBRATION_SHARE)
            calibrating = _not_among(ordered[:n], ordered[n:])
            names = {each.name for each in calibrating}
            return calibrating, [each for each in ordered if each.name not in names]
        return _not_among(_shuffled(self.apart), ordered)[: self.calibration_limit], ordered

    @cached_property
    def calibration(self) -> Sequence[Sample]:
        return [_sample(each) for each in self._parts[0]]

    @cached_property
    def test(self) -> Sequence[Sample]:
        return [_sample(each) for each in self._parts[1]]

    @cached_property
    def fingerprint(self) -> str:
        """Of names, truths, sizes and times of change. Not of the pixels: hashing 50,000 images
        would take longer than most evaluations."""
        digest = hashlib.sha256()
        for part in self._parts:
            for each in part:
                line = f"{each.name}\0{_seen(each.path)}\0"
                digest.update(line.encode(errors="surrogateescape"))
                digest.update(_truth(each) + b"\n")
            digest.update(b"\n")
        return digest.hexdigest()


def _truth(each: Listed) -> bytes:
    """A truth, for the fingerprint. Of one that is a file its path says where the folder lies, and
    that is no part of the data: its name and what is seen of it."""
    if each.beside is None:
        return msgspec.json.encode(each.truth, enc_hook=str)
    return f"{each.beside.name}\0{_seen(each.beside)}".encode(errors="surrogateescape")


def _seen(path: Path) -> str:
    """Size and time of change of a file, in nanoseconds."""
    try:
        seen = path.stat()
    except (OSError, ValueError):  # it will be counted when it is to be read
        return "missing"
    return f"{seen.st_size}\0{seen.st_mtime_ns}"


def _sample(each: Listed) -> Sample:
    def load() -> Image.Image:
        image = read(each.path)
        if each.check:
            each.check(image)
        return image

    return Sample(each.name, each.truth, load, each.said)


def _hash(each: Listed, salt: bytes = b"") -> bytes:
    return hashlib.sha256(salt + each.name.encode(errors="surrogateescape")).digest()


def _shuffled(listed: Iterable[Listed]) -> list[Listed]:
    """An order that is no order, and the same one every time and everywhere."""
    return sorted(listed, key=_hash)


def _in_shares(listed: Iterable[Listed], stratum: Callable[[Any], Hashable]) -> list[Listed]:
    """Shuffled, and then each stratum spread evenly over the whole from a start of its own. Of any
    stretch it has its share, to about an image; one of a single image may come anywhere."""
    strata: defaultdict[Hashable, list[Listed]] = defaultdict(list)
    for each in _shuffled(listed):
        strata[stratum(each.truth)].append(each)
    places = []
    for members in strata.values():
        # Drawn anew: the hash that puts an image first in its class is a small one.
        start = int.from_bytes(_hash(members[0], b"start\0")[:6], "big") / 2**48
        places += [((k + start) / len(members), each) for k, each in enumerate(members)]
    places.sort(key=lambda place: (place[0], _hash(place[1])))
    return [each for _, each in places]


def _not_among(some: Iterable[Listed], evaluated: Iterable[Listed]) -> list[Listed]:
    """Those of `some` whose content is not among the evaluated: copies have other names. What
    cannot be read is like nothing else; it will be told when it is to be used."""
    sizes: defaultdict[int | None, list[Path]] = defaultdict(list)
    for each in evaluated:
        sizes[_size(each.path)].append(each.path)
    digest = cache(_digest)  # of each file once

    def is_copy(path: Path) -> bool:
        size = _size(path)
        # Whole files are read where their heads are alike: all bitmaps have the same size.
        head = digest(path, _HEAD) if size is not None and size in sizes else None
        alike = [other for other in sizes[size] if digest(other, _HEAD) == head] if head else []
        whole = digest(path, None) if alike else None
        return whole is not None and any(digest(other, None) == whole for other in alike)

    return [each for each in some if not is_copy(each.path)]


def _size(path: Path) -> int | None:
    """Bytes of a file; None for what is none."""
    try:
        seen = path.stat()
    except (OSError, ValueError):
        return None
    return seen.st_size if S_ISREG(seen.st_mode) else None


def _digest(path: Path, n: int | None) -> bytes | None:
    """Of the first `n` bytes of a file, or of all; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(n)).digest()
    except OSError:
        return None
