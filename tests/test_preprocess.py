"""Preprocessing: the same numbers as torchvision's, with which weights are trained and rated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.geometry import placed
from bench.preprocess import to_input
from bench.records import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = [(256, 256), (333, 500), (500, 375), (101, 67), (67, 101), (224, 225), (1023, 31)]


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Noise over a gradient: every pixel differs from its neighbours."""
    rng = np.random.default_rng(width * 10_000 + height)
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = 255 * (rows + columns) / (width + height)
    noise = rng.integers(0, 256, (height, width, 3))
    return Image.fromarray(((ramp[..., None] + noise) / 2).astype(np.uint8)).convert(mode)


def how(**changed: Any) -> Preprocess:
    chosen: dict[str, Any] = {
        "height": 224,
        "width": 224,
        "shorter_side": 256,
        "interpolation": "bilinear",
        "mode": "RGB",
        "mean": MEAN,
        "std": STD,
    }
    return Preprocess(**{**chosen, **changed})


def as_torchvision(image: Image.Image, wanted: Preprocess) -> np.ndarray[Any, Any]:
    transforms = pytest.importorskip("torchvision.transforms")
    crop = (wanted.height, wanted.width)
    whole = wanted.squash or crop
    return np.asarray(
        transforms.Compose(
            [
                transforms.Resize(
                    whole if wanted.shorter_side is None else wanted.shorter_side,
                    interpolation=transforms.InterpolationMode(wanted.interpolation),
                    antialias=True,
                ),
                transforms.CenterCrop(crop),
                transforms.ToTensor(),
                transforms.Normalize(wanted.mean, wanted.std),
            ]
        )(image.convert(wanted.mode))
    )


def assert_same(image: Image.Image, wanted: Preprocess) -> None:
    found = to_input(image, wanted)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, as_torchvision(image, wanted), rtol=0, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shorter_side", [256, 235, None])
@pytest.mark.parametrize("size", SIZES)
def test_as_torchvision(
    size: tuple[int, int], shorter_side: int | None, interpolation: str
) -> None:
    assert_same(picture(*size), how(shorter_side=shorter_side, interpolation=interpolation))


@pytest.mark.parametrize("squash", [(256, 256), (235, 249), (224, 224), (200, 300)])
@pytest.mark.parametrize("size", SIZES)
def test_squashed_then_cropped(size: tuple[int, int], squash: tuple[int, int]) -> None:
    assert_same(picture(*size), how(shorter_side=None, squash=squash))


def test_the_way_back_from_what_was_squashed_and_cropped() -> None:
    """Of 640 x 480 pixels, as 256 x 256, the crop leaves off 16 on each side."""
    where = placed((640, 480), how(shorter_side=None, squash=(256, 256)))
    whole, inside = np.array([0.0, 0, 224, 224]), np.array([0.0, 0, 112, 56])
    found = where.to_image(np.stack([whole, inside]))
    np.testing.assert_allclose(found, [[40, 30, 600, 450], [40, 30, 320, 135]])


@pytest.mark.parametrize("crop", [(32, 48), (33, 47), (1, 1), (64, 64)])
@pytest.mark.parametrize("size", [(80, 95), (95, 81)])
def test_a_crop_that_is_no_square(size: tuple[int, int], crop: tuple[int, int]) -> None:
    assert_same(picture(*size), how(height=crop[0], width=crop[1], shorter_side=64))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shorter_side", [34, None])
def test_grey(size: tuple[int, int], shorter_side: int | None) -> None:
    wanted = how(height=28, width=28, shorter_side=shorter_side, mode="L", mean=(0.5,), std=(0.25,))
    assert_same(picture(*size), wanted)
    assert to_input(picture(*size, "L"), wanted).shape == (1, 28, 28)


@pytest.mark.parametrize("crop", range(20, 34))
@pytest.mark.parametrize("size", [(20, 20), (20, 31), (31, 20)])
def test_an_image_smaller_than_the_crop_is_padded(size: tuple[int, int], crop: int) -> None:
    assert_same(picture(*size), how(height=crop, width=crop, shorter_side=20))


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    crop=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    shorter_side=st.one_of(st.none(), st.integers(1, 60)),
    squash=st.one_of(st.none(), st.tuples(st.integers(1, 60), st.integers(1, 60))),
)
def test_any_size_as_torchvision(
    size: tuple[int, int],
    crop: tuple[int, int],
    shorter_side: int | None,
    squash: tuple[int, int] | None,
) -> None:
    wanted = how(height=crop[0], width=crop[1], shorter_side=shorter_side, squash=squash)
    assert_same(picture(*size), wanted)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "RGBA", "LA", "1", "YCbCr", "I", "F"])
@pytest.mark.parametrize("wanted", ["RGB", "L"])
def test_every_kind_of_image_is_converted(mode: str, wanted: Any) -> None:
    image = picture(90, 60, mode)
    channels = 3 if wanted == "RGB" else 1
    like = how(mode=wanted, mean=MEAN[:channels], std=STD[:channels])
    found = to_input(image, like)
    assert found.shape == (channels, 224, 224)
    np.testing.assert_array_equal(found, to_input(image.convert(wanted), like))


def test_a_palette_with_transparency() -> None:
    image = picture(90, 60, "P")
    image.info["transparency"] = 0
    assert to_input(image, how()).shape == (3, 224, 224)


def test_black_and_white_by_hand() -> None:
    plain = how(height=2, width=2, shorter_side=2, mean=(0.5, 0.0, 0.25), std=(0.5, 1.0, 0.25))
    white = to_input(Image.new("RGB", (5, 5), "white"), plain)
    black = to_input(Image.new("RGB", (5, 5), "black"), plain)
    np.testing.assert_allclose(white, np.broadcast_to([[[1.0]], [[1.0]], [[3.0]]], (3, 2, 2)))
    np.testing.assert_allclose(black, np.broadcast_to([[[-1.0]], [[0.0]], [[-1.0]]], (3, 2, 2)))


def test_the_image_itself_is_left_alone() -> None:
    image = picture(50, 40, "L")
    before = image.tobytes()
    to_input(image, how())
    assert (image.mode, image.size, image.tobytes()) == ("L", (50, 40), before)
