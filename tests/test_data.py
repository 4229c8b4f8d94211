"""Folders of labelled images: what is read, how it is split, and what is refused."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench import datasets, inputs
from bench.cache import artifact
from bench.datasets import open_folder
from bench.datasets.split import Folder
from bench.errors import StageError, UsageError
from bench.pool import read as read_pool
from bench.records import Data, Model, Output, Preprocess, TensorSpec
from tests.builders import message_of, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.contracts import Sample

LABELS = ("zebra", "ant", "mole")
HOW = Preprocess(8, 8, None, "bilinear", "RGB", (0.5,) * 3, (0.5,) * 3)
MODEL = Model(
    name="net",
    source="fake",
    weights="v1",
    task="classification",
    inputs=(TensorSpec("input", (None, 3, 8, 8), "float32"),),
    preprocess=HOW,
    labels=LABELS,
    output=Output("scores"),
)


def paint(path: Path, number: int) -> Path:
    """An image that says its number in its red."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    return path


def number_of(image: Image.Image) -> int:
    pixel: Any = image.convert("RGB").getpixel((0, 0))
    return int(pixel[0])


def classes(root: Path, *names: str, each: int = 10) -> Path:
    """A subfolder a class; the images are numbered through, class by class."""
    for i, name in enumerate(names):
        for j in range(each):
            paint(root / name / f"{name}-{j}.png", i * each + j)
    return root


def flat(root: Path, *, beside: bool = False, n: int = 30) -> Path:
    """A flat folder with a list in it, or beside it; image i is of class i % 3."""
    for i in range(n):
        paint(root / f"{i:03}.png", i)
    index = (root.parent if beside else root) / "val.txt"
    index.write_text("".join(f"{i:03}.png {i % 3}\n" for i in range(n)))
    return root


def folder(path: Path, *, calibration: int = 6, labels: tuple[str, ...] = LABELS) -> Folder:
    return open_folder(path, replace(MODEL, labels=labels), Data(calibration=calibration))


def numbers(samples: Iterable[Sample]) -> list[int]:
    return [number_of(sample.load()) for sample in samples]


def evaluated(found: Folder, limit: int | None = None) -> dict[int, int]:
    return {number_of(sample.load()): sample.truth for sample in found.test[:limit]}


def load_all(path: Path, **how: Any) -> None:
    for sample in folder(path, **how).test:
        sample.load()


