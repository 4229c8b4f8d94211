"""What is said of one job of a night, and of the night.

The screen is the canary-normalised latency of tonight over that of the baseline. It is cheap and on
a busy machine often wrong; so it never alarms by itself. What looks slower is compared, in turns,
with the baseline's own cached artifact, and only what that confirms is an alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import exp, log
from typing import TYPE_CHECKING, Any, Literal

from bench import comparison, sides, stats
from bench.errors import BenchError
from bench.gate import series
from bench.public import result_id
from bench.timing import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from bench.comparison import Comparison
    from bench.gate.matrix import Matrix
    from bench.records import Job, Result

Status = Literal[
    "OK", "FASTER?", "REGRESSED", "UNCONFIRMED", "ACCURACY", "NEW", "NEW-SERIES", "FAILED",
    "UNAVAILABLE", "SKIPPED",
]  # fmt: skip

#: Exit statuses that say what was found, and outlast whatever else ended the night.
ALARMS = (4, 5)
#: Of the regressions that a gate confirms, at most this share may be false.
FALSE_DISCOVERIES = 0.01
#: A comparison looks at its p after every pair, so p has to be that much smaller than if it looked
#: once: ten looks, all independent, would be this many (they are not, and there may be more).
LOOKS = 10
#: What a person can do when a job of a night takes longer than it may.
IF_LATE = "raise `timeout` in the matrix"


@dataclass
class Outcome:
    """What became of one job. `ratio` is tonight's latency over the baseline's: that of the
    comparison where one was made, that of the screen otherwise."""

    job: Job
    status: Status = "SKIPPED"
    result: dict[str, Any] | None = None
    baseline: str | None = None
    ratio: float | None = None
    comparison: dict[str, Any] | None = None
    accuracy: tuple[float, float] | None = None
    accuracy_fell: bool = False
    notes: list[str] = field(default_factory=list)
    p: float = 1.0
    #: What speaks against saying that all is well.
    doubts: list[str] = field(default_factory=list)
    #: The changes in its history that `notes` tell, as the store remembers them.
    told: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Terms:
    """What all jobs of a night are judged by: the matrix, and how many there are; and where the
    artifacts lie."""

    matrix: Matrix
    jobs: int
    cache: Path
    on_pair: Callable[[Comparison], None]


def judge(outcome: Outcome, result: Result, known: Sequence[Result], terms: Terms) -> None:
    """Set the outcome of one measured job, of which `known` are the baseline's results."""
    before = counterpart(result, known)
    _judge_latency(outcome, result, before, terms)
    _judge_validity(outcome, before, result)


def counterpart(result: Result, known: Sequence[Result]) -> Result | None:
    """Of the baseline's results of a job, that of this machine and runtime; else the newest."""
    alike = [each for each in known if not series.changed(each, result)]
    return max(alike or known, key=lambda each: each.started_at, default=None)


def _judge_latency(outcome: Outcome, result: Result, before: Result | None, terms: Terms) -> None:
    if before is None:
        outcome.status = "NEW"
        outcome.notes.append("it is not in the baseline")
        return
    outcome.baseline = result_id(before)
    if series.same_network(before, result):  # on whatever machine and runtime
        _judge_accuracy(outcome, before, result, terms.matrix)
        weights = [each.model.weights for each in (before, result) if each.model]
        if "random" in weights and set(weights) != {"random"}:  # the hub did not answer, say
            outcome.doubts.append(f"the weights are {weights[-1]}, and were {weights[0]}")
    if differences := series.changed(before, result):
        outcome.notes.append(f"a new series, not compared: {'; '.join(differences)}")
        outcome.status = "NEW-SERIES"
        return
    canary = series.common_canary([before, result])
    shift = series.log_latency(result, canary) - series.log_latency(before, canary)
    outcome.ratio = exp(shift)
    edge = log(1 + terms.matrix.margin) / 2
    same = _same_artifact(before, result)
    # Without a common canary the screen sees nothing but the machine.
    unsure = series.uncertainty(before, result) if canary else float("inf")
    if shift + unsure > edge and not same:
        _confirm(outcome, before, result, terms)
        return
    if shift > edge:
        outcome.notes.append(
            f"it looked {100 * (outcome.ratio - 1):+.1f} % slower, and it is the very artifact of "
            "the baseline on the same runtime: the machine was slower, not the network"
        )
    outcome.status = "FASTER?" if shift < -edge and not same else "OK"


def _same_artifact(before: Result, after: Result) -> bool:
    return before.artifacts[-1].sha256 == after.artifacts[-1].sha256


def _judge_validity(outcome: Outcome, before: Result | None, after: Result) -> None:
    """A number that is INVALID is none. A comparison is a measurement of its own, though, and the
    artifact of the baseline is as fast as it was."""
    assert outcome.result is not None
    if outcome.result["verdict"] != "INVALID" or outcome.comparison:
        return
    said = f"tonight's measurement is INVALID: {'; '.join(outcome.result['reasons'])}"
    same = before and not series.changed(before, after) and _same_artifact(before, after)
    (outcome.notes if same else outcome.doubts).append(said)


