"""Timing in rounds: several fresh processes live at once, and one of them works at a time.

Each round gives every process one block, in an order drawn at random. So a drift of the machine
falls on all processes alike, and more samples cost no further starts.
"""

from __future__ import annotations

from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING, Literal

from bench import stats
from bench.launch import Child
from bench.messages import Block, Finish, Measure, Observed, Sampled, Warmed, WarmUp
from bench.records import Environment, Measurement, ProcessRun
from bench.timing import lap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.messages import Prepared, Update
    from bench.records import Job, Procedure
    from bench.timing import Deadline

#: The interval is looked at again when the samples have grown by this factor: looking takes the
#: parent a tenth of a second, and looking after each round would stop on lucky rounds.
GROWTH = 1.4
#: Fewer blocks a process than this are no basis for an interval.
MIN_ROUNDS = 5


def measure(
    job: Job, prepared: Prepared, deadline: Deadline, on_reply: Callable[[Update], None]
) -> tuple[Measurement, Environment]:
    """Measure until the interval of the median is as narrow as asked, or the cap is reached.

    Raises ChildError when one of the processes fails: its samples would be missing.
    """
    how = job.procedure
    request = Measure(job, prepared.timed, prepared.canary, prepared.packages)
    with ExitStack() as living:
        children = [living.enter_context(Child(request, on_reply)) for _ in range(how.processes)]
        for child in children:
            child.answer(type(None), deadline)
        with lap() as wall:
            warmed = [child.ask(WarmUp(), Warmed, deadline) for child in children]
            taken: list[list[Sampled]] = [[] for _ in children]
            order, random = list(range(len(children))), Random(how.seed)
            # Short measurements have short blocks, so that they too have the rounds they need.
            least = min(how.min_seconds, how.max_seconds) / (how.processes * MIN_ROUNDS)
            seconds = min(how.block_seconds, least)
            spent, look_at, stop = 0.0, how.min_seconds, None
            while stop is None:
                random.shuffle(order)
                for i in order:
                    sampled = children[i].ask(Block(seconds), Sampled, deadline)
                    taken[i].append(sampled)
                    spent += max(seconds, sum(sampled.block_ns) / how.streams / 1e9)
                if len(taken[0]) >= MIN_ROUNDS and spent >= min(look_at, how.max_seconds):
                    stop = _stop(taken, how, spent)
                    look_at = spent * GROWTH
        observed = [child.ask(Finish(), Observed, deadline) for child in children]
    runs = tuple(map(_run, warmed, taken, observed))
    timed_beside = prepared.canary and all(run.canary_ns for run in runs)
    beside = prepared.canary.built.sha256 if prepared.canary and timed_beside else None
    return Measurement(how.window, runs, stop, wall.ns, beside), observed[0].environment


def _stop(
    taken: Sequence[Sequence[Sampled]], how: Procedure, spent: float
) -> Literal["interval", "cap"] | None:
    """Whether enough has been measured: the interval is narrow, or the cap is reached."""
    blocks = [[sampled.block_ns for sampled in run] for run in taken]
    interval = stats.median_interval(blocks)
    if stats.relative_half_width(interval) <= how.rel_error:
        return "interval"
    return "cap" if spent >= how.max_seconds else None


def _run(warmed: Warmed, taken: Sequence[Sampled], observed: Observed) -> ProcessRun:
    dropped = [sample for sampled in taken for sample in sampled.dropped_ns]
    return ProcessRun(
        blocks_ns=tuple(sampled.block_ns for sampled in taken),
        warmup_ns=(*warmed.warmup_ns, *dropped),
        stable=warmed.stable,
        load_ns=warmed.load_ns,
        first_ns=warmed.first_ns,
        peak_rss_bytes=observed.peak_rss_bytes,
        canary_ns=tuple(sampled.canary_ns for sampled in taken if sampled.canary_ns),
        load=observed.load,
    )
