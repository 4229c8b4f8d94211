"""The check of an artifact against the network that it was built from."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.cache import artifact
from bench.check import check
from bench.errors import StageError
from bench.records import Target
from exporters.onnx_file import OnnxFile
from runners.ort import OrtRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TARGET = Target("x", "cpu", "ort", "fp32")
FEEDS: list[Any] = [
    {"input": np.random.default_rng(i).standard_normal((1, 3, 16, 16)).astype(np.float32)}
    for i in range(3)
]


class OneThreadOff(OrtRunner):
    """A runtime that computes rightly on two threads, and not on one."""

    @contextmanager
    def open(self, *built: Any, **how: Any) -> Iterator[Any]:
        with super().open(*built, **how) as [session]:
            if how["threads"] == 1:
                right = session.fetch
                session.fetch = lambda: [-output for output in right()]  # type: ignore[method-assign]
            yield [session]


class Silent:
    def at(self, stage: str) -> None: ...


def checked(tiny_onnx: Path, threads: int) -> Any:
    made = artifact(tiny_onnx, form="onnx", made_by="test", build_s=0.0)
    model = OnnxFile().describe(str(tiny_onnx), "pretrained")
    silent: Any = Silent()
    return check(made, made, model, OneThreadOff(), TARGET, FEEDS, threads, silent)


def test_it_is_checked_on_the_threads_that_it_is_timed_on(tiny_onnx: Path) -> None:
    assert checked(tiny_onnx, 2).cosine == pytest.approx(1)
    with pytest.raises(StageError, match="no longer computes what the model computes"):
        checked(tiny_onnx, 1)
