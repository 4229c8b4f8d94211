"""What a gate leaves behind: JSON, Markdown for the summary of a CI job, JUnit XML."""

from __future__ import annotations

import re
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from bench import recipes
from bench.modelref import is_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.gate.judge import Outcome
    from bench.records import Job

#: Outcomes that JUnit calls a failure, and those it calls an error.
_FAILURES = {"REGRESSED", "ACCURACY"}
_ERRORS = {"FAILED", "UNCONFIRMED"}
_SKIPPED = {"UNAVAILABLE", "SKIPPED"}
#: XML 1.0 cannot hold these, whatever way they are written; nor can UTF-8 the surrogates.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: What Markdown reads as more than itself within a line. An underscore between letters is one.
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")


def to_public(outcome: Outcome) -> dict[str, Any]:
    """One outcome as scripts see it; accuracies in percent."""
    latency = outcome.result["latency"] if outcome.result else None
    return {
        "model": outcome.job.model,
        "target": outcome.job.target.name,
        "recipe": recipes.asked(outcome.job.recipe),
        "status": outcome.status,
        "ratio": outcome.ratio,
        "p50_ms": latency["p50_ms"] if latency else None,
        "canary_ratio": latency["canary_ratio"] if latency else None,
        "verdict": outcome.result["verdict"] if outcome.result else None,
        "accuracy": dict(zip(("baseline", "now"), outcome.accuracy, strict=True))
        if outcome.accuracy
        else None,
        "result": outcome.result["id"] if outcome.result else None,
        "baseline": outcome.baseline,
        "comparison": outcome.comparison,
        "notes": outcome.notes,
    }


def names(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """The model and the target of each; where several jobs share both, the target with what sets
    them apart: "cpu-ort-int8, minmax:64"."""
    alike = defaultdict(list)
    for outcome in outcomes:
        alike[_model(outcome.job), outcome.job.target.name].append(_ways(outcome.job))
    named = []
    for outcome in outcomes:
        model, target = _model(outcome.job), outcome.job.target.name
        mine, all_ways = _ways(outcome.job), zip(*alike[model, target], strict=True)
        differing = [way for way, of_all in zip(mine, all_ways, strict=True) if len({*of_all}) > 1]
        named.append((model, ", ".join([target, *differing])))
    return named


def _model(job: Job) -> str:
    """A file by its own name, any other model as it is."""
    return Path(job.model).name if is_file(job.model) else job.model


def _ways(job: Job) -> tuple[str, ...]:
    """How a model is measured on a target, in words."""
    how = job.procedure
    return (
        recipes.asked(job.recipe) or "calibration default",
        f"batch {how.batch}",
        f"streams {how.streams}",
        f"window {how.window}",
        f"threads {how.threads or 'default'}",
    )


def change(outcome: Outcome) -> str:
    """The ratio as a change in percent; in brackets where no comparison has confirmed it."""
    if outcome.ratio is None:
        return ""
    text = f"{100 * (outcome.ratio - 1):+.1f} %"
    verdict = outcome.comparison["verdict"] if outcome.comparison else "UNSURE"
    # SLOWER may have been not certain enough among so many jobs.
    confirmed = verdict in ("SAME", "FASTER") or outcome.status == "REGRESSED"
    return text if confirmed else f"({text})"


def markdown(outcomes: Sequence[Outcome], baseline: str | None) -> str:
    """A headline, a table of all jobs, and the notes."""
    against = f"Against baseline {_inline(baseline)}." if baseline else "There is no baseline yet."
    named = names(outcomes)
    lines = [f"## Benchmark gate: {headline(outcomes)}", "", against, ""]
    lines += ["| | model | target | p50 ms | change | accuracy | |", "|" + "---|" * 7]
    bad = _FAILURES | _ERRORS
    for outcome, (model, target) in zip(outcomes, named, strict=True):
        latency = outcome.result["latency"] if outcome.result else None
        accuracy = outcome.result["accuracy"] if outcome.result else None
        cells = [
            "❌" if outcome.status in bad else "⚠️" if outcome.status in _SKIPPED else "✅",
            model,
            target,
            f"{latency['p50_ms']:.3g}" if latency else "",
            change(outcome),
            f"{accuracy['value']:.2f}" if accuracy else "",
            outcome.status,
        ]
        lines.append("| " + " | ".join(map(_inline, cells)) + " |")
    notes = [
        f"- **{_inline(f'{model} @ {target}')}**: {_inline(note)}"
        for outcome, (model, target) in zip(outcomes, named, strict=True)
        for note in outcome.notes
    ]
    bracket = "A change in brackets is not confirmed: it is canary-normalised, of two single "
    bracket += "measurements, or of a comparison that was not certain enough; the others were "
    bracket += "confirmed by comparing in turns."
    return "\n".join([*lines, "", *notes, *([""] if notes else []), bracket, ""])


def headline(outcomes: Sequence[Outcome]) -> str:
    """How many of each, the worst first."""
    order = ("REGRESSED", "ACCURACY", "FAILED", "UNCONFIRMED", "UNAVAILABLE", "SKIPPED")
    counts: dict[str, int] = dict.fromkeys(order, 0)
    for outcome in outcomes:
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    said = [f"{n} {status}" for status, n in counts.items() if n]
    return ", ".join(said) or "nothing to measure"


def junit(outcomes: Sequence[Outcome]) -> str:
    """One test case a job."""
    suite = ElementTree.Element(
        "testsuite",
        name="bench gate",
        tests=str(len(outcomes)),
        failures=str(sum(outcome.status in _FAILURES for outcome in outcomes)),
        errors=str(sum(outcome.status in _ERRORS for outcome in outcomes)),
        skipped=str(sum(outcome.status in _SKIPPED for outcome in outcomes)),
    )
    for outcome, (model, target) in zip(outcomes, names(outcomes), strict=True):
        case = ElementTree.SubElement(suite, "testcase", classname=_text(target), name=_text(model))
        kind = {**dict.fromkeys(_FAILURES, "failure"), **dict.fromkeys(_ERRORS, "error")}
        kind |= dict.fromkeys(_SKIPPED, "skipped")
        parts = [outcome.status, change(outcome), *outcome.notes]
        said = _text("; ".join(part for part in parts if part))
        if tag := kind.get(outcome.status):
            ElementTree.SubElement(case, tag, message=said)
        else:
            ElementTree.SubElement(case, "system-out").text = said
    ElementTree.indent(suite)
    xml = ElementTree.tostring(suite, "unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}\n'


def _inline(text: str) -> str:
    """Text as itself in a line or a cell of Markdown: no markup, no HTML, one line."""
    one_line = " ".join(_text(text).split())
    return escape(_MARKUP.sub(r"\\\g<0>", one_line), quote=False)


def _text(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)
