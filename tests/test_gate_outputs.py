"""What a gate reads and leaves behind: names of any kind, jobs that are alike, bad matrices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from bench import present_answers, sides
from bench.errors import UsageError
from bench.gate import judge, matrix, outputs
from bench.records import Recipe
from bench.store import Store
from tests.builders import TARGET, job, ok, refused

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


def test_what_is_not_certain_among_so_many_is_taken_back() -> None:
    sure, unsure = (outcome("SLOWER", status="REGRESSED", p=p) for p in (1e-6, 5e-3))
    fine = outcome(status="OK")
    judge.correct([sure, unsure, fine])
    assert [each.status for each in (sure, unsure, fine)] == ["REGRESSED", "UNCONFIRMED", "OK"]
    assert sure.notes == fine.notes == []
    (note,) = unsure.notes
    assert "p 0.005" in note
    assert "not certain enough among 3 jobs: raise confirm_seconds" in note


#: docs/ci.md: of several, the exit status is the first of these.
BY_NEED: list[tuple[judge.Status, int]] = [
    ("REGRESSED", 4),
    ("ACCURACY", 5),
    ("FAILED", 1),
    ("UNAVAILABLE", 3),
    ("UNCONFIRMED", 6),
    ("OK", 0),
]


@pytest.mark.parametrize(("more", "less"), [*combinations(BY_NEED, 2)])
def test_of_several_outcomes_the_one_that_needs_a_person_most_is_the_exit_status(
    more: tuple[judge.Status, int], less: tuple[judge.Status, int]
) -> None:
    worse, better = outcome(status=more[0]), outcome(status=less[0])
    assert judge.exit_status([worse]) == more[1]
    assert judge.exit_status([better, worse, better]) == more[1]


def test_what_was_skipped_is_silent_beside_what_was_measured() -> None:
    skipped = outcome(status="SKIPPED")
    quiet: list[judge.Status] = ["OK", "FASTER?", "NEW", "NEW-SERIES"]
    for status in quiet:
        assert judge.exit_status([skipped, outcome(status=status)]) == 0
    assert judge.exit_status([skipped, skipped]) == 6
    assert judge.exit_status([]) == 6


@pytest.mark.parametrize(
    ("status", "tag"),
    [
        *(("REGRESSED", "failure"), ("ACCURACY", "failure")),
        *(("FAILED", "error"), ("UNCONFIRMED", "error")),
        *(("UNAVAILABLE", "skipped"), ("SKIPPED", "skipped")),
        *((status, "system-out") for status in ("OK", "FASTER?", "NEW", "NEW-SERIES")),
    ],
)
def test_what_junit_calls_each_outcome(status: judge.Status, tag: str) -> None:
    suite = ElementTree.fromstring(
        outputs.junit([outcome("SLOWER", status=status, notes=["why"])]).encode()
    )
    counts = {name: int(suite.attrib[name]) for name in ("failures", "errors", "skipped")}
    counted = {"failure": "failures", "error": "errors", "skipped": "skipped"}.get(tag)
    assert counts == {name: int(name == counted) for name in counts}
    (said,) = suite.findall("testcase/*")
    assert said.tag == tag
    text = said.text if tag == "system-out" else said.attrib["message"]
    assert (text or "").startswith(f"{status}; ")
    assert (text or "").endswith("; why")


# Screens and comparisons.


def judged(monkeypatch: pytest.MonkeyPatch, factor: float, found: Any = None) -> judge.Outcome:
    """Tonight it takes so many times as long as in the baseline, by another artifact; `found` is
    what the comparison then says."""
    before, after = ok(0), ok(1)
    assert before.measurement is not None
    centre = before.measurement.processes
    slower = tuple(
        replace(run, blocks_ns=tuple(tuple(int(factor * ns) for ns in b) for b in run.blocks_ns))
        for run in centre
    )
    built = replace(after.artifacts[-1], sha256="ab" * 32)
    tonight = replace(
        after,
        artifacts=(built,),
        measurement=replace(before.measurement, processes=slower, canary="cd" * 32),
    )
    before = replace(before, measurement=replace(before.measurement, canary="cd" * 32))
    monkeypatch.setattr(sides, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(judge.comparison, "compare", lambda *_: found)
    monkeypatch.setattr(judge.comparison, "to_public", lambda _: {"verdict": "X", "ratio": 1.0})
    made = judge.Outcome(job(), result={"verdict": "VALID", "reasons": []})
    rules = matrix.Matrix(models=("net",), targets=("null",), margin=0.1)
    unused: Any = None
    judge.judge(made, tonight, [before], judge.Terms(rules, 1, unused, unused))
    judge.correct([made])
    return made


def test_what_looks_faster_is_said_and_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    faster = judged(monkeypatch, 0.9)
    assert (faster.status, judge.exit_status([faster])) == ("FASTER?", 0)
    assert outputs.change(faster) == "(-10.0 %)"
    assert judged(monkeypatch, 0.995).status == "OK", "less than half the margin"


@pytest.mark.parametrize(
    ("fast", "medians", "status"),
    [("SAME", "SLOWER", "UNCONFIRMED"), ("SAME", "FASTER", "OK"), ("SAME", "SAME", "OK")],
)
def test_medians_that_say_slower_are_not_silent(
    monkeypatch: pytest.MonkeyPatch, fast: str, medians: str, status: str
) -> None:
    """The calls of one side scatter more: a user waits for those too."""
    found = SimpleNamespace(
        failure=None, verdict=fast, verdict_of_medians=medians, contradicted=medians != fast
    )
    said = ["by the medians it is another"] if found.contradicted else []
    monkeypatch.setattr(judge.comparison, "reasons", lambda _: said)
    assert judged(monkeypatch, 1.2, found).status == status


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
