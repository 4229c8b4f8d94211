"""`./net.onnx`: an ONNX file as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench import onnx_graph
from bench.cache import artifact, sha256_of
from bench.errors import StageError, UsageError
from bench.records import Model

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.contracts import Dataset
    from bench.records import Artifact


class OnnxFile:
    packages: tuple[str, ...] = ("onnx",)
    stable = False

    def names(self) -> Iterable[str]:
        return ()

    def describe(self, name: str, weights: str) -> Model:
        path = Path(name).expanduser()
        if not path.is_file():
            problem = "is a folder" if path.is_dir() else "does not exist"
            raise UsageError(f"{name} {problem}: an ONNX file was expected")
        if weights not in ("pretrained",):
            raise UsageError(f"{name} carries its own weights: --weights {weights} has no meaning")
        graph = onnx_graph.read(path)
        if not onnx_graph.inputs(graph):
            raise StageError("bad-model", f"{path} has no inputs: there is nothing to feed")
        files = [path, *(path.parent / other for other in onnx_graph.companions(graph))]
        return Model(
            name=name,
            source="onnx",
            weights=f"{path.name}#{sha256_of(files)[:12]}",
            task=None,
            inputs=onnx_graph.inputs(graph),
        )

    def export(self, model: Model, to: Path) -> Artifact:
        """Nothing is copied: the artifact is the file where it lies, checked."""
        path = Path(model.name).expanduser().resolve()
        onnx_graph.verify(path)
        graph = onnx_graph.read(path)
        opset = max((entry.version for entry in graph.opset_import if not entry.domain), default=0)
        return artifact(
            path,
            form="onnx",
            made_by=graph.producer_name or "unknown",
            build_s=0.0,
            companions=onnx_graph.companions(graph),
            details={"opset": opset},
        )

    def dataset(self, model: Model) -> Dataset | None:
        return None
