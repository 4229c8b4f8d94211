"""What is read from an ONNX graph: inputs, parameters, multiply-accumulates, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bench import onnx_graph
from bench.cache import artifact
from bench.errors import StageError
from bench.records import Facts, TensorSpec
from tests.builders import message_of, refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    Shape = Sequence[int | str | None]


def constant(name: str, *shape: int, kind: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, kind), name)


def graph(
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    x: Shape = ("batch", 6, 8, 10),
    y: Shape | None = None,
) -> onnx.ModelProto:
    """A model from x to y."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "made",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
            constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )


def facts(model: onnx.ModelProto, folder: Path) -> Facts:
    path = folder / "net.onnx"
    onnx.save(model, path)
    return onnx_graph.facts(artifact(path, form="onnx", made_by="test", build_s=0.0))


def sizes(found: Facts) -> tuple[int, int | None]:
    return found.params, found.macs


def conv(x: str = "x", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, "w"], ["y"], **attributes)


@pytest.mark.parametrize(
    ("weight", "attributes", "macs"),
    [
        # outputs: channels x height x width; each costs (channels in / groups) x kernel.
        ((4, 6, 3, 3), {}, (4 * 6 * 8) * (6 * 9)),
        ((4, 6, 3, 3), {"pads": [1, 1, 1, 1]}, (4 * 8 * 10) * (6 * 9)),
        ((4, 6, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}, (4 * 4 * 5) * (6 * 9)),
        ((4, 6, 1, 1), {}, (4 * 8 * 10) * 6),
        ((4, 3, 3, 3), {"group": 2}, (4 * 6 * 8) * (3 * 9)),
        ((6, 1, 3, 3), {"group": 6}, (6 * 6 * 8) * 9),
        ((4, 6, 3, 3), {"dilations": [2, 2]}, (4 * 4 * 6) * (6 * 9)),
        ((4, 6, 1, 5), {}, (4 * 8 * 6) * (6 * 5)),
    ],
)
def test_conv(
    tmp_path: Path, weight: tuple[int, ...], attributes: dict[str, Any], macs: int
) -> None:
    found = facts(graph([conv(**attributes)], [constant("w", *weight)]), tmp_path)
    assert sizes(found) == (int(np.prod(weight)), macs)


def test_a_bias_is_parameters_and_no_macs(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"])
    found = facts(graph([node], [constant("w", 4, 6, 1, 1), constant("b", 4)]), tmp_path)
    assert sizes(found) == (24 + 4, 4 * 80 * 6)


@pytest.mark.parametrize(
    ("weight", "attributes", "macs"),
    [
        # inputs: channels x height x width; each meets (channels out / groups) x kernel weights.
        ((6, 4, 2, 2), {"strides": [2, 2]}, (6 * 8 * 10) * (4 * 4)),
        ((6, 2, 3, 3), {"group": 2}, (6 * 8 * 10) * (2 * 9)),
    ],
)
def test_conv_transpose(
    tmp_path: Path, weight: tuple[int, ...], attributes: dict[str, Any], macs: int
) -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    found = facts(graph([node], [constant("w", *weight)]), tmp_path)
    assert sizes(found) == (int(np.prod(weight)), macs)


@pytest.mark.parametrize("turned_weight", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_gemm(tmp_path: Path, turned: bool, turned_weight: bool) -> None:
    flip = helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0])
    gemm = helper.make_node(
        "Gemm", ["t" if turned else "x", "w", "b"], ["y"], transA=turned, transB=turned_weight
    )
    weight = constant("w", *((7, 5) if turned_weight else (5, 7)))
    model = graph([flip, gemm], [weight, constant("b", 7)], x=("batch", 5))
    assert sizes(facts(model, tmp_path)) == (35 + 7, 35)


@pytest.mark.parametrize(
    ("x", "weight", "macs"),
    [
        (("batch", 5), (5, 7), 35),
        (("batch", 11, 5), (5, 7), 11 * 35),
        (("batch", 3, 11, 5), (3, 5, 7), 3 * 11 * 35),
        (("batch", 5), (5,), 5),
    ],
)
def test_matmul(tmp_path: Path, x: Shape, weight: tuple[int, ...], macs: int) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    found = facts(graph([node], [constant("w", *weight)], x=x), tmp_path)
    assert sizes(found) == (int(np.prod(weight)), macs)


