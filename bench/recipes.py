"""How int8 is to be made, as people write it: METHOD[:IMAGES[:KEEP]], or a number of images.

128                 the runner's first method, on 128 images
entropy             another of its methods
entropy:128:4       on 128 images, the 4 layers that it harms most left in higher precision
*:64,*:256          every method on two numbers of images
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bench import plugins
from bench.contracts import Quantizer
from bench.errors import BenchError, UsageError, unknown
from bench.records import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contracts import Runner
    from bench.records import Artifact, Target

#: Images that are set aside for int8 at most; and where remedies are tried, of which one is more of
#: them.
IMAGES = 256
MORE_IMAGES = 1024
#: What int8 is called where a runner knows but one way.
DEFAULT = "default"

_FORM = re.compile(
    r"(?P<method>[A-Za-z*?][\w*?.-]*)(:(?P<images>\d+)(:(?P<keep>\d+))?)?|(?P<alone>\d+)", re.ASCII
)


def parse(text: str) -> list[Recipe]:
    """The recipes in a list separated by commas; of an empty one, the default. Raises
    UsageError."""
    found = []
    for part in text.split(",") if text.strip() else ():
        match = _FORM.fullmatch(part.strip())
        if not match:
            raise UsageError(
                f"--calibration {part!r}: METHOD[:IMAGES[:KEEP]] or a number of images was "
                "expected, for example 128, entropy or minmax:256:4"
            )
        images, keep = match["images"] or match["alone"], match["keep"]
        found.append(Recipe(match["method"], int(images) if images else None, int(keep or 0)))
    return found or [Recipe()]


def methods(runner: Runner) -> tuple[str, ...]:
    """The ways in which a runner makes int8, the default first."""
    return runner.methods if isinstance(runner, Quantizer) else (DEFAULT,)


def expand(asked: Sequence[Recipe], targets: Sequence[Target]) -> dict[str, list[Recipe]]:
    """The recipes of each target, by its name: patterns become the names of its runner's methods.
    A target that is not int8 has one. Raises UsageError for a method that no target has, and for a
    target that has none of those asked for."""
    known = {target.name: _known(target) for target in targets if target.precision == "int8"}
    everything = sorted({name for names in known.values() for name in names or ()})
    for recipe in asked if everything else ():
        if not any(_matching(recipe, names) for names in known.values()):
            see = f"one of: {', '.join(everything)}"
            raise unknown("calibration method", recipe.method or "", everything, see)
    found = {}
    for target in targets:
        if target.name not in known:
            found[target.name] = [Recipe()]
            continue
        names = known[target.name]
        matching = [each for recipe in asked for each in _matching(recipe, names)]
        if not matching:
            raise UsageError(
                f"target {target.name} has none of these calibration methods: it has "
                f"{', '.join(names or ())}"
            )
        found[target.name] = list(dict.fromkeys(matching))
    return found


def _known(target: Target) -> tuple[str, ...] | None:
    """The methods of a target's runner, None where it is not installed: its row will say so."""
    with suppress(BenchError):
        return methods(plugins.runner(target.runner))
    return None


def _matching(recipe: Recipe, names: Sequence[str] | None) -> list[Recipe]:
    if recipe.method is None or names is None:
        return [recipe]
    return [replace(recipe, method=name) for name in names if fnmatchcase(name, recipe.method)]


def set_aside(asked: Sequence[Recipe], *, search: bool) -> int:
    """How many images have to be set aside, so that every recipe is evaluated on the same ones."""
    sizes = [IMAGES if recipe.images is None else recipe.images for recipe in asked]
    most = max(sizes, default=IMAGES)
    return max(most, MORE_IMAGES) if search and most else most


def written(recipe: Recipe) -> str:
    """A recipe as `--calibration` takes it."""
    keep = f":{recipe.keep}" if recipe.keep else ""
    return f"{recipe.method or DEFAULT}:{recipe.images}{keep}"


def asked(recipe: Recipe) -> str | None:
    """What was said of it: a method, a number of images, or both; None where nothing was."""
    if recipe.images is not None and recipe.method is not None:
        return written(recipe)
    return recipe.method if recipe.images is None else str(recipe.images)


def kept(built: Artifact) -> tuple[str, ...]:
    """The layers that stay in higher precision, as asked for or as the method chose."""
    return tuple(str(built.details.get("kept", "")).splitlines())
