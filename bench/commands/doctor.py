"""`bench doctor`: what this machine is, and what can run on it; how noisy it is."""

from __future__ import annotations

from typing import Annotated

import typer

from bench import terminal
from bench.commands.common import JsonOption, open_cache, print_json, require_finite


def doctor(
    noise: Annotated[
        bool, typer.Option("--noise", help="Measure the machine itself instead, for --seconds.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long --noise measures.")
    ] = 30.0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="CPU threads of --noise; default: all cores."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What this machine is, and for every target: ready, or why not and what to do."""
    from bench import diagnosis, present_answers

    if noise:
        from bench.noise import measure

        require_finite(seconds=seconds)
        expected = measure(open_cache().root, seconds, threads)
        print_json(expected) if as_json else present_answers.noise(expected)
        return
    found = diagnosis.examine(open_cache().root)
    if as_json:
        print_json(found)
        return
    terminal.table(["this machine", ""], [[k, v] for k, v in found["machine"].items()], fold=1)
    for kind, rows in (("runner", found["runners"]), ("target", found["targets"])):
        print()
        terminal.table(
            [kind, "", "what to do"],
            [[row[kind], "ready" if row["ready"] else "no", row["reason"] or ""] for row in rows],
            fold=2,
        )
