"""What a person sees of models before they are measured: the table of the index, and a card."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench import cells
from bench.index import UNASKED
from bench.terminal import amount, say, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench import index
    from bench.cells import Row

#: A name of more letters stands above its card, not at the head of its first column.
_LONG = 40


def models(rows: Sequence[index.Row]) -> None:
    """A table of the index. What all rows have in common is said once; "-" is unknown."""
    tasks = {row.outline.task for row in rows}
    metrics = {row.outline.metric for row in rows if row.outline.metric}
    alone, several = len(metrics) == 1, len(metrics) > 1
    metric = metrics.pop().replace("top1", "top-1") if alone else "published"
    table(
        ["model", *(["task"] if len(tasks) > 1 else []), "params", "input", metric],
        [
            [
                row.full,
                *([row.outline.task or "-"] if len(tasks) > 1 else []),
                amount(row.outline.params),
                " x ".join(map(str, row.outline.input[1:])) if row.outline.input else "-",
                "-" if row.outline.published is None else f"{row.outline.published:.1f}",
            ]
            for row in rows
        ],
        right={"params", "input", metric},
    )
    sys.stdout.flush()
    task = tasks.pop() if len(tasks) == 1 else None
    said = f", all for {task}" if task and len(rows) > 1 else ""
    what = f"; {metric} is as published, in percent" if alone else ""
    if several:
        what = "; published figures are in percent"
    say(f"{len(rows)} model{'s' if len(rows) > 1 else ''}{said}{what}")


def card(drawn: Row) -> None:
    """A model's card; what is not known yet says how to know it."""
    name = drawn["model"]
    if len(name) > _LONG:  # a path would leave what is said of it no room beside it
        print(name)
        name = ""
    table([name, drawn["task"] or ""], _card_lines(drawn), fold=1)
    if rows := drawn["results"]:
        print()
        several = len({row["weights"] for row in rows}) > 1
        metric = cells.metric(rows)
        table(
            [
                "id",
                "date",
                *(["weights"] if several else []),
                "target",
                "p50 ms",
                metric,
                "verdict",
            ],
            [
                [
                    row["id"],
                    row["started_at"][5:10],
                    *([row["weights"]] if several else []),
                    target,
                    cells.latency(row)[0],
                    cells.accuracy(row),
                    row["verdict"],
                ]
                for row, target in zip(rows, cells.targets(rows), strict=True)
            ],
            right={"p50 ms", metric},
            fold=3 if several else 2,
        )
    sys.stdout.flush()
    if not rows:
        say(f"nothing is measured yet: bench run -m {drawn['model']} -t TARGET")


def _card_lines(drawn: Row) -> Iterator[list[str]]:
    others = [tag for tag in drawn["tags"] if tag != drawn["weights"]]
    more = f"; others: {', '.join(others[:3])}" + (", ..." if len(others) > 3 else "")
    yield ["weights", (drawn["weights"] or drawn["weights_note"]) + (more if others else "")]
    if drawn["input"]:
        yield ["input", " x ".join("any" if n is None else str(n) for n in drawn["input"])]
    if how := drawn["preprocess"]:
        yield ["preprocessing", _preprocessing(how)]
    if labels := drawn["labels"]:
        yield ["labels", f"{len(labels)}: {', '.join(labels[:2])}" + ", ..." * (len(labels) > 2)]
    params = drawn["params_m"]
    yield ["parameters", "unknown" if params is None else amount(1e6 * params)]
    if drawn["gmacs"] is not None:
        yield ["MACs", f"{amount(1e9 * drawn['gmacs'])} an image"]
        if drawn["activations_m"] is not None:  # older results do not know them
            yield ["activations", f"{amount(1e6 * drawn['activations_m'])} an image"]
    elif drawn["uncounted"]:
        least = drawn["least_gmacs"]
        known = f"at least {amount(1e9 * least)} an image; " if least else ""
        yield ["MACs", f"{known}not countable: {drawn['uncounted']}"]
    else:
        yield ["MACs", "not exported yet: bench show --count"]
    if said := drawn["published"]:
        metric = said["metric"].replace("top1", "top-1")
        yield [
            "published",
            f"{metric} {said['value']:g} % with {said['weights']} ({said['source']})",
        ]
    else:
        unasked = drawn["weights_note"] == UNASKED
        yield ["published", UNASKED if unasked else "nothing is known"]


def _preprocessing(how: Row) -> str:
    plane = f"{how['height']} x {how['width']}"
    if how["letterbox"]:
        fit = f"letterbox ({how['letterbox']}) {plane}"
    elif how["shorter_side"]:
        fit = f"shorter side to {how['shorter_side']}, centre crop {plane}"
    elif how["squash"]:
        fit = f"squash to {how['squash'][0]} x {how['squash'][1]}, centre crop {plane}"
    else:
        fit = f"squash to {plane}"
    scaled = f", / {how['scale']:g}" if how["scale"] != 1 else ""
    mean, std = (" ".join(f"{x:.3g}" for x in how[key]) for key in ("mean", "std"))
    return f"{fit}, {how['interpolation']}; {how['mode']}{scaled}, mean {mean}, std {std}"
