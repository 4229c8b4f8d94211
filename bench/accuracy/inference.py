"""Running an artifact over labelled images, as fast as the machine allows.

A worker a core takes whole batches: it decodes and preprocesses the images, runs them on a session
of one thread, and reads the outputs. So all cores are busy with whatever there is to do, and the
numbers do not depend on how many workers there are: a batch is always the same images.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bench.accuracy.ledger import Ledger, Seen
from bench.check import fixed_batch, outputs
from bench.datasets.images import PASSING
from bench.errors import StageError
from bench.machine import usable_threads
from bench.preprocess import load, to_input

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from bench.accuracy import Scorer
    from bench.contracts import Array, Sample, Session
    from bench.records import Model

    Open = Callable[[int, int, int], AbstractContextManager[Sequence[Session]]]

#: Images a step where the network does not fix it: few enough that no worker waits long for the
#: last one.
BATCH = 8
#: Copies of the network that are loaded at most; past that each gets more threads.
MOST_SESSIONS = 8


def batch_of(model: Model) -> int:
    """Images a step. Boxes that the network itself has chosen are those of one image, for nothing
    in them says which image of several each belongs to."""
    alone = model.output is not None and model.output.decoder == "boxes"
    return fixed_batch(model) or (1 if alone else BATCH)


def predict(
    open_sessions: Open,
    samples: Sequence[Sample],
    how: Scorer,
    model: Model,
    ledger: Ledger,
    on_images: Callable[[int, int], None] = lambda _done, _before: None,
    *,
    workers: int | None = None,
    sessions: int | None = None,
) -> list[Seen]:
    """What the network says of each image. `open_sessions(batch, threads, streams)` opens the
    artifact; `on_images` hears how many images are done, and how many were before."""
    batch = batch_of(model)
    chunks = [samples[i : i + batch] for i in range(0, len(samples), batch)]
    for number in list(ledger.done):
        if number not in range(len(chunks)) or len(ledger.done[number]) != len(chunks[number]):
            del ledger.done[number]  # damaged, and yet legible
    missing = [number for number in range(len(chunks)) if number not in ledger.done]
    workers = workers or usable_threads()
    sessions = sessions or max(1, min(workers, MOST_SESSIONS, len(missing)))
    done = before = sum(len(chunks[number]) for number in ledger.done)
    if missing:
        threads = max(1, workers // sessions)
        with (
            open_sessions(batch, threads, sessions) as opened,
            ThreadPoolExecutor(workers) as pool,
        ):
            free: SimpleQueue[Session] = SimpleQueue()
            for session in opened:
                free.put(session)

            def work(number: int) -> int:
                ledger.add(number, _batch(chunks[number], batch, free, how, model))
                return len(chunks[number])

            try:
                for finished in pool.map(work, missing):
                    done += finished
                    on_images(done, before)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return [row for number in range(len(chunks)) for row in ledger.done[number]]


def _batch(
    chunk: Sequence[Sample],
    batch: int,
    free: SimpleQueue[Session],
    how: Scorer,
    model: Model,
) -> list[Seen]:
    """What becomes of the images of one batch."""
    assert model.preprocess is not None
    seen: list[dict[str, Any]] = [{} for _ in chunk]
    arrays, sizes, rows = [], [], []
    for i, sample in enumerate(chunk):
        try:
            image = load(sample, model.preprocess)
        except StageError as error:
            seen[i] = {"bad": str(error), "passing": error.kind == PASSING}
            continue
        if odd := image.info.get("odd"):
            seen[i]["odd"] = odd
        arrays.append(to_input(image, model.preprocess))
        sizes.append(image.size)
        rows.append(i)
    if rows:
        # The last batch is filled up with its own first image: some runtimes compile for one size.
        arrays += arrays[:1] * (batch - len(arrays))
        feed = {model.inputs[0].name: np.stack(arrays).astype(model.inputs[0].dtype, copy=False)}
        for i, prediction in zip(rows, how.predictions(_run(free, feed), sizes), strict=True):
            seen[i]["prediction"] = prediction
    return msgspec.convert(seen, list[Seen])


def _run(free: SimpleQueue[Session], feed: dict[str, Array]) -> list[Array]:
    """Copies of the outputs, from whichever session is free."""
    session = free.get()
    try:
        return outputs(session, feed)
    finally:
        free.put(session)
