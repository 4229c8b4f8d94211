"""`bench gate` and `bench baseline`: the nightly alarm, and what it compares with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bench import terminal
from bench.commands.common import (
    JsonOption,
    StoreOption,
    open_cache,
    open_campaign,
    open_store,
    print_json,
)
from bench.errors import BenchError, UsageError
from bench.machine import observe
from bench.paths import require_writable

baseline = typer.Typer(help="Name the results that a gate compares with.", no_args_is_help=True)


@baseline.command("set")
def set_baseline(
    name: Annotated[str, typer.Argument(help="For example: main.")],
    result: Annotated[
        list[str] | None,
        typer.Argument(help="Ids; default: the newest good result of every job in the store."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Make a name mean these results; it replaces what the name meant."""
    from bench.gate import baselines

    if not name:
        raise UsageError("a baseline needs a name")
    opened = open_store(store)
    chosen, passed = baselines.choose(opened, result or [])
    for sentence in passed:
        terminal.say(f"bench: {sentence}")
    for each in chosen:
        of_it = opened.get(each)
        here = of_it.environment.hardware == observe().hardware(of_it.job.target.device)
        if not open_cache().keep(of_it.artifacts[-1]) and here:
            terminal.say(
                f"bench: the artifact of result {each} is gone: a slowdown of that job could not "
                "be confirmed; `bench run` it again"
            )
    opened.set_baseline(name, chosen)
    terminal.say(f"baseline {name}: {len(chosen)} results")


@baseline.command("list")
def list_baselines(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Every baseline, and how many results it has."""
    found = open_store(store).baselines()
    if as_json:
        print_json(found)
    elif found:
        terminal.table(["baseline", "results"], [[name, str(n)] for name, n in found.items()])
    else:
        terminal.say("there is no baseline yet: `bench baseline set NAME` makes one")


@baseline.command("remove")
def remove_baseline(
    name: Annotated[str, typer.Argument(help="As `bench baseline set` named it.")],
    store: StoreOption = None,
) -> None:
    """Forget a name; its results are kept."""
    opened = open_store(store)
    opened.baseline(name)
    opened.set_baseline(name, [])


def gate(
    matrix: Annotated[Path, typer.Argument(help="TOML: models, targets, margin, budget.")],
    against: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            "-b",
            metavar="NAME",
            help="As `bench baseline set` named it; none: all is NEW.",
        ),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append Markdown here, such as $GITHUB_STEP_SUMMARY."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML here.")
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Do not fail where the baseline is not set yet: all is NEW."
        ),
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a matrix and alarm on confirmed regressions: exit status 4; 5 for accuracy."""
    from bench import present_answers, progress
    from bench.gate import judge, night, outputs
    from bench.gate import matrix as matrices

    given = matrices.read(matrix)
    for path in filter(None, (summary, junit)):
        require_writable(path, str(path))
    jobs = given.jobs(matrix.resolve().parent, open_cache())
    opened = open_store(store)
    wanted = against is not None and not (allow_missing and against not in opened.baselines())
    before = opened.baseline(against or "") if wanted else []
    measuring = open_campaign(opened, progress.Progress(len(jobs)), if_late=judge.IF_LATE)
    pairs = progress.Pairs(given.confirm_seconds)
    outcomes: list[judge.Outcome] = []
    _remove(junit)
    interrupted, failed = False, None
    try:
        night.run(given, jobs, before, measuring, outcomes, pairs.show)
    except KeyboardInterrupt:
        terminal.say(f"\nbench: interrupted; {len(measuring.rows)} of {len(jobs)} jobs are stored")
        interrupted = True
    except (BenchError, OSError) as error:
        failed = error
    finally:  # whatever ended the night: what was found is told
        pairs.end()
        written = [
            _write(summary, outputs.markdown(outcomes, against if before else None), "a"),
            _write(junit, outputs.junit(outcomes), "w"),
        ]
        if as_json:
            print_json(list(map(outputs.to_public, outcomes)))
        else:
            present_answers.gate(outcomes)
    status = judge.exit_status(outcomes)
    if status not in judge.ALARMS:
        if failed:
            raise failed
        status = 130 if interrupted else status
    try:
        night.remember(outcomes, opened)
    except BenchError as error:  # the changes are told once more
        failed = failed or error
    if failed:
        terminal.say(f"bench: {failed}")
    raise typer.Exit(status if all(written) else status or 1)


def _remove(path: Path | None) -> None:
    """What another night left must not be taken for this one's, should this one be killed."""
    if path is not None and path.is_file():
        with suppress(OSError):
            path.unlink()


def _write(path: Path | None, text: str, mode: str) -> bool:
    """Write a file; say so where that fails, for the night's status matters more."""
    try:
        if path is not None:
            with path.open(mode, encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        terminal.say(f"bench: {path} cannot be written: {error.strerror}")
        return False
    return True
