"""From a name to an artifact that is built, checked and ready to be timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bench import __version__, canary, datasets, inputs, onnx_graph, plugins
from bench.cache import Cache, versions
from bench.check import check, fixed_batch
from bench.errors import BenchError, StageError, Unavailable
from bench.machine import observe, usable_threads
from bench.messages import Prepare, Prepared, Timed
from bench.modelref import ModelRef
from bench.pool import read as read_pool
from bench.records import Artifact, Check, Facts, Model

if TYPE_CHECKING:
    from bench.contracts import Dataset, Exporter, Runner
    from bench.records import Target
    from bench.teller import Teller


def prepare(request: Prepare, tell: Teller) -> Prepared:
    """Describe, export, build and check the job's model, each step from the cache where it can."""
    job, cache = request.job, Cache(Path(request.cache), request.fresh)
    target = job.target

    tell.at("target")
    runner = usable_runner(target)

    tell.at("describe")
    ref = ModelRef.parse(job.model)
    exporter = plugins.exporter(ref.source or "")
    model = _describe(exporter, ref, job.weights, cache)
    tell.found(model=model)

    tell.at("export")
    exported = _export(exporter, model, cache)
    tell.found(artifact=exported)
    facts, _ = cache.get_or_make(
        "facts", [exported.sha256, __version__], Facts, lambda _: onnx_graph.facts(exported)
    )

    source = exported
    if getattr(runner, "reads", "onnx") == "torch":
        source = _program(exporter, model, target, cache)

    tell.at("inputs")
    dataset, accuracy_note = datasets.choose(job.data, exporter, model)
    pool = timing_inputs(model, dataset, cache)

    tell.at("build")
    calibration = inputs.Calibration.of(model, dataset, job.data.calibration)
    built, _ = cache.get_or_make(
        "build",
        {
            "onnx": source.sha256,
            "calibration": calibration.fingerprint if target.precision == "int8" else None,
            **_build_key(runner, target),
        },
        Artifact,
        lambda to: _build(runner, source, target, calibration, to),
    )
    if built.sha256 != exported.sha256:
        tell.found(artifact=built)

    tell.at("check")
    threads = job.procedure.threads or max(1, usable_threads() // job.procedure.streams)
    checked, _ = cache.get_or_make(
        "check",
        {
            "artifacts": [exported.sha256, built.sha256, pool.sha256],
            "target": _what_decides_a_build(target),
            "threads": threads,
            "versions": versions(("frontier-bench", "onnxruntime", *runner.packages)),
        },
        Check,
        lambda _: check(
            exported,
            built,
            model,
            runner,
            target,
            read_pool(pool, fixed_batch(model) or 1),
            threads,
            tell,
        ),
    )
    notes = []
    beside = None
    try:
        beside = canary_for(runner, target, cache)
    except BenchError as error:  # a runner's own limits must not cost the model its number
        notes.append(f"no canary was timed beside it: {error}")
    if target.precision == "int8" and not calibration.real:
        notes.append(
            f"int8 was calibrated on {calibration.source}: good for timing; for an artifact to "
            "deploy give --data"
        )
    return Prepared(
        model=model,
        exported=exported,
        timed=Timed(built, pool),
        canary=beside,
        facts=facts,
        check=checked,
        packages=("frontier-bench", "numpy", *runner.packages, *exporter.packages),
        accuracy_note=accuracy_note,
        notes=tuple(notes),
    )


def _build(
    runner: Runner, exported: Artifact, target: Target, calibration: inputs.Calibration, to: Path
) -> Artifact:
    """Build, and leave the list of what it was calibrated on beside the artifact."""
    built = runner.build(exported, target, calibration, to)
    if target.precision == "int8" and calibration.names:
        lines = "".join(f"{name}\n" for name in calibration.names)
        (to / "calibration.txt").write_text(lines, errors="surrogateescape")
    return built


def canary_for(runner: Runner, target: Target, cache: Cache) -> Timed:
    """The canary, built for a target."""
    return canary.ready(runner, target, _build_key(runner, target), cache)


def _build_key(runner: Runner, target: Target) -> dict[str, Any]:
    """What decides a build, beside the network and its calibration."""
    return {
        "target": _what_decides_a_build(target),
        "versions": versions(("frontier-bench", *runner.packages)),
        "cpu": observe().cpu,  # quantizers look at its instructions, and caches are shared
    }


def timing_inputs(model: Model, dataset: Dataset | None, cache: Cache) -> Artifact:
    """The pool of inputs that a model is timed on."""
    pool, _ = cache.get_or_make(
        "inputs",
        [_identity(model), datasets.fingerprint(dataset), inputs.POOL, __version__],
        Artifact,
        lambda to: inputs.write_pool(model, dataset, to),
    )
    return pool


def usable_runner(target: Target) -> Runner:
    """The target's runner. Raises Unavailable, with the remedy, when it cannot run here."""
    if target.runner not in plugins.find("runners"):
        raise Unavailable(
            f"target {target.name} needs the runner {target.runner!r}, which is not installed: "
            f"the runners here are {', '.join(plugins.find('runners'))}"
        )
    runner = plugins.runner(target.runner)
    if target.precision not in runner.precisions:
        raise Unavailable(
            f"runner {target.runner} does {', '.join(runner.precisions)}, not {target.precision}"
        )
    if reason := runner.probe(target):
        raise Unavailable(f"target {target.name} cannot run here: {reason}")
    return runner


def _describe(exporter: Exporter, ref: ModelRef, weights: str, cache: Cache) -> Model:
    key = [str(ref), weights, versions(("frontier-bench", *exporter.packages))]
    keep = exporter.stable and weights in ("pretrained", "random")
    if keep and (known := cache.get("describe", key, Model)):
        return known
    model = exporter.describe(ref.name, weights)
    # A fallback is asked for anew each time: the hub may answer by then.
    if keep and not (weights == "pretrained" and model.weights == "random"):
        cache.put("describe", key, model)
    return model


def _export(exporter: Exporter, model: Model, cache: Cache) -> Artifact:
    key = [_identity(model), versions(("frontier-bench", *exporter.packages))]
    reader = cache if exporter.stable else replace(cache, fresh=True)
    exported, _ = reader.get_or_make("export", key, Artifact, lambda to: exporter.export(model, to))
    if not exported.bytes:
        raise StageError("bad-export", f"the export of {model.name} is an empty file")
    return exported


def _program(exporter: Exporter, model: Model, target: Target, cache: Cache) -> Artifact:
    """The model as a torch program, for a runner that reads those."""
    write = getattr(exporter, "program", None)
    if write is None:
        raise StageError(
            "no-program",
            f"{model.name} comes as an ONNX file, and target {target.name} runs torch programs: "
            "take a model of timm, torchvision or py:, or another target",
        )
    key = [_identity(model), versions(("frontier-bench", *exporter.packages))]
    reader = cache if exporter.stable else replace(cache, fresh=True)
    written, _ = reader.get_or_make("program", key, Artifact, lambda to: write(model, to))
    return written


def _identity(model: Model) -> Any:
    """What makes a model the same model: not what was noted on the way, nor where a file lies."""
    return msgspec.to_builtins(replace(model, notes=(), weights_file=None, published=None))


def _what_decides_a_build(target: Target) -> Any:
    return [target.hardware, target.runner, target.precision, target.device, target.options]
