"""Sane statistics for random weights.

As it is made, a network may say the same of every image: the last scale of each residual branch is
zero, layer scales are 1e-6, activations shrink from layer to layer where nothing normalises them,
batch norms have the statistics of nothing, and residual branches weigh as much as what they are
added to (`exporters.residuals`). Comparing two computations of such a network means nothing, and
neither does quantizing it. Training would have changed all of that; this stands in for it, without
a gradient.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from exporters import residuals

if TYPE_CHECKING:
    import torch

#: The standard deviation of a layer's outputs that is left as it is.
_SANE = (0.1, 10.0)
#: A scale below this has not been trained yet.
_ASLEEP = 0.01
#: Parameters that are added rather than multiplied by, and may well be zero.
_ADDED = ("bias", "beta", "pos", "rel", "token", "table", "prompt", "query")


def images(module: torch.nn.Module) -> int:
    """How many images to settle on. Batch norms of two fit those two: on others the outputs of an
    EfficientNet-B3 varied by 1.5 to 2,800, of one that had seen eight by 0.07 to 0.4."""
    import torch

    norms = torch.nn.modules.batchnorm._BatchNorm
    return 8 if any(isinstance(part, norms) for part in module.modules()) else 2


def settle(module: torch.nn.Module, example: Any) -> None:
    """Wake what is scaled by nothing, give every layer outputs of about the size of one, and every
    batch norm the statistics of its inputs: in one forward pass of `example`, layer by layer
    (Mishkin and Matas 2016, "All you need is a good init", for the layers)."""
    import torch

    module.eval()
    _wake(module)
    layers = (torch.nn.modules.conv._ConvNd, torch.nn.Linear)
    norms = torch.nn.modules.batchnorm._BatchNorm
    seen: set[int] = set()
    with ExitStack() as held, torch.no_grad(), residuals.subdued(module):
        for part in module.modules():
            if isinstance(part, layers):
                handle = part.register_forward_hook(partial(_to_unit, seen))
                held.callback(handle.remove)
            elif isinstance(part, norms) and part.track_running_stats:
                handle = part.register_forward_pre_hook(partial(_observe, seen))
                held.callback(handle.remove)
        module(example)


def _wake(module: torch.nn.Module) -> None:
    """Give scales and matrices that are all (next to) zero the values that they have elsewhere."""
    import torch

    for name, parameter in module.named_parameters():
        last = name.rpartition(".")[2]
        if any(word in last for word in _ADDED) or parameter.numel() == 0:
            continue
        if float(parameter.detach().abs().max()) > _ASLEEP:
            continue
        if sum(size > 1 for size in parameter.shape) <= 1:
            torch.nn.init.ones_(parameter)
        elif last == "weight":
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)


def _to_unit(seen: set[int], part: Any, given: Any, made: torch.Tensor) -> torch.Tensor | None:
    """Scale the weights of a layer, once, so that its outputs vary by one over images and places,
    channel by channel: what is the same everywhere says nothing. Those of one place are gates, of
    means that differ little: made to vary by one over images, they would be all or none, and hang
    on the last digits of the means."""
    import torch

    if id(part) in seen or not made.is_floating_point() or made.dim() < 2:
        return None
    seen.add(id(part))
    channel = made.dim() - 1 if isinstance(part, torch.nn.Linear) else 1
    rest = [axis for axis in range(made.dim()) if axis != channel]
    if made.numel() // made.shape[channel] < 2:
        return None
    gates = made.dim() > 2 and made[0, 0].numel() == 1
    variance, _ = _moments(made, [*rest, channel] if gates else rest)
    spread = float(variance.sqrt().mean())
    if _SANE[0] <= spread <= _SANE[1] or not 0 < spread < float("inf"):
        return None
    part.weight.data.div_(spread)
    again: torch.Tensor = part.forward(*given)  # not where the weights are standardised anyway
    return again


def _observe(seen: set[int], part: Any, given: Any) -> None:
    """The statistics of what a batch norm is given. A channel that hardly varies here (a pooled one
    of two images) may vary elsewhere, and must not be blown up: it is taken for an average one."""
    (values, *_) = given
    if id(part) in seen:  # heads that are used at several scales
        return
    seen.add(id(part))
    rest = [axis for axis in range(values.dim()) if axis != 1]
    variance, mean = _moments(values, rest)
    part.running_mean.copy_(mean)
    part.running_var.copy_(variance.clamp_min(float(variance.mean()) / 10))


def _moments(values: torch.Tensor, axes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance and mean over some axes, in two passes: `torch.var_mean` over several axes takes
    two to three times as long, which was a quarter of settling a ResNet-50."""
    import torch

    mean = values.mean(axes, keepdim=True)
    deviation = torch.linalg.vector_norm(values - mean, dim=axes)
    n = values.numel() // deviation.numel()
    return deviation.square() / n, mean.squeeze(axes)
