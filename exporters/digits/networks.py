"""The networks: small, in the styles by which the field's history is told.

Each takes images (N, 1, S, S) and gives logits (N, 10). Widths and depths are set so that accuracy
is paid for in latency, over two orders of magnitude, as it is in the large zoos; and as there,
some are not worth their price. All but the three oldest styles normalise their batches, as they
did in history; it also keeps the ranges of the activations narrow enough for INT8. The large ones
are wide enough for INT8 to pay; in the small ones a call costs more than the arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from exporters.digits import weights_file

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = 10


def conv(
    cin: int,
    cout: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    act: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution that keeps the size (divided by `stride`), batch normalisation, activation."""
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
        act(),
    )


def head(cin: int) -> nn.Sequential:
    """Mean over the image, then one linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, CLASSES))


class Add(nn.Module):
    """x + body(x), or skip(x) + body(x)."""

    def __init__(self, body: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.skip = skip or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.skip(x) + self.body(x)
        return out


class Concat(nn.Module):
    """The outputs of several paths over the same input, side by side along the channels."""

    def __init__(self, *paths: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([path(x) for path in self.paths], dim=1)


class Scale(nn.Module):
    """Squeeze and excitation: each channel weighed by what the whole image says."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.gate(x)
        return out


def lenet() -> nn.Module:
    """LeCun et al. 1998: convolve, subsample, convolve, then one linear layer; tanh."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(2, 6, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(24, CLASSES),
    )


def alexnet() -> nn.Module:
    """Krizhevsky et al. 2012: a large stride first, ReLU, overlapping pools, dropout."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(48, 32),
        nn.ReLU(),
        nn.Linear(32, CLASSES),
    )


def vgg() -> nn.Module:
    """Simonyan and Zisserman 2014: nothing but 3 x 3, and a heavy classifier."""
    layers: list[nn.Module] = []
    cin = 1
    for cout in (48, 48, 48):
        for _ in range(2):
            layers += [nn.Conv2d(cin, cout, 3, padding=1), nn.ReLU()]
            cin = cout
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(768, 32),
        nn.ReLU(),
        nn.Linear(32, CLASSES),
    )


