"""`bench show MODEL`: what is known of a model, what it costs, what was measured of it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.messages import Describe, Described
from bench.records import Model, Result
from bench.stages.prepare import look_up
from bench.store import Store
from bench.teller import Teller
from tests.builders import invalid, ok
from tests.conftest import QUICK, WORKED, write_network


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
    assert row["latency"]["p50_ms"] > 0
    text = bench("show", tiny_onnx).out
    assert "null-fp32" in text
    assert "55.4 K an image" in text
    assert row["id"] in text


def test_a_file_has_the_results_of_its_very_content(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path / "other"):
        write_network(folder / "net.onnx")
    monkeypatch.chdir(tmp_path)
    assert bench("run", "-m", "./net.onnx", "-t", "null-fp32", *QUICK).status in WORKED
    for name in ("net.onnx", "other/net.onnx", tmp_path / "net.onnx"):
        assert len(bench("show", name, "--json").json["results"]) == 1, name
    network = onnx.load("net.onnx")
    network.doc_string = "another network under the same name"
    onnx.save(network, "net.onnx")
    assert bench("show", "net.onnx", "--json").json["results"] == []


def test_results_of_other_conditions_and_tools_stand_beside_ours(
    bench: Any, own_store: Path
) -> None:
    store = Store(str(own_store))
    ours = ok(1, model="builtin:digits-lenet")
    assert ours.measurement is not None
    store.append(ours)
    elsewhere = replace(ours.measurement, window="io")
    store.append(replace(ours, measurement=elsewhere, started_at="2026-11-22T00:00:00.000+00:00"))
    store.append(invalid(replace(ours, started_at="2026-11-23T00:00:00.000+00:00")))
    built = ours.artifacts[-1]
    for recipe in ("minmax", "entropy"):
        said = {"calibration_method": recipe, "calibration_n": 64}
        store.append(replace(ours, artifacts=(replace(built, details=said),)))
    ways = bench("show", "builtin:digits-lenet")
    assert "minmax:64" in ways.out
    assert "entropy:64" in ways.out
    found = bench("show", "builtin:digits-lenet", "--json").json["results"]
    found = [row for row in found if not row["calibration"]]
    assert sorted(row["latency"]["window"] for row in found) == ["device", "io"]
    assert all(row["verdict"] != "INVALID" for row in found)
    table = bench("show", "builtin:digits-lenet").out
    assert ", window io" in table
    assert max(map(len, table.splitlines())) <= 80


def test_a_single_label_is_a_list_too(bench: Any, tmp_path: Path) -> None:
    network = write_network(tmp_path / "one.onnx")
    network.with_suffix(".toml").write_text(
        'task = "detection"\nsize = [16, 16]\nresize = "squash"\noutput = "boxes"\n'
        'labels = ["apple"]\n'
    )
    shown = bench("show", network)
    assert shown.status == 0, shown.err
    assert "1: apple " in shown.out


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
    assert bench("show", row["id"][:6], "--json").json["id"] == row["id"]


def network(name: str, node: onnx.NodeProto, x: Any, y: Any, *weights: onnx.TensorProto) -> str:
    """A file here of one node, from x to y, each a type and a shape."""
    values = [helper.make_tensor_value_info(each, *of) for each, of in (("x", x), ("y", y))]
    graph = helper.make_graph([node], "made", values[:1], values[1:], weights)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), name)
    return f"./{name}"


def test_a_file_without_layers_costs_nothing(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plane = TensorProto.FLOAT, [1, 3, 8, 8]
    node = helper.make_node("Relu", ["x"], ["y"])
    net = network("relu.onnx", node, plane, plane)
    shown = bench("show", net, "--json")
    assert shown.status == 0, shown.err
    assert shown.json["gmacs"] == 0
    assert "0 an image" in bench("show", net).out


def test_nothing_is_no_least(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    weight = numpy_helper.from_array(np.ones((4, 2), np.int8), "w")
    sides = (TensorProto.INT8, [1, 4]), (TensorProto.INT32, [1, 2])
    shown = bench("show", network("int.onnx", node, *sides, weight))
    assert "not countable: 1 MatMulInteger" in shown.out, shown.err
    assert "at least" not in shown.out


@pytest.fixture
def no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No source says which models it has; and that is not kept for other tests."""
    monkeypatch.setattr("bench.catalog.call", lambda *_: [])
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "name", ["hf:google/mobilenet_v2_1.0_224", "hf:./vit", "py:pack.facts:net"]
)
def test_a_dot_in_a_name_is_no_tag(
    bench: Any, own_store: Path, no_names: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source, _, rest = name.partition(":")
    result = stored(own_store, name, "w1", "2026-01-01T00:00:00.000+00:00")
    assert result.model
    model = replace(result.model, source=source, name=rest)
    monkeypatch.setattr("bench.card.call", lambda *_: Described(model, None))
    assert [row["weights"] for row in bench("show", name, "--json").json["results"]] == ["w1"]


def test_weights_that_were_not_asked_for_are_not_called_unpublished(
    bench: Any, tmp_path: Path, no_names: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ok().model
    assert model
    random = replace(model, source="hf", weights="random", published=None)
    monkeypatch.setattr("bench.card.call", lambda *_: Described(random, None))
    hub = bench("show", "hf:microsoft/resnet-50")
    assert hub.out.count("not known: the hub was not asked") == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit").mkdir()
    assert "none in the folder" in bench("show", "hf:./vit").out


def test_a_folder_has_its_own_weights_and_a_hub_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    class Hub:
        packages = ()
        stable = True

        def describe(self, name: str, weights: str) -> Model:
            asked.append((name, weights))
            return Model(name, "hf", weights, "classification", ())

    monkeypatch.setattr("bench.plugins.exporter", lambda _: Hub())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit").mkdir()
    for name in ("./vit", "google/vit"):
        request = Describe(f"hf:{name}", None, str(tmp_path / "cache"))
        look_up(request, Teller(io.BytesIO()))
    assert asked == [("./vit", "pretrained"), ("google/vit", "random")]


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