FORMS: dict[str, Callable[[Path], Path]] = {
    "classes": lambda path: classes(path / "val", *LABELS),
    "flat": lambda path: flat(path / "val"),
    "beside": lambda path: flat(path / "val", beside=True),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """30 images of three classes, in each of the forms that a folder may have."""
    return FORMS[request.param](tmp_path)


def test_everything_calibrates_or_is_tested_never_both(form: Path) -> None:
    found = folder(form)
    calibrating, testing = numbers(found.calibration[:99]), [*evaluated(found)]
    assert len(calibrating) == 6
    assert sorted([*calibrating, *testing]) == list(range(30))


@pytest.mark.parametrize("asked", [1, 3, 6, 10, 1000])
def test_at_most_a_fifth_calibrates(form: Path, asked: int) -> None:
    found = folder(form, calibration=asked)
    assert len(numbers(found.calibration[:1000])) == min(asked, 6)
    assert len(evaluated(found)) == 30 - min(asked, 6)


def test_a_limit_takes_the_first(form: Path) -> None:
    found = folder(form)
    assert numbers(found.calibration[:2]) == numbers(found.calibration[:99])[:2]
    assert [*evaluated(found, 4)] == [*evaluated(found)][:4]
    assert [*evaluated(found, 99)] == [*evaluated(found)]


def test_the_same_images_in_the_same_order_every_time(form: Path) -> None:
    assert numbers(folder(form).calibration[:9]) == numbers(folder(form).calibration[:9])
    assert [*evaluated(folder(form))] == [*evaluated(folder(form))]
    assert folder(form).fingerprint == folder(form).fingerprint


def test_a_mixture_comes_first_not_one_class(form: Path) -> None:
    """Accuracy on the first few images has to be accuracy, not that of the first class."""
    assert len(set(evaluated(folder(form), 12).values())) == 3


def test_a_folder_is_called_what_it_is_called(form: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder(form).name == "val"
    monkeypatch.chdir(form)
    assert folder(Path()).name == "val"


def test_classes_by_the_labels_names(tmp_path: Path) -> None:
    classes(tmp_path / "val", "ant", "mole", "zebra", each=5)
    found = evaluated(folder(tmp_path / "val", calibration=0))
    assert [found[i] for i in (0, 5, 10)] == [1, 2, 0]


def test_some_of_the_labels_are_enough(tmp_path: Path) -> None:
    classes(tmp_path / "val", "mole", each=5)
    assert set(evaluated(folder(tmp_path / "val")).values()) == {2}


def test_classes_of_other_names_are_in_sorted_order(tmp_path: Path) -> None:
    """As torchvision's ImageFolder, and as everybody's copy of ImageNet."""
    classes(tmp_path / "val", "n03", "n01", "n02", each=5)
    found = evaluated(folder(tmp_path / "val", calibration=0))
    assert [found[i] for i in (0, 5, 10)] == [2, 0, 1]


def test_a_list_names_the_classes(tmp_path: Path) -> None:
    found = evaluated(folder(flat(tmp_path / "val"), calibration=0))
    assert found == {i: i % 3 for i in range(30)}


@pytest.mark.parametrize(
    "text",
    [
        "my dog.png 2\nsub/cat.png 1\n",
        "my dog.png 2\n\n  sub/cat.png 1",
        "my dog.png 2\r\nsub/cat.png 1\r\n",
        "my dog.png  2\nsub/cat.png 1\n",
        "sub/cat.png\t1\nmy dog.png\t2\n",
    ],
    ids=["plain", "empty", "windows", "columns", "tabs"],
)
def test_a_list_as_people_write_it(tmp_path: Path, text: str) -> None:
    paint(tmp_path / "val" / "my dog.png", 1)
    paint(tmp_path / "val" / "sub" / "cat.png", 2)
    (tmp_path / "val" / "val.txt").write_text(text, newline="")
    assert evaluated(folder(tmp_path / "val")) == {1: 2, 2: 1}


def test_only_images_are_taken(tmp_path: Path) -> None:
    classes(tmp_path / "val", *LABELS, each=2)
    (tmp_path / "val" / "ant" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "val" / "ant" / "readme.md").write_text("x")
    (tmp_path / "val" / "notes.txt").write_text("x")
    for i, ending in enumerate(("JPEG", "jpg", "bmp", "webp")):
        Image.new("RGB", (4, 4), (100 + 20 * i, 0, 0)).save(
            tmp_path / "val" / "ant" / f"x.{ending}"
        )
    assert len(evaluated(folder(tmp_path / "val", calibration=0))) == 6 + 4


@pytest.mark.parametrize("twice", ["val/000.png", "val/./000.png"])
def test_an_image_listed_twice_is_refused(tmp_path: Path, twice: str) -> None:
    """It would calibrate and be tested on."""
    flat(tmp_path / "val", n=10)
    name = twice.removeprefix("val/")
    lines = [f"{i:03}.png 0\n" for i in range(10)]
    for i in range(10):
        listed = [*lines, f"{name.replace('000', f'{i:03}')} 0\n"]
        (tmp_path / "val" / "val.txt").write_text("".join(listed))
        with refused(UsageError, "line 11", "listed twice"):
            folder(tmp_path / "val", calibration=1)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text("abcxyz019_-", min_size=1, max_size=6), min_size=1, max_size=30),
    calibration=st.integers(0, 40),
)
def test_any_list_is_split_in_two(tmp_path: Path, names: list[str], calibration: int) -> None:
    unique = list(dict.fromkeys(names))
    root = tmp_path / "val"
    for i, name in enumerate(unique):
        paint(root / f"{name}.png", i)
    (root / "val.txt").write_text("".join(f"{name}.png {i}\n" for i, name in enumerate(unique)))
    found = folder(root, calibration=calibration)
    calibrating, testing = numbers(found.calibration[:999]), evaluated(found)
    assert sorted([*calibrating, *testing]) == list(range(len(unique)))
    assert len(calibrating) == min(calibration, len(unique) // 5)
    assert all(number == label for number, label in testing.items())


def rename(root: Path) -> None:
    (root / "ant" / "ant-0.png").rename(root / "ant" / "new.png")


def add(root: Path) -> None:
    paint(root / "ant" / "new.png", 200)


def remove(root: Path) -> None:
    (root / "ant" / "ant-0.png").unlink()


def move(root: Path) -> None:
    (root / "ant" / "ant-0.png").rename(root / "mole" / "ant-0.png")


def grow(root: Path) -> None:
    Image.new("RGB", (90, 90), (7, 7, 7)).save(root / "ant" / "ant-0.png")


def repaint(root: Path) -> None:
    """Other pixels, in as many bytes."""
    path = root / "ant" / "ant-0.png"
    before = path.stat()
    paint(path, 200)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))