def test_attention_is_products_of_activations(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["x", "t"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["s"]),
        helper.make_node("MatMul", ["s", "x"], ["y"]),
    ]
    found = facts(graph(nodes, x=("batch", 2, 9, 4)), tmp_path)
    assert sizes(found) == (0, 2 * (2 * 9 * 9 * 4))


def test_a_network_is_the_sum_of_its_layers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "w2"], ["y"]),
    ]
    found = facts(graph(nodes, [constant("w1", 4, 6, 3, 3), constant("w2", 4, 10)]), tmp_path)
    assert sizes(found) == (216 + 40, 4 * 80 * 54 + 40)


def test_weights_in_constant_nodes_have_their_shape(tmp_path: Path) -> None:
    node = helper.make_node("Constant", [], ["w"], value=constant("w", 4, 6, 1, 1))
    assert facts(graph([node, conv()]), tmp_path).macs == 4 * 80 * 6


def test_macs_are_an_image_whatever_batch_the_file_is_fixed_at(tmp_path: Path) -> None:
    """`Facts.macs` are "multiply-accumulates an image", and the batch comes first."""
    for batch in (1, "batch", None, 4):
        model = graph([conv()], [constant("w", 4, 6, 1, 1)], x=(batch, 6, 8, 10))
        assert facts(model, tmp_path).macs == 4 * 80 * 6, f"batch {batch}"


@pytest.mark.parametrize(
    ("image", "second"),
    [
        (("batch", 6, 8, 10), (16, 10)),
        (("batch", 6, 8, 10), (4,)),
        ((1, 6, 8, 10), (16, 10)),
        ((4, 6, 8, 10), (1, 2)),
        ((4, 6, 8, 10), ()),
    ],
)
def test_the_batch_is_that_of_the_image(tmp_path: Path, image: Shape, second: Shape) -> None:
    model = graph([conv()], [constant("w", 4, 6, 1, 1)], x=image)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, second))
    assert facts(model, tmp_path).macs == 4 * 80 * 6


def test_an_image_without_a_batch_axis_is_one_image(tmp_path: Path) -> None:
    nodes = [helper.make_node("Unsqueeze", ["x", "first"], ["u"]), conv("u")]
    first = numpy_helper.from_array(np.array([0]), "first")
    model = graph(nodes, [constant("w", 4, 6, 1, 1), first], x=(6, 8, 10))
    assert facts(model, tmp_path).macs == 4 * 80 * 6


def test_sizes_that_follow_from_the_scales_of_a_resize_are_known(tmp_path: Path) -> None:
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["r"], mode="nearest"), conv("r")]
    found = facts(graph(nodes, [constant("w", 4, 6, 1, 1), scales]), tmp_path)
    assert (found.macs, found.activations) == (4 * 16 * 20 * 6, 4 * 16 * 20)


