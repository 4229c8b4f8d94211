"""`bench throughput`: the most images a second, under a latency bound."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench import terminal
from bench.commands.common import (
    AnywayOption,
    JsonOption,
    KeyValueOption,
    MaxSecondsOption,
    MinSecondsOption,
    ModelOption,
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


def throughput(
    model: ModelOption,
    target: TargetOption,
    weights: WeightsOption = "pretrained",
    max_latency: Annotated[
        float | None,
        typer.Option(metavar="MS", help="The slowest calls (p99) may take this long."),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, metavar="N", help="Largest batch to try.")] = 64,
    threads: ThreadsOption = None,
    processes: ProcessesOption = 3,
    min_seconds: MinSecondsOption = 1.0,
    max_seconds: MaxSecondsOption = 3.0,
    timeout: TimeoutOption = 1800.0,
    option: KeyValueOption = None,
    anyway: AnywayOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the batch size and the number of streams with the most images a second."""
    from bench import campaign, jobs, present, present_answers, progress, targets
    from bench import throughput as searching
    from bench.records import Procedure

    if max_latency is not None and not 0 < max_latency < float("inf"):
        raise UsageError(f"--max-latency must be a number of milliseconds, not {max_latency}")
    require_finite(min_seconds=min_seconds, max_seconds=max_seconds, timeout=timeout)
    chosen = targets.select(target, runner_options(option or []))
    how = Procedure(
        threads=threads,
        processes=processes,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        timeout_seconds=timeout,
    )
    wanted = jobs.every(model, chosen, how, open_cache(), weights=weights)
    trying = open_campaign(open_store(store), progress.Progress(), anyway=anyway)
    found: list[dict[str, Any]] = []
    status = 0
    try:
        for job in wanted:
            rows = searching.search(job, trying, max_latency_ms=max_latency, max_batch=max_batch)
            found.append(searching.to_public(rows, max_latency))
    except KeyboardInterrupt:
        terminal.say(f"\nbench: interrupted; {len(trying.rows)} results are stored")
        status = 130
    present.notes(trying.rows)
    if as_json:
        print_json(found if len(wanted) > 1 else found[0] if found else None)
    else:
        for each in found:
            present_answers.throughput(each)
    raise typer.Exit(status or campaign.worst(map(searching.exit_status, found)))
