"""How much memory a process has, and had at most."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def sizes(pid: int | str) -> dict[str, int]:
    """VmRSS and VmHWM of a process in bytes, pages of mapped files included (proc(5)); empty when
    it has ended, and where the system has no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if line.startswith(("VmRSS:", "VmHWM:")))
    return {words[0].rstrip(":"): int(words[1]) << 10 for words in pairs}


def peak_bytes() -> int:
    """The most resident memory that this process has had."""
    # `ru_maxrss` begins with what the parent had when it started this process, so that it is asked
    # only where there is no /proc.
    high = sizes("self").get("VmHWM")
    if high is not None:
        return high
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # KiB everywhere but on macOS
