"""The shipped digits: the split never mixes, and the weights are what accuracy.json says."""

from __future__ import annotations

import json

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
    samples = Digits().test[:limit]
    assert np.bincount([sample.truth for sample in samples]).tolist() == [limit // 10] * 10
    again = Digits().test[:limit]
    assert [each.load() for each in samples] == [each.load() for each in again]
    assert [each.name for each in samples] == [each.name for each in again]


def test_images_are_as_the_contract_wants_them():
    first = Digits().test[0]
    image = first.load()
    assert (image.mode, image.size, first.truth) == ("L", (8, 8), 0)
    assert len(Digits().test) == 700
    assert len(Digits().calibration) == 200
    assert not {each.name for each in Digits().test} & {each.name for each in Digits().calibration}


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

    image = Digits().test[0].load()
    batch = torch.from_numpy(np.stack([to_input(image, preprocess(name))] * 3))
    assert batch.shape == (3, 1, SIDES[name], SIDES[name])
    assert NETWORKS[name]().eval()(batch).shape == (3, 10)


@pytest.mark.slow
def test_training_again_lands_within_a_point(capsys):
    torch = pytest.importorskip("torch")
    from exporters.digits.train import main

    smallest = min(SHIPPED, key=lambda name: SHIPPED[name]["params"])
    threads = torch.get_num_threads()
    try:
        assert main([smallest, "--check"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert "ok" in capsys.readouterr().out
