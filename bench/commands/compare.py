"""`bench compare`: is B slower than A?"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from bench import debug, terminal
from bench.commands.common import (
    AnywayOption,
    BatchOption,
    JsonOption,
    KeyValueOption,
    StoreOption,
    ThreadsOption,
    WeightsOption,
    open_cache,
    open_store,
    print_json,
    require_finite,
    runner_options,
)
from bench.errors import UsageError


def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="model@target, an ONNX file, or a result's id.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="What A is compared with, likewise.")],
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", metavar="TARGET", help="Target of a side that names none."),
    ] = None,
    weights: WeightsOption = "pretrained",
    margin: Annotated[
        float,
        typer.Option(metavar="SHARE", help="The smallest change that matters: 0.02 is 2 %."),
    ] = 0.02,
    max_seconds: Annotated[
        float,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Give up after this long: the answer is UNSURE.",
        ),
    ] = 60.0,
    batch: BatchOption = 1,
    threads: ThreadsOption = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="Building a side may take this long, and a process to be ready.",
        ),
    ] = 1800.0,
    option: KeyValueOption = None,
    python_a: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON", help="Run A with this interpreter: another version of the runtime."
        ),
    ] = None,
    python_b: Annotated[
        str | None, typer.Option(metavar="PYTHON", help="Run B with this interpreter.")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(metavar="N", help="Seed of the order in which the sides take turns."),
    ] = 0,
    anyway: AnywayOption = False,
    fail_slower: Annotated[
        bool, typer.Option("--fail-slower", help="Exit with 4 when B is SLOWER.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two sides in turns: B's time over A's, and FASTER, SLOWER, SAME or UNSURE."""
    from bench import comparison, present_answers, progress, sides
    from bench.timing import Deadline

    if not 0 < margin < 1:
        raise UsageError(f"--margin must be between 0 and 1 (0.02 is 2 %), not {margin}")
    require_finite(max_seconds=max_seconds, timeout=timeout)
    results, cache = open_store(store), open_cache()
    procedure = replace(comparison.PROCEDURE, batch=batch, threads=threads, timeout_seconds=timeout)
    asked = [
        replace(
            sides.parse(
                text,
                target=target,
                weights=weights,
                options=runner_options(option or []),
                procedure=procedure,
                store=results,
                cache=cache,
            ),
            python=python,
        )
        for text, python in ((a, python_a), (b, python_b))
    ]
    asked = list(sides.same_conditions(*asked))
    prepared = [
        sides.prepare(side, cache.root, Deadline.after(timeout, "raise --timeout"), anyway=anyway)
        for side in asked
    ]
    rules = comparison.Rules(margin, max_seconds, seed=seed)
    live = progress.Pairs(max_seconds)
    try:
        found = comparison.compare(prepared[0], prepared[1], rules, live.show)
    except KeyboardInterrupt:
        live.end()
        terminal.say("bench: interrupted: there is no answer")
        raise typer.Exit(130) from None
    live.end()
    if found.failure:
        debug.details(found.failure.details)
    public = comparison.to_public(found)
    print_json(public) if as_json else present_answers.comparison(public)
    raise typer.Exit(comparison.exit_status(found, fail_slower=fail_slower))
