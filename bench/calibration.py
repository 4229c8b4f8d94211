"""What int8 is calibrated on, and how (`bench.contracts.Calibration`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from bench import inputs
from bench.accuracy import figures
from bench.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.contracts import Array, Dataset, Feed, Sample
    from bench.records import Model


@dataclass(frozen=True)
class Calibration:
    """The first `n` calibration images of `images`, or `n` synthetic inputs where that is None."""

    model: Model
    images: Dataset | None
    n: int
    method: str
    keep: tuple[str, ...] = ()
    max_drop: float = 1.0
    #: Images that could not be read, by name, and why: known once the feeds have been gone through.
    unreadable: dict[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, model: Model, dataset: Dataset | None, n: int | None, method: str, max_drop: float = 1
    ) -> Calibration:
        """On `n` calibration images of the dataset at most (None: all that there are)."""
        images = inputs.with_images(dataset) if model.preprocess else None
        if images is None:
            few = min(n or inputs.SYNTHETIC, inputs.SYNTHETIC)
            return cls(model, None, few, method, max_drop=max_drop)
        there = len(images.calibration)
        return cls(model, images, there if n is None else min(n, there), method, (), max_drop)

    @property
    def real(self) -> bool:
        """Whether it is images of the data that the model is for."""
        return self.images is not None

    @property
    def source(self) -> str:
        if self.images:
            return f"{self.images.name} calibration images"
        return "synthetic images" if self.model.preprocess else "random inputs"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images, where they are real ones; without those that could not be read."""
        if self.images is None:
            return ()
        names = (each.name for each in self.images.calibration[: self.n])
        return tuple(name for name in names if name not in self.unreadable)

    @property
    def fingerprint(self) -> str:
        """Of the inputs; not of what is made of them."""
        seen = self.images.fingerprint if self.images else None
        key = [self.source, seen, self.n, msgspec.to_builtins(self.model.preprocess)]
        return hashlib.sha256(msgspec.json.encode(key)).hexdigest()

    @property
    def scored_by(self) -> list[Any]:
        """What `score` hangs on, beside the inputs."""
        model, classes = self.model, self.images.classes if self.images else ()
        return [model.task, model.labels, msgspec.to_builtins(model.output), classes]

    def feeds(self) -> Iterator[Feed]:
        """One image a feed, batch 1."""

        def left_out(sample: Sample, error: StageError) -> None:
            self.unreadable[sample.name] = str(error)

        return inputs.feeds(self.model, self.images, self.n, left_out)

    def score(self, outputs: Mapping[int, Sequence[Array]]) -> float:
        """The model's metric over some of these images, in percent. They are not the ones that
        accuracy is reported on."""
        how, known = self._labelled
        predictions, truths = [], []
        for i, answer in outputs.items():
            truth, size = known[i]
            predictions += how.predictions(answer, [size])
            truths.append(truth)
        return float(how.score(how.table(predictions, truths))[how.metrics[0]])

    @cached_property
    def _labelled(self) -> tuple[Any, list[tuple[Any, tuple[int, int]]]]:
        """A scorer, and the truth and the size of each image that can be read."""
        model, images = self.model, self.images
        unknown = model.output is None or model.task is None
        if images is None or unknown or images.calibration[0].truth is None:
            raise StageError(
                "no-labels",
                f"{self.method} measures accuracy while it quantizes, and the images that it "
                "calibrates on have no labels: leave out --calib, give --data",
            )
        assert model.preprocess is not None
        seen = inputs.readable(images, model.preprocess, self.n)
        known = [(each.truth, image.size) for each, image in seen]
        return figures.scorer(model, images), known
