"""A model's card: what its source says, what it costs, what was measured of it here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bench import catalog, cells, index
from bench.errors import BenchError, UsageError
from bench.launch import call
from bench.messages import Describe, Described, Export, Exported
from bench.modelref import ModelRef
from bench.public import costs, to_public
from bench.timing import Deadline

if TYPE_CHECKING:
    from bench.cache import Cache
    from bench.contracts import Outline
    from bench.records import Facts, Model, Result
    from bench.store import Store

#: Results that differ in one of these (or in the window, or in how they became int8) stand beside
#: each other.
_KIND = (
    *("weights", "target", "hardware", "batch", "streams", "threads"),
    *("options", "measured_by"),
)
#: Seconds that describing may take, and exporting where it is asked.
_PATIENCE, _EXPORT_PATIENCE = 120.0, 1800.0


def draw(text: str, cache: Cache, store: Store, *, count: bool = False) -> dict[str, Any]:
    """All that is known of a model without measuring it. Its costs are those of an export that is
    there, or of a result; with `count` the model is exported for them, with random weights.

    Raises UsageError for a name that means none or several.
    """
    named = catalog.resolve([text], cache)
    if len(named) != 1:
        raise UsageError(f"{text} names {len(named)} models: `bench list models '{text}'`")
    ref = ModelRef.parse(named[0])
    outline = _outline(ref, cache)
    tag = outline.weights if outline else None
    described = call(Describe(str(ref), tag, str(cache.root)), Described, Deadline.after(_PATIENCE))
    model, facts = described.model, described.facts
    every = _names(ref, cache)
    architecture = _architecture(ref, every)
    start = f"{architecture}."
    tags = [each.removeprefix(start) for each in every if each.startswith(start)]
    results = _results(ref, architecture, model.weights, store)
    if facts is None:
        facts = next((each.facts for each in reversed(results) if each.facts), None)
    if facts is None and (count or ref.source == "onnx"):
        weights = "random" if model.weights == "random" else "pretrained"
        export = Export(str(ref), weights, str(cache.root), False)
        facts = call(export, Exported, Deadline.after(_EXPORT_PATIENCE)).facts
    rows = [to_public(each) for each in results]
    used = tag or (model.weights if model.weights != "random" else None)
    return {
        "model": named[0],
        "source": model.source,
        "name": model.name,
        "weights": used,
        "weights_note": None if used else _lack(ref, cache),
        "tags": tags,
        "task": model.task,
        "input": list(model.inputs[0].shape[1:]) if model.inputs else None,
        "preprocess": msgspec.to_builtins(model.preprocess),
        "labels": list(model.labels),
        **_costs(facts, outline),
        "published": _published(model, outline),
        "results": _newest(rows),
    }


def _outline(ref: ModelRef, cache: Cache) -> Outline | None:
    """What the index has of it; a source that cannot be indexed now is none the worse for it."""
    try:
        return index.outline(ref.source or "", ref.name, cache)
    except BenchError:
        return None


def _names(ref: ModelRef, cache: Cache) -> list[str]:
    return [] if ref.source == "onnx" else catalog.names(ref.source or "", cache)


def _architecture(ref: ModelRef, every: list[str]) -> str:
    """The name without the tag of its weights. Files, folders and code have no tags; what is behind
    a dot there is part of the name."""
    start = ref.name.partition(".")[0]
    return start if start in every else ref.name


def _results(ref: ModelRef, architecture: str, weights: str, store: Store) -> list[Result]:
    """Of these weights, where a tag was asked for; else of all weights of the architecture. Of a
    file or a folder, whose name may have meant something else once, those of its very content."""
    if ref.source == "onnx":
        asked, only = store.read(file=Path(ref.name).name), weights
    else:
        asked = store.of_architecture(str(replace(ref, name=architecture)))
        only = weights if ref.is_folder else ref.name[len(architecture) + 1 :]
    return [each for each in asked if not only or (each.model and each.model.weights == only)]


def _lack(ref: ModelRef, cache: Cache) -> str:
    """Why no weights are known."""
    if ref.is_folder:
        return "none in the folder"
    try:
        every = index.outlines(ref.source or "", cache)
    except BenchError:
        return index.UNASKED
    return "none published" if any(each.weights for each in every) else index.UNASKED


def _newest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest good result of each kind (an INVALID one where there is none), fast first."""
    measured = [row for row in rows if row["status"] == "ok" and row["latency"]]
    newest = {
        str([*(row[key] for key in _KIND), cells.made_by(row), row["latency"]["window"]]): row
        for row in sorted(measured, key=lambda row: row["verdict"] != "INVALID")
    }
    return sorted(newest.values(), key=lambda row: row["latency"]["p50_ms"] / row["batch"])


def _costs(facts: Facts | None, outline: Outline | None) -> dict[str, Any]:
    """Parameters are known to the index too; None is unknown."""
    return {
        **costs(facts),
        **({"params_m": outline.params / 1e6} if not facts and outline and outline.params else {}),
    }


def _published(model: Model, outline: Outline | None) -> dict[str, Any] | None:
    if model.published:
        return msgspec.to_builtins(model.published)  # type: ignore[no-any-return]
    if outline is None or outline.metric is None:
        return None
    return {
        "metric": outline.metric,
        "value": outline.published,
        "weights": outline.weights,
        "source": outline.source,
    }
