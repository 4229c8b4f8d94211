"""From a job's recipe to the calibration that a runner builds int8 with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import __version__, onnx_graph, recipes
from bench.calibration import Calibration
from bench.contracts import ACCURACY_AWARE, Quantizer
from bench.errors import UsageError, unknown
from bench.messages import Quantized

if TYPE_CHECKING:
    from bench.cache import Cache
    from bench.contracts import Dataset, Runner
    from bench.records import Artifact, Job, Model, Option
    from bench.teller import Teller

#: Points that a method which measures accuracy may lose where nobody says how many.
MAX_DROP = 1.0


def choose(
    job: Job,
    model: Model,
    dataset: Dataset | None,
    exported: Artifact,
    runner: Runner,
    build_key: Any,
    cache: Cache,
    tell: Teller,
) -> Calibration:
    """How the job's recipe makes int8 of this model. Says so before anything can go wrong with it,
    so that something else can be tried. A file that is quantized already is calibrated on nothing.
    Raises UsageError for what the runner cannot do."""
    asked, ways, target = job.recipe, recipes.methods(runner), job.target
    method = asked.method or ways[0]
    drop = MAX_DROP if job.max_drop is None else job.max_drop
    how = Calibration.of(model, dataset, asked.images, method, drop)
    if target.precision != "int8":
        return how
    if method not in ways:
        see = f"one of: {', '.join(ways)}"
        raise unknown("calibration method", method, ways, see)
    if _is_quantized(exported, cache):
        if asked.method or asked.keep or job.max_drop is not None:
            raise UsageError(
                f"{model.name} is quantized already and runs as it is, whatever --calibration and "
                "--max-drop say: leave them out, or give the file that it was made from"
            )
        return replace(how, n=0)
    there = Calibration.of(model, dataset, None, method).n
    made = Quantized(how.n, there, (), ways, isinstance(runner, Quantizer))
    tell.found(quantized=made)
    if asked.keep:
        if not isinstance(runner, Quantizer):
            raise UsageError(f"the {target.runner} runner cannot keep layers from int8")
        ranked, _ = cache.get_or_make(
            "ranking",
            [exported.sha256, key(how), build_key],
            list[str],
            lambda _: list(runner.rank(exported, target, how)),
        )
        # With more than half of them kept it would be another precision under the same name.
        how = replace(how, keep=tuple(ranked[: min(asked.keep, len(ranked) // 2)]))
        tell.found(quantized=Quantized(how.n, there, how.keep, ways, keeps=True))
    return how


def _is_quantized(exported: Artifact, cache: Cache) -> bool:
    found, _ = cache.get_or_make(
        "quantized",
        [exported.sha256, __version__],
        list[str],
        lambda _: sorted(onnx_graph.quantized(onnx_graph.read(Path(exported.path)))),
    )
    return bool(found)


def key(how: Calibration) -> Any:
    """What decides an int8 build, beside the network and its target."""
    scored = [how.max_drop, *how.scored_by] if how.method == ACCURACY_AWARE else None
    return [how.fingerprint, how.method, how.keep, scored]


def described(built: Artifact, how: Calibration, to: Path) -> Artifact:
    """The artifact with what it was calibrated on; the list of images lies beside it, and what is
    recorded is that file's hash."""
    if not how.n:
        return built  # it was quantized before
    seen = how.fingerprint
    if how.names:
        lines = "".join(f"{name}\n" for name in how.names).encode(errors="surrogateescape")
        (to / "calibration.txt").write_bytes(lines)
        seen = hashlib.sha256(lines).hexdigest()
    made: dict[str, Option] = {
        "calibration": how.source,
        "calibration_n": how.n - len(how.unreadable),
        "calibration_sha256": seen,
        "calibration_method": how.method,
        "kept": built.details.get("kept", "\n".join(how.keep)),
    }
    if how.unreadable:
        made["calibration_left_out"] = "\n".join(how.unreadable.values())
    return replace(built, details={**built.details, **made})


def handed_on(lowered: Artifact, built: Artifact) -> Artifact:
    """A compiled artifact with what the network that it was compiled from was calibrated on. Two
    calibrations may come to the same network, which is compiled once: this is no part of what is
    cached."""
    told = {
        name: said
        for name, said in lowered.details.items()
        if name == "kept" or name.startswith("calibration")
    }
    return replace(built, details={**built.details, **told})


def left_out(built: Artifact) -> list[str]:
    """Why calibration images were left out of it, each with its file."""
    return str(built.details.get("calibration_left_out", "")).splitlines()
