"""What is known of every model without making it: an index, made once per installed version."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import catalog, plugins
from bench.cache import versions
from bench.contracts import Indexed, Outline
from bench.errors import BenchError, Unavailable
from bench.launch import ChildError, call
from bench.messages import Outlines
from bench.timing import Deadline

if TYPE_CHECKING:
    from bench.cache import Cache
    from bench.records import Task

#: Seconds a source may take to outline itself.
_PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which models are asked for. A bound on what is unknown of a model leaves it out."""

    patterns: tuple[str, ...] = ()
    like: str | None = None
    task: Task | None = None
    min_params: int | None = None
    max_params: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the index; `model` is its name as it is typed."""

    model: str
    outline: Outline

    @property
    def full(self) -> str:
        """With the tag of its weights, which the figures belong to."""
        tag = self.outline.weights
        return f"{self.model}.{tag}" if tag and "." not in self.outline.name else self.model


def outlines(source: str, cache: Cache) -> list[Outline]:
    """Every model of a source, by name."""
    key = [source, versions(("frontier-bench", *plugins.exporter(source).packages))]
    known = cache.get("index", key, list[Outline])
    if known is None:
        try:
            known = call(Outlines(source), list[Outline], Deadline.after(_PATIENCE))
        except ChildError as failed:
            kind = Unavailable if failed.kind == Unavailable.kind else BenchError
            raise kind(f"models of {source} cannot be listed: {failed}") from failed
        with suppress(OSError, BenchError):  # an index that cannot be kept is made again
            cache.put("index", key, known)
    return known


def of_source(source: str) -> list[Outline]:
    """What a source says itself, in the process that has its packages; names where it says no
    more."""
    exporter = plugins.exporter(source)
    told = exporter.outlines() if isinstance(exporter, Indexed) else map(Outline, exporter.names())
    return sorted(told, key=lambda each: each.name)


def find(wanted: Wanted, cache: Cache) -> tuple[list[Row], int, list[str]]:
    """The models that fit; how many were left out because something asked of them is unknown; and
    the reasons of the sources that could not be listed."""
    found, unknown, problems = [], 0, []
    for source in plugins.find("exporters"):
        try:
            every = outlines(source, cache)
        except Unavailable as refusal:
            problems.append(str(refusal))
            continue
        for outline in every:
            row = Row(f"{source}:{outline.name}", outline)
            if _is_named(row, wanted):
                fits = _fits(outline, wanted)
                unknown += fits is None
                if fits:
                    found.append(row)
    return found, unknown, problems


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
    # A tag in what is asked for asks for tagged names too.
    patterns = wanted.patterns or (f"*{like}*" if like and "." in like else "*",)
    return any(catalog.fits(row.model, each) for each in patterns) or any(
        catalog.fits(row.outline.name, each) for each in patterns
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
