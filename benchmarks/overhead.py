"""What does the stopwatch add to a bare loop around the same call?

In one process, in turns: blocks of the stopwatch, and blocks of a loop that does nothing but call
the runtime and read the clock. Asked: p50 within 1 %, for a network of 0.1 ms and one of 10 ms.
Beside it stand two loops that feed an input before each call, untimed, as the stopwatch does: the
next of the pool, or the same again. What the first costs and the second does not is the new data's;
what both cost is that of running anything else between two calls. On a GPU also what CUDA's events
say of the same calls: the time between two marks on the stream.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --gpu
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from time import perf_counter_ns
from typing import Any

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

#: Model, target, options, batch: some 0.1 ms, and some 10 ms.
NETWORKS = [
    ("builtin:digits-inception", "cpu-openvino-fp32", {}, 1),
    ("builtin:digits-inception", "cpu-ort-fp32", {}, 1),
    ("torchvision:mobilenet_v2", "cpu-openvino-fp32", {}, 1),
    ("torchvision:mobilenet_v2", "cpu-ort-fp32", {}, 1),
]
ON_GPU = [
    ("builtin:digits-inception", "cuda-torch-fp32", {"mode": "graph"}, 1),
    ("torchvision:mobilenet_v2", "cuda-torch-fp16", {"mode": "graph"}, 1),
    ("torchvision:mobilenet_v2", "cuda-torch-fp32", {}, 1),
    ("torchvision:resnet50", "cuda-torch-fp16", {"mode": "graph", "channels_last": True}, 64),
]
TURNS, BLOCK_SECONDS = 200, 0.1
ASKED = 0.01


def bare_call(session: Any) -> Callable[[], object]:
    """The runtime's own call, with nothing of ours around it."""
    if hasattr(session, "_request"):
        return lambda infer=session._request.infer: infer(share_outputs=True)
    if hasattr(session, "_binding"):
        run, binding = session._session.run_with_iobinding, session._binding
        return lambda: run(binding)
    session._take_stream()
    launch, wait = launched(session), session._stream.synchronize

    def call_and_wait() -> None:
        launch()
        wait()

    return call_and_wait


def launched(session: Any) -> Callable[[], object]:
    """What puts torch's work on the GPU's stream, and returns before it is done."""
    return session._replay or (lambda: session._call(*session._held))


def by_events(session: Any, calls: int) -> float:
    """The median over so many calls of the time on the GPU, in ms."""
    launch, stream = launched(session), session._stream
    before, after = (session._torch.cuda.Event(enable_timing=True) for _ in range(2))
    taken = []
    for _ in range(calls):
        before.record(stream)
        launch()
        after.record(stream)
        after.synchronize()
        taken.append(before.elapsed_time(after))
    return float(np.median(taken))


def answer(low: float, high: float) -> str:
    """Whether the ratio is within what is asked, as far as its interval tells."""
    if low >= 1 - ASKED and high <= 1 + ASKED:
        return "within 1 %"
    return "NOT within 1 %" if high < 1 - ASKED or low > 1 + ASKED else "not certain"


def bare_block(
    call_it: Callable[[], object], seconds: float, feed: Callable[[], object] = lambda: None
) -> list[int]:
    """With `feed`, untimed, before each call."""
    taken = []
    end = perf_counter_ns() + seconds * 1e9
    while perf_counter_ns() < end:
        feed()
        start = perf_counter_ns()
        call_it()
        taken.append(perf_counter_ns() - start)
    return taken


parser = ArgumentParser(description=__doc__)
parser.add_argument("--gpu", action="store_true")
parser.add_argument("--turns", type=int, default=TURNS)
given = parser.parse_args()
heading("Overhead of the stopwatch" + (" on a GPU" if given.gpu else ""))
print(f"One thread, {given.turns} turns of blocks of {BLOCK_SECONDS} s, one process.\n")
columns = ["network", "p50 ms", "stopwatch / bare loop", "95 %", "asked"]
columns += ["/ a loop that feeds new inputs", "95 %", "/ one that feeds the same", "95 %"]
columns += ["by CUDA's events, ms"] if given.gpu else []
print("|", " | ".join(columns), "|\n|" + "---|" * len(columns))
pin(1)
for model, target, options, batch in ON_GPU if given.gpu else NETWORKS:
    (on,) = targets.select([target], options)
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
        feeds: dict[str, Callable[[], object]] = {
            "bare": lambda: None,
            "new": stopwatch.stage,
            "same": partial(session.stage, pool[0]),
        }
        logs: dict[str, list[float]] = {kind: [] for kind in feeds}
        p50s, on_gpu = [], []
        for i in range(given.turns):
            blocks = {}
            kinds = ("ours", *feeds)
            for kind in kinds if i % 2 else kinds[::-1]:
                if kind == "ours":
                    blocks[kind] = stopwatch.block(BLOCK_SECONDS)[1]
                    continue
                with session._torch.inference_mode() if given.gpu else nullcontext():
                    blocks[kind] = bare_block(once, BLOCK_SECONDS, feeds[kind])
                    on_gpu += [by_events(session, 20)] if given.gpu else []
            p50s.append(np.median(blocks["bare"]) / 1e6)
            for kind in feeds:
                logs[kind].append(np.log(np.median(blocks["ours"]) / np.median(blocks[kind])))
    found = {kind: np.exp(stats.signed_rank_interval(each)) for kind, each in logs.items()}
    ratio, low, high = found["bare"]
    mode = f", {options['mode']}" if "mode" in options else ""
    events = f" {np.median(on_gpu):.3f} |" if given.gpu else ""
    print(
        f"| {model} @ {target}{mode}, batch {batch} | {np.median(p50s):.3f} | {ratio:.4f} | "
        f"{low:.4f} to {high:.4f} | {answer(low, high)} | "
        + " | ".join(f"{a:.4f} | {b:.4f} to {c:.4f}" for a, b, c in (found["new"], found["same"]))
        + f" |{events}",
        flush=True,
    )
