"""torchvision's detectors: one image in, the boxes that the network itself has chosen out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.records import Preprocess
from exporters import checkpoints, masks, random_weights, torch_onnx

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from bench.records import Artifact, Model

#: Sides of the input: SSD's own, at which the whole image is squashed, and for the others the
#: shorter side that they bring images to (torchvision/models/detection), here of a square that the
#: whole image fits into, for the size of an input is fixed.
_SQUASHED = {"ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 320}
_FITTED = {"fasterrcnn_mobilenet_v3_large_320_fpn": 320}
_USUAL_SIDE = 800
#: Candidates of an image that a random network is made to have.
_CANDIDATES = 200
#: Images that it is settled on: places of a large one differ as images do.
_SEEN = 4


def preprocess(name: str) -> Preprocess:
    """They normalise images themselves; what they are given is 0 to 1."""
    side = _SQUASHED.get(name) or _FITTED.get(name, _USUAL_SIDE)
    return Preprocess(
        height=side,
        width=side,
        shorter_side=None,
        interpolation="bilinear",
        mode="RGB",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        letterbox=None if name in _SQUASHED else "top-left",
    )


def export(module: Any, model: Model, to: Path) -> Artifact:
    """Write a detector; a random one first gets statistics, and heads that find something."""
    example = torch_onnx.image_example(model)
    if model.weights == "random":
        with checkpoints.seeded():
            several = list(torch_onnx.image_example(model, _SEEN))
            random_weights.settle(module, several)
            _spread(module, several)
    names = ["boxes", "labels", "scores", *_further(module)]
    with masks.without_loops():
        return torch_onnx.export(_of_one_image(module, names), [example], model, to, names)


def _further(module: Any) -> list[str]:
    """What some detectors give beside boxes."""
    heads = getattr(module, "roi_heads", None)
    return [
        name
        for name, has in (("masks", "has_mask"), ("keypoints", "has_keypoint"))
        if heads is not None and getattr(heads, has)()
    ]


def _of_one_image(module: Any, names: list[str]) -> torch.nn.Module:
    """A detector takes a list of images, and gives a dictionary of each."""
    import torch

    class Detector(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            [found] = self.module([images[0]])
            return tuple(found[name] for name in names)

    return Detector().eval()


def _spread(module: Any, images: list[torch.Tensor]) -> None:
    """Move the biases of the last layers such that about `_CANDIDATES` scores of an image are above
    the threshold of the detector: all random ones are alike, and then it finds nothing or too much.
    """
    import torch

    heads = getattr(module, "roi_heads", None)
    if heads is not None:
        layer = getattr(heads.box_predictor, "cls_score", None)
        if layer is not None:
            logits = _caught(module, images, layer)
            with torch.no_grad():
                layer.bias[0] += _background(logits, heads.score_thresh, len(images))
        return
    head = module.head.classification_head
    if hasattr(head, "cls_logits"):  # RetinaNet, FCOS: a sigmoid a class
        logits = _caught(module, images, head.cls_logits)
        threshold = torch.logit(torch.tensor(float(module.score_thresh)))
        if hasattr(module.head.regression_head, "bbox_ctrness"):
            threshold = threshold * 0  # the root of the product with the centredness
        with torch.no_grad():
            head.cls_logits.bias += threshold - _nth(logits, len(images))
        return
    columns = head.num_columns  # SSD: a softmax over classes, and a layer for each size
    last = _ends(head.module_list)
    caught = [_caught(module, images, part) for part in last]
    # [images, anchors x columns, height, width] of each size
    rows = [each.movedim(1, -1).reshape(-1, columns) for each in caught]
    logits = torch.cat(rows)
    shift = _background(logits, module.score_thresh, len(images))
    with torch.no_grad():
        for part in last:
            part.bias.view(-1, columns)[:, 0] += shift


def _ends(levels: Any) -> list[Any]:
    """The last layer of each level: the level itself, or the last in its sequence."""
    import torch

    return [level[-1] if isinstance(level, torch.nn.Sequential) else level for level in levels]


def _caught(module: Any, images: list[torch.Tensor], layer: Any) -> torch.Tensor:
    """All that a layer gives in one pass: [rows, columns] for a linear layer, for a convolution
    [images, channels, ...], flattened where it is used at several sizes."""
    import torch

    caught: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, made: caught.append(made))
    with torch.no_grad():
        module(images)
    handle.remove()
    return caught[0] if len(caught) == 1 else torch.cat([each.flatten() for each in caught])


def _background(logits: torch.Tensor, threshold: float, images: int) -> float:
    """What to add to the logit of the background (the first of each row) for `_CANDIDATES` classes
    to have a softmax above the threshold."""

    classes = logits[:, 1:].double()
    others = classes.exp().sum(dim=1, keepdim=True)
    # exp(l) / (others + exp(background + b)) > threshold, solved for b
    most = (classes.exp() / threshold - others).clamp_min(1e-12).log() - logits[:, :1]
    return float(_nth(most, images))


def _nth(values: torch.Tensor, images: int) -> torch.Tensor:
    """The value that `_CANDIDATES` an image are above."""
    flat = values.flatten()
    return flat.topk(min(_CANDIDATES * images, flat.numel())).values[-1]
