"""What the documents show works: the workflows are valid, the commands and options exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import check, comparison, contracts, plugins, public, targets, throughput, verdict
from bench.cache import artifact
from bench.comparison import Comparison, Pair, Rules
from bench.gate import matrix, outputs
from bench.gate.judge import Outcome
from bench.messages import Timed
from bench.records import Target
from bench.sides import Asked, Side
from tests.builders import job, ok
from tests.test_plugins import assert_fits

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in (
            "accuracy",
            "ci",
            "commands",
            "extending",
            "importing",
            "json",
            "method",
            "models",
        )
    ),
    *(ROOT / "docs" / "targets").glob("*.md"),
]


def fenced(kind: str, page: str = "ci") -> list[str]:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize(("index", "schema"), [(0, "github-workflows"), (2, "gitlab-ci")])
def test_the_workflows_are_valid(index: int, schema: str, tmp_path: Path) -> None:
    path = tmp_path / "workflow.yml"
    path.write_text(fenced("yaml")[index])
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_matrix_is_one(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(fenced("toml")[0])
    assert matrix.read(path).margin == 0.02


def commands() -> list[list[str]]:
    """Every `bench ...` line of the documents, as words up to a comment."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^\s*(?:- |run: )*(bench .*)$", text, re.MULTILINE):
            found.append(shlex.split(line.partition(" #")[0])[1:])
    return found


def test_the_pages_show_commands() -> None:
    assert len({words[0] for words in commands()}) >= 8
    for page in (ROOT / "docs" / "targets").glob("*.md"):
        assert re.search(r"^    bench run -", page.read_text(encoding="utf-8"), re.MULTILINE), page


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_exists(bench: Any, words: list[str]) -> None:
    named = [words[0]]
    if words[0] in ("list", "cache", "baseline"):
        named.append(words[1])
    asked = bench(*named, "--help")
    assert asked.status == 0
    for word in words:
        if re.match("--?[a-z]", word):
            assert re.search(rf"(^|[ ,]){re.escape(word)}\b", asked.out, re.MULTILINE), word
    named_targets = [value for word, value in pairwise(words) if word in ("-t", "--target")]
    assert all(targets.select([each]) for each in named_targets)


def test_the_targets_that_are_shown_are_targets(own_targets: Callable[[str], Path]) -> None:
    own_targets("\n".join(fenced("toml", "extending")))
    fast, l4 = targets.select(["my-fast-cpu", "l4-int8"])
    assert fast.options == {"SCHEDULING_CORE_TYPE": "PCORE_ONLY"}
    assert targets.hardware_of(l4).gpu == "L4"


def test_the_runner_that_is_shown_computes(tiny_onnx: Path) -> None:
    scope: dict[str, Any] = {}
    exec("\n".join(fenced("python", "extending")), scope)
    shown = scope["ReferenceRunner"]()
    assert_fits(shown, contracts.Runner)
    target = Target("x", "cpu", "reference", "fp32")
    onnx = artifact(tiny_onnx, form="onnx", made_by="test", build_s=0.0)
    image = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype("f4")
    outputs = []
    for runner in (shown, plugins.runner("ort")):
        with runner.open(onnx, target, batch=2, threads=1) as [session]:
            assert_fits(session, contracts.Session)
            session.stage({session.inputs[0].name: image})
            session.step()
            outputs.append(session.fetch()[0])
    assert np.allclose(*outputs, atol=1e-5)


def keys_of(title: str) -> list[set[str]]:
    """The keys that each table in a section of json.md explains."""
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    tables = section.split("|---|---|\n")[1:]
    firsts = [re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for table in tables]
    return [set(re.findall(r"`(\w+)`", " ".join(cells))) for cells in firsts]


def test_every_key_of_the_json_is_explained() -> None:
    row = public.to_public(ok())
    result, latency, accuracy = keys_of("A result")
    assert result == row.keys()
    assert latency == row["latency"].keys()
    assert accuracy == row["accuracy"].keys()
    assert keys_of("A build") == [public.build_to_public(ok()).keys() - row.keys()]
    assert keys_of("A search") == [throughput.to_public([row], None).keys()]
    assert keys_of("A gate") == [outputs.to_public(Outcome(job())).keys()]
    found = ok()
    assert found.model is not None
    built = found.artifacts[-1]
    side = Side(Asked("a", job()), found.model, Timed(built, built), ())
    compared = comparison.to_public(Comparison(side, side, Rules(), [Pair(((1,),), ((1,),), ())]))
    assert keys_of("A comparison") == [compared.keys(), compared["a"].keys()]


def test_the_bounds_of_the_verdict_are_those_that_are_told() -> None:
    text = (ROOT / "docs" / "targets" / "cpu.md").read_text(encoding="utf-8")
    for words, share in (
        ("wider than ±{}", verdict.INVALID_HALF_WIDTH),
        ("differ by more than {} | NOISY", verdict.PROCESS_SPREAD),
        ("blocks differ by more than {}", verdict.BLOCK_SPREAD),
        ("than the first by more than {}", verdict.DRIFT),
        ("one call took more than {} of all the time, and ten times as long", verdict.STALL),
        ("more than {} of one CPU", verdict.OTHERS),
        ("more than {} of the time (steal)", verdict.STEAL),
        ("quota stopped it for more than {} of the time", verdict.QUOTA),
    ):
        assert words.format(f"{100 * share:g} %") in text
    assert f"more than {verdict.SWITCHES:g} times a second" in text
    assert verdict.STALL_TIMES == 10


def test_the_bounds_of_the_check_are_those_that_are_told() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for precision, cosine in check.LOWEST_COSINE.items():
        floor, boxes = check._FLOORS.get(precision, ""), check.LOWEST_MATCHED[precision]
        least = check._FLOORS_MATCHED.get(precision, "")
        told = f"| {precision} | {cosine} | {floor} | {boxes} | {least} |".replace("|  |", "| |")
        assert told in text, told
