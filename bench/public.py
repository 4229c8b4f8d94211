"""The result as scripts see it: the keys of `--json`, of the exports and of the reports.

Times are in the unit of their name, accuracies in percent, intervals [low, high].
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

from bench import layers, recipes, stats
from bench.modelref import ModelRef
from bench.records import Recipe
from bench.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.records import Accuracy, Artifact, Facts, Measurement, Result, Trial

_MB = 1e6


#: Fields that records got later. While they are null they are left out, so that older records keep
#: their ids. (The quotes of a text are escaped in JSON, so that none can hold these bytes.)
_LATER = (b',"variant":null', b',"squash":null', b',"quota_ns":null')


def encode(result: Result) -> bytes:
    """The whole record as canonical JSON: what is stored, exported and hashed."""
    encoded = msgspec.json.encode(result, order="deterministic")
    for each in _LATER:
        encoded = encoded.replace(each, b"")
    return encoded


def result_id(result: Result) -> str:
    """Twelve hex digits of the record's own hash: the same result has the same id everywhere."""
    return hashlib.sha256(encode(result)).hexdigest()[:12]


def to_public(result: Result) -> dict[str, Any]:
    """The public JSON object of one result."""
    job, model, measured = result.job, result.model, result.measurement
    asked = ModelRef.parse(job.model)
    built = result.artifacts[-1] if result.artifacts else None
    timed = _timed(measured, result) if measured else {"latency": None, "verdict": None}
    return {
        "id": result_id(result),
        "status": "failed" if result.failure else "ok",
        "model": model.name if model else asked.name,
        "source": model.source if model else asked.source,
        "weights": model.weights if model else None,
        "target": job.target.name,
        "hardware": result.environment.hardware,
        "runner": job.target.runner,
        "precision": job.target.precision,
        "batch": job.procedure.batch,
        "streams": job.procedure.streams,
        "options": job.target.options,
        "threads": result.environment.flags.get("threads"),
        "measured_by": measured_by(result),
        "throughput_ips": None,
        "energy_mj": None,
        "load_ms": None,
        "first_ms": None,
        "peak_rss_mb": None,
        "reasons": [],
        **timed,
        "reported": msgspec.to_builtins(result.reported),
        "build_s": built.build_s if built else None,
        "artifact_mb": built.bytes / _MB if built else None,
        **costs(result.facts),
        "input": list(model.inputs[0].shape[1:]) if model and model.inputs else None,
        "recipe": recipes.asked(job.recipe),
        "calibration": _calibration(built),
        "accuracy": _accuracy(result.accuracy),
        "max_drop": job.max_drop,
        "tried": [_trial(trial) for trial in result.tried],
        "published": msgspec.to_builtins(model.published) if model else None,
        "check": msgspec.to_builtins(result.check),
        "failure": msgspec.to_builtins(result.failure),
        "environment": msgspec.to_builtins(result.environment),
        "artifacts": msgspec.to_builtins(result.artifacts),
        "notes": [*(model.notes if model else ()), *result.notes],
        "started_at": result.started_at,
    }


def costs(facts: Facts | None) -> dict[str, Any]:
    """What a network costs an image. Zero is a count as well; None is unknown."""

    def scaled(count: int | None, unit: float) -> float | None:
        return None if count is None else count / unit

    return {
        "params_m": scaled(facts.params if facts else None, 1e6),
        "gmacs": scaled(facts.macs if facts else None, 1e9),
        "least_gmacs": scaled(facts.least_macs if facts else None, 1e9),
        "activations_m": scaled(facts.activations if facts else None, 1e6),
        "uncounted": facts.uncounted if facts else None,
    }


def build_to_public(result: Result) -> dict[str, Any]:
    """The public JSON object of one build (`bench compile`). `compiled` is what runs on the device,
    null where there is none; `layers` counts its compute layers by the type they run in, as far as
    the compiler tells."""
    row = to_public(result)
    built = result.artifacts[-1] if result.artifacts and not result.failure else None
    about = ("path", "format", "sha256", "made_by", "build_s", "details")
    compiled = {name: getattr(built, name) for name in about} if built else None
    same = (
        *("status", "model", "source", "weights", "target", "runner", "precision", "batch"),
        *("options", "build_s", "artifact_mb", "params_m", "gmacs", "check", "failure"),
        *("artifacts", "environment", "notes", "started_at"),
    )
    return {
        **{name: row[name] for name in same},
        "compiled": compiled,
        "layers": layers.counts(built.details.get("layers_as_typed") if built else None),
    }


