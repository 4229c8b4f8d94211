"""`bench doctor`: what this machine is, and what can run on it; how noisy it is."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.common import JsonOption, open_cache, print_json


def doctor(
    noise: Annotated[
        bool, typer.Option("--noise", help="Measure the machine itself for half a minute.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=1, help="How long --noise measures.")] = 30.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of --noise; default: all cores.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What this machine is, and for every target: ready, or why not and what to do."""
    from bench import diagnosis, present

    if noise:
        from bench.noise import measure

        expected = measure(open_cache().root, seconds, threads)
        print_json(expected) if as_json else present.noise(expected)
        return
    found = diagnosis.examine(open_cache().root)
    if as_json:
        print_json(found)
        return
    present.table(["this machine", ""], [[k, v] for k, v in found["machine"].items()], fold=1)
    print()
    present.table(
        ["runner", "", "what to do"],
        [
            [r["runner"], "ready" if r["ready"] else "no", r["reason"] or ""]
            for r in found["runners"]
        ],
        fold=2,
    )
    print()
    present.table(
        ["target", "", "what to do"],
        [
            [t["target"], "ready" if t["ready"] else "no", t["reason"] or ""]
            for t in found["targets"]
        ],
        fold=2,
    )
