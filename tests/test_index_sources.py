"""What the built-in sources say of their models without making them, against the models made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import plugins
from bench.cache import Cache
from bench.contracts import Outline
from bench.index import Wanted, find, of_source, outlines
from bench.launch import ChildError
from bench.records import Failure


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
    zoo = plugins.exporter("torchvision")
    for name in ("fcn_resnet50", "retinanet_resnet50_fpn", "ssd300_vgg16", "resnet50"):
        assert known[name].input == zoo.describe(name, "random").inputs[0].shape[1:], name


@pytest.mark.slow
def test_segnet_is_outlined_as_it_is() -> None:
    pytest.importorskip("torch")
    from exporters.segnet import SegNet

    [segnet] = [each for each in of_source("builtin") if each.name == "segnet"]
    described = plugins.exporter("builtin").describe("segnet", "random")
    assert segnet.params == sum(p.numel() for p in SegNet(len(described.labels)).parameters())
    assert (segnet.task, segnet.input) == (described.task, described.inputs[0].shape[1:])


@pytest.mark.slow
@pytest.mark.usefixtures("no_hub")
def test_the_known_models_of_the_hub_are_outlined_as_they_are() -> None:
    pytest.importorskip("transformers")
    known = {each.name: each for each in of_source("hf")}
    assert all(each.params and each.task and each.input for each in known.values())
    from exporters import hf_zoo

    net = hf_zoo.HfZoo().describe("microsoft/resnet-50", "random")
    made = hf_zoo._create(net)
    assert known["microsoft/resnet-50"].params == sum(p.numel() for p in made.parameters())


def test_a_source_that_is_not_installed_is_asked_once_and_said_where_it_is_asked_for(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent:
        packages = ("no-such-package",)

    asked: list[str] = []

    def call(request: Any, *_: object) -> Any:
        asked.append(request.source)
        if request.source == "absent":
            raise ChildError(Failure("describe", "unavailable", "pip install it"), "")
        return [Outline("net"), Outline("net_v2_1.0_224")]

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bench.catalog.call", call)
    monkeypatch.setattr("bench.plugins.exporter", lambda _: Absent)
    monkeypatch.setattr("bench.plugins.find", lambda _: ["absent", "zoo"])
    for words in (["--like", "net"], ["*net*", "--long"], ["zoo:*", "--long"]):
        listed = bench("list", "models", *words)
        assert "net_v2_1.0_224" in listed.out, "a dot is no tag where there are none"
        assert "pip install it" not in listed.err
    for words in (["--like", "other"], ["absent:*", "zoo:*", "--long"], ["--long"]):
        assert "pip install it" in bench("list", "models", *words).err
    assert asked == ["absent", "zoo"]
    asked.clear()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "another"))
    bench("list", "models", "zoo:*", "--long")
    assert asked == ["zoo"]


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

    monkeypatch.setattr("bench.catalog.call", no_more)
    assert outlines("builtin", cache) == first
    only = {"builtin": plugins.find("exporters")["builtin"]}
    monkeypatch.setattr("bench.plugins.find", lambda _: only)
    found = find(Wanted(like="digits-lenet"), cache)
    assert [row.full for row in found.rows] == ["builtin:digits-lenet.digits"]
