"""Accuracy: the same figures whatever the number of workers, after an interruption, and with images
that are broken; and what was lost against fp32."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from bench import datasets, stats
from bench.accuracy import inference
from bench.accuracy.classification import ClassificationScorer
from bench.accuracy.ledger import Ledger
from bench.contracts import Sample
from bench.errors import StageError
from bench.records import Data, Model, Output, Preprocess, TensorSpec
from exporters.onnx_file import OnnxFile
from tests.builders import refused
from tests.conftest import QUICK, WORKED, write_network

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = Model(
    name="net",
    source="fake",
    weights="v1",
    task="classification",
    inputs=(TensorSpec("input", (None, 3, 4, 4), "float32"),),
    preprocess=Preprocess(4, 4, None, "nearest", "RGB", (0.0,) * 3, (1.0,) * 3, scale=1.0),
    output=Output("scores"),
)
SCORER = ClassificationScorer(10, Output("scores"))


class Reds:
    """A session that answers with the red of its images, and counts the batches."""

    def __init__(self) -> None:
        self.batches = 0

    def stage(self, feed: Any) -> None:
        self._reds = feed["input"][:, 0, 0, 0].astype(int)

    def step(self) -> None:
        self.batches += 1
        if self.batches > getattr(self, "until", 1e9):
            raise KeyboardInterrupt

    def fetch(self) -> Any:
        return [np.eye(10)[self._reds]]


def samples(n: int) -> list[Sample]:
    return [
        Sample(f"{i}.png", i % 10, partial(Image.new, "RGB", (4, 4), ((i * 7) % 10, 0, 0)))
        for i in range(n)
    ]


def predict(tmp_path: Path, images: list[Sample], until: int | None = None, **how: Any) -> Any:
    opened: list[Reds] = []

    @contextmanager
    def sessions(batch: int, threads: int, streams: int) -> Iterator[Any]:
        opened.extend(Reds() for _ in range(streams))
        if until is not None:
            opened[0].until = until  # type: ignore[attr-defined]
        yield opened

    ledger = Ledger(tmp_path / "ledger", "key")
    seen = inference.predict(sessions, images, SCORER, MODEL, ledger, **how)
    return seen, sum(session.batches for session in opened)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("n", [1, 8, 83])
def test_the_same_whatever_the_number_of_workers(tmp_path: Path, workers: int, n: int) -> None:
    seen, batches = predict(tmp_path, samples(n), workers=workers)
    assert [each.prediction[0] for each in seen] == [(i * 7) % 10 for i in range(n)]
    assert batches == -(-n // inference.BATCH)


def test_an_interrupted_evaluation_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path, samples(80), until=4, workers=1)
    [path] = (tmp_path / "ledger").iterdir()
    with path.open("ab") as file:
        file.write(b'[9, [{"predic')  # cut off by a crash
    told: list[Any] = []
    seen, batches = predict(
        tmp_path, samples(80), workers=1, on_images=lambda *each: told.append(each)
    )
    assert batches == 10 - 4
    assert told[-1] == (80, 32)
    assert [each.prediction[0] for each in seen] == [(i * 7) % 10 for i in range(80)]


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"\xff\x00\xfe\n",
        b"\n",
        b"3\n",
        b'["a", []]\n',
        b'[2, [{"bad": 7}]]\n',
        b"[99, []]\n",
        b"[-1, []]\n",
        b"[2, []]\n",
    ],
)
def test_a_damaged_ledger_does_not_harm(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path, samples(80), until=6, workers=1)
    [path] = (tmp_path / "ledger").iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 6
    path.write_bytes(b"".join([*lines[:2], line, *lines[3:]]))
    for batches in (range(5, 9), range(1)):  # those after the damage may be kept, or made again
        seen, ran = predict(tmp_path, samples(80), workers=1)
        assert ran in batches
        assert [each.prediction[0] for each in seen] == [(i * 7) % 10 for i in range(80)]


def test_images_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    def broken() -> Any:
        raise StageError("bad-image", "b.png cannot be read")

    some = samples(10)
    some[3] = Sample("b.png", 0, broken)
    seen, _ = predict(tmp_path, some)
    assert [bool(each.bad) for each in seen] == [i == 3 for i in range(10)]
    assert seen[4].prediction[0] == 8
    seen, batches = predict(tmp_path / "all", [some[3]] * 9)
    assert all(each.bad == "b.png cannot be read" for each in seen)
    assert batches == 0


def test_outputs_that_are_no_scores() -> None:
    with refused(StageError, "no scores"):
        SCORER.predictions([np.zeros((1, 10, 3, 3))], [(4, 4)])
    with refused(StageError, "7 outputs for 10 classes"):
        SCORER.predictions([np.zeros((1, 7))], [(4, 4)])
    with refused(StageError, "label_offset = 1"):
        SCORER.predictions([np.zeros((1, 11))], [(4, 4)])
    assert (
        ClassificationScorer(10, Output("scores", label_offset=1)).predictions(
            [np.eye(11)[None, 4]], [(4, 4)]
        )[0][0]
        == 3
    )


def test_top1_and_top5() -> None:
    table = SCORER.table([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]], [1, 1])
    assert SCORER.score(table) == {"top1": 50.0, "top5": 100.0}
    assert SCORER.score(table, np.array([3, 1])) == {"top1": 75.0, "top5": 100.0}
    assert SCORER.agreement([[1], [2]], [[1], [3]]) == 50.0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=300))
def test_the_paired_interval_holds_the_difference(pairs: list[tuple[bool, bool]]) -> None:
    before, after = np.array(pairs).T
    low, high = stats.paired_difference(before, after)
    difference = 100 * (after.mean() - before.mean())
    assert -100 <= low <= difference + 1e-9
    assert difference - 1e-9 <= high <= 100
    mirrored = stats.paired_difference(after, before)
    assert mirrored == pytest.approx((-high, -low))


def test_the_paired_interval_covers() -> None:
    """Of 650 images, 3 % gained and 4 % lost: the truth is -1."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        kinds = rng.choice(4, size=650, p=[0.03, 0.04, 0.73, 0.2])
        before, after = np.isin(kinds, (1, 2)), np.isin(kinds, (0, 2))
        low, high = stats.paired_difference(before, after)
        hits += low <= -1 <= high
    assert 930 <= hits <= 970


