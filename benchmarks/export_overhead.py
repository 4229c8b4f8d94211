"""What the tool adds to an export: ResNet-50 from its name to a verified ONNX file, beside the bare
call of `torch.onnx.export` on a module that is there already, in turns within one process.

The tool's part has all of it: describing the model, making the module, reading its weights or
giving random ones statistics, exporting, checking the file, hashing it, and comparing it with torch
on ONNX Runtime.

    python benchmarks/export_overhead.py [--rounds 5] [--model resnet50]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

from machine import heading

from bench import plugins, timing
from exporters import torch_onnx

if TYPE_CHECKING:
    from collections.abc import Callable

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


def ours(name: str, weights: str, to: Path) -> float:
    exporter = plugins.exporter("timm")
    with timing.lap() as taken:
        exporter.export(exporter.describe(name, weights), to)
    return taken.seconds


def checkpoint(name: str, to: Path) -> str:
    """Random weights in a file, as trained ones come."""
    import timm
    import torch

    path = to / "weights.pth"
    torch.save(timm.create_model(name).state_dict(), path)
    return str(path)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--model", default="resnet50")
    asked = options.parse_args()
    torch_onnx.require("torch", "timm", "onnxscript")
    with tempfile.TemporaryDirectory() as folder:
        file = checkpoint(asked.model, Path(folder))
        ways: dict[str, Callable[[Path], float]] = {
            "bare torch.onnx.export": lambda to: bare(asked.model, to),
            "ours, random weights": lambda to: ours(asked.model, "random", to),
            "ours, weights from a file": lambda to: ours(asked.model, file, to),
        }
        rounds = []
        order, random = list(ways), Random(0)
        for i in range(asked.rounds + 1):
            random.shuffle(order)
            taken = {}
            for way in order:
                with tempfile.TemporaryDirectory() as to:
                    taken[way] = ways[way](Path(to))
            if i:  # the first round imports and compiles what the others find
                rounds.append(taken)
    heading(f"From a name to a verified file: timm:{asked.model}")
    print(f"| round | {' | '.join(ways)} |\n|---|---|---|---|")
    for i, taken in enumerate(rounds, 1):
        print(f"| {i} | {' | '.join(f'{taken[way]:.2f} s' for way in ways)} |")
    alone, *others = ways
    print()
    for way in others:
        ratios = [taken[way] / taken[alone] for taken in rounds]
        verdict = "within" if median(ratios) <= LIMIT else "NOT within"
        print(
            f"{way}: {median(ratios):.2f} of the bare call, median ({min(ratios):.2f} to "
            f"{max(ratios):.2f}), {verdict} {LIMIT}."
        )


if __name__ == "__main__":
    main()
