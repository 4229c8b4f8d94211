"""`bench list models` with something asked of the models: bounds, what is unknown, and speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench import index
from bench.commands.common import quantity
from bench.contracts import Outline
from bench.errors import UsageError
from bench.index import Row
from tests.builders import refused

if TYPE_CHECKING:
    pass

KNOWN = [
    Outline("resnet18", "classification", 11_700_000, (3, 224, 224), "a1", "top1", 71.5, "timm"),
    Outline("resnet18.tv", "classification", 11_700_000, (3, 224, 224), "tv", "top1", 69.8, "timm"),
    Outline("resnet50", "classification", 25_600_000, (3, 224, 224), "a1", "top1", 80.4, "timm"),
    Outline("ssd", "detection", 35_600_000, None, "COCO", "box mAP", 25.1, "torchvision"),
    Outline("riddle"),
]


@pytest.fixture(autouse=True)
def one_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.plugins.find", lambda _: {"zoo": None})
    monkeypatch.setattr("bench.index.outlines", lambda _source, _cache: KNOWN)


@pytest.mark.parametrize(
    ("asked", "found", "unknown"),
    [
        ([], ["resnet18", "resnet50", "riddle", "ssd"], 0),
        (["--like", "RESNET"], ["resnet18", "resnet50"], 0),
        (["--like", "resnet18."], ["resnet18.tv"], 0),
        (["zoo:resnet18*"], ["resnet18"], 0),
        (["*.tv", "ssd"], ["resnet18.tv", "ssd"], 0),
        (["--task", "detection"], ["ssd"], 1),
        (["--max-params", "12M"], ["resnet18"], 1),
        (["--min-params", "11.7M", "--max-params", "25600K"], ["resnet18", "resnet50"], 1),
        (["--like", "resnet", "--min-params", "0.02G"], ["resnet50"], 0),
        (["--sort", "published"], ["resnet50", "resnet18", "ssd", "riddle"], 0),
        (["--sort", "params"], ["resnet18", "resnet50", "ssd", "riddle"], 0),
    ],
)
def test_what_is_asked_of_models(
    bench: Any, asked: list[str], found: list[str], unknown: int
) -> None:
    listed = bench("list", "models", "--long", "--json", *asked)
    assert listed.status == 0
    names = [row["model"].removeprefix("zoo:") for row in listed.json]
    assert (names if "--sort" in asked else sorted(names)) == found
    assert ("not known" in listed.err) == (unknown > 0), "what was left out is said"


def test_the_table_names_the_weights_that_its_figures_belong_to(bench: Any) -> None:
    listed = bench("list", "models", "--task", "classification")
    assert "zoo:resnet50.a1 " in listed.out
    assert "80.4" in listed.out
    assert max(map(len, listed.out.splitlines())) <= 80


def test_what_the_figures_are_is_said(bench: Any) -> None:
    said = bench("list", "models", "--long").err.splitlines()[-1]
    assert said == "4 models; published figures are in percent"
    said = bench("list", "models", "--like", "resnet").err.splitlines()[-1]
    assert said == "2 models, all for classification; top-1 is as published, in percent"
    assert bench("list", "models", "--like", "riddle").err == "1 model\n"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--task", "detecting"], ["unknown task", "detection"]),
        (["--max-params", "many"], ["--max-params 'many'", "30M"]),
        (["--max-params", "-1"], ["--max-params", "30M"]),
        (["--like", "nothing-like-it"], ["no model is called nothing-like-it"]),
        (["--min-params", "40M", "--max-params", "30M"], ["40M is more than", "30M"]),
        (["--like", "resnet", "--max-params", "3"], ["none of the 2 models", "ask for less"]),
    ],
)
def test_wrong_questions(bench: Any, asked: list[str], words: list[str]) -> None:
    listed = bench("list", "models", *asked)
    assert listed.status == 2
    for word in words:
        assert word in listed.err


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("30M", 30_000_000),
        ("1.5g", 1_500_000_000),
        ("500K", 500_000),
        ("7", 7),
        (" 2M ", 2_000_000),
    ],
)
def test_quantities(text: str, number: int) -> None:
    assert quantity(text, "--x") == number


@pytest.mark.parametrize("text", ["", "M", "1T", "nan", "inf", "-3M"])
def test_no_quantities(text: str) -> None:
    with refused(UsageError, "--x", repr(text)):
        quantity(text, "--x")


def test_a_row_says_what_is_unknown() -> None:
    assert index.to_public(Row("zoo:riddle", Outline("riddle"))) == {
        "model": "zoo:riddle",
        "task": None,
        "params_m": None,
        "input": None,
        "weights": None,
        "published": None,
    }
