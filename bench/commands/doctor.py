"""`bench doctor`: what this machine is, and what can run on it."""

from __future__ import annotations

from bench.commands.common import JsonOption, open_cache, print_json


def doctor(as_json: JsonOption = False) -> None:
    """What this machine is, and for every target: ready, or why not and what to do."""
    from bench import diagnosis, present

    found = diagnosis.examine(open_cache().root)
    if as_json:
        print_json(found)
        return
    present.table(["this machine", ""], [[k, v] for k, v in found["machine"].items()], fold=1)
    print()
    present.table(
        ["runner", "", "what to do"],
        [
            [r["runner"], "ready" if r["ready"] else "no", r["reason"] or ""]
            for r in found["runners"]
        ],
        fold=2,
    )
    print()
    present.table(
        ["target", "", "what to do"],
        [
            [t["target"], "ready" if t["ready"] else "no", t["reason"] or ""]
            for t in found["targets"]
        ],
        fold=2,
    )
