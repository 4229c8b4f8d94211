"""The child's side: read a request from standard input, do it, answer in JSON lines.

Libraries print to standard output as they like; so the answers go to a copy of it, and whatever is
printed goes to standard error.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import msgspec

from bench.cache import Cache
from bench.errors import BenchError, first_line
from bench.messages import (
    Canary,
    Command,
    Describe,
    Evaluate,
    Export,
    Failed,
    Inputs,
    Measure,
    Names,
    Outlines,
    Prepare,
    Probe,
    Request,
    Twins,
)
from bench.records import Failure, Stage
from bench.teller import Teller

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> None:
    """Answer the one request on standard input."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(channel)


def serve(channel: IO[bytes]) -> NoReturn:
    """Answer the one request on standard input there, and end."""
    _die_with_parent()
    tell = Teller(channel)
    try:
        request = msgspec.json.decode(sys.stdin.buffer.readline(), type=Request)
        tell.done(_answer(request, tell))
    except BaseException as error:
        tell.send(Failed(_failure(error, tell.stage), traceback.format_exc()))
        if not isinstance(error, Exception):
            raise
    finally:
        with suppress(OSError):
            channel.close()
    # Runtimes tear down their thread pools at interpreter exit, slowly and sometimes with a crash;
    # everything is said by now.
    sys.stderr.flush()
    os._exit(0)


def _answer(request: Request, tell: Teller) -> Any:
    # Imported by need: a measuring process holds nothing but what it measures with.
    if isinstance(request, Measure):
        from bench.stages.measure import measure

        return measure(request, tell, _commands())
    if isinstance(request, Twins):
        from bench.stages.twins import become_two

        return become_two(request, tell, serve)
    if isinstance(request, Prepare):
        from bench.stages.prepare import prepare

        return prepare(request, tell)
    if isinstance(request, Describe):
        from bench.stages.prepare import look_up

        return look_up(request, tell)
    if isinstance(request, Export):
        from bench.stages.prepare import export

        return export(request, tell)
    if isinstance(request, Evaluate):
        from bench.stages.evaluate import evaluate

        return evaluate(request, tell)
    if isinstance(request, Canary):
        from bench.stages.build import canary_for, usable

        cache = Cache(Path(request.cache))
        return canary_for(usable(request.target).runner, request.target, cache)
    if isinstance(request, Inputs):
        from bench.stages.prepare import inputs_again

        return inputs_again(request)
    from bench import plugins

    if isinstance(request, Names):
        return sorted(plugins.exporter(request.source).names())
    if isinstance(request, Outlines):
        from bench.index import of_source

        return of_source(request.source)
    assert isinstance(request, Probe)
    if request.build_only:
        from bench.stages.build import problem

        return [problem(target) for target in request.targets]
    return [plugins.runner(target.runner).probe(target) for target in request.targets]


def _commands() -> Iterator[Command]:
    """What the parent asks for after its request, until it has no more."""
    while line := sys.stdin.buffer.readline():
        yield msgspec.json.decode(line, type=Command)


def _failure(error: BaseException, stage: Stage) -> Failure:
    """An exception as a row's failure: its kind in one word, its message in one line."""
    if isinstance(error, BenchError):
        return Failure(stage, error.kind, str(error))
    if isinstance(error, MemoryError):
        return Failure(stage, "oom", f"out of memory: {error or 'no more to be had'}")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" ({error.filename})" if error.filename else ""
        return Failure(stage, "disk-full", f"no space left on the disk{where}: see `bench cache`")
    name, said = type(error).__name__, first_line(error)
    return Failure(stage, "exception", (name if said == name else f"{name}: {said}")[:500])


def _die_with_parent() -> None:
    """On Linux, ask to be killed when the parent is, so that nothing goes on measuring alone."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
