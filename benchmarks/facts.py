"""MACs, activations and parameters as `bench.onnx_count` counts them, beside published figures.

Asked: MACs within 2 % of published for ResNet-50, MobileNetV2, EfficientNet-B0 and ViT-B/16.
torchvision's figures are read from the installed package (`_ops` and `num_params` of its weights).
Those of timm are copied from github.com/huggingface/pytorch-image-models,
results/benchmark-infer-amp-nchw-pt291-cu128-4090.csv (2026-01-06), where fvcore counted them; it
counts norms and pooling too.

    python benchmarks/facts.py
"""

from __future__ import annotations

import sys
import tempfile
from typing import TYPE_CHECKING

from machine import heading

from bench.launch import call
from bench.messages import Export, Exported
from bench.timing import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 0.02
#: Asked of us: GMACs as the papers round them. ViT's 17.6 has the attention's products in it.
ASKED = {
    "timm:resnet50": 4.09,
    "timm:mobilenetv2_100": 0.30,
    "timm:efficientnet_b0": 0.39,
    "timm:vit_base_patch16_224": 17.6,
}
#: GMACs, millions of activations and of parameters, at 224 x 224 (Inception: 299 x 299).
TIMM = {
    "resnet18": (1.82, 2.48, 11.69),
    "resnet50": (4.11, 11.11, 25.56),
    "mobilenetv2_100": (0.31, 6.68, 3.5),
    "mobilenetv3_large_100": (0.23, 4.41, 5.48),
    "efficientnet_b0": (0.4, 6.75, 5.29),
    "regnety_008": (0.81, 5.25, 6.26),
    "densenet121": (2.87, 6.9, 7.98),
    "inception_v3": (5.73, 8.97, 23.83),
    "resnest50d": (5.4, 14.36, 27.48),
    "hrnet_w18": (4.32, 16.31, 21.3),
    "convnext_tiny": (4.47, 13.44, 28.59),
    "coatnet_0_rw_224": (4.43, 18.73, 27.44),
    "swin_tiny_patch4_window7_224": (4.51, 17.06, 28.29),
    "vit_base_patch16_224": (17.58, 23.9, 86.57),
}
TORCHVISION = ("resnet50", "mobilenet_v2", "efficientnet_b0", "vit_b_16", "swin_t", "alexnet")


def published() -> Iterator[tuple[str, float, float | None, float, str]]:
    """Model, GMACs, activations, parameters (both in millions) and who says so."""
    from torchvision import models

    for name in TORCHVISION:
        meta = models.get_model_weights(name).DEFAULT.meta
        yield f"torchvision:{name}", meta["_ops"], None, meta["num_params"] / 1e6, "torchvision"
    for name, (gmacs, activations, params) in TIMM.items():
        yield f"timm:{name}", gmacs, activations, params, "timm"
    for name, gmacs in ASKED.items():
        yield name, gmacs, None, TIMM[name.partition(":")[2]][2], "asked"


def beside(ours: float, theirs: float | None) -> str:
    if theirs is None:
        return f"{ours:.3f} | "
    return f"{ours:.3f} | {theirs:g} ({100 * (ours / theirs - 1):+.1f} %)"


heading("Facts of networks")
print("| model | GMACs | published | activations, M | published | parameters, M | published | by |")
print("|---|---|---|---|---|---|---|---|")
wrong = []
with tempfile.TemporaryDirectory() as scratch:
    for name, gmacs, activations, params, source in published():
        found = call(Export(name, "random", scratch, False), Exported, Deadline.after(900)).facts
        assert found.macs is not None, found.uncounted
        assert found.activations is not None
        cells = [
            beside(found.macs / 1e9, gmacs),
            beside(found.activations / 1e6, activations),
            beside(found.params / 1e6, params),
        ]
        print(f"| {name} | {' | '.join(cells)} | {source} |", flush=True)
        if source == "asked" and abs(found.macs / 1e9 / gmacs - 1) > LIMIT:
            wrong.append(name)
sys.exit(f"more than {100 * LIMIT:g} % off: {', '.join(wrong)}" if wrong else 0)
