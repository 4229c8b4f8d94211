"""Weights of a file, whole and broken, and heads that only training needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import plugins
from bench.errors import StageError
from bench.records import Model, TensorSpec
from tests.builders import refused

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")

from exporters import checkpoints, torch_onnx  # noqa: E402


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`exported(name, weights)`: the module that torchvision's exporter writes, or another."""
    caught: list[Any] = []
    monkeypatch.setattr(torch_onnx, "export_image_model", lambda module, *_: caught.append(module))

    def make(name: str, weights: str, source: str = "torchvision") -> Any:
        zoo = plugins.exporter(source)
        zoo.export(zoo.describe(name, weights), tmp_path)
        return caught.pop()

    return make


def parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    "name",
    [
        "deeplabv3_mobilenet_v3_large",
        "deeplabv3_resnet50",
        "deeplabv3_resnet101",
        "fcn_resnet50",
        "fcn_resnet101",
        "lraspp_mobilenet_v3_large",
        "googlenet",
        "inception_v3",
    ],
)
def test_heads_for_training_are_not_counted(exported: Any, name: str) -> None:
    zoo = plugins.exporter("torchvision")
    with torch.device("meta"):
        made = exported(name, "random")
    [outline] = [each for each in zoo.outlines() if each.name == name]
    assert parameters(made) == outline.params


@pytest.mark.parametrize(
    ("make", "how"),
    [
        (
            models.segmentation.deeplabv3_mobilenet_v3_large,
            {"weights_backbone": None, "aux_loss": True},
        ),
        (models.googlenet, {"aux_logits": True, "init_weights": False}),
    ],
)
def test_a_file_may_hold_heads_for_training(
    exported: Any, tmp_path: Path, make: Any, how: dict[str, Any]
) -> None:
    saved = make(weights=None, **how)
    assert any(key.startswith("aux") for key in saved.state_dict())
    torch.save(saved.state_dict(), tmp_path / "trained.pth")
    made = exported(make.__name__, str(tmp_path / "trained.pth"))
    wanted = [value for key, value in saved.state_dict().items() if not key.startswith("aux")]
    found = made.state_dict()
    assert len(found) == len(wanted)
    assert all(torch.equal(*pair) for pair in zip(found.values(), wanted, strict=True))


def test_googlenet_takes_its_input_as_torchvisions_own_weights_want_it(exported: Any) -> None:
    with torch.device("meta"):
        assert exported("googlenet", "random").transform_input


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut.pth", "is not a whole file"),
        ("cut.safetensors", "is not a whole safetensors file"),
        ("empty.pth", "is neither safetensors nor a plain state dict"),
        ("text.pth", "is neither safetensors nor a plain state dict"),
        ("module.pth", "holds a pickled module or other objects: save its state_dict() instead"),
        ("list.pth", "holds a list, not a dictionary of tensors"),
        ("numbers.pth", "does not fit the model"),
    ],
)
def test_what_is_no_file_of_weights_is_said_in_a_sentence(
    tmp_path: Path, name: str, words: str
) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    net = torch.nn.Linear(64, 64)
    whole, file = tmp_path / "whole.bin", tmp_path / name
    save = {"module.pth": net, "list.pth": [1], "numbers.pth": {1: 2}}.get(name, net.state_dict())
    if name.endswith(".safetensors"):
        save_file(save, whole)
    else:
        torch.save(save, whole)
    content = whole.read_bytes()
    file.write_bytes(
        {"empty": b"", "text": b"weights\n", "cut": content[:9000]}.get(file.stem, content)
    )
    with refused(StageError, file, words):
        checkpoints.load_file(net, str(file))
    with pytest.raises(StageError) as problem:
        checkpoints.load_file(net, str(file))
    assert "\x1b" not in str(problem.value)
    assert "weights_only" not in str(problem.value)


@pytest.mark.parametrize(
    ("name", "outputs"),
    [("convnext_nano", 1000), ("convnext_nano.in12k", 11821), ("convnextv2_atto.fcmae", 320)],
)
def test_random_weights_are_of_the_network_that_the_tag_names(
    exported: Any, name: str, outputs: int
) -> None:
    pytest.importorskip("timm")
    with torch.device("meta"):
        made = exported(name, "random", "timm")
        assert made(torch.empty(1, 3, 64, 64)).shape == (1, outputs)


def test_a_file_is_of_the_network_that_the_tag_names(exported: Any, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    saved = timm.create_model("convnextv2_atto.fcmae", pretrained=False)
    torch.save(saved.state_dict(), tmp_path / "trained.pth")
    made = exported("convnextv2_atto.fcmae", str(tmp_path / "trained.pth"), "timm")
    assert made.state_dict().keys() == saved.state_dict().keys()


class Wicked:
    """A pickle that does something where it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return self.trace.touch, ()


def test_only_what_the_package_fetched_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name says nothing of where a file comes from."""
    import sys
    from types import SimpleNamespace

    from exporters import ultralytics_zoo

    read: list[str] = []
    fake = SimpleNamespace(
        YOLO=lambda file: read.append(file) or SimpleNamespace(model=torch.nn.Linear(1, 1)),
        ClassificationModel=None,
        DetectionModel=lambda *_, **__: torch.nn.Linear(1, 1),
    )
    for module in ("ultralytics", "ultralytics.nn", "ultralytics.nn.tasks"):
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("hub/checkpoints", "Downloads"):
        (tmp_path / folder).mkdir(parents=True)
        torch.save(Wicked(tmp_path / "trace"), tmp_path / folder / "yolov8n.pt")

    def create(file: str) -> Any:
        spec = TensorSpec("images", (None, 3, 640, 640), "float32")
        tag = checkpoints.tag_of(file)
        return ultralytics_zoo._create(
            Model("yolov8n", "ultralytics", tag, "detection", (spec,), weights_file=file)
        )

    with refused(StageError, "Downloads", "holds a pickled module or other objects"):
        create("~/Downloads/yolov8n.pt")
    assert not read
    fetched = str(tmp_path / "hub/checkpoints/yolov8n.pt")
    create(fetched)
    assert read == [fetched]
    assert not (tmp_path / "trace").exists()