@pytest.mark.parametrize(("kind", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("outputs", [["y"], ["", "y"]])
def test_recurrent_layers(tmp_path: Path, kind: str, gates: int, outputs: list[str]) -> None:
    """7 steps of 5 numbers, a state of 8, both ways: each gate has 8 x (5 + 8) weights a step."""
    node = helper.make_node(
        kind, ["x", "w", "r"], outputs, hidden_size=8, direction="bidirectional"
    )
    weights = [constant("w", 2, gates * 8, 5), constant("r", 2, gates * 8, 8)]
    found = facts(graph([node], weights, x=(7, "batch", 5)), tmp_path)
    assert found.uncounted is None
    assert (found.macs, found.activations) == (7 * 2 * gates * 8 * (5 + 8), 7 * 2 * 8)


@pytest.mark.parametrize("x", [("batch", 6, "height", "width"), ("batch", 6, None, 10)])
def test_no_count_where_a_size_is_free(tmp_path: Path, x: Shape) -> None:
    found = facts(graph([conv()], [constant("w", 4, 6, 1, 1)], x=x), tmp_path)
    assert sizes(found) == (24, None)


def test_no_count_behind_an_unknown_operator(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Strange", ["x"], ["a"], domain="my.own"),
        helper.make_node("Conv", ["a", "w"], ["y"]),
    ]
    model = graph(nodes, [constant("w", 4, 6, 1, 1)])
    model.opset_import.append(helper.make_opsetid("my.own", 1))
    assert sizes(facts(model, tmp_path)) == (24, None)


def test_no_count_where_work_hides_in_a_branch(tmp_path: Path) -> None:
    """No count is better than a wrong one: a convolution inside `If` is not none."""

    def branch(name: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Conv", ["x", "w"], [name])], name, [], [out])

    yes = numpy_helper.from_array(np.array(True), "yes")
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    found = facts(graph([node], [constant("w", 4, 6, 1, 1), yes]), tmp_path)
    assert found.macs in (None, 4 * 80 * 6)


def test_a_branch_without_layers_costs_nothing(tmp_path: Path) -> None:
    """As exporters write them around shapes."""

    def branch(name: str, kind: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(kind, ["c"], [name])], name, [], [out])

    yes = numpy_helper.from_array(np.array(True), "yes")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node(
            "If", ["yes"], ["y"], then_branch=branch("a", "Relu"), else_branch=branch("b", "Neg")
        ),
    ]
    found = facts(graph(nodes, [constant("w", 4, 6, 1, 1), yes]), tmp_path)
    assert (found.macs, found.uncounted) == (4 * 80 * 6, None)


def test_what_cannot_be_counted_is_said(tmp_path: Path) -> None:
    """Boxes that were found in the image go through a layer: how many, the graph does not say."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("NonZero", ["c"], ["n"]),
        helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["t", "v"], ["y"]),
    ]
    found = facts(graph(nodes, [constant("w", 4, 6, 1, 1), constant("v", 4, 3)]), tmp_path)
    assert (found.macs, found.activations) == (None, None)
    assert (found.least_macs, found.uncounted) == (4 * 80 * 6, "1 MatMul")


def test_sizes_that_are_computed_in_the_graph_are_known(tmp_path: Path) -> None:
    """As detectors compute the size that they resize their input to, in ways that shape inference
    does not follow."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=2, end=4),
        helper.make_node("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "half"], ["m"]),
        helper.make_node("Floor", ["m"], ["r"]),
        helper.make_node("Cast", ["r"], ["i"], to=TensorProto.INT64),
        helper.make_node("Concat", ["two", "i"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["a"], mode="nearest"),
        helper.make_node("Conv", ["a", "w"], ["y"]),
    ]
    constants = [
        constant("w", 4, 6, 1, 1),
        numpy_helper.from_array(np.array(0.5, np.float32), "half"),
        numpy_helper.from_array(np.array([1, 6], np.int64), "two"),
    ]
    found = facts(graph(nodes, constants, x=(1, 6, 8, 10)), tmp_path)
    assert (found.macs, found.uncounted) == (4 * (4 * 5) * 6, None)


def test_activations_are_outputs_of_layers(tmp_path: Path) -> None:
    """Those of norms and activation functions are not among them."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "w2"], ["y"]),
    ]
    weights = [constant("w1", 4, 6, 3, 3), constant("w2", 4, 10)]
    for batch in ("batch", 3):
        found = facts(graph(nodes, weights, x=(batch, 6, 8, 10)), tmp_path)
        assert found.activations == 4 * 8 * 10 + 10


@pytest.mark.parametrize(
    ("equation", "weight", "macs"),
    [
        ("bchw,cd->bdhw", (6, 5), 80 * 6 * 5),
        ("bchw, dc -> bdhw", (5, 6), 80 * 6 * 5),
        ("bchw,c->bhw", (6,), 80 * 6),
    ],
)
def test_einsum(tmp_path: Path, equation: str, weight: tuple[int, ...], macs: int) -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)
    found = facts(graph([node], [constant("w", *weight)]), tmp_path)
    assert (found.macs, found.uncounted) == (macs, None)


def test_an_einsum_that_hides_its_sizes_is_said(tmp_path: Path) -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation="...w,wd->...d")
    found = facts(graph([node], [constant("w", 10, 5)]), tmp_path)
    assert (found.macs, found.uncounted) == (None, "1 Einsum")


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        ("64*batch", True),
        ("batch*(3+1)", True),
        ("batch//2", False),
        ("other", False),
        ("(", False),
    ],
)
def test_sizes_that_follow_from_the_batch(tmp_path: Path, written: str, counts: bool) -> None:
    """Torch writes them beside operators of which inference knows nothing."""
    nodes = [
        helper.make_node("Strange", ["x"], ["a"], domain="my.own"),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    model = graph(nodes, [constant("w", 10, 5)])
    model.opset_import.append(helper.make_opsetid("my.own", 1))
    known = helper.make_tensor_value_info("a", TensorProto.FLOAT, [written, 10])
    model.graph.value_info.append(known)
    assert (facts(model, tmp_path).macs is not None) == counts


def test_an_exporter_knows_its_parameters_better(tmp_path: Path) -> None:
    """It folds norms into weights, and writes tables of what it computed."""
    onnx.save(graph([conv()], [constant("w", 4, 6, 1, 1)]), tmp_path / "net.onnx")
    made = artifact(
        tmp_path / "net.onnx", form="onnx", made_by="t", build_s=0.0, details={"parameters": 30}
    )
    assert onnx_graph.facts(made).params == 30


def test_parameters_are_what_is_learnt(tmp_path: Path) -> None:
    """Floating-point tensors; a shape for Reshape, or a scalar, is none."""
    constants = [
        constant("w", 4, 6, 1, 1),
        constant("half", 3, 5, kind=np.float16),
        constant("shape", 4, kind=np.int64),
        constant("scalar"),
    ]
    assert facts(graph([conv()], constants), tmp_path).params == 24 + 15


def test_reading_facts_changes_nothing(tmp_path: Path) -> None:
    model = graph([conv()], [constant("w", 4, 6, 1, 1)])
    facts(model, tmp_path)
    before = (tmp_path / "net.onnx").read_bytes()
    onnx_graph.facts(artifact(tmp_path / "net.onnx", form="onnx", made_by="t", build_s=0.0))
    assert (tmp_path / "net.onnx").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "net.onnx"]


def test_inputs() -> None:
    model = graph([conv()], [constant("w", 4, 6, 1, 1)])
    assert onnx_graph.inputs(model) == (TensorSpec("x", (None, 6, 8, 10), "float32"),)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TensorProto.FLOAT16, "float16"),
        (TensorProto.DOUBLE, "float64"),
        (TensorProto.UINT8, "uint8"),
        (TensorProto.INT64, "int64"),
        (TensorProto.BOOL, "bool"),
    ],
)
def test_the_types_of_inputs(kind: int, name: str) -> None:
    model = graph([helper.make_node("Identity", ["x"], ["y"])])
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", kind, ["n", None, 0, 3]))
    assert onnx_graph.inputs(model) == (TensorSpec("x", (None, None, None, 3), name),)


def test_weights_that_old_files_list_as_inputs_are_none() -> None:
    model = graph([conv()], [constant("w", 4, 6, 1, 1)])
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 6, 1, 1]))
    assert [spec.name for spec in onnx_graph.inputs(model)] == ["x"]


def test_several_inputs_keep_their_order() -> None:
    model = graph([helper.make_node("Add", ["x", "a"], ["y"])])
    model.graph.input.append(helper.make_tensor_value_info("a", TensorProto.INT32, []))
    assert onnx_graph.inputs(model)[1] == TensorSpec("a", (), "int32")


def with_companions(folder: Path, *, together: bool = True) -> Path:
    """A network whose weights lie in one file beside it, or in a file each."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Conv", ["a", "w2"], ["y"]),
    ]
    model = graph(nodes, [constant("w1", 4, 6, 1, 1), constant("w2", 5, 4, 1, 1)])
    path = folder / "net.onnx"
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=together,
        location="net.weights" if together else None,
        size_threshold=0,
    )
    return path


