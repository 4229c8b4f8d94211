"""The command line: the commands put together, and the one place that turns errors into sentences
and exit statuses."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(
    help="Which network should I deploy on this hardware, and did it get slower?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help starts in half the time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# A command's line in `bench --help` has to fit 80 columns; its own help says the rest.
app.command(short_help="Measure latency and accuracy of models on targets.")(run.run)
app.command(short_help="Find the batch and streams with the most images/s.")(throughput.throughput)
app.command("compile", short_help="Build and check artifacts; no device needed.")(
    compile.compile_models
)
app.command(short_help="Is B faster or slower than A? Measured in turns.")(compare.compare)
app.command(short_help="The nightly alarm: exit 4 on a confirmed slowdown.")(gate.gate)
app.add_typer(gate.baseline, name="baseline")
app.command(short_help="Try every model of a list once; resumes.")(coverage.coverage)
app.add_typer(lists.app, name="list")
app.command(short_help="A result by its id, or the card of a model.")(results.show)
app.command(short_help="Draw the accuracy-latency frontier and its table.")(results.report)
app.command(short_help="Compare results with published figures.")(anchors.anchors)
app.command(short_help="What can run on this machine, and why not.")(doctor.doctor)
app.command("export", short_help="Write results as JSON lines, CSV or Parquet.")(
    results.export_results
)
app.command(short_help="Remove results from the store.")(results.remove)
app.command("import", short_help="Add results from elsewhere to the store.")(results.import_results)
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
        with _told_when_terminated():
            app(arguments, prog_name="bench")
    except BenchError as error:
        _fail(str(error), error.exit_status)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)


@contextmanager
def _told_when_terminated() -> Iterator[None]:
    """Have SIGTERM, which CI sends when its time is up, end a command as Ctrl-C does, so that it
    tells what it has found; but with 143 where that has 130. Children begin with the usual
    disposition: no handler outlives the start of another program."""
    usual = signal.getsignal(signal.SIGTERM)
    # Only the main thread may handle signals, and who was told to ignore them goes on doing so.
    if threading.current_thread() is not threading.main_thread() or usual is signal.SIG_IGN:
        yield
        return
    terminated = False

    def terminate(*_: object) -> None:
        nonlocal terminated
        if not terminated:  # a second one must not cut off what is being told
            terminated = True
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except SystemExit as leave:
        if terminated and leave.code == 130:
            sys.exit(143)
        raise
    finally:
        signal.signal(signal.SIGTERM, usual)


def _fail(sentence: str, status: int) -> None:
    if debug.wanted:
        traceback.print_exc()
    print(f"bench: {sentence}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
