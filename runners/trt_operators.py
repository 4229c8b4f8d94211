"""Operators that TensorRT does not have, named: before ModelOpt or a board stumbles over one,
and where the parser says only "false"."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import onnx_graph
from bench.errors import StageError, first_line

if TYPE_CHECKING:
    from bench.records import Artifact

#: ONNX's operators that TensorRT 8.5's parser has no importer for (builtin_op_importers.cpp of
#: onnx-tensorrt at release/8.5-GA). CastLike is not among them: simplifiers fold it.
_NOT_IN_8_5 = frozenset(
    """
    AffineGrid Attention Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    BlackmanWindow CausalConvWithState CenterCropPad Col2Im Compress ConcatFromSequence ConvInteger
    CumProd DFT DeformConv Det DynamicQuantizeLinear Gelu GroupNormalization HammingWindow
    HannWindow Hardmax ImageDecoder IsInf LayerNormalization LinearAttention MatMulInteger
    MaxRoiPool MaxUnpool MelWeightMatrix Mish Multinomial NegativeLogLikelihoodLoss Optional
    OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul RMSNormalization RegexFullMatch
    RotaryEmbedding STFT SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert
    SequenceLength SequenceMap SoftmaxCrossEntropyLoss SplitToSequence StringConcat StringNormalizer
    StringSplit SwiGLU Swish TensorScatter TfIdfVectorizer Unique
    """.split()  # noqa: SIM905
)
#: What the parser says of an operator that it has no importer for: what it asserts in C++.
_NO_IMPORTER = re.compile(r"^(?:Assertion failed: )?(?:false$|creator && )")
#: How onnx's converter says which operator stops it.
_STOPPED = re.compile(r"No (?:Previous Version of|Adapter .* for) (\w+)")

_ELSEWHERE = "or take a target of another runner (`bench list targets`)"


def require_own(lowered: Artifact) -> None:
    """Raise StageError "unsupported-op" where the network has operators of somebody's own, which
    neither ModelOpt nor TensorRT's parser knows."""
    model = onnx_graph.read(Path(lowered.path))
    defined = {(each.domain, each.name) for each in model.functions}
    foreign = {
        f"{node.domain}.{node.op_type}"
        for node in onnx_graph.nodes(model)
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in defined
    }
    if foreign:
        raise StageError(
            "unsupported-op",
            f"the model has {_listed(foreign)}, which is not of ONNX's own operators, and neither "
            "ModelOpt nor TensorRT knows it: export the model with ONNX's own operators in its "
            f"place, {_ELSEWHERE}",
        )


def require_in_8_5(onnx: Artifact) -> None:
    """Raise StageError "unsupported-op" for what the parser of TensorRT 8.5 does not have."""
    found = {node.op_type for node in onnx_graph.nodes(onnx_graph.read(Path(onnx.path)))}
    if missing := found & _NOT_IN_8_5:
        raise StageError(
            "unsupported-op",
            f"the model has {_listed(missing)}, which TensorRT 8.5 does not have, the last for "
            "JetPack 5: export it in opset 16, for which exporters write newer operators as "
            "several old ones, or take another model or target",
        )


def stopped(error: Exception, opset: int) -> StageError:
    """The error for a network that onnx cannot bring to an older opset."""
    named = _STOPPED.search(str(error))
    because = f"{named[1]} has no older form" if named else first_line(error)
    return StageError(
        "not-convertible",
        f"the model cannot be brought to opset {opset}, the last that TensorRT 8.5 reads "
        f"({because}): export it in that opset yourself, for which exporters write newer operators "
        "as several old ones",
    )


def refused(api_title: str, error: Any, lowered: Artifact) -> StageError:
    """The error for what the parser says, with the operator that it stopped at."""
    operator = _operator(error, lowered)
    said = next(iter(error.desc().strip().splitlines()), "")[:300].rstrip(".")
    absent = bool(_NO_IMPORTER.search(said)) or "no importer" in said.lower()
    reason = "" if operator and _NO_IMPORTER.search(said) else said
    if operator and operator not in reason:
        reason = f"operator {operator}: {reason}" if reason else f"operator {operator}"
    if absent or "UNSUPPORTED" in str(error.code()):
        return StageError(
            "unsupported-op",
            f"{api_title} does not have what the model needs: {reason}; export it without that "
            f"operator, {_ELSEWHERE}",
        )
    return StageError("not-convertible", f"{api_title} cannot read the model: {reason}")


def _operator(error: Any, lowered: Artifact) -> str:
    """Of the node that a parser's error is about; empty where it is about none. Up to TensorRT 9
    the error has the node's place in the graph alone."""
    if hasattr(error, "node_operator"):
        return str(error.node_operator() or "")
    if error.node() < 0:
        return ""
    return str(onnx_graph.read(Path(lowered.path)).graph.node[error.node()].op_type)


def _listed(operators: set[str]) -> str:
    return f"operator{'s' if len(operators) > 1 else ''} {', '.join(sorted(operators))}"
