"""`bench gate` and `bench baseline`: the nightly alarm, and what it compares with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import debug
from bench.commands.common import JsonOption, StoreOption, open_cache, open_store, print_json
from bench.errors import BenchError, UsageError

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
    from bench import present
    from bench.gate import baselines

    opened = open_store(store)
    chosen = baselines.choose(opened, result or [])
    opened.set_baseline(name, chosen)
    present.say(f"baseline {name}: {len(chosen)} results")


@baseline.command("list")
def list_baselines(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Every baseline, and how many results it has."""
    from bench import present

    found = open_store(store).baselines()
    if as_json:
        print_json(found)
    elif found:
        present.table(["baseline", "results"], [[name, str(n)] for name, n in found.items()])
    else:
        present.say("there is no baseline yet: `bench baseline set NAME` makes one")


@baseline.command("remove")
def remove_baseline(name: str, store: StoreOption = None) -> None:
    """Forget a name; its results are kept."""
    opened = open_store(store)
    opened.baseline(name)
    opened.set_baseline(name, [])


def gate(
    matrix: Annotated[Path, typer.Argument(help="TOML: models, targets, margin, budget.")],
    against: Annotated[
        str | None,
        typer.Option(
            "--baseline", "-b", help="As `bench baseline set` named it; none: all is NEW."
        ),
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Markdown is appended here: $GITHUB_STEP_SUMMARY.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="JUnit XML is written here.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a matrix and alarm on confirmed regressions: exit status 4; 5 for accuracy."""
    from bench import campaign, pipeline, present
    from bench.gate import matrix as matrices
    from bench.gate import night, outputs

    given = matrices.read(matrix)
    for path in (summary, junit):
        if path is not None and not path.resolve().parent.is_dir():
            raise UsageError(f"{path} cannot be written: its folder does not exist")
    jobs = given.jobs(matrix.resolve().parent, open_cache())
    opened = open_store(store)
    progress = present.Progress(len(jobs))
    settings = pipeline.Settings(
        cache=open_cache().root, on_stage=progress.at, on_details=debug.details
    )
    measuring = campaign.Campaign(opened, settings, progress.start, progress.finish)
    pairs = present.Pairs(given.confirm_seconds)
    before = opened.baseline(against) if against else []
    outcomes = night.run(given, jobs, before, measuring, pairs.show)
    pairs.end()
    try:
        if summary:
            with summary.open("a", encoding="utf-8") as file:
                file.write(outputs.markdown(outcomes, against))
        if junit:
            junit.write_text(outputs.junit(outcomes), encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{error.filename} cannot be written: {error.strerror}") from error
    finally:
        if as_json:
            print_json([outputs.to_public(outcome) for outcome in outcomes])
        else:
            present.gate(outcomes)
    raise typer.Exit(night.exit_status(outcomes))
