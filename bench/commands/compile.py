"""`bench compile`: everything up to the artifact, on a machine that need not be the target."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import terminal
from bench.commands.common import (
    BatchOption,
    CalibOption,
    CalibrationOption,
    DataOption,
    JsonOption,
    KeyValueOption,
    ModelOption,
    NoCacheOption,
    TargetOption,
    TimeoutOption,
    WeightsOption,
    open_cache,
    print_json,
    require_finite,
    runner_options,
)
from bench.modelref import ModelRef
from bench.paths import make_folder

if TYPE_CHECKING:
    from bench.records import Result


def _copied(built: Result, out: Path) -> Result:
    """With the last artifact in a folder of its own in `out`: what runs on the device, or what was
    to be compiled there."""
    from bench import cache, recipes

    if not built.artifacts:
        return built
    ref = ModelRef.parse(built.job.model)
    model = Path(ref.name).name if ref.source == "onnx" else str(ref)
    *before, last = built.artifacts
    words = [model, built.job.target.name, recipes.asked(built.job.recipe), last.sha256[:8]]
    name = re.sub(r"[^\w.-]+", "_", "-".join(filter(None, words))).strip("._")
    return replace(built, artifacts=(*before, cache.copied(last, out / name)))


def compile_models(
    model: ModelOption,
    target: TargetOption,
    weights: WeightsOption = "pretrained",
    data: DataOption = None,
    calib: CalibOption = None,
    calibration: CalibrationOption = None,
    batch: BatchOption = 1,
    timeout: TimeoutOption = 1800.0,
    option: KeyValueOption = None,
    no_cache: NoCacheOption = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Copy what was built here, a folder for each."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Export, quantize, compile and check models, without running them on the target."""
    from bench import campaign, debug, jobs, pipeline, present, progress, recipes, targets
    from bench.public import build_to_public
    from bench.records import Procedure

    require_finite(timeout=timeout)
    asked = recipes.parse(",".join(calibration or []))
    images = jobs.images(data, calib, asked)
    chosen = targets.select(target, runner_options(option or []))
    wanted = jobs.every(
        model,
        chosen,
        Procedure(batch=batch, timeout_seconds=timeout),
        open_cache(),
        weights=weights,
        data=images,
        made=recipes.expand(asked, chosen),
    )
    if out is not None:
        make_folder(out, f"--out {out}")
    live = progress.Progress(len(wanted))
    settings = pipeline.Settings(
        open_cache().root, no_cache, on_stage=live.at, on_details=debug.details
    )
    rows: list[dict[str, Any]] = []
    try:
        for job in wanted:
            live.start(job)
            built = pipeline.build_only(job, settings)
            rows.append(build_to_public(_copied(built, out) if out else built))
            live.finish(rows[-1])
        status = campaign.exit_status(rows)
    except KeyboardInterrupt:
        terminal.say(f"\nbench: interrupted after {len(rows)} of {len(wanted)}")
        status = 130
    finally:
        present.notes(rows)
        if as_json:
            print_json(rows if len(wanted) > 1 else rows[0] if rows else None)
        elif rows:
            present.builds(rows)
        present.build_problems(rows)
    raise typer.Exit(status)
