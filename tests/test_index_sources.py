"""What the built-in sources say of their models without making them, against the models made."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import plugins
from bench.cache import Cache
from bench.index import Wanted, find, of_source, outlines


@pytest.mark.slow
def test_timm_is_outlined_as_it_is() -> None:
    timm = pytest.importorskip("timm")
    known = {each.name: each for each in of_source("timm")}
    assert known.keys() >= set(timm.list_models())
    made = timm.create_model("mobilenetv3_small_050")
    assert known["mobilenetv3_small_050"].params == sum(p.numel() for p in made.parameters())
    resnet = known["resnet50"]
    assert (resnet.weights, resnet.input, resnet.published) == ("a1_in1k", (3, 224, 224), 80.38)
    assert resnet.source is not None
    assert "at 224 x 224" in resnet.source
    assert known["resnet50.tv_in1k"].published == 76.16
    assert known["convnext_tiny.fb_in22k"].params is None, "another head than the default's"
    unknown = [each.name for each in known.values() if "." not in each.name and not each.params]
    assert len(unknown) < 10, unknown


@pytest.mark.slow
def test_torchvision_is_outlined_by_its_metadata() -> None:
    pytest.importorskip("torchvision")
    known = {each.name: each for each in of_source("torchvision")}
    resnet = known["resnet50"]
    assert (resnet.task, resnet.params) == ("classification", 25_557_032)
    assert (resnet.metric, resnet.published) == ("top1", 80.858)
    assert known["resnet50.IMAGENET1K_V1"].published == 76.13


def test_a_source_that_says_nothing_is_names(tmp_path: Path) -> None:
    assert of_source("onnx") == []


@pytest.mark.slow
def test_the_index_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    first = outlines("builtin", cache)
    assert {each.name for each in first} >= {"digits-lenet", "digits-lenet.digits"}
    assert first[0].params

    def no_more(*_: object) -> None:
        raise AssertionError("it was made already")

    monkeypatch.setattr("bench.index.call", no_more)
    assert outlines("builtin", cache) == first
    only = {"builtin": plugins.find("exporters")["builtin"]}
    monkeypatch.setattr("bench.plugins.find", lambda _: only)
    rows, _, _ = find(Wanted(like="digits-lenet"), cache)
    assert [row.full for row in rows] == ["builtin:digits-lenet.digits"]
