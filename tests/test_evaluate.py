"""The evaluation itself, in this process: images that cannot be read or fed, detectors of one
image, and by what two evaluations are known to be of the same images."""

from __future__ import annotations

import io
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bench import datasets, inputs
from bench.cache import artifact
from bench.contracts import Sample
from bench.errors import StageError
from bench.gate import judge
from bench.gate.matrix import Matrix
from bench.messages import Evaluate, Evaluated
from bench.records import Data, Job, Target
from bench.stages import evaluate, prepare
from bench.teller import Teller
from exporters.onnx_file import OnnxFile
from tests.builders import ok, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.records import Model

N = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of ten classes, with a list."""
    root = tmp_path / "val"
    root.mkdir()
    for i in range(N):
        Image.new("RGB", (20, 24), (i, 9 * i, 200)).save(root / f"{i:02}.png")
    (root / "val.txt").write_text("".join(f"{i:02}.png {i % 10}\n" for i in range(N)))
    return root


def described(network: Path) -> Model:
    return OnnxFile().describe(str(network), "pretrained")


def evaluated(network: Path, data: Path, *, strict: bool = False, **options: Any) -> Evaluated:
    """Options of the runtime make its predictions others than those of the reference."""
    made = artifact(network, form="onnx", made_by="test", build_s=0.0)
    target = Target("here", "cpu", "ort", "fp32", options=options)
    job = Job(str(network), target, data=Data(str(data), calibration=0, strict=strict))
    cache = str(network.parent / "cache")
    request = Evaluate(job, described(network), made, made, cache, fresh=False)
    return evaluate.evaluate(request, Teller(io.BytesIO()))


@contextmanager
def opening(name: str = "", error: Exception | None = None, times: int = 99) -> Iterator[list[str]]:
    """The names of the files that are opened as images; that one fails so many times."""
    real, opened = Image.open, []

    def open_(path: Any, *rest: Any, **more: Any) -> Any:
        opened.append(Path(path).name)
        if error and opened.count(name) in range(1, times + 1) and opened[-1] == name:
            raise error
        return real(path, *rest, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Image, "open", open_)
        yield opened


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), "cannot be read: Permission denied"),
        (OSError(24, "Too many open files"), "cannot be read: Too many open files"),
        (MemoryError(), "cannot be read: there is not enough memory"),
    ],
)
def test_what_the_system_would_not_read_is_read_the_next_time(
    network: Path, folder: Path, error: Exception, said: str
) -> None:
    """Neither a file's size nor its time of change would tell that it can be read again."""
    with opening("03.png", error):
        found = evaluated(network, folder)
    assert (found.accuracy.n, found.accuracy.skipped) == (N - 1, 1)
    [note] = found.notes
    assert f"03.png {said}" in note
    with opening() as opened:
        found = evaluated(network, folder)
    assert (found.accuracy.n, found.notes) == (N, ())
    assert "03.png" in opened
    assert len(opened) <= 8, "the other batches are kept"
    with opening() as opened:
        assert evaluated(network, folder) == found
    assert opened == []


def test_predictions_belong_to_the_preprocessing_they_were_made_with(
    network: Path, folder: Path
) -> None:
    """Two models with the same weights may differ in how they crop: what is kept for one is not the
    other's."""
    kept = []
    for how in ('resize = "squash"', 'resize = "crop"\nshorter_side = 18'):
        said = f'task = "classification"\nsize = [16, 16]\n{how}\n'
        network.with_suffix(".toml").write_text(said)
        with opening() as opened:
            assert evaluated(network, folder).accuracy.n == N
        assert len(opened) >= N, "nothing was taken from the cache"
        kept.append(len(list((network.parent / "cache" / "predictions").iterdir())))
    assert kept[1] == 2 * kept[0]


