"""Reports, on made-up public rows: what is compared, what is drawn, what is written."""

from __future__ import annotations

import copy
import csv
import itertools
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import reporting
from bench.errors import Unavailable, UsageError
from bench.public import to_public
from reports import chart, scales
from reports.captions import caption, file_names, labels, shorten
from reports.chart import Chart
from reports.frontier import (
    frontier,
    frontier_rows,
    group_of,
    groups,
    same_request,
    undrawn,
)
from reports.placement import Box, Wanted, place
from reports.table import Table, markdown
from tests.builders import ok

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

#: A row as `to_public` makes it, so that these here have its very keys.
PUBLIC = to_public(ok())
CPU = "Intel(R) Xeon(R) Processor @ 2.60GHz"
TARGETS = ("cpu-ort-fp32", "cpu-ort-int8", "cpu-openvino-fp32", "cpu-openvino-bf16", "t-trt-fp16")
HOSTILE = (
    "a|b",
    "two\nlines\r\n",
    "$\\frac{1}{$ _x_ ^",
    "_leading",
    "网络-ネット-🙂",
    "<script>alert(1)</script>&amp;",
    "W" * 400,
    "`code` **bold** [link](http://x)",
    "\x00\x1b[31m\ud800",
    "../../etc/passwd",
)


def row(
    model: str = "net", target: str = "cpu-ort-fp32", ms: float = 1.0, percent: float | None = 95.0,
    **changed: Any,
) -> dict[str, Any]:  # fmt: skip
    """A public row; `changed` may name a key of the row, its latency, accuracy or environment."""
    _, runner, precision = target.split("-")
    made = copy.deepcopy(PUBLIC)
    made |= {
        "model": model,
        "source": "builtin",
        "weights": "v1",
        "target": target,
        "hardware": f"{CPU}, 2 cores",
        "runner": runner,
        "precision": precision,
        "threads": 2,
        "artifact_mb": 0.5,
        "throughput_ips": 1000 / ms,
        "started_at": "2026-11-21T01:02:03.000+00:00",
    }
    made["latency"] |= {
        "p50_ms": ms,
        "ci95_ms": [ms * 0.99, ms * 1.02],
        "mean_ms": ms * 1.01,
        "min_ms": ms * 0.9,
        "p90_ms": ms * 1.2,
        "max_ms": ms * 1.9,
    }
    made["environment"] |= {
        "hardware": f"{CPU}, 2 cores",
        "cpu": CPU,
        "gpus": [],
        "versions": {"onnxruntime": "1.31.1", "openvino": "2026.4.1", "torch": "2.9"},
    }
    if percent is None:
        made["accuracy"] = None
    else:
        made["accuracy"] |= {
            "metric": "top-1",
            "value": percent,
            "ci95": [max(percent - 1.5, 0), min(percent + 1.2, 100)],
            "n": 1000,
            "dataset": "digits",
            "reference": percent + 0.25,
        }
    places = [made, made["latency"], made["accuracy"] or {}, made["environment"]]
    for key, value in changed.items():
        next(place for place in places if key in place)[key] = value
    return made


def failed(model: str = "net", target: str = "cpu-ort-fp32", **changed: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("latency", "accuracy", "verdict", "weights", "throughput_ips"))
    failure = {"stage": "build", "kind": "crash", "message": "the compiler | died"}
    return {**row(model, target), **nothing, "status": "failed", "failure": failure, **changed}


