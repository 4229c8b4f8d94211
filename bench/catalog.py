"""From what a person types to the models meant: names, globs, files and near matches."""

from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatchcase
from glob import glob, has_magic
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench import plugins
from bench.cache import Cache, versions
from bench.errors import BenchError, Unavailable, UsageError, close, unknown
from bench.launch import ChildError, call
from bench.messages import Describe, Described, Names
from bench.modelref import ZOOS, ModelRef
from bench.paths import expanded
from bench.timing import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.messages import Outlines

T = TypeVar("T")

#: Seconds a source may take to list itself.
_PATIENCE = 120.0
#: How alike a name has to be to one that there is, to be taken for a slip.
_MISTYPED = 0.87
#: As many tags as a message lists.
_FEW = 10


def names(source: str, cache: Cache) -> list[str]:
    """Every model of a source, sorted; from an index made once per installed version."""
    return told("names", Names(source), list[str], _PATIENCE, cache)


def told(
    stage: str, request: Names | Outlines, kind: type[T], patience_seconds: float, cache: Cache
) -> T:
    """What a source says of itself, asked once per installed version; where its own package is not
    installed, its refusal is kept as well.

    Raises Unavailable for a missing package, BenchError for anything else that goes wrong.
    """
    packages = plugins.exporter(request.source).packages
    key = [request.source, versions(("frontier-bench", *packages))]
    known = cache.get(stage, key, kind)
    if known is not None:
        return known
    lacks_its_own = bool(packages) and not _is_installed(packages[0])
    if lacks_its_own and (refusal := cache.get("refusals", [stage, *key], str)):
        raise Unavailable(refusal)
    try:
        known = call(request, kind, Deadline.after(patience_seconds))
    except ChildError as failed:
        said = f"models of {request.source} cannot be listed: {failed}"
        if failed.kind != Unavailable.kind:
            raise BenchError(said) from failed
        if lacks_its_own:
            with suppress(OSError, BenchError):
                cache.put("refusals", [stage, *key], said)
        raise Unavailable(said) from failed
    with suppress(OSError, BenchError):  # an index that cannot be kept is made again
        cache.put(stage, key, known)
    return known


def _is_installed(package: str) -> bool:
    return bool(versions((package,))) or find_spec(package.replace("-", "_")) is not None


def may_name(pattern: str, source: str) -> bool:
    """Whether a glob can name a model of a source at all."""
    return ":" not in pattern or asks_for(pattern, source)


def asks_for(pattern: str, source: str) -> bool:
    """Whether a glob names the source itself."""
    named, colon, _ = pattern.partition(":")
    return bool(colon) and fnmatchcase(source, named)


def listed(patterns: Iterable[str], cache: Cache) -> tuple[list[str], list[BenchError]]:
    """`source:name` of every model that a pattern names (all without one), and why sources could
    not be listed."""
    wanted = list(patterns) or ["*"]
    found: list[str] = []
    problems: list[BenchError] = []
    for source in plugins.find("exporters"):
        if not any(may_name(pattern, source) for pattern in wanted):
            continue
        try:
            every = names(source, cache)
        except BenchError as refusal:  # of one source; the others can be listed
            problems.append(refusal)
            continue
        for name in every:
            full = f"{source}:{name}"
            if any(fits(full, pattern) or fits(name, pattern) for pattern in wanted):
                found.append(full)
    return found, problems


def fits(name: str, pattern: str, *, tagged: bool | None = None) -> bool:
    """Whether a glob names a model. A tagged variant is meant only by a pattern with a dot: 50
    tags of one architecture are one point to most people. A dot is a tag where nothing else is
    said."""
    if tagged is None:
        tagged = "." in name
    return fnmatchcase(name, pattern) and ("." in pattern or not tagged)


def resolve(patterns: Iterable[str], cache: Cache) -> list[str]:
    """The models that the patterns name, each once, every one with its source.

    Raises UsageError, with the near matches, for a pattern that names nothing.
    """
    chosen: dict[str, None] = {}
    for pattern in patterns:
        chosen |= dict.fromkeys(_resolve(pattern, cache))
    return list(chosen)


