"""`bench list`: models, targets, runners, results."""

from __future__ import annotations

from typing import Annotated

import typer

from bench import terminal
from bench.commands.common import (
    JsonOption,
    StoreOption,
    open_cache,
    open_store,
    print_json,
    public,
)
from bench.errors import UsageError

app = typer.Typer(help="List models, targets, runners or results.", no_args_is_help=True)


@app.command("models")
def list_models(
    pattern: Annotated[list[str] | None, typer.Argument(help="Names or globs.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Every model that a source can name."""
    from bench import catalog

    found, problems = catalog.listed(pattern or [], open_cache())
    for problem in problems:
        terminal.say(f"bench: {problem}")
    if not found and not problems:
        raise UsageError(f"no model is called {' or '.join(pattern or ['anything'])}")
    print_json(found) if as_json else print("\n".join(found))


@app.command("targets")
def list_targets(as_json: JsonOption = False) -> None:
    """Every target: hardware, runner and precision."""
    from bench import targets

    known = targets.every()
    if as_json:
        print_json(known)
        return
    terminal.table(
        ["target", "hardware", "runner", "precision"],
        [[t.name, targets.hardware_of(t).name, t.runner, t.precision] for t in known],
    )


@app.command("runners")
def list_runners(as_json: JsonOption = False) -> None:
    """Every installed runner, the precisions it does and the packages it stands on."""
    from bench import plugins
    from bench.cache import versions

    found = {name: plugins.runner(name) for name in plugins.find("runners")}
    rows = [(name, runner.precisions, versions(runner.packages)) for name, runner in found.items()]
    if as_json:
        keys = ("runner", "precisions", "packages")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    terminal.table(
        ["runner", "precisions", "packages"],
        [
            [name, ", ".join(does), ", ".join(f"{k} {v}" for k, v in on.items()) or "none found"]
            for name, does, on in rows
        ],
        fold=2,
    )


@app.command("results")
def list_results(
    target: Annotated[str | None, typer.Option("--target", "-t", help="Only this target.")] = None,
    last: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """The newest results in the store."""
    from bench import present

    rows = public(open_store(store).read(target=target, newest=last))
    if as_json:
        print_json(rows)
    elif rows:
        present.listing(rows)
    else:
        terminal.say("there are no results yet: `bench run` makes some")
