"""What does it cost that a comparison looks at its answer after every pair?

Simulated: log ratios of pairs are drawn around a change with a given scatter, and the answer is
looked at after each pair, by the rule of the interval alone and by that of `bench compare`, which
also asks for a p (`bench.comparison.CERTAIN`) where pairs scatter by more than the margin.

    python benchmarks/sequential.py [--runs 5000]
"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from machine import heading

from bench import comparison, stats

#: Change, margin, how many pairs there is time for (60 s: 20, 180 s: 60), scatters of a pair.
SETTINGS = [
    (0.0, 0.02, 20, (0.011, 0.015, 0.02, 0.03, 0.05, 0.10)),
    (0.0, 0.01, 60, (0.01, 0.02, 0.05, 0.10)),
    (0.03, 0.02, 20, (0.011, 0.015)),
    (0.02, 0.02, 20, (0.011, 0.015)),
    (0.01, 0.01, 60, (0.01,)),
    (0.10, 0.02, 10, (0.02, 0.03)),
]
#: No interval has ends before the sixth pair.
FIRST = 6


@dataclass
class Rule:
    """A rule, and what it has said of each run."""

    certain: float
    said: Any
    pairs: Any

    def look(
        self, n: int, at: Any, low: Any, high: Any, ps: Any, wide: Any, edge: float, *, over: bool
    ) -> None:
        """After the n-th pair of the runs `at`, of which this rule may have answered some; pairs
        scatter widely where `wide`."""
        wanted = np.where(wide, self.certain, 1.0)
        found = np.full(len(at), "UNSURE" if over else "", dtype="<U6")
        found[(low > edge) & (ps[0] <= wanted)] = "SLOWER"
        found[(high < -edge) & (ps[1] <= wanted)] = "FASTER"
        found[(low > -edge) & (high < edge)] = "SAME"
        new = (self.said[at] == "") & (found != "")
        self.said[at[new]], self.pairs[at[new]] = found[new], n


def simulate(ratios: Any, margin: float, most: int) -> list[Rule]:
    """Both rules on the same runs: a row each, a column for each pair."""
    runs, edge = len(ratios), log(1 + margin) / 2
    rules = [
        Rule(certain, np.full(runs, "", dtype="<U6"), np.zeros(runs))
        for certain in (1.0, comparison.CERTAIN)
    ]
    for n in range(FIRST, most + 1):
        at = np.flatnonzero(np.any([rule.said == "" for rule in rules], axis=0))
        if not len(at):
            break
        # `stats.signed_rank_interval` and `stats.signed_rank_p`, of many at once.
        i, j = np.triu_indices(n)
        walsh = (ratios[at][:, i] + ratios[at][:, j]) / 2
        out = stats._walsh_left_out(n)
        ends = [out, walsh.shape[1] - 1 - out]
        low, high = np.partition(walsh, ends, axis=1)[:, ends].T
        p_of = stats._exact_p if n <= stats._EXACT else stats._normal_p
        table = np.array([p_of(n, above) for above in range(len(i) + 1)])
        above = (walsh > 0).sum(axis=1)
        scatter = ratios[at][:, :n].std(axis=1, ddof=1)
        wide = (scatter > margin) & (abs(np.median(walsh, axis=1)) < comparison.FAR * scatter)
        ps = table[above], table[len(i) - above]
        for rule in rules:
            rule.look(n, at, low, high, ps, wide, edge, over=n == most)
    return rules


parser = ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=5_000)
given = parser.parse_args()
heading("Looking after every pair")
print(
    f"{given.runs} simulated comparisons each, by the interval alone, and by a p of at most "
    f"{comparison.CERTAIN:g} too where pairs scatter by more than the margin (unless the change is "
    f"{comparison.FAR:g} times as large). Pairs: those that there is time for, and those taken.\n"
)
verdicts = ("SLOWER", "FASTER", "SAME", "UNSURE")
columns = [f"{when}: {what}" for when in ("interval", "and p") for what in (*verdicts, "pairs")]
print("| change | margin | pairs | scatter, shape |", " | ".join(columns), "|")
print("|" + "---|" * (4 + len(columns)))
rng = np.random.default_rng(0)
for change, margin, most, scatters in SETTINGS:
    for scatter in scatters:
        for shape, tails in (("normal", None), ("t, 4 df", 4)):
            size = (given.runs, most)
            drawn = (
                rng.standard_normal(size) if tails is None else rng.standard_t(tails, size) / 2**0.5
            )
            cells = []
            for rule in simulate(log(1 + change) + scatter * drawn, margin, most):
                cells += [f"{np.mean(rule.said == each):.2%}" for each in verdicts]
                cells.append(f"{rule.pairs.mean():.1f}")
            asked = f"| {change:.0%} | {margin:.0%} | {most} | {scatter:.1%}, {shape} |"
            print(asked, " | ".join(cells), "|", flush=True)
