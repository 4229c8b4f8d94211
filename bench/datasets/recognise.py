"""What a folder of labelled images is, and what to say of one that is none or two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.datasets import classes, coco, masks
from bench.datasets.images import ENDINGS
from bench.datasets.split import Folder, Listed
from bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.records import Data, Model, Task

_FORMS: dict[str, str] = {
    "classes": "a subfolder a class",
    "list": "images with a val.txt of `FILE CLASS` lines",
    "coco": "images with a COCO instances JSON",
    "masks": "folders images/ and masks/",
}
_TASKS: dict[str, tuple[Task, ...]] = {
    "classes": ("classification",),
    "list": ("classification",),
    "coco": ("detection", "instance-segmentation"),
    "masks": ("segmentation",),
}


def open_folder(path: Path, model: Model, asked: Data) -> Folder:
    """The labelled images in a folder, for a model. Raises UsageError for a folder that is none of
    the known forms, or more than one, or not for the model's task."""
    try:
        form = _form(path)
        if model.task and model.task not in _TASKS[form]:
            raise UsageError(
                f"--data {path} holds {_FORMS[form]}, and {model.name} is a network for "
                f"{model.task}: other data are needed"
            )
        return _OPENERS[form](path, model, asked)
    except OSError as error:
        raise UsageError(f"--data {path} cannot be read: {error}") from error


def _form(path: Path) -> str:
    index = classes.index_of(path)
    instances = coco.index_of(path)
    masked = masks.folders_of(path)
    found = []
    if index:
        found.append("list")
    if instances:
        found.append("coco")
    if masked:
        found.append("masks")
    # A list, boxes and masks name their images, which may lie in subfolders.
    sorted_out = any(_has_images(folder) for folder in classes.subfolders(path))
    if found == ["list"] and sorted_out and index:
        # ImageNet's list often lies beside images that were sorted into subfolders long ago.
        found = ["list"] if classes.names_files(classes.from_index(path, index)) else []
    if not found and sorted_out:
        found.append("classes")
    if len(found) > 1 or len(instances) > 1:
        several = (
            [_FORMS[each] for each in found] if len(found) > 1 else [i.name for i in instances]
        )
        raise UsageError(
            f"--data {path} is ambiguous: it holds {' and '.join(several)}; give a folder with one "
            "of them"
        )
    if not found:
        raise UsageError(
            f"--data {path} holds no images with labels: {', or '.join(_FORMS.values())}, was "
            "expected"
        )
    return found[0]


def _has_images(folder: Path) -> bool:
    return any(each.suffix.lower() in ENDINGS for each in folder.iterdir())


def _folder(path: Path, model: Model, asked: Data, listed: list[Listed], **more: Any) -> Folder:
    if not listed:
        raise UsageError(
            f"--data {path} holds no images: {', or '.join(_FORMS.values())}, was expected"
        )
    apart = _unlabelled(Path(asked.calibration_path)) if asked.calibration_path else None
    return Folder(
        name=path.resolve().name,
        listed=tuple(listed),
        calibration_limit=asked.calibration,
        apart=apart,
        **more,
    )


def _of_classes(path: Path, model: Model, asked: Data) -> Folder:
    listed, notes = classes.from_subfolders(path, model.labels)
    more = {"task": "classification", "classes": model.labels, "notes": tuple(notes)}
    return _folder(path, model, asked, listed, **more)


def _of_list(path: Path, model: Model, asked: Data) -> Folder:
    index = classes.index_of(path)
    assert index is not None
    listed = classes.from_index(path, index)
    return _folder(path, model, asked, listed, task="classification", classes=model.labels)


def _of_coco(path: Path, model: Model, asked: Data) -> Folder:
    [index] = coco.index_of(path)
    listed, names = coco.read(path, index, model.labels)
    more: dict[str, Any] = {"task": "detection", "classes": tuple(names)}
    return _folder(path, model, asked, listed, stratum=_one_stratum, **more)


def _of_masks(path: Path, model: Model, asked: Data) -> Folder:
    found = masks.folders_of(path)
    assert found is not None
    names = model.labels or masks.VOC
    more: dict[str, Any] = {"task": "segmentation", "classes": names}
    return _folder(path, model, asked, masks.read(path, *found), stratum=_one_stratum, **more)


def _one_stratum(_: Any) -> None:
    """An image of many things is of no one class: one stratum for all."""


_OPENERS: dict[str, Callable[[Path, Model, Data], Folder]] = {
    "classes": _of_classes,
    "list": _of_list,
    "coco": _of_coco,
    "masks": _of_masks,
}


def _unlabelled(path: Path) -> tuple[Listed, ...]:
    """All images in a folder and below."""
    found = sorted(each for each in path.rglob("*") if each.suffix.lower() in ENDINGS)
    if not found:
        raise UsageError(f"--calib {path} holds no images")
    return tuple(Listed(each, str(each.relative_to(path)), None) for each in found)
