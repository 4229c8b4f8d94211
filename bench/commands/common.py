"""What several commands share: their options, and how they open the store and the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.cache import Cache
    from bench.records import Result
    from bench.store import Store

StoreOption = Annotated[
    str | None,
    typer.Option("--store", envvar="BENCH_STORE", help="Database URL, or path of a SQLite file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def open_cache() -> Cache:
    from bench.cache import Cache, default_root

    return Cache(default_root())


def open_store(where: str | None) -> Store:
    from bench.store import Store

    return Store(where)


def public(results: Iterable[Result]) -> list[dict[str, Any]]:
    from bench.public import to_public

    return [to_public(result) for result in results]


def print_json(value: Any) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())
