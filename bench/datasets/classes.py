"""Images with a class each: a subfolder a class, or a flat folder with a list."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.datasets.images import is_file, is_hidden, is_image, shown
from bench.datasets.labels import by_name, in_order
from bench.datasets.split import Listed
from bench.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WNID = re.compile(r"n\d{8}")
#: More digits than any number of classes has.
_LABEL = re.compile(r"\d{1,9}")
#: Characters of a list that a message quotes.
_QUOTED = 60
#: Classes of ImageNet.
_IMAGENET = 1000


def indices(path: Path) -> list[Path]:
    """The lists that may be of a flat folder: val.txt in it, and beside it."""
    places = (path / "val.txt", path.resolve().parent / "val.txt")
    return [place for place in places if place.is_file()]


def from_index(path: Path, index: Path) -> list[Listed]:
    """`FILE CLASS` lines; files lie in the folder, or in its subfolder `val`."""
    listed: dict[str, Listed] = {}
    for number, line in enumerate(_lines(index), 1):
        if not line.strip():
            continue
        name, *label = line.strip().rsplit(maxsplit=1)
        where = f"{index}, line {number}"
        if not label or not _LABEL.fullmatch(label[0]):
            found = shown(label[0] if label else line.strip(), _QUOTED)
            raise UsageError(
                f"{where}: `FILE CLASS` was expected, CLASS is a number, counted from 0; found "
                f"'{found}'"
            )
        file = _file(path, name)
        key = os.path.normpath(file)
        if key in listed:
            raise UsageError(f"{where}: {shown(name, _QUOTED)} is listed twice")
        listed[key] = Listed(file, name, int(label[0]))
    return list(listed.values())


def names_files(path: Path, index: Path) -> bool:
    """Whether a list is of files that are in the folder: any of its first ones, whatever else its
    lines say. Raises UsageError where it cannot be read."""
    names = [words[0] for line in _lines(index) if (words := line.strip().rsplit(maxsplit=1))]
    return any(is_file(_file(path, name)) for name in names[:100])


def _lines(index: Path) -> list[str]:
    try:
        return index.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{index} is not UTF-8: save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"{index} cannot be read: {error.strerror}") from error


def _file(path: Path, name: str) -> Path:
    inside = path / "val" if (path / "val").is_dir() else path
    return path / name if is_file(path / name) else inside / name


def from_subfolders(path: Path, labels: Sequence[str]) -> tuple[list[Listed], list[str]]:
    """A subfolder a class: the images, and what was noticed."""
    folders = subfolders(path)
    indices, notes = _matched(path, [folder.name for folder in folders], labels)
    listed = []
    for folder, index in zip(folders, indices, strict=True):
        images = [image for image in sorted(folder.iterdir()) if is_image(image)]
        if not images:
            notes.append(f"the class {shown(folder.name)} has no image in {path}")
        for image in images:
            name = f"{folder.name}/{image.name}"
            listed.append(Listed(image, name, index, said=folder.name))
    return listed, notes


def subfolders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and not is_hidden(each))


def _matched(path: Path, names: list[str], labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """The class of each subfolder, and what was assumed: by the model's labels, by ImageNet's ids,
    or in sorted order."""
    data = f"--data {path} has {len(names)} subfolders"
    chosen = by_name(data, names, labels)
    if chosen is not None:
        if twice := next((name for name in names if list(labels).count(name) > 1), None):
            raise UsageError(
                f"--data {path}: the model has several classes called {twice!r}; name the "
                "subfolders by their WordNet ids (n01440764, ...)"
            )
        return chosen, []
    if all(_WNID.fullmatch(name) for name in names) and len(labels) in (0, _IMAGENET):
        return _by_wnid(path, names), []
    chosen, note = in_order(data, names, labels)
    return chosen, [note]


def _by_wnid(path: Path, names: list[str]) -> list[int]:
    """By ImageNet's ids. Raises Unavailable where nothing here knows their order."""
    # All of them together, sorted, are in their order already.
    wnids = imagenet_wnids() or (names if len(names) == _IMAGENET else [])
    if not wnids:
        raise Unavailable(
            f"--data {path}: the order of ImageNet's WordNet ids comes with timm, which is not "
            "installed: pip install 'frontier-bench[zoo]'"
        )
    if strange := next((name for name in names if name not in wnids), None):
        raise UsageError(f"--data {path}: {strange} is none of ImageNet's 1,000 classes")
    return [wnids.index(name) for name in names]


def imagenet_wnids() -> list[str]:
    """The WordNet ids of ImageNet's 1,000 classes in their order; empty without timm, which
    carries them."""
    found = find_spec("timm")
    if found is None or found.origin is None:
        return []
    # Read, not imported: that would import torch.
    file = Path(found.origin).parent / "data" / "_info" / "imagenet_synsets.txt"
    return file.read_text().split() if file.is_file() else []
