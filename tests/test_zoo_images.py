"""How the zoos feed a picture to their networks: the same numbers as their own transforms, or none
at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import plugins
from bench.preprocess import to_input
from bench.records import Preprocess
from tests.test_preprocess import picture
from tests.test_sources import tiny_hf

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")


def as_timm(config: Any, image: Any) -> Any:
    """What timm's own transform for evaluation makes of a picture."""
    from timm.data import create_transform, resolve_data_config

    transform: Any = create_transform(**resolve_data_config({}, config.to_dict()))
    return transform(image).numpy()


@pytest.mark.parametrize(
    ("name", "shorter_side", "squash"),
    [
        ("resnet50.a1_in1k", 235, None),
        ("dm_nfnet_f0.dm_in1k", None, (213, 213)),
        ("vit_base_patch16_clip_384.openai_ft_in12k_in1k", None, (404, 404)),
        ("convnext_tiny.in12k_ft_in1k_384", None, None),
    ],
)
def test_timms_crops(name: str, shorter_side: int | None, squash: Any) -> None:
    timm = pytest.importorskip("timm")
    how = plugins.exporter("timm").describe(name, "random").preprocess
    assert how is not None
    assert (how.shorter_side, how.squash) == (shorter_side, squash)
    for size in ((300, 220), (220, 300)):
        wanted = as_timm(timm.get_pretrained_cfg(name), picture(*size))
        np.testing.assert_allclose(to_input(picture(*size), how), wanted, rtol=0, atol=1e-5)


def test_every_way_in_which_timm_crops() -> None:
    timm = pytest.importorskip("timm")
    from exporters import timm_zoo

    ways: dict[Any, Any] = {}
    for name in timm.list_pretrained():
        config = timm.get_pretrained_cfg(name)
        if config.input_size[-1] <= 256 or config.crop_mode != "center":
            ways[config.input_size, config.crop_pct, config.crop_mode] = config
    assert len(ways) > 20
    image = picture(200, 150)
    for way, config in ways.items():
        how, said = timm_zoo._preprocess(config)
        assert (how is None) == (config.crop_mode == "border") == bool(said), way
        if how is None:
            continue
        found = to_input(image, how)
        np.testing.assert_allclose(found, as_timm(config, image), rtol=0, atol=1e-5, err_msg=way)
    resnet = timm.get_pretrained_cfg("resnet50")
    for odd in (replace(resnet, crop_mode="border"), replace(resnet, input_size=(3, 224, 192))):
        how, said = timm_zoo._preprocess(odd)
        assert how is None
        assert "not evaluated" in said[0]


def processor(kind: str, **rest: Any) -> dict[str, Any]:
    """The settings of one of transformers' image processors, for a network of 64 pixels."""
    usual = {"resample": 3, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    return {"image_processor_type": f"{kind}ImageProcessor", **usual, **rest}


SQUARE, EDGE = {"height": 64, "width": 64}, {"shortest_edge": 64}
LARGER = {"height": 72, "width": 72}
KNOWN = [
    processor("ViT", size=SQUARE),
    processor("ViT", size=SQUARE, resample=0),
    processor("ViT", size=SQUARE, do_normalize=False),
    processor("ViT", size=SQUARE, do_rescale=False),
    processor("DeiT", size=LARGER, crop_size=SQUARE),
    processor("Bit", size=EDGE, crop_size=SQUARE),
    processor("Levit", size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}),
    processor("PoolFormer", size=EDGE, crop_size=SQUARE, crop_pct=0.8),
    processor("PoolFormer", size={"shortest_edge": 400}, crop_size=SQUARE, crop_pct=0.8),
    processor("ConvNext", size=EDGE, crop_pct=0.8),
    processor("ConvNext", size={"shortest_edge": 384}, crop_pct=0.8),
    processor("MobileViT", size={"shortest_edge": 72}, crop_size=SQUARE),
    processor("MobileViT", size=EDGE, crop_size=SQUARE, do_flip_channel_order=False),
    processor("EfficientNet", size=SQUARE),
    processor("EfficientNet", size=SQUARE, include_top=False),
    processor("EfficientNet", size=SQUARE, do_normalize=False),
    processor("EfficientNet", size=SQUARE, rescale_factor=1 / 127.5, rescale_offset=True),
    processor("EfficientNet", size=LARGER, crop_size=SQUARE, do_center_crop=True),
]


def described(settings: dict[str, Any], folder: Path) -> Any:
    from exporters import hf_images

    folder.mkdir(exist_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return hf_images.preprocess(folder)


@pytest.mark.parametrize("settings", KNOWN, ids=lambda each: each["image_processor_type"][:-14])
def test_transformers_processors(settings: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    how, said = described(settings, tmp_path)
    assert said == ()
    # By pillow, as ours; by torchvision the last digits of bytes differ.
    made = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    for size in ((96, 64), (64, 96), (192, 128)):  # all crops begin on whole pixels
        image = picture(*size)
        wanted = made(images=image, return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(to_input(image, how), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        processor("ViT", size=SQUARE, do_resize=False),
        processor("Bit", size=EDGE, do_center_crop=False),
        processor("Perceiver", size=SQUARE, crop_size=LARGER),
        processor("DPT", size=SQUARE, keep_aspect_ratio=True, ensure_multiple_of=32),
        processor("MobileViT", size=EDGE, crop_size=SQUARE, do_normalize=True),
        processor("ViT", size=SQUARE, resample=5),
        processor("NoSuch", size=SQUARE),
    ],
    ids=lambda each: each["image_processor_type"][:-14],
)
def test_what_cannot_be_said_is_not_evaluated(settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    how, said = described(settings, tmp_path)
    assert how is None
    assert "timed, not evaluated" in said[0]


def test_a_detector_sees_the_whole_image_in_a_square(tmp_path: Path) -> None:
    """Its own processor changes the size with the image, which a deployed network cannot."""
    pytest.importorskip("transformers")
    size = {"shortest_edge": 64, "longest_edge": 106}
    how, said = described(processor("Detr", size=size), tmp_path)
    assert said == ()
    assert (how.height, how.width, how.letterbox) == (64, 64, "top-left")


def test_why_a_network_is_not_evaluated_is_noted(tmp_path: Path) -> None:
    folder = tiny_hf(tmp_path / "tiny")
    odd = processor("ViT", size=SQUARE, do_resize=False)
    (folder / "preprocessor_config.json").write_text(json.dumps(odd))
    model = plugins.exporter("hf").describe(str(folder), "pretrained")
    assert model.preprocess is None
    [note] = model.notes
    assert "ViT" in note
    assert "not evaluated" in note


def test_the_card_says_what_is_squashed_and_cropped() -> None:
    import msgspec

    from bench.present_models import _preprocessing

    how = Preprocess(64, 64, None, "bicubic", "RGB", (0.5,), (0.5,), squash=(72, 80))
    assert _preprocessing(msgspec.to_builtins(how)).startswith("squash to 72 x 80, centre crop 64")
