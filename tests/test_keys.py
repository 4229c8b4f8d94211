"""What is kept belongs to what made it: a cache may be shared by machines and projects, and it
outlives what its entries were made of."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from bench import machine, plugins, targets
from bench.cache import artifact
from bench.calibration import Calibration
from bench.contracts import ACCURACY_AWARE
from bench.errors import StageError
from bench.messages import Evaluate, Export, Exported, Prepare
from bench.records import Data, Job, Model, Output, TensorSpec
from bench.stages import calibrate
from bench.stages import prepare as stages_prepare
from bench.stages.evaluate import evaluate
from bench.stages.prepare import export, prepare
from bench.teller import Teller
from tests import builders
from tests.conftest import write_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def machine_is(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`machine_is("another CPU")`: this one by another name."""
    seen = machine._cpuinfo()

    def become(cpu: str) -> None:
        monkeypatch.setattr(machine, "_cpuinfo", lambda: {**seen, "model name": cpu})
        machine.observe.cache_clear()

    yield become
    machine.observe.cache_clear()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A small network, and twenty images to evaluate it on."""
    network, data = write_network(tmp_path / "net.onnx"), tmp_path / "val"
    network.with_suffix(".toml").write_text('task = "classification"\nsize = [16, 16]\n')
    data.mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (18, 20, 3), np.uint8)).save(data / f"{i}.png")
    (data / "val.txt").write_text("".join(f"{i}.png {i % 10}\n" for i in range(20)))
    [target] = targets.select(["cpu-ort-fp32"])
    return Job(str(network), target, data=Data(str(data)))


def test_each_machine_checks_and_evaluates_with_its_own_kernels(
    machine_is: Callable[[str], None], job: Job, tmp_path: Path
) -> None:
    """The artifact has the same bytes everywhere; what is computed with it need not be the same."""
    cache, tell = tmp_path / "cache", Teller(io.BytesIO())

    def computed() -> tuple[int, int]:
        """How many checks and how many predictions are kept, once the job has run."""
        made = prepare(Prepare(job, str(cache), fresh=False, canary=False), tell)
        built = made.timed.built
        evaluate(Evaluate(job, made.model, made.exported, built, str(cache), fresh=False), tell)
        return len(list(cache.glob("check/*"))), len(list(cache.glob("predictions/*")))

    machine_is("Xeon A")
    checks, predictions = computed()
    assert computed() == (checks, predictions)
    machine_is("Xeon B")
    assert computed() == (2 * checks, 2 * predictions)
    machine_is("Xeon A")
    assert computed() == (2 * checks, 2 * predictions)


def test_a_gpu_counts_for_what_is_computed_on_it_alone() -> None:
    t4, h100 = builders.gpu("Tesla T4", "7.5"), builders.gpu("NVIDIA H100 80GB HBM3", "9.0")
    assert t4.what_computes("gpu") != h100.what_computes("gpu")
    assert t4.what_computes("cpu") == h100.what_computes("cpu")
    orin = builders.machine(board="NVIDIA Jetson Orin NX Developer Kit")
    assert orin.what_computes("gpu") != replace(orin, board="another").what_computes("gpu")
    assert t4.what_computes("cpu") != replace(t4, stepping=8).what_computes("cpu")


class Folders:
    """A source whose networks are folders: the number of classes is in config.json."""

    packages: tuple[str, ...] = ()
    stable = True

    def describe(self, name: str, weights: str) -> Model:
        inputs = (TensorSpec("input", (None, 3, 16, 16), "float32"),)
        return Model(name, "folders", weights, "classification", inputs)

    def export(self, model: Model, to: Path) -> Any:
        classes = int((Path(model.name) / "config.json").read_text())
        path = write_network(to / "model.onnx", classes=classes)
        return artifact(path, form="onnx", made_by="test", build_s=0.0)


def test_a_folder_is_what_is_in_it_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights are named "random" in whatever folder, and in whatever project."""
    monkeypatch.setattr(plugins, "exporter", lambda _: Folders())
    cache, tell = str(tmp_path / "cache"), Teller(io.BytesIO())
    made = []
    for project, classes in (("a", 10), ("b", 20), ("a", 30), ("b", 20)):
        folder = tmp_path / project / "net"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(str(classes))
        monkeypatch.chdir(folder.parent)
        made.append(export(Export("folders:./net", "random", cache, fresh=False), tell))
    assert [each.facts.params for each in made] == [8 * 28 + 9 * n for n in (10, 20, 30, 20)]
    assert made[1].artifact == made[3].artifact, "from the cache"


def test_what_a_method_scores_by_decides_what_it_makes() -> None:
    """Accuracy-aware quantization reads outputs as the model says; the others never read any."""
    spec = TensorSpec("input", (None, 3, 16, 16), "float32")
    net = Model("net", "test", "v1", "classification", (spec,), output=Output("scores"))
    others = [
        replace(net, output=Output("scores", label_offset=1)),
        replace(net, output=Output("yolo", nms_iou=0.7)),
        replace(net, labels=("cat", "dog")),
        replace(net, task="segmentation"),
    ]

    def key(model: Model, method: str) -> Any:
        return calibrate.key(Calibration.of(model, None, 4, method))

    for other in others:
        assert key(other, ACCURACY_AWARE) != key(net, ACCURACY_AWARE)
        assert key(other, "minmax") == key(net, "minmax")


def test_strict_does_not_take_random_weights_for_pretrained_ones(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_weights(request: Export, tell: Teller) -> Exported:
        found = export(request, tell)
        notes = ("the hub does not answer: weights are random",)
        return msgspec.structs.replace(
            found, model=replace(found.model, weights="random", notes=notes)
        )

    monkeypatch.setattr(stages_prepare, "export", without_weights)
    cache, tell = str(tmp_path / "cache"), Teller(io.BytesIO())
    strict = replace(job, data=replace(job.data, strict=True))
    with pytest.raises(StageError, match=r"--strict: pretrained weights .* hub does not answer"):
        prepare(Prepare(strict, cache, fresh=False, canary=False), tell)
    made = prepare(Prepare(job, cache, fresh=False, canary=False), tell)
    assert made.model.weights == "random"


def test_a_check_is_of_outputs_as_they_were_read(job: Job, tmp_path: Path) -> None:
    """Which outputs are boxes and which are scores, and how many classes, is beside the file."""
    cache, tell = tmp_path / "cache", Teller(io.BytesIO())
    sidecar = Path(job.model).with_suffix(".toml")
    names = [f"class {i}" for i in range(10)]
    checks = []
    for more in ("", "label_offset = 1\n", f"labels = {names}\n", ""):
        sidecar.write_text(f'task = "classification"\nsize = [16, 16]\n{more}')
        prepare(Prepare(replace(job, data=Data()), str(cache), fresh=False, canary=False), tell)
        checks.append(len(list(cache.glob("check/*"))))
    assert checks == [1, 2, 3, 3]