@pytest.mark.parametrize("change", [rename, add, remove, move, grow, repaint])
def test_the_fingerprint_is_of_the_content(tmp_path: Path, change: Callable[[Path], None]) -> None:
    root = classes(tmp_path / "val", *LABELS)
    before = folder(root).fingerprint
    change(root)
    assert folder(root).fingerprint != before


def test_the_fingerprint_is_of_the_split_too(form: Path) -> None:
    assert folder(form, calibration=2).fingerprint != folder(form, calibration=3).fingerprint


def test_the_fingerprint_is_of_the_labels(tmp_path: Path) -> None:
    root = flat(tmp_path / "val")
    before = folder(root).fingerprint
    index = root / "val.txt"
    index.write_text(index.read_text().replace("001.png 1", "001.png 2"))
    assert folder(root).fingerprint != before


def test_the_fingerprint_does_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    for place in ("here", "there"):
        classes(tmp_path / place / "val", *LABELS)
        for image in (tmp_path / place).rglob("*.png"):
            os.utime(image, ns=(0, 0))
    here, there = (folder(tmp_path / place / "val") for place in ("here", "there"))
    assert here.fingerprint == there.fingerprint


def test_an_empty_folder(tmp_path: Path) -> None:
    with refused(UsageError, tmp_path, "holds no images", "val.txt"):
        load_all(tmp_path)


def test_images_without_a_list(tmp_path: Path) -> None:
    paint(tmp_path / "val" / "a.png", 1)
    with refused(UsageError, tmp_path / "val", "val.txt"):
        _ = folder(tmp_path / "val").fingerprint


def test_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("\n\n")
    with refused(UsageError, "holds no images"):
        folder(tmp_path)


@pytest.mark.parametrize("names", [("dog",), ("a", "b"), ("ant", "dog"), ("a", "b", "c", "d")])
def test_classes_that_cannot_be_matched(tmp_path: Path, names: tuple[str, ...]) -> None:
    classes(tmp_path / "val", *names, each=1)
    with refused(UsageError, tmp_path / "val", f"{len(names)} subfolders", "3 classes"):
        load_all(tmp_path / "val")


@pytest.mark.parametrize(
    "line", ["001.png", "1", "001.png one", "001.png 1.5", "001.png -1", "001.png ²", "a,1", "\0 x"]
)
def test_a_bad_line_of_a_list_is_named(tmp_path: Path, line: str) -> None:
    root = flat(tmp_path / "val", n=5)
    (root / "val.txt").write_text(f"000.png 0\n\n{line}\n002.png 0\n", encoding="utf-8")
    with refused(UsageError, root / "val.txt", "line 3", "FILE CLASS"):
        load_all(root)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_no_list_is_fatal(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "val.txt").write_bytes(junk)
    try:
        load_all(tmp_path)
    except (UsageError, StageError) as error:
        message_of(error)


def test_a_missing_image(tmp_path: Path) -> None:
    root = flat(tmp_path / "val")
    (root / "017.png").unlink()
    found = folder(root, calibration=0)
    assert found.fingerprint != folder(flat(tmp_path / "whole"), calibration=0).fingerprint
    with refused(StageError, root / "017.png", "No such file"):
        load_all(root, calibration=0)


def encoded(ending: str, size: int = 64) -> bytes:
    image = Image.effect_noise((size, size), 80).convert("RGB")
    out = io.BytesIO()
    image.save(out, {"jpg": "jpeg"}.get(ending, ending))
    return out.getvalue()


JPEG, PNG = encoded("jpg"), encoded("png", 24)


