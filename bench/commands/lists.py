"""`bench list`: models, targets, runners, results."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from bench import terminal
from bench.commands.common import (
    JsonOption,
    OfModelOption,
    OfTargetOption,
    StoreOption,
    open_cache,
    open_store,
    print_json,
    public,
    quantity,
    stored,
)
from bench.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from bench.index import Wanted
    from bench.records import Task

app = typer.Typer(help="List models, targets, runners or results.", no_args_is_help=True)


class Order(str, Enum):
    name = "name"
    params = "params"
    published = "published"


@app.command("models")
def list_models(
    pattern: Annotated[list[str] | None, typer.Argument(help="Names or globs.")] = None,
    like: Annotated[str | None, typer.Option(metavar="TEXT", help="Part of the name.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="classification, detection, instance-segmentation or segmentation.",
        ),
    ] = None,
    min_params: Annotated[
        str | None, typer.Option(metavar="N", help="Parameters at least: 500K.")
    ] = None,
    max_params: Annotated[
        str | None, typer.Option(metavar="N", help="Parameters at most: 30M.")
    ] = None,
    sort: Annotated[Order | None, typer.Option(help="Order of the table.")] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="The table, of all of them.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Every model that a source can name; with an option, a table of what is known of them."""
    if long or sort or any(each is not None for each in (like, task, min_params, max_params)):
        wanted = _wanted(pattern or [], like, task, min_params, max_params)
        _list_known(wanted, sort or Order.name, as_json)
        return
    from bench import catalog

    found, problems = catalog.listed(pattern or [], open_cache())
    for problem in problems:
        # Who found it need not hear which sources are not installed.
        if not (pattern and found and isinstance(problem, Unavailable)):
            terminal.say(f"bench: {problem}")
    if not found:
        raise UsageError(f"no model is called {' or '.join(pattern or ['anything'])}")
    print_json(found) if as_json else print("\n".join(found))


def _wanted(
    patterns: list[str],
    like: str | None,
    task: str | None,
    min_params: str | None,
    max_params: str | None,
) -> Wanted:
    from bench.errors import unknown
    from bench.index import Wanted
    from bench.records import Task

    if task is not None and task not in get_args(Task):
        raise unknown("task", task, get_args(Task), "bench list models --help")
    least = None if min_params is None else quantity(min_params, "--min-params")
    most = None if max_params is None else quantity(max_params, "--max-params")
    if least is not None and most is not None and least > most:
        raise UsageError(
            f"--min-params {min_params} is more than --max-params {max_params}: nothing can fit"
        )
    return Wanted(tuple(patterns), like, cast("Task | None", task), least, most)


def _list_known(wanted: Wanted, order: Order, as_json: bool) -> None:
    from bench import index, present_models

    findings = index.find(wanted, open_cache())
    found, unknown = findings.rows, findings.unknown
    for problem in findings.problems:
        terminal.say(f"bench: {problem}")
    if order is not Order.name:
        found.sort(key=index.by_params if order is Order.params else index.by_published)
    if as_json:
        print_json([index.to_public(row) for row in found])
    elif found:
        present_models.models(found)
    if unknown:
        said = "1 model more is" if unknown == 1 else f"{unknown} models more are"
        terminal.say(f"bench: {said} named so, and what was asked of them is not known")
    if not findings.named:
        asked = " or ".join([*wanted.patterns, *filter(None, [wanted.like])])
        raise UsageError(f"no model is called {asked or 'anything'}: `bench list models` names all")
    if not found:
        raise UsageError(
            f"none of the {findings.named} models that are named so is known to fit what is asked "
            "of them: ask for less"
        )


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
    model: OfModelOption = None,
    target: OfTargetOption = None,
    last: Annotated[int, typer.Option(min=1, metavar="N", help="Only the newest N.")] = 50,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """The newest results in the store."""
    from bench import present

    rows = public(stored(open_store(store), model, target, newest=last))
    if as_json:
        print_json(rows)
    elif rows:
        present.listing(rows)
    else:
        terminal.say("there are no results yet: `bench run` makes some")
