"""`bench run`: measure models on targets."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import terminal
from bench.commands.common import (
    AnywayOption,
    JsonOption,
    MaxSecondsOption,
    MinSecondsOption,
    ModelOption,
    ProcessesOption,
    RunnerOption,
    StoreOption,
    TargetOption,
    ThreadsOption,
    WeightsOption,
    open_cache,
    open_campaign,
    open_store,
    print_json,
    runner_options,
)
from bench.errors import UsageError


class WindowChoice(str, Enum):
    device = "device"
    io = "io"


def run(
    model: ModelOption,
    target: TargetOption,
    weights: WeightsOption = "pretrained",
    data: Annotated[
        Path | None, typer.Option(help="Folder of labelled images to measure accuracy on.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Evaluate on at most so many images.")
    ] = None,
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD[:IMAGES[:KEEP]]|IMAGES",
            help="How int8 is made; several: a row for each.  [256]",
        ),
    ] = None,
    calib: Annotated[
        Path | None,
        typer.Option(help="Folder of images to calibrate on; default: some of the data."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Images that are broken or odd, and outputs that are not finite, are errors.",
        ),
    ] = False,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, help="Points of accuracy that may be lost; tries remedies, or fails."),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Images a step; several: a row for each.  [1]")
    ] = None,
    streams: Annotated[
        int, typer.Option(min=1, help="Copies of the network at work at the same time.")
    ] = 1,
    window: Annotated[
        WindowChoice, typer.Option(help="What is timed: the step, or copies in and out too.")
    ] = WindowChoice.device,
    threads: ThreadsOption = None,
    processes: ProcessesOption = 5,
    min_seconds: MinSecondsOption = 3.0,
    max_seconds: MaxSecondsOption = 10.0,
    rel_error: Annotated[
        float, typer.Option(min=0.0001, help="Wanted half-width of the 95 % interval, a share.")
    ] = 0.01,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds one job may take in all.")
    ] = 1800.0,
    option: RunnerOption = None,
    anyway: AnywayOption = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Make every artifact anew.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency and accuracy of models on targets: one row for every pair."""
    from bench import campaign, catalog, datasets, progress, recipes, targets
    from bench.records import Data, Job, Procedure

    for value in (min_seconds, max_seconds, rel_error, timeout, max_drop or 0.0):
        if not isfinite(value):
            raise UsageError(f"{value} is no number of seconds, and no share")
    if data is not None:
        datasets.require_folder(data)
    if calib is not None:
        if data is None:
            raise UsageError("--calib goes with --data: the images that are evaluated")
        datasets.require_folder(calib, "--calib")
    chosen = targets.select(target, runner_options(option or []))
    asked = recipes.parse(",".join(calibration or []))
    made = recipes.expand(asked, chosen)
    if max_drop is not None and max(map(len, made.values()), default=1) > 1:
        raise UsageError("--max-drop tries one recipe after the other: give it one --calibration")
    models = catalog.resolve(model, open_cache())
    procedure = Procedure(
        streams=streams,
        window=window.value,
        processes=processes,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        rel_error=rel_error,
        threads=threads,
        timeout_seconds=timeout,
    )
    labelled = Data(
        str(data.resolve()) if data else None,
        limit,
        recipes.set_aside(asked, search=max_drop is not None),
        str(calib.resolve()) if calib else None,
        strict,
    )
    jobs = [
        Job(each, on, weights, replace(procedure, batch=images), labelled, recipe, max_drop)
        for each in models
        for on in chosen
        for recipe in made[on.name]
        for images in dict.fromkeys(batch or [1])
    ]
    live = progress.Progress(len(jobs))
    finished = open_campaign(open_store(store), live, fresh=no_cache, anyway=anyway)
    try:
        finished.run(jobs)
        status = campaign.exit_status(finished.rows)
    except KeyboardInterrupt:
        terminal.say(f"\nbench: interrupted; {len(finished.rows)} of {len(jobs)} jobs are stored")
        status = 130
    finally:
        _print_results(finished.rows, as_json, several=len(jobs) > 1)
    raise typer.Exit(status)


def _print_results(rows: list[dict[str, Any]], as_json: bool, *, several: bool) -> None:
    from bench import present

    present.notes(rows)
    if as_json:
        print_json(rows if several else rows[0] if rows else None)
    elif rows:
        present.results(rows)
    present.problems(rows)
