"""The canary: a small network that never changes, timed beside every model.

It is built by the same runner for the same precision and runs on the same threads, a short block
after each block of the model. When its latency moves, the machine moved; so the ratio of the two
can be compared between nights and hosts where latencies cannot.

What it is made of was chosen by measuring (`benchmarks/canary.py`): the same kinds of layers as
the networks it stands beside, and so few of them that its blocks cost little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.cache import artifact, versions
from bench.messages import Timed
from bench.records import Artifact, Model, TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

    from bench.cache import Cache
    from bench.contracts import Runner
    from bench.records import Target

#: Part of the cache key. Another network is another canary: its ratios do not compare.
VERSION = 1
#: Of its own samples after each block of the model.
BLOCK_SECONDS = 0.02
_SIZE = 128
_CHANNELS, _EXPANDED, _BLOCKS = 16, 64, 3

MODEL = Model(
    name="canary",
    source="builtin",
    weights=f"v{VERSION}",
    task=None,
    inputs=(TensorSpec("input", (None, 3, _SIZE, _SIZE), "float32"),),
)


def ready(runner: Runner, target: Target, build_key: Any, cache: Cache) -> Timed:
    """The canary built for a target, from the cache where it is there already.

    `build_key` is what decides a build on this machine beside the network itself. Raises whatever
    the runner's build raises.
    """
    # Here: who measures asks only for BLOCK_SECONDS.
    from bench import inputs, recipes
    from bench.calibration import Calibration

    packages = versions(("frontier-bench", "onnx"))
    exported, _ = cache.get_or_make("canary", ["onnx", VERSION, packages], Artifact, write)
    pool, _ = cache.get_or_make(
        "canary",
        ["pool", VERSION, packages],
        Artifact,
        lambda to: inputs.write_pool(MODEL, None, to),
    )
    calibration = Calibration.of(MODEL, None, None, recipes.methods(runner)[0])
    built, _ = cache.get_or_make(
        "canary",
        ["built", exported.sha256, build_key],
        Artifact,
        lambda to: runner.build(exported, target, calibration, to),
    )
    return Timed(built, pool)


def write(to: Path, size: int = _SIZE) -> Artifact:
    """The canary as ONNX in the folder `to`: a convolution, inverted residual blocks (expand,
    depthwise, project, add), a mean and a linear layer, on 3 x `size` x `size`; weights from seed
    0."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    tensors: list[onnx.TensorProto] = []

    def weight(*shape: int) -> str:
        name = f"w{len(tensors)}"
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        values = (rng.standard_normal(shape) * scale).astype(np.float32)
        tensors.append(numpy_helper.from_array(values, name))
        return name

    def node(kind: str, *arguments: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(nodes)}"
        nodes.append(helper.make_node(kind, list(arguments), [name], name=name, **attributes))
        return name

    x = node("Conv", "input", weight(_CHANNELS, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    for _ in range(_BLOCKS):
        y = node("Relu", node("Conv", x, weight(_EXPANDED, _CHANNELS, 1, 1)))
        y = node("Conv", y, weight(_EXPANDED, 1, 3, 3), pads=[1, 1, 1, 1], group=_EXPANDED)
        x = node("Add", x, node("Conv", node("Relu", y), weight(_CHANNELS, _EXPANDED, 1, 1)))
    node("Gemm", node("Flatten", node("GlobalAveragePool", x)), weight(10, _CHANNELS), transB=1)
    nodes[-1].output[0] = "output"

    spec = MODEL.inputs[0]
    graph = helper.make_graph(
        nodes,
        "canary",
        [helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 10])],
        tensors,
    )
    path = to / "model.onnx"
    # An old opset and IR version, so that old runtimes read it too.
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path
    )
    return artifact(path, form="onnx", made_by="bench.canary", build_s=0.0)
