"""Is B slower than A? A measurement of its own, and its answer.

Pairs of fresh processes, one of each side, live at the same time and run in turns: short blocks, on
the same cores, so that whatever the machine does it does to both; who begins is drawn at random.
One pair gives one ratio. Pairs are added until the interval of their centre lies on one side of
half the margin, or time is up.

The margin is the smallest change that matters. A change as large is told; none is SAME; half of it
is where the two meet, and what lies close to that may be told either way, or remain UNSURE.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import exp, inf, isfinite, log
from random import Random
from statistics import stdev
from typing import TYPE_CHECKING, Any, Literal

from bench import pairs, sides, stats
from bench.launch import ChildError
from bench.load import of_two
from bench.machine import threads_each
from bench.messages import Finish, Observed, Turned, Turns, Warmed, WarmUp
from bench.records import Procedure
from bench.timing import Deadline, lap
from bench.verdict import load, unusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.records import Load
    from bench.sides import Side

Verdict = Literal["FASTER", "SLOWER", "SAME", "UNSURE"]

#: How long a block is: short, for the machine's speed changes within hundredths of a second, and
#: not so short that most of it would be calls on cold caches...
BLOCK_SECONDS = 0.015
#: ...but on a CPU a call that takes half of it or more brings its own caches back, and such
#: networks are compared call by call...
SLOW_SECONDS = BLOCK_SECONDS / 2
#: ...and calls as long as this, where both sides pay about the same for that
#: (`docs/architecture.md`): on one thread, which hands the turn on at once, of networks that take
#: about the same time and memory, at most so many times as much. How long calls are, the quickest
#: warm-up of all pairs says: by those of one pair, a fifth of a second apart, one network in five
#: was not near itself.
CALL_SECONDS = 0.0015
NEAR = 1.25
#: The first call after a pause counts of calls as long as this: they would be too few.
LONG_SECONDS = 0.05
#: For how long the two of a pair take turns: briefly, for two processes of the same network differ,
#: most likely by where in memory its tensors lie, and only more pairs average that out
#: (`docs/architecture.md`)...
TURNS_SECONDS = 1.0
#: ...but until they have had so many turns, where these come slowly, for up to three seconds...
ENOUGH_TURNS, MOST_TURNS_SECONDS = 30, 3.0
#: ...and never for fewer turns than these.
MIN_TURNS = 10
#: How the processes of a pair are warmed up: until the latency has settled, or for a third of a
#: second; they go on warming up as they take turns.
PROCEDURE = Procedure(warmup_seconds=0.03)
#: Turns that take so much longer than they should hang; of slow networks, twice the turns' time.
PATIENCE_SECONDS = 120.0
#: How many times as long as allowed a gate's comparison may take that looks SLOWER, to be certain.
MORE = 3
#: The p that SLOWER and FASTER need where pairs scatter by more than the margin, unless the change
#: is so many times as large as their scatter (six pairs have no p below 1/64). The interval is
#: looked at after every pair, and is wrong once in twenty looks: where pairs scatter little it is
#: hardly ever beyond half the margin for that, but where they scatter by 5 to 10 % it alone found a
#: change between equals in 3 to 9 % of comparisons of a minute (`benchmarks/sequential.py`).
CERTAIN = 0.001
FAR = 2.5


@dataclass(frozen=True)
class Rules:
    """When to stop, and what to call it. `margin` is a share (0.02 is 2 %); `max_seconds` is the
    wall time of all pairs, the preparation left out; `early` says to stop as soon as the answer is
    clear. SLOWER is clear when its p (signed-rank test, one-sided) is down to `max_p` too: a gate
    of many jobs asks for more than one comparison does."""

    margin: float = 0.02
    max_seconds: float = 60.0
    early: bool = True
    max_p: float = 1.0
    seed: int = 0
    #: What a person can do about an answer that is UNSURE, and a process that takes longer than the
    #: procedure of its side allows to start, or to load and warm up.
    if_unsure: str = "raise --max-seconds"
    if_late: str = "raise --timeout, unless it hangs"

    def call(self, interval: tuple[float, float, float]) -> Verdict:
        """On which side of half the margin the whole interval lies, of a log of B's time over
        A's: (estimate, low, high)."""
        _, low, high = interval
        edge = log(1 + self.margin) / 2
        if low > edge:
            return "SLOWER"
        if high < -edge:
            return "FASTER"
        return "SAME" if -edge < low and high < edge else "UNSURE"


@dataclass(frozen=True)
class Pair:
    """The blocks of two processes that took turns, in ns, and the load meanwhile."""

    a_ns: tuple[tuple[int, ...], ...]
    b_ns: tuple[tuple[int, ...], ...]
    loads: tuple[Load, Load]

    @cached_property
    def log_ratio(self) -> float:
        """log(B's time / A's)."""
        return log(stats.ratio(self.b_ns, self.a_ns))

    @cached_property
    def log_ratio_of_medians(self) -> float:
        return log(stats.median([self.b_ns]) / stats.median([self.a_ns]))


