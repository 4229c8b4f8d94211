"""The command line: the commands put together, and the one place that turns errors into sentences
and exit statuses."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from bench import debug
from bench.commands import (
    anchors,
    cache,
    compare,
    compile,
    coverage,
    doctor,
    gate,
    lists,
    results,
    run,
    throughput,
)
from bench.errors import BenchError

app = typer.Typer(
    help="Which network should I deploy on this hardware, and did it get slower?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help starts in half the time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(throughput.throughput)
app.command("compile")(compile.compile_models)
app.command()(compare.compare)
app.command()(gate.gate)
app.add_typer(gate.baseline, name="baseline")
app.command()(coverage.coverage)
app.add_typer(lists.app, name="list")
app.command()(results.show)
app.command()(results.report)
app.command()(anchors.anchors)
app.command()(doctor.doctor)
app.command("export")(results.export_results)
app.command("import")(results.import_results)
app.add_typer(cache.app, name="cache")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Tracebacks, and what children printed.")
    ] = False,
) -> None:
    from bench import __version__

    if version:
        print(f"bench {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and exit with its status."""
    # `--debug` is taken from anywhere in the line: people add it to one that failed.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug.wanted = len(arguments) < len(sys.argv) - 1
    try:
        app(arguments, prog_name="bench")
    except BenchError as error:
        _fail(str(error), error.exit_status)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)


def _fail(sentence: str, status: int) -> None:
    if debug.wanted:
        traceback.print_exc()
    print(f"bench: {sentence}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
