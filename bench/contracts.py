"""What a plug-in has to offer. A plug-in is one file and one entry-point line.

The stages meet in files: an exporter writes an ONNX file, a runner's `build` reads it and writes
its own artifact, `open` reads that one. So each stage can run in its own process and be cached.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bench.records import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
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
    class; for the other tasks see `bench.accuracy`), and how to load it. That may raise StageError
    "bad-image", or "unread" where it may succeed another time. `said` is the truth as the data have
    it, where `truth` hangs on the order of a model's classes: images are the same for every model.
    """

    name: str
    truth: Any
    load: Callable[[], Image.Image]
    said: Any = None


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
    """What a quantizer learns activation ranges from: `n` feeds, none where the file is quantized
    already, which an int8 target takes as it is; `source` says in words where from, `fingerprint`
    identifies the list. And how: by `method`, one of the runner's `methods` ("default" where it
    names none), with the layers `keep` (names that its `rank` gave) left in higher precision. The
    method ACCURACY_AWARE may lose `max_drop` points of `score`."""

    @property
    def source(self) -> str: ...

    @property
    def n(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def method(self) -> str: ...

    @property
    def keep(self) -> Sequence[str]: ...

    @property
    def max_drop(self) -> float: ...

    def feeds(self) -> Iterator[Feed]:
        """One image a feed, batch 1, preprocessed as the model wants it."""

    def score(self, outputs: Mapping[int, Sequence[Array]]) -> float:
        """The model's metric, in percent, of what a network answered to some of the feeds, by
        their number. Raises StageError "no-labels" where these images have none."""


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


@dataclass(frozen=True)
class Outline:
    """What a source knows of a model without making it; None is unknown. `weights` is the tag of
    the weights that the name means, `published` what `source` states for them, in percent."""

    name: str
    task: Task | None = None
    params: int | None = None
    input: tuple[int, ...] | None = None
    weights: str | None = None
    metric: str | None = None
    published: float | None = None
    source: str | None = None


@runtime_checkable
class Indexed(Protocol):
    """What an Exporter may offer beside: an outline of each of its names, in a few seconds."""

    def outlines(self) -> Iterable[Outline]: ...


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
    every result. Where another distribution brings the package of that name (onnxruntime-gpu does
    for onnxruntime), the version is that one's.

    `build` is given the exported ONNX file. A runner with an attribute `reads = "torch"` is given
    the model's torch program; what it computes is checked against the ONNX file all the same.
    """

    precisions: tuple[Precision, ...]
    packages: tuple[str, ...]

    def probe(self, target: Target) -> str | None:
        """Why the target cannot run here, with the remedy, in one sentence; None when it can.

        It imports the runtime and, on a CPU, starts no threads that `open` needs: the process may
        be forked after it (`bench.stages.twins`). Raises UsageError for an option that the runner
        does not have.
        """

    def build(self, onnx: Artifact, target: Target, calibration: Calibration, to: Path) -> Artifact:
        """Compile or quantize ahead of time, as far as the runtime allows it."""

    def open(
        self, built: Artifact, target: Target, *, batch: int, threads: int, streams: int = 1
    ) -> AbstractContextManager[Sequence[Session]]:
        """Load the artifact on the device for that batch size: as many sessions as `streams`, which
        different threads may step at the same time, each on `threads` CPU threads of its own."""


#: The method that measures accuracy while it quantizes, on the images that calibrate.
ACCURACY_AWARE = "accuracy-aware"


@runtime_checkable
class Quantizer(Runner, Protocol):
    """A runner that makes int8 in more than one way. `methods` names them: the default first, then
    in the order of what they cost, as `--max-drop` tries them."""

    methods: tuple[str, ...]

    def rank(self, onnx: Artifact, target: Target, calibration: Calibration) -> Sequence[str]:
        """Names of the layers that `build` can keep in higher precision, the one first that int8
        does most harm to."""


@runtime_checkable
class BuildsAhead(Protocol):
    """What a runner has beside `probe` when it can build for a device that is not here."""

    def probe_build(self, target: Target) -> str | None:
        """Why it cannot even build here, with the remedy; None when it can."""


@runtime_checkable
class Compiler(BuildsAhead, Protocol):
    """What a runner has beside `build` when it compiles for one device and one batch size, perhaps
    on a machine where the result cannot run: `ahead` says that the target's device is not here.

    `build` is then `lower` and `compile` one after the other.
    """

    def identity(self, target: Target, *, ahead: bool) -> Mapping[str, Option]:
        """What decides what `compile` makes, beside its arguments: version, device."""

    def lower(
        self, onnx: Artifact, target: Target, calibration: Calibration, to: Path, *, ahead: bool
    ) -> Artifact:
        """The ONNX file that the compiler is given: the network in the target's precision. ONNX
        Runtime can run it too, so that it can be checked where the device is not."""

    def compile(
        self, lowered: Artifact, target: Target, batches: Sequence[int], to: Path, *, ahead: bool
    ) -> Artifact:
        """What runs on the device, for these batch sizes. Raises Unavailable where no compiler here
        makes it, StageError with the compiler's own reason where it refuses the network."""


class Report(Protocol):
    """An output. `formats` are the file name endings it can write."""

    formats: tuple[str, ...]

    def render(self, rows: Sequence[Mapping[str, Any]], out: Path, fmt: str) -> list[Path]:
        """Write the rows, as `bench.public.to_public` gives them, into the folder `out` in one
        format; the files written."""
