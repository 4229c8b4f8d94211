"""What several commands share: their options, and how they open the store and the cache."""

from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatchcase
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.cache import Cache
    from bench.campaign import Campaign
    from bench.progress import Progress
    from bench.records import Option, Result
    from bench.store import Store

StoreOption = Annotated[
    str | None,
    typer.Option("--store", envvar="BENCH_STORE", help="Database URL, or path of a SQLite file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Images a step.")]
ModelOption = Annotated[
    list[str],
    typer.Option("--model", "-m", help="source:name[.weights], a file, a name or a glob."),
]
TargetOption = Annotated[
    list[str], typer.Option("--target", "-t", help="A target's name, or a glob.")
]
OfTargetOption = Annotated[
    str | None,
    typer.Option("--target", "-t", help="Only results of this target, or of all a glob names."),
]
WeightsOption = Annotated[
    str,
    typer.Option("--weights", help="pretrained, random, or a file (safetensors or state dict)."),
]
ProcessesOption = Annotated[
    int, typer.Option("--processes", min=1, help="Fresh processes, measured in turns.")
]
MinSecondsOption = Annotated[
    float,
    typer.Option(
        "--min-seconds", min=0.01, help="Seconds of samples at least, over all processes."
    ),
]
MaxSecondsOption = Annotated[
    float,
    typer.Option("--max-seconds", min=0.01, help="Stop after so many seconds of samples."),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads; default: the usable physical cores."),
]
AnywayOption = Annotated[
    bool,
    typer.Option(
        "--anyway", help="Run on other hardware than the target's; recorded as what it is."
    ),
]
RunnerOption = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="KEY=VALUE for the target's runner."),
]


def open_cache() -> Cache:
    from bench.cache import Cache, default_root

    return Cache(default_root())


def open_store(where: str | None) -> Store:
    from bench.store import Store

    return Store(where)


def stored(store: Store, target: str | None, newest: int | None = None) -> list[Result]:
    """The results in a store, or those of the targets that a name or a glob names. Raises
    UsageError for one that names neither a target nor anything stored."""
    if target is None:
        return store.read(newest=newest)
    from bench import targets

    known = {*store.targets(), *(each.name for each in targets.every())}
    chosen = [name for name in known if fnmatchcase(name, target)]
    if not chosen:
        raise unknown("target", target, sorted(known), "bench list targets")
    return store.read(targets=chosen, newest=newest)


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
        raise UsageError(f"{option} {text!r} is no number such as 500K, 30M or 1.5G")
    return round(number)


def _value(text: str) -> Option:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            number = kind(text)
            return number if isfinite(number) else text
    return text
