"""One fresh process that does nothing but open an artifact and time it, a block at a time."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import canary, gpu, memory, plugins, targets, timing
from bench.cache import require_intact
from bench.environment import environment
from bench.errors import BenchError
from bench.load import Watch
from bench.machine import observe, pin, threads_each
from bench.messages import Block, Measure, Observed, Sampled, Turned, Turns, Warmed
from bench.pool import read as read_pool
from bench.stages import turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.contracts import Runner
    from bench.messages import Command, Ends
    from bench.teller import Teller


def measure(request: Measure, tell: Teller, commands: Iterator[Command]) -> Observed:
    """Answer the commands: WarmUp, any number of Blocks or Turns, Finish.

    What is ready when WarmUp comes (imports, inputs) can be made ready by several processes at the
    same time; from then on only one of them works at a time. Two that take turns open their
    artifacts before that, both at the same time: their memory is then alike, too.
    """
    job, how, built = request.job, request.job.procedure, request.timed.built
    require_intact(built)
    runner = plugins.runner(job.target.runner)
    runner.probe(job.target)  # imports the runtime, so that loading is loading
    pool = read_pool(request.timed.pool, how.batch)

    def ready() -> None:
        """Say so, and wait for WarmUp."""
        tell.done(None)
        next(commands)

    if not request.partner:
        ready()
    tell.at("open")
    with ExitStack() as opened:
        threads = threads_each(how)
        pin(threads * how.streams)
        with timing.lap() as load:
            sessions = opened.enter_context(
                runner.open(
                    built, job.target, batch=how.batch, threads=threads, streams=how.streams
                )
            )
        if request.partner:
            ready()
        tell.at("time")
        several = how.streams > 1
        stopwatches = [
            timing.Stopwatch(session, pool, how.window, several=several) for session in sessions
        ]
        stopwatch = timing.Streams(stopwatches) if several else stopwatches[0]
        first = stopwatch.sample()
        warmup, stable = stopwatch.warm_up(how.warmup_seconds)
        peak_rss_bytes = memory.peak_bytes()  # the network's own: the canary comes after
        beside = _open_canary(request, runner, opened, threads)
        # All that takes a while comes before `Warmed`: after it another process is at work.
        flags = dict(sessions[0].flags())
        device = gpu.used(_text(flags.get("gpu_uuid"))) if job.target.device == "gpu" else None
        if device:
            targets.require_used(job.target, observe(), device.name, device.compute_capability)
        watch = Watch(gpu.GpuWatch(device) if device else None)
        # A single thread on a CPU has no workers that spin on after a step.
        alone = job.target.device == "cpu" and threads * how.streams == 1
        rest: Callable[[], None] = (lambda: None) if alone else timing.rest
        rest()
        tell.done(Warmed(load.ns, first, tuple(warmup), stable))
        for command in commands:
            if isinstance(command, Turns):
                tell.done(_turned(command, request.partner, stopwatch, rest, watch))
                continue
            if not isinstance(command, Block):
                break
            timing.make_way()
            with watch:
                dropped, block = stopwatch.block(command.seconds)
            watch.count(len(dropped) + len(block))
            rest()
            sung = beside.block(canary.BLOCK_SECONDS)[1] if beside else []
            if sung:
                rest()
            tell.done(Sampled(tuple(dropped), tuple(block), tuple(sung)))
        flags |= sessions[0].flags()
    require_intact(built)  # the user's own file may have been written to meanwhile
    found = watch.total
    if found.gpu and found.gpu.sm_mhz:
        low, high = found.gpu.sm_mhz
        flags["gpu_clocks"] = f"{low} MHz" if low == high else f"{low} to {high} MHz"
    seen = environment(job.target, request.packages, {**gpu.facts(device), **flags})
    if device and not observe().board:  # of several GPUs, the one that it ran on
        seen = replace(seen, hardware=device.name)
    return Observed(seen, peak_rss_bytes, found)


def _turned(
    command: Turns,
    partner: Ends | None,
    stopwatch: timing.Stopwatch | timing.Streams,
    rest: Callable[[], None],
    watch: Watch,
) -> Turned:
    """A spell of turns. It is watched as a whole, for to look at the machine takes as long as a
    short network: what the partner used meanwhile is counted as others' (`load.of_two`)."""
    assert partner is not None

    def block() -> list[int]:
        samples = stopwatch.block(command.block_seconds)[1]
        rest()
        return samples

    with watch:
        taken = turns.take(command, partner, block)
    watch.count(sum(map(len, taken)))
    return Turned(tuple(taken))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _open_canary(
    request: Measure, runner: Runner, opened: ExitStack, threads: int
) -> timing.Stopwatch | None:
    """The canary, warm, on the same runner and threads; always at batch 1 and window `device`."""
    if request.canary is None:
        return None
    try:
        [session] = opened.enter_context(
            runner.open(request.canary.built, request.job.target, batch=1, threads=threads)
        )
    except BenchError:  # a runner's own limits must not cost the model its number
        return None
    stopwatch = timing.Stopwatch(session, read_pool(request.canary.pool, 1), "device")
    stopwatch.block(canary.BLOCK_SECONDS)
    return stopwatch
