"""What a gate leaves behind: JSON, Markdown for the summary of a CI job, JUnit XML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from bench.modelref import is_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.gate.night import Outcome

#: Outcomes that JUnit calls a failure, and those it calls an error.
_FAILURES = {"REGRESSED", "ACCURACY"}
_ERRORS = {"FAILED", "UNCONFIRMED"}
_SKIPPED = {"UNAVAILABLE", "SKIPPED"}
#: XML 1.0 cannot hold these, whatever way they are written.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_public(outcome: Outcome) -> dict[str, Any]:
    """One outcome as scripts see it; accuracies in percent."""
    latency = outcome.result["latency"] if outcome.result else None
    return {
        "model": outcome.job.model,
        "target": outcome.job.target.name,
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


def name(outcome: Outcome) -> str:
    """A file by its own name, any other model as it is."""
    model = outcome.job.model
    return Path(model).name if is_file(model) else model


def change(outcome: Outcome) -> str:
    """The ratio as a change in percent; in brackets where only the screen has seen it."""
    if outcome.ratio is None:
        return ""
    text = f"{100 * (outcome.ratio - 1):+.1f} %"
    return text if outcome.comparison else f"({text})"


def markdown(outcomes: Sequence[Outcome], baseline: str | None) -> str:
    """A headline, a table of all jobs, and the notes."""
    against = f"Against baseline `{baseline}`." if baseline else "There is no baseline yet."
    lines = [f"## Benchmark gate: {headline(outcomes)}", "", against, ""]
    lines += ["| | model | target | p50 ms | change | accuracy | |", "|" + "---|" * 7]
    bad = _FAILURES | _ERRORS
    for outcome in outcomes:
        latency = outcome.result["latency"] if outcome.result else None
        accuracy = outcome.result["accuracy"] if outcome.result else None
        cells = [
            "❌" if outcome.status in bad else "⚠️" if outcome.status in _SKIPPED else "✅",
            name(outcome),
            outcome.job.target.name,
            f"{latency['p50_ms']:.3g}" if latency else "",
            change(outcome),
            f"{accuracy['value']:.2f}" if accuracy else "",
            outcome.status,
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    notes = [
        f"- `{name(outcome)} @ {outcome.job.target.name}`: {note}"
        for outcome in outcomes
        for note in outcome.notes
    ]
    bracket = "A change in brackets is canary-normalised, of two single measurements; the others "
    bracket += "were confirmed by comparing in turns."
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
    for outcome in outcomes:
        case = ElementTree.SubElement(
            suite, "testcase", classname=outcome.job.target.name, name=_text(name(outcome))
        )
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


def _text(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)