@pytest.mark.parametrize(("together", "names"), [(True, ["net.weights"]), (False, ["w1", "w2"])])
def test_companions(tmp_path: Path, together: bool, names: list[str]) -> None:
    path = with_companions(tmp_path, together=together)
    assert onnx_graph.companions(onnx_graph.read(path)) == names


def test_a_file_of_its_own_has_no_companions() -> None:
    assert onnx_graph.companions(graph([conv()], [constant("w", 4, 6, 1, 1)])) == []


def test_facts_of_a_file_with_companions(tmp_path: Path) -> None:
    path = with_companions(tmp_path)
    made = artifact(path, form="onnx", made_by="t", build_s=0.0, companions=["net.weights"])
    assert sizes(onnx_graph.facts(made)) == (24 + 20, 80 * (24 + 20))


def test_external_weights_are_not_read(tmp_path: Path) -> None:
    read = onnx_graph.read(with_companions(tmp_path))
    assert not any(tensor.raw_data for tensor in read.graph.initializer)


def test_a_missing_companion_is_named(tmp_path: Path) -> None:
    path = with_companions(tmp_path)
    (tmp_path / "net.weights").unlink()
    with refused(StageError, path, "net.weights", "missing"):
        onnx_graph.read(path)


def refuses(path: Path) -> str:
    """The message of the refusal to read a file; `bad-model` is its kind."""
    with pytest.raises(StageError) as caught:
        onnx_graph.read(path)
    assert caught.value.kind == "bad-model"
    assert str(path) in message_of(caught.value)
    return message_of(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"<html>404: not found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        b"PK\x03\x04",
        b"\x80\x02}q\x00.",
        bytes(range(256)),
        b"\x00" * 1000,
        "模型".encode(),
    ],
    ids=["empty", "line", "html", "lfs", "zip", "pickle", "bytes", "zeros", "text"],
)
def test_what_is_no_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert "not an ONNX file" in refuses(path)


