"""What is known of every model without making it: an index, made once per installed version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import catalog, plugins
from bench.contracts import Indexed, Outline
from bench.errors import BenchError, Unavailable
from bench.messages import Outlines

if TYPE_CHECKING:
    from bench.cache import Cache
    from bench.records import Task

#: Seconds a source may take to outline itself.
_PATIENCE = 600.0
#: Of weights that a source does not list.
UNASKED = "not known: the hub was not asked"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which models are asked for. A bound on what is unknown of a model leaves it out."""

    patterns: tuple[str, ...] = ()
    like: str | None = None
    task: Task | None = None
    min_params: int | None = None
    max_params: int | None = None

    @property
    def globs(self) -> tuple[str, ...]:
        """A tag in what is asked for asks for tagged names too."""
        tagged = self.like is not None and "." in self.like
        return self.patterns or (f"*{self.like}*" if tagged else "*",)


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the index; `model` is its name as it is typed."""

    model: str
    outline: Outline

    @property
    def full(self) -> str:
        """With the tag of its weights, which the figures belong to."""
        tag = self.outline.weights
        return f"{self.model}.{tag}" if tag and not self.tagged else self.model

    @property
    def tagged(self) -> bool:
        """Whether the name ends with the tag, for a dot may be part of a name."""
        tag = self.outline.weights
        return tag is not None and self.outline.name.endswith(f".{tag}")


@dataclass(frozen=True, slots=True)
class Findings:
    """The models that fit, of so many that are named so; how many of those were left out because
    something asked of them is unknown; and the reasons of the sources that could not be listed."""

    rows: list[Row]
    named: int
    unknown: int
    problems: list[str]


def outlines(source: str, cache: Cache) -> list[Outline]:
    """Every model of a source, by name."""
    return catalog.told("index", Outlines(source), list[Outline], _PATIENCE, cache)


def of_source(source: str) -> list[Outline]:
    """What a source says itself, in the process that has its packages; names where it says no
    more."""
    exporter = plugins.exporter(source)
    told = exporter.outlines() if isinstance(exporter, Indexed) else map(Outline, exporter.names())
    return sorted(told, key=lambda each: each.name)


def find(wanted: Wanted, cache: Cache) -> Findings:
    """The models that fit, of the sources that can have such."""
    found, named, unknown = [], 0, 0
    problems: dict[str, BenchError] = {}
    for source in plugins.find("exporters"):
        if not any(catalog.may_name(each, source) for each in wanted.globs):
            continue
        try:
            every = outlines(source, cache)
        except BenchError as refusal:  # of one source; the others can be asked
            problems[source] = refusal
            continue
        for outline in every:
            row = Row(f"{source}:{outline.name}", outline)
            if _is_named(row, wanted):
                fits = _fits(outline, wanted)
                named += 1
                unknown += fits is None
                if fits:
                    found.append(row)
    # Who did not ask for a source, and found something, need not hear that it is not installed.
    asked = [
        str(refusal)
        for source, refusal in problems.items()
        if not isinstance(refusal, Unavailable)
        or not found
        or wanted == Wanted()
        or any(catalog.asks_for(each, source) for each in wanted.patterns)
    ]
    return Findings(found, named, unknown, asked)


def outline(source: str, name: str, cache: Cache) -> Outline | None:
    """That of one model, None where its source does not list it."""
    return next((each for each in outlines(source, cache) if each.name == name), None)


def to_public(row: Row) -> dict[str, Any]:
    """A row as scripts see it."""
    known = row.outline
    return {
        "model": row.model,
        "task": known.task,
        "params_m": known.params / 1e6 if known.params else None,
        "input": list(known.input) if known.input else None,
        "weights": known.weights,
        "published": {"metric": known.metric, "value": known.published, "source": known.source}
        if known.metric
        else None,
    }


def _is_named(row: Row, wanted: Wanted) -> bool:
    like = wanted.like
    if like is not None and like.lower() not in row.outline.name.lower():
        return False
    return any(
        catalog.fits(name, each, tagged=row.tagged)
        for each in wanted.globs
        for name in (row.model, row.outline.name)
    )


def _fits(known: Outline, wanted: Wanted) -> bool | None:
    """Whether a model is within the bounds; None where that cannot be told."""
    if wanted.task is not None and known.task not in (None, wanted.task):
        return False
    bounds = wanted.min_params, wanted.max_params
    if known.params is not None:
        low, high = bounds
        if not (low or 0) <= known.params <= (high if high is not None else known.params):
            return False
    elif bounds != (None, None):
        return None
    return None if wanted.task is not None and known.task is None else True


def by_params(row: Row) -> tuple[bool, int, str]:
    """The smallest first, the unknown last."""
    return row.outline.params is None, row.outline.params or 0, row.model


def by_published(row: Row) -> tuple[bool, float, str]:
    """The most accurate first, the unknown last."""
    return row.outline.published is None, -(row.outline.published or 0.0), row.model
