"""What the documents show works: the workflows are valid, the commands and options exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench import targets
from bench.gate import matrix

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("accuracy", "ci", "importing", "models")),
    *(ROOT / "docs" / "targets").glob("*.md"),
]


def fenced(kind: str) -> list[str]:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
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


def test_the_pages_of_the_targets_show_commands() -> None:
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
