"""What a command or a matrix asks for, as jobs: every model on every target, in every way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench import catalog, datasets, recipes
from bench.errors import UsageError
from bench.records import Data, Job, Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.cache import Cache
    from bench.records import Procedure, Target

_NO_DATA = Data()


def images(
    data: Path | None,
    calib: Path | None,
    calibration: Sequence[Recipe],
    *,
    limit: int | None = None,
    strict: bool = False,
    search: bool = False,
    dashes: str = "--",
) -> Data:
    """The images that are evaluated and calibrated on. `search`: remedies may need more of them.
    Raises UsageError for folders that cannot be read; `dashes` stand before their options."""
    if data is not None:
        datasets.require_folder(data, f"{dashes}data")
    if calib is not None:
        if data is None:
            raise UsageError(
                f"{dashes}calib needs {dashes}data, the images that accuracy is measured on"
            )
        datasets.require_folder(calib, f"{dashes}calib")
    return Data(
        str(data.resolve()) if data else None,
        limit,
        recipes.set_aside(calibration, search=search),
        str(calib.resolve()) if calib else None,
        strict,
    )


def every(
    models: Sequence[str],
    targets: Sequence[Target],
    procedure: Procedure,
    cache: Cache,
    *,
    weights: str,
    data: Data = _NO_DATA,
    made: Mapping[str, Sequence[Recipe]] | None = None,
    max_drop: float | None = None,
    batches: Sequence[int] = (),
) -> list[Job]:
    """A job for each model (names and globs), target, recipe of int8 (`made`, by the target's name)
    and batch. Raises UsageError for what does not exist."""
    sizes = tuple(dict.fromkeys(batches)) or (procedure.batch,)
    return [
        Job(model, target, weights, replace(procedure, batch=batch), data, recipe, max_drop)
        for model in catalog.resolve(list(models), cache)
        for target in targets
        for recipe in (made[target.name] if made else (Recipe(),))
        for batch in sizes
    ]
