"""The sources of models: what they say of a model, and what they say when they have not got it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench import plugins
from bench.errors import StageError, Unavailable, UsageError
from tests.builders import refused

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")


def test_every_torchvision_model_of_images_is_described() -> None:
    zoo = plugins.exporter("torchvision")
    names = [name for name in zoo.names() if "." not in name]
    tasks: dict[str | None, list[Any]] = {}
    for name in names:
        model = zoo.describe(name, "random")
        tasks.setdefault(model.task, []).append(model)
        assert model.labels, name
        assert model.preprocess is not None, name
        assert model.inputs[0].shape[2:] == (model.preprocess.height, model.preprocess.width)
    counts = {task: len(models) for task, models in tasks.items()}
    assert counts["detection"] >= 10
    assert counts["instance-segmentation"] >= 2
    assert counts["segmentation"] >= 6
    for model in tasks["detection"]:
        assert model.output.decoder == "boxes"
        assert model.output.label_offset == 1
        assert model.inputs[0].shape[0] == 1
        assert "person" in model.labels
        assert "__background__" not in model.labels


def test_torchvisions_own_figures_come_with_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from exporters import torchvision_zoo

    monkeypatch.setattr(torchvision_zoo, "_find_weights", lambda _, entry, __: (entry.name, ()))
    wanted = {
        "ssd300_vgg16": ("mAP", 25.1),
        "maskrcnn_resnet50_fpn": ("mAP", 34.6),
        "deeplabv3_resnet50": ("mIoU", 66.4),
        "resnet50": ("top1", 80.858),
    }
    for name, figure in wanted.items():
        published = torchvision_zoo.TorchvisionZoo().describe(name, "pretrained").published
        assert published is not None
        assert (published.metric, published.value) == figure
        assert "torchvision" in published.source


def test_what_takes_no_image_is_refused() -> None:
    with refused(UsageError, "torchvision:r3d_18 takes no single image"):
        plugins.exporter("torchvision").describe("r3d_18", "random")


def test_segnet_is_random_and_says_so() -> None:
    model = plugins.exporter("builtin").describe("segnet", "pretrained")
    assert model.weights == "random"
    assert "RANDOM" in model.notes[0]
    assert len(model.labels) == 11
    assert plugins.exporter("builtin").describe("segnet", "random").notes == ()


def tiny_hf(folder: Path, **config: Any) -> Path:
    """A small model of transformers, saved as the hub has it."""
    transformers = pytest.importorskip("transformers")
    labels = dict(enumerate(("cat", "dog", "bird")))
    made = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], id2label=labels, **config
    )
    torch.manual_seed(0)
    transformers.ResNetForImageClassification(made).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "ConvNextImageProcessor",
                "size": {"shortest_edge": 64},
                "crop_pct": 0.875,
                "resample": 3,
                "image_mean": [0.1, 0.2, 0.3],
                "image_std": [0.5, 0.6, 0.7],
            }
        )
    )
    return folder


def test_a_folder_of_transformers_says_how_it_is_used(tmp_path: Path) -> None:
    folder = tiny_hf(tmp_path / "tiny")
    zoo = plugins.exporter("hf")
    model = zoo.describe(str(folder), "pretrained")
    assert model.task == "classification"
    assert model.labels == ("cat", "dog", "bird")
    assert model.weights.startswith("tiny#")
    assert model.inputs[0].shape == (None, 3, 64, 64)
    how = model.preprocess
    assert how is not None
    assert (how.height, how.shorter_side, how.interpolation) == (64, 73, "bicubic")
    assert how.mean == (0.1, 0.2, 0.3)
    (tmp_path / "to").mkdir()
    made = zoo.export(model, tmp_path / "to")
    assert made.details["parity_cosine"] > 0.9999
    before = model.weights
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert zoo.describe(str(folder), "pretrained").weights != before  # another content


def test_a_folder_that_is_no_model_of_images_is_refused(tmp_path: Path) -> None:
    folder = tiny_hf(tmp_path / "tiny")
    zoo = plugins.exporter("hf")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["ResNetModel"]}))
    with refused(UsageError, "ResNetModel", "is exported"):
        zoo.describe(str(folder), "pretrained")
    (folder / "config.json").write_text("{")
    with refused(StageError, "config.json"):
        zoo.describe(str(folder), "pretrained")
    with refused(UsageError, "there is no such folder"):
        zoo.describe("./nowhere", "pretrained")


def test_without_the_hub_known_models_go_on_with_random_weights(no_hub: None) -> None:
    pytest.importorskip("transformers")
    zoo = plugins.exporter("hf")
    model = zoo.describe("microsoft/resnet-50", "pretrained")
    assert model.weights == "random"
    assert model.published is None
    assert len(model.labels) == 1000
    assert "RANDOM" in model.notes[0]
    with refused(Unavailable, "hf:somebody/net cannot be had", "hf:./FOLDER"):
        zoo.describe("somebody/net", "pretrained")


def test_what_is_known_of_the_hub_is_what_transformers_documents() -> None:
    pytest.importorskip("transformers")
    from importlib import import_module

    from transformers import AutoConfig

    from exporters.hf_known import KNOWN

    for name, known in KNOWN.items():
        config = AutoConfig.for_model(known.kind, num_labels=known.classes)
        source = Path(str(import_module(type(config).__module__).__file__)).read_text()
        documented = name in source or name.split("/")[0] in source or known.kind == "segformer"
        assert documented, name
        assert config.num_labels == known.classes


@pytest.mark.parametrize(
    ("name", "decoder", "side"),
    [
        ("yolov5nu", "yolo", 640),
        ("yolov3u", "yolo", 640),
        ("yolov5n6u", "yolo", 1280),
        ("yolov10n", "boxes", 640),
        ("yolo11n-cls", "scores", 224),
    ],
)
def test_yolo_is_described_without_a_hub(no_hub: None, name: str, decoder: str, side: int) -> None:
    pytest.importorskip("ultralytics")
    model = plugins.exporter("ultralytics").describe(name, "pretrained")
    assert model.weights == "random"
    assert "RANDOM" in model.notes[0]
    assert model.output is not None
    assert model.output.decoder == decoder
    assert model.inputs[0].shape[2:] == (side, side)
    assert model.preprocess is not None
    assert model.preprocess.letterbox == (None if decoder == "scores" else "center")
    assert model.labels[0] == ("tench" if decoder == "scores" else "person")


def test_an_unknown_yolo_and_a_missing_package_are_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zoo = plugins.exporter("ultralytics")
    with refused(UsageError, "yolov5zu", "did you mean"):
        zoo.describe("yolov5zu", "random")
    import sys

    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with refused(Unavailable, "pip install 'frontier-bench[ultralytics]'"):
        zoo.describe("yolov5nu", "random")


def test_what_is_exported_is_what_was_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A description is kept, and by the time of the export the hub may have another commit."""
    hub = pytest.importorskip("huggingface_hub")
    from exporters import checkpoints, hf_zoo, torch_onnx

    kept = tmp_path / "models--own--net" / "snapshots"
    first, second = (tiny_hf(kept / (letter * 40)) for letter in "ab")
    newest = [first]
    caught: list[Any] = []
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(checkpoints, "hub_problem", lambda _: None)
    monkeypatch.setattr(hf_zoo, "_snapshot", lambda *_, **__: str(newest[0]))
    monkeypatch.setattr(torch_onnx, "export_image_model", lambda made, *_: caught.append(made))
    zoo = plugins.exporter("hf")
    model = zoo.describe("own/net", "pretrained")
    assert model.weights == "a" * 12
    newest[0] = second
    zoo.export(model, tmp_path)
    assert caught[0].module.name_or_path == str(first)
    shutil.rmtree(first)
    with refused(StageError, "hf:own/net", "a" * 12, "b" * 12, "--no-cache"):
        zoo.export(model, tmp_path)