def test_a_file_that_is_not_there_is_asked_for_once(network: Path, folder: Path) -> None:
    """When it comes, the data have another fingerprint."""
    content = (folder / "03.png").read_bytes()
    (folder / "03.png").unlink()
    found = evaluated(network, folder)
    assert (found.accuracy.n, found.accuracy.skipped) == (N - 1, 1)
    with opening() as opened:
        assert evaluated(network, folder) == found
    assert opened == []
    (folder / "03.png").write_bytes(content)
    assert evaluated(network, folder).accuracy.n == N


def test_strict_is_about_images_not_about_what_their_folders_are_called(
    network: Path, tmp_path: Path
) -> None:
    for i in range(10):
        (tmp_path / "data" / f"kind {i}").mkdir(parents=True)
        Image.new("RGB", (20, 24), (i, 9 * i, 200)).save(tmp_path / f"data/kind {i}/{i}.png")
    found = evaluated(network, tmp_path / "data", strict=True)
    [note] = found.notes
    assert "order" in note
    (tmp_path / "data" / "kind 3" / "3.png").write_text("no image")
    with refused(StageError, "--strict", "3.png"):
        evaluated(network, tmp_path / "data", strict=True)


def test_a_file_that_is_to_blame_itself_is_not_read_again(network: Path, folder: Path) -> None:
    whole = (folder / "03.png").read_bytes()
    (folder / "03.png").write_bytes(whole[: len(whole) // 2])
    (folder / "04.png").write_text("no image")
    found = evaluated(network, folder)
    assert found.accuracy.n == N - 2
    with opening() as opened:
        assert evaluated(network, folder) == found
    assert opened == []


@pytest.mark.parametrize("times", [1, 99])
def test_what_one_of_the_two_has_not_seen_is_left_out_of_both(
    network: Path, folder: Path, times: int
) -> None:
    with opening("03.png", OSError(5, "Input/output error"), times):
        found = evaluated(network, folder, **{"session.intra_op.allow_spinning": 0})
    assert (found.accuracy.n, found.accuracy.skipped) == (N - 1, 1)
    [note] = found.notes
    assert note.startswith("1 image left out: ")
    assert note.endswith("03.png cannot be read: Input/output error")


def test_an_image_too_thin_to_be_resized_is_left_out(network: Path, folder: Path) -> None:
    """A thousand million pixels, of which a crop would have taken 16 x 16."""
    network.with_suffix(".toml").write_text(
        'task = "classification"\nsize = [16, 16]\nresize = "crop"\nshorter_side = 256\n'
    )
    apart = folder.with_name("apart")
    apart.mkdir()
    Image.new("RGB", (20, 24), "red").save(apart / "plain.png")
    for root in (folder, apart):
        Image.new("RGB", (1, 16_000)).save(root / "thin.png")
    (apart / "thin.png").write_bytes((apart / "thin.png").read_bytes() + b"\0")  # no copy
    with (folder / "val.txt").open("a") as index:
        index.write("thin.png 0\n")
    found = evaluated(network, folder)
    assert (found.accuracy.n, found.accuracy.skipped) == (N, 1)
    assert "thin.png is 1x16000 pixels, and would be resized to 256x4096000" in found.notes[0]
    model = described(network)
    data = datasets.open_folder(folder, model, Data(calibration_path=str(apart)))
    told: list[str] = []
    fed = list(inputs.feeds(model, data, 9, lambda sample, error: told.append(str(error))))
    assert len(fed) == 1
    assert "thin.png is 1x16000" in told[0]


def chooser(path: Path) -> Path:
    """A detector whose boxes are those of one image, however many its input could take."""
    fixed = {"box": np.array([[2, 2, 9, 9]], np.float32), "class": np.array([1])}
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["box"], ["boxes"]),
            helper.make_node("Identity", ["class"], ["labels"]),
            helper.make_node("ReduceMean", ["input"], ["scores"], axes=[1, 2, 3], keepdims=0),
        ],
        "chooser",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 4]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch"]),
        ],
        [numpy_helper.from_array(values, name) for name, values in fixed.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    path.with_suffix(".toml").write_text(
        'task = "detection"\nsize = [16, 16]\noutput = "boxes"\nlabels = ["cat", "dog"]\n'
    )
    return path


def boxed(root: Path, n: int = 10) -> Path:
    """Images with a dog each, where `chooser` says that there is one."""
    root.mkdir()
    for i in range(n):
        Image.new("RGB", (16, 16), (9 * i + 50, 90, 90)).save(root / f"{i}.png")
    (root / "boxes.json").write_text(
        json.dumps(
            {
                "images": [
                    {"id": i, "file_name": f"{i}.png", "width": 16, "height": 16} for i in range(n)
                ],
                "annotations": [
                    {"image_id": i, "category_id": 2, "bbox": [2, 2, 7, 7]} for i in range(n)
                ],
                "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            }
        )
    )
    return root


def test_boxes_that_are_of_one_image_are_asked_for_one_image_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    network = chooser(tmp_path / "net.onnx")
    found = evaluated(network, boxed(tmp_path / "coco")).accuracy
    assert (found.n, found.value) == (10, pytest.approx(100))
    # What an engine is compiled for is what it is going to be opened with.
    assert prepare._batches(described(network), 4, evaluated=True, ahead=False) == [1, 4]


def test_the_same_data_elsewhere_and_newer_are_the_same_images(network: Path, folder: Path) -> None:
    before = evaluated(network, folder).accuracy
    shutil.copytree(folder, folder.parent / "checkout" / "val")
    shutil.rmtree(folder)
    moved = folder.parent / "checkout" / "val"
    for image in moved.iterdir():
        os.utime(image, ns=(0, 0))
    after = evaluated(network, moved).accuracy
    assert after.fingerprint != before.fingerprint
    assert after.subset == before.subset
    index = moved / "val.txt"
    index.write_text(index.read_text().replace("03.png 3", "03.png 4"))
    relabelled = evaluated(network, moved).accuracy
    assert relabelled.subset != before.subset
    rules = Matrix(models=("net.onnx",), targets=("cpu-ort-fp32",))
    for new, fell, doubts in ((after, True, 0), (relabelled, False, 1)):
        baseline = replace(ok(0), accuracy=replace(before, value=new.value + 5))
        outcome = judge.Outcome(baseline.job)
        judge._judge_accuracy(outcome, baseline, replace(ok(1), accuracy=new), rules)
        assert (outcome.accuracy_fell, len(outcome.doubts)) == (fell, doubts)
    assert "other images or labels" in outcome.doubts[0]


def test_a_mask_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    def subset(mask: Any) -> str:
        return evaluate._subset([Sample("a.png", {"mask": mask}, Image.Image)])

    for place, level in (("here", 1), ("there", 1), ("other", 2)):
        (tmp_path / place).mkdir()
        Image.new("L", (4, 4), level).save(tmp_path / place / "a.png")
    here, there, other = (str(tmp_path / place / "a.png") for place in ("here", "there", "other"))
    assert subset(here) == subset(there) != subset(other)
    zeros = np.zeros((2, 3), np.uint8)
    assert subset(zeros) == subset(zeros.copy())
    assert len({subset(zeros), subset(zeros + 1), subset(zeros.T)}) == 3


def test_the_same_images_are_the_same_for_every_model(tmp_path: Path) -> None:
    """Whatever the order of its classes, which decides what a truth counts."""
    for name in ("cat", "dog"):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "val" / name / "a.png")
    boxes = boxed(tmp_path / "coco")
    detector = described(chooser(tmp_path / "net.onnx"))
    classifier = replace(detector, task="classification")
    for model, data in ((classifier, tmp_path / "val"), (detector, boxes)):
        found = [
            datasets.open_folder(data, replace(model, labels=labels), Data(calibration=0)).test
            for labels in (("cat", "dog"), ("dog", "cat"))
        ]
        assert found[0][0].truth != found[1][0].truth
        assert evaluate._subset(found[0]) == evaluate._subset(found[1])
