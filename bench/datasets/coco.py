"""COCO: a folder of images, and a JSON file of instances."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bench.datasets.images import is_file, shown
from bench.datasets.labels import by_name, in_order
from bench.datasets.split import Listed
from bench.errors import StageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from PIL import Image


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int
    height: int


class _Category(msgspec.Struct):
    id: int
    name: str


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int = 0
    segmentation: Any = None
    id: Any = None


class _Instances(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class _Keys(msgspec.Struct):
    """What tells a COCO file of instances from other JSON, and from captions."""

    images: msgspec.Raw
    annotations: msgspec.Raw
    categories: msgspec.Raw


class _Name(msgspec.Struct):
    file_name: str


class _Names(msgspec.Struct):
    images: list[_Name]


def indices(path: Path) -> tuple[list[Path], list[Path]]:
    """The JSON files of a folder that are COCO's, or are called so: in it, or in `annotations`. Of
    several, the one whose images are there. And the JSON files that are something else."""
    named = sorted((path / "annotations").glob("instances*.json"))
    inside = [each for each in sorted(path.glob("*.json")) if each.is_file()]
    others = [each for each in inside if not _is_instances(each)]
    found = [*(each for each in inside if each not in others), *named]
    if len(found) > 1:
        found = [each for each in found if _has_images(path, each)] or found
    return found, others


def _is_instances(index: Path) -> bool:
    if index.name.startswith("instances"):  # one that is broken is to be told
        return True
    try:
        msgspec.json.decode(index.read_bytes(), type=_Keys)
    except msgspec.MsgspecError:
        return False
    return True


def _has_images(path: Path, index: Path) -> bool:
    """Whether any of its first images is there."""
    try:
        names = msgspec.json.decode(index.read_bytes(), type=_Names).images
    except msgspec.MsgspecError:
        return False
    return _folder(path, index, [each.file_name for each in names]) is not None


def read(
    path: Path, index: Path, labels: Sequence[str], *, masks: bool = False
) -> tuple[list[Listed], list[str], list[str]]:
    """Every image with its boxes; the names of the classes in order, the model's own where they are
    the same ones, else by category id; and what was noticed. With `masks` every object needs one.
    """
    try:
        found = msgspec.json.decode(index.read_bytes(), type=_Instances)
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"{index} is no COCO file of instances (images, annotations, categories): {error}"
        ) from error
    categories = sorted(found.categories, key=lambda category: category.id)
    order, names, notes = _classes(index, categories, labels)
    called = {category.id: category.name for category in categories}
    truths: dict[int, dict[str, Any]] = {
        image.id: {"size": [image.width, image.height]} for image in found.images
    }
    of_image: defaultdict[int, list[_Annotation]] = defaultdict(list)
    for each in found.annotations:
        if each.image_id not in truths or each.category_id not in order:
            what = "image" if each.image_id not in truths else "category"
            raise UsageError(f"{index}: an annotation names an {what} that is not listed")
        if masks and (problem := _of_mask(each.segmentation, *truths[each.image_id]["size"])):
            raise StageError(
                "bad-data",
                f"{index}: the segmentation of annotation {shown(each.id, 60)} {problem}",
            )
        of_image[each.image_id].append(each)
    folder = _folder(path, index, [image.file_name for image in found.images]) or path
    listed = []
    for image in found.images:
        file, size = folder / image.file_name, (image.width, image.height)
        truth = {**truths[image.id], **_boxes(of_image[image.id], order)}
        said = {**truth, "classes": [called[each.category_id] for each in of_image[image.id]]}
        check = partial(_check, file, index.name, size)
        listed.append(Listed(file, image.file_name, truth, check=check, said=said))
    return listed, names, notes


def _classes(
    index: Path, categories: Sequence[_Category], labels: Sequence[str]
) -> tuple[dict[int, int], list[str], list[str]]:
    """The class of each category by its id, the names of the classes, and what was assumed.
    Categories are in the order of their ids."""
    names = [category.name for category in categories]
    data = f"{index} has {len(names)} categories"
    if not labels:  # the model says nothing that could be held against the order of the ids
        return _by_id(categories, range(len(names))), names, []
    chosen = by_name(data, names, labels)
    if chosen is not None:
        return _by_id(categories, chosen), list(labels), []
    chosen, note = in_order(data, names, labels)
    return _by_id(categories, chosen), names, [note]


def _by_id(categories: Sequence[_Category], classes: Iterable[int]) -> dict[int, int]:
    return {category.id: i for category, i in zip(categories, classes, strict=True)}


def _check(file: Path, index: str, size: tuple[int, int], image: Image.Image) -> None:
    """Raise StageError "bad-image" for an image of another size than its boxes were drawn on: one
    that was shrunk since, or that was turned as its EXIF data ask for."""
    if image.size != size:
        found, said = ("{}x{}".format(*each) for each in (image.size, size))
        raise StageError("bad-image", f"{shown(file)} is {found}, and {index} says {said} pixels")


def _of_mask(segmentation: Any, width: int, height: int) -> str | None:
    """What is wrong with an object's mask, in a few words: polygons, or run lengths."""
    if not segmentation:
        return "is missing: its objects need a mask each"
    if isinstance(segmentation, list):
        sane = all(
            isinstance(polygon, list)
            and len(polygon) >= 6
            and len(polygon) % 2 == 0
            and all(type(number) in (int, float) for number in polygon)
            for polygon in segmentation
        )
        return None if sane else "is no list of polygons of at least 3 points: x, y, x, y, ..."
    if not isinstance(segmentation, dict):
        return f"is {shown(repr(segmentation), 60)}, neither polygons nor run lengths"
    if segmentation.get("size") != [height, width]:
        size = shown(segmentation.get("size"), 60)
        return f"is of the size {size}, its image of [{height}, {width}] (height, width)"
    counts = segmentation.get("counts")
    if isinstance(counts, list):
        whole = all(type(count) is int and count >= 0 for count in counts)
        good = whole and sum(counts) == width * height
        return None if good else f"has run lengths of other than {width * height} pixels"
    return None if isinstance(counts, str) and counts else "has no run lengths (counts)"


def _boxes(annotations: Sequence[_Annotation], order: dict[int, int]) -> dict[str, Any]:
    boxes: dict[str, Any] = {
        "boxes": [list(each.bbox) for each in annotations],
        "classes": [order[each.category_id] for each in annotations],
        "crowd": [each.iscrowd for each in annotations],
        "areas": [
            each.bbox[2] * each.bbox[3] if each.area is None else each.area for each in annotations
        ],
    }
    if all(each.segmentation for each in annotations):
        boxes["masks"] = [each.segmentation for each in annotations]
    return boxes


def _folder(path: Path, index: Path, names: Sequence[str]) -> Path | None:
    """Where the images lie: the folder itself, `images`, or one named like the index
    (instances_val2017.json: val2017). None where none of the first ones is in any of them."""
    named = path / index.stem.removeprefix("instances_")
    places = [named, path / "images", path / "images" / named.name, path]
    there = (place for place in places if any(is_file(place / name) for name in names[:100]))
    return next(there, None)
