"""What the tool adds to an export: ResNet-50 from its name to a verified ONNX file, beside the bare
call of `torch.onnx.export` on a module that is there already, in turns within one process.

The tool's part has all of it: describing the model, making the module, giving its random weights
statistics, exporting, checking the file, hashing it, and comparing it with torch on ONNX Runtime.

    python benchmarks/export_overhead.py [--rounds 5] [--model resnet50]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from statistics import median
from typing import Any

from machine import heading

from bench import plugins, timing
from exporters import torch_onnx

LIMIT = 1.3


def bare(name: str, to: Path) -> float:
    import timm
    import torch

    module: Any = timm.create_model(name, exportable=True).eval()
    example = torch.randn(2, 3, 224, 224)
    with timing.lap() as taken, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            to / "bare.onnx",
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            external_data=False,
            verbose=False,
        )
    return taken.seconds


def ours(name: str, to: Path) -> float:
    exporter = plugins.exporter("timm")
    with timing.lap() as taken:
        exporter.export(exporter.describe(name, "random"), to)
    return taken.seconds


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--model", default="resnet50")
    asked = options.parse_args()
    torch_onnx.require("torch", "timm", "onnxscript")
    pairs = []
    for i in range(asked.rounds + 1):
        ways = [bare, ours] if i % 2 else [ours, bare]
        taken = {}
        for way in ways:
            with tempfile.TemporaryDirectory() as to:
                taken[way] = way(asked.model, Path(to))
        if i:  # the first round imports and compiles what the others find
            pairs.append((taken[bare], taken[ours]))
    ratios = [after / before for before, after in pairs]
    heading(f"From a name to a verified file: timm:{asked.model}")
    print("| round | bare torch.onnx.export | name to verified file | ratio |\n|---|---|---|---|")
    for i, (before, after) in enumerate(pairs, 1):
        print(f"| {i} | {before:.2f} s | {after:.2f} s | {after / before:.2f} |")
    verdict = "within" if median(ratios) <= LIMIT else "NOT within"
    print(f"\nThe median ratio is {median(ratios):.2f}, {verdict} {LIMIT}.")


if __name__ == "__main__":
    main()
