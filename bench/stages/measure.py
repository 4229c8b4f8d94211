"""One fresh process that does nothing but open an artifact and time it, a block at a time."""

from __future__ import annotations

import resource
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import inputs, plugins, timing
from bench.cache import require_intact
from bench.environment import environment
from bench.machine import usable_threads
from bench.messages import Block, Measure, Observed, Sampled, Warmed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.messages import Command
    from bench.teller import Teller


def measure(request: Measure, tell: Teller, commands: Iterator[Command]) -> Observed:
    """Answer the commands: WarmUp, any number of Blocks, Finish.

    What is ready when WarmUp comes (imports, inputs) can be made ready by several processes at the
    same time; from then on only one of them works at a time.
    """
    job, how = request.job, request.job.procedure
    require_intact(request.built)
    runner = plugins.runner(job.target.runner)
    runner.probe(job.target)  # imports the runtime, so that loading is loading
    pool = inputs.read_pool(request.pool, how.batch)
    tell.done(None)

    next(commands)
    tell.at("open")
    with ExitStack() as opened:
        threads = how.threads or usable_threads()
        with timing.lap() as load:
            session = opened.enter_context(
                runner.open(request.built, job.target, batch=how.batch, threads=threads)
            )
        tell.at("time")
        stopwatch = timing.Stopwatch(session, pool, how.window)
        first = stopwatch.sample()
        warmup, stable = stopwatch.warm_up(how.warmup_seconds)
        timing.rest()
        tell.done(Warmed(load.ns, first, tuple(warmup), stable))
        for command in commands:
            if not isinstance(command, Block):
                break
            dropped, block = stopwatch.block(command.seconds)
            timing.rest()
            tell.done(Sampled(tuple(dropped), tuple(block)))
        flags = dict(session.flags())
    require_intact(request.built)  # the user's own file may have been written to meanwhile
    return Observed(environment(job.target, request.packages, flags), _peak_rss_bytes())


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # KiB everywhere but on macOS