def test_a_model_without_nodes(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(graph([]), path)
    assert "no nodes" in refuses(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in refuses(tmp_path / "none.onnx")
    assert "directory" in refuses(tmp_path)


WHOLE = graph([conv()], [constant("w", 4, 6, 3, 3)], y=("batch", 4, 6, 8)).SerializeToString()


def test_a_truncated_file(tmp_path: Path) -> None:
    """Wherever it was cut: refused when read, or when verified, in one sentence."""
    path = tmp_path / "net.onnx"
    for end in range(0, len(WHOLE), 7):
        path.write_bytes(WHOLE[:end])
        with pytest.raises(StageError) as caught:
            onnx_graph.verify(path) if whole_enough(path) else onnx_graph.read(path)
        assert caught.value.kind == "bad-model"
        assert str(path) in message_of(caught.value)


def whole_enough(path: Path) -> bool:
    try:
        onnx_graph.read(path)
    except StageError:
        return False
    return True


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE)), junk=st.binary(min_size=1, max_size=8))
def test_no_damage_is_fatal(tmp_path: Path, at: int, junk: bytes) -> None:
    """Reading, verifying and counting a damaged file give an answer, or one sentence."""
    path = tmp_path / "net.onnx"
    path.write_bytes(WHOLE[:at] + junk + WHOLE[at + len(junk) :])
    try:
        onnx_graph.inputs(onnx_graph.read(path))
        onnx_graph.verify(path)
        onnx_graph.facts(artifact(path, form="onnx", made_by="t", build_s=0.0))
    except StageError as error:
        message_of(error)


def test_verify_takes_a_whole_model(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(WHOLE)
    onnx_graph.verify(path)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Conv", ["x", "nothing"], ["y"])],
        [helper.make_node("NoSuchOperator", ["x"], ["y"])],
        [helper.make_node("Conv", ["x"], ["y"])],
        [helper.make_node("Relu", ["x"], ["y"], strange=3)],
    ],
    ids=["input", "operator", "few", "attribute"],
)
def test_verify_refuses_what_the_checker_refuses(
    tmp_path: Path, nodes: list[onnx.NodeProto]
) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(graph(nodes, y=("batch", 4, 6, 8)), path)
    with refused(StageError, path, "not valid ONNX"):
        onnx_graph.verify(path)


def test_inputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    model = graph([helper.make_node("SequenceLength", ["x"], ["y"])])
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    model.graph.input[0].CopyFrom(sequence)
    with refused(StageError, "'x'"):
        onnx_graph.inputs(model)


