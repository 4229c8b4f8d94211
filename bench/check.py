"""Whether a built artifact still computes what the model computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench import plugins
from bench.errors import StageError
from bench.machine import usable_threads
from bench.records import Check, Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from bench.contracts import Array, Feed, Runner, Session
    from bench.records import Artifact, Model, Precision
    from bench.teller import Teller

#: The lowest cosine similarity between the artifact's outputs and those of the fp32 ONNX that is
#: still the same network. fp32 differs by summation order only; bf16 and fp16 keep 8 and 11
#: significant bits; int8 may blur the outputs, but below 0.8 the network is another one.
LOWEST_COSINE: dict[Precision, float] = {
    "fp32": 0.9999,
    "tf32": 0.999,
    "fp16": 0.99,
    "bf16": 0.99,
    "int8": 0.8,
}
#: What an artifact is compared with: the exported fp32 ONNX itself, on ONNX Runtime's CPU.
REFERENCE = Target("reference", "cpu", "ort", "fp32")


def reference(exported: Artifact, batch: int = 1) -> AbstractContextManager[Sequence[Session]]:
    """One session of the exported fp32 ONNX itself, on ONNX Runtime's CPU."""
    return plugins.runner("ort").open(exported, REFERENCE, batch=batch, threads=usable_threads())


def fixed_batch(model: Model) -> int | None:
    """The batch size that the model is fixed at, None where it is free."""
    return model.inputs[0].shape[0] if model.inputs and model.inputs[0].shape else None


def outputs(session: Session, feed: Feed) -> list[Array]:
    """Copies of what the session computes from one feed."""
    session.stage(feed)
    session.step()
    return [np.array(output) for output in session.fetch()]


def check(
    exported: Artifact,
    built: Artifact,
    model: Model,
    runner: Runner,
    target: Target,
    pool: list[Feed],
    threads: int,
    tell: Teller,
) -> Check:
    """Compare the artifact with its reference on the inputs of `pool`, on as many threads as it is
    going to be timed on: OpenVINO 2026.4 computed one int8 product rightly on two threads and not
    on one.

    Raises StageError "wrong-output" when the outputs differ in number or shape, are not finite, or
    point elsewhere.
    """
    batch = fixed_batch(model) or 1
    with reference(exported, batch) as [session]:
        wanted = [outputs(session, feed) for feed in pool]
    del session  # its weights, before those of the artifact are loaded
    tell.at("open")
    with runner.open(built, target, batch=batch, threads=threads) as [session]:
        tell.at("check")
        found = [outputs(session, feed) for feed in pool]
    result = compare(wanted, found)
    lowest = LOWEST_COSINE[target.precision]
    if not result.cosine >= lowest:  # NaN is wrong too
        raise StageError(
            "wrong-output",
            f"{model.name} as {target.precision} no longer computes what the model computes: "
            f"cosine similarity {result.cosine:.4f} with the fp32 ONNX, at least {lowest} is asked",
        )
    return result


def compare(wanted: list[list[Array]], found: list[list[Array]]) -> Check:
    """The worst agreement over all outputs of all inputs."""
    cosine, max_rel = 1.0, 0.0
    for references, actuals in zip(wanted, found, strict=True):
        shapes = [a.shape for a in references], [a.shape for a in actuals]
        if shapes[0] != shapes[1]:
            raise StageError(
                "wrong-output", f"the outputs have shapes {shapes[1]}, the ONNX file's {shapes[0]}"
            )
        for want, have in zip(references, actuals, strict=True):
            cosine = min(cosine, cosine_similarity(want, have))
            scale = float(np.abs(want.astype(np.float64)).max(initial=0)) or 1.0
            gap = np.abs(want.astype(np.float64) - have.astype(np.float64)).max(initial=0)
            max_rel = max(max_rel, float(gap) / scale)
    return Check(cosine=cosine, max_rel=max_rel, n=len(wanted))


def cosine_similarity(a: Array, b: Array) -> float:
    """Cosine of the angle between two arrays taken as vectors; NaN when either is not finite, and
    1 when both are zero."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norms == 0:
        return 1.0 if not x.any() and not y.any() else 0.0
    return float(x @ y) / norms
