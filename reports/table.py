"""Results as a table: Markdown to read, CSV to compute with."""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError
from reports.captions import days, runtimes, setup, window
from reports.frontier import (
    Conditions,
    by_latency,
    differing_options,
    frontier_rows,
    full_name,
    groups,
    hardware,
    identity,
    many_recipes,
    newest,
    one_line,
    recipe,
    same_request,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from reports.frontier import Row

_MARK = "★"
#: Column titles; those of numbers end in a colon, as Markdown's ruler for them does.
_COLUMNS = (
    *("", "model", "target", "p50 ms (95 %):", "accuracy % (95 %):", "images:", "measured on"),
    *("fp32 % / drop:", "size MB:", "verdict"),
)
_NOTE = (
    f"{_MARK} on the frontier: of the networks here with the same metric and images, none is at "
    "least as accurate and at most as slow, and better in one of the two. p50 is the median of one "
    "batch. fp32 is the exported network on the same images; drop is in points."
)
_TOLD = ("model", "target", "hardware", "p50 ms:", "inferences:", "batch:", "streams:", "tool")
_REPORTED = "Figures as another tool printed them: no samples, so no interval and no verdict."


class Table:
    """`results.md` or `results.csv`. Needs nothing that the tool's base lacks."""

    formats = ("md", "csv")

    def render(self, rows: Sequence[Mapping[str, Any]], out: Path, fmt: str) -> list[Path]:
        """Raises UsageError when there is no row at all; failures are rows."""
        if not rows:
            raise UsageError("there is no result to show: measure something with `bench run` first")
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"results.{fmt}"
        # A name read from a file may hold what UTF-8 cannot: one letter is lost, not the table.
        with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
            if fmt == "csv":
                flat = list(_flat(rows))
                writer = csv.DictWriter(file, list(flat[0]))
                writer.writeheader()
                writer.writerows(flat)
            else:
                file.write(markdown(rows))
        return [path]


def markdown(rows: Sequence[Row]) -> str:
    """The newest result of each network on each target, grouped by hardware, fast first; then what
    could not be measured."""
    sections: defaultdict[tuple[Conditions, str], list[Row]] = defaultdict(list)
    told: defaultdict[Conditions, list[Row]] = defaultdict(list)
    for row in rows:
        if row["status"] == "ok" and row["latency"]:
            sections[Conditions.of(row), one_line(row["measured_by"])].append(row)
        elif row["reported"]:
            told[Conditions.of(row)].append(row)
    best = _on_frontier(rows)
    lines = ["# Results", ""]
    for (how, who), found in sorted(sections.items()):
        shown = sorted(_current(found), key=lambda row: (_is_invalid(row), by_latency(row)))
        ways = _Ways(shown)
        lines += [
            f"## {_escaped(how.hardware)}",
            "",
            _escaped(
                f"Latency: {setup(how)}, {window(how.window)}. "
                f"Runtimes: {runtimes(shown)}. Measured {days(shown)}"
                f"{'' if who == 'bench' else f' by {who}'}."
            ),
            "",
            *_table(_COLUMNS, [_cells(row, id(row) in best, ways.target(row)) for row in shown]),
            "",
        ]
    if sections:
        lines += [_NOTE, ""]
    if told:
        shown = [row for _, alike in sorted(told.items()) for row in newest(alike)]
        lines += ["## Reported by other tools", "", _REPORTED, ""]
        lines += [*_table(_TOLD, map(_told, shown)), ""]
    if missing := _not_measured(rows):
        options = differing_options(missing)
        cells = [
            [
                full_name(row),
                " ".join(filter(None, [row["target"], *_asked(row), options(row)])),
                hardware(row),
                row["failure"]["stage"],
                f"{row['failure']['kind']}: {row['failure']['message']}",
            ]
            for row in missing
        ]
        titles = ("model", "target", "tried on", "stage", "reason")
        lines += ["## Not measured", "", *_table(titles, cells), ""]
    return "\n".join(lines)


def _told(row: Row) -> list[str]:
    found = row["reported"]
    what = [full_name(row), row["target"], hardware(row), f"{found['p50_ms']:g}", f"{found['n']:,}"]
    return [*what, str(row["batch"]), str(row["streams"]), row["measured_by"]]


def _asked(row: Row) -> list[str]:
    """What is not usual about how a job was to be measured."""
    return [
        one_line(row["recipe"] or ""),
        f"batch {row['batch']}" if row["batch"] > 1 else "",
        f"{row['streams']} streams" if row["streams"] > 1 else "",
    ]


class _Ways:
    """Targets as they are told of some rows: with how it became int8 and with the options of the
    runtime, where the same network ran on the same target in more ways than one."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._recipes = many_recipes(rows)
        self._options = differing_options(rows)

    def target(self, row: Row) -> str:
        name = row["target"]
        made = recipe(row) if (full_name(row), name) in self._recipes else ""
        return " ".join(filter(None, [name, made, self._options(row)]))


def _current(rows: Iterable[Row]) -> list[Row]:
    """Of each network on each target the newest result a chart may draw, the newest of latency
    alone, and an INVALID one only while nothing newer replaced it."""
    kinds: defaultdict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        accuracy = row["accuracy"] or {}
        images = tuple(accuracy.get(key) for key in ("metric", "dataset", "subset"))
        kinds[_is_invalid(row), images].append(row)
    current = [row for kind in kinds.values() for row in newest(kind)]
    latest = {identity(row): row for row in newest(current)}
    return [row for row in current if not _is_invalid(row) or row is latest[identity(row)]]


def _on_frontier(rows: Iterable[Row]) -> set[int]:
    """The `id()` of each row that lies on the frontier of its group."""
    return {id(row) for drawn in groups(rows).values() for row in frontier_rows(drawn)}


def _is_invalid(row: Row) -> bool:
    return row["verdict"] not in ("VALID", "NOISY")


def _cells(row: Row, best: bool, target: str) -> list[str]:
    latency, accuracy = row["latency"], row["accuracy"]
    p50 = "invalid"  # not a number that somebody could quote
    if not _is_invalid(row):
        digits = _decimals(latency["p50_ms"])
        p50 = _with_interval(latency["p50_ms"], latency["ci95_ms"], digits)
    value, images, data, drop = "not measured", "", "", ""
    if accuracy:
        value = _with_interval(accuracy["value"], accuracy["ci95"], 2)
        images, data = f"{accuracy['n']:,}", f"{accuracy['metric']}, {accuracy['dataset']}"
        if accuracy["reference"] is not None:
            lost = accuracy["reference"] - accuracy["value"]
            drop = f"{accuracy['reference']:.2f} / {lost:.2f}"
    size = "" if row["artifact_mb"] is None else f"{row['artifact_mb']:.2f}"
    verdict = row["verdict"]
    if row["reasons"]:
        verdict += ": " + "; ".join(map(str, row["reasons"]))
    mark = _MARK if best else ""
    return [mark, full_name(row), target, p50, value, images, data, drop, size, verdict]


def _with_interval(value: float, ci95: Sequence[float] | None, digits: int) -> str:
    if ci95 is None:  # another tool, and one process of it
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({ci95[0]:.{digits}f}–{ci95[1]:.{digits}f})"


def _decimals(value: float) -> int:
    """As many as four significant figures need."""
    return max(0, 3 - math.floor(math.log10(value))) if value > 0 else 3


def _not_measured(rows: Sequence[Row]) -> list[Row]:
    """The newest failure of each job on each machine, unless the same succeeded there later."""

    def job(row: Row) -> tuple[Any, ...]:
        how = hardware(row), row["batch"], row["streams"], row["recipe"] or "", row["measured_by"]
        return *how, sorted((key, str(value)) for key, value in row["options"].items())

    latest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: str(row["started_at"])):
        if row["status"] != "ok":
            latest[repr((full_name(row), row["target"], *job(row)))] = row
    return [
        row
        for _, row in sorted(latest.items())
        if not any(
            other["status"] == "ok"
            and other["started_at"] >= row["started_at"]
            and job(other) == job(row)
            and same_request(row, other)
            for other in rows
        )
    ]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    ruler = "|".join("---:" if title.endswith(":") else "---" for title in titles)
    head = " | ".join(title.rstrip(":") for title in titles)
    body = (" | ".join(map(_escaped, cells)) for cells in rows)
    return [f"| {head} |", f"|{ruler}|", *(f"| {line} |" for line in body)]


def _escaped(text: str) -> str:
    """One line that Markdown shows as it is. An underscore within a word needs no escape, and
    names are full of them."""
    return re.sub(r"[\\`*|<>\[\]~$&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", one_line(text))


def _flat(rows: Sequence[Row]) -> Iterable[dict[str, object]]:
    """One row a result, failures and older ones too, with the unit in the column's name. The
    times of an INVALID result are left empty: a mean over the column shall not hold them."""
    best = _on_frontier(rows)
    for row in rows:
        latency, accuracy = row["latency"] or {}, row["accuracy"] or {}
        timed = {} if _is_invalid(row) else latency
        p50_low, p50_high = timed.get("ci95_ms") or (None, None)
        low, high = accuracy.get("ci95") or (None, None)
        failure, seen = row["failure"] or {}, row["environment"]
        made, told = row["calibration"] or {}, row["reported"] or {}
        yield {
            **{key: row[key] for key in ("id", "started_at", "status", "verdict")},
            "on_frontier": id(row) in best,
            **{key: row[key] for key in ("model", "source", "weights", "target")},
            **{key: row[key] for key in ("hardware", "runner", "precision")},
            **{key: row[key] for key in ("batch", "streams", "threads", "measured_by")},
            "options": " ".join(f"{key}={value}" for key, value in sorted(row["options"].items())),
            "window": (latency or told).get("window"),
            "p50_ms": timed.get("p50_ms"),
            "p50_low_ms": p50_low,
            "p50_high_ms": p50_high,
            **{key: timed.get(key) for key in ("mean_ms", "min_ms", "p90_ms", "p99_ms", "max_ms")},
            **{key: latency.get(key) for key in ("samples", "processes", "canary_ratio")},
            "throughput_ips": row["throughput_ips"] if timed else None,
            **{key: row[key] for key in ("load_ms", "build_s", "first_ms", "peak_rss_mb")},
            **{key: row[key] for key in ("artifact_mb", "params_m", "gmacs")},
            **{key: accuracy.get(key) for key in ("task", "metric", "dataset")},
            "accuracy_percent": accuracy.get("value"),
            "accuracy_low_percent": low,
            "accuracy_high_percent": high,
            "images": accuracy.get("n"),
            "reference_percent": accuracy.get("reference"),
            "agreement_percent": accuracy.get("agreement"),
            "change_points": accuracy.get("change"),
            "calibration_method": made.get("method"),
            "calibration_images": made.get("images"),
            "kept_layers": len(made["kept"]) if made else None,
            "reported_p50_ms": told.get("p50_ms"),
            "reported_inferences": told.get("n"),
            "reasons": "; ".join(map(str, row["reasons"])),
            **{f"failure_{key}": failure.get(key) for key in ("stage", "kind", "message")},
            **{key: seen[key] for key in ("cpu", "os", "python")},
            "gpus": "; ".join(seen["gpus"]),
            "versions": "; ".join(f"{k} {v}" for k, v in sorted(seen["versions"].items())),
        }
