"""`bench coverage`: does every model of a list work?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import terminal
from bench.commands.common import JsonOption, WeightsOption, open_cache, print_json, require_finite
from bench.errors import BenchError, Unavailable, UsageError
from bench.paths import make_folder, require_writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.coverage.ledger import Attempt
    from bench.records import Target

_TARGETS = ["cpu-ort-fp32", "cpu-ort-int8", "cpu-openvino-fp32", "cpu-openvino-int8"]


def coverage(
    listed: Annotated[
        Path | None,
        typer.Option(
            "--list", metavar="FILE", help="Models, one a line; default: the field's families."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="MODEL", help="These instead of a list; repeatable."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "--targets",
            "-t",
            metavar="TARGET",
            help="Names or globs; default: fp32 and int8 of cpu-ort and cpu-openvino.",
        ),
    ] = None,
    weights: WeightsOption = "random",
    calibration: Annotated[
        int, typer.Option(min=1, metavar="N", help="Images that int8 is calibrated on.")
    ] = 8,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="The table; the ledger of what is done lies beside it, as .jsonl."
        ),
    ] = Path("coverage.md"),
    timeout: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help="A model may take this long on one target."),
    ] = 1800.0,
    again: Annotated[bool, typer.Option("--again", help="Try anew what is done already.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try anew what failed.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the artifacts in the cache.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Export, check, compile and run every model of a list, once; goes on where it was."""
    import msgspec

    from bench import debug, progress
    from bench.coverage import listing, table
    from bench.coverage.ledger import Ledger, held
    from bench.coverage.sweep import Plan, Sweep

    require_finite(timeout=timeout)
    if model and listed:
        raise UsageError("--list and --model: give one of them")
    if out.suffix == ".jsonl":
        raise UsageError(f"--out {out} is the table; what is done lies beside it, as .jsonl")
    targets, ahead = _usable(target or _TARGETS)
    names = model or listing.read(listed or listing.SHIPPED)
    _require_writable(out)
    done = out.with_suffix(".jsonl")
    with held(done):
        ledger = Ledger(done)
        entries = listing.resolve(names, open_cache())
        live = progress.Coverage()
        plan = Plan(
            targets=tuple(targets),
            ahead=ahead,
            cache=open_cache().root,
            weights=weights,
            calibration=calibration,
            timeout_seconds=timeout,
            keep=keep,
            again=again,
            retry_failed=retry_failed,
            on_start=live.start,
            on_stage=live.at,
            on_finish=live.finish,
            on_details=debug.details,
        )
        sweep = Sweep(plan, ledger)
        live.expect(sum(map(sweep.pending, entries)))
        interrupted = False
        try:
            sweep.run(entries)
        except KeyboardInterrupt:
            terminal.say("\nbench: interrupted: the same command goes on from here")
            interrupted = True
        found = sweep.found(entries)
        untried = len({each.model for each in entries} - {each.model for each in found})
        text = table.page(
            found, [each.name for each in targets], _circumstances(found), untried=untried
        )
        try:
            out.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:  # a full disk, a folder that was removed meanwhile
            raise BenchError(
                f"{out} cannot be written: {error.strerror}; what is done lies in {done}, and the "
                "same command makes the table of it"
            ) from error
    terminal.say(f"bench: {table.counts(found)}; the table is in {out}")
    if fallen := table.random_instead(found):
        terminal.say(
            f"bench: {fallen} of {len({each.model for each in found})} models were tried with "
            f"random weights, for the {weights} ones could not be had: --again tries anew"
        )
    if as_json:
        print_json(msgspec.to_builtins(found))
    raise typer.Exit(130 if interrupted else int(any(not each.works for each in found)))


def _require_writable(out: Path) -> None:
    """Raise UsageError where the table could not be written: before hours are spent on it."""
    make_folder(out.parent, f"--out {out}")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: name a file in it, such as coverage.md")
    require_writable(out, f"--out {out}")


def _circumstances(found: Sequence[Attempt]) -> str:
    """When, on what machines and with which versions it was tried."""
    machines = sorted({each.machine or "a machine that was not recorded" for each in found})
    days = sorted(each.started_at[:10] for each in found) or ["never"]
    packages = dict(sorted({pair for each in found for pair in each.versions.items()}))
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    when = " to ".join(dict.fromkeys((days[0], days[-1])))
    return f"{when}, {' and '.join(machines) or 'nowhere'}; {versions}"


def _usable(patterns: Sequence[str]) -> tuple[list[Target], frozenset[str]]:
    """The targets that can run here or can at least be built for, and the names of the latter; of
    a glob, others are left out, and said so."""
    from bench import diagnosis, targets

    found: dict[str, Target] = {}
    ahead = set()
    for pattern in patterns:
        chosen = {each.name: each for each in targets.select([pattern])}
        reasons = {name: diagnosis.problem(each) for name, each in chosen.items()}
        away = {name for name, reason in reasons.items() if reason}
        built = {name for name in away if diagnosis.can_build(chosen[name])}
        for name in sorted(away - built):
            if len(away - built) == len(chosen):
                raise Unavailable(f"target {name} cannot run here: {reasons[name]}")
            terminal.say(f"bench: without {name}: {reasons[name]}")
        for name in sorted(built):
            terminal.say(f"bench: {name} is built and not run: {reasons[name]}")
        ahead |= built
        found |= {name: each for name, each in chosen.items() if name not in away - built}
    return list(found.values()), frozenset(ahead)
