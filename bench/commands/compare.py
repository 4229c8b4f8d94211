"""`bench compare`: is B slower than A?"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from bench import debug
from bench.commands.common import (
    JsonOption,
    StoreOption,
    open_cache,
    open_store,
    print_json,
    runner_options,
)
from bench.errors import UsageError


def compare(
    a: Annotated[str, typer.Argument(help="model@target, an ONNX file, or a result's id.")],
    b: Annotated[str, typer.Argument(help="What is compared with it.")],
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Target of a side that names none.")
    ] = None,
    weights: Annotated[str, typer.Option(help="pretrained, random, or a file.")] = "pretrained",
    margin: Annotated[
        float, typer.Option(help="The smallest change that matters, a share: 0.02 is 2 %.")
    ] = 0.02,
    max_seconds: Annotated[
        float, typer.Option(min=1, help="Give up after so long: UNSURE.")
    ] = 60.0,
    batch: Annotated[int, typer.Option(min=1, help="Images a step.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: the usable physical cores.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="KEY=VALUE for the target's runner."),
    ] = None,
    python_a: Annotated[
        str | None, typer.Option(help="Another interpreter for A: another runtime version.")
    ] = None,
    python_b: Annotated[str | None, typer.Option(help="Another interpreter for B.")] = None,
    seed: Annotated[int, typer.Option(help="Of the order in which the sides take turns.")] = 0,
    anyway: Annotated[bool, typer.Option(help="Run on other hardware than the target's.")] = False,
    fail_slower: Annotated[
        bool, typer.Option("--fail-slower", help="Exit with 4 when B is SLOWER.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two sides in turns: B's time over A's, and FASTER, SLOWER, SAME or UNSURE."""
    from bench import comparison, present, sides
    from bench.timing import Deadline

    if not 0 < margin < 1:
        raise UsageError(f"--margin {margin} is no share between 0 and 1")
    if not max_seconds < float("inf"):
        raise UsageError(f"--max-seconds {max_seconds} is no number of seconds")
    procedure = replace(comparison.PROCEDURE, batch=batch, threads=threads)
    asked = [
        replace(
            sides.parse(
                text,
                target=target,
                weights=weights,
                options=runner_options(option or []),
                procedure=procedure,
                store=open_store(store),
                cache=open_cache(),
            ),
            python=python,
        )
        for text, python in ((a, python_a), (b, python_b))
    ]
    asked = list(sides.same_conditions(*asked))
    deadline = Deadline.after(procedure.timeout_seconds)
    prepared = [sides.prepare(side, open_cache().root, deadline, anyway=anyway) for side in asked]
    rules = comparison.Rules(margin, max_seconds, seed=seed)
    progress = present.Pairs(max_seconds)
    try:
        found = comparison.compare(prepared[0], prepared[1], rules, progress.show)
    except KeyboardInterrupt:
        progress.end()
        present.say("bench: interrupted: there is no answer")
        raise typer.Exit(130) from None
    progress.end()
    if found.failure:
        debug.details(found.failure.details)
    public = comparison.to_public(found)
    print_json(public) if as_json else present.comparison(public)
    raise typer.Exit(comparison.exit_status(found, fail_slower=fail_slower))