@dataclass
class Comparison:
    """The pairs so far, and what they say."""

    a: Side
    b: Side
    rules: Rules
    pairs: list[Pair] = field(default_factory=list)
    seconds: float = 0.0
    failure: ChildError | None = None
    #: How long a call of A and one of B take where nothing disturbs it, as far as is known.
    steps_seconds: list[float] = field(default_factory=lambda: [inf, inf])

    @property
    def log_ratio(self) -> tuple[float, float, float]:
        """log(B's time / A's) with its 95 % interval: (estimate, low, high)."""
        return stats.signed_rank_interval([pair.log_ratio for pair in self.pairs])

    @property
    def log_ratio_of_medians(self) -> tuple[float, float, float]:
        return stats.signed_rank_interval([pair.log_ratio_of_medians for pair in self.pairs])

    @property
    def ratio(self) -> float:
        return exp(self.log_ratio[0])

    @property
    def ci95(self) -> tuple[float, float]:
        return exp(self.log_ratio[1]), exp(self.log_ratio[2])

    @property
    def loads(self) -> list[Load]:
        return [load for pair in self.pairs for load in pair.loads]

    @property
    def spoilt(self) -> bool:
        """Whether a run would be INVALID: what another process takes of a GPU, it takes of both
        sides, and their ratio comes nearer to 1."""
        return any(unusable(self.loads))

    @property
    def looks(self) -> Verdict:
        """What the interval says of the fast calls of both, which interruptions do not reach."""
        if self.failure or not self.pairs or self.spoilt:
            return "UNSURE"
        return self.rules.call(self.log_ratio)

    @property
    def verdict(self) -> Verdict:
        """What it looks like, where that is certain enough."""
        looks = self.looks
        if looks in ("SLOWER", "FASTER") and self.p_of_change > self.wanted_p:
            return "UNSURE"
        return looks

    @property
    def scatter(self) -> float:
        """The standard deviation of the pairs' log ratios, about a share; 0 of a single pair."""
        logs = [pair.log_ratio for pair in self.pairs]
        return stdev(logs) if len(logs) > 1 else 0.0

    @property
    def wanted_p(self) -> float:
        """What the p of a change may be at most."""
        scatter = self.scatter
        near = abs(self.log_ratio[0]) < FAR * scatter
        return CERTAIN if scatter > self.rules.margin and near else 1.0

    @property
    def p_of_change(self) -> float:
        """How probable so clear a change would be if there were none, of the kind that it looks
        like; 0 where it looks like none."""
        sign = {"SLOWER": 1, "FASTER": -1}.get(self.looks)
        if sign is None:
            return 0.0
        return stats.signed_rank_p([sign * pair.log_ratio for pair in self.pairs])

    @property
    def verdict_of_medians(self) -> Verdict:
        """What the medians say, with their wider interval. Where it is sure and another one, the
        two sides differ in how their calls scatter."""
        if self.failure or not self.pairs or self.spoilt:
            return "UNSURE"
        return self.rules.call(self.log_ratio_of_medians)

    @property
    def contradicted(self) -> bool:
        return "UNSURE" not in (said := {self.verdict, self.verdict_of_medians}) and len(said) > 1

    @property
    def p(self) -> float:
        """How probable so clear a slowdown would be if there were none."""
        return stats.signed_rank_p([pair.log_ratio for pair in self.pairs])

    @property
    def clear(self) -> bool:
        """Whether more pairs would not change the answer."""
        if self.spoilt:
            return True
        verdict = self.verdict
        return verdict != "UNSURE" and (verdict != "SLOWER" or self.p <= self.rules.max_p)

    @property
    def out_of_time(self) -> bool:
        """A gate gives more to what looks SLOWER, and is not yet as certain as it asks: a slow
        network has too few pairs within the time for any p to be small."""
        alarming = self.rules.max_p < 1 and self.looks == "SLOWER" and not self.clear
        return self.seconds >= (MORE if alarming else 1) * self.rules.max_seconds


def compare(
    a: Side, b: Side, rules: Rules, on_pair: Callable[[Comparison], None] = lambda _: None
) -> Comparison:
    """Measure pairs until the answer is clear, or for `max_seconds`. A process that fails ends it,
    UNSURE and without a number: what it would have measured is missing."""
    a, b = sides.same_inputs(a, b)
    found = Comparison(a, b, rules)
    random = Random(rules.seed)
    while not found.out_of_time and not (rules.early and found.clear):
        with lap() as taken:
            try:
                found.pairs.append(_pair(found, random))
            except ChildError as failed:
                found.failure = failed
                break
        found.seconds += taken.seconds
        on_pair(found)
    return found


