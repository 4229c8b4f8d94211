"""How many images a second at most, and at which batch size and number of streams?

Every number of streams that the cores divide into is tried with batches of 1, 2, 4, ... until more
does not help, or the slowest calls take longer than is allowed. Each try is a job of its own, and
its row is stored like any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench import campaign
from bench.machine import usable_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.campaign import Campaign
    from bench.records import Job

#: A larger batch has to bring so much more, or two in a row end the search among those streams.
GAIN = 0.02
#: Streams tried on a device other than the CPU: past a few they wait for each other.
DEVICE_STREAMS = (1, 2, 4)


def search(
    job: Job, trying: Campaign, *, max_latency_ms: float | None, max_batch: int
) -> list[dict[str, Any]]:
    """The rows of all tries. The job's own threads, where it has any, are those of all streams
    together."""
    trying.store.require_writable()
    first = len(trying.rows)
    for streams, threads in splits(job):
        best, without_gain, batch = 0.0, 0, 1
        while batch <= max_batch and without_gain < 2:
            how = replace(job.procedure, batch=batch, streams=streams, threads=threads)
            trying.measure(replace(job, procedure=how))
            row = trying.rows[-1]
            if row["failure"] or not within(row, max_latency_ms):
                break
            without_gain = 0 if row["throughput_ips"] > best * (1 + GAIN) else without_gain + 1
            best, batch = max(best, row["throughput_ips"]), 2 * batch
    return trying.rows[first:]


def splits(job: Job) -> Iterator[tuple[int, int | None]]:
    """Numbers of streams to try, with the threads of each."""
    if job.target.device != "cpu":
        yield from ((streams, None) for streams in DEVICE_STREAMS)
        return
    cores = job.procedure.threads or usable_threads()
    yield from ((n, cores // n) for n in range(1, cores + 1) if cores % n == 0)


def slowest_ms(row: dict[str, Any]) -> float:
    """What the slowest calls take: the 99th percentile, or the maximum where there are too few
    samples for that."""
    latency = row["latency"]
    slow: float = latency["max_ms"] if latency["p99_ms"] is None else latency["p99_ms"]
    return slow


def within(row: dict[str, Any], max_latency_ms: float | None) -> bool:
    return max_latency_ms is None or slowest_ms(row) <= max_latency_ms


def best(rows: Sequence[dict[str, Any]], max_latency_ms: float | None) -> dict[str, Any] | None:
    """The row of the highest throughput that keeps the bound; None where none does. An INVALID
    measurement is none."""
    good = [
        row
        for row in rows
        if not row["failure"] and row["verdict"] != "INVALID" and within(row, max_latency_ms)
    ]
    return max(good, key=lambda row: float(row["throughput_ips"]), default=None)


def exit_status(found: dict[str, Any]) -> int:
    """0 where there is a best; else why there is none: 6 when nothing but INVALID measurements
    were left, 1 when nothing kept the bound, and for failures what `bench run` says of them."""
    if found["best"]:
        return 0
    measured = [row for row in found["tried"] if not row["failure"]]
    if not measured:
        return campaign.exit_status(found["tried"])
    return 6 if any(within(row, found["max_latency_ms"]) for row in measured) else 1


def to_public(rows: Sequence[dict[str, Any]], max_latency_ms: float | None) -> dict[str, Any]:
    """The public JSON object of a search."""
    return {"max_latency_ms": max_latency_ms, "best": best(rows, max_latency_ms), "tried": [*rows]}
