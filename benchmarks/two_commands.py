"""How long `make demo` takes from a clean clone, and once more when all is set up.

Asked: at most 10 minutes with the set-up, at most 4 without.

    python benchmarks/two_commands.py
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from shutil import rmtree
from time import perf_counter

from machine import heading

ROOT = Path(__file__).parent.parent


def minutes(command: list[str], folder: Path) -> float:
    # A caller's own settings are not what a newcomer has.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("BENCH_")}
    start = perf_counter()
    subprocess.run(command, cwd=folder, env=clean, capture_output=True, check=True)
    return (perf_counter() - start) / 60


heading("make demo")
print("| | minutes | asked |\n|---|---|---|")
with tempfile.TemporaryDirectory() as scratch:
    clone = Path(scratch) / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    print(f"| clean clone, set-up included | {minutes(['make', 'demo'], clone):.1f} | 10 |")
    rmtree(clone / "demo")
    print(f"| again, nothing cached | {minutes(['make', 'demo'], clone):.1f} | 4 |")
    print(f"| again, artifacts cached | {minutes(['make', 'demo'], clone):.1f} | |")
