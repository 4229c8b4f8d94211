"""What is fed to a network: a rotating pool for timing, and images or noise for calibration."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from bench import timing
from bench.cache import artifact
from bench.errors import StageError
from bench.pool import WHOLE
from bench.preprocess import load, to_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.contracts import Array, Dataset, Feed, Sample
    from bench.records import Artifact, Model, Preprocess, TensorSpec

#: Distinct inputs in the pool, fewer where they would take more than POOL_BYTES together.
POOL = 32
POOL_BYTES = 64 << 20
#: Images calibrated on when there is no data: their ranges are no dataset's, so more is no better.
SYNTHETIC = 32


def feeds(
    model: Model,
    dataset: Dataset | None,
    n: int,
    unreadable: Callable[[Sample, StageError], None] = lambda *_: None,
) -> Iterator[Feed]:
    """Up to `n` feeds of batch 1: calibration images of the dataset, or synthetic ones. Says which
    are `unreadable` and left out."""
    if model.preprocess is None:
        rng = np.random.default_rng(0)
        for _ in range(n):
            yield {spec.name: _synthetic(spec, rng) for spec in model.inputs}
        return
    how, spec = model.preprocess, model.inputs[0]
    real = with_images(dataset)
    chosen = readable(real, how, n, unreadable) if real else None
    seen = (image for _, image in chosen) if chosen else _synthetic_images()
    for image in islice(seen, n):
        yield {spec.name: to_input(image, how)[None].astype(spec.dtype, copy=False)}


def with_images(dataset: Dataset | None) -> Dataset | None:
    """The dataset, where it can spare images at all: a folder of three cannot."""
    return dataset if dataset and dataset.calibration else None


def readable(
    dataset: Dataset,
    how: Preprocess,
    n: int,
    unreadable: Callable[[Sample, StageError], None] = lambda *_: None,
) -> Iterator[tuple[Sample, Image.Image]]:
    """Those of the first n calibration samples that can be read and fed, each with its image; the
    others are told to `unreadable` and left out."""
    read = 0
    for sample in dataset.calibration[:n]:
        try:
            image = load(sample, how)
        except StageError as error:
            problem = error
            unreadable(sample, error)
            continue
        read += 1
        yield sample, image
    if not read:
        raise StageError(
            "no-data", f"no calibration image of {dataset.name} can be read: {problem}"
        )


def write_pool(model: Model, dataset: Dataset | None, to: Path) -> Artifact:
    """The inputs that timing rotates through, as one .npz of arrays with the pool's axis first."""
    with timing.lap() as taken:
        every = feeds(model, dataset, sys.maxsize)  # some may be unreadable
        first = next(every)
        size = sum(array.nbytes for array in first.values())
        pool = [first, *islice(every, max(2, min(POOL, POOL_BYTES // size)) - 1)]
        path = to / "pool.npz"
        whole = {spec.name for spec in model.inputs if _is_whole(spec, model)}
        columns: dict[str, Any] = {}
        for name in first:
            arrays = [feed[name] for feed in pool]
            if name in whole:
                columns[WHOLE + name] = np.stack(arrays)
            else:
                columns[name] = np.concatenate(arrays)
        np.savez(path, **columns)
    return artifact(path, form="npz", made_by="bench", build_s=taken.seconds)


def _is_whole(spec: TensorSpec, model: Model) -> bool:
    """Whether an input beside the images has no batch: its shape is fixed, and not as theirs is."""
    images = model.inputs[0]
    batch = images.shape[0] if images.shape else None
    fixed = bool(spec.shape) and None not in spec.shape
    return spec is not images and fixed and spec.shape[0] != batch


def _synthetic_images(size: int = 256) -> Iterator[Image.Image]:
    """Endless RGB images of noise whose amplitude falls as 1/f, as that of natural images does
    (Field 1987, "Relations between the statistics of natural images and the response properties of
    cortical cells")."""
    rng = np.random.default_rng(0)
    frequencies = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequencies[0, 0] = 1.0 / size
    while True:
        spectrum = np.fft.rfft2(rng.standard_normal((3, size, size))) / frequencies
        noise = np.fft.irfft2(spectrum, s=(size, size))
        noise = 127.5 + 60 * (noise - noise.mean()) / noise.std()
        yield Image.fromarray(noise.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def _synthetic(spec: TensorSpec, rng: np.random.Generator) -> Array:
    """One random input of batch 1 for a network of which only the ONNX signature is known."""
    batch, *rest = spec.shape or (None,)
    fixed = [size for size in rest if size is not None]
    if len(fixed) < len(rest):
        raise StageError(
            "free-shape",
            f"input {spec.name!r} has the free shape {spec.shape}: only the batch may be free; fix "
            "the rest, for example with `python -m onnxruntime.tools.make_dynamic_shape_fixed`",
        )
    shape = (batch or 1, *fixed)
    kind = np.dtype(spec.dtype)
    if kind.kind == "f":
        return rng.standard_normal(shape).astype(kind)
    # Bytes are mostly pixels; wider integers are mostly indices, of which only the lowest are safe.
    return rng.integers(0, 127 if kind.kind in "iu" and kind.itemsize == 1 else 2, shape).astype(
        kind
    )