def external(name: str, location: str) -> onnx.TensorProto:
    """Weights that lie in a file of their own."""
    tensor = constant(name, 5, 6, 1, 1)
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_weights_in_nodes_branches_and_functions_are_companions(tmp_path: Path) -> None:
    """Else the file is the same, for every hash, when they are trained again."""

    def branch(name: str, *initializers: onnx.TensorProto) -> onnx.GraphProto:
        made = [helper.make_node("Identity", ["w"], ["out"])] if initializers else []
        made += (
            [] if made else [helper.make_node("Constant", [], ["out"], value=external("", name))]
        )
        output = helper.make_tensor_value_info("out", TensorProto.FLOAT, [5, 6, 1, 1])
        return helper.make_graph(made, name, [], [output], list(initializers))

    nodes = [
        helper.make_node("Constant", [], ["w1"], value=external("", "constant")),
        helper.make_node(
            "If",
            ["yes"],
            ["w2"],
            then_branch=branch("then"),
            else_branch=branch("-", external("w", "else")),
        ),
        helper.make_node("held", ["x"], ["w3"], domain="own"),
        helper.make_node("Sum", ["w1", "w2", "w3"], ["y"]),
    ]
    model = graph(nodes, [])
    body = [helper.make_node("Constant", [], ["b"], value=external("", "function"))]
    model.functions.append(
        helper.make_function("own", "held", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    )
    assert onnx_graph.companions(model) == ["constant", "else", "function", "then"]


def test_what_onnx_runtime_has_fused_is_not_counted_as_nothing(tmp_path: Path) -> None:
    """A file that its optimizer wrote: a convolution with its ReLU is an operator of its own."""
    first = helper.make_node("Conv", ["x", "v"], ["a"])
    relu, second = helper.make_node("Relu", ["a"], ["b"]), conv("b")
    weights = [constant("v", 6, 6, 1, 1), constant("w", 4, 6, 1, 1)]
    onnx.save(graph([first, relu, second], weights), tmp_path / "plain.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "net.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(
        tmp_path / "plain.onnx", options, providers=["CPUExecutionProvider"]
    )
    optimized = onnx.load(tmp_path / "net.onnx")
    assert [node.op_type for node in optimized.graph.node] == ["FusedConv", "Conv"]
    found = facts(optimized, tmp_path)
    assert sizes(found) == (6 * 6 + 4 * 6, None)
    assert (found.least_macs, found.uncounted) == (4 * 80 * 6, "1 FusedConv")


@pytest.mark.parametrize(
    ("kind", "given", "uncounted"),
    [
        ("FusedMatMul", ["x", "x"], "1 FusedMatMul"),
        ("Own", ["x", "w"], "1 Own"),
        ("Own", ["x", "in a node"], "1 Own"),
        ("Own", ["x", "list"], None),
        ("Convert", ["x", "list"], None),
        ("DequantizeLinear", ["w", "list"], None),
    ],
)
def test_what_operators_of_somebodys_own_cost(
    tmp_path: Path, kind: str, given: list[str], uncounted: str | None
) -> None:
    """Those that read a matrix of weights, or have the name of one that multiplies, are said."""
    nodes = [
        helper.make_node("Constant", [], ["in a node"], value=constant("", 6, 6)),
        helper.make_node(kind, given, ["own"], domain="com.somebody"),
        conv(),
    ]
    made = graph(nodes, [constant("w", 4, 6, 1, 1), constant("list", 6)])
    made.opset_import.append(helper.make_opsetid("com.somebody", 1))
    found = facts(made, tmp_path)
    assert found.uncounted == uncounted
    assert found.macs == (None if uncounted else 4 * 80 * 6)


def test_the_parameters_of_a_quantized_network(tmp_path: Path) -> None:
    """Weights are in int8 and biases in int32; their scales and zero points are not learnt."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x s", "x z"], ["x q"]),
        helper.make_node("DequantizeLinear", ["x q", "x s", "x z"], ["x d"]),
        helper.make_node("DequantizeLinear", ["w q", "w s", "w z"], ["w d"], axis=0),
        helper.make_node("DequantizeLinear", ["b q", "b s"], ["b d"]),
        helper.make_node("Conv", ["x d", "w d", "b d"], ["y"]),
    ]
    constants = [
        *(constant("x s"), constant("x z", kind=np.uint8), constant("w s", 4)),
        *(constant("w q", 4, 6, 1, 1, kind=np.int8), constant("w z", 4, kind=np.int8)),
        *(constant("b q", 4, kind=np.int32), constant("b s", 4)),
    ]
    assert sizes(facts(graph(nodes, constants), tmp_path)) == (4 * 6 + 4, 4 * 80 * 6)