def zoo(targets: int, seed: int = 1) -> list[dict[str, Any]]:
    """Nine networks on that many targets, with numbers like those of small networks on a CPU."""
    dice = random.Random(seed)
    rows = []
    for i, size in enumerate(("lin", "xs", "s", "m", "l", "xl", "res-s", "res-m", "vit")):
        ms, percent = 0.02 * 150 ** (i / 8), 90.5 + 8.5 * (1 - math.exp(-i / 2.3))
        for target in TARGETS[:targets]:
            rows.append(
                row(
                    f"digits-{size}",
                    target,
                    ms * dice.uniform(0.5, 1.1),
                    percent - dice.uniform(0, 0.9),
                    verdict=dice.choice(("VALID",) * 9 + ("NOISY",)),
                )
            )
    return rows


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that a chart draws, while it is being written."""
    seen = []
    draw: Callable[..., Figure] = chart.draw

    def watched(*arguments: Any) -> Figure:
        seen.append(draw(*arguments))
        return seen[-1]

    monkeypatch.setattr(chart, "draw", watched)
    return seen


def label_texts(figure: Figure) -> list[Any]:
    return figure.findobj(lambda it: str(it.get_gid()).startswith("label-"))


def boxes(figure: Figure) -> list[Box]:
    extents = [text.get_window_extent() for text in label_texts(figure)]
    return [Box(it.x0, it.y0, it.x1, it.y1) for it in extents]


sixty = settings(max_examples=60)

# The frontier of plain points.

number = st.floats(0.01, 100) | st.integers(1, 4).map(float)  # the integers make ties
points = st.lists(st.tuples(number, number), max_size=40)


def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@sixty
@given(points)
def test_frontier_is_what_nothing_dominates(cloud: list[tuple[float, float]]) -> None:
    kept = frontier(cloud)
    assert bool(kept) == bool(cloud)
    for i, point in enumerate(cloud):
        assert (i in kept) == (not any(dominates(other, point) for other in cloud))
        assert i in kept or any(dominates(cloud[k], point) for k in kept)


@sixty
@given(points, st.randoms())
def test_frontier_does_not_depend_on_order(cloud: list[tuple[float, float]], dice: Any) -> None:
    shuffled = dice.sample(cloud, len(cloud))
    assert [cloud[i] for i in frontier(cloud)] == [shuffled[i] for i in frontier(shuffled)]


@sixty
@given(points)
def test_frontier_rises(cloud: list[tuple[float, float]]) -> None:
    for a, b in itertools.pairwise(cloud[i] for i in frontier(cloud)):
        assert a == b or (a[0] < b[0] and a[1] < b[1])


def test_equal_points_share_the_frontier() -> None:
    assert frontier([(1, 90), (1, 90), (1, 89), (2, 90)]) == [0, 1]


# Which rows are compared.


def test_only_measured_rows_are_drawn() -> None:
    rows = [
        row("a"),
        row("b", verdict="NOISY"),
        row("c", verdict="INVALID"),
        row("d", percent=None, weights="random"),
        failed("e"),
        failed("e", started_at="2026-11-22"),
    ]
    [(group, drawn)] = groups(rows).items()
    assert [it["model"] for it in drawn] == ["a", "b"]
    assert undrawn(rows, group, drawn) == {"failed": 1, "invalid": 1, "without accuracy": 1}
    assert "Not drawn: 1 failed, 1 invalid, 1 without accuracy." in caption(group, drawn, rows)[-1]


@pytest.mark.parametrize(
    "changed",
    [
        {"hardware": "Tesla T4"},
        {"window": "io"},
        {"batch": 8},
        {"streams": 2},
        {"threads": 1},
        {"metric": "top-5"},
        {"dataset": "other"},
        {"n": 100},
        {"subset": "others of as many"},
    ],
)
def test_what_differs_is_never_in_one_chart(changed: dict[str, Any], tmp_path: Path) -> None:
    rows = [row("slow", ms=2.0, percent=90.0), row("fast", ms=1.0, percent=99.0, **changed)]
    assert [len(drawn) for drawn in groups(rows).values()] == [1, 1]
    files = Chart().render(rows, tmp_path, "svg")
    assert len({path.name for path in files}) == 2
    assert markdown(rows).count("| ★ |") == 2  # neither is dominated by the other


def test_newest_row_counts_whatever_the_order() -> None:
    old, new = row(ms=1.0, started_at="2026-11-20"), row(ms=2.0, started_at="2026-11-21")
    for rows in ([old, new], [new, old]):
        assert list(groups(rows).values()) == [[new]]


def test_the_same_images_are_one_chart_wherever_and_whenever_they_were_copied() -> None:
    old = row(ms=1.0, started_at="2026-11-20")
    new = row(ms=2.0, fingerprint="files with other times of change")
    assert list(groups([old, new]).values()) == [[new]]


def told_by_another_tool(n: int = 100, **changed: Any) -> dict[str, Any]:
    """A row of another tool that keeps no samples."""
    figures = {"window": "device", "n": n, "p50_ms": 3.5, "resolution_ms": 0.01}
    nothing = dict.fromkeys(("latency", "accuracy", "verdict", "throughput_ips"))
    found = {"reported": figures, "measured_by": "benchmark_app 2026.4", **changed}
    return {**row(), **nothing, **found}


def test_what_another_tool_reports_stays_beside_what_it_reports_elsewhere(tmp_path: Path) -> None:
    rows = [told_by_another_tool(101), told_by_another_tool(102, batch=8)]
    rows += [told_by_another_tool(103, streams=2), told_by_another_tool(104, hardware="Xeon")]
    rows += [told_by_another_tool(105, started_at="2026-11-22")]  # replaces the first
    section = markdown(rows).partition("## Reported by other tools")[2]
    told = [cells(line)[4] for line in section.splitlines() if "builtin:net" in line]
    assert sorted(told) == ["102", "103", "104", "105"]
    with pytest.raises(UsageError, match="5 without samples"):
        Chart().render(rows, tmp_path, "png")
    assert list(undrawn([*rows, drawn := row("b")], group_of(drawn), [drawn])) == [
        "without samples"
    ]


def test_options_of_the_runtime_that_differ_are_told() -> None:
    rows = [row(options={"hint": "a", "n": 1}), row(options={"hint": "b", "n": 1}), row("other")]
    assert labels(rows) == ["net hint=a", "net hint=b", "other"]
    assert "cpu-ort-fp32 hint=b" in markdown(rows)
    assert "n=1" not in markdown(rows)


def test_a_failure_is_hidden_by_the_same_job_on_the_same_machine_alone() -> None:
    bad = failed(started_at="2026-11-20")
    others: list[dict[str, Any]] = [
        *({"hardware": "a server"}, {"streams": 2}, {"batch": 8}),
        *({"recipe": "minmax"}, {"measured_by": "trtexec 10"}, {"options": {"a": 1}}),
    ]
    for changed in others:
        assert "the compiler" in markdown([row(**changed), bad]), changed
    assert "the compiler" not in markdown([row(), bad])


def test_failures_of_one_network_are_told_apart() -> None:
    rows = [failed(recipe=way, calibration=None) for way in ("minmax", "entropy")]
    rows.append(failed(recipe="minmax", batch=8))
    section = markdown([*rows, row("other")]).partition("## Not measured")[2]
    told = [cells(line)[1] for line in section.splitlines() if "net" in line]
    ways = ["cpu-ort-fp32 entropy", "cpu-ort-fp32 minmax", "cpu-ort-fp32 minmax batch 8"]
    assert sorted(told) == ways


def test_a_later_failure_does_not_hide_a_point_and_a_later_success_hides_the_failure() -> None:
    good, bad = row(started_at="2026-11-20"), failed(started_at="2026-11-21")
    [(group, drawn)] = groups([good, bad]).items()
    assert undrawn([good, bad], group, drawn) == {}
    assert "the compiler" in markdown([good, bad])
    assert "the compiler" not in markdown([{**good, "started_at": "2026-11-22"}, bad])


def test_failure_before_the_model_is_known_is_the_same_request() -> None:
    known = row("resnet50", source="timm", weights="a1_in1k")
    for source, name in (("timm", "resnet50"), ("timm", "resnet50.a1_in1k"), (None, "resnet50")):
        assert same_request(failed(name, source=source), known)
    assert not same_request(failed("resnet5", source="timm"), known)
    assert not same_request(failed("resnet50", "cpu-ort-int8", source="timm"), known)
    assert not same_request(row("resnet50", source="timm", weights="a2"), known)


# Placing labels: rectangles only.

FRAME = Box(0, 0, 600, 400)
spot = st.tuples(st.floats(0, 600), st.floats(0, 400))
sizes = st.tuples(st.floats(5, 200), st.floats(8, 30))
worth = st.just(math.inf) | st.floats(5, 60)


@sixty
@given(st.lists(st.tuples(spot, sizes, worth), max_size=20), st.lists(spot, max_size=8))
def test_labels_collide_with_nothing(asked: list[Any], elsewhere: list[Any]) -> None:
    wanted = [Wanted(x, y, w, h, worth) for (x, y), (w, h), worth in asked]
    hard = [Box(x, y, x, y).padded(5) for x, y in [*(it[0] for it in asked), *elsewhere]]
    soft = [Box(x, 0, x + 2, 400) for x, _ in elsewhere]
    placed = place(wanted, hard, soft, FRAME)
    assert len(placed) == len(wanted)
    assert placed == place(wanted, hard, soft, FRAME)
    found = [(label, box) for label, box in zip(wanted, placed, strict=True) if box]
    for label, box in found:
        assert box.inside(FRAME)
        assert not any(box.overlaps(other) for other in hard)
        assert (box.x1 - box.x0, box.y1 - box.y0) == pytest.approx((label.width, label.height))
        end = box.nearest(label.x, label.y)
        assert math.dist((label.x, label.y), end) <= label.worth
        for _, other in found:
            if other is not box:
                assert not box.overlaps(other)
                assert not other.crossed_by((label.x, label.y), end)


@sixty
@given(spot, sizes)
def test_a_lone_label_always_finds_a_place(at: tuple[float, float], size: Any) -> None:
    [box] = place([Wanted(*at, *size)], [Box(*at, *at).padded(5)], [], FRAME)
    assert box is not None


def test_a_label_without_room_is_left_out() -> None:
    assert place([Wanted(50, 50, 700, 10)], [], [], FRAME) == [None]
    assert place([Wanted(50, 50, 40, 10, worth=20)], [Box(0, 0, 200, 200)], [], FRAME) == [None]


@sixty
@given(spot, spot, spot, sizes)
def test_crossing_a_box_means_a_point_inside(a: Any, b: Any, corner: Any, size: Any) -> None:
    box = Box(corner[0], corner[1], corner[0] + size[0], corner[1] + size[1])
    steps = (i / 200 for i in range(201))
    on_line = [(a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])) for t in steps]
    deep = box.padded(-0.01)
    if any(deep.x0 < x < deep.x1 and deep.y0 < y < deep.y1 for x, y in on_line):
        assert box.crossed_by(a, b)


# Axes.


@sixty
@given(st.lists(st.tuples(st.floats(1e-4, 1e4), st.floats(0, 100)), min_size=1, max_size=20))
def test_scales_hold_every_interval(cloud: list[tuple[float, float]]) -> None:
    rows = [row(ms=ms, percent=percent) for ms, percent in cloud]
    x, y = scales.latency_scale(rows), scales.accuracy_scale(rows)
    for it in rows:
        assert x.low <= it["latency"]["ci95_ms"][0] <= it["latency"]["ci95_ms"][1] <= x.high
        assert y.low <= it["accuracy"]["ci95"][0] <= it["accuracy"]["ci95"][1] <= y.high
    assert 2 <= len(x.ticks) <= 19
    assert 2 <= len(y.ticks) <= 10
    assert all(x.low <= tick <= x.high for tick in x.ticks)
    assert all(0 <= tick <= 100 for tick in y.ticks)
    assert x.log == (max(ms for ms, _ in cloud) > 5 * min(ms for ms, _ in cloud))


def test_log_ticks_are_the_ones_people_write() -> None:
    ticks = scales.latency_scale([row(ms=0.03), row(ms=2.0)]).ticks
    assert [f"{tick:g}" for tick in ticks] == ["0.05", "0.1", "0.2", "0.5", "1", "2"]


# Charts.

CASES = {
    "one point": [row()],
    "identical points": [row(m, percent=97.0) for m in ("a", "b", "c")],
    "no width": [row(ms=0.5, ci95_ms=[0.5, 0.5], ci95=[95.0, 95.0])],
    "perfect": [row("a", percent=100.0), row("b", ms=9.0, percent=100.0, ci95=[100.0, 100.0])],
    "hopeless": [row("a", percent=0.0), row("b", ms=0.001, percent=0.3)],
    "hostile": [
        row(name, target, 0.1 * 1.7**i, 90 + i, source=name, weights=name)
        for i, (name, target) in enumerate(zip(HOSTILE, itertools.cycle(TARGETS), strict=False))
    ],
    "hostile place": [row(hardware=HOSTILE[6], dataset=HOSTILE[2], metric=HOSTILE[4], gpus=["x"])],
    "9 x 2": zoo(2),
    "9 x 5": zoo(5),
    "all noisy": [row(m, ms=i, verdict="NOISY") for i, m in enumerate("abc", start=1)],
}


@pytest.mark.parametrize("case", CASES)
def test_no_label_collides_or_leaves_the_axes(
    case: str, tmp_path: Path, figures: list[Figure]
) -> None:
    [path] = Chart().render(CASES[case], tmp_path, "png")
    assert path.stat().st_size > 10_000
    [figure] = figures
    found = boxes(figure)
    assert found
    assert not any(a.overlaps(b) for a, b in itertools.combinations(found, 2))
    area = figure.axes[0].get_window_extent()
    frame = Box(area.x0, area.y0, area.x1, area.y1).padded(0.5)
    assert all(box.inside(frame) for box in found)
    everything = figure.get_tightbbox()  # inches
    width, height = figure.get_size_inches()
    assert everything.x0 >= 0
    assert everything.y0 >= 0
    assert everything.x1 <= width
    assert everything.y1 <= height


@pytest.mark.parametrize("seed", range(6))
def test_frontier_points_are_labelled_in_a_crowd(
    seed: int, tmp_path: Path, figures: list[Figure]
) -> None:
    rows = zoo(5, seed)
    assert len(rows) == 45
    Chart().render(rows, tmp_path, "png")
    [drawn] = groups(rows).values()
    shown = {text.get_gid() for text in label_texts(figures[0])}
    for best in frontier_rows(drawn):
        assert f"label-{drawn.index(best)}" in shown


@pytest.mark.parametrize("fmt", Chart.formats)
def test_same_results_give_the_same_bytes(fmt: str, tmp_path: Path) -> None:
    [first] = Chart().render(zoo(2), tmp_path / "a", fmt)
    [second] = Chart().render(list(reversed(zoo(2))), tmp_path / "b", fmt)
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_bytes_depend_neither_on_hash_seed_nor_on_matplotlibrc(tmp_path: Path) -> None:
    code = (
        "import sys, test_reports as t, pathlib as p\n"
        "t.Chart().render(t.zoo(2), p.Path(sys.argv[1]), 'svg')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    here = Path(__file__).parent
    written = []
    for seed, rc in (("1", ""), ("2", "font.size: 30\naxes.facecolor: red\n")):
        (tmp_path / "matplotlibrc").write_text(rc)
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "MATPLOTLIBRC": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
        }
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], env=env, check=True)
        written.append([path.read_bytes() for path in (tmp_path / seed).iterdir()])
    assert written[0] == written[1]


def test_a_chart_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    Chart().render([row()], tmp_path, "svg")
    assert dict(mpl.rcParams) == before


def test_svg_text_is_text(tmp_path: Path) -> None:
    [path] = Chart().render([row("price_$5_$x$")], tmp_path, "svg")
    words = path.read_text()
    assert "price_$5_$x$" in words
    assert "onnxruntime 1.31.1, openvino 2026.4.1" in words
    assert "torch" not in words
    assert "Accuracy: top-1 on digits, 1,000 images" in words
    assert "window device" in words
    assert "2026-11-21" in words
    assert "source builtin, weights v1" in words


def test_no_accuracy_at_all_is_no_chart_but_a_table(tmp_path: Path) -> None:
    rows = [row(percent=None, weights="random"), failed("b")]
    with pytest.raises(UsageError, match="1 failed, 1 without accuracy"):
        Chart().render(rows, tmp_path, "png")
    assert not list(tmp_path.iterdir())
    [path] = Table().render(rows, tmp_path, "md")
    assert "builtin:net.random" in path.read_text()


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    written, left_out = reporting.write([row(verdict="INVALID")], tmp_path, None)
    assert {path.suffix for path in written} == {".csv", ".md"}
    [(reason, formats)] = left_out.items()
    assert formats == ["png", "svg", "pdf"]
    assert "1 invalid): measure again" in reason
    with pytest.raises(UsageError, match="1 invalid"):
        reporting.write([row(verdict="INVALID")], tmp_path, ["svg", "md"])


@pytest.mark.parametrize("report", [Chart(), Table()])
def test_nothing_at_all_is_a_usage_error(report: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bench run"):
        report.render([], tmp_path, report.formats[0])


def test_chart_without_matplotlib_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(Unavailable, match=r"pip install 'frontier-bench\[report\]'"):
        Chart().render([row()], tmp_path, "png")


def test_without_matplotlib_there_is_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    written, left_out = reporting.write([row()], tmp_path, None)
    assert {path.name for path in written} == {"results.md", "results.csv"}
    assert ["png", "svg", "pdf"] in left_out.values()
    with pytest.raises(Unavailable):
        reporting.write([row()], tmp_path, ["png"])


def test_importing_the_reports_imports_no_matplotlib() -> None:
    code = "import sys, reports.chart, reports.table; sys.exit('matplotlib' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_labels_say_what_tells_points_apart() -> None:
    assert labels([row("a"), row("b")]) == ["a", "b"]
    assert labels([row("a"), row("a", weights="v2")]) == ["a.v1", "a.v2"]
    assert labels([row("a"), row("a", source="timm")]) == ["builtin:a", "timm:a"]
    twins = [row("a"), row("a", "cpu4-ort-fp32"), row("a", "cpu-ort-int8")]
    assert labels(twins) == ["a @ cpu-ort-fp32", "a @ cpu4-ort-fp32", "a"]


def test_simulated_numbers_are_called_simulated(tmp_path: Path) -> None:
    [path] = Chart().render([row(target="null-null-int8", hardware="simulated")], tmp_path, "svg")
    assert "simulated latency" in path.read_text()


def test_a_host_that_differs_is_seen_in_the_caption() -> None:
    rows = [row("a", hardware="T4", cpu="Xeon A", gpus=["Tesla T4"]),
            row("b", hardware="T4", cpu="Xeon B", gpus=["Tesla T4"])]  # fmt: skip
    [(group, drawn)] = groups(rows).items()
    told = caption(group, drawn, rows)[0]
    assert "T4, Tesla T4, Xeon A; T4, Tesla T4, Xeon B" in told


def test_file_names_are_tame_and_unique() -> None:
    rows = [row(hardware=name) for name in (*HOSTILE, "A B", "a-b", "a_b")]
    names = file_names(list(groups(rows)))
    assert len(set(names)) == len(names)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in names)
    assert all(len(name) < 90 for name in names)


@sixty
@given(st.text(max_size=60), st.integers(2, 50))
def test_shorten(text: str, length: int) -> None:
    short = shorten(text, length)
    assert len(short) <= length
    assert (short == text) == (len(text) <= length)


# Tables.


def cells(line: str) -> list[str]:
    """The cells of a Markdown table's line: escaped pipes separate nothing."""
    return [cell.strip() for cell in line.replace("\\|", "¦").strip("|").split("|")]


