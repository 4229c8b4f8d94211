"""A random sample of timm's architectures: which of them export, and compute what torch computes.

Asked: at least 97 of 100. Each is exported in a fresh child, with random weights; what is done lies
in a file of JSON lines, from which the next start goes on.

    python benchmarks/timm_sample.py [--n 100] [--into timm_sample.jsonl] [--print]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from machine import heading

SEED = 20_261_125
#: Seconds that one may take.
PATIENCE = 900

ONE = """
import json, resource, sys, tempfile
from pathlib import Path
from bench import plugins
from bench.errors import BenchError
zoo, name = plugins.exporter("timm"), sys.argv[1]
try:
    with tempfile.TemporaryDirectory() as to:
        made = zoo.export(zoo.describe(name, "random"), Path(to))
    found = {**made.details, "mb": made.bytes / 1e6, "failure": None}
except BenchError as error:
    found = {"failure": f"{error.kind}: {error}"}
found["rss_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps({"model": name, **found}))
"""


def sample(n: int) -> list[str]:
    import timm

    return random.Random(SEED).sample(sorted(timm.list_models()), n)


def export(name: str, under: list[str]) -> dict[str, object]:
    command = [*under, sys.executable, "-c", ONE, name]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"model": name, "failure": f"timeout: not done after {PATIENCE} s"}
    lines = ran.stdout.strip().splitlines()
    if ran.returncode or not lines:
        last = (ran.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return {"model": name, "failure": f"crash: status {ran.returncode}, {last[:200]}"}
    found: dict[str, object] = json.loads(lines[-1])
    return found


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--n", type=int, default=100)
    options.add_argument("--into", type=Path, default=Path("timm_sample.jsonl"))
    options.add_argument("--under", default="", help="a command that runs each child")
    options.add_argument("--print", action="store_true", help="try nothing more: what is done")
    asked = options.parse_args()
    names = sample(asked.n)
    lines = asked.into.read_text().splitlines() if asked.into.is_file() else []
    done = {each["model"]: each for each in map(json.loads, lines)}
    for name in names:
        if name in done or asked.print:
            continue
        done[name] = export(name, asked.under.split())
        with asked.into.open("a") as ledger:
            ledger.write(json.dumps(done[name]) + "\n")
        print(name, done[name].get("failure") or "works", file=sys.stderr)
    rows = [done[name] for name in names if name in done]
    works = [row for row in rows if not row["failure"]]
    heading(f"{len(names)} of timm's architectures, at random (seed {SEED})")
    if len(rows) < len(names):
        left = ", ".join(name for name in names if name not in done)
        print(f"Not tried yet: {len(names) - len(rows)} ({left}).\n")
    print(f"Of {len(rows)} tried, {len(works)} export and compute what torch computes; of them,")
    older = [row for row in works if "False" in str(row["exporter"])]
    fixed = [row for row in works if not row["dynamic_batch"]]
    print(f"{len(older)} by the older exporter, {len(fixed)} at batch 1 only.\n")
    for row in rows:
        if row["failure"]:
            print(f"- {row['model']}: {row['failure']}")


if __name__ == "__main__":
    main()
