"""What timm says of its models without making them; the sizes of them all, counted once.

python -m exporters.timm_index      # counts them anew, for the timm that is installed
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import Outline

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Parameters of every architecture with the head of its default weights.
_PARAMS = Path(__file__).parent / "timm_params.tsv"
_TOP1 = Path(__file__).parent / "timm_top1.tsv"
#: Where the published top-1 come from.
SOURCE = "timm, results-imagenet.csv of 2025-10-30"


def outlines() -> Iterator[Outline]:
    """Every architecture, and every tag of its weights."""
    import timm

    params = {row["model"]: int(row["params"]) for row in _rows(_PARAMS)}
    stated = top1()
    for name in sorted({*timm.list_models(), *timm.list_pretrained()}):
        config: Any = timm.get_pretrained_cfg(name)
        if config is None:
            yield Outline(name, "classification")
            continue
        architecture = name.partition(".")[0]
        default: Any = timm.get_pretrained_cfg(architecture)
        if architecture not in params:  # younger than the table
            params[architecture] = count(architecture)
        same_head = default is None or default.num_classes == config.num_classes
        figures = stated.get(f"{architecture}.{config.tag}", {}) if config.tag else {}
        size = nearest(figures, config.input_size[-1])
        yield Outline(
            name,
            "classification",
            params=params[architecture] or None if same_head else None,
            input=tuple(config.input_size),
            weights=config.tag if config.has_weights else None,
            metric="top1" if size else None,
            published=figures[size] if size else None,
            source=f"{SOURCE}, at {size} x {size}" if size else None,
        )


def top1() -> dict[str, dict[int, float]]:
    """For each name with its tag, the published top-1 in percent by size of image."""
    found: dict[str, dict[int, float]] = {}
    for row in _rows(_TOP1):
        found.setdefault(row["model"], {})[int(row["size"])] = float(row["top1"])
    return found


def nearest(figures: dict[int, float], size: int) -> int | None:
    """The size that was measured nearest to the one asked."""
    return min(figures, key=lambda other: abs(other - size), default=None)


def count(architecture: str) -> int:
    """Parameters, without memory for them; 0 where that does not work."""
    import timm
    import torch

    try:
        with torch.device("meta"):
            module = timm.create_model(architecture)
    except Exception:  # a few compute with their weights as they are made
        return 0
    return sum(parameter.numel() for parameter in module.parameters())


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as table:
        yield from csv.DictReader((line for line in table if line[0] != "#"), delimiter="\t")


def main() -> None:
    """Write the table anew."""
    import timm

    say = partial(print, flush=True)
    lines = [f"# Parameters, counted by exporters/timm_index.py with timm {timm.__version__}."]
    lines.append("model\tparams")
    for architecture in sorted(timm.list_models()):
        params = count(architecture)
        if not params:
            say(f"not countable: {architecture}")
        lines.append(f"{architecture}\t{params}")
    _PARAMS.write_text("\n".join([*lines, ""]), encoding="utf-8")
    say(f"{len(lines) - 2} architectures, in {_PARAMS}")


if __name__ == "__main__":
    main()
