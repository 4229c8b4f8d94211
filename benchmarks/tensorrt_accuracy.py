"""What ModelOpt's explicit Q/DQ costs in accuracy, for the networks that TensorRT is given as int8
and fp16: each is run on ONNX Runtime beside its fp32 original, on real labelled images.

The data are not part of the project: BENCH_SHARED_DATA names the folder.

    python benchmarks/tensorrt_accuracy.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import heading

from bench import plugins
from bench.accuracy import figures, inference
from bench.accuracy.ledger import Ledger
from bench.cache import artifact
from bench.check import REFERENCE
from bench.datasets import open_folder
from bench.records import Artifact, Data
from exporters.onnx_file import OnnxFile

SHARED = Path(os.environ.get("BENCH_SHARED_DATA", "../shared/data")).resolve()
SIDECAR = """task = "classification"
size = [{size}, {size}]
scale = 1
mean = [127.5]
std = [127.5]
label_offset = 1
"""
NETWORKS = {"mobilenet_v2_1.0_224": 224, "mobilenet_v1_0.5_160": 160}
CASES = [
    ("t4-fp16", []),
    ("t4-int8", []),
    ("t4-int8", ["--calibration", "entropy"]),
]
#: Points of top-1 that the int8 network may lose.
ASKED = 1.5


def lowered(network: Path, target: str, more: list[str]) -> dict[str, Any]:
    """What `bench compile` gave the compiler, and what that made of it."""
    command = [sys.executable, "-c", "from bench.cli import main; main()", "compile", "--json"]
    job = ["-m", str(network), "-t", target, "--data", str(SHARED / "imagenet"), *more]
    done = subprocess.run([*command, *job], stdout=subprocess.PIPE, text=True, check=False)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def by_image(made: Artifact, images: Any, how: Any, model: Any, ledger: Path) -> dict[str, Any]:
    """What the network says of each image, on ONNX Runtime."""

    def opened(batch: int, threads: int, streams: int) -> AbstractContextManager[Any]:
        # As Q/DQ is written: see `bench.stages.prepare` for what ONNX Runtime makes of it else.
        how = replace(REFERENCE, options={"session.disable_quant_qdq": 1})
        return plugins.runner("ort").open(made, how, batch=batch, threads=threads, streams=streams)

    seen = inference.predict(opened, images.test, how, model, Ledger(ledger, ""))
    named = zip(images.test, seen, strict=True)
    return {sample.name: each.prediction for sample, each in named}


def main() -> None:
    heading("Accuracy of the networks that TensorRT is given")
    print("Evaluated on ONNX Runtime, all 650 images, and the 520 that did not calibrate.\n")
    print("| network | as | ranges | images | fp32 | as given | change (95 %) | layers | asked |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name, size in NETWORKS.items():
            network = Path(scratch) / f"{name}.onnx"
            network.symlink_to(SHARED / "models" / network.name)
            network.with_suffix(".toml").write_text(SIDECAR.format(size=size))
            model = OnnxFile().describe(str(network), "pretrained")
            original = artifact(network, form="onnx", made_by="", build_s=0)
            every = open_folder(SHARED / "imagenet", model, Data(calibration=0))
            rest = open_folder(SHARED / "imagenet", model, Data())
            how = figures.scorer(model, every)
            before = by_image(original, every, how, model, Path(scratch) / f"{name}-fp32")
            for target, more in CASES:
                row = lowered(network, target, more)
                if failure := row["failure"]:
                    print(f"| {name} | {target} | {' '.join(more)} | {failure['message']} |")
                    continue
                given = Artifact(**row["artifacts"][-2])
                method = str(given.details.get("calibration_method", "-"))
                layers = " ".join(f"{n} {kind}" for kind, n in row["layers"].items())
                ledger = Path(scratch) / f"{name}-{target}-{method}"
                after = by_image(given, every, how, model, ledger)
                for images in (every, rest):
                    found = figures.accuracy(
                        how,
                        model,
                        images,
                        [after[each.name] for each in images.test],
                        [before[each.name] for each in images.test],
                        [each.truth for each in images.test],
                    )
                    low, high = found.change_ci95 or (0.0, 0.0)
                    change = found.value - (found.reference or 0.0)
                    held = "-" if target != "t4-int8" else "yes" if change >= -ASKED else "NO"
                    print(
                        f"| {name} | {given.format} | {method} | {found.n} | "
                        f"{found.reference:.2f} | {found.value:.2f} | "
                        f"{change:+.2f} ({low:+.2f} to {high:+.2f}) | {layers} | {held} |",
                        flush=True,
                    )


main()