def _resolve(pattern: str, cache: Cache) -> list[str]:
    ref = ModelRef.parse(pattern)
    if ref.source == "onnx":
        return _files(ref.name)
    if ref.source is None:
        return _in_zoos(ref.name, cache)
    if ref.source not in plugins.find("exporters"):
        raise unknown("model source", ref.source, plugins.find("exporters"), "bench list models")
    try:
        every = names(ref.source, cache)
    except Unavailable:
        if has_magic(ref.name):
            raise
        every = []
    if not every:  # a source that cannot list itself, or is not installed, says so on describing
        return [pattern]
    found = _among(ref.name, every)
    if not found:
        raise _nowhere(ref.source, ref.name, every, cache)
    return [f"{ref.source}:{name}" for name in found]


def _in_zoos(name: str, cache: Cache) -> list[str]:
    """A bare name belongs to the first zoo that has it."""
    searched: list[str] = []
    missing: list[Unavailable] = []
    for zoo in ZOOS:
        try:
            every = names(zoo, cache)
        except Unavailable as refusal:
            missing.append(refusal)
            continue
        if found := _among(name, every):
            return [f"{zoo}:{each}" for each in found]
        searched += every
    if Path(name).is_file():
        raise UsageError(f"{name} is a file, but not called *.onnx: an ONNX file was expected")
    if missing:
        raise missing[0]
    if tags := _tags(name, searched):
        raise _unknown_tag(name, tags)
    raise unknown("model", name, [*searched, *_builtin(cache)], "bench list models")


def _nowhere(source: str, name: str, every: list[str], cache: Cache) -> UsageError:
    """Why a source has no such model: in its own words, which may be more than that the name is
    unknown, unless it is mistyped."""
    full = f"{source}:{name}"
    if tags := _tags(name, every):
        return _unknown_tag(full, tags)
    if not has_magic(name) and not close(name, every, cutoff=_MISTYPED):
        try:
            call(Describe(full, None, str(cache.root)), Described, Deadline.after(_PATIENCE))
        except ChildError as failed:
            if failed.kind == UsageError.kind:
                return UsageError(str(failed))
    near = [f"{source}:{each}" for each in every]
    return unknown("model", full, near, f"bench list models '{source}:*'")


def _tags(name: str, every: list[str]) -> list[str]:
    """The tags of weights that there are of a model, where `name` asks for another one."""
    architecture, dot, _ = name.partition(".")
    if not dot or architecture not in every:
        return []
    start = architecture + dot
    return [each.removeprefix(start) for each in every if each.startswith(start)]


def _unknown_tag(name: str, tags: list[str]) -> UsageError:
    architecture, _, tag = name.partition(".")
    hint = f"see `bench list models '{architecture}.*'`"
    if near := close(tag, tags, cutoff=0.5):
        hint = f"did you mean {', '.join(f'{architecture}.{each}' for each in near)}?"
    elif len(tags) <= _FEW:
        hint = f"one of: {', '.join(tags)}"
    return UsageError(f"unknown weights tag of {architecture} {tag!r}: {hint}")


def _builtin(cache: Cache) -> list[str]:
    return [f"builtin:{name}" for name in names("builtin", cache)]


def _among(name: str, every: list[str]) -> list[str]:
    if has_magic(name):
        return [each for each in every if fits(each, name)]
    return [name] if name in every else []


def _files(name: str) -> list[str]:
    path = expanded(name)
    if not name.isprintable():  # a surrogate, which JSON cannot hold, or a control character
        raise UsageError(f"{name!r}: the name of the file cannot be printed; rename it")
    if path.is_file():
        return [name]
    found = sorted(glob(str(path))) if has_magic(name) else []  # noqa: PTH207 (a whole path)
    if not found:
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{name} {problem}: an ONNX file was expected")
    return found
