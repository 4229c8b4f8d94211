"""The matrix of a gate: a TOML file.

    models = ["builtin:digits-*", "./net.onnx"]
    targets = ["cpu-ort-fp32", "cpu-openvino-int8"]
    margin = 0.02             # the smallest slowdown that matters, a share
    accuracy_drop = 1.0       # the largest fall of accuracy that is let through, in points
    budget_minutes = 60       # no further job is started after so long
    confirm_seconds = 120     # that one comparison may take
    timeout = 1800            # seconds that one job may take in all; in a comparison, each side to
                              # be built, and each process to be ready

and, as in `bench run`: weights, data, limit, calib, calibration (a text, a number or a list of
them), max_drop, strict, batch, threads, processes, min_seconds, max_seconds, and a table `options`
for the runners.
"""

from __future__ import annotations

from glob import escape, has_magic
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench import jobs, recipes, targets, toml_file
from bench.errors import UsageError
from bench.gate import series
from bench.modelref import is_file
from bench.paths import expanded
from bench.records import Procedure

if TYPE_CHECKING:
    from bench.cache import Cache
    from bench.records import Job, Recipe

_DEFAULT = Procedure()
#: Of minutes, seconds, images or threads: more is a slip.
_MOST = 1e6
#: Of processes: all of a job live at the same time.
_MOST_PROCESSES = 100
#: Bytes of each part of a name, as many as file systems allow, and characters of all its parts.
_LONGEST_PART, _LONGEST = 255, 1000


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    models: tuple[str, ...]
    targets: tuple[str, ...]
    margin: float = 0.02
    accuracy_drop: float = 1.0
    budget_minutes: float = 60.0
    confirm_seconds: float = 120.0
    timeout: float = _DEFAULT.timeout_seconds
    weights: str = "pretrained"
    data: str | None = None
    limit: int | None = None
    calib: str | None = None
    calibration: str | int | tuple[str | int, ...] = ()
    max_drop: float | None = None
    strict: bool = False
    batch: int = _DEFAULT.batch
    threads: int | None = None
    processes: int = _DEFAULT.processes
    min_seconds: float = _DEFAULT.min_seconds
    max_seconds: float = _DEFAULT.max_seconds
    options: dict[str, str | int | float | bool] = {}

    def jobs(self, base: Path, cache: Cache) -> list[Job]:
        """Every model on every target. Files are found from the folder `base` of the matrix."""
        procedure = Procedure(
            batch=self.batch,
            threads=self.threads,
            processes=self.processes,
            min_seconds=self.min_seconds,
            max_seconds=self.max_seconds,
            timeout_seconds=self.timeout,
        )
        asked = self.recipes()
        images = jobs.images(
            base / self.data if self.data else None,
            base / self.calib if self.calib else None,
            asked,
            limit=self.limit,
            strict=self.strict,
            search=self.max_drop is not None,
            dashes="",
        )
        patterns = [_from(base, name) if is_file(name) else name for name in self.models]
        own_weights = base / self.weights
        weights = str(own_weights) if own_weights.is_file() else self.weights
        chosen = targets.select(list(self.targets), dict(self.options))
        wanted = jobs.every(
            patterns,
            chosen,
            procedure,
            cache,
            weights=weights,
            data=images,
            made=recipes.expand(asked, chosen),
            max_drop=self.max_drop,
        )
        named: dict[str, Job] = {}
        for job in wanted:
            twin = named.setdefault(series.key(job), job)
            if twin is not job:
                raise UsageError(
                    f"{twin.model} and {job.model} have one name, so their results could not be "
                    "told apart: rename one"
                )
        return wanted

    def recipes(self) -> list[Recipe]:
        """How int8 is to be made. Raises UsageError."""
        given = self.calibration if isinstance(self.calibration, tuple) else (self.calibration,)
        return recipes.parse(",".join(map(str, given)))


def _from(base: Path, name: str) -> str:
    """A file, or a glob of files, as the folder `base` names it."""
    path = expanded(name)
    if path.is_absolute():
        return str(path)
    # The folder's own name is no pattern, whatever it is called.
    return str(Path(escape(str(base)) if has_magic(name) else base) / path)


def read(path: Path) -> Matrix:
    """The matrix in a file. Raises UsageError with one sentence that names the file."""
    matrix = toml_file.read(path, Matrix, "the matrix")
    for name in ("models", "targets"):
        if not getattr(matrix, name):
            raise UsageError(f"the matrix {path}: `{name}` is empty, so nothing would be measured")
    if not 0 < matrix.margin < 1:
        raise UsageError(f"the matrix {path}: margin must be between 0 and 1, not {matrix.margin}")
    for name in ("models", "targets", "weights", "data", "calib", "calibration"):
        given = getattr(matrix, name)
        for text in given if isinstance(given, tuple) else (given,):
            if isinstance(text, str) and _too_long(text):
                raise UsageError(
                    f"the matrix {path}: `{name}` has a name that is too long: {text[:40]}..."
                )
    positive = ("budget_minutes", "confirm_seconds", "timeout", "batch", "processes")
    for name in (*positive, "min_seconds", "max_seconds"):
        if not 0 < getattr(matrix, name) < _MOST:
            raise UsageError(
                f"the matrix {path}: {name} has to be a number above 0 and below {_MOST:g}"
            )
    if matrix.processes > _MOST_PROCESSES:
        raise UsageError(f"the matrix {path}: processes has to be at most {_MOST_PROCESSES}")
    if not isfinite(matrix.accuracy_drop) or matrix.accuracy_drop < 0:
        raise UsageError(f"the matrix {path}: accuracy_drop has to be a number of points")
    if matrix.max_drop is not None and not 0 <= matrix.max_drop < _MOST:
        raise UsageError(f"the matrix {path}: max_drop has to be a number of points")
    if matrix.max_drop is not None and len(matrix.recipes()) > 1:
        raise UsageError(f"the matrix {path}: max_drop goes with one calibration, not with several")
    if matrix.calib and not matrix.data:
        raise UsageError(
            f"the matrix {path}: calib needs data, the images that accuracy is measured on"
        )
    for name in ("threads", "limit"):
        if (given := getattr(matrix, name)) is not None and not 1 <= given < _MOST:
            raise UsageError(f"the matrix {path}: {name} has to be at least 1, and below {_MOST:g}")
    return matrix


def _too_long(text: str) -> bool:
    """Whether it can be no path, and is no name either."""
    return len(text) > _LONGEST or any(
        len(part.encode()) > _LONGEST_PART for part in text.split("/")
    )