def test_the_bootstrap_covers() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        values = rng.normal(5, 2, 60)

        def mean(weights: Any, values: Any = values) -> tuple[float]:
            return (float(np.average(values, weights=weights)),)

        [(low, high)] = stats.bootstrap(mean, 60, mean(np.ones(60)), repeats=300)
        hits += low <= 5 <= high
    assert hits >= 178


def test_the_bootstrap_takes_the_bias_away() -> None:
    """The number of different things is a third lower in every drawing; so is a plain percentile
    interval, and all of it."""
    [(low, high)] = stats.bootstrap(lambda w: [float((w > 0).sum())], 100, [100.0])
    assert low < 100 < high
    assert high - low < 20

    def variance(weights: Any, values: Any) -> list[float]:
        mean = np.average(values, weights=weights)
        return [float(np.average((values - mean) ** 2, weights=weights))]

    values = np.random.default_rng(0).uniform(0, 1, 5)
    once = np.ones(5, int)
    [(low, high)] = stats.bootstrap(
        lambda w: variance(w, values), 5, variance(once, values), repeats=5000
    )
    # The drawings' mean is (n - 1) / n of the value: their bias is known.
    rng = np.random.default_rng(0)
    plain = [variance(rng.multinomial(5, np.full(5, 0.2)), values)[0] for _ in range(5000)]
    moved = np.quantile(plain, [0.025, 0.975]) + variance(once, values)[0] / 5
    assert (low, high) == pytest.approx(tuple(moved), abs=0.002)


