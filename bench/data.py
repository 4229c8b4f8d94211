"""Labelled images: what a model's source carries, or a folder of the user's."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from bench.errors import StageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.contracts import Dataset, Exporter
    from bench.records import Data, Model

_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
#: Of a folder without a split of its own, at most this share calibrates.
_CALIBRATION_SHARE = 5


def choose(asked: Data, exporter: Exporter, model: Model) -> tuple[Dataset | None, str | None]:
    """The data for a model, and why no accuracy can be measured on it (None when it can)."""
    dataset: Dataset | None
    if asked.path is not None and model.preprocess is not None:
        dataset = Folder(Path(asked.path), model.labels, asked.calibration)
    else:
        dataset = exporter.dataset(model)
    if model.weights == "random":
        return dataset, "the weights are random: no accuracy is claimed"
    if model.preprocess is None:
        return None, "the file says nothing of its preprocessing: timed, not evaluated"
    if model.task != "classification":
        return None, f"accuracy of {model.task or 'an unknown task'} cannot be measured yet"
    if dataset is None:
        return None, "no labelled images: give --data FOLDER to measure accuracy"
    return dataset, None


def fingerprint(dataset: Dataset | None) -> str | None:
    return dataset.fingerprint if dataset else None


def require_folder(path: Path) -> None:
    """Raise UsageError when `path` cannot be a data folder, before anything is built for it."""
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise UsageError(f"--data {path} {problem}")
    try:
        next(path.iterdir(), None)
    except OSError as error:
        raise UsageError(f"--data {path} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class Folder:
    """A folder of images in one of two forms: a subfolder a class (named by its label, or in the
    sorted order of the labels), or flat with a `val.txt` of `FILE CLASS` lines in it or beside it.

    A fifth of the images at most, chosen by the hash of their names, calibrates; the rest
    evaluates.
    """

    path: Path
    labels: tuple[str, ...]
    #: Images to calibrate on at most.
    calibration_limit: int

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @cached_property
    def _split(self) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
        listed = self._listed()
        if not listed:
            raise UsageError(
                f"--data {self.path} holds no images: a subfolder a class, or images with a "
                "val.txt of `FILE CLASS` lines, was expected"
            )
        shuffled = sorted(listed, key=lambda item: hashlib.sha256(item[0].name.encode()).digest())
        n = min(self.calibration_limit, len(shuffled) // _CALIBRATION_SHARE)
        return shuffled[:n], shuffled[n:]

    def _listed(self) -> list[tuple[Path, int]]:
        try:
            for index in (self.path / "val.txt", self.path.parent / "val.txt"):
                if index.is_file():
                    return self._from_index(index)
            return self._from_subfolders()
        except OSError as error:
            raise UsageError(f"--data {self.path} cannot be read: {error}") from error

    def _from_index(self, index: Path) -> list[tuple[Path, int]]:
        listed: dict[str, tuple[Path, int]] = {}
        for number, line in enumerate(index.read_text(errors="replace").splitlines(), 1):
            if not line.strip():
                continue
            name, *label = line.strip().rsplit(maxsplit=1)
            if not label or not label[0].isdecimal():
                raise UsageError(f"{index}, line {number}: `FILE CLASS` was expected, got {line!r}")
            path = os.path.normpath(self.path / name)
            if path in listed:
                raise UsageError(f"{index}, line {number}: {name} is listed twice")
            listed[path] = (self.path / name, int(label[0]))
        return list(listed.values())

    def _from_subfolders(self) -> list[tuple[Path, int]]:
        folders = sorted(path for path in self.path.iterdir() if path.is_dir())
        names = [folder.name for folder in folders]
        if set(names) <= set(self.labels):
            indices = [self.labels.index(name) for name in names]
        elif len(folders) == len(self.labels):
            indices = list(range(len(folders)))
        else:
            raise UsageError(
                f"--data {self.path} has {len(folders)} subfolders, and the model has "
                f"{len(self.labels)} classes of other names: they cannot be matched"
            )
        return [
            (image, index)
            for folder, index in zip(folders, indices, strict=True)
            for image in sorted(folder.iterdir())
            if image.suffix.lower() in _ENDINGS
        ]

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for part in self._split:
            for path, label in part:
                try:
                    seen = path.stat()
                except OSError as error:
                    raise UsageError(f"{path} cannot be read: {error.strerror}") from error
                # Not the pixels: hashing 50,000 images would take longer than most evaluations.
                line = f"{path.name}\0{label}\0{seen.st_size}\0{seen.st_mtime_ns}\n"
                digest.update(line.encode(errors="surrogateescape"))
            digest.update(b"\n")
        return digest.hexdigest()

    @property
    def calibration_size(self) -> int:
        return len(self._split[0])

    def calibration(self, limit: int) -> Iterator[Image.Image]:
        for path, _ in self._split[0][:limit]:
            yield _read(path)

    def test(self, limit: int | None) -> Iterator[tuple[Image.Image, int]]:
        for path, label in self._split[1][:limit]:
            yield _read(path), label


def _read(path: Path) -> Image.Image:
    try:
        image: Image.Image = Image.open(path)
        image.load()  # reads it whole, and closes the file
        return image
    except Exception as error:  # SyntaxError, ValueError and more, as the format likes
        raise StageError("bad-image", f"{path} cannot be read as an image: {error}") from error
