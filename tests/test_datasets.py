"""The forms of labelled data beyond classes: COCO, masks, ImageNet's ids; what is odd or broken."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from bench.datasets import classes, images, open_folder
from bench.datasets.split import Folder, Listed
from bench.errors import StageError, Unavailable, UsageError
from bench.records import Data, Model, Output, Preprocess, TensorSpec
from tests.builders import refused
from tests.conftest import QUICK, WORKED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contracts import Sample

HOW = Preprocess(8, 8, None, "bilinear", "RGB", (0.5,) * 3, (0.5,) * 3)
CLASSIFIER = Model(
    name="net",
    source="fake",
    weights="v1",
    task="classification",
    inputs=(TensorSpec("input", (None, 3, 8, 8), "float32"),),
    preprocess=HOW,
    output=Output("scores"),
)
DETECTOR = replace(CLASSIFIER, task="detection", output=Output("boxes"))
SEGMENTER = replace(CLASSIFIER, task="segmentation", output=Output("class-map"))


def paint(path: Path, mode: str = "RGB", colour: Any = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 6), colour).save(path)
    return path


def coco(root: Path, n: int = 4, **changed: Any) -> Path:
    found: dict[str, Any] = {
        "images": [
            {"id": 10 + i, "file_name": f"{i}.jpg", "width": 8, "height": 6} for i in range(n)
        ],
        "annotations": [
            {"id": i, "image_id": 10 + i, "category_id": 7, "bbox": [1, 1, 2, 3]} for i in range(n)
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        **changed,
    }
    for i in range(n):
        paint(root / "val2017" / f"{i}.jpg")
    (root / "instances_val2017.json").write_text(json.dumps(found))
    return root


def test_boxes_by_category_id(tmp_path: Path) -> None:
    found = open_folder(coco(tmp_path), DETECTOR, Data(calibration=0))
    assert found.classes == ("cat", "dog")
    assert {sample.name for sample in found.test} == {"0.jpg", "1.jpg", "2.jpg", "3.jpg"}
    truth = found.test[0].truth
    assert truth == {
        "size": [8, 6], "boxes": [[1, 1, 2, 3]], "classes": [1], "crowd": [0], "areas": [6]
    }  # fmt: skip
    assert found.test[0].load().size == (8, 6)


def test_boxes_by_the_names_of_the_models_classes(tmp_path: Path) -> None:
    named = replace(DETECTOR, labels=("background?", "dog", "cat"))
    found = open_folder(coco(tmp_path), named, Data(calibration=0))
    assert found.test[0].truth["classes"] == [1]
    with refused(UsageError, "2 categories", "3 classes"):
        open_folder(tmp_path, replace(DETECTOR, labels=("a", "b", "c")), Data())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"images": 3}, "no COCO file"),
        ({"categories": []}, "names an category that is not listed"),
        ({"images": []}, "names an image that is not listed"),
        ({"annotations": [{"image_id": 10, "category_id": 7, "bbox": [1]}]}, "no COCO file"),
    ],
)
def test_a_bad_file_of_instances(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with refused(UsageError, "instances_val2017.json", words):
        open_folder(coco(tmp_path, **changed), DETECTOR, Data())


def test_categories_of_other_names_are_in_the_order_of_their_ids(tmp_path: Path) -> None:
    found = open_folder(coco(tmp_path), replace(DETECTOR, labels=("a", "b")), Data(calibration=0))
    assert found.test[0].truth["classes"] == [1]
    [note] = found.notes
    assert "no class of the model has the name of one: they were taken in order, cat for a" in note
    assert open_folder(tmp_path, DETECTOR, Data()).notes == ()


def test_names_of_which_the_model_has_some_are_not_taken_in_order(tmp_path: Path) -> None:
    """A byte order mark before the first of three labels once moved all three."""
    for name in ("bird", "cat", "dog"):
        paint(tmp_path / "val" / name / "a.png")
    marked = replace(CLASSIFIER, labels=("\ufeffcat", "dog", "bird"))
    with refused(UsageError, "3 subfolders", "none of the model's 3 classes is called cat"):
        open_folder(tmp_path / "val", marked, Data())
    with refused(UsageError, "2 categories", "none of the model's 2 classes is called cat"):
        open_folder(coco(tmp_path / "coco"), replace(DETECTOR, labels=("dog", "bird")), Data())
    other = replace(CLASSIFIER, labels=("x", "y", "z"))
    [note] = open_folder(tmp_path / "val", other, Data()).notes
    assert "3 subfolders, and no class of the model has the name of one" in note
    assert "taken in order, bird for x and so on" in note


@pytest.mark.parametrize("size", [(4, 3), (6, 8)], ids=["shrunk", "turned"])
def test_an_image_of_another_size_than_its_boxes_is_left_out(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """Its boxes would be somewhere else in it."""
    root = coco(tmp_path)
    Image.new("RGB", size).save(root / "val2017" / "2.jpg")
    found = {each.name: each for each in open_folder(root, DETECTOR, Data(calibration=0)).test}
    assert found["1.jpg"].load().size == (8, 6)
    with refused(StageError, "2.jpg is {}x{}".format(*size), "instances_val2017.json says 8x6"):
        found["2.jpg"].load()


def test_masks_in_both_of_their_forms(tmp_path: Path) -> None:
    for names in (("images", "masks"), ("JPEGImages", "SegmentationClass")):
        root = tmp_path / names[0]
        for i in range(3):
            paint(root / names[0] / f"{i}.jpg")
            paint(root / names[1] / f"{i}.png", "L", i)
        paint(root / names[0] / "unlabelled.jpg")
        found = open_folder(root, SEGMENTER, Data(calibration=0))
        assert sorted(sample.name for sample in found.test) == ["0.jpg", "1.jpg", "2.jpg"]
        assert all(Path(sample.truth["mask"]).is_file() for sample in found.test)
        assert len(found.classes) == 21
    paint(root / "SegmentationClass" / "9.png", "L")
    with refused(UsageError, "9.png has no image"):
        open_folder(root, SEGMENTER, Data())


def test_what_is_two_things_is_refused(tmp_path: Path) -> None:
    root = coco(tmp_path)
    paint(root / "images" / "0.jpg")
    paint(root / "masks" / "0.png", "L")
    with refused(UsageError, "ambiguous", "COCO", "masks/"):
        open_folder(root, DETECTOR, Data())
    other = coco(tmp_path / "two")
    (other / "more.json").write_bytes((other / "instances_val2017.json").read_bytes())
    paint(other / "images" / "0.jpg")
    with refused(UsageError, "ambiguous", "more.json"):
        open_folder(other, DETECTOR, Data())


def test_data_of_another_task_are_refused(tmp_path: Path) -> None:
    with refused(UsageError, "COCO instances JSON", "net is a network for classification"):
        open_folder(coco(tmp_path), CLASSIFIER, Data())


def test_imagenets_ids_name_its_classes(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    for wnid in ("n02123045", "n01440764"):
        paint(tmp_path / "val" / wnid / "a.png")
    labels = tuple(f"class {i}" for i in range(1000))
    found = open_folder(tmp_path / "val", replace(CLASSIFIER, labels=labels), Data())
    assert {sample.name: sample.truth for sample in found.test} == {
        "n02123045/a.png": 281, "n01440764/a.png": 0
    }  # fmt: skip
    assert len(classes.imagenet_wnids()) == 1000
    paint(tmp_path / "val" / "n99999999" / "a.png")
    with refused(UsageError, "n99999999 is none of ImageNet's"):
        open_folder(tmp_path / "val", replace(CLASSIFIER, labels=labels), Data())


def test_without_timm_the_order_of_imagenets_ids_is_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classes, "find_spec", lambda _: None)
    for wnid in ("n02123045", "n01440764"):
        paint(tmp_path / "val" / wnid / "a.png")
    for labels in ((), tuple(f"class {i}" for i in range(1000))):
        with refused(Unavailable, tmp_path / "val", "timm", "pip install"):
            open_folder(tmp_path / "val", replace(CLASSIFIER, labels=labels), Data())
    every = [f"n{i:08}" for i in range(1000)]
    assert classes._matched(tmp_path, every, ()) == ([*range(1000)], [])


def test_a_list_beside_images_that_were_sorted_into_classes(tmp_path: Path) -> None:
    paint(tmp_path / "val" / "ant" / "0.png")
    (tmp_path / "val.txt").write_text("0.png 1\n")
    found = open_folder(tmp_path / "val", replace(CLASSIFIER, labels=("ant", "bee")), Data())
    assert [(sample.name, sample.truth) for sample in found.test] == [("ant/0.png", 0)]


def test_a_name_of_two_classes_is_refused(tmp_path: Path) -> None:
    paint(tmp_path / "val" / "crane" / "a.png")
    birds_and_machines = replace(CLASSIFIER, labels=("crane", "crane", "maillot"))
    with refused(UsageError, "several classes called 'crane'", "WordNet"):
        open_folder(tmp_path / "val", birds_and_machines, Data())


def test_an_empty_class_is_told(tmp_path: Path) -> None:
    paint(tmp_path / "val" / "ant" / "a.png")
    (tmp_path / "val" / "bee").mkdir()
    found = open_folder(tmp_path / "val", replace(CLASSIFIER, labels=("ant", "bee")), Data())
    assert ["bee" in note for note in found.notes] == [True]


def test_calibration_images_given_apart(tmp_path: Path) -> None:
    for i in range(10):
        paint(tmp_path / "val" / "ant" / f"{i}.png", colour=(i, 0, 0))
        paint(tmp_path / "more" / f"{i}.png", colour=(i + 5, 0, 0))
    labelled = replace(CLASSIFIER, labels=("ant", "bee"))
    asked = Data(calibration=100, calibration_path=str(tmp_path / "more"))
    found = open_folder(tmp_path / "val", labelled, asked)
    assert len(found.test) == 10
    # Five of them are copies of images that are evaluated.
    reds = {sample.load().getpixel((0, 0))[0] for sample in found.calibration}  # type: ignore[index]
    assert reds == {10, 11, 12, 13, 14}
    before = found.fingerprint
    assert (
        open_folder(tmp_path / "val", labelled, replace(asked, calibration=2)).fingerprint != before
    )


def of_classes(*counts: int, calibration: int = 0, reverse: bool = False) -> Folder:
    """So many images of each class; they need not be there to be split."""
    names = [(f"{i}/{j}.png", i) for i, n in enumerate(counts) for j in range(n)]
    listed = [Listed(Path(name), name, i) for name, i in names]
    return Folder("val", (), tuple(listed[:: -1 if reverse else 1]), calibration)


def counted(samples: Sequence[Sample], classes: int) -> list[int]:
    return np.bincount([sample.truth for sample in samples], minlength=classes).tolist()


def test_each_class_has_its_share(tmp_path: Path) -> None:
    """Once the classes took turns: the rare ones then calibrated, and were not evaluated."""
    for name, n in (("ant", 90), ("bee", 10)):
        for i in range(n):
            paint(tmp_path / "val" / name / f"{i}.png", colour=(n, i, 0))
    model = replace(CLASSIFIER, labels=("ant", "bee"))
    found = open_folder(tmp_path / "val", model, Data(calibration=256))
    assert counted(found.calibration, 2) == [18, 2]
    assert counted(found.test, 2) == [72, 8]
    assert counted(found.test[:20], 2) in ([17, 3], [18, 2], [19, 1])


def test_a_rare_class_is_mostly_evaluated() -> None:
    found = of_classes(1000, 12, 12, 500, calibration=1000)
    assert len(found.calibration) == 304
    assert all(9 <= rare <= 10 for rare in counted(found.test, 4)[1:3])


def test_classes_of_one_image_fall_on_either_side() -> None:
    found = of_classes(*[1] * 200, calibration=40)
    calibrating = [sample.truth for sample in found.calibration]
    assert len(calibrating) == 40
    # One in five, wherever they come in the list.
    assert 8 <= sum(truth < 100 for truth in calibrating) <= 32
    found = of_classes(800, *[1] * 200, calibration=200)
    assert 20 <= sum(counted(found.calibration, 201)[1:]) <= 60


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    calibration=st.integers(0, 60),
)
def test_a_stretch_is_a_fair_sample(counts: list[int], calibration: int) -> None:
    found = of_classes(*counts, calibration=calibration)
    assert [each.name for each in found.test] == [
        each.name for each in of_classes(*counts, calibration=calibration, reverse=True).test
    ]
    total = sum(counts)
    for part in (found.calibration, found.test):
        for n in range(len(part) + 1):
            for had, count in zip(counted(part[:n], len(counts)), counts, strict=True):
                # Each class is out by less than an image, and shares what the others are out by.
                share = count / total
                assert abs(had - n * share) < 1 + (len(counts) - 2) * share + 1e-9
    if len(set(counts)) == 1:
        n = len(counts)
        assert all(max(counted(found.test[: n * k], n)) <= k + 1 for k in range(1, counts[0]))


@pytest.mark.parametrize(
    ("mode", "ending", "odd"),
    [
        ("RGB", "png", None),
        ("L", "png", "greyscale"),
        ("LA", "png", "greyscale"),
        ("CMYK", "jpg", "CMYK"),
        ("I;16", "png", "16-bit"),
        ("RGBA", "png", None),
        ("P", "png", None),
    ],
)
def test_what_is_odd_about_an_image(
    tmp_path: Path, mode: str, ending: str, odd: str | None
) -> None:
    image = images.read(paint(tmp_path / f"x.{ending}", mode))
    assert image.info.get("odd") == odd
    assert image.convert("RGB").size == (8, 6)


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 48).reshape(6, 8).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    found = np.asarray(images.read(tmp_path / "deep.png").convert("RGB"))
    assert np.abs(found[..., 0] - levels / 257).max() <= 0.5


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (200, 10)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    image = images.read(tmp_path / "x.gif")
    assert image.info["odd"] == "animated"
    assert image.convert("RGB").getpixel((0, 0))[0] > 150  # type: ignore[index]


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    """The strongest of the three channels at each pixel, as a local file with its sidecar."""
    graph = helper.make_graph(
        [helper.make_node("ArgMax", ["input"], ["output"], axis=1, keepdims=0)],
        "strongest",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("output", TensorProto.INT64, ["batch", 16, 16])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text(
        'task = "segmentation"\nsize = [16, 16]\noutput = "class-map"\nlabels = ["r", "g", "b"]\n'
    )
    return tmp_path / "net.onnx"


def masked(root: Path, n: int = 16) -> Path:
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for i in range(n):
        pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i:02}.png")
        Image.fromarray(pixels.argmax(2).astype(np.uint8)).save(root / "masks" / f"{i:02}.png")
    return root


def test_bad_masks_are_left_out_and_named(bench: Any, tmp_path: Path, segmenter: Path) -> None:
    root = masked(tmp_path / "voc")
    job = ["run", "-m", segmenter, "--data", root, "-t", "cpu-ort-fp32", "--calibration", "0"]
    job += ["--threads", "1", *QUICK, "--json"]
    ran = bench(*job)
    assert (ran.json["accuracy"]["n"], ran.json["accuracy"]["value"]) == (16, 100)
    masks = root / "masks"
    whole = (masks / "00.png").read_bytes()
    (masks / "00.png").write_bytes(whole[: len(whole) // 2])
    (masks / "01.png").write_text("no picture")
    (masks / "02.png").unlink()
    (masks / "02.png").symlink_to(tmp_path / "nowhere.png")
    Image.new("L", (16, 16), 3).save(masks / "03.png")
    Image.new("L", (9, 16)).save(masks / "04.png")
    Image.new("RGB", (16, 16)).save(masks / "05.png")
    Image.new("L", (16, 16), 255).save(masks / "06.png")
    (masks / "folder.png").mkdir()
    ran = bench(*job)
    assert ran.status in WORKED, ran.err
    assert (ran.json["accuracy"]["n"], ran.json["accuracy"]["skipped"]) == (10, 6)
    [note] = [note for note in ran.json["notes"] if "left out" in note]
    for words in (
        "6 images left out",
        "00.png cannot be read as an image",
        "01.png cannot be read as an image",
        "02.png cannot be read: No such file",
        "03.png has class 3, the model's last one is 2",
        "04.png is 9x16, its image 16x16 pixels",
        "05.png is RGB, a mask is grey",
    ):
        assert words in note
    strict = bench(*job, "--strict")
    assert (strict.status, strict.json["failure"]["kind"]) == (1, "bad-data")


def test_a_mask_that_changes_is_seen(tmp_path: Path) -> None:
    """What was evaluated with the old one is not to be taken from the cache."""
    root = masked(tmp_path / "voc", 3)
    before = open_folder(root, SEGMENTER, Data()).fingerprint
    Image.new("L", (16, 16), 1).save(root / "masks" / "00.png")
    assert open_folder(root, SEGMENTER, Data()).fingerprint != before


def test_the_fingerprint_of_masks_does_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    for place in ("here", "there"):
        for image in masked(tmp_path / place / "voc", 3).rglob("*.png"):
            os.utime(image, ns=(0, 0))
    here, there = (
        open_folder(tmp_path / place / "voc", SEGMENTER, Data()) for place in ("here", "there")
    )
    assert here.fingerprint == there.fingerprint


def test_copies_within_the_data_do_not_calibrate(tmp_path: Path) -> None:
    """The same picture under two names would be calibrated on and evaluated."""
    root = tmp_path / "val" / "ant"
    for i in range(30):
        paint(root / f"{i}.png", colour=(i, 0, 0))
        paint(root / f"{i}.bmp", colour=(100 + i, 0, 0))  # all of the same size
    model = replace(CLASSIFIER, labels=("ant", "bee"))
    before = open_folder(tmp_path / "val", model, Data(calibration=6))
    doubled = [before.calibration[0].name, before.calibration[1].name]
    for i, name in enumerate(doubled):
        original = tmp_path / "val" / name
        original.write_bytes((tmp_path / "val" / before.test[i].name).read_bytes())
    found = open_folder(tmp_path / "val", model, Data(calibration=6))
    assert [each.name for each in found.calibration] == [e.name for e in before.calibration[2:]]
    assert {each.name for each in found.test} == {e.name for e in before.test} | {*doubled}


def test_what_cannot_be_read_is_no_copy(tmp_path: Path) -> None:
    for i in range(3):
        paint(tmp_path / "val" / "ant" / f"{i}.png", colour=(i, 0, 0))
        paint(tmp_path / "more" / "deep" / f"{i}.png", colour=(i + 2, 0, 0))
        paint(tmp_path / "more" / ".cache" / f"{i}.png", colour=(i + 2, 0, 0))
    for folder in ("val/ant", "more"):
        (tmp_path / folder / "nowhere.png").symlink_to(tmp_path / "nowhere")
        (tmp_path / folder / "folder.png").mkdir()
        os.mkfifo(tmp_path / folder / "pipe.png")
    asked = Data(calibration=100, calibration_path=str(tmp_path / "more"))
    model = replace(CLASSIFIER, labels=("ant", "bee"))
    found = open_folder(tmp_path / "val", model, asked)
    assert {each.name for each in found.test} == {
        *(f"ant/{i}.png" for i in range(3)),
        "ant/nowhere.png",
    }
    assert {each.name for each in found.calibration} == {"deep/1.png", "deep/2.png", "nowhere.png"}
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "val.txt").write_text("gone.png 0\npipe.png 1\n")
    os.mkfifo(tmp_path / "flat" / "pipe.png")
    listed = open_folder(tmp_path / "flat", model, asked)
    assert len(listed.calibration) == 4
    for sample in listed.test:
        with refused(StageError, sample.name, "cannot be read"):
            sample.load()


def test_ten_are_named_and_the_others_counted() -> None:
    names = [f"{i}.png" for i in range(1210)]
    assert images.first_few(names[:10]) == "; ".join(names[:10])
    assert images.first_few(names) == "; ".join(names[:10]) + "; and 1,200 more"
    assert images.first_few(["a\n\x1bb.png", "x" * 1000]).startswith("a\\n\\x1bb.png; xxx")
    assert len(images.first_few(["x" * 1000])) == 255


ANTS_AND_BEES = replace(CLASSIFIER, labels=("ant", "bee"))


def sorted_images(root: Path) -> Path:
    for name in ("ant", "bee"):
        paint(root / name / f"{name}.png")
    return root


def names(found: Folder) -> list[str]:
    return sorted(sample.name for sample in found.test)


def test_what_lies_about_does_not_change_what_a_folder_is(tmp_path: Path) -> None:
    root = sorted_images(tmp_path / "val")
    (tmp_path / "val.txt").write_bytes(b"./images/1.jpg\n\xff")
    (root / "class_index.json").write_text('{"0": ["n01440764", "tench"]}')
    (root / "broken.json").write_text("{")
    (root / "captions.json").write_text('{"images": [], "annotations": []}')
    for hidden in (".cache", "__MACOSX"):
        paint(root / hidden / "a.png")
    paint(root / "ant" / "._ant.png")
    assert names(open_folder(root, ANTS_AND_BEES, Data())) == ["ant/ant.png", "bee/bee.png"]


def test_what_is_no_list_of_the_folder_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    paint(root / "val" / "a.png")
    for text, words in (("", "names no image"), ("b.png 0\n", "names no image")):
        (root / "val.txt").write_text(text)
        for folder in (root, root / "val"):
            with refused(UsageError, root / "val.txt", words):
                open_folder(folder, ANTS_AND_BEES, Data())
    (root / "val.txt").write_bytes("a.png 0\n".encode("utf-16"))
    (root / "val" / "class_index.json").write_text("{}")
    with refused(UsageError, root / "val.txt", "is not UTF-8", "class_index.json is no COCO"):
        open_folder(root / "val", ANTS_AND_BEES, Data())
    with refused(UsageError, root / "val.txt", "is not UTF-8"):
        open_folder(root, ANTS_AND_BEES, Data())
    (root / "val.txt").write_text("a.png\n")
    with refused(UsageError, root / "val.txt", "line 1"):
        open_folder(root, ANTS_AND_BEES, Data())


def test_cocos_own_layout(tmp_path: Path) -> None:
    root = coco(tmp_path)
    (root / "annotations").mkdir()
    text = (root / "instances_val2017.json").read_text()
    (root / "instances_val2017.json").rename(root / "annotations" / "instances_val2017.json")
    train = text.replace(".jpg", ".png")
    (root / "annotations" / "instances_train2017.json").write_text(train)
    (root / "val2017" / "0.jpg").unlink()
    found = open_folder(root, DETECTOR, Data())
    assert names(found) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert found.test[0].truth["boxes"]


def test_a_list_that_begins_with_a_mark(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "val.txt").write_text("a.png 1\n", encoding="utf-8-sig")
    found = open_folder(tmp_path, ANTS_AND_BEES, Data())
    assert [(sample.name, sample.truth) for sample in found.test] == [("a.png", 1)]


@pytest.mark.parametrize("label", ["9" * 5000, "-1", "n01440764", "1.0", "\x1b[31m"])
def test_a_label_that_is_no_class(tmp_path: Path, label: str) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "val.txt").write_text(f"a.png 1\nb.png {label}\n")
    with refused(UsageError, "line 2", "CLASS is a number, counted from 0; found '"):
        open_folder(tmp_path, ANTS_AND_BEES, Data())
    with pytest.raises(UsageError) as caught:
        open_folder(tmp_path, ANTS_AND_BEES, Data())
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


MASKED = [[1, 1, 4, 1, 4, 4]]
RUNS = {"size": [6, 8], "counts": [10, 2, 36]}


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        (None, "is missing"),
        ([], "is missing"),
        ("a shape", "neither polygons nor run lengths"),
        (7, "neither polygons nor run lengths"),
        ([1, 2, 3, 4, 5, 6], "no list of polygons"),
        ([[1, 1, 4, 4]], "no list of polygons"),
        ([[1, 1, 4, 1, 4, "4"]], "no list of polygons"),
        ({"size": [8, 6], "counts": [48]}, "[8, 6], its image of [6, 8]"),
        ({"size": [6, 8], "counts": [47]}, "other than 48 pixels"),
        ({"size": [6, 8]}, "no run lengths"),
    ],
)
def test_an_object_without_a_sane_mask_is_named(
    tmp_path: Path, segmentation: Any, words: str
) -> None:
    masker = replace(DETECTOR, task="instance-segmentation")
    boxes = [
        {"id": 40 + i, "image_id": 10 + i, "category_id": 7, "bbox": [1, 1, 2, 3]} for i in range(3)
    ]
    shapes = zip(boxes, (MASKED, RUNS, segmentation), strict=True)
    root = coco(tmp_path, annotations=[{**box, "segmentation": shape} for box, shape in shapes])
    with refused(StageError, "instances_val2017.json", "annotation 42", words):
        open_folder(root, masker, Data())
    # Boxes do not need them.
    assert len(open_folder(root, DETECTOR, Data()).test) == 4
    good = [{**box, "segmentation": MASKED} for box in boxes]
    found = open_folder(coco(tmp_path / "good", annotations=good), masker, Data())
    assert all("masks" in sample.truth for sample in found.test)


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "val.txt").write_text(f"{'x' * 5000}.png 0\na.png 1\n")
    [long, short] = sorted(
        open_folder(tmp_path, ANTS_AND_BEES, Data()).test, key=lambda sample: -len(sample.name)
    )
    assert short.load().size == (8, 6)
    with pytest.raises(StageError) as caught:
        long.load()
    assert "too long" in str(caught.value)
    assert len(str(caught.value)) < 400
