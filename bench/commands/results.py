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
    StoreOption,
    open_cache,
    open_store,
    print_json,
    public,
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
    """All that is known of one result (as JSON, without raw samples), or the card of a model."""
    from bench import card, present_models

    opened = open_store(store)
    if re.fullmatch("[0-9a-f]{1,12}", what):  # no model has been called so yet
        print_json(public([opened.get(what)])[0])
        return
    drawn = card.draw(what, open_cache(), opened, count=count)
    print_json(drawn) if as_json else present_models.card(drawn)


def report(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("bench-report"),
    form: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="png, svg, pdf, md, csv; all of them."),
    ] = None,
    target: Annotated[str | None, typer.Option("--target", "-t", help="Only this target.")] = None,
    store: StoreOption = None,
) -> None:
    """Draw the accuracy-latency frontier and write the table."""
    from bench import reporting

    rows = public(open_store(store).read(target=target))
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
        Path | None, typer.Option("--out", help="File; default: standard output.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write all results as JSON lines, CSV or Parquet."""
    from bench import transfer

    results = open_store(store).read()
    if out is not None:
        transfer.write_file(results, form.value, out)
    elif form is ExportFormat.parquet:
        raise UsageError("Parquet is binary: give --out FILE")
    else:
        transfer.write(results, form.value, sys.stdout)


def import_results(
    file: Annotated[Path, typer.Argument(help="What `bench export --format jsonl` wrote.")],
    store: StoreOption = None,
) -> None:
    """Add exported results to the store; what it has already is left as it is."""
    from bench import transfer

    new, known = transfer.copy(transfer.read(file), open_store(store))
    terminal.say(f"{new} results imported, {known} were there already")
