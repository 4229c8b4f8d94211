"""Opening an image, and saying what is odd about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}

#: Images named in a note about what is wrong or odd.
_NAMED = 3
_ODD_MODES = {
    "L": "greyscale",
    "1": "greyscale",
    "LA": "greyscale",
    "CMYK": "CMYK",
    "F": "floating point",
}


def read(path: Path) -> Image.Image:
    """The whole image, its first frame where it has several. Raises StageError "bad-image", which
    names the file, for what cannot be read to its end."""
    try:
        with Image.open(path) as image:
            image.load()
            # Closed with the file; what stays is the pixels.
            copy: Image.Image = _in_bytes(image)
            copy.info["odd"] = oddity(image)
            return copy
    except Exception as error:  # SyntaxError, ValueError and more, as the format likes
        raise StageError("bad-image", f"{path} {_problem(error)}") from error


def _problem(error: Exception) -> str:
    """What is wrong with a file, without its name."""
    if isinstance(error, UnidentifiedImageError):
        return "cannot be read as an image: it is none that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"cannot be read as an image: {error}"


def oddity(image: Image.Image) -> str | None:
    """What a colour network is not trained on, in a word or two; None for an ordinary picture."""
    if getattr(image, "n_frames", 1) > 1:
        return "animated"
    if image.mode.startswith("I"):
        return "16-bit"
    return _ODD_MODES.get(image.mode)


def _in_bytes(image: Image.Image) -> Image.Image:
    """The image with bytes for pixels: converting 16 bits to RGB would cut them off at 255."""
    if not image.mode.startswith("I"):
        return image.copy()
    levels = np.asarray(image, np.float64)
    top = 65535 if levels.max(initial=0) > 255 else 255
    return Image.fromarray((levels * (255 / top)).clip(0, 255).round().astype(np.uint8))


def count(things: Sequence[object]) -> str:
    """How many images."""
    return f"{len(things)} image{'s' if len(things) != 1 else ''}"


def first_few(names: Sequence[str]) -> str:
    """Names of images, or what is wrong with them: as many as anybody reads."""
    more = "; ..." if len(names) > _NAMED else ""
    return "; ".join(names[:_NAMED]) + more