def test_markdown_marks_the_points_that_the_chart_has_on_its_frontier() -> None:
    rows = [*zoo(5), row("late", verdict="INVALID"), row("digits-lin", percent=None)]
    [drawn] = groups(rows).values()
    starred = [cells(line) for line in markdown(rows).splitlines() if line.startswith("| ★")]
    wanted = [(f"builtin:{it['model']}.v1", it["target"]) for it in frontier_rows(drawn)]
    assert [(it[1], it[2]) for it in starred] == wanted


def test_markdown_row() -> None:
    line = next(
        line for line in markdown([row("resnet_18", ms=1.2346)]).splitlines() if "★" in line
    )
    assert cells(line) == [
        "★",
        "builtin:resnet_18.v1",
        "cpu-ort-fp32",
        "1.235 (1.222–1.259)",
        "95.00 (93.50–96.20)",
        "1,000",
        "top-1, digits",
        "95.25 / 0.25",
        "0.50",
        "VALID",
    ]


def test_an_invalid_number_is_no_number() -> None:
    rows = [row("a", ms=7.77, verdict="INVALID", reasons=["the clock | fell"])]
    words = markdown(rows)
    assert "7.7" not in words
    assert "| invalid |" in words
    assert "INVALID: the clock \\| fell" in words


def test_an_invalid_run_stands_beside_the_older_valid_one_until_the_next() -> None:
    days = [f"2026-11-{day}" for day in (20, 21, 22)]
    runs = [row(verdict=verdict, started_at=day) for verdict, day in
            zip(("VALID", "INVALID", "VALID"), days, strict=True)]  # fmt: skip
    assert "invalid" in markdown(runs[:2])
    assert "★" in markdown(runs[:2]).split("\n\n")[3]
    assert "invalid" not in markdown(runs)


