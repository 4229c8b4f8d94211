"""What does the stopwatch add to a bare loop around the same call?

In one process, in turns: blocks of the stopwatch, and blocks of a loop that does nothing but call
the runtime and read the clock. Asked: p50 within 1 %, for a network of 0.1 ms and one of 10 ms.

    python benchmarks/overhead.py
"""

from __future__ import annotations

from contextlib import ExitStack
from time import perf_counter_ns

import numpy as np
from machine import heading

from bench import plugins, stats, targets, timing
from bench.cache import default_root
from bench.launch import call
from bench.machine import pin
from bench.messages import Prepare, Prepared
from bench.pool import read as read_pool
from bench.records import Job, Procedure
from bench.timing import Deadline

#: Model, target, batch: some 0.1 ms, and some 10 ms.
NETWORKS = [
    ("builtin:digits-inception", "cpu-openvino-fp32", 1),
    ("builtin:digits-inception", "cpu-ort-fp32", 1),
    ("torchvision:mobilenet_v2", "cpu-openvino-fp32", 2),
    ("torchvision:mobilenet_v2", "cpu-ort-fp32", 2),
]
PAIRS, BLOCK_SECONDS = 200, 0.1


def bare_call(session: object):
    """The runtime's own call, with nothing of ours around it."""
    if hasattr(session, "_request"):
        return lambda infer=session._request.infer: infer(share_outputs=True)
    run, binding = session._session.run_with_iobinding, session._binding
    return lambda: run(binding)


def bare_block(call_it, seconds: float) -> list[int]:
    taken = []
    end = perf_counter_ns() + seconds * 1e9
    while perf_counter_ns() < end:
        start = perf_counter_ns()
        call_it()
        taken.append(perf_counter_ns() - start)
    return taken


heading("Overhead of the stopwatch")
print(f"One thread, {PAIRS} pairs of blocks of {BLOCK_SECONDS} s in turns, in one process.\n")
print("| network | p50 ms | stopwatch / bare loop | 95 % | asked |\n|---|---|---|---|---|")
pin(1)
for model, target, batch in NETWORKS:
    (on,) = targets.select([target], {})
    job = Job(model, on, "random", Procedure(threads=1, batch=batch))
    request = Prepare(job, str(default_root()), fresh=False)
    made = call(request, Prepared, Deadline.after(3600))
    pool = read_pool(made.timed.pool, batch)
    runner = plugins.runner(on.runner)
    with ExitStack() as opened:
        [session] = opened.enter_context(runner.open(made.timed.built, on, batch=batch, threads=1))
        stopwatch = timing.Stopwatch(session, pool, "device")
        stopwatch.warm_up(0.5)
        once = bare_call(session)
        logs, p50s = [], []
        for i in range(PAIRS):
            blocks = {}
            for kind in ("ours", "bare") if i % 2 else ("bare", "ours"):
                block = stopwatch.block(BLOCK_SECONDS)[1] if kind == "ours" else None
                blocks[kind] = block or bare_block(once, BLOCK_SECONDS)
            p50s.append(np.median(blocks["bare"]) / 1e6)
            logs.append(np.log(np.median(blocks["ours"]) / np.median(blocks["bare"])))
    ratio, low, high = np.exp(stats.signed_rank_interval(logs))
    fine = "within 1 %" if abs(ratio - 1) <= 0.01 else "NOT within 1 %"
    print(
        f"| {model} @ {target}, batch {batch} | {np.median(p50s):.3f} | {ratio:.4f} | "
        f"{low:.4f} to {high:.4f} | {fine} |"
    )
