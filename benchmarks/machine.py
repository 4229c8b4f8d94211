"""What every script here prints first: the date, the machine and the versions that matter."""

from __future__ import annotations

import subprocess
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

from bench import machine
from bench.cache import versions

HERE = Path(__file__).parent
PACKAGES = ("frontier-bench", "torch", "onnx", "onnxruntime", "openvino", "nncf")


def circumstances() -> str:
    """The machine, its system (its release, without whose build it is), and the versions."""
    found = ", ".join(f"{name} {number}" for name, number in versions(PACKAGES).items())
    system = machine.observe().os.partition("-")[0]
    return f"{machine.observe()}, {system}; {found}; {_commit()}"


@cache
def _commit() -> str:
    """Which commit this is, and whether it was changed since."""
    asked = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=HERE)
    return f"commit {told.stdout.strip()}" if told.returncode == 0 else "no commit"


def heading(title: str) -> None:
    """A Markdown heading with the circumstances under it."""
    print(f"## {title}\n\n{datetime.now(timezone.utc).date()}, {circumstances()}\n")
