"""torchvision's detectors: one image in, the boxes that the network itself has chosen out."""

from __future__ import annotations

from statistics import median
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
#: Standard deviation of its logits before a softmax: of 90 classes that are all alike, none gets
#: more than a 90th.
_LOGITS = 2.0
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
            wake(module, several)
        example = max(several, key=lambda image: found(module, image))[None]
    names = ["boxes", "labels", "scores", *_further(module)]
    with masks.without_loops():
        return torch_onnx.export(_of_one_image(module, names), [example], model, to, names)


def wake(module: Any, images: list[torch.Tensor]) -> None:
    """Give random weights sane statistics, and such biases that something is found."""
    random_weights.settle(module, images)
    _spread(module, images)


def found(module: Any, image: torch.Tensor) -> int:
    """How many boxes a detector finds."""
    import torch

    with torch.no_grad():
        return len(module([image])[0]["boxes"])


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
    with torch.no_grad():
        if heads is not None:  # a softmax over classes
            layer = heads.box_predictor.cls_score
            columns, last, threshold = layer.out_features, [layer], heads.score_thresh
        elif hasattr(module.head.classification_head, "cls_logits"):
            layer = module.head.classification_head.cls_logits
            layer.bias += median(_raise(module, image, layer) for image in images)
            return
        else:  # SSD: the same, and a layer for each size
            head = module.head.classification_head
            columns, last = head.num_columns, _ends(head.module_list)
            threshold = module.score_thresh
        for layer in last:
            _vary(module, images[0], layer)
        shift = median(_background(module, image, last, columns, threshold) for image in images)
        for layer in last:
            layer.bias.view(-1, columns)[:, 0] += shift


def _ends(levels: Any) -> list[Any]:
    """The last layer of each level: the level itself, or the last in its sequence."""
    import torch

    return [level[-1] if isinstance(level, torch.nn.Sequential) else level for level in levels]


def _caught(module: Any, image: torch.Tensor, layer: Any) -> list[torch.Tensor]:
    """All that a layer gives in one pass, once or at each of several sizes: [rows, columns] of a
    linear layer, [1, channels, height, width] of a convolution."""
    caught: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, made: caught.append(made))
    module([image])
    handle.remove()
    return caught


def _vary(module: Any, image: torch.Tensor, layer: Any) -> None:
    """Scale a layer such that its outputs vary by `_LOGITS`."""
    [made] = _caught(module, image, layer)
    layer.weight *= _LOGITS / float(made.std().clamp_min(1e-6))


def _raise(module: Any, image: torch.Tensor, layer: Any) -> float:
    """What to add to every logit for `_CANDIDATES` of them to have a sigmoid above the threshold
    (RetinaNet; FCOS takes the root of its product with the centredness, which is about a half)."""
    import torch

    logits = torch.cat([each.flatten() for each in _caught(module, image, layer)])
    centred = hasattr(module.head.regression_head, "bbox_ctrness")
    threshold = 2 * module.score_thresh**2 if centred else module.score_thresh
    return float(torch.logit(torch.tensor(float(threshold))) - _nth(logits))


def _background(
    module: Any, image: torch.Tensor, layers: list[Any], columns: int, threshold: float
) -> float:
    """What to add to the logit of the background (the first of each row) for `_CANDIDATES` classes
    to have a softmax above the threshold."""
    import torch

    caught = [each for layer in layers for each in _caught(module, image, layer)]
    logits = torch.cat([each.movedim(1, -1).reshape(-1, columns) for each in caught])
    classes = logits[:, 1:].double()
    others = classes.exp().sum(dim=1, keepdim=True)
    # exp(l) / (others + exp(background + b)) > threshold, solved for b
    most = (classes.exp() / threshold - others).clamp_min(1e-12).log() - logits[:, :1]
    return float(_nth(most))


def _nth(values: torch.Tensor) -> torch.Tensor:
    """The value that `_CANDIDATES` are above."""
    flat = values.flatten()
    return flat.topk(min(_CANDIDATES, flat.numel())).values[-1]
