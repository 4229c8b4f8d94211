"""How a model of transformers is fed: what its image processor does, as a Preprocess that is held
to the processor itself. An accuracy on other inputs than the network was trained for is worse than
none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from bench.errors import first_line
from bench.preprocess import to_input
from bench.records import Preprocess

if TYPE_CHECKING:
    from pathlib import Path

_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
#: Width and height of the pictures that both are compared on. Where the whole image goes into a
#: square of a fixed size here and not there (letterbox), only the first is the same for both.
_PICTURES = ((512, 512), (512, 384), (384, 512))
#: How far they may be apart: two pixels, for a centre crop may begin one further and "nearest" may
#: take the neighbour, and a hundredth of the range, for what resizing rounds.
_PIXELS, _ROUNDED = 2, 0.01


def preprocess(folder: Path) -> tuple[Preprocess | None, tuple[str, ...]]:
    """What the image processor of a folder does; None where there is none, and where it does what
    cannot be said here, which is told."""
    if not (folder / "preprocessor_config.json").is_file():
        return None, ()
    from transformers import AutoImageProcessor

    try:
        made = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        how = _said(made)
        if how is not None and _alike(made, how):
            return how, ()
        reason = f"what its {type(made).__name__} does cannot be said here"
    except Exception as error:  # of a kind that this version does not know, or not of images
        reason = f"its image processor cannot be used: {first_line(error)[:200]}"
    return None, (f"{reason}: timed, not evaluated",)


def _said(made: Any) -> Preprocess | None:
    """A processor's settings as ours, in the ways that most of them have; None for others."""
    size, crop = _sides(getattr(made, "size", None)), _sides(getattr(made, "crop_size", None))
    rest: dict[str, Any] = {
        "interpolation": _INTERPOLATIONS[int(made.resample)],
        "mode": "BGR" if getattr(made, "do_flip_channel_order", False) else "RGB",
        "scale": round(1 / made.rescale_factor, 6) if made.do_rescale else 1.0,
        **_normalised(made),
    }
    edge, share = size.get("shortest_edge"), getattr(made, "crop_pct", None)
    whole = (size["height"], size["width"]) if "height" in size else None
    cropped = (crop["height"], crop["width"]) if "height" in crop else None
    if not getattr(made, "do_center_crop", False):
        cropped = None
    if edge and "longest_edge" in size:  # DETR: the whole image, here in a square of a fixed size
        return Preprocess(edge, edge, None, letterbox="top-left", **rest)
    if edge and cropped:
        return Preprocess(*cropped, _shorter_side(made, edge), **rest)
    if edge and share:  # ConvNeXt's, which larger images are squashed by
        return Preprocess(edge, edge, int(edge / share) if edge < 384 else None, **rest)
    if whole and cropped:  # DeiT
        return Preprocess(*cropped, None, squash=whole, **rest)
    return Preprocess(*whole, None, **rest) if whole else None


def _shorter_side(made: Any, edge: int) -> int:
    """What the shorter side of the image becomes before the crop."""
    if share := getattr(made, "crop_pct", None):  # PoolFormer
        return int(edge / share)
    # LeViT's own resizing (transformers/models/levit) is in its code alone.
    return int(256 / 224 * edge) if type(made).__name__.startswith("Levit") else edge


def _normalised(made: Any) -> dict[str, tuple[float, ...]]:
    """Mean and deviation. EfficientNet's processor takes one off before, and divides by the
    deviation a second time (transformers/models/efficientnet)."""
    once = bool(getattr(made, "do_normalize", True))
    again = bool(getattr(made, "include_top", False))
    before = float(bool(made.do_rescale and getattr(made, "rescale_offset", False)))
    mean = made.image_mean if once else (0.0,) * 3
    std = made.image_std if once or again else (1.0,) * 3
    return {
        "mean": tuple(each + before for each in mean),
        "std": tuple(each ** (once + again) for each in std),
    }


def _alike(made: Any, how: Preprocess) -> bool:
    """Whether both make the same of a few pictures."""
    unit = how.scale * np.reshape(how.std, (-1, 1, 1))  # back to pixels
    room = 255 * (_PIXELS / min(how.height, how.width) + _ROUNDED)
    for size in _PICTURES[: 1 if how.letterbox else None]:
        image = _picture(*size)
        wanted = made(images=image, return_tensors="pt")["pixel_values"][0].numpy()
        found = to_input(image, how)
        if wanted.shape != found.shape or not np.abs((wanted - found) * unit).max() <= room:
            return False
    return True


def _picture(width: int, height: int) -> Image.Image:
    """Slopes, another one in each channel: a pixel more or less changes little, another crop or
    order of channels much."""
    columns, rows = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    slopes = np.stack([columns, rows, 1 - columns], axis=-1)
    return Image.fromarray((255 * slopes).astype(np.uint8))


def _sides(size: Any) -> dict[str, int]:
    """A size as transformers writes it, in any of its forms."""
    if isinstance(size, int):
        return {"height": size, "width": size}
    names = ("height", "width", "shortest_edge", "longest_edge")
    said: dict[str, Any] = (
        size if isinstance(size, dict) else {name: getattr(size, name, None) for name in names}
    )
    return {name: int(said[name]) for name in names if said.get(name)}
