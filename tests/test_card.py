"""`bench show MODEL`: what is known of a model, what it costs, what was measured of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.records import Result
from bench.store import Store
from tests.builders import ok
from tests.conftest import QUICK


def test_the_card_of_a_model(bench: Any) -> None:
    shown = bench("show", "builtin:digits-lenet")
    assert shown.status == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    for words in (
        "builtin:digits-lenet  classification",
        "1 x 8 x 8",
        "squash to 8 x 8, bilinear; L, / 255",
        "10: 0, 1, ...",
        "top-1 91.14 % with digits",
    ):
        assert words in shown.out
    assert "bench run -m builtin:digits-lenet" in shown.err, "nothing is measured yet"


def test_a_file_is_counted_at_once_and_its_results_are_shown(bench: Any, tiny_onnx: Path) -> None:
    bench("run", "-m", tiny_onnx, "-t", "null-fp32", *QUICK)
    shown = bench("show", tiny_onnx, "--json")
    assert shown.status == 0, shown.err
    assert (shown.json["params_m"], shown.json["gmacs"]) == (314e-6, 55376e-9)
    assert shown.json["activations_m"] == (8 * 16 * 16 + 10) / 1e6
    assert shown.json["published"] is None
    [row] = shown.json["results"]
    assert row["target"] == "null-fp32"
    assert row["p50_ms"] > 0
    text = bench("show", tiny_onnx).out
    assert "null-fp32" in text
    assert "55.4 K an image" in text
    assert row["id"] in text


def stored(store: Path, model: str, weights: str, started_at: str) -> Result:
    made = ok()
    assert made.model
    named = replace(made.model, name="digits-lenet", source="builtin", weights=weights)
    made = replace(made, job=replace(made.job, model=model), model=named, started_at=started_at)
    Store(str(store)).append(made)
    return made


def test_results_are_the_newest_of_all_tags_or_of_the_one_that_is_asked(
    bench: Any, own_store: Path
) -> None:
    stored(own_store, "builtin:digits-lenet", "random", "2026-01-01T00:00:00.000+00:00")
    stored(own_store, "builtin:digits-lenet", "random", "2026-01-02T00:00:00.000+00:00")
    stored(own_store, "builtin:digits-lenet.digits", "digits", "2026-01-03T00:00:00.000+00:00")
    stored(own_store, "builtin:digits-lenet-wide", "digits", "2026-01-04T00:00:00.000+00:00")
    both = bench("show", "builtin:digits-lenet", "--json").json["results"]
    assert sorted((row["weights"], row["started_at"][:10]) for row in both) == [
        ("digits", "2026-01-03"),
        ("random", "2026-01-02"),
    ]
    one = bench("show", "builtin:digits-lenet.digits", "--json").json["results"]
    assert [row["weights"] for row in one] == ["digits"]


def test_a_result_is_shown_as_before(bench: Any, own_store: Path) -> None:
    stored(own_store, "builtin:digits-lenet", "digits", "2026-01-01T00:00:00.000+00:00")
    [row] = bench("list", "results", "--json").json
    assert bench("show", row["id"][:6]).json["id"] == row["id"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("builtin:digits-lonet", ["did you mean", "builtin:digits-lenet"]),
        ("builtin:digits-*", ["names", "bench list models"]),
        ("abc123", ["no result 'abc123'"]),
        ("./none.onnx", ["does not exist"]),
    ],
)
def test_what_cannot_be_shown(bench: Any, what: str, words: list[str]) -> None:
    shown = bench("show", what)
    assert shown.status == 2
    for word in words:
        assert word in shown.err


@pytest.mark.slow
def test_costs_are_counted_where_it_is_asked_and_known_from_then_on(bench: Any) -> None:
    pytest.importorskip("torch")
    counted = bench("show", "builtin:digits-alexnet", "--count", "--json").json
    assert counted["gmacs"] > 0
    again = bench("show", "builtin:digits-alexnet", "--json").json
    assert again == counted
