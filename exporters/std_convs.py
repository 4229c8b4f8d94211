"""Convolutions that standardise their weights in each call (BiT, NFNet), made plain ones.

The weights of a trained network do not change, and neither do their means and deviations: what is
left in the graph would be worked out anew wherever it is loaded, and no quantizer would find it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def fold(module: torch.nn.Module) -> None:
    """Replace the weights of timm's standardising convolutions by the standardised ones."""
    import torch
    from timm.layers import std_conv
    from timm.layers.padding import pad_same
    from torch.nn import functional

    class Plain(torch.nn.Conv2d):
        same_pad: bool = False

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            values = input
            if self.same_pad:
                values = pad_same(values, self.kernel_size, self.stride, self.dilation)  # type: ignore[arg-type]
            return functional.conv2d(
                values,
                self.weight,
                self.bias,
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
            )

    kinds = (
        std_conv.StdConv2d,
        std_conv.StdConv2dSame,
        std_conv.ScaledStdConv2d,
        std_conv.ScaledStdConv2dSame,
    )
    found: list[Any] = [part for part in module.modules() if isinstance(part, kinds)]
    for part in found:
        gain = part.gain * part.scale if hasattr(part, "gain") else None
        with torch.no_grad():
            rows = functional.batch_norm(
                part.weight.reshape(1, part.out_channels, -1),
                None,
                None,
                weight=None if gain is None else gain.view(-1),
                training=True,
                momentum=0.0,
                eps=part.eps,
            )
            part.weight.copy_(rows.reshape_as(part.weight))
        part.__class__ = Plain  # the same attributes, another forward
        if gain is not None:
            del part.gain
