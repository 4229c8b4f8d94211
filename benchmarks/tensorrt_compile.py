"""How many of the classification models of a list compile for the T4, as fp16 and as int8, on a
machine without one; and the compiler's reason for the others.

The list has three columns (what it is, the model as the tool accepts it, its task) separated by
tabs. Weights are random, int8 is calibrated on a few synthetic images: it is the networks that are
asked about. Models are taken in the order of their size, and each gets a cache of its own that is
removed afterwards: an engine takes up to some hundred MB. FILE keeps what is done; started again,
the script goes on from there, and with --again it also does anew what had failed.

    python benchmarks/tensorrt_compile.py LIST --into FILE [--under 'flock /tmp/lock'] [--most 400]
    python benchmarks/tensorrt_compile.py LIST --into FILE --again
    python benchmarks/tensorrt_compile.py LIST --into FILE --print
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from concurrent.futures import ProcessPoolExecutor
from math import isfinite
from pathlib import Path
from typing import Any

from machine import heading

TARGETS = ("t4-fp16", "t4-int8")
#: Compiled networks that were asked for, of each target.
ASKED = 45


def names(listed: Path) -> list[str]:
    rows = [line.split("\t") for line in listed.read_text().splitlines() if line[:1] != "#"]
    return [row[1] for row in rows if len(row) > 2 and row[2].strip() == "classification"]


def millions(name: str) -> float:
    """Parameters, counted without making them; unknown sources come last. (In a process of its own:
    torch has no place beside what the children need.)"""
    import timm
    import torch
    import torchvision

    source, _, rest = name.partition(":")
    makers = {"timm": timm.create_model, "torchvision": torchvision.models.get_model}
    if source not in makers:
        return float("inf")
    with torch.device("meta"):
        network = makers[source](rest)
    return sum(each.numel() for each in network.parameters()) / 1e6


def compiled(name: str, under: list[str], minutes: float, images: int) -> list[dict[str, Any]]:
    """What `bench compile` says of a model on both targets."""
    with tempfile.TemporaryDirectory() as cache:
        command = [*under, sys.executable, "-c", "from bench.cli import main; main()", "compile"]
        more = ["--weights", "random", "--timeout", str(60 * minutes), "--json"]
        more += ["--calibration", str(images)]
        chosen = [word for target in TARGETS for word in ("-t", target)]
        done = subprocess.run(
            [*command, "-m", name, *chosen, *more],
            env={**os.environ, "BENCH_CACHE": cache},
            capture_output=True,
            text=True,
            check=False,
        )
    if not done.stdout:  # no such model here
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        failure = {"stage": "describe", "kind": "usage", "message": said}
        empty = {"layers": {}, "artifact_mb": None, "build_s": None, "check": None}
        same = {"name": name, "status": "failed", "failure": failure, "params_m": None, **empty}
        return [{**same, "target": target} for target in TARGETS]
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    kept = ("target", "status", "failure", "layers", "artifact_mb", "build_s", "check", "params_m")
    return [{"name": name, **{key: row[key] for key in kept}} for row in rows]


def report(rows: list[dict[str, Any]], wanted: int) -> None:
    heading("Compiled ahead of time for the T4")
    print(
        "Random weights. The compiler comes before the check, on ONNX Runtime, of what it was\n"
        "given: `check: ...` is said of a network that compiled, and did not pass that.\n"
    )
    for target in TARGETS:
        own = [row for row in rows if row["target"] == target]
        passed = sum(row["failure"] is None for row in own)
        compiled = passed + sum((row["failure"] or {}).get("stage") == "check" for row in own)
        print(
            f"{target}: {compiled} of {len(own)} tried compile, {passed} of them pass the check "
            f"too ({wanted} in the list; asked: at least {ASKED}).\n"
        )
    done = [row["name"] for row in rows if row["failure"] is None]
    both = sum(done.count(name) == len(TARGETS) for name in set(done))
    print(f"Both: {both}.\n")
    print("| model | M params | fp16 | int8 | int8 layers | cosine of the int8 ONNX |")
    print("|---|---|---|---|---|---|")
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["params_m"] or float("inf")):
        by_name.setdefault(row["name"], {})[row["target"]] = row
    for name, both in by_name.items():
        cells = [_cell(both.get(target)) for target in TARGETS]
        int8 = both.get("t4-int8") or {}
        layers = " ".join(f"{n} {kind}" for kind, n in (int8.get("layers") or {}).items())
        cosine = f"{int8['check']['cosine']:.3f}" if int8.get("check") else "-"
        size = next((row["params_m"] for row in both.values() if row["params_m"]), None)
        print(f"| {name} | {size and round(size, 1)} | {cells[0]} | {cells[1]} | ", end="")
        print(f"{layers or '-'} | {cosine} |")


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["failure"]:
        return f"{row['failure']['stage']}: {row['failure']['message']}".replace("|", "/")
    return f"{row['build_s']:.1f} s, {row['artifact_mb']:.0f} MB"


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("listed", type=Path)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument(
        "--under", type=shlex.split, default=[], help="what each child is run under"
    )
    parser.add_argument("--most", type=float, default=float("inf"), help="million parameters")
    parser.add_argument("--minutes", type=float, default=30.0, help="for one model and target")
    parser.add_argument("--images", type=int, default=8, help="synthetic ones to calibrate on")
    parser.add_argument("--again", action="store_true", help="what failed, too")
    parser.add_argument("--print", action="store_true", dest="only_print")
    given = parser.parse_args()
    wanted = names(given.listed)
    rows = []
    if given.into.is_file():
        rows = [json.loads(line) for line in given.into.read_text().splitlines()]
    if given.again:
        failed = {row["name"] for row in rows if row["failure"]}
        rows = [row for row in rows if row["name"] not in failed]
        given.into.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    if not given.only_print:
        known = {row["name"] for row in rows}
        new = [name for name in wanted if name not in known]
        with ProcessPoolExecutor(1) as counting:
            sizes = dict(zip(new, counting.map(millions, new), strict=True))
        for name in sorted(sizes, key=lambda name: sizes[name]):
            if sizes[name] > given.most:
                continue
            found = compiled(name, given.under, given.minutes, given.images)
            if isfinite(sizes[name]):  # a job that failed does not say
                found = [{**row, "params_m": row["params_m"] or sizes[name]} for row in found]
            with given.into.open("a") as file:
                file.writelines(f"{json.dumps(row)}\n" for row in found)
            rows += found
    report(rows, len(wanted))


if __name__ == "__main__":
    main()
