"""What a folder of labelled images is, and what to say of one that is none or two."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.datasets import classes, coco, masks
from bench.datasets.images import is_hidden, is_image, shown
from bench.datasets.split import Folder, Listed
from bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.records import Data, Model, Task

    #: What reads a folder of one form: the fields of a Folder that it decides.
    Read = Callable[[Model], dict[str, Any]]
    #: The images that a list names.
    Listing = Callable[[Path], list[Listed]]

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
    the known forms, or more than one, or not for the model's task; StageError "bad-data" for an
    object whose mask cannot be used; Unavailable where its names need a package to be read."""
    try:
        form, read = _recognised(path)
        if model.task and model.task not in _TASKS[form]:
            raise UsageError(
                f"--data {path} holds {_FORMS[form]}, and {model.name} is a network for "
                f"{model.task}: other data are needed"
            )
        found = read(model)
        if not found["listed"]:
            raise UsageError(f"--data {path} holds no images: {_wanted()}")
        apart = _unlabelled(Path(asked.calibration_path)) if asked.calibration_path else None
        return Folder(
            name=path.resolve().name,
            calibration_limit=asked.calibration,
            apart=apart,
            **found,
        )
    except OSError as error:
        raise UsageError(f"--data {path} cannot be read: {error}") from error


def _recognised(path: Path) -> tuple[str, Read]:
    """The form of a folder, and what reads it for a model."""
    instances, others = coco.indices(path)
    passed_over = [f"{shown(each)} is no COCO file of instances" for each in others]
    found: dict[str, Read] = {}
    # A list, boxes and masks name their images, which may lie in subfolders.
    sorted_out = any(_has_images(folder) for folder in classes.subfolders(path))
    if instances:
        found["coco"] = partial(_coco, path, instances[0])
    if masked := masks.folders_of(path):
        found["masks"] = partial(_masks, path, *masked)
    listing = cache(partial(classes.from_index, path))  # which asks for every file: once
    for index in classes.indices(path):
        why = _why_passed_over(path, index, listing, sorted_out=sorted_out and not found)
        if why is None:
            found["list"] = partial(_list, listing, index)
            break
        passed_over.append(why)
    if sorted_out and not found:
        found["classes"] = partial(_classes, path, passed_over)
    if len(found) > 1 or len(instances) > 1:
        files = [each.name for each in instances]
        several = [_FORMS[form] for form in _FORMS if form in found] if len(found) > 1 else files
        raise UsageError(
            f"--data {path} is ambiguous: it holds {' and '.join(several)}; give a folder with one "
            "of them"
        )
    if not found:
        raise UsageError(
            f"--data {path} holds no images with labels: {_wanted()}{_but(passed_over)}"
        )
    return found.popitem()


def _why_passed_over(path: Path, index: Path, listing: Listing, *, sorted_out: bool) -> str | None:
    """Why a list is not the folder's; None where it is. Raises UsageError for a bad one in it."""
    if index.parent == path and listing(index) and not sorted_out:
        return None
    try:
        # ImageNet's list often lies with images that were sorted into subfolders long ago; and what
        # lies beside a folder may be of anything.
        named = classes.names_files(path, index)
    except UsageError as error:
        return str(error)
    return None if named else f"{shown(index)} names no image in {shown(path)}"


def _but(passed_over: Sequence[str]) -> str:
    """What was there and looked like labels, for a message that there are none."""
    return "".join(f"; {each}" for each in passed_over[:3])


def _wanted() -> str:
    return f"{', or '.join(_FORMS.values())}, was expected"


def _has_images(folder: Path) -> bool:
    return any(map(is_image, folder.iterdir()))


def _classes(path: Path, passed_over: Sequence[str], model: Model) -> dict[str, Any]:
    try:
        listed, notes = classes.from_subfolders(path, model.labels)
    except UsageError as error:
        raise UsageError(f"{error}{_but(passed_over)}") from error
    return {"listed": tuple(listed), "classes": model.labels, "notes": tuple(notes)}


def _list(listing: Listing, index: Path, model: Model) -> dict[str, Any]:
    return {"listed": tuple(listing(index)), "classes": model.labels}


def _coco(path: Path, index: Path, model: Model) -> dict[str, Any]:
    listed, names, notes = coco.read(
        path, index, model.labels, masks=model.task == "instance-segmentation"
    )
    found = {"listed": tuple(listed), "classes": tuple(names), "notes": tuple(notes)}
    return {**found, "stratum": _one_stratum}


def _masks(path: Path, images: Path, masked: Path, model: Model) -> dict[str, Any]:
    names = model.labels or masks.VOC
    listed = tuple(masks.read(path, images, masked, len(names)))
    return {"listed": listed, "classes": names, "stratum": _one_stratum}


def _one_stratum(_: Any) -> None:
    """An image of many things is of no one class: one stratum for all."""


def _unlabelled(path: Path) -> tuple[Listed, ...]:
    """All images in a folder and below, except in hidden folders."""
    found = [each for each in sorted(path.rglob("*")) if is_image(each)]
    found = [each for each in found if not any(map(is_hidden, each.relative_to(path).parents[:-1]))]
    if not found:
        raise UsageError(f"--calib {path} holds no images")
    return tuple(Listed(each, str(each.relative_to(path)), None) for each in found)