def test_what_could_not_be_measured_stays_with_its_reason() -> None:
    words = markdown([row("a"), failed("b", source=None), failed("b", source=None)])
    line = "| b | cpu-ort-fp32 | Intel(R) Xeon(R) Processor @ 2.60GHz, 2 cores | build | crash: "
    assert words.count(line + "the compiler \\| died |") == 1


def test_hostile_names_break_no_markdown_row(tmp_path: Path) -> None:
    rows = [row(name, weights=name, reasons=[name]) for name in HOSTILE]
    [path] = Table().render([*rows, *(failed(f"f{name}") for name in HOSTILE)], tmp_path, "md")
    tables = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    assert len(tables) == 2 + len(HOSTILE) + 2 + len(HOSTILE)
    assert {len(cells(line)) for line in tables} == {10, 5}
    assert not any("<script" in line.replace("\\<", "") for line in tables)


def test_csv_has_a_row_a_result(tmp_path: Path) -> None:
    rows = [row(name) for name in HOSTILE[:-2]] + [failed(), row(ms=2.0, verdict="INVALID")]
    rows += [row("x", percent=None), row("net", started_at="2026-01-01")]
    [path] = Table().render(rows, tmp_path, "csv")
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [it["model"] for it in read] == [it["model"] for it in rows]
    assert float(read[0]["p50_ms"]) == 1.0
    assert float(read[0]["accuracy_percent"]) == 95.0
    by_model = {it["verdict"]: it for it in read}
    assert by_model["INVALID"]["p50_ms"] == ""
    assert by_model[""]["failure_message"] == "the compiler | died"
    assert {it["measured_by"] for it in read} == {"bench"}
    [path] = Table().render([told_by_another_tool(options={"a": 1})], tmp_path, "csv")
    with path.open(encoding="utf-8", newline="") as file:
        (told,) = csv.DictReader(file)
    assert (told["measured_by"], told["options"]) == ("benchmark_app 2026.4", "a=1")
    assert (told["p50_ms"], told["reported_p50_ms"], told["window"]) == ("", "3.5", "device")
