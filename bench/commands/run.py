"""`bench run`: measure models on targets."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from bench import terminal
from bench.commands.common import (
    AnywayOption,
    CalibOption,
    CalibrationOption,
    DataOption,
    JsonOption,
    KeyValueOption,
    MaxSecondsOption,
    MinSecondsOption,
    ModelOption,
    NoCacheOption,
    ProcessesOption,
    StoreOption,
    TargetOption,
    ThreadsOption,
    TimeoutOption,
    WeightsOption,
    open_cache,
    open_campaign,
    open_store,
    print_json,
    require_finite,
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
    data: DataOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Evaluate on at most this many images.")
    ] = None,
    calibration: CalibrationOption = None,
    calib: CalibOption = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail where weights cannot be had, images are broken or odd, or outputs are not "
            "finite; else a note says so.",
        ),
    ] = False,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="POINTS",
            help="Accuracy that int8 may lose: beyond it remedies are tried, else exit 5.",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            min=1, metavar="N", help="Images per inference; repeatable: a row each.  [default: 1]"
        ),
    ] = None,
    streams: Annotated[
        int, typer.Option(min=1, metavar="N", help="Inferences running at the same time.")
    ] = 1,
    window: Annotated[
        WindowChoice, typer.Option(help="What is timed: inference, or copies in and out too.")
    ] = WindowChoice.device,
    threads: ThreadsOption = None,
    processes: ProcessesOption = 5,
    min_seconds: MinSecondsOption = 3.0,
    max_seconds: MaxSecondsOption = 10.0,
    rel_error: Annotated[
        float,
        typer.Option(
            min=0.0001, metavar="SHARE", help="Stop when the 95 % interval is within ± this share."
        ),
    ] = 0.01,
    timeout: TimeoutOption = 1800.0,
    option: KeyValueOption = None,
    anyway: AnywayOption = False,
    no_cache: NoCacheOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency and accuracy of models on targets: one row for every pair."""
    from bench import campaign, jobs, progress, recipes, targets
    from bench.records import Procedure

    require_finite(
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        rel_error=rel_error,
        timeout=timeout,
        max_drop=max_drop,
    )
    asked = recipes.parse(",".join(calibration or []))
    search = max_drop is not None
    images = jobs.images(data, calib, asked, limit=limit, strict=strict, search=search)
    chosen = targets.select(target, runner_options(option or []))
    made = recipes.expand(asked, chosen)
    if search and max(map(len, made.values()), default=1) > 1:
        raise UsageError("--max-drop tries one recipe after the other: give it one --calibration")
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
    wanted = jobs.every(
        model,
        chosen,
        procedure,
        open_cache(),
        weights=weights,
        data=images,
        made=made,
        max_drop=max_drop,
        batches=batch or (),
    )
    live = progress.Progress(len(wanted))
    finished = open_campaign(open_store(store), live, fresh=no_cache, anyway=anyway)
    try:
        finished.run(wanted)
        status = campaign.exit_status(finished.rows)
    except KeyboardInterrupt:
        terminal.say(f"\nbench: interrupted; {len(finished.rows)} of {len(wanted)} jobs are stored")
        status = 130
    finally:
        _print_results(finished.rows, as_json, several=len(wanted) > 1)
    raise typer.Exit(status)


def _print_results(rows: list[dict[str, Any]], as_json: bool, *, several: bool) -> None:
    from bench import present

    present.notes(rows)
    if as_json:
        print_json(rows if several else rows[0] if rows else None)
    elif rows:
        present.results(rows)
    present.problems(rows)
