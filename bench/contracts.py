"""What a plug-in has to offer. A plug-in is one file and one entry-point line.

The stages meet in files: an exporter writes an ONNX file, a runner's `build` reads it and writes
its own artifact, `open` reads that one. So each stage can run in its own process and be cached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from bench.records import Artifact, Model, Option, Precision, Target, TensorSpec

    Array = NDArray[np.generic]
    Feed = Mapping[str, Array]


@dataclass(frozen=True)
class Sample:
    """One labelled image: its name within the data, its truth (for classification the index of its
    class; for the other tasks see `bench.accuracy`), and how to load it, which may raise StageError
    "bad-image"."""

    name: str
    truth: Any
    load: Callable[[], Image.Image]


class Dataset(Protocol):
    """Labelled images, already split: what calibrates never evaluates.

    `fingerprint` identifies the content and must be cheap: it is asked for on every run. `classes`
    names what truths count, where the names are known. The order of both parts is always the same,
    and such that the first n images are a fair sample.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noticed in reading the data, for the result."""

    @property
    def calibration(self) -> Sequence[Sample]: ...

    @property
    def test(self) -> Sequence[Sample]: ...


class Calibration(Protocol):
    """What a quantizer learns activation ranges from: `n` feeds; `source` says in words where
    from, `fingerprint` identifies the list."""

    @property
    def source(self) -> str: ...

    @property
    def n(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def feeds(self) -> Iterator[Feed]:
        """One image a feed, batch 1, preprocessed as the model wants it."""


class Exporter(Protocol):
    """A source of models. `packages` are the distributions whose versions decide what an export
    is: they are part of its cache key. `stable` says that one name, with these versions, always
    means the same model; files and code of the user's own are not.

    A source of torch modules may have a method more, `program(model, to)`, which writes the same
    model with the same weights as a torch program (`torch.export`) instead: for runners that read
    those. `exporters.torch_program.TorchSource` is one.
    """

    packages: tuple[str, ...]
    stable: bool

    def names(self) -> Iterable[str]:
        """Every model of this source, or nothing where they cannot be listed (files)."""

    def describe(self, name: str, weights: str) -> Model:
        """What `name` is. `weights` is "pretrained", "random" or a path.

        Makes sure that the weights are on this machine, so that `export` needs no network; where
        "pretrained" cannot be had in a short time, answers with `weights="random"` and a note.
        Raises UsageError for an unknown name, Unavailable for a missing package.
        """

    def export(self, model: Model, to: Path) -> Artifact:
        """Write the model as ONNX into the folder `to`, verified against its source."""

    def dataset(self, model: Model) -> Dataset | None:
        """The data this source carries for the model, if it carries any."""


class Session(Protocol):
    """An artifact ready to compute. It does not know that it is timed.

    `step` returns when the device has finished. Window `device` is `step` alone; window `io` is
    all three.
    """

    inputs: Sequence[TensorSpec]

    def stage(self, feed: Feed) -> None:
        """Bring the inputs to where the device reads them."""

    def step(self) -> None:
        """Compute, and wait until it is done."""

    def fetch(self) -> Sequence[Array]:
        """The outputs of the last step, in the order of the ONNX graph, on the host."""

    def flags(self) -> Mapping[str, Option]:
        """What the runtime says it really does: threads, executed precision, and so on."""


class Runner(Protocol):
    """A runtime. `packages` are the distributions whose versions are part of the cache key and of
    every result.

    `build` is given the exported ONNX file. A runner with an attribute `reads = "torch"` is given
    the model's torch program; what it computes is checked against the ONNX file all the same.
    """

    precisions: tuple[Precision, ...]
    packages: tuple[str, ...]

    def probe(self, target: Target) -> str | None:
        """Why the target cannot run here, with the remedy, in one sentence; None when it can.

        Raises UsageError for an option that the runner does not have.
        """

    def build(self, onnx: Artifact, target: Target, calibration: Calibration, to: Path) -> Artifact:
        """Compile or quantize ahead of time, as far as the runtime allows it."""

    def open(
        self, built: Artifact, target: Target, *, batch: int, threads: int, streams: int = 1
    ) -> AbstractContextManager[Sequence[Session]]:
        """Load the artifact on the device for that batch size: as many sessions as `streams`, which
        different threads may step at the same time, each on `threads` CPU threads of its own."""


class Report(Protocol):
    """An output. `formats` are the file name endings it can write."""

    formats: tuple[str, ...]

    def render(self, rows: Sequence[Mapping[str, Any]], out: Path, fmt: str) -> list[Path]:
        """Write the rows, as `bench.public.to_public` gives them, into the folder `out` in one
        format; the files written."""
