"""Random detectors are made to find something: comparing two that find nothing says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from bench.records import Model, Output, TensorSpec

torch = pytest.importorskip("torch")
detection = pytest.importorskip("torchvision.models.detection")

from exporters import torch_onnx, torchvision_detectors  # noqa: E402
from exporters.checkpoints import seeded  # noqa: E402

SIDE = 320
#: Where no layer of its own has that size, a detector brings images to it.
SMALL = {"min_size": SIDE, "max_size": SIDE}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("ssdlite320_mobilenet_v3_large", {}),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", {}),
        ("retinanet_resnet50_fpn", SMALL),
        ("fcos_resnet50_fpn", SMALL),
    ],
)
def test_random_detectors_find_something(name: str, how: dict[str, Any]) -> None:
    model = Model(
        name,
        "torchvision",
        "random",
        "detection",
        (TensorSpec("input", (1, 3, SIDE, SIDE), "float32"),),
        preprocess=torchvision_detectors.preprocess("ssdlite320_mobilenet_v3_large"),
        output=Output("boxes", label_offset=1),
    )
    with seeded():
        net = getattr(detection, name)(weights=None, weights_backbone=None, **how).eval()
        images = list(torch_onnx.image_example(model, 4))
        torchvision_detectors.wake(net, images)
    found = [torchvision_detectors.found(net, image) for image in images]
    assert min(found) > 0
    assert max(found) <= 300  # what it takes at most
