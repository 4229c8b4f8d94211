"""A fake device, shipped: everything but the vendor's call can be tried and tested with it.

Options of its targets (`-o NAME=VALUE`):

    latency_us   what a step takes
    noise        lognormal sigma of a step, as a share
    drift        growth of the latency, as a share per 1,000 steps
    spike_us     added to one step in a hundred
    fault        KIND@STAGE: what goes wrong, and where. Kinds: raise, crash (SIGSEGV), kill
                 (SIGKILL), exit, hang, oom (MemoryError), wrong (wrong outputs).
                 Stages: build, open, time.

Outputs are real: ONNX Runtime computes them when they are fetched, outside of the fake step.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from bench import timing
from bench.errors import StageError, UsageError
from runners.ort import OrtRunner

if TYPE_CHECKING:
    from pathlib import Path

    from bench.contracts import Array, Calibration, Feed, Session
    from bench.records import Artifact, Option, Precision, Target, TensorSpec

_OPTIONS = {"latency_us", "noise", "drift", "spike_us", "fault"}
_KINDS = {"raise", "crash", "kill", "exit", "hang", "oom", "wrong"}
_STAGES = {"build", "open", "time"}


class NullRunner:
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    packages: tuple[str, ...] = ("onnxruntime",)

    def probe(self, target: Target) -> str | None:
        if unknown := target.options.keys() - _OPTIONS:
            known = ", ".join(sorted(_OPTIONS))
            raise UsageError(f"the null runner has no option {min(unknown)!r}: it has {known}")
        kind, _, stage = str(target.options.get("fault", "raise@time")).partition("@")
        if kind not in _KINDS or stage not in _STAGES:
            raise UsageError(
                f"a fault is KIND@STAGE: one of {', '.join(sorted(_KINDS))} at one of "
                f"{', '.join(sorted(_STAGES))}"
            )
        return None

    def build(self, onnx: Artifact, target: Target, calibration: Calibration, to: Path) -> Artifact:
        _fault(target, "build")
        return onnx

    @contextmanager
    def open(
        self, built: Artifact, target: Target, *, batch: int, threads: int, streams: int = 1
    ) -> Iterator[list[NullSession]]:
        _fault(target, "open")
        how = {"batch": batch, "threads": threads, "streams": streams}
        with OrtRunner().open(built, target, **how) as sessions:
            yield [NullSession(session, target) for session in sessions]


class NullSession:
    """Steps that take the time the options say."""

    def __init__(self, real: Session, target: Target) -> None:
        options = target.options
        self._real = real
        self._target = target
        self._latency_ns = float(options.get("latency_us", 200)) * 1e3
        self._noise = float(options.get("noise", 0.0))
        self._drift = float(options.get("drift", 0.0))
        self._spike_ns = float(options.get("spike_us", 0.0)) * 1e3
        # Every process has noise of its own, as real ones do.
        self._rng = np.random.default_rng(os.getpid())
        self._steps = 0
        self.inputs: Sequence[TensorSpec] = real.inputs

    def stage(self, feed: Feed) -> None:
        self._real.stage(feed)

    def step(self) -> None:
        self._steps += 1
        # The check and the evaluation take a few steps; a fault "at time" strikes later.
        if self._steps == 50:
            _fault(self._target, "time")
        ns = self._latency_ns * (1 + self._drift * self._steps / 1000)
        if self._noise:
            ns *= self._rng.lognormal(0.0, self._noise)
        if self._spike_ns and self._rng.random() < 0.01:
            ns += self._spike_ns
        timing.spin(int(ns))

    def fetch(self) -> Sequence[Array]:
        self._real.step()
        outputs = self._real.fetch()
        if str(self._target.options.get("fault", "")).startswith("wrong@"):
            return [np.negative(output) for output in outputs]
        return outputs

    def flags(self) -> Mapping[str, Option]:
        return {"simulated": True}


def _fault(target: Target, stage: str) -> None:
    kind, _, where = str(target.options.get("fault", "")).partition("@")
    if where != stage:
        return
    if kind == "raise":
        raise StageError("simulated", f"a fault was asked for at {stage}")
    if kind == "oom":
        raise MemoryError("a fault was asked for")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exit":
        print("the null runner leaves", file=sys.stderr, flush=True)
        os._exit(7)
    if kind == "hang":
        Event().wait()
