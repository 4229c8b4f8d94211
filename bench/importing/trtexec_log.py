"""What trtexec prints before and after it measures: how it was called, on what, and in short what
came out. One form from TensorRT 8 to 11 (samples/common/sampleOptions.cpp, sampleDevice.cpp and
sampleReporting.cpp of NVIDIA/TensorRT), with other names for two or three lines.

Nothing is taken from the command line: what an absent flag means changed with TensorRT 11.0 (CUDA
graph and spin-wait on, transfers off), and the printed options are what was done.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.importing import foreign

if TYPE_CHECKING:
    from pathlib import Path

_PREFIX = re.compile(r"^\s*\[(\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d)\] \[[A-Z]\] ?(.*)$")
_SECTION = re.compile(r"^=== (.+?) ===$")
_BINDING = re.compile(
    r"^(?:Created input binding|Input binding) for (\S+) with dimensions "
    r"(\d{1,9}(?:x\d{1,9})*)\b",
    re.ASCII,
)
_TRACE = re.compile(r"^Timing trace has (\d{1,9}) queries over ([\d.e+-]+) s$", re.ASCII)
_WARMUP = re.compile(r"^Warmup completed (\d{1,9}) queries over ", re.ASCII)
_GPU_TIME = re.compile(r"^GPU Compute Time: .*\bmedian = ([\d.e+-]+) ms")
_ENABLED = {"Enabled": True, "Disabled": False}
#: The options say that a CUDA graph was asked for; a warning, that capturing it failed.
_NO_GRAPH = "without using CUDA graph"


@dataclass(frozen=True)
class Log:
    """`inputs` are the shapes that were run, by name; `precision` is what the builder was allowed,
    None where an engine was loaded or the network says it itself; `cuda_graph` is whether one was
    launched; `median_ms` is the GPU's."""

    path: Path
    version: str
    device: str
    compute_capability: str
    sms: int
    transfers: bool
    cuda_graph: bool
    spin_wait: bool
    streams: int
    batch: int
    inputs: dict[str, tuple[int, ...]]
    precision: str | None
    tf32: bool
    dla: str
    clocks: str
    idle: str
    queries: int
    warmups: int
    median_ms: float
    started_at: str | None
    warnings: tuple[str, ...]


def read(path: Path) -> Log:
    """Raises UsageError for what is not the whole log of one run that measured."""
    text = foreign.text(path, "trtexec log")
    if "&&&& RUNNING TensorRT.trtexec" not in text:
        raise UsageError(f"{path} is not what trtexec printed: it has no line '&&&& RUNNING'")
    if (runs := text.count("&&&& RUNNING TensorRT.trtexec")) > 1:
        raise UsageError(f"{path} is the log of {runs} runs of trtexec: give that of one")
    if "&&&& PASSED TensorRT.trtexec" not in text:
        raise UsageError(f"{path} does not end in '&&&& PASSED': that run failed, or was cut short")
    return _parsed(path, text)


