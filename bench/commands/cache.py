"""`bench cache`: its size, and clearing it."""

from __future__ import annotations

from typing import Annotated

import typer

from bench import terminal
from bench.cache import KEPT
from bench.commands.common import JsonOption, open_cache, print_json
from bench.errors import UsageError

app = typer.Typer(help="Look at the cache of artifacts, or clear it.", no_args_is_help=True)


@app.command("size")
def cache_size(as_json: JsonOption = False) -> None:
    """How much each stage has cached, and where."""
    sizes = open_cache().size()
    if as_json:
        stages = {stage: {"entries": n, "bytes": size} for stage, (n, size) in sizes.items()}
        print_json({"path": str(open_cache().root), "stages": stages})
        return
    total = sum(size for _, size in sizes.values())
    terminal.table(
        ["stage", "entries", "MB"],
        [
            *([stage, str(n), f"{size / 1e6:.1f}"] for stage, (n, size) in sizes.items()),
            ["all", str(sum(n for n, _ in sizes.values())), f"{total / 1e6:.1f}"],
        ],
        right={"entries", "MB"},
    )
    terminal.say(f"in {open_cache().root}")


@app.command("clear")
def cache_clear(
    stage: Annotated[
        list[str] | None, typer.Argument(help="Only these stages; default: all but kept.")
    ] = None,
) -> None:
    """Remove cached artifacts. Results stay, and what baselines need (stage kept) unless named."""
    cache = open_cache()
    known = cache.size()
    for name in stage or []:
        if name not in known:
            raise UsageError(f"nothing is cached for {name!r}: see `bench cache size`")
    chosen = set(stage or known.keys() - {KEPT})
    cache.clear(chosen)
    terminal.say(f"{sum(known[name][1] for name in chosen) / 1e6:.1f} MB freed")
    if KEPT in known and KEPT not in chosen:
        terminal.say(
            f"{known[KEPT][1] / 1e6:.1f} MB stay: the artifacts of baselines, which `bench gate` "
            f"confirms by; `bench cache clear {KEPT}` removes them"
        )
