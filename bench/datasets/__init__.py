"""Labelled images: a folder of the user's in one of the field's forms, or what a model's source
carries.

`recognise` says what a folder is; `classes`, `coco` and `masks` read one form each into a listing
of images with their truths; `split` parts that into calibration and test; `images` opens an image.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.accuracy import unsaid
from bench.datasets.recognise import open_folder
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.contracts import Dataset, Exporter
    from bench.records import Data, Model


def choose(asked: Data, exporter: Exporter, model: Model) -> tuple[Dataset | None, str | None]:
    """The data for a model, and why no accuracy can be measured on it (None when it can)."""
    dataset: Dataset | None
    if asked.path is not None and model.preprocess is not None:
        dataset = open_folder(Path(asked.path), model, asked)
    else:
        dataset = exporter.dataset(model)
    if model.weights == "random":
        return dataset, "the weights are random: no accuracy is claimed"
    if model.preprocess is None:
        return None, unsaid.sentence(model)
    if model.task is None or model.output is None:
        return None, f"nothing is known of the outputs of {model.name}: timed, not evaluated"
    if dataset is None:
        return None, "no labelled images: give --data FOLDER to measure accuracy"
    return dataset, None


def fingerprint(dataset: Dataset | None) -> str | None:
    return dataset.fingerprint if dataset else None


def require_folder(path: Path, option: str = "--data") -> None:
    """Raise UsageError when `path` cannot be a data folder, before anything is built for it."""
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise UsageError(f"{option} {path} {problem}")
    try:
        next(path.iterdir(), None)
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be read: {error.strerror}") from error
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError as error:  # bytes that are no text, which a record cannot hold
        raise UsageError(f"{option} {str(path.resolve())!r} is not UTF-8: rename it") from error
