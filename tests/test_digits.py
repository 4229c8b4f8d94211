"""The shipped digits: the split never mixes, and the weights are what accuracy.json says."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest

from bench.errors import Unavailable
from exporters.digits import LABELS, SIDES, WEIGHTS, preprocess, weights_file
from exporters.digits.data import FINGERPRINT, SPLIT, Digits, _load, content_sha256, split

pytest.importorskip("sklearn")

SHIPPED = json.loads((WEIGHTS / "accuracy.json").read_text())


def test_every_image_is_in_exactly_one_part():
    parts = split()
    seen = [(image.tobytes(), label) for images in parts.values() for image, label in images]
    pixels, labels = _load()
    everything = [(p.tobytes(), int(y)) for p, y in zip(pixels, labels, strict=True)]
    assert len({content for content, _ in seen}) == len(seen) == 1797
    assert sorted(seen) == sorted(everything)
    assert {part: len(images) for part, images in parts.items()} == {
        "train": 897,
        "calibration": 200,
        "test": 700,
    }


def test_the_fingerprint_is_that_of_the_content():
    assert f"digits-{SPLIT}-{content_sha256()[:16]}" == FINGERPRINT == Digits.fingerprint


@pytest.mark.parametrize("limit", [10, 50, 200, 700])
def test_the_first_images_are_balanced_and_always_the_same(limit):
    labels = [label for _, label in Digits().test(limit)]
    assert np.bincount(labels).tolist() == [limit // 10] * 10
    again = list(Digits().test(limit))
    assert again == list(islice(Digits().test(None), limit))


def test_images_are_as_the_contract_wants_them():
    image, label = next(Digits().test(None))
    assert (image.mode, image.size, label) == ("L", (8, 8), 0)
    assert len(list(Digits().test(None))) == 700
    assert len(list(Digits().calibration(10_000))) == 200
    assert len(list(Digits().calibration(32))) == 32


def test_the_file_read_is_what_scikit_learn_gives():
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    pixels, found = _load()
    assert (pixels == np.rint(levels.reshape(-1, 8, 8) * 255 / 16)).all()
    assert (found == labels).all()


def test_a_missing_package_comes_with_its_remedy(monkeypatch):
    monkeypatch.setattr("exporters.digits.data.find_spec", lambda _: None)
    with pytest.raises(Unavailable, match=r"pip install 'frontier-bench\[digits\]'"):
        _load()


def test_the_weights_are_small_and_all_there():
    files = sorted(WEIGHTS.glob("*.safetensors"))
    assert files == sorted(weights_file(name) for name in SIDES)
    assert sum(file.stat().st_size for file in files) < 3_000_000
    assert list(SHIPPED) == list(SIDES)
    assert len(LABELS) == 10


@pytest.mark.parametrize("name", SIDES)
def test_the_shipped_weights_reach_the_shipped_accuracy(name):
    pytest.importorskip("torch")
    from exporters.digits.networks import NETWORKS, trained
    from exporters.digits.train import score

    assert list(NETWORKS) == list(SIDES)
    found = score(name, trained(name), split()["test"])
    # Another machine adds up in another order: one image may tip over.
    assert abs(found["correct"] - SHIPPED[name]["correct"]) <= 1
    assert (found["n"], found["params"]) == (SHIPPED[name]["n"], SHIPPED[name]["params"])
    assert SHIPPED[name]["top1"] == round(100 * SHIPPED[name]["correct"] / found["n"], 2)


@pytest.mark.parametrize("name", SIDES)
def test_a_network_takes_what_preprocess_gives(name):
    torch = pytest.importorskip("torch")
    from bench.preprocess import to_input
    from exporters.digits.networks import NETWORKS

    image, _ = next(Digits().test(1))
    batch = torch.from_numpy(np.stack([to_input(image, preprocess(name))] * 3))
    assert batch.shape == (3, 1, SIDES[name], SIDES[name])
    assert NETWORKS[name]().eval()(batch).shape == (3, 10)


@pytest.mark.slow
def test_training_again_lands_within_a_point(capsys):
    pytest.importorskip("torch")
    from exporters.digits.train import main

    smallest = min(SHIPPED, key=lambda name: SHIPPED[name]["params"])
    assert main([smallest, "--check"]) == 0
    assert "ok" in capsys.readouterr().out
