"""How well evaluations use the machine: ours, and the recipe of timm's `validate.py` (its dataset,
its loader with four workers, batches of 256, all threads), on the same images in the same run.

The data are not part of the project: BENCH_SHARED_DATA names the folder. Networks of one shape and
random weights, as ONNX for us and as torch modules for the recipe: how fast, not how right.

    python benchmarks/validate_recipe.py
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import timm
import torch
from machine import heading
from timm.data import create_dataset, create_loader, resolve_data_config

from bench import plugins
from bench.accuracy import figures, inference
from bench.accuracy.ledger import Ledger
from bench.check import REFERENCE
from bench.datasets import open_folder
from bench.machine import usable_threads
from bench.preprocess import to_input
from bench.records import Data
from exporters.timm_zoo import TimmZoo

SHARED = Path(os.environ.get("BENCH_SHARED_DATA", "../shared/data")).resolve()
NETWORKS = ("mobilenetv2_100", "mobilenetv2_035")
TURNS = 5
#: validate.py's own defaults.
BATCH, WORKERS = 256, 4


def sorted_out(folder: Path) -> Path:
    """The images as a folder a class, which is what timm's dataset takes."""
    for line in (SHARED / "imagenet" / "val.txt").read_text().splitlines():
        name, label = line.split()
        kind = folder / f"{int(label):04}"
        kind.mkdir(parents=True, exist_ok=True)
        (kind / name).symlink_to(SHARED / "imagenet" / "val" / name)
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Ours:
    def __init__(self, name: str, folder: Path) -> None:
        zoo = TimmZoo()
        self._model = zoo.describe(name, "random")
        self._exported = zoo.export(self._model, folder)
        dataset = open_folder(SHARED / "imagenet", self._model, Data(calibration=0))
        self._samples, self._how = dataset.test, figures.scorer(self._model, dataset)
        self._folder, self._turn = folder, 0

    def _open(self, batch: int, threads: int, streams: int) -> AbstractContextManager[Any]:
        how = {"batch": batch, "threads": threads, "streams": streams}
        return plugins.runner("ort").open(self._exported, REFERENCE, **how)

    def decode(self) -> list[Any]:
        assert self._model.preprocess
        return [to_input(sample.load(), self._model.preprocess) for sample in self._samples]

    def compute(self, images: list[Any]) -> None:
        name, n = self._model.inputs[0].name, inference.BATCH
        with self._open(n, 1, 1) as [session]:
            for i in range(0, len(images) - n + 1, n):
                session.stage({name: np.stack(images[i : i + n])})
                session.step()
                session.fetch()

    def evaluate(self) -> None:
        self._turn += 1
        ledger = Ledger(self._folder / f"{self._turn}", "")
        inference.predict(self._open, self._samples, self._how, self._model, ledger)


class Recipe:
    def __init__(self, name: str, root: Path) -> None:
        self._model = timm.create_model(name).eval()
        self._config = resolve_data_config({}, model=self._model)
        self._root = root

    def _loader(self, workers: int) -> Any:
        how = {key: self._config[key] for key in ("interpolation", "mean", "std", "crop_pct")}
        return create_loader(
            create_dataset("", root=str(self._root), split="validation"),
            input_size=self._config["input_size"],
            batch_size=BATCH,
            use_prefetcher=False,
            num_workers=workers,
            device=torch.device("cpu"),
            **how,
        )

    def decode(self) -> list[Any]:
        with one_thread():  # as a worker has it; two would spin in wait for each other
            return [images for images, _ in self._loader(0)]

    def compute(self, batches: list[Any]) -> None:
        with one_thread(), torch.inference_mode():
            for images in batches:
                self._model(images)

    def evaluate(self) -> None:
        right = 0
        with torch.inference_mode():
            for images, labels in self._loader(WORKERS):
                output = self._model(images)
                right += int((output.argmax(1) == labels).sum())


def turn(one: Ours | Recipe) -> tuple[float, float, float]:
    """CPU seconds of decoding and of inference, one after the other on one thread, and wall seconds
    of the whole evaluation."""
    start = process_time()
    images = one.decode()
    decoding = process_time() - start
    start = process_time()
    one.compute(images)
    computing = process_time() - start
    start = perf_counter()
    one.evaluate()
    return decoding, computing, perf_counter() - start


warnings.filterwarnings("ignore", message="This DataLoader will create")
heading("Evaluation beside timm's validate.py")
print(
    f"650 images, medians of {TURNS} turns: CPU seconds of decoding and preprocessing, and of "
    f"inference, on one thread; wall seconds; wall x {usable_threads()} cores / their sum.\n"
)
print("| network | | decoding | inference | wall | ratio |\n|---|---|---|---|---|---|", flush=True)
with tempfile.TemporaryDirectory() as scratch:
    root = sorted_out(Path(scratch) / "classes")
    for name in NETWORKS:
        (Path(scratch) / name).mkdir()
        both = {"ours": Ours(name, Path(scratch) / name), "validate.py": Recipe(name, root)}
        taken: dict[str, list[tuple[float, float, float]]] = {who: [] for who in both}
        for _ in range(TURNS):
            for who, one in both.items():
                taken[who].append(turn(one))
        for who, rows in taken.items():
            ratios = [wall * usable_threads() / (one + two) for one, two, wall in rows]
            decoding, computing, wall = (median(column) for column in zip(*rows, strict=True))
            print(
                f"| {name} | {who} | {decoding:.2f} | {computing:.2f} | {wall:.2f} | "
                f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
                flush=True,
            )
