"""Which results may be compared with each other.

A series is one job measured again and again (`key`) on one stack (`stack`): the same hardware, the
same runtime. What a runtime's new version does to latency is worth knowing, and it is not what last
night's change did; so it begins a new series.
"""

from __future__ import annotations

import json
from contextlib import suppress
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import plugins, stats
from bench.errors import UsageError
from bench.modelref import is_file
from bench.public import canary_ratio
from bench.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.records import Job, Result

#: What one network's latency in canaries may differ by between two nights. Over eight minutes its
#: spread was 0.5 to 1.2 % (`docs/benchmarks.md`, The canary), and nights are further apart.
BETWEEN_NIGHTS = 0.02


def key(job: Job) -> str:
    """What is measured, as a person asked for it; files by their names alone, for checkouts lie in
    different folders."""
    how, target = job.procedure, job.target
    model = Path(job.model).name if is_file(job.model) else job.model
    weights = job.weights if job.weights in ("pretrained", "random") else Path(job.weights).name
    made: list[Any] = [job.recipe.method, job.recipe.images, job.recipe.keep, job.max_drop]
    return json.dumps(
        [
            *(model, weights, target.name, target.options),
            *(how.batch, how.streams, how.window, how.threads),
            # A series that began before there were recipes goes on.
            *(made if any(part is not None and part != 0 for part in made) else ()),
        ],
        sort_keys=True,
    )


def stack(result: Result) -> dict[str, Any]:
    """What it was measured with: hardware, drivers, and the versions of the runtime's packages."""
    seen, packages = result.environment, ["frontier-bench"]
    with suppress(UsageError):  # a runner that is installed elsewhere
        packages += plugins.runner(result.job.target.runner).packages
    versions = {name: seen.versions[name] for name in packages if name in seen.versions}
    return {"hardware": seen.hardware, "gpus": ", ".join(seen.gpus), **versions}


def changed(before: Result, after: Result) -> list[str]:
    """What differs between the stacks of two results, in words; or that they are of two networks,
    which two files of one name may be."""
    old, new = stack(before), stack(after)
    found = [
        f"{name} {old.get(name) or 'none'} -> {new.get(name) or 'none'}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    if not same_network(before, after):
        found.append("it is another network: its inputs, task or labels differ")
    return found


def same_network(before: Result, after: Result) -> bool:
    """Whether two results can be of one network, as far as one sees from outside."""
    a, b = before.model, after.model
    return not a or not b or (a.task, a.inputs, a.labels) == (b.task, b.inputs, b.labels)


def is_invalid(result: Result) -> bool:
    """Whether the number of a measured result is none; that of a record of no processes, which an
    import may bring, is none either."""
    assert result.measurement is not None
    blocks = [run.blocks_ns for run in result.measurement.processes]
    if not blocks:
        return True
    verdict, _ = judge(result.measurement, stats.median_interval(blocks), result.job.procedure)
    return verdict == "INVALID"


def log_latency(result: Result, canary: str | None) -> float:
    """The log of the median latency: in canaries where `canary` sang beside it, else in ns."""
    assert result.measurement is not None
    measured = result.measurement
    in_canaries = canary_ratio(measured) if canary and measured.canary == canary else None
    return log(in_canaries or stats.median([run.blocks_ns for run in measured.processes]))


def uncertainty(*results: Result) -> float:
    """How far the latencies of results may be off together, as a share: the sum of the half-widths
    of their intervals, and no less than one network differs from itself between two nights."""
    runs = [result.measurement.processes for result in results if result.measurement]
    intervals = (stats.median_interval([run.blocks_ns for run in each]) for each in runs)
    return max(BETWEEN_NIGHTS, sum(map(stats.relative_half_width, intervals)))


def common_canary(results: Iterable[Result]) -> str | None:
    """The canary that was timed beside all of them, if it was one and the same."""
    found = {result.measurement.canary if result.measurement else None for result in results}
    return found.pop() if len(found) == 1 else None
