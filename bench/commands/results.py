"""What is done with results: show, report, export, import."""

from __future__ import annotations

import re
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from bench import terminal
from bench.commands.common import (
    JsonOption,
    OfModelOption,
    OfTargetOption,
    StoreOption,
    open_cache,
    open_store,
    print_json,
    public,
    stored,
)
from bench.errors import UsageError


def show(
    what: Annotated[str, typer.Argument(help="Id of a result, or a model.")],
    count: Annotated[
        bool, typer.Option("--count", help="Export a model to count what it costs.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """All that is known of one result (but its raw samples), or the card of a model."""
    from bench import card, present_models, present_result

    opened = open_store(store)
    if re.fullmatch("[0-9a-f]{1,12}", what):  # no model has been called so yet
        (row,) = public([opened.get(what)])
        print_json(row) if as_json else present_result.sheet(row)
        return
    try:
        drawn = card.draw(what, open_cache(), opened, count=count)
    except UsageError as error:
        raise UsageError(f"{error}; ids of results: bench list results") from error
    print_json(drawn) if as_json else present_models.card(drawn)


def report(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write.")] = Path(
        "bench-report"
    ),
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--format", "-f", metavar="FORMAT", help="png, svg, pdf, md, csv; default: all."
        ),
    ] = None,
    model: OfModelOption = None,
    target: OfTargetOption = None,
    store: StoreOption = None,
) -> None:
    """Draw the accuracy-latency frontier and write the table."""
    from bench import reporting

    rows = public(stored(open_store(store), model, target))
    written, left_out = reporting.write(rows, out, form)
    for path in written:
        print(path)
    for reason, forms in left_out.items():
        terminal.say(f"bench: no {', '.join(forms)}: {reason}")


class ExportFormat(str, Enum):
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


def export_results(
    form: Annotated[
        ExportFormat, typer.Option("--format", "-f", help="jsonl is lossless.")
    ] = ExportFormat.jsonl,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Default: standard output.")
    ] = None,
    model: OfModelOption = None,
    target: OfTargetOption = None,
    store: StoreOption = None,
) -> None:
    """Write results as JSON lines, CSV or Parquet."""
    from bench import transfer

    results = stored(open_store(store), model, target)
    if out is not None:
        transfer.write_file(results, form.value, out)
    elif form is ExportFormat.parquet:
        raise UsageError("Parquet is binary: give --out FILE")
    else:
        transfer.write(results, form.value, sys.stdout)


def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Starts of ids.")],
    store: StoreOption = None,
) -> None:
    """Remove results from the store, for good. What a baseline is made of stays."""
    opened = open_store(store)
    removed = opened.remove(ids)
    terminal.say(f"{terminal.counted(len(removed), 'result')} removed: {', '.join(removed)}")


class ImportSource(str, Enum):
    bench = "bench"
    trtexec = "trtexec"
    benchmark_app = "benchmark_app"
    csv = "csv"


class WindowName(str, Enum):
    device = "device"
    io = "io"


def import_results(
    file: Annotated[
        Path, typer.Argument(help="What `bench export --format jsonl` or another tool wrote.")
    ],
    source: Annotated[
        ImportSource, typer.Option("--from", help="Which tool measured.")
    ] = ImportSource.bench,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="What trtexec or benchmark_app printed; default: beside the file, as FILE's .log.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="What was measured."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", metavar="TARGET", help="What it was measured on."),
    ] = None,
    window: Annotated[
        WindowName | None, typer.Option("--window", help="trtexec: device (default) or io.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            min=1,
            metavar="N",
            help="Images per inference; files that tell it have to agree.",
        ),
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option("--hardware", metavar="NAME", help="Where the files do not tell it."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Add exported results, or what another tool measured, to the store; what it has already is
    left as it is."""
    given = {
        "--log": log,
        "--model": model,
        "--target": target,
        "--window": window,
        "--batch": batch,
        "--hardware": hardware,
    }
    if source is ImportSource.bench:
        from bench import transfer

        for option, value in given.items():
            if value is not None:
                raise UsageError(f"{option} has no meaning for our own exports: give --from TOOL")
        new, known = transfer.copy(transfer.read(file), open_store(store))
        terminal.say(f"{new} results imported, {known} were there already")
        return
    from bench import importing, present
    from bench.importing.foreign import Asked

    if model is None or target is None:
        raise UsageError(
            f"--from {source.value} needs --model and --target: the files have neither"
        )
    asked = Asked(file, log, batch, window.value if window else None, hardware)
    result = importing.read(source.value, asked, model, target, open_cache())
    added = importing.add(result, open_store(store))
    (row,) = public([result])
    present.imported(row)
    terminal.say("1 result imported" if added else "these files are in the store already")
