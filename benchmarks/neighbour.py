"""Is a run beside a noisy neighbour ever called VALID? Asked: never.

A process that burns one core runs beside each measurement; as many without it, for comparison. On
a GPU the neighbour multiplies matrices there.

    python benchmarks/neighbour.py [--runs 10] [--gpu]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path

from machine import heading

JOBS = [
    ("builtin:digits-resnet", "cpu-ort-fp32"),
    ("torchvision:mobilenet_v2", "cpu-openvino-int8"),
]
ON_GPU = [("torchvision:mobilenet_v2", "cuda-torch-fp16")]
BURN_CORE = "while True: pass"
BURN_GPU = """
import torch
matrix = torch.rand(2048, 2048, device="cuda")
while True:
    matrix @ matrix
    torch.cuda.synchronize()
"""
RUN = [sys.executable, "-c", "from bench.cli import main; main()", "run", "--weights", "random"]


def verdict(model: str, target: str, threads: str, store: Path) -> tuple[str, str]:
    arguments = ["-m", model, "-t", target, "--threads", threads, "--json", "--store", str(store)]
    ran = subprocess.run([*RUN, *arguments], capture_output=True, text=True, check=False)
    row = json.loads(ran.stdout)
    neighbour = any("other process" in reason for reason in row["reasons"])
    return row["verdict"], "told" if neighbour else "not told"


parser = ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=10)
parser.add_argument("--gpu", action="store_true")
given = parser.parse_args()
heading("A noisy neighbour" + (" on a GPU" if given.gpu else ""))
burn, does = (BURN_GPU, "burns the GPU") if given.gpu else (BURN_CORE, "burns a core")
print("| job | threads | neighbour | runs | VALID | NOISY | INVALID | the neighbour was told |")
print("|---|---|---|---|---|---|---|---|")
with tempfile.TemporaryDirectory() as scratch:
    store = Path(scratch) / "results.db"
    for model, target in ON_GPU if given.gpu else JOBS:
        for threads in ("1",) if given.gpu else ("1", "2"):
            for beside in (True, False):
                burner = [sys.executable, "-c", burn if beside else "pass"]
                with subprocess.Popen(burner) as burning:
                    seen = [verdict(model, target, threads, store) for _ in range(given.runs)]
                    burning.kill()
                verdicts, told = (Counter(column) for column in zip(*seen, strict=True))
                counts = " | ".join(str(verdicts[v]) for v in ("VALID", "NOISY", "INVALID"))
                print(
                    f"| {model} @ {target} | {threads} | {does if beside else 'none'} | "
                    f"{given.runs} | {counts} | {told['told']} |",
                    flush=True,
                )
