"""What a gate reads and leaves behind: names of any kind, jobs that are alike, bad matrices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from bench import present_answers
from bench.errors import UsageError
from bench.gate import judge, matrix, outputs
from bench.records import Recipe
from bench.store import Store
from tests.builders import TARGET, job, refused

if TYPE_CHECKING:
    from pathlib import Path


def outcome(verdict: str | None = None, **what: Any) -> judge.Outcome:
    comparison = {"verdict": verdict} if verdict else None
    return judge.Outcome(what.pop("job", job()), comparison=comparison, ratio=1.013, **what)


def made_by(*recipes: Recipe) -> list[judge.Outcome]:
    return [outcome(job=replace(job(), recipe=recipe), notes=["a note"]) for recipe in recipes]


# Jobs that are alike.


def test_recipes_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    alike = made_by(Recipe("minmax", 64), Recipe(None, 32), Recipe("entropy"), Recipe("a", 8, 2))
    ways = ["minmax:64", "32", "entropy", "a:8:2"]
    cases = ElementTree.fromstring(outputs.junit(alike).encode()).findall("testcase")
    assert len({tuple(case.attrib.items()) for case in cases}) == 4
    assert [outputs.to_public(each)["recipe"] for each in alike] == ways
    present_answers.gate(alike)
    seen = capsys.readouterr()
    for text in (outputs.markdown(alike, None), seen.out.replace("\n", " "), seen.err):
        assert all(f"cpu-ort-int8, {way}" in text for way in ways)


def test_whatever_differs_is_said_and_nothing_else() -> None:
    how = job().procedure
    many = [
        outcome(job=replace(job(), procedure=replace(how, batch=batch, streams=2, threads=threads)))
        for batch, threads in ((1, None), (8, None), (8, 4))
    ]
    assert [target for _, target in outputs.names(many)] == [
        "cpu-ort-int8, batch 1, threads default",
        "cpu-ort-int8, batch 8, threads default",
        "cpu-ort-int8, batch 8, threads 4",
    ]


def test_a_job_of_its_own_has_its_plain_name() -> None:
    other = replace(job("./a/net.onnx"), target=replace(TARGET, name="b"), recipe=Recipe("minmax"))
    alone = [outcome(), outcome(job=other)]
    assert outputs.names(alone) == [("timm:resnet50", "cpu-ort-int8"), ("net.onnx", "b")]


# What is confirmed.


@pytest.mark.parametrize(
    ("verdict", "status", "said"),
    [
        (None, "OK", "(+1.3 %)"),
        ("UNSURE", "UNCONFIRMED", "(+1.3 %)"),
        ("SLOWER", "UNCONFIRMED", "(+1.3 %)"),
        ("SLOWER", "ACCURACY", "(+1.3 %)"),
        ("UNSURE", "ACCURACY", "(+1.3 %)"),
        ("SLOWER", "REGRESSED", "+1.3 %"),
        ("SAME", "OK", "+1.3 %"),
    ],
)
def test_brackets_are_around_what_no_comparison_confirmed(
    verdict: str | None, status: judge.Status, said: str
) -> None:
    assert outputs.change(outcome(verdict, status=status)) == said


# Odd names.

ODD = "a\x01b\ud800 \\| `x` <b>&amp;<!-- [y](z) **c** _d_\n## OK\u2028e"


def test_odd_names_are_well_formed_xml() -> None:
    odd = outcome(job=job(f"py:{ODD}", replace(TARGET, name=ODD)), status="FAILED", notes=[ODD])
    (case,) = ElementTree.fromstring(outputs.junit([odd]).encode()).findall("testcase")
    assert case.attrib["classname"].startswith("a?b? \\| `x` <b>&amp;<!--")


def test_odd_names_stay_in_their_cells_and_lines() -> None:
    odd = outcome(job=job(f"py:{ODD}", replace(TARGET, name=ODD)), status="FAILED", notes=[ODD])
    plain = outcome(status="FAILED", notes=["note"])
    text, as_plain = (outputs.markdown([each], "main") for each in (odd, plain))
    assert len(text.splitlines()) == len(as_plain.splitlines())
    text.encode()
    # Escaped backslashes first, so that what is left before a pipe is its own.
    row = text.splitlines()[6].replace("\\\\", "").replace("\\|", "")
    assert row.count("|") == 8
    assert "<" not in text
    assert "a?b? \\\\\\| \\`x\\` &lt;b&gt;&amp;amp;&lt;!-- \\[y\\](z) \\*\\*c\\*\\* \\_d\\_" in text


def test_plain_names_stay_as_they_are() -> None:
    one = outcome(job=job("timm:vit_b_16.a1_in1k"), notes=["it takes +2.0 % (result ab12)"])
    text = outputs.markdown([one], "main")
    assert "timm:vit_b_16.a1_in1k | cpu-ort-int8" in text
    assert "it takes +2.0 % (result ab12)" in text


# Matrices that cannot be.

LONG = "x" * 5000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"models = {'[' * 20_000}{']' * 20_000}", ["nested too deeply"]),
        (f"limit = {'9' * 5000}", ["is not TOML"]),
        (f"models = ['{LONG}.onnx']", ["`models`", "too long"]),
        (f"models = ['{'é' * 200}']", ["`models`", "too long"]),
        (f"weights = '{LONG}'", ["`weights`", "too long"]),
        (f"data = '{'x/' * 600}'", ["`data`", "too long"]),
        (f"calibration = ['minmax', '{LONG}']", ["`calibration`", "too long"]),
        ("processes = 500000", ["processes", "at most 100"]),
        ("threads = 1000000000000000000000000", ["threads", "below"]),
    ],
)
def test_a_matrix_beyond_all_bounds_is_one_sentence(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = tmp_path / "matrix.toml"
    lines = {"models": "models = ['net.onnx']", "targets": "targets = ['null-fp32']"}
    lines[text.partition(" ")[0]] = text
    path.write_text("\n".join(lines.values()), encoding="utf-8")
    with refused(UsageError, str(path), *words):
        matrix.read(path)


# What was told.


def test_a_change_is_told_once_whoever_finds_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "results.db"))
    assert store.report_once("a series", "ab12")
    assert not store.report_once("a series", "ab12")
    assert store.report_once("a series", "cd34")
    assert store.reported("a series") == {"ab12", "cd34"}


def test_of_many_gates_at_the_same_time_one_tells(tmp_path: Path) -> None:
    stores = [Store(str(tmp_path / "results.db")) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda store: store.report_once("a series", "ab12"), stores))
    assert sum(told) == 1