def _parsed(path: Path, text: str) -> Log:
    said: dict[str, dict[str, str]] = {}
    plain: list[str] = []
    warnings: list[str] = []
    section, first = "", None
    for line in text.splitlines():
        stamped = _PREFIX.match(line)
        first = first or (stamped and stamped[1]) or None
        words = (stamped[2] if stamped else line).strip()
        plain.append(words)
        if " [W] " in line[:40] and (words.startswith("* ") or _NO_GRAPH in words):
            warnings.append(words.removeprefix("* "))
        if headed := _SECTION.match(words):
            section = headed[1]
        key, colon, value = words.partition(":")
        if colon:
            said.setdefault(section, {}).setdefault(key.strip(), value.strip())

    def of(where: str, *keys: str) -> str:
        for key in keys:
            if key in said.get(where, {}):
                return said[where][key]
        raise UsageError(
            f"{path} does not say {keys[0]!r}, without which its times mean nothing: give the "
            "whole log of TensorRT 8 or later"
        )

    def enabled(key: str) -> bool:
        value = of("Inference Options", key)
        if value not in _ENABLED:
            raise UsageError(f"{path}: {key} is {value!r}, and neither Enabled nor Disabled")
        return _ENABLED[value]

    def count(where: str, *keys: str) -> int:
        value = of(where, *keys)
        if (whole := foreign.count(value)) is None:
            raise UsageError(f"{path}: {keys[0]} is {value[:40]!r}, and no number")
        return whole

    def found(pattern: re.Pattern[str], what: str) -> str:
        for line in plain:
            if hit := pattern.match(line):
                return hit[1]
        raise UsageError(f"{path} has no line {what!r}: nothing was measured in that run")

    def number(pattern: re.Pattern[str], what: str) -> float:
        value = found(pattern, what)
        try:
            return foreign.number(float(value), f"{path}: {what}")
        except ValueError as error:
            raise UsageError(f"{path}: {what} is {value[:40]!r}, and not a time") from error

    device, options = "Device Information", "Inference Options"
    build = said.get("Build Options", {})
    inputs = {
        hit[1]: tuple(map(int, hit[2].split("x"))) for hit in map(_BINDING.match, plain) if hit
    }
    capability = of(device, "Compute Capability")
    if not re.fullmatch("[0-9]{1,2}[.][0-9]", capability):
        raise UsageError(f"{path}: Compute Capability is {capability[:40]!r}, as of no GPU")
    version = next(
        (each["TensorRT version"] for each in said.values() if "TensorRT version" in each), None
    )
    if version is None:
        raise UsageError(f"{path} does not say 'TensorRT version': flags mean nothing without it")
    precision = build.get("Precision", "")
    return Log(
        path=path,
        version=version,
        device=of(device, "Selected Device"),
        compute_capability=capability,
        sms=count(device, "SMs"),
        transfers=enabled("Data transfers"),
        cuda_graph=enabled("CUDA Graph") and not any(_NO_GRAPH in each for each in warnings),
        spin_wait=enabled("Spin-wait"),
        streams=count(options, "Inference Streams", "Streams"),
        batch=_batch(path, of(options, "Batch"), said.get("Model Options", {}), inputs),
        inputs=inputs,
        precision=None if build.get("Load engine") or "FP" not in precision else precision,
        tf32="TF32 is enabled by default" in text and "--noTF32" not in _command(plain),
        dla=said.get("System Options", {}).get("DLACore", ""),
        clocks=said[device].get("Application Compute Clock Rate")
        or said[device].get("Compute Clock Rate", ""),
        idle=said[options].get("Idle time", "0ms"),
        queries=int(found(_TRACE, "Timing trace has")),
        warmups=int(found(_WARMUP, "Warmup completed")),
        median_ms=number(_GPU_TIME, "GPU Compute Time"),
        started_at=_moment(first),
        warnings=tuple(warnings),
    )


def _batch(path: Path, said: str, model: dict[str, str], inputs: dict[str, tuple[int, ...]]) -> int:
    """The batch that was run: that of an implicit-batch engine, whose inputs are those of one image
    (all that was read from Caffe or UFF), else the inputs' first size."""
    implicit = foreign.count(said) or 0
    if implicit > 1 or (implicit and model.get("Format") in ("Caffe", "UFF")):
        return implicit
    sizes = {shape[0] for shape in inputs.values()}
    if len(sizes) != 1 or not min(sizes):
        raise UsageError(
            f"{path} does not tell one batch size: its inputs are {inputs or 'not named'}"
        )
    return sizes.pop()


def _command(plain: list[str]) -> str:
    return next(line for line in plain if line.startswith("&&&& RUNNING"))


def _moment(stamp: str | None) -> str | None:
    """The log's own clock, which has no zone and is taken for UTC."""
    if stamp is None:
        return None
    try:
        moment = datetime.strptime(stamp, "%m/%d/%Y-%H:%M:%S")
    except ValueError:
        return None
    return moment.isoformat(timespec="milliseconds") + "+00:00"
