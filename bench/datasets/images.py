"""Opening an image, and saying what is odd about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}

#: Images named in a note about what is wrong or odd.
_NAMED = 10
#: Characters of a name that are shown: the longest that most file systems take.
_SHOWN = 255
#: The kind of error of a file that the system did not give this time: it may another time.
PASSING = "unread"
_ODD_MODES = {
    "L": "greyscale",
    "1": "greyscale",
    "LA": "greyscale",
    "CMYK": "CMYK",
    "F": "floating point",
}


def is_image(path: Path, endings: Collection[str] = ENDINGS) -> bool:
    """Whether a folder's entry is to be taken for an image: a file, or a link that leads nowhere,
    which is told when it is to be read. Hidden ones are leavings of other programs."""
    return (
        path.suffix.lower() in endings
        and not is_hidden(path)
        and (path.is_file() or (path.is_symlink() and not path.exists()))
    )


def is_file(path: Path) -> bool:
    """Whether there is such a file; there is none of a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def read(path: Path) -> Image.Image:
    """The whole image, its first frame where it has several. Raises what `refusal` says of a file
    that cannot be read to its end."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise IsADirectoryError(0, "it is no file")
        with Image.open(path) as image:
            image.load()
            # Closed with the file; what stays is the pixels.
            copy: Image.Image = _in_bytes(image)
            copy.info["odd"] = oddity(image)
            return copy
    except Exception as error:  # SyntaxError, ValueError and more, as the format likes
        raise refusal(path, error) from error


def refusal(path: Path, error: Exception) -> StageError:
    """What to raise for a file that is to be an image and cannot be read. It is "bad-image" where
    the file is to blame; PASSING where the system would not give it, or has no memory for it: that
    may be otherwise a minute later, and the file looks the same then."""
    # Pillow's own complaints of a file are OSErrors as well, without a number. A file that is not
    # there is told by the data's fingerprint when it is.
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
    passing = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno)
    passing = passing and not missing
    return StageError(PASSING if passing else "bad-image", f"{shown(path)} {_problem_of(error)}")


def _problem_of(error: Exception) -> str:
    """What is wrong with a file that is to be an image, without its name."""
    if isinstance(error, UnidentifiedImageError):
        return "cannot be read as an image: it is none that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, MemoryError):
        return "cannot be read: there is not enough memory"
    return f"cannot be read as an image: {shown(error)}"


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
    more = f"; and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return "; ".join(map(shown, names[:_NAMED])) + more


def shown(name: object, most: int = _SHOWN) -> str:
    """A name, or what a file says, as one line of a message has it: what cannot be printed
    escaped, the middle of what is too long left out."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"
