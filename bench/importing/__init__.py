"""Measurements of other tools, from the files they write: a row of our store, with who measured.

What is not in the files is not made up: no canary, no accuracy, no load of the machine; and where a
tool keeps no samples, no interval and no verdict (`bench.records.Reported`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench import targets
from bench.cache import sha256_of
from bench.errors import Unavailable, UsageError
from bench.importing import columns, foreign, openvino_app, trtexec
from bench.modelref import ZOOS, ModelRef
from bench.paths import expanded
from bench.records import (
    Environment,
    Job,
    Measurement,
    Model,
    Procedure,
    ProcessRun,
    Provenance,
    Result,
)

if TYPE_CHECKING:
    from bench.cache import Cache
    from bench.importing.foreign import Asked, Foreign
    from bench.records import Target
    from bench.store import Store

#: Whose logs say what their files mean.
_LOGGED = ("trtexec", "benchmark_app")
READERS: dict[str, Any] = {
    "trtexec": trtexec.read,
    "benchmark_app": openvino_app.read,
    "csv": columns.read,
}


def read(source: str, asked: Asked, model: str, target: str, cache: Cache) -> Result:
    """The result that the files tell of. Raises UsageError, with one sentence, for files that are
    damaged, do not belong together, leave open what a number means, or are of other hardware.
    A log that is not named is the one beside the file."""
    (chosen, *more) = targets.select([target])
    if more:
        raise UsageError(f"--target {target} names {1 + len(more)} targets: a file is of one")
    foreign.opened(asked.file).close()  # before a log is asked for that belongs to it
    if source in _LOGGED and asked.log is None and asked.log_beside.is_file():
        asked = replace(asked, log=asked.log_beside)
    return _result(READERS[source](asked, chosen), asked, _resolved(model, cache), chosen)


def add(result: Result, store: Store) -> bool:
    """Keep the result, unless these very files are in the store as the same job on the same
    hardware; whether it is new."""
    twins = store.read(models=[result.job.model], targets=[result.job.target.name])
    if any(
        other.provenance
        and result.provenance
        and other.provenance.sha256 == result.provenance.sha256
        and other.job.procedure == result.job.procedure
        and other.environment.hardware == result.environment.hardware  # a person may have said it
        for other in twins
    ):
        return False
    store.append(result)
    return True


def _resolved(model: str, cache: Cache) -> str:
    """`source:name` of the one model meant. A zoo that is not installed here cannot be asked, and
    what is named with its source is taken as it stands."""
    from bench import catalog

    try:
        found = catalog.resolve([model], cache)
    except Unavailable:
        if ModelRef.parse(model).source is None:
            raise UsageError(
                f"--model {model}: no model zoo is installed here to look it up in: write "
                f"timm:{model} or torchvision:{model}"
            ) from None
        found = [model]
    if len(found) != 1:
        raise UsageError(f"--model {model} names {len(found)} models: a file is of one")
    return found[0]


def _model(name: str) -> Model:
    """What the name alone tells: the weights that ran are the tag's, the file's, or not stated.
    Only the zoos' names have tags; a dot in another name is a part of it."""
    ref = ModelRef.parse(name)
    if ref.source == "onnx":
        path = expanded(ref.name)
        return Model(name, "onnx", f"{path.name}#{sha256_of([path])[:12]}", None, ())
    bare, tag = ref.name, "factory" if ref.source == "py" else ""
    if ref.source in ZOOS:
        bare, _, tag = ref.name.partition(".")
    return Model(bare, ref.source or "", tag or "unstated", None, ())


def _result(found: Foreign, asked: Asked, model: str, target: Target) -> Result:
    files = [asked.file, *([asked.log] if asked.log else [])]
    procedure = Procedure(
        batch=found.batch,
        streams=found.streams,
        window=found.window,
        processes=max(1, len(found.processes)),
        threads=found.threads,
    )
    runs = tuple(
        ProcessRun(
            blocks_ns=blocks,
            warmup_ns=found.warmup_ns,
            stable=True,
            load_ns=None,
            first_ns=None,
            peak_rss_bytes=None,
        )
        for blocks in found.processes
    )
    wall = sum(ns for run in runs for block in run.blocks_ns for ns in block)
    return Result(
        job=Job(model, target, procedure=procedure),
        started_at=found.started_at,
        environment=Environment(
            hardware=found.hardware,
            cpu="" if target.device == "gpu" else found.hardware,
            gpus=(found.hardware,) if target.device == "gpu" else (),
            os="",
            python="",
            versions=found.versions,
            flags=found.flags,
        ),
        model=_model(model),
        measurement=Measurement(found.window, runs, "cap", wall) if runs else None,
        notes=found.notes,
        provenance=Provenance(
            found.tool, found.version, tuple(path.name for path in files), sha256_of(files)
        ),
        reported=found.reported,
    )
