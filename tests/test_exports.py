"""From torch to ONNX: which exporter, what is verified, and what random weights are given first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import StageError
from bench.records import Model, Output, TensorSpec
from tests.builders import refused

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from exporters import random_weights, std_convs, torch_onnx  # noqa: E402
from exporters.checkpoints import seeded  # noqa: E402


def model(side: int = 8, **rest: Any) -> Model:
    given = {"task": "classification", "output": Output("scores"), **rest}
    return Model("net", "test", "random", inputs=(spec(side),), **given)


def spec(side: int) -> TensorSpec:
    return TensorSpec("input", (None, 3, side, side), "float32")


class Undecided(torch.nn.Module):  # type: ignore[misc]
    """It asks a value what to do, which torch.export refuses and tracing does not see."""

    def forward(self, images: Any) -> Any:
        if images.sum() > 1e9:
            return images.mean(dim=(2, 3))
        return images.amax(dim=(2, 3)) * 2


class Otherwise(torch.nn.Module):  # type: ignore[misc]
    """Something else where it is exported than where it is used."""

    def forward(self, images: Any) -> Any:
        exported = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
        return images.flatten(1).abs().sqrt() if exported else images.flatten(1)


def test_what_the_newer_exporter_refuses_the_older_one_writes(tmp_path: Path) -> None:
    made = torch_onnx.export(Undecided(), [torch.randn(2, 3, 8, 8)], model(), tmp_path)
    assert made.details["exporter"] == "torch.onnx.export(dynamo=False)"
    assert made.details["dynamic_batch"] is True
    assert made.details["parity_max_rel"] <= made.details["parity_largest_rel"]


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    with refused(StageError, "does not compute what torch computes"):
        torch_onnx.export(Otherwise(), [torch.randn(2, 3, 8, 8)], model(), tmp_path)


class Choosy(torch.nn.Module):  # type: ignore[misc]
    """Ten boxes, of which the last one lies elsewhere in the file; and, where that `hangs` on a
    last digit of the input, in torch too."""

    def __init__(self, hangs: bool) -> None:
        super().__init__()
        self.hangs = hangs

    def forward(self, images: Any) -> Any:
        moved = torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting()
        other = images.amax() > (1 if self.hangs else 2)
        last = torch.arange(10) == 9
        away = other if not moved else other | ~other
        corner = torch.arange(10) * 50.0 + 1000 * (last & away)
        boxes = torch.stack([corner, corner, corner + 40, corner + 40], dim=1)
        return boxes, torch.ones(10, dtype=torch.int64), 1 - torch.arange(10) / 20 + other * 0


def test_boxes_that_hang_on_the_last_digit_are_held_to_that(tmp_path: Path) -> None:
    finds = model(task="detection", output=Output("boxes", label_offset=1), labels=("a", "b"))
    images = [torch.ones(1, 3, 8, 8)]
    names = ["boxes", "labels", "scores"]
    made = torch_onnx.export(Choosy(True).eval(), images, finds, tmp_path, names)
    assert made.details["parity_lowest_cosine"] == 0.9
    assert 0.9 < made.details["parity_cosine"] < 0.99
    with refused(StageError, "does not compute what torch computes"):
        torch_onnx.export(Choosy(False).eval(), images, finds, tmp_path, names)


class Moody(torch.nn.Module):  # type: ignore[misc]
    """It asks a value what to do, and that is another one in other images."""

    def forward(self, images: Any) -> Any:
        if images.mean() > 0:
            return images.mean(dim=(2, 3))
        return images.amax(dim=(2, 3))


class Counting(torch.nn.Module):  # type: ignore[misc]
    """It answers otherwise each time."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, images: Any) -> Any:
        self.seen += 1
        return images.mean(dim=(2, 3)) * self.seen


class Drawing(torch.nn.Module):  # type: ignore[misc]
    """It draws random numbers, small ones."""

    def forward(self, images: Any) -> Any:
        return images.mean(dim=(2, 3)) + torch.rand(images.shape[0], 3) / 10


