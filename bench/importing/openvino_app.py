"""OpenVINO's benchmark_app: its statistics report (JSON or CSV) and what it printed.

The report holds a median, a mean and the extremes, rounded to 0.01 ms, and no samples: they become
figures that the tool reports (`bench.records.Reported`), never a measurement. What was executed is
in the log alone: left to itself, the CPU plug-in runs fp32 models in bf16 where it can.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from bench import targets
from bench.errors import UsageError
from bench.importing import foreign
from bench.importing.foreign import Asked, Foreign
from bench.records import Reported

if TYPE_CHECKING:
    from pathlib import Path

    from bench.records import Target

#: Both decimals that it prints.
_RESOLUTION_MS = 0.01
_HEADINGS = {
    "Command line parameters": "cmd_options",
    "Configuration setup": "configuration_setup",
    "Execution results": "execution_results",
}
#: How the log names INFERENCE_PRECISION_HINT, from Python and from C++.
_HINTS = {"f32": "fp32", "float32": "fp32", "bf16": "bf16", "bfloat16": "bf16"}
_PROPERTY = re.compile(r"^\[ INFO \]\s+([A-Z_]+): (?:<Type: ')?([^'\n]*?)(?:'>)?\s*$", re.MULTILINE)


def read(asked: Asked, target: Target) -> Foreign:
    """Raises UsageError where the files leave open what was measured, or say that it was something
    else than `target`."""
    if target.runner != "openvino":
        raise UsageError(
            f"benchmark_app runs OpenVINO, and target {target.name} is for the runner "
            f"{target.runner}: see `bench list targets`"
        )
    if asked.log is None:
        raise UsageError(
            f"{asked.file} does not say which precision and version it ran: give what "
            f"benchmark_app printed as --log FILE, or as {asked.log_beside.name} beside it"
        )
    report = _report(asked.file)
    log = foreign.text(asked.log, "log of benchmark_app")
    said = dict(_PROPERTY.findall(log))
    setup, results = report["configuration_setup"], report["execution_results"]
    _require_same_run(asked, results, log)
    _require_window(asked, setup)
    _require_target(asked, setup, said, target)
    version = re.search(r"Build \.+ (\d[\w.]*)", log)
    hardware = _hardware(asked, target)
    requests = _count(asked, setup, "number of parallel infer requests")
    streams = foreign.count(said.get("NUM_STREAMS", ""))
    all_threads = foreign.count(said.get("INFERENCE_NUM_THREADS", ""))
    threads = all_threads // streams or None if streams and all_threads else None
    return Foreign(
        tool="benchmark_app",
        version=version[1] if version else None,
        hardware=hardware,
        window="device",
        batch=foreign.agreed(
            asked.batch, _count(asked, setup, "batch size"), "--batch", asked.file
        ),
        streams=requests,
        threads=threads,
        started_at=foreign.written_at(asked.file),
        reported=_reported(asked, results),
        versions={"openvino": version[1]} if version else {},
        flags={
            "api": str(setup.get("API", "")),
            "precision_hint": said["INFERENCE_PRECISION_HINT"],
            "throughput_reported_ips": foreign.number(
                _number(asked, results, "throughput"), f"{asked.file}: throughput", "a rate"
            ),
            **({"threads": threads} if threads else {}),
            **{key.lower(): said[key] for key in ("PERFORMANCE_HINT",) if key in said},
        },
        notes=_notes(hardware, log),
    )


def _notes(hardware: str, log: str) -> tuple[str, ...]:
    notes = [f"the hardware is as --hardware says ({hardware}): benchmark_app does not tell it"]
    if re.search(r"^\[ INFO \]\s+\S+ \(node: .*\) : u8 /", log, re.MULTILINE):
        notes.append("the network was fed bytes, and converting them to floats is in its times")
    return tuple(notes)


def _report(path: Path) -> dict[str, dict[str, Any]]:
    """Its three sections. The CSV form has a heading line over each, and key;value lines."""
    what = "report of benchmark_app -report_type no_counters"
    text = foreign.text(path, what)
    parts: Any = {}
    if text.lstrip().startswith("{"):
        parts = foreign.json(path, what)
    else:
        section = ""
        for line in text.splitlines():
            key, semicolon, value = line.partition(";")
            if not semicolon:
                section = _HEADINGS.get(key.strip(), section)
            elif section:
                parts.setdefault(section, {})[key] = value
    if not all(isinstance(parts.get(key), dict) for key in _HEADINGS.values()):
        raise UsageError(f"{path} is no {what}: it lacks {' or '.join(_HEADINGS)}")
    for key in _HEADINGS.values():  # JSON can escape what a terminal would obey
        parts[key] = {
            name: " ".join(foreign.plain(value).split()) if isinstance(value, str) else value
            for name, value in parts[key].items()
        }
    if "error" in parts["execution_results"]:
        raise UsageError(
            f"{path}: that run failed: {str(parts['execution_results']['error'])[:200]}"
        )
    try:
        return msgspec.convert(parts, dict[str, dict[str, Any]])
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} is no {what}: {error}") from error


def _reported(asked: Asked, results: dict[str, Any]) -> Reported:
    if "latency (ms)" not in results:
        raise UsageError(
            f"{asked.file} has no median ('latency (ms)'): run benchmark_app without "
            "-latency_percentile, and on one device"
        )
    found = Reported(
        window="device",
        n=_count(asked, results, "total number of iterations"),
        p50_ms=_time(asked, results, "latency (ms)"),
        mean_ms=_time(asked, results, "avg latency"),
        min_ms=_time(asked, results, "min latency"),
        max_ms=_time(asked, results, "max latency"),
        resolution_ms=_RESOLUTION_MS,
    )
    for what, ms in (("median", found.p50_ms), ("mean", found.mean_ms)):
        if not found.min_ms <= ms <= found.max_ms:
            raise UsageError(
                f"{asked.file}: the {what} {ms:g} ms is not between the least {found.min_ms:g} and "
                f"the most {found.max_ms:g}"
            )
    return found


def _require_same_run(asked: Asked, results: dict[str, Any], log: str) -> None:
    counted = re.search(r"^\[ INFO \] Count: +(\d+) iterations", log, re.MULTILINE)
    told = re.search(r"^\[ INFO \] Throughput: +([\d.]+) FPS", log, re.MULTILINE)
    if not counted or not told:
        raise UsageError(f"{asked.log} is not the whole of what benchmark_app printed")
    here = str(results.get("total number of iterations")), str(results.get("throughput"))
    if here != (counted[1], told[1]):
        raise UsageError(
            f"{asked.file} tells of {here[0]} iterations and {asked.log} of {counted[1]}: they are "
            "not of the same run"
        )


def _require_window(asked: Asked, setup: dict[str, Any]) -> None:
    if str(setup.get("inference_only")).lower() != "true":
        raise UsageError(
            f"{asked.file}: filling the inputs was timed and reading the outputs was not, which is "
            "neither of our windows: run benchmark_app with -inference_only true"
        )
    if asked.window not in (None, "device"):
        raise UsageError(f"{asked.file} has window device only: benchmark_app reads no outputs")


def _require_target(
    asked: Asked, setup: dict[str, Any], said: dict[str, str], target: Target
) -> None:
    device = str(setup.get("target device", "")).lower()
    if device != target.device:
        raise UsageError(
            f"{asked.file} ran on {device or 'an unnamed device'}, and target {target.name} is for "
            f"the {target.device}"
        )
    hint = said.get("INFERENCE_PRECISION_HINT", "")
    if hint not in _HINTS:
        raise UsageError(
            f"{asked.log} does not tell a precision (INFERENCE_PRECISION_HINT) we know"
        )
    # What is not quantized of an int8 model runs in fp32 on our own targets, too.
    wanted, option = ("bf16", "bf16") if target.precision == "bf16" else ("fp32", "f32")
    if _HINTS[hint] != wanted:
        raise UsageError(
            f"{asked.log}: OpenVINO ran in {_HINTS[hint]}, and target {target.name} needs "
            f"{wanted}: run benchmark_app with -infer_precision {option}"
        )


def _hardware(asked: Asked, target: Target) -> str:
    if not asked.hardware:
        raise UsageError(
            f"neither {asked.file} nor its log names the CPU: give --hardware 'CPU, N cores'"
        )
    wanted = targets.hardware_of(target)
    if not wanted.is_stated(asked.hardware):
        raise UsageError(
            f"target {target.name} needs {wanted.name}, and --hardware says {asked.hardware}"
        )
    return asked.hardware


def _number(asked: Asked, section: dict[str, Any], key: str) -> float:
    try:
        return float(section[key])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{asked.file} has no number for {key!r}") from error


def _time(asked: Asked, section: dict[str, Any], key: str) -> float:
    value = _number(asked, section, key)
    foreign.ns(value, 1e6, f"{asked.file}: {key}")
    return value


def _count(asked: Asked, section: dict[str, Any], key: str) -> int:
    if not (found := foreign.count(str(section.get(key, "")))):
        raise UsageError(f"{asked.file} has no count for {key!r}")
    return found