def _judge_accuracy(outcome: Outcome, before: Result, after: Result, matrix: Matrix) -> None:
    """On the very same images there is no luck of the draw: what counts is the fall itself. They
    are the same by their names and labels (`subset`), in whatever checkout they lie."""
    old, new = before.accuracy, after.accuracy
    if old is None:
        return
    if new is None:
        outcome.doubts.append(f"accuracy was {old.value:.2f} %, and was not measured tonight")
        return
    if (old.subset, old.n, old.metric) != (new.subset, new.n, new.metric):
        outcome.doubts.append(
            "accuracy was measured on other images or labels than in the baseline, and is not "
            "compared: set the baseline anew"
        )
        return
    outcome.accuracy = old.value, new.value
    if old.value - new.value > matrix.accuracy_drop:
        outcome.accuracy_fell = True
        outcome.notes.append(
            f"{new.metric} fell from {old.value:.2f} to {new.value:.2f} %, more than "
            f"{matrix.accuracy_drop:g} points"
        )


def _confirm(outcome: Outcome, before: Result, after: Result, terms: Terms) -> None:
    """Compare the baseline's artifact with tonight's: only that can make it a regression."""
    looked = f"at first sight {100 * ((outcome.ratio or 1) - 1):+.1f} %"
    timeout = terms.matrix.timeout
    procedure = replace(comparison.PROCEDURE, timeout_seconds=timeout)
    rules = comparison.Rules(
        terms.matrix.margin,
        terms.matrix.confirm_seconds,
        max_p=FALSE_DISCOVERIES / (LOOKS * terms.jobs),
        if_unsure="raise confirm_seconds in the matrix",
        if_late=f"{IF_LATE}, unless it hangs",
    )
    try:
        a, b = (
            sides.prepare(
                sides.recorded(result, procedure),
                terms.cache,
                Deadline.after(timeout, IF_LATE),
                anyway=True,
            )
            for result in (before, after)
        )
        found = comparison.compare(a, b, rules, terms.on_pair)
    except BenchError as error:
        outcome.status = "UNCONFIRMED"
        outcome.notes.append(f"{looked}, and could not be confirmed: {error}")
        return
    outcome.comparison = comparison.to_public(found)
    outcome.ratio = outcome.comparison["ratio"]
    reasons = comparison.reasons(found)
    if found.failure or found.verdict == "UNSURE":
        outcome.status = "UNCONFIRMED"
        outcome.notes.append(f"{looked}, and could not be confirmed: {'; '.join(reasons)}")
        return
    if found.verdict == "SLOWER":
        outcome.status, outcome.p = "REGRESSED", found.p
    else:
        outcome.status = "OK"
        outcome.notes.append(f"{looked}; the comparison says {found.verdict}")
        if found.contradicted and found.verdict_of_medians == "SLOWER":
            outcome.doubts.append(reasons.pop(0))
    outcome.notes += [f"of the comparison: {reason}" for reason in reasons]


def correct(outcomes: Sequence[Outcome]) -> None:
    """Take back what is not certain enough among so many jobs."""
    if not outcomes:
        return
    rate = FALSE_DISCOVERIES / LOOKS
    believed = stats.benjamini_hochberg([outcome.p for outcome in outcomes], rate)
    for outcome, certain in zip(outcomes, believed, strict=True):
        if outcome.status == "REGRESSED" and not certain:
            outcome.status = "UNCONFIRMED"
            outcome.notes.append(
                f"slower in the comparison (p {outcome.p:.2g}), but not certain enough among "
                f"{len(outcomes)} jobs: raise confirm_seconds"
            )
        outcome.notes += outcome.doubts
        if outcome.doubts and outcome.status in ("OK", "FASTER?", "NEW", "NEW-SERIES"):
            outcome.status = "UNCONFIRMED"
        # A regression says more than a fall of accuracy, anything else less.
        if outcome.accuracy_fell and outcome.status != "REGRESSED":
            outcome.status = "ACCURACY"


def exit_status(outcomes: Iterable[Outcome]) -> int:
    """4 a confirmed regression, 5 accuracy, 1 a job failed, 3 a target is not available, 6 what
    looks slower could not be confirmed, or nothing was measured at all; 0 silence. Of several, the
    one that needs a person most."""
    found: set[Status] = {outcome.status for outcome in outcomes}
    if any(outcome.accuracy_fell for outcome in outcomes):
        found.add("ACCURACY")
    if found <= {"SKIPPED"}:
        return 6
    by_need: list[tuple[Status, int]] = [
        ("REGRESSED", 4),
        ("ACCURACY", 5),
        ("FAILED", 1),
        ("UNAVAILABLE", 3),
        ("UNCONFIRMED", 6),
    ]
    return next((status for name, status in by_need if name in found), 0)
