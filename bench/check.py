"""Whether a built artifact still computes what the model computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench import agreement, plugins
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
#: The same for boxes that the network itself has chosen, beyond chance (`_beyond_chance`). Which
#: ones hangs on scores that rounding moves past each other, so with int8 only the sure ones stay:
#: of a random SSDLite, whose scores are all alike, 0.3 of what it found, chance being 0.03.
LOWEST_MATCHED: dict[Precision, float] = {
    "fp32": 0.98,
    "tf32": 0.9,
    "fp16": 0.7,
    "bf16": 0.5,
    "int8": 0.1,
}
#: Where a network that makes much of little misses those bounds, it is held to its own sensitivity
#: (`bench.agreement.room`), and to this. A random SegNet in int8 has a cosine of 0.6; a random
#: Inception-v4, 149 convolutions and no shortcut, in fp16 one of 0.975, and of 0.98 with itself
#: where only its input is rounded.
_FLOORS: dict[Precision, float] = {"fp32": 0.99, "fp16": 0.95, "int8": 0.5}
#: The same for boxes. Of a random RetinaNet, which chooses 200 of 11 million scores that are all
#: alike, int8 finds 0.07, and 0.005 of what was found in another image.
_FLOORS_MATCHED: dict[Precision, float] = {"fp32": 0.9, "int8": 0.03}
#: Answers that differ by less from image to image are one answer.
_SAME_EVERYWHERE = 1e-6
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
    if not all(np.isfinite(each).all() for answer in wanted for each in answer):
        raise StageError(
            "not-finite",
            f"{model.name} itself gives outputs that are not finite, as fp32 on ONNX Runtime: "
            "nothing can be compared with it; look at its weights and its preprocessing",
        )
    tell.at("open")
    with runner.open(built, target, batch=batch, threads=threads) as [session]:
        tell.at("check")
        found = [outputs(session, feed) for feed in pool]
    alike = [agreement.compare(*pair, model) for pair in zip(wanted, found, strict=True)]
    matched = all(each.matched for each in alike)
    cosine = (_beyond_chance if matched else _worst)(wanted, found, model)
    result = Check(cosine=cosine, max_rel=max(each.max_rel for each in alike), n=len(alike))
    lowest = (LOWEST_MATCHED if matched else LOWEST_COSINE)[target.precision]
    floors = _FLOORS_MATCHED if matched else _FLOORS
    if target.precision in floors and not cosine >= lowest:
        own = _own(exported, pool, model, target.precision)
        its_own = (_beyond_chance if matched else _worst)(wanted, own, model)
        floor = floors[target.precision]
        lowest = agreement.room(agreement.Agreement(its_own, 0.0), lowest, 0.0, floor)[0]
    if not result.cosine >= lowest:
        raise StageError(
            "wrong-output",
            f"{model.name} as {target.precision} no longer computes what the model computes: "
            f"cosine similarity {result.cosine:.4f} with the fp32 ONNX, at least {lowest:.4g} is "
            "asked",
        )
    return result


def _beyond_chance(wanted: list[list[Array]], found: list[list[Array]], model: Model) -> float:
    """How much of the boxes is the same, over all inputs, beyond what would be if the artifact had
    looked at another image: (a - c) / (1 - c), with a for the same image and c for different ones.

    It is 1 for the same boxes, and 0 for boxes that have nothing to do with the image, as an
    artifact finds that always says the same.
    """
    each = np.array(
        [[agreement.compare(want, have, model).cosine for have in found] for want in wanted]
    )
    same = float(np.diag(each).mean())
    others = each[~np.eye(len(each), dtype=bool)]
    chance = float(others.mean()) if others.size else 0.0
    # Where every image has the same boxes, chance is all there is: 1, but for the last digits.
    return (same - chance) / (1 - chance) if chance < 1 - _SAME_EVERYWHERE else same


def _worst(wanted: list[list[Array]], found: list[list[Array]], model: Model) -> float:
    """The lowest cosine of all inputs; NaN is wrong too, and min() may pass over it."""
    pairs = zip(wanted, found, strict=True)
    return float(np.min([agreement.compare(*pair, model).cosine for pair in pairs]))


def _own(
    exported: Artifact, feeds: list[Feed], model: Model, precision: Precision
) -> list[list[Array]]:
    """What the network itself computes of inputs that the precision cannot tell from these."""
    with reference(exported, fixed_batch(model) or 1) as [session]:
        return [outputs(session, agreement.nudged(feed, precision)) for feed in feeds]
