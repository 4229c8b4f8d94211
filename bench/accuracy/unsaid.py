"""What to say where nothing is known of how a network is fed and read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import StageError
from bench.paths import expanded

if TYPE_CHECKING:
    from bench.records import Model


def sentence(model: Model) -> str:
    """Why the network is timed only and, for an ONNX file, what a file beside it can say, in the
    file's own sizes where they are fixed."""
    if model.source != "onnx":
        return (
            f"nothing is known of the preprocessing of {model.name}: timed, not evaluated; a TOML "
            "file can say it beside an ONNX file alone: export it (docs/accuracy.md)"
        )
    side = _side(model)
    shorter = round(side[0] * 256 / 224) if side[0] == side[1] else None
    resize = f'"crop", shorter_side = {shorter}' if shorter else '"squash"'
    offset = ", label_offset = 1" if _outputs(model) == 1001 else ""
    return (
        "the file says nothing of its preprocessing: timed, not evaluated; a file "
        f"{Path(model.name).with_suffix('.toml').name} beside it can say it: "
        f'task = "classification", size = [{side[0]}, {side[1]}], resize = {resize}, '
        f"mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]{offset} "
        "(docs/accuracy.md has all of it)"
    )


def _side(model: Model) -> tuple[int, int]:
    """Height and width of the input, 224 where they are free."""
    shape = model.inputs[0].shape
    if len(shape) != 4:
        return 224, 224
    height, width = shape[1:3] if shape[3] in (1, 3) and shape[1] not in (1, 3) else shape[2:]
    return height or 224, width or 224


def _outputs(model: Model) -> int | None:
    from bench import onnx_graph

    try:
        shape = onnx_graph.output_shape(onnx_graph.read(expanded(model.name)))
    except StageError:
        return None
    return shape[1] if len(shape) > 1 else None
