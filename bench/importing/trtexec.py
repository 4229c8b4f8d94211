"""trtexec: the JSON of --exportTimes, one entry an inference, and the log that says what it means.

Window `device` is each entry's computeMs; window `io` is its latencyMs (host to device, compute,
device to host), where transfers were on. Both are the GPU's own clock: the host's time to launch is
in neither.
"""

from __future__ import annotations

from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import targets
from bench.errors import UsageError
from bench.importing import foreign, trtexec_log
from bench.importing.foreign import Asked, Foreign
from bench.records import Procedure

if TYPE_CHECKING:
    from bench.importing.trtexec_log import Log
    from bench.records import Target, Window

#: Blocks of our own length, so that the same rules look for drift.
_BLOCK_MS = Procedure().block_seconds * 1e3
#: The median of the file and the one in the log are of the same numbers, rounded.
_SAME_MEDIAN = 0.005


def read(asked: Asked, target: Target) -> Foreign:
    """Raises UsageError where the files leave open what was measured, or say that it was something
    else than `target`."""
    if target.runner != "tensorrt":
        raise UsageError(
            f"trtexec runs TensorRT, and target {target.name} is for the runner {target.runner}: "
            "see `bench list targets`"
        )
    if asked.log is None:
        raise UsageError(
            f"{asked.file} does not hold the flags it was measured with, and their defaults "
            f"changed with TensorRT 11.0: give what trtexec printed as --log FILE, or as "
            f"{asked.log_beside.name} beside it"
        )
    log = trtexec_log.read(asked.log)
    _require_target(log, target)
    window: Window = asked.window or "device"
    if window == "io" and not log.transfers:
        raise UsageError(f"{log.path}: data transfers were off, so there is no window io")
    batch = foreign.agreed(asked.batch, log.batch, "--batch", log.path)
    samples, starts = _samples(asked, log, window)
    warmups = len(samples) - log.queries  # TensorRT before 8.5 exports them too
    hardware = _hardware(asked, log, target)
    return Foreign(
        tool="trtexec",
        version=log.version,
        hardware=hardware,
        window=window,
        batch=batch,
        streams=log.streams,
        started_at=log.started_at or foreign.written_at(log.path),
        processes=(_blocks(samples[warmups:], starts[warmups:]),),
        warmup_ns=tuple(samples[:warmups]),
        versions={"tensorrt": log.version},
        flags={
            "cuda_graph": log.cuda_graph,
            "transfers": log.transfers,
            "spin_wait": log.spin_wait,
            "compute_capability": log.compute_capability,
            "sms": log.sms,
            "max_clock": log.clocks,
            "idle_time": log.idle,
            "inputs": " ".join(
                f"{name}={'x'.join(map(str, shape))}" for name, shape in log.inputs.items()
            ),
            "precision": log.precision or "not told: that of the engine",
        },
        notes=_notes(log, target),
    )


def _require_target(log: Log, target: Target) -> None:
    """Raise UsageError where the log tells of other hardware or another precision."""
    hardware = targets.hardware_of(target)
    found = f"{log.device} (compute capability {log.compute_capability}, {log.sms} SMs)"
    if not hardware.is_in_log(log.device, log.compute_capability, log.sms):
        raise UsageError(
            f"target {target.name} needs {hardware.name}, and {log.path} is of {found}"
        )
    if log.dla:
        raise UsageError(f"{log.path} ran on DLA core {log.dla}, and {target.name} is for the GPU")
    if log.precision is not None:
        allowed = set(log.precision.partition(" ")[0].split("+"))
        built = next((p for p in ("int8", "fp16", "bf16") if p.upper() in allowed), "fp32")
        if "FP8" in allowed or "INT4" in allowed or built != target.precision:
            raise UsageError(
                f"{log.path} was built as {log.precision}, and target {target.name} is "
                f"{target.precision}"
            )
        if built == "fp32" and log.tf32 and float(log.compute_capability) >= 8:
            raise UsageError(
                f"{log.path}: TensorRT computes fp32 as TF32 on this GPU, so it is no fp32: run "
                "trtexec with --noTF32"
            )


def _hardware(asked: Asked, log: Log, target: Target) -> str:
    """What the log says, with the SMs that tell boards apart. Raises UsageError where a person says
    otherwise: neither its words nor the name of what `target` runs on."""
    wanted = targets.hardware_of(target)
    found = log.device if wanted.gpu else f"{log.device}, {log.sms} SMs"
    if asked.hardware in (None, log.device, found):
        return found
    if wanted.gpu == "*" or not wanted.is_stated(str(asked.hardware)):
        raise UsageError(f"--hardware {asked.hardware} was given, and {log.path} says {found}")
    return found


def _notes(log: Log, target: Target) -> tuple[str, ...]:
    notes = [f"trtexec warned: {warning}" for warning in log.warnings]
    if log.precision is None:
        notes.append(
            f"the log does not tell the precision of the engine: {target.precision} is what "
            "--target says"
        )
    return tuple(notes)


def _samples(asked: Asked, log: Log, window: Window) -> tuple[list[int], list[float]]:
    """Every inference's time in ns, and when it started in ms. Raises UsageError where the file is
    not that of the log."""
    path = asked.file
    entries = foreign.json(path, "list of times that trtexec --exportTimes wrote")
    if not isinstance(entries, list) or not entries or not _is_timing(entries[0]):
        raise UsageError(f"{path} is no list of times that trtexec --exportTimes wrote")
    if len(entries) not in (log.queries, log.queries + log.warmups):
        raise UsageError(
            f"{path} has {len(entries)} inferences and {log.path} tells of {log.queries}: they are "
            "not of the same run"
        )
    key = "latencyMs" if window == "io" else "computeMs"
    samples, starts, compute = [], [], []
    for number, entry in enumerate(entries, 1):
        where = f"{path}, entry {number}:"
        if not _is_timing(entry):
            raise UsageError(f"{where} it is no object with computeMs, latencyMs, startComputeMs")
        samples.append(foreign.ns(entry[key], 1e6, f"{where} {key}"))
        compute.append(foreign.ns(entry["computeMs"], 1e6, f"{where} computeMs") / 1e6)
        starts.append(foreign.number(entry["startComputeMs"], f"{where} startComputeMs"))
    middle = median(compute[len(entries) - log.queries :])
    if abs(middle - log.median_ms) > _SAME_MEDIAN * log.median_ms:
        raise UsageError(
            f"the median of {path} is {middle:.4g} ms and {log.path} says {log.median_ms:.4g} ms: "
            "they are not of the same run"
        )
    return samples, starts


def _is_timing(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.keys() >= {"computeMs", "latencyMs", "startComputeMs"}


def _blocks(samples: list[int], starts: list[float]) -> tuple[tuple[int, ...], ...]:
    """The samples in the blocks in which they were started; what is left over at the end belongs to
    the block before it."""
    order = sorted(range(len(samples)), key=starts.__getitem__)  # several streams overlap
    first = starts[order[0]]
    blocks = [
        tuple(samples[i] for i in group)
        for _, group in groupby(order, lambda i: (starts[i] - first) // _BLOCK_MS)
    ]
    if len(blocks) > 1 and len(blocks[-1]) * 2 < len(blocks[-2]):
        *whole, last, rest = blocks
        blocks = [*whole, last + rest]
    return tuple(blocks)
