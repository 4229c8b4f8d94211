"""From a name to an artifact that is built, checked and ready to be timed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bench import __version__, datasets, inputs, onnx_graph, plugins
from bench.accuracy import inference
from bench.cache import Cache, versions
from bench.check import REFERENCE, check, fixed_batch
from bench.content import fingerprint
from bench.contracts import Compiler
from bench.datasets import images
from bench.errors import BenchError, StageError
from bench.machine import observe, threads_each
from bench.messages import Describe, Described, Export, Exported, Inputs, Prepare, Prepared, Timed
from bench.modelref import ModelRef
from bench.pool import read as read_pool
from bench.records import Artifact, Check, Facts, Model, Preprocess
from bench.stages import calibrate
from bench.stages.build import able_to_build, build_key, canary_for, usable, what_decides_a_build

if TYPE_CHECKING:
    from bench.contracts import Dataset, Exporter
    from bench.records import Job, Option, Target
    from bench.stages.build import Builder
    from bench.teller import Teller

#: All that a description can say: one that was kept before there was more says less.
_DESCRIBED = [field.name for kind in (Model, Preprocess) for field in fields(kind)]


def look_up(request: Describe, tell: Teller) -> Described:
    """Describe a model without asking a hub for its weights, and say what is counted already."""
    cache = Cache(Path(request.cache))
    tell.at("describe")
    ref = ModelRef.parse(request.model)
    exporter = plugins.exporter(ref.source or "")
    asks_a_hub = exporter.stable and not ref.is_folder
    model = _describe(exporter, ref, "random" if asks_a_hub else "pretrained", cache)
    for weights in (request.tag, model.weights):
        if weights and exporter.stable:
            key = _export_key(exporter, replace(model, weights=weights))
            exported = cache.get("export", key, Artifact)
            if exported and (facts := cache.get("facts", _facts_key(exported), Facts)):
                return Described(model, facts)
    return Described(model, None)


def export(request: Export, tell: Teller) -> Exported:
    """Describe and export a model, each from the cache where it can, and count what is in it."""
    cache = Cache(Path(request.cache), request.fresh)
    tell.at("describe")
    ref = ModelRef.parse(request.model)
    exporter = plugins.exporter(ref.source or "")
    model = _describe(exporter, ref, request.weights, cache)
    tell.found(model=model)

    tell.at("export")
    exported = _export(exporter, model, cache)
    tell.found(artifact=exported)
    facts, _ = cache.get_or_make(
        "facts", _facts_key(exported), Facts, lambda _: onnx_graph.facts(exported)
    )
    return Exported(model, exported, facts)


def prepare(request: Prepare, tell: Teller) -> Prepared:
    """Describe, export, build and check the job's model, each step from the cache where it can."""
    job, cache = request.job, Cache(Path(request.cache), request.fresh)
    target = job.target

    tell.at("target")
    builder = able_to_build(target) if request.build_only else usable(target)
    runner = builder.runner

    found = export(Export(job.model, job.weights, request.cache, request.fresh), tell)
    model, exported = found.model, found.artifact
    if job.data.strict and job.weights == "pretrained" and model.weights == "random":
        why = f": {model.notes[0]}" if model.notes else ""
        raise StageError("no-weights", f"--strict: pretrained weights cannot be had{why}")
    exporter = plugins.exporter(model.source)

    source = exported
    if getattr(runner, "reads", "onnx") == "torch":
        source = _program(exporter, model, target, cache)

    tell.at("inputs")
    dataset, accuracy_note = datasets.choose(job.data, exporter, model)
    pool = timing_inputs(model, dataset, cache)

    tell.at("build")
    calibration = calibrate.choose(
        job, model, dataset, exported, runner, build_key(runner, target), cache, tell
    )
    batches = _batches(model, job.procedure.batch, accuracy_note is None, builder.ahead)
    lowered, built = builder.build(source, calibration, batches, cache, tell)
    if built.sha256 != exported.sha256:
        tell.found(artifact=built)

    notes = []
    if bad := calibrate.left_out(built):
        notes.append(f"calibration: {images.count(bad)} left out: {images.first_few(bad)}")
        if job.data.strict:
            raise StageError("bad-data", f"--strict: {notes[0]}")

    tell.at("check")
    checked = _check(request, exported, lowered, built, model, builder, pool, cache, tell)
    beside = None
    try:
        beside = canary_for(runner, target, cache) if request.canary else None
    except BenchError as error:  # a runner's own limits must not cost the model its number
        notes.append(f"no canary was timed beside it: {error}")
    if builder.ahead and isinstance(runner, Compiler):
        notes.append(_UNRUN.format(made_by=built.made_by))
    if target.precision == "int8" and not calibration.n:
        notes.append(_AS_IT_IS)
    elif target.precision == "int8" and not calibration.real:
        notes.append(
            f"int8 was calibrated on {calibration.source}: good for timing; for an artifact to "
            f"deploy {_for_real_images(model, job)}"
        )
    return Prepared(
        model=model,
        exported=exported,
        timed=Timed(built, pool),
        canary=beside,
        facts=found.facts,
        check=checked,
        packages=("frontier-bench", "numpy", *runner.packages, *exporter.packages),
        accuracy_note=accuracy_note,
        notes=tuple(notes),
    )


