"""What every script here prints first: the date, the machine and the versions that matter."""

from __future__ import annotations

from datetime import datetime, timezone

from bench import machine
from bench.cache import versions

PACKAGES = ("frontier-bench", "torch", "onnx", "onnxruntime", "openvino", "nncf")


def circumstances() -> str:
    """The machine and the versions."""
    found = ", ".join(f"{name} {number}" for name, number in versions(PACKAGES).items())
    return f"{machine.observe()}, {machine.observe().os}; {found}"


def heading(title: str) -> None:
    """A Markdown heading with the circumstances under it."""
    print(f"## {title}\n\n{datetime.now(timezone.utc).date()}, {circumstances()}\n")