class Broken(torch.nn.Module):  # type: ignore[misc]
    def forward(self, images: Any) -> Any:
        return images.mean(dim=(2, 3)) * float("nan")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Moody, "does not compute what torch computes"),
        (Counting, "gives other outputs for the same input each time"),
        (Drawing, "gives other outputs for the same input each time"),
        (Broken, "gives outputs that are not finite, in torch itself"),
    ],
)
def test_what_no_file_can_repeat_is_refused(network: Any, said: str, tmp_path: Path) -> None:
    with refused(StageError, said):
        torch_onnx.export(network(), [torch.rand(2, 3, 8, 8)], model(), tmp_path)


class InPlace(torch.nn.Module):  # type: ignore[misc]
    def forward(self, images: Any) -> Any:
        images.mul_(2)
        return images.mean(dim=(2, 3))


def test_a_network_may_change_its_input(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 8, 8)
    before = images.clone()
    torch_onnx.export(InPlace(), [images], model(), tmp_path)
    assert torch.equal(images, before)


class WithLoss(torch.nn.Module):  # type: ignore[misc]
    """Scores, and one number beside them for the whole batch."""

    def forward(self, images: Any) -> Any:
        found = images.mean(dim=(2, 3))
        return found, found.amax()


def test_an_output_without_a_batch(tmp_path: Path) -> None:
    made = torch_onnx.export(WithLoss(), [torch.randn(2, 3, 8, 8)], model(), tmp_path)
    assert made.details["parity_contrast"] > 0.1


def test_an_input_that_the_network_refuses_is_said_in_a_sentence(tmp_path: Path) -> None:
    with refused(StageError, "net refuses an input of shape [2, 3, 8, 8]"):
        torch_onnx.export(torch.nn.Linear(7, 2), [torch.randn(2, 3, 8, 8)], model(), tmp_path)


def test_weights_of_large_networks_lie_beside_the_graph_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_onnx, "_EXTERNAL_BYTES", 10_000)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 1000))
    made = torch_onnx.export(net, [torch.randn(2, 3, 8, 8)], model(), tmp_path)
    assert made.companions
    weights = 4 * 193 * 1000
    on_disk = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert weights <= made.bytes == on_disk < weights * 1.1


class Residual(torch.nn.Module):  # type: ignore[misc]
    """As training would start: a branch scaled by nothing, and no normalisation."""

    def __init__(self) -> None:
        super().__init__()
        layers = [torch.nn.Conv2d(3, 16, 3), *(torch.nn.Conv2d(16, 16, 3) for _ in range(6))]
        self.layers = torch.nn.Sequential(*layers)
        self.norm = torch.nn.BatchNorm2d(16)
        self.gamma = torch.nn.Parameter(torch.full((16, 1, 1), 1e-6))
        self.head = torch.nn.Linear(16, 10)

    def forward(self, images: Any) -> Any:
        values = self.layers(images)
        values = values + self.gamma * self.norm(values).relu()
        return self.head(values.mean(dim=(2, 3)))


def contrast(net: Any, images: Any) -> float:
    with torch.no_grad():
        found = net(images)
    return float((found[0] - found[1]).abs().max() / found.abs().max())


def test_random_weights_are_given_sane_statistics() -> None:
    with seeded():
        net, images = Residual().eval(), torch.randn(2, 3, 32, 32)
        before = contrast(net, images)
        random_weights.settle(net, images)
    assert before < 0.02  # it says the same of every image
    assert contrast(net, images) > 0.2
    assert bool((net.gamma == 1).all())
    with torch.no_grad():
        inside = net.layers(images)
        normal = net.norm(inside)
    assert 0.1 < float(inside.std()) < 10
    assert normal.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert normal.std(dim=(0, 2, 3)) == pytest.approx(np.ones(16), abs=0.1)


