"""`bench compile`: everything up to the artifact, on a machine that need not be the target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench import terminal
from bench.commands.common import (
    BatchOption,
    JsonOption,
    ModelOption,
    RunnerOption,
    TargetOption,
    WeightsOption,
    open_cache,
    print_json,
    runner_options,
)
from bench.errors import UsageError


def compile_models(
    model: ModelOption,
    target: TargetOption,
    weights: WeightsOption = "pretrained",
    data: Annotated[
        Path | None, typer.Option(help="Folder of labelled images: some calibrate int8.")
    ] = None,
    calib: Annotated[
        Path | None,
        typer.Option(help="Folder of images to calibrate on; default: some of the data."),
    ] = None,
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD[:IMAGES[:KEEP]]|IMAGES",
            help="How int8 is made; several: a row for each.  [256]",
        ),
    ] = None,
    batch: BatchOption = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds one may take in all.")] = 1800.0,
    option: RunnerOption = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Make every artifact anew.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Export, quantize, compile and check models, without running them on the target."""
    from bench import (
        campaign,
        catalog,
        datasets,
        debug,
        pipeline,
        present,
        progress,
        recipes,
        targets,
    )
    from bench.public import build_to_public
    from bench.records import Data, Job, Procedure

    if data is not None:
        datasets.require_folder(data)
    if calib is not None:
        if data is None:
            raise UsageError("--calib goes with --data, which says what the images are")
        datasets.require_folder(calib, "--calib")
    chosen = targets.select(target, runner_options(option or []))
    asked = recipes.parse(",".join(calibration or []))
    made = recipes.expand(asked, chosen)
    models = catalog.resolve(model, open_cache())
    images = Data(
        path=str(data.resolve()) if data else None,
        calibration=recipes.set_aside(asked, search=False),
        calibration_path=str(calib.resolve()) if calib else None,
    )
    how = Procedure(batch=batch, timeout_seconds=timeout)
    jobs = [
        Job(each, on, weights, how, images, recipe)
        for each in models
        for on in chosen
        for recipe in made[on.name]
    ]
    live = progress.Progress(len(jobs))
    settings = pipeline.Settings(
        open_cache().root, no_cache, on_stage=live.at, on_details=debug.details
    )
    rows: list[dict[str, Any]] = []
    try:
        for job in jobs:
            live.start(job)
            rows.append(build_to_public(pipeline.build_only(job, settings)))
            live.finish(rows[-1])
        status = campaign.exit_status([{**row, "verdict": None} for row in rows])
    except KeyboardInterrupt:
        terminal.say(f"\nbench: interrupted after {len(rows)} of {len(jobs)}")
        status = 130
    present.notes(rows)
    if as_json:
        print_json(rows if len(jobs) > 1 else rows[0] if rows else None)
    elif rows:
        present.builds(rows)
    present.build_problems(rows)
    raise typer.Exit(status)
