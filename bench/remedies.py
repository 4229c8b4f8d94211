"""What is tried, one after the other, when int8 loses too much accuracy: in the order of cost.

The first recipe; more images; the other methods, each on all images that are set aside; and then,
with the first method again, 1, 2, 4, ... of the layers that int8 harms most in higher precision, up
to half of them. The first method, and not the one that lost least: that often is one that clips the
widest ranges, which is of no use any more once the layers that have them are in higher precision.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.recipes import IMAGES, written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.messages import Quantized
    from bench.records import Accuracy, Failure, Recipe, Trial


#: A recipe that fails at one of these has been tried in vain; any other failure is the job's.
_STAGES = ("build", "open", "check")
#: Kinds of failures that are the machine's, whatever the recipe is.
_OF_THE_MACHINE = ("timeout", "oom", "disk-full", "not-written")


def first(recipe: Recipe) -> Recipe:
    """What is tried first: what was asked for."""
    return replace(recipe, images=IMAGES if recipe.images is None else recipe.images)


def following(tried: Sequence[Trial], made: Quantized) -> Recipe | None:
    """What is to be tried next, None when nothing is left. `made` is what the last one was."""
    done = [trial.recipe for trial in tried]
    for recipe in _plain(done[0], made):
        if recipe not in done:
            return recipe
    last = tried[-1]
    if not made.keeps or last.recipe.keep > max(done[0].keep, len(last.kept)):
        return None  # the last one kept half of the layers
    return replace(
        done[0], images=made.available, keep=max(1, 2 * max(recipe.keep for recipe in done))
    )


def goes_on(failure: Failure) -> bool:
    """Whether something else can be tried after a recipe failed so."""
    return failure.stage in _STAGES and failure.kind not in _OF_THE_MACHINE


def resolved(recipe: Recipe, made: Quantized | None) -> Recipe:
    """What a recipe came to."""
    if made is None:
        return recipe
    return replace(recipe, method=recipe.method or made.methods[0], images=made.images)


def _plain(asked: Recipe, made: Quantized) -> Iterator[Recipe]:
    """Everything but keeping more layers, in the order of cost."""
    yield replace(asked, images=made.available)
    for method in made.methods:
        yield replace(asked, method=method, images=made.available)


def _best(trials: Sequence[Trial]) -> Trial | None:
    """The one that lost least; of equals, the first."""
    return max((trial for trial in trials if trial.accuracy), key=_change, default=None)


def in_vain(trials: Sequence[Trial], max_drop: float) -> str:
    """What to say when nothing kept the accuracy."""
    best = _best(trials)
    if best is None or best.accuracy is None:
        return f"none of the {len(trials)} recipes tried could be built and evaluated"
    return (
        f"{best.accuracy.metric} falls by more than {max_drop:g} points whatever was tried: the "
        f"best of {len(trials)} recipes, {written(best.recipe)}, loses {-_change(best):.2f}"
    )


def _change(trial: Trial) -> float:
    return change(trial.accuracy) if trial.accuracy else float("-inf")


def change(found: Accuracy) -> float:
    """Points gained or lost against fp32 on the same images."""
    return 0.0 if found.reference is None else found.value - found.reference


def enough(found: Accuracy, max_drop: float) -> bool:
    """Whether no more is lost than may be. The centre of the paired change is judged: a rounding
    error of it is no loss."""
    return change(found) >= -max_drop - 1e-9