def _pair(found: Comparison, random: Random) -> Pair:
    """The next pair of fresh processes. Which is started, loaded and timed first is drawn each
    time. What its warm-up says of how long a call takes is kept with the comparison."""
    a, b, steps_seconds = found.a, found.b, found.steps_seconds

    def patience(i: int) -> Deadline:
        """Each step anew: some networks take minutes to load, and are compiled then."""
        return Deadline.after((a, b)[i].job.procedure.timeout_seconds, found.rules.if_late)

    order = [0, 1]
    random.shuffle(order)
    with pairs.started(a, b, order, patience) as children:
        random.shuffle(order)
        warmed = [children[i].ask(WarmUp(), Warmed, patience(i)) for i in order]
        for i, each in zip(order, warmed, strict=True):
            steps_seconds[i] = min(steps_seconds[i], stats.undisturbed(each.warmup_ns) / 1e9)
        block_seconds = _block_seconds(a, b, steps_seconds)
        uncounted = int(not block_seconds and min(steps_seconds) < LONG_SECONDS)
        deadline = Deadline.after(PATIENCE_SECONDS + 4 * MIN_TURNS * sum(steps_seconds))
        blocks: tuple[list[tuple[int, ...]], ...] = ([], [])
        most = Deadline.after(MOST_TURNS_SECONDS)
        while len(blocks[0]) < (ENOUGH_TURNS if most.left() else MIN_TURNS):
            first = random.choice(order)
            for i in (1 - first, first):  # who begins is not disturbed by what the other is told
                children[i].tell(Turns(TURNS_SECONDS, block_seconds, i == first, uncounted))
            for i in (0, 1):
                blocks[i].extend(children[i].answer(Turned, deadline).blocks_ns)
        loads = [children[i].ask(Finish(), Observed, deadline).load for i in (0, 1)]
    return Pair(tuple(blocks[0]), tuple(blocks[1]), of_two(loads[0], loads[1]))


def _block_seconds(a: Side, b: Side, steps_seconds: list[float]) -> float:
    """The same for both, and by the quicker one; 0 for call by call, where both are run alike: what
    the first call after the other's takes longer depends on the runtime and the device, and where
    calls are short on the network, too."""
    if a.job.target != b.job.target or a.job.target.device != "cpu":
        return BLOCK_SECONDS
    quick, slow = sorted(steps_seconds)
    small, large = sorted(side.timed.built.bytes for side in (a, b))
    near = a.asked.python == b.asked.python and slow <= NEAR * quick and large <= NEAR * small
    alone = all(threads_each(side.job.procedure) == 1 for side in (a, b))
    least = CALL_SECONDS if near and alone else SLOW_SECONDS
    return 0.0 if quick >= least else BLOCK_SECONDS


def to_public(found: Comparison) -> dict[str, Any]:
    """The public JSON object of a comparison; times in ms, `ratio` is B's time over A's."""
    measured = bool(found.pairs) and not found.failure
    bounded = measured and all(0 < bound < float("inf") for bound in found.ci95)
    a_ns = b_ns = None
    if measured:
        a_ns = stats.median([pair.a_ns for pair in found.pairs])
        b_ns = stats.median([pair.b_ns for pair in found.pairs])
    return {
        "verdict": found.verdict,
        "ratio": found.ratio if measured else None,
        "ci95": list(found.ci95) if bounded else None,
        "margin": found.rules.margin,
        "pairs": len(found.pairs),
        "seconds": found.seconds,
        "reasons": reasons(found),
        "a": sides.to_public(found.a, a_ns),
        "b": sides.to_public(found.b, b_ns),
    }


def reasons(found: Comparison) -> list[str]:
    """Why the answer is UNSURE, and what speaks against the machine."""
    if found.failure:
        return [f"a process failed at {found.failure.failure.stage}: {found.failure}"]
    said = []
    looks = found.rules.call(found.log_ratio)
    if not isfinite(found.ci95[1]):
        said.append(
            f"{len(found.pairs)} pair{'s are' if len(found.pairs) > 1 else ' is'} too few for an "
            f"interval, which takes six{'' if found.spoilt else f': {found.rules.if_unsure}'}"
        )
    elif looks == "UNSURE" and not found.spoilt:
        low, high = (100 * (bound - 1) for bound in found.ci95)
        said.append(
            f"after {len(found.pairs)} pairs the interval is still {low:+.1f} to {high:+.1f} "
            f"%, which half the margin ({50 * found.rules.margin:.2g} %) lies in: "
            f"{found.rules.if_unsure}, or quieten the machine"
        )
    elif found.verdict == "UNSURE" and not found.spoilt:
        said.append(
            f"after {len(found.pairs)} pairs it looks {looks} ({100 * (found.ratio - 1):+.1f} %), "
            f"but they scatter by {100 * found.scatter:.1f} %, so that it is not certain (p "
            f"{found.p_of_change:.2g}, wanted {found.wanted_p:g}): {found.rules.if_unsure}, or "
            "quieten the machine"
        )
    if found.contradicted:
        percent = 100 * (exp(found.log_ratio_of_medians[0]) - 1)
        said.append(
            f"by the medians it is {found.verdict_of_medians} ({percent:+.1f} %): the calls "
            "of one side scatter more than those of the other, and the verdict is that of the fast "
            "ones"
        )
    return [*said, *load(found.loads)]


def exit_status(found: Comparison, *, fail_slower: bool) -> int:
    """0 for an answer, 6 for none, 1 when a process failed; 4 for SLOWER where it is asked for."""
    if found.failure:
        return 1
    if found.verdict == "UNSURE":
        return 6
    return 4 if fail_slower and found.verdict == "SLOWER" else 0
