"""What several commands share: their options, and how they open the store and the cache."""

from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import UsageError, unknown
from bench.modelref import ModelRef

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.cache import Cache
    from bench.campaign import Campaign
    from bench.progress import Progress
    from bench.records import Option, Result
    from bench.store import Store

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="BENCH_STORE",
        metavar="PATH|URL",
        help="SQLite file or database URL; default: a file in the user's data directory.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, nothing else there.")
]

BatchOption = Annotated[
    int, typer.Option("--batch", min=1, metavar="N", help="Images per inference.")
]
ModelOption = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="source:name[.weights], an ONNX file, a bare name, or a glob; repeatable.",
    ),
]
TargetOption = Annotated[
    list[str],
    typer.Option(
        "--target", "-t", metavar="TARGET", help="A target's name, or a glob; repeatable."
    ),
]
OfModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="Only results of this model, or of a glob."
    ),
]
OfTargetOption = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", metavar="TARGET", help="Only results of this target, or of a glob."
    ),
]
WeightsOption = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="pretrained|random|FILE",
        help="Which weights to load; a file is safetensors or a state dict.",
    ),
]
ProcessesOption = Annotated[
    int,
    typer.Option("--processes", min=1, metavar="N", help="Fresh processes, measured in turns."),
]
MinSecondsOption = Annotated[
    float,
    typer.Option(
        "--min-seconds",
        min=0.01,
        metavar="SECONDS",
        help="Sample at least this long, over all processes.",
    ),
]
MaxSecondsOption = Annotated[
    float,
    typer.Option(
        "--max-seconds",
        min=0.01,
        metavar="SECONDS",
        help="Sample at most this long, over all processes.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, metavar="N", help="CPU threads; default: the usable physical cores."
    ),
]
AnywayOption = Annotated[
    bool,
    typer.Option(
        "--anyway", help="Run on hardware other than the target's; the observed one is recorded."
    ),
]
KeyValueOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="KEY=VALUE", help="An option of the target's runner; repeatable."
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="FOLDER", help="Labelled images: accuracy, and calibration of int8."
    ),
]
CalibOption = Annotated[
    Path | None,
    typer.Option(
        "--calib", metavar="FOLDER", help="Images to calibrate on; default: some of --data."
    ),
]
CalibrationOption = Annotated[
    list[str] | None,
    typer.Option(
        "--calibration",
        metavar="METHOD[:IMAGES[:KEEP]]|IMAGES",
        help="How int8 is made; repeatable: a row each.  [default: 256]",
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", min=0.1, metavar="SECONDS", help="A job may take this long in all."),
]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Make every artifact anew, whatever is cached.")
]


def open_cache() -> Cache:
    from bench.cache import Cache, default_root

    return Cache(default_root())


def open_store(where: str | None) -> Store:
    from bench.store import Store

    return Store(where)


def stored(
    store: Store, model: str | None, target: str | None, newest: int | None = None
) -> list[Result]:
    """The results in a store; only those of the models and targets that a name or a glob names,
    where one is given. Raises UsageError for one that names nothing."""
    from bench import targets

    models = on = None
    if target is not None:
        known = {*store.targets(), *(each.name for each in targets.every())}
        on = [name for name in known if fnmatchcase(name, target)]
        if not on:
            raise unknown("target", target, sorted(known), "bench list targets")
    if model is not None:
        measured = store.models()
        models = [name for name in measured if _is_named(name, model)]
        if not models:
            raise unknown("model of the store", model, measured, "bench list results")
    return store.read(models=models, targets=on, newest=newest)


def _is_named(model: str, pattern: str) -> bool:
    """Whether a name or a glob means a model as it was asked for: in full, without its source, its
    folder or the tag of its weights."""
    ref = ModelRef.parse(model)
    last = Path(ref.name).name
    bare = last.partition(".")[0]
    means = (model, f"{ref.source}:{bare}", ref.name, last, bare)
    return any(fnmatchcase(each, pattern) for each in means)


def open_campaign(store: Store, live: Progress, **settings: Any) -> Campaign:
    """What measures jobs and keeps their results, and shows how far it has come."""
    from bench import debug
    from bench.campaign import Campaign
    from bench.pipeline import Settings

    how = Settings(
        cache=open_cache().root,
        on_stage=live.at,
        on_images=live.images,
        on_details=debug.details,
        on_trial=live.trial,
        **settings,
    )
    return Campaign(store, how, live.start, live.finish)


def public(results: Iterable[Result]) -> list[dict[str, Any]]:
    from bench.public import to_public

    return [to_public(result) for result in results]


def print_json(value: Any) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def runner_options(pairs: Iterable[str]) -> dict[str, Option]:
    """KEY=VALUE, the value read as a number or true/false where it is one."""
    options: dict[str, Option] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"--option {pair!r}: KEY=VALUE was expected")
        options[key] = _value(text)
    return options


def require_finite(**given: float | None) -> None:
    """Raise UsageError for an option that is NaN or infinite, which Click lets through."""
    for name, value in given.items():
        if value is not None and not isfinite(value):
            raise UsageError(f"--{name.replace('_', '-')} must be a finite number, not {value}")


def quantity(text: str, option: str) -> int:
    """A number with K, M or G behind it, where it has one: 30M, 1.5G."""
    powers = {"K": 1e3, "M": 1e6, "G": 1e9}
    digits, power = text.strip(), 1.0
    if digits and digits[-1].upper() in powers:
        power, digits = powers[digits[-1].upper()], digits[:-1]
    try:
        number = float(digits) * power
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UsageError(f"{option} {text!r} must be a number such as 500K, 30M or 1.5G")
    return round(number)


def _value(text: str) -> Option:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            number = kind(text)
            return number if isfinite(number) else text
    return text
