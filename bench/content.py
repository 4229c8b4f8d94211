"""What a name means today, where it may mean something else tomorrow: files, folders, own code."""

from __future__ import annotations

import hashlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from bench import onnx_graph
from bench.cache import sha256_of
from bench.errors import BenchError
from bench.modelref import ZOOS, ModelRef
from bench.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable


def fingerprint(model: str, weights: str) -> str | None:
    """Twelve letters that change with the content of what was asked for: an ONNX file, its weights
    and its sidecar; a folder; the Python files of a factory's package, or beside its module; a file
    of weights. None where a name and the versions of packages say it all."""
    ref = ModelRef.parse(model)
    files = _files(ref)
    if weights not in ("pretrained", "random"):
        files.append(expanded(weights))
    hashed = hashlib.sha256()
    found = False
    for file in files:
        try:
            if file.is_file():
                name = file.name.encode(errors="surrogateescape")
                hashed.update(name + f" {sha256_of([file])} ".encode())
                found = True
        except OSError:  # whoever exports it says so
            continue
    return hashed.hexdigest()[:12] if found else None


def _files(ref: ModelRef) -> list[Path]:
    if ref.source in ZOOS:  # a folder that is called like an architecture is not meant
        return []
    if ref.source == "py":
        return _code(ref.name.partition(":")[0])
    try:
        path = expanded(ref.name)
        if path.is_dir():
            return sorted(path.iterdir())
        if path.is_file():
            beside = path.with_suffix(".toml")
            return [path, beside, *(path.parent / name for name in _companions(path))]
    except OSError:  # a name that cannot be one of a file
        pass
    return []


def _companions(path: Path) -> Iterable[str]:
    if path.suffix.lower() != ".onnx":
        return ()
    try:
        return onnx_graph.companions(onnx_graph.read(path))
    except BenchError:
        return ()


def _code(module: str) -> list[Path]:
    """Where the import of a module would find it (see `exporters.python_factory`), without running
    any of it."""
    spec = PathFinder.find_spec(module.partition(".")[0], [*sys.path, str(Path.cwd())])
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return sorted(
            file
            for folder in spec.submodule_search_locations
            for file in Path(folder).rglob("*.py")
        )
    return sorted(Path(spec.origin).parent.glob("*.py")) if spec.origin else []
