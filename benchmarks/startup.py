"""CPU time of the commands that people type most often.

Asked: `bench --help` in at most 0.3 s, `bench list targets` in at most 0.5 s of CPU time.

    python benchmarks/startup.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
from statistics import median

from machine import heading

RUNS = 15
LIMITS = {("--help",): 0.3, ("list", "targets"): 0.5, ("list", "runners"): None, ("doctor",): None}


def cpu_seconds(arguments: tuple[str, ...]) -> float:
    """User and system time of one run, children included."""
    before = os.times()
    subprocess.run([shutil.which("bench") or "bench", *arguments], capture_output=True, check=True)
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


heading("CPU time of starting")
print(f"Median, smallest and largest of {RUNS} runs after one, in seconds.\n")
print("| command | median | min | max | limit | |\n|---|---|---|---|---|---|")
for arguments, limit in LIMITS.items():
    taken = [cpu_seconds(arguments) for _ in range(RUNS + 1)][1:]
    verdict = "" if limit is None else "within" if median(taken) <= limit else "OVER"
    print(
        f"| `bench {' '.join(arguments)}` | {median(taken):.2f} | {min(taken):.2f} | "
        f"{max(taken):.2f} | {limit or ''} | {verdict} |"
    )
