"""Accuracy on real weights and real labelled images, against figures obtained independently; what
int8 costs; and how well the evaluation uses the machine.

The data are not part of the project: BENCH_SHARED_DATA names the folder.

    python benchmarks/accuracy.py [fp32] [int8] [max-drop] [speed]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
from machine import heading

from bench import plugins
from bench.accuracy import figures, inference
from bench.accuracy.ledger import Ledger
from bench.cache import artifact
from bench.check import REFERENCE
from bench.datasets import open_folder
from bench.machine import usable_threads
from bench.preprocess import to_input
from bench.records import Data
from exporters.onnx_file import OnnxFile

SHARED = Path(os.environ.get("BENCH_SHARED_DATA", "../shared/data")).resolve()
MOBILENET = """task = "classification"
size = [{size}, {size}]
scale = 1
mean = [127.5]
std = [127.5]
label_offset = 1
"""
SIDECARS = {
    "mobilenet_v2_1.0_224": MOBILENET.format(size=224),
    "mobilenet_v1_0.5_160": MOBILENET.format(size=160),
    "yolox_nano": """task = "detection"
size = [416, 416]
resize = "letterbox"
place = "top-left"
channels = "BGR"
scale = 1
output = "yolox"
""",
    "deeplabv3_mnv2_dm05": """task = "segmentation"