# Through the command line.

#: With one thread there is no pool to wait for between blocks.
ONE = ["--threads", "1", *QUICK, "--json"]
RUN = ["-t", "cpu-ort-fp32", *ONE]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 images of ten classes, with a list."""
    rng = np.random.default_rng(0)
    root = tmp_path / "val"
    root.mkdir()
    for i in range(40):
        pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{i:02}.png")
    (root / "val.txt").write_text("".join(f"{i:02}.png {i % 10}\n" for i in range(40)))
    return root


def test_a_sidecar_makes_a_file_evaluated(bench: Any, network: Path, folder: Path) -> None:
    ran = bench("run", "-m", network, "--data", folder, *RUN)
    assert ran.status in WORKED, ran.err
    found = ran.json["accuracy"]
    assert (found["n"], found["skipped"], found["metric"]) == (32, 0, "top1")
    assert found["reference"] == found["value"]
    assert found["change"] == 0
    assert found["change_ci95"][0] < 0 < found["change_ci95"][1]
    assert found["metrics"].keys() == {"top1", "top5"}
    limited = bench("run", "-m", network, "--data", folder, "--limit", "10", *RUN).json["accuracy"]
    assert limited["n"] == 10
    assert limited["subset"] != found["subset"]


def test_without_a_sidecar_the_message_shows_one(bench: Any, tmp_path: Path, folder: Path) -> None:
    bare = write_network(tmp_path / "bare.onnx")
    ran = bench("run", "-m", bare, "--data", folder, *RUN)
    assert ran.json["accuracy"] is None
    [note] = [note for note in ran.json["notes"] if "preprocessing" in note]
    assert "bare.toml" in note
    assert 'task = "classification", size = [16, 16]' in note
    assert "label_offset" not in note
    told = note.split("can say it: ")[1].split(" (docs")[0]
    keys = re.sub(r", (\w+ = )", r"\n\1", told)
    bare.with_suffix(".toml").write_text(keys)
    assert bench("run", "-m", bare, "--data", folder, *RUN).json["accuracy"]["n"] == 32


def test_the_sidecar_that_is_shown_is_for_the_file(bench: Any, tmp_path: Path) -> None:
    imagenet = write_network(tmp_path / "wide.onnx", classes=1001)
    wide = bench("run", "-m", imagenet, *RUN).json
    assert any("label_offset = 1" in note for note in wide["notes"])


def test_no_sidecar_is_shown_where_none_is_read() -> None:
    model = replace(MODEL, name="factories.py:net", source="py", task=None, preprocess=None)
    [note] = [each for each in datasets.choose(Data(), OnnxFile(), model) if each]
    assert "factories.toml" not in str(note)
    assert "factories.py:net" in str(note)


def test_broken_and_odd_images_are_counted(bench: Any, network: Path, folder: Path) -> None:
    whole = (folder / "03.png").read_bytes()
    (folder / "03.png").write_bytes(whole[: len(whole) // 2])
    (folder / "04.png").unlink()
    Image.new("L", (9, 9)).save(folder / "05.png")
    index = folder / "val.txt"
    index.write_text(index.read_text().replace("06.png 6", "06.png 10"))
    job = ["run", "-m", network, "--data", folder, "--calibration", "0", *RUN]
    ran = bench(*job)
    found = ran.json["accuracy"]
    assert (found["n"], found["skipped"]) == (37, 3)
    notes = " | ".join(ran.json["notes"])
    assert "1 image left out, labels out of range: 06.png: class 10 of 10" in notes
    for words in ("2 images left out", "03.png", "04.png", "1 image greyscale", "05.png"):
        assert words in notes
    strict = bench(*job, "--strict")
    assert strict.status == 1
    assert strict.json["failure"]["kind"] == "bad-data"
    assert "06.png" in strict.json["failure"]["message"]


def test_the_calibration_list_is_kept(bench: Any, network: Path, folder: Path) -> None:
    ran = bench("run", "-m", network, "--data", folder, "-t", "cpu-ort-int8", *ONE)
    built = Path(ran.json["artifacts"][-1]["path"])
    listed = built.with_name("calibration.txt").read_bytes()
    assert ran.json["calibration"]["sha256"] == hashlib.sha256(listed).hexdigest()
    calibrated = listed.split()
    assert len(calibrated) == ran.json["artifacts"][-1]["details"]["calibration_n"] == 8
    assert ran.json["accuracy"]["n"] == 32


def test_the_first_of_the_calibration_images_may_be_broken(
    bench: Any, network: Path, folder: Path
) -> None:
    calib = folder.with_name("calib")
    calib.mkdir()
    for i in range(4):
        (calib / f"c{i}.png").write_bytes(b"no image")
    ran = bench("run", "-m", network, "--data", folder, "--calib", calib, *RUN)
    assert ran.status == 1
    assert "no calibration image of" in ran.err
    Image.new("RGB", (9, 9)).save(calib / "c2.png")  # wherever it comes in the order
    ran = bench("run", "-m", network, "--data", folder, "--calib", calib, *RUN)
    assert ran.status in WORKED, ran.err


@pytest.mark.parametrize("target", ["cpu-ort-int8", "cpu-openvino-int8"])
def test_a_broken_calibration_image_is_named(
    bench: Any, network: Path, folder: Path, target: str
) -> None:
    calib = folder.with_name("calib")
    calib.mkdir()
    for i in range(6):
        pixels = np.full((20, 24, 3), 30 * i, np.uint8)
        Image.fromarray(pixels).save(calib / f"c{i}.png")
    (calib / "c3.png").write_bytes((calib / "c2.png").read_bytes()[:40])
    given = ["-m", network, "--data", folder, "--calib", calib, "-t", target]
    for _ in range(2):  # built, and from the cache
        ran = bench("compile", *given, "--json").json
        [note] = [note for note in ran["notes"] if note.startswith("calibration: ")]
        assert "calibration: 1 image left out: " in note
        assert "c3.png cannot be read" in note
    built = ran["artifacts"][-1]
    listed = Path(built["path"]).with_name("calibration.txt").read_text().split()
    assert sorted(listed) == ["c0.png", "c1.png", "c2.png", "c4.png", "c5.png"]
    assert built["details"]["calibration_n"] == 5
    strict = bench("run", *given, *QUICK, "--json", "--strict")
    assert strict.status == 1
    assert strict.json["failure"]["kind"] == "bad-data"
    assert "c3.png" in strict.json["failure"]["message"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--calib", "{data}"], "--calib needs --data"),
        (["--data", "{data}", "--calib", "{data}/none"], "does not exist"),
    ],
)
def test_wrong_usage(bench: Any, network: Path, folder: Path, more: list[str], words: str) -> None:
    given = [each.format(data=folder) for each in more]
    ran = bench("run", "-m", network, *given, *RUN)
    assert ran.status == 2
    assert words in ran.err


def test_data_for_another_task(bench: Any, network: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(
        json.dumps({"images": [], "annotations": [], "categories": []})
    )
    ran = bench("run", "-m", network, "--data", tmp_path, *RUN)
    assert ran.json["failure"]["kind"] == "usage"
    assert "other data are needed" in ran.json["failure"]["message"]


def brightness(path: Path, classes: int | str = 3, *, dark: bool = True) -> Path:
    """A network that says 3 means of its image, not a number where the image is black; every image
    is, as it sees it, where not `dark`."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("Sub" if not dark else "Identity", ["b", "b"][: 1 + (not dark)], ["c"]),
        helper.make_node("Div", ["c", "c"], ["d"]),
        helper.make_node("Mul", ["b", "d"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", classes])],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    path.with_suffix(".toml").write_text('task = "classification"\nsize = [16, 16]\n')
    return path


def test_outputs_that_are_not_finite_are_wrong_and_told(bench: Any, tmp_path: Path) -> None:
    network = brightness(tmp_path / "net.onnx")
    data = tmp_path / "val"
    data.mkdir()
    for i in range(10):
        Image.new(
            "RGB", (16, 16), (0 if i < 4 else 200, 0 if i < 4 else 90, 0 if i < 4 else 30)
        ).save(data / f"{i}.png")
    (data / "val.txt").write_text("".join(f"{i}.png 0\n" for i in range(10)))
    job = ["run", "-m", network, "--data", data, "--calibration", "0", *RUN]
    ran = bench(*job).json
    assert ran["accuracy"]["value"] == 60
    assert ran["accuracy"]["metrics"]["top5"] == 60
    [note] = [note for note in ran["notes"] if "not finite" in note]
    assert note.startswith("4 images: the outputs are not finite, which counts as wrong: ")
    assert any(f"{i}.png" in note for i in range(4))
    strict = bench(*job, "--strict")
    assert strict.status == 1
    assert "4 images: the outputs are not finite" in strict.json["failure"]["message"]
    (data / "val.txt").write_text("".join(f"{i}.png 0\n" for i in range(4)))
    nothing = bench(*job).json["failure"]
    assert nothing["kind"] == "wrong-output"
    assert "4 images, and of none are the outputs finite" in nothing["message"]


def test_scores_that_are_not_finite() -> None:
    scores = np.zeros((4, 10))
    scores[:, 3] = 1
    scores[0, 5], scores[1, 5], scores[2] = np.nan, np.inf, -np.inf
    scores[3, 5] = -np.inf  # the logarithm of a probability of 0
    found = SCORER.predictions([scores], [(4, 4)] * 4)
    assert [SCORER.broken(each) for each in found] == [1, 1, 1, 0]
    assert found[3][0] == 3
    assert SCORER.score(SCORER.table(found, [0, 0, 0, 3]))["top5"] == 25
    assert SCORER.agreement(found, found) == 25


@pytest.mark.parametrize(("said", "status"), [("", 1), ("label_offset = 1", 0)])
def test_a_background_is_asked_for_where_the_classes_are_free(
    bench: Any, tmp_path: Path, folder: Path, said: str, status: int
) -> None:
    network = write_network(tmp_path / "net.onnx", classes=1001)
    free = onnx.load(network)
    free.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"
    onnx.save(free, network)
    network.with_suffix(".toml").write_text(f'task = "classification"\nsize = [16, 16]\n{said}')
    ran = bench("run", "-m", network, "--data", folder, *RUN)
    if not status:
        assert ran.json["accuracy"]["n"] == 32
        return
    assert ran.status == status
    assert ran.json["failure"]["kind"] == "wrong-output"
    assert "1,001 outputs, so ImageNet's 1,000 classes" in ran.json["failure"]["message"]


def test_a_background_that_was_denied_is_believed() -> None:
    outputs = [np.eye(1001)[None, 1000]]
    with refused(StageError, "1,001 outputs", "label_offset = 0 where last"):
        ClassificationScorer(0, Output("scores", offset_assumed=True)).predictions(
            outputs, [(4, 4)]
        )
    assert ClassificationScorer(0, Output("scores")).predictions(outputs, [(4, 4)])[0][0] == 1000
    with refused(StageError, "label_offset = 2000 leaves none of 1,001 outputs"):
        ClassificationScorer(0, Output("scores", label_offset=2000)).predictions(outputs, [(4, 4)])


def test_data_of_another_network_are_told(bench: Any, network: Path, folder: Path) -> None:
    index = folder / "val.txt"
    index.write_text(index.read_text().replace(".png ", ".png 99"))
    ran = bench("run", "-m", network, "--data", folder, "--calibration", "0", *RUN)
    told = ran.json["failure"]["message"]
    assert "the model has 10 outputs, the data classes up to 999: " in told
