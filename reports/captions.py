"""The words of a chart: title, caption, labels, file name. Pure functions, no drawing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from bench.terminal import counted
from reports.frontier import (
    bare_name,
    differing_options,
    full_name,
    hardware,
    many_recipes,
    one_line,
    recipe,
    undrawn,
)

if TYPE_CHECKING:
    from reports.frontier import Conditions, Group, Row

#: What lies inside the timed region, in a reader's words (bench.records.Window).
_WINDOWS = {
    "device": "inputs already on the device",
    "io": "host to device, compute, device to host",
}

#: Distributions that compute or quantize; a runtime's own name is added to them. Versions of
#: anything else do not change a latency.
_RUNTIMES = ("nncf", "onnxruntime", "openvino", "tensorrt")


def title(group: Group) -> str:
    # The shipped fake computes nothing; its numbers must not read like measured ones.
    machine = group.conditions.hardware
    kind = "simulated latency" if machine == "simulated" else "latency"
    return f"Accuracy against {kind} on {shorten(machine, 70)}"


def subtitle(group: Group, drawn: Sequence[Row]) -> str:
    networks = len({full_name(row) for row in drawn})
    targets = len({row["target"] for row in drawn})
    return (
        f"{counted(networks, 'network')} on {counted(targets, 'target')} · "
        f"{shorten(group.metric, 30)} on {shorten(group.dataset, 40)} · "
        f"{setup(group.conditions)} · up and left is better"
    )


def caption(group: Group, drawn: Sequence[Row], rows: Iterable[Row]) -> list[str]:
    """What a reader needs to judge or repeat the chart, and what it does not show; a paragraph
    each."""
    notes = ["Bars: 95 % intervals"]
    if shared := _shared(drawn):
        notes.append("Every network: " + ", ".join(shared))
    if missing := undrawn(rows, group, drawn):
        notes.append("Not drawn: " + ", ".join(f"{n} {why}" for why, n in missing.items()))
    return [
        f"Hardware: {_machines(drawn)}. Runtimes: {runtimes(drawn)}. Measured {days(drawn)}.",
        f"Accuracy: {shorten(group.metric, 30)} on {shorten(group.dataset, 40)}, "
        f"{counted(group.images, 'image')}. Latency: median of {setup(group.conditions)}, "
        f"{window(group.conditions.window)}.",
        ". ".join(notes) + ".",
    ]


def setup(how: Conditions) -> str:
    """Batch size, streams where there are several, and CPU threads where they are known."""
    words = [f"batch {how.batch}"]
    if how.streams > 1:
        words.append(f"{how.streams} streams")
    if how.threads:
        words.append(counted(how.threads, "thread") + (" each" if how.streams > 1 else ""))
    return ", ".join(words)


def window(name: str) -> str:
    inside = f" ({_WINDOWS[name]})" if name in _WINDOWS else ""
    return f"window {shorten(name, 20)}{inside}"


def days(rows: Sequence[Row]) -> str:
    """The first and the last day (UTC) of these results."""
    found = sorted({one_line(row["started_at"])[:10] for row in rows})
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _machines(drawn: Sequence[Row]) -> str:
    """Every combination of hardware and host, so that a mix of hosts is seen."""
    found = set()
    for row in drawn:
        seen = row["environment"]
        words = [hardware(row), *map(one_line, seen["gpus"]), one_line(seen["cpu"])]
        # Observed hardware often is the name of the CPU or GPU: say it once.
        told = [w for i, w in enumerate(words) if not any(w in other for other in words[:i])]
        found.add(", ".join(shorten(word, 70) for word in told))
    return "; ".join(sorted(found))


def runtimes(rows: Sequence[Row]) -> str:
    """The versions of what computed these results, all of them where they are mixed."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for name, version in row["environment"]["versions"].items():
            # "onnxruntime-gpu" and "tensorrt-cu12" are variants of the same runtimes.
            if any(f"{name}-".startswith(f"{known}-") for known in (*_RUNTIMES, row["runner"])):
                found.setdefault(one_line(name), set()).add(one_line(version))
    told = [f"{name} {' and '.join(sorted(found[name]))}" for name in sorted(found)]
    return shorten(", ".join(told), 120) or "no version recorded"


def _shared(drawn: Sequence[Row]) -> list[str]:
    """What labels leave out because it is the same for all: source and weights tag. Files have
    neither."""
    if any(row["source"] == "onnx" for row in drawn):
        return []
    shared = []
    for key, word in (("source", "source"), ("weights", "weights")):
        values = {row[key] for row in drawn}
        if len(values) == 1 and (value := values.pop()):
            shared.append(f"{word} {shorten(one_line(value), 30)}")
    return shared


def labels(drawn: Sequence[Row]) -> list[str]:
    """A label for each point: what tells it from the others. The name, with source and weights
    unless all points share them, a file's hash where another has its name, the target where colour
    and marker do not tell it, how it became int8 where there are several ways, and options of the
    runtime that differ."""
    sources = {row["source"] for row in drawn}
    tags = {row["weights"] for row in drawn}
    contents: defaultdict[str, set[str]] = defaultdict(set)
    for row in drawn:
        contents[bare_name(row)].add(row["weights"])
    targets = {row["target"]: (row["runner"], row["precision"]) for row in drawn}
    looks = Counter(targets.values())
    several = many_recipes(drawn)
    set_apart = differing_options(drawn)
    texts = []
    for row in drawn:
        if row["source"] == "onnx":
            text = full_name(row) if len(contents[bare_name(row)]) > 1 else bare_name(row)
        else:
            text = one_line(row["model"])
            if len(sources) > 1 and row["source"]:
                text = f"{one_line(row['source'])}:{text}"
            if len(tags) > 1 and row["weights"]:
                text = f"{text}.{one_line(row['weights'])}"
        text = shorten(text, 36)
        if looks[row["runner"], row["precision"]] > 1:
            text = f"{text} @ {shorten(one_line(row['target']), 24)}"
        if (full_name(row), row["target"]) in several:
            text = f"{text} {shorten(recipe(row), 24)}"
        if chosen := set_apart(row):
            text = f"{text} {shorten(chosen, 24)}"
        texts.append(text)
    return texts


def file_names(groups: Sequence[Group]) -> list[str]:
    """A file name without ending for each chart: the hardware, and what else differs."""
    flat = [{**asdict(group.conditions), **asdict(group)} for group in groups]
    differing = [
        key
        for key in ("window", "batch", "streams", "threads", "metric", "dataset", "images")
        if len({values[key] for values in flat}) > 1
    ]
    names: list[str] = []
    for found in flat:
        values = [found["hardware"], *(_part(key, found[key]) for key in differing)]
        stem = "-".join(["frontier", *filter(None, map(_slug, values))])
        twins = sum(name == stem or name.startswith(f"{stem}--") for name in names)
        names.append(f"{stem}--{twins + 1}" if twins else stem)
    return names


def _part(key: str, value: object) -> str:
    return f"{key}{value}" if isinstance(value, int) else str(value)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]


def shorten(text: str, length: int) -> str:
    """At most `length` characters; what is cut from the middle shows as an ellipsis."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[head - length + 1 :]}"
