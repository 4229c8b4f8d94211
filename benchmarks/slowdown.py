"""Real slowdowns of a known size: an ONNX network with extra nodes in its graph.

A branch of matrix products on a few of the input's values is added, with an output of its own, so
that no runtime drops it. Its size is calibrated by comparing: the branch is made so large that the
difference is plain, and what it costs there says how much of it makes 1 %.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Values of the input that the branch reads, and how wide its products are.
WIDTH = 64


def slowed(source: Path, to: Path, columns: int) -> Path:
    """`source` with extra products of 1 x 64 by 64 x 64, `columns` columns of them in all."""
    model = onnx.load(source)
    graph = model.graph
    name = graph.input[0].name
    rng = np.random.default_rng(0)

    def constant(values: np.ndarray) -> str:
        label = f"extra_c{len(graph.initializer)}"
        graph.initializer.append(numpy_helper.from_array(values, label))
        return label

    def node(kind: str, *inputs: str, **attributes: int) -> str:
        label = f"extra_{len(graph.node)}"
        graph.node.append(helper.make_node(kind, list(inputs), [label], name=label, **attributes))
        return label

    flat = node("Flatten", name, axis=1)
    x = node("Slice", flat, *(constant(np.array([i])) for i in (0, WIDTH, 1)))
    while columns > 0:
        wide = min(columns, 8 * WIDTH)
        left = rng.standard_normal((WIDTH, wide)).astype(np.float32) / 8
        right = rng.standard_normal((wide, WIDTH)).astype(np.float32) / np.sqrt(wide)
        y = node("Relu", node("MatMul", x, constant(left)))
        # What it adds is small, so that the values survive int8 however long the branch.
        y = node("MatMul", y, constant((right / 8).astype(np.float32)))
        x = node("Add", x, y)
        columns -= wide
    shape = ["batch" if not graph.input[0].type.tensor_type.shape.dim[0].dim_value else 1, WIDTH]
    graph.output.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, shape))
    onnx.save(model, to)
    return to