def _timed(measured: Measurement, result: Result) -> dict[str, Any]:
    how = result.job.procedure
    runs = measured.processes
    blocks = [run.blocks_ns for run in runs]
    samples = stats.pooled(blocks)
    interval = stats.median_interval(blocks)
    verdict, reasons = judge(measured, interval, how, imported=result.provenance is not None)
    known = not result.provenance or len(runs) > 1  # the interval is one over processes
    if result.provenance:  # who watched nothing is never beyond doubt
        verdict = "NOISY" if verdict == "VALID" else verdict
        alone = len(runs) == 1
        reasons.append(
            f"measured by {measured_by(result)}{' in one process' if alone else ''}: "
            f"{'how processes differ' if alone else 'how it was warmed up'} and what else the "
            "machine did is not known"
        )
    memory = [run.peak_rss_bytes for run in runs if run.peak_rss_bytes is not None]
    p99 = stats.percentile(samples, 0.99)
    p90 = stats.percentile(samples, 0.90)
    return {
        "latency": {
            "window": measured.window,
            "p50_ms": stats.median(blocks) / 1e6,
            "ci95_ms": [bound / 1e6 for bound in interval] if known else None,
            "mean_ms": float(samples.mean()) / 1e6,
            "min_ms": float(samples.min()) / 1e6,
            "p90_ms": None if p90 is None else p90 / 1e6,
            "p99_ms": None if p99 is None else p99 / 1e6,
            "max_ms": float(samples.max()) / 1e6,
            "samples": len(samples),
            "processes": len(runs),
            "stopped_by": measured.stopped_by,
            "canary_ratio": canary_ratio(measured),
        },
        # Streams are busy all the time, so that so many batches are on their way at any moment
        # (Little 1961, "A proof for the queuing formula L = λW").
        "throughput_ips": how.streams * how.batch / (float(samples.mean()) / 1e9),
        "load_ms": _middle_ms([run.load_ns for run in runs]),
        "first_ms": _middle_ms([run.first_ns for run in runs]),
        "peak_rss_mb": max(memory) / _MB if memory else None,
        "energy_mj": energy_mj(measured, how.batch),
        "verdict": verdict,
        "reasons": reasons,
    }


def energy_mj(measured: Measurement, batch: int) -> float | None:
    """What one image takes of the GPU's board, idling included; None where nothing tells."""
    gpus = [run.load.gpu if run.load else None for run in measured.processes]
    known = [gpu for gpu in gpus if gpu and gpu.energy_mj and gpu.steps]
    if not known or len(known) < len(gpus):
        return None
    return sum(gpu.energy_mj or 0 for gpu in known) / (batch * sum(gpu.steps for gpu in known))


def measured_by(result: Result) -> str:
    """Who held the stopwatch: "bench", or another tool and its version."""
    who = result.provenance
    return " ".join(filter(None, (who.tool, who.version))) if who else "bench"


def differing_options(row: Mapping[str, Any], alike: Iterable[Mapping[str, Any]]) -> list[str]:
    """The options of the runtime, as `bench run -o` takes them, in which a public row differs from
    one of those `alike`."""
    mine, others = row["options"], [other["options"] for other in alike]
    return [
        f"{key}={value}"
        for key, value in sorted(mine.items())
        if any(options.get(key) != value for options in others)
    ]


def _middle_ms(each_ns: Sequence[int | None]) -> float | None:
    known = [ns for ns in each_ns if ns is not None]
    return median(known) / 1e6 if known else None


def canary_ratio(measured: Measurement) -> float | None:
    """The latency in canaries: the median over processes of how many times longer the model took
    than the canary beside it; None where there was none."""
    runs = measured.processes
    if not all(run.canary_ns for run in runs):
        return None
    return median(stats.ratio(run.blocks_ns, run.canary_ns) for run in runs)


def _calibration(built: Artifact | None) -> dict[str, Any] | None:
    """How the artifact became int8, None where it is not; `recipe` is what `--calibration` takes to
    make it again."""
    if built is None or "calibration_method" not in built.details:
        return None
    said = built.details
    kept = recipes.kept(built)
    recipe = Recipe(str(said["calibration_method"]), int(said["calibration_n"]), len(kept))
    made = {"recipe": recipes.written(recipe), "method": recipe.method, "images": recipe.images}
    seen = {"source": said.get("calibration"), "sha256": said.get("calibration_sha256")}
    return {**made, "kept": list(kept), **seen}


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "recipe": recipes.written(replace(trial.recipe, keep=len(trial.kept))),
        "method": trial.recipe.method,
        "images": trial.recipe.images,
        "kept": list(trial.kept),
        "accuracy": _accuracy(trial.accuracy),
        "failure": msgspec.to_builtins(trial.failure),
    }


def _accuracy(found: Accuracy | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "task": found.task,
        "metric": found.metric,
        "value": found.value,
        "ci95": list(found.ci95),
        "n": found.n,
        "dataset": found.dataset,
        "fingerprint": found.fingerprint,
        "reference": found.reference,
        "change": None if found.reference is None else found.value - found.reference,
        "change_ci95": list(found.change_ci95) if found.change_ci95 else None,
        "agreement": found.agreement,
        "metrics": found.metrics,
        "reference_metrics": found.reference_metrics,
        "subset": found.subset,
        "skipped": found.skipped,
    }