def _for_real_images(model: Model, job: Job) -> str:
    """What to do so that int8 is calibrated on images."""
    if model.preprocess is not None:
        return "give --data" if job.data.path is None else "give --data a folder with more images"
    if model.source != "onnx":
        return (
            "take a model whose preprocessing is known, or export it and say that beside the file"
        )
    sidecar = f"say in {Path(model.name).with_suffix('.toml').name} beside it how images are fed"
    if job.data.path is None:
        return f"{sidecar} (docs/accuracy.md), and give --data"
    return f"{sidecar} (docs/accuracy.md): without it the images of --data were left unused"


#: What is said of a file that was quantized before it came here.
_AS_IT_IS = (
    "the file is quantized already and runs as it is: nothing was calibrated, and the fp32 "
    "reference that it is held against is the file itself"
)
#: What is said of an artifact that was built where it cannot run.
_UNRUN = (
    "{made_by} compiled it for a device that is not here: the ONNX it was given was checked, on "
    "ONNX Runtime; the engine itself has not run"
)


def _batches(model: Model, asked: int, evaluated: bool, ahead: bool) -> list[int]:
    """The batch sizes that the artifact is going to be opened with: the one that is timed, 1 for
    the check, and the evaluation's own."""
    if fixed := fixed_batch(model):
        return [fixed]
    if ahead:
        return [asked]
    return sorted({1, asked, *([inference.batch_of(model)] if evaluated else [])})


def _check(
    request: Prepare,
    exported: Artifact,
    lowered: Artifact,
    built: Artifact,
    model: Model,
    builder: Builder,
    pool: Artifact,
    cache: Cache,
    tell: Teller,
) -> Check | None:
    """Check the artifact; where that cannot run here, what it was compiled from, on ONNX Runtime;
    None where that is the exported file itself."""
    how = request.job.procedure
    threads = threads_each(how)
    runner, target, what = builder.runner, builder.target, built
    if builder.ahead:
        if not isinstance(runner, Compiler):
            if runner.probe(target):
                return None
        elif lowered.sha256 == exported.sha256:
            return None
        else:
            runner, target, what = plugins.runner("ort"), _on_ort(target), lowered
    checked, _ = cache.get_or_make(
        "check",
        {
            "artifacts": [exported.sha256, what.sha256, pool.sha256],
            "inputs": request.inputs,
            "outputs": [model.output, model.labels],
            "target": what_decides_a_build(target),
            "machine": observe().what_computes(target.device),
            "threads": threads,
            "versions": versions(("frontier-bench", "onnxruntime", *runner.packages)),
        },
        Check,
        lambda _: check(
            exported,
            what,
            model,
            runner,
            target,
            read_pool(pool, fixed_batch(model) or 1)[: request.inputs],
            threads,
            tell,
        ),
    )
    return checked


def _on_ort(target: Target) -> Target:
    """ONNX Runtime's CPU, at the precision that the artifact is held to, computing Q/DQ as it is
    written: version 1.32 takes the fp16 scales of biases for something else when it rewrites them
    (its optimizer WeightBiasQuantization), and the network is lost."""
    options: dict[str, Option] = {"session.disable_quant_qdq": 1}
    return replace(REFERENCE, precision=target.precision, options=options)


def timing_inputs(model: Model, dataset: Dataset | None, cache: Cache) -> Artifact:
    """The pool of inputs that a model is timed on."""
    pool, _ = cache.get_or_make(
        "inputs",
        [_identity(model), datasets.fingerprint(dataset), inputs.POOL, __version__],
        Artifact,
        lambda to: inputs.write_pool(model, dataset, to),
    )
    return pool


def inputs_again(request: Inputs) -> Artifact:
    """The pool of a recorded model: its images, where they are here; else synthetic ones."""
    model, dataset = request.model, None
    with suppress(BenchError):
        dataset, _ = datasets.choose(request.data, plugins.exporter(model.source), model)
    return timing_inputs(model, dataset, Cache(Path(request.cache)))


def _describe(exporter: Exporter, ref: ModelRef, weights: str, cache: Cache) -> Model:
    key = [str(ref), weights, _DESCRIBED, versions(("frontier-bench", *exporter.packages))]
    keep = exporter.stable and weights in ("pretrained", "random") and not ref.is_folder
    if keep and (known := cache.get("describe", key, Model)):
        return known
    model = exporter.describe(ref.name, weights)
    # A fallback is asked for anew each time: the hub may answer by then.
    if keep and not (weights == "pretrained" and model.weights == "random"):
        cache.put("describe", key, model)
    return model


def _export(exporter: Exporter, model: Model, cache: Cache) -> Artifact:
    key = _export_key(exporter, model)
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
    key = _export_key(exporter, model)
    reader = cache if exporter.stable else replace(cache, fresh=True)
    written, _ = reader.get_or_make("program", key, Artifact, lambda to: write(model, to))
    return written


def _export_key(exporter: Exporter, model: Model) -> Any:
    """A folder's name does not say what is in it, and its weights need not be the ones used."""
    ref = ModelRef(model.source, model.name)
    folder = fingerprint(str(ref), "pretrained") if ref.is_folder else None
    return [_identity(model), folder, versions(("frontier-bench", *exporter.packages))]


def _facts_key(exported: Artifact) -> Any:
    return [exported.sha256, __version__]


def _identity(model: Model) -> Any:
    """What makes a model the same model: not what was noted on the way, nor where a file lies."""
    return msgspec.to_builtins(replace(model, notes=(), weights_file=None, published=None))