@pytest.mark.parametrize("content", [b"", b"not an image", JPEG[: len(JPEG) // 2], JPEG[:20]])
def test_a_corrupt_image(tmp_path: Path, content: bytes) -> None:
    root = classes(tmp_path / "val", *LABELS, each=1)
    broken = root / "ant" / "ant-0.jpg"
    broken.write_bytes(content)
    with refused(StageError, broken, "cannot be read as an image"):
        load_all(root, calibration=0)


def test_a_corrupt_image_is_called_so_in_one_word(tmp_path: Path) -> None:
    root = classes(tmp_path / "val", *LABELS, each=1)
    (root / "ant" / "ant-0.png").write_bytes(b"x")
    with pytest.raises(StageError) as caught:
        load_all(root)
    assert caught.value.kind == "bad-image"


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "webp"])
def test_no_damage_to_an_image_is_fatal(tmp_path: Path, ending: str) -> None:
    whole = encoded(ending, 24)
    path = tmp_path / "val" / "ant" / f"x.{ending}"
    path.parent.mkdir(parents=True)

    @settings(max_examples=40)
    @given(st.integers(0, len(whole)), st.binary(max_size=8), st.booleans())
    def damage(at: int, junk: bytes, cut: bool) -> None:
        path.write_bytes(whole[:at] + junk + (b"" if cut else whole[at + len(junk) :]))
        try:
            load_all(tmp_path / "val")
        except StageError as error:
            message_of(error)

    damage()


@pytest.mark.parametrize("at", [11, 36], ids=["header", "length"])
def test_a_png_whose_chunks_are_broken(tmp_path: Path, at: int) -> None:
    """Pillow raises SyntaxError and ValueError for these, not OSError."""
    content = bytearray(PNG)
    content[at] = 0
    path = tmp_path / "val" / "ant" / "x.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with refused(StageError, path, "cannot be read as an image"):
        load_all(tmp_path / "val")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_that_claims_to_be_huge(tmp_path: Path) -> None:
    header = bytearray(encoded("bmp", 4))
    header[18:26] = (60_000).to_bytes(4, "little") * 2
    path = tmp_path / "val" / "ant" / "x.bmp"
    path.parent.mkdir(parents=True)
    path.write_bytes(header)
    with refused(StageError, path):
        load_all(tmp_path / "val")


def test_require_folder(tmp_path: Path) -> None:
    datasets.require_folder(tmp_path)
    with refused(UsageError, tmp_path / "none", "does not exist"):
        datasets.require_folder(tmp_path / "none")
    (tmp_path / "file").touch()
    with refused(UsageError, tmp_path / "file", "is not a folder"):
        datasets.require_folder(tmp_path / "file")


class Source:
    """An exporter of which only the data matter."""

    packages: tuple[str, ...] = ()
    stable = True

    def __init__(self, own: Any = None) -> None:
        self._own = own

    def dataset(self, model: Model) -> Any:
        return self._own

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was not expected to be asked for")


def test_the_users_folder_comes_before_the_sources_data(tmp_path: Path) -> None:
    own: Any = object()
    source: Any = Source(own)
    asked = Data(str(classes(tmp_path / "val", *LABELS)), None, 4)
    found, why = datasets.choose(asked, source, MODEL)
    assert isinstance(found, Folder)
    assert (found.name, found.classes, len(found.calibration)) == ("val", LABELS, 4)
    assert why is None
    assert datasets.choose(Data(), source, MODEL) == (own, None)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (MODEL, "--data"),
        (replace(MODEL, weights="random"), "random"),
        (replace(MODEL, preprocess=None), "preprocessing"),
        (replace(MODEL, task=None), "outputs"),
    ],
    ids=["none", "random", "preprocess", "task"],
)
def test_why_no_accuracy_can_be_measured(model: Model, words: str) -> None:
    source: Any = Source()
    found, why = datasets.choose(Data(), source, model)
    assert found is None
    assert why is not None
    assert words in why
    assert why.splitlines() == [why]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_folder_too_small_to_calibrate_on_still_feeds_the_timing(tmp_path: Path, n: int) -> None:
    """Fewer than five images have no fifth; a person tries with three first."""
    small = folder(classes(tmp_path / "val", "ant", each=n))
    assert len(evaluated(small)) == n
    (tmp_path / "made").mkdir()
    pool = inputs.write_pool(MODEL, small, tmp_path / "made")
    assert len(read_pool(pool, 1)) == inputs.POOL


@pytest.mark.parametrize(("batch", "feeds"), [(1, 4), (2, 2), (3, 2), (4, 2), (8, 2), (16, 2)])
def test_no_two_feeds_of_a_pool_are_alike(tmp_path: Path, batch: int, feeds: int) -> None:
    path = tmp_path / "pool.npz"
    np.savez(path, image=np.arange(4))
    made = [
        tuple(each["image"])
        for each in read_pool(artifact(path, form="npz", made_by="test", build_s=0.0), batch)
    ]
    assert [len(each) for each in made] == [batch] * feeds
    assert len(set(made)) == feeds