def inception() -> nn.Module:
    """Szegedy et al. 2014: filters of several sizes over the same input."""

    def block(cin: int, one: int, three: int, five: int, pool: int) -> Concat:
        return Concat(
            conv(cin, one, 1),
            nn.Sequential(conv(cin, three // 2, 1), conv(three // 2, three, 3)),
            nn.Sequential(conv(cin, five // 2, 1), conv(five // 2, five, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(cin, pool, 1)),
        )

    return nn.Sequential(
        conv(1, 16, 3),
        block(16, 8, 16, 4, 4),
        nn.MaxPool2d(2),
        block(32, 8, 16, 4, 4),
        block(32, 8, 16, 4, 4),
        head(32),
    )


def resnet() -> nn.Module:
    """He et al. 2015: layers that learn what to add."""

    def block(cin: int, cout: int, stride: int) -> nn.Module:
        body = nn.Sequential(conv(cin, cout, 3, stride), conv(cout, cout, 3, act=nn.Identity))
        same = cin == cout and stride == 1
        skip = None if same else conv(cin, cout, 1, stride, act=nn.Identity)
        return nn.Sequential(Add(body, skip), nn.ReLU())

    return nn.Sequential(
        conv(1, 32, 3),
        block(32, 32, 1),
        block(32, 32, 1),
        block(32, 48, 2),
        block(48, 64, 2),
        head(64),
    )


def densenet() -> nn.Module:
    """Huang et al. 2016: every layer sees all the layers before it."""
    growth = 16

    def layer(cin: int) -> Concat:
        return Concat(
            nn.Identity(),
            nn.Sequential(
                nn.BatchNorm2d(cin),
                nn.ReLU(),
                conv(cin, 2 * growth, 1),
                nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False),
            ),
        )

    def dense(cin: int, layers: int) -> nn.Sequential:
        return nn.Sequential(*(layer(cin + i * growth) for i in range(layers)))

    def transition(cin: int) -> nn.Sequential:
        return nn.Sequential(conv(cin, cin // 2, 1), nn.AvgPool2d(2))

    return nn.Sequential(
        conv(1, 32, 3),
        dense(32, 3),
        transition(80),
        dense(40, 3),
        transition(88),
        dense(44, 3),
        nn.BatchNorm2d(92),
        nn.ReLU(),
        head(92),
    )


def squeezenet() -> nn.Module:
    """Iandola et al. 2016: few parameters, by 1 x 1 bottlenecks; no linear layer."""

    def fire(cin: int, squeezed: int, expanded: int) -> nn.Sequential:
        return nn.Sequential(
            conv(cin, squeezed, 1),
            Concat(conv(squeezed, expanded, 1), conv(squeezed, expanded, 3)),
        )

    return nn.Sequential(
        conv(1, 10, 3, 2),
        fire(10, 5, 10),
        nn.MaxPool2d(2),
        fire(20, 7, 14),
        nn.Conv2d(28, CLASSES, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def inverted(
    cin: int,
    cout: int,
    stride: int,
    expand: int,
    act: Callable[[], nn.Module],
    kernel: int = 3,
    excite: bool = False,
) -> nn.Module:
    """Inverted residual (Sandler et al. 2018): widen, filter each channel alone, narrow."""
    wide = cin * expand
    body = nn.Sequential(
        conv(cin, wide, 1, act=act),
        conv(wide, wide, kernel, stride, groups=wide, act=act),
        Scale(wide, cin // 2) if excite else nn.Identity(),
        conv(wide, cout, 1, act=nn.Identity),
    )
    return Add(body) if cin == cout and stride == 1 else body


def mobilenet() -> nn.Module:
    """Sandler et al. 2018 (MobileNetV2): depthwise filters between 1 x 1 convolutions."""
    act = nn.ReLU6
    return nn.Sequential(
        conv(1, 8, 3, act=act),
        inverted(8, 8, 1, 3, act),
        inverted(8, 16, 2, 3, act),
        inverted(16, 16, 1, 3, act),
        conv(16, 64, 1, act=act),
        head(64),
    )


def efficientnet() -> nn.Module:
    """Tan and Le 2019: inverted residuals that excite their channels, SiLU."""
    act = nn.SiLU
    return nn.Sequential(
        conv(1, 24, 3, act=act),
        inverted(24, 24, 1, 2, act, excite=True),
        inverted(24, 32, 2, 4, act, kernel=5, excite=True),
        inverted(32, 32, 1, 4, act, kernel=5, excite=True),
        inverted(32, 48, 2, 4, act, excite=True),
        inverted(48, 48, 1, 4, act, excite=True),
        conv(48, 128, 1, act=act),
        head(128),
    )


def convnext() -> nn.Module:
    """Liu et al. 2022: 7 x 7 depthwise and a wide 1 x 1 pair, patches in place of strides.

    Normalised over the batch, not the layer: that folds into the convolution before it.
    """

    def block(width: int) -> Add:
        return Add(
            nn.Sequential(
                nn.Conv2d(width, width, 7, padding=3, groups=width, bias=False),
                nn.BatchNorm2d(width),
                nn.Conv2d(width, 4 * width, 1),
                nn.GELU(),
                nn.Conv2d(4 * width, width, 1),
            )
        )

    def patches(cin: int, cout: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(cin, cout, 2, 2, bias=False), nn.BatchNorm2d(cout))

    return nn.Sequential(
        patches(1, 48),
        block(48),
        block(48),
        block(48),
        patches(48, 64),
        block(64),
        block(64),
        block(64),
        head(64),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "digits-lenet": lenet,
    "digits-alexnet": alexnet,
    "digits-squeezenet": squeezenet,
    "digits-mobilenet": mobilenet,
    "digits-inception": inception,
    "digits-resnet": resnet,
    "digits-efficientnet": efficientnet,
    "digits-densenet": densenet,
    "digits-vgg": vgg,
    "digits-convnext": convnext,
}


def trained(name: str) -> nn.Module:
    """The network with its shipped weights, in eval mode."""
    from safetensors.torch import load_file

    net = NETWORKS[name]()
    net.load_state_dict(load_file(weights_file(name)))
    return net.eval()