class Branches(torch.nn.Module):  # type: ignore[misc]
    """A stem, a block with a shortcut through a layer, and one whose shortcut is the stream itself,
    gated as squeeze-and-excitation gates."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.across, self.beside = torch.nn.Conv2d(16, 16, 1), torch.nn.Conv2d(16, 16, 1)
        self.branch = torch.nn.Sequential(
            torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.BatchNorm2d(16)
        )
        self.gate = torch.nn.Conv2d(16, 16, 1)

    def forward(self, images: Any) -> Any:
        values = self.stem(images)
        values = self.across(values) + self.beside(values)
        self.stream, self.added = values, self.branch(values)
        pooled = (values + self.added).mean(dim=(2, 3), keepdim=True)
        self.gates = self.gate(pooled)
        return values * self.gates.sigmoid()


def test_a_residual_branch_is_a_small_share_and_gates_are_not_driven_apart() -> None:
    """Rounding would grow from layer to layer: of an EfficientNet-B3 in int8 nothing was left."""
    with seeded():
        net, images = Branches().eval(), torch.randn(2, 3, 32, 32)
        shortcut = float(net.beside.weight.detach().std())
        random_weights.settle(net, images)
        with torch.no_grad():
            net(images)
    assert float(net.added.std() / net.stream.std()) == pytest.approx(0.3, abs=0.01)
    assert float(net.beside.weight.detach().std()) == pytest.approx(shortcut), "that is no branch"
    # Images differ little in their means; gates that vary by one over images would be all or none.
    assert float(net.gates.std()) < 2
    assert float((net.gates[0] - net.gates[1]).abs().mean()) < 0.5


def test_settling_is_the_same_every_time() -> None:
    nets = []
    for _ in range(2):
        with seeded():
            nets.append(Residual().eval())
            random_weights.settle(nets[-1], torch.randn(2, 3, 32, 32))
    first, second = (net.state_dict() for net in nets)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_standardised_weights_are_folded() -> None:
    std_conv = pytest.importorskip("timm.layers.std_conv")
    kinds = [std_conv.StdConv2d, std_conv.StdConv2dSame, std_conv.ScaledStdConv2d]
    kinds.append(std_conv.ScaledStdConv2dSame)
    images = torch.randn(2, 3, 9, 9)
    for kind in kinds:
        net = torch.nn.Sequential(kind(3, 4, 3, stride=2, bias=True))
        with torch.no_grad():
            wanted = net(images)
            std_convs.fold(net)
            found = net(images)
        assert torch.equal(wanted, found), kind
        assert not isinstance(net[0], kind)
        assert set(net.state_dict()) == {"0.weight", "0.bias"}


def test_unpooling_is_torchs_own() -> None:
    from exporters.segnet import SegNet, _unpooled

    values = torch.randn(2, 4, 9, 12)
    pooled, where = torch.nn.functional.max_pool2d(values, 2, return_indices=True)
    wanted = torch.nn.functional.max_unpool2d(pooled, where, 2, output_size=values.shape)
    assert torch.equal(_unpooled(pooled, where, values.shape), wanted)
    with torch.device("meta"):
        net = SegNet(11)
        assert net(torch.empty(1, 3, 360, 480)).shape == (1, 11, 360, 480)
    convolutions = [part for part in net.modules() if isinstance(part, torch.nn.Conv2d)]
    assert len(convolutions) == 26  # 13 of VGG-16, and their mirror image


def test_masks_are_pasted_as_torchvision_pastes_them() -> None:
    roi_heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    from exporters import masks

    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(40, 2, generator=generator) * 90 - 10
    sizes = torch.rand(40, 2, generator=generator) ** 2 * 70  # some of them below a pixel
    boxes = torch.cat([corners, corners + sizes], dim=1)
    boxes = boxes.clamp(min=0).minimum(torch.tensor([80, 60, 80, 60]))  # inside of the image
    values = torch.rand(40, 1, 28, 28, generator=generator)
    wanted = roi_heads.paste_masks_in_image(values, boxes, (60, 80))
    found = masks.paste(values, boxes, (60, 80))
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, atol=1e-5)
    assert masks.paste(values[:0], boxes[:0], (60, 80)).shape == (0, 1, 60, 80)
