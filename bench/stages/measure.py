"""One fresh process that does nothing but open an artifact and time it, a block at a time."""

from __future__ import annotations

import resource
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import canary, inputs, plugins, timing
from bench.cache import require_intact
from bench.environment import environment
from bench.errors import BenchError
from bench.load import Watch
from bench.machine import pin, usable_threads
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
    job, how, built = request.job, request.job.procedure, request.timed.built
    require_intact(built)
    runner = plugins.runner(job.target.runner)
    runner.probe(job.target)  # imports the runtime, so that loading is loading
    pool = inputs.read_pool(request.timed.pool, how.batch)
    tell.done(None)

    next(commands)
    tell.at("open")
    with ExitStack() as opened:
        threads = how.threads or usable_threads()
        pin(threads)
        with timing.lap() as load:
            session = opened.enter_context(
                runner.open(built, job.target, batch=how.batch, threads=threads)
            )
        tell.at("time")
        stopwatch = timing.Stopwatch(session, pool, how.window)
        first = stopwatch.sample()
        warmup, stable = stopwatch.warm_up(how.warmup_seconds)
        peak_rss_bytes = _peak_rss_bytes()  # the network's own: the canary comes after
        beside = _open_canary(request, opened, threads)
        timing.rest()
        tell.done(Warmed(load.ns, first, tuple(warmup), stable))
        watch = Watch()
        for command in commands:
            if not isinstance(command, Block):
                break
            with watch:
                dropped, block = stopwatch.block(command.seconds)
            timing.rest()
            sung = beside.block(canary.BLOCK_SECONDS)[1] if beside else []
            if sung:
                timing.rest()
            tell.done(Sampled(tuple(dropped), tuple(block), tuple(sung)))
        flags = dict(session.flags())
    require_intact(built)  # the user's own file may have been written to meanwhile
    seen = environment(job.target, request.packages, flags)
    return Observed(seen, peak_rss_bytes, watch.total)


def _open_canary(request: Measure, opened: ExitStack, threads: int) -> timing.Stopwatch | None:
    """The canary, warm, on the same runner and threads; always at batch 1 and window `device`."""
    if request.canary is None:
        return None
    target = request.job.target
    runner = plugins.runner(target.runner)
    try:
        session = opened.enter_context(
            runner.open(request.canary.built, target, batch=1, threads=threads)
        )
    except BenchError:  # a runner's own limits must not cost the model its number
        return None
    stopwatch = timing.Stopwatch(session, inputs.read_pool(request.canary.pool, 1), "device")
    stopwatch.block(canary.BLOCK_SECONDS)
    return stopwatch


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # KiB everywhere but on macOS
