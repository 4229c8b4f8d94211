"""How a model is named: `source:name[.weights]`, a path to an ONNX file, or a bare zoo name."""

from __future__ import annotations

from dataclasses import dataclass

from bench.paths import expanded

#: Sources in which a bare name is looked up, in this order.
ZOOS = ("timm", "torchvision")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A parsed name; `source` is None for a bare one, which has to be looked up."""

    source: str | None
    name: str

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """`./net.onnx` -> onnx, `timm:resnet50` -> timm, `resnet50` -> no source yet."""
        source, colon, name = text.partition(":")
        # A Windows drive letter is no source.
        if colon and len(source) > 1 and "/" not in source and "\\" not in source:
            return cls(source, name)
        if text.lower().endswith(".onnx") or "/" in text or "\\" in text:
            return cls("onnx", text)
        return cls(None, text)

    @property
    def is_folder(self) -> bool:
        """Whether the name is that of a folder here, whose content may change."""
        return self.source not in ZOOS and expanded(self.name).is_dir()

    def __str__(self) -> str:
        return f"{self.source}:{self.name}" if self.source else self.name


def is_file(model: str) -> bool:
    """Whether a name means an ONNX file."""
    return ModelRef.parse(model).source == "onnx"