size = [513, 513]
resize = "letterbox"
place = "top-left"
pad = 127.5
scale = 1
mean = [127.5]
std = [127.5]
""",
}
#: network, target, data, calibration images, what plain ONNX Runtime gave independently.
FP32 = [
    ("mobilenet_v2_1.0_224", "cpu-ort-fp32", "imagenet", "512 of 650"),
    ("mobilenet_v2_1.0_224", "cpu-openvino-fp32", "imagenet", "512 of 650"),
    ("mobilenet_v1_0.5_160", "cpu-ort-fp32", "imagenet", "439 of 650"),
    ("mobilenet_v1_0.5_160", "cpu-openvino-fp32", "imagenet", "439 of 650"),
    ("yolox_nano", "cpu-ort-fp32", "coco", "35.03"),
    ("yolox_nano", "cpu-openvino-fp32", "coco", "35.03"),
    ("deeplabv3_mnv2_dm05", "cpu-ort-fp32", "voc", "(39.5 on twice the masks)"),
]
INT8 = [
    ("mobilenet_v2_1.0_224", "cpu-ort-int8", "imagenet"),
    ("mobilenet_v2_1.0_224", "cpu-openvino-int8", "imagenet"),
    ("mobilenet_v1_0.5_160", "cpu-ort-int8", "imagenet"),
    ("mobilenet_v1_0.5_160", "cpu-openvino-int8", "imagenet"),
    ("yolox_nano", "cpu-ort-int8", "coco"),
    ("yolox_nano", "cpu-openvino-int8", "coco"),
]
#: With --max-drop 1: more images are no remedy here, for a fifth of them is taken already.
MAX_DROP = [
    ("yolox_nano", "cpu-ort-int8", "coco"),
    ("yolox_nano", "cpu-openvino-int8", "coco"),
    ("mobilenet_v1_0.5_160", "cpu-ort-int8", "imagenet"),
    ("mobilenet_v1_0.5_160", "cpu-openvino-int8", "imagenet"),
]
#: A stricter one, for those that pass at once.
STRICT = [("mobilenet_v1_0.5_160", "cpu-ort-int8", "imagenet", "0.5")]
TURNS = 7
#: Numbers of workers that have to give the same answers.
WORKERS = (1, 3, 5)


def run(network: Path, target: str, data: str, *more: str) -> dict[str, Any]:
    """The row of one `bench run`; the timing is kept short."""
    quick = ["--processes", "1", "--min-seconds", "0.05", "--max-seconds", "0.05"]
    command = [sys.executable, "-c", "from bench.cli import main; main()", "run", "--json"]
    job = ["-m", str(network), "-t", target, "--data", str(SHARED / data)]
    done = subprocess.run(
        [*command, *job, *quick, *more],
        env={**os.environ, "BENCH_STORE": str(network.parent / "results.db")},
        capture_output=True,
        text=True,
        check=False,
    )
    row: dict[str, Any] = json.loads(done.stdout)
    assert row["accuracy"] or row["tried"], row["failure"]
    return row


def linked(folder: Path) -> dict[str, Path]:
    """The networks with their sidecars beside them."""
    found = {}
    for name, text in SIDECARS.items():
        found[name] = folder / f"{name}.onnx"
        found[name].symlink_to(SHARED / "models" / f"{name}.onnx")
        found[name].with_suffix(".toml").write_text(text)
    return found


def speed(network: Path, folder: Path) -> None:
    """Wall seconds of an evaluation against the CPU seconds that its parts take alone, in turns."""
    model = OnnxFile().describe(str(network), "pretrained")
    dataset = open_folder(SHARED / "imagenet", model, Data(calibration=0))
    samples, how = dataset.test, figures.scorer(model, dataset)
    exported = artifact(network, form="onnx", made_by="", build_s=0)
    cores, runner = usable_threads(), plugins.runner("ort")

    def opened(batch: int, threads: int, streams: int) -> AbstractContextManager[Any]:
        return runner.open(exported, REFERENCE, batch=batch, threads=threads, streams=streams)

    ratios, parts = [], []
    answers = set()
    for turn in range(TURNS):
        start = process_time()
        arrays = [to_input(sample.load(), model.preprocess) for sample in samples]
        decoding = process_time() - start
        with opened(inference.BATCH, 1, 1) as [session]:
            start = process_time()
            for i in range(0, len(arrays) - inference.BATCH + 1, inference.BATCH):
                session.stage({"input": np.stack(arrays[i : i + inference.BATCH])})
                session.step()
                session.fetch()
            computing = (process_time() - start) * len(arrays) / (i + inference.BATCH)
        start = perf_counter()
        ledger = Ledger(folder / f"{network.stem}-{turn}", "")
        seen = inference.predict(
            opened,
            samples,
            how,
            model,
            ledger,
        )
        wall = perf_counter() - start
        answers.add(str([each.prediction for each in seen]))
        if turn < len(WORKERS):
            ledger = Ledger(folder / f"{network.stem}-{turn}-again", "")
            seen = inference.predict(opened, samples, how, model, ledger, workers=WORKERS[turn])
            answers.add(str([each.prediction for each in seen]))
        ratios.append(wall * cores / (decoding + computing))
        parts.append((decoding, computing, wall))
    decoding, computing, wall = (median(column) for column in zip(*parts, strict=True))
    print(
        f"| {network.stem} | {decoding:.2f} | {computing:.2f} | {wall:.2f} | "
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | 1.15 | "
        f"{'the same' if len(answers) == 1 else 'DIFFERENT'} |"
    )


def fp32(networks: dict[str, Path]) -> None:
    print("fp32, on all images:\n")
    print("| network | target | metric | value | n | independently |\n|---|---|---|---|---|---|")
    for name, target, data, wanted in FP32:
        found = run(networks[name], target, data, "--calibration", "0")["accuracy"]
        value = f"{found['value']:.2f}"
        if found["metric"] == "top1":
            value = f"{round(found['value'] * found['n'] / 100)} of {found['n']}"
        print(
            f"| {name} | {target} | {found['metric']} | {value} | {found['n']} | {wanted} |",
            flush=True,
        )


def int8(networks: dict[str, Path]) -> None:
    print("\nint8, default settings: a fifth of the images calibrates, the others evaluate.\n")
    print("| network | target | fp32 | int8 | change (95 %) | agreement | n |")
    print("|---|---|---|---|---|---|---|")
    for name, target, data in INT8:
        found = run(networks[name], target, data)["accuracy"]
        print(
            f"| {name} | {target} | {found['reference']:.2f} | {found['value']:.2f} | "
            f"{change(found)} | {found['agreement']:.1f} | {found['n']} |",
            flush=True,
        )


def change(found: dict[str, Any]) -> str:
    low, high = found["change_ci95"]
    return f"{found['change']:+.2f} ({low:+.2f} to {high:+.2f})"


def max_drop(networks: dict[str, Path]) -> None:
    print("\nint8 with `--max-drop`: what was tried, in order.\n")
    print("| network | target | may lose | int8 by | layers in fp32 | accuracy | change (95 %) | |")
    print("|---|---|---|---|---|---|---|---|")
    for name, target, data, points in [*((*each, "1") for each in MAX_DROP), *STRICT]:
        row = run(networks[name], target, data, "--max-drop", points)
        for trial in row["tried"]:
            last = trial is row["tried"][-1]
            came_to = "fails, exit status 5" if row["failure"] else "timed"
            found = trial["accuracy"]
            value = f"{found['value']:.2f} | {change(found)}" if found else "- | failed"
            print(
                f"| {name} | {target} | {points} | {trial['method']}:{trial['images']} | "
                f"{len(trial['kept'])} | {value} | {came_to if last else ''} |",
                flush=True,
            )


def speeds(networks: dict[str, Path], folder: Path) -> None:
    print(
        f"\nCPU seconds of decoding and preprocessing, and of inference, on one thread; wall "
        f"seconds of the evaluation; wall x {usable_threads()} cores / their sum; medians of "
        f"{TURNS} turns; answers of the default number of workers and of {WORKERS}.\n"
    )
    print("| network | decoding | inference | wall | ratio | asked | answers |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in ("mobilenet_v2_1.0_224", "mobilenet_v1_0.5_160"):
        speed(networks[name], folder)


if __name__ == "__main__":
    parts = sys.argv[1:] or ["fp32", "int8", "max-drop", "speed"]
    heading("Accuracy")
    with tempfile.TemporaryDirectory() as scratch:
        networks = linked(Path(scratch))
        if "fp32" in parts:
            fp32(networks)
        if "int8" in parts:
            int8(networks)
        if "max-drop" in parts:
            max_drop(networks)
        if "speed" in parts:
            speeds(networks, Path(scratch))
