"""The check of an artifact against the network that it was built from."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bench.cache import artifact
from bench.check import check, outputs
from bench.errors import StageError
from bench.records import Model, Output, Target, TensorSpec
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


def checked(tiny_onnx: Path, threads: int, precision: Any = "fp32") -> Any:
    made = artifact(tiny_onnx, form="onnx", made_by="test", build_s=0.0)
    model = OnnxFile().describe(str(tiny_onnx), "pretrained")
    silent: Any = Silent()
    target = replace(TARGET, precision=precision)
    return check(made, made, model, OneThreadOff(), target, FEEDS, threads, silent)


def test_it_is_checked_on_the_threads_that_it_is_timed_on(tiny_onnx: Path) -> None:
    assert checked(tiny_onnx, 2).cosine == pytest.approx(1)
    with pytest.raises(StageError, match="no longer computes what the model computes"):
        checked(tiny_onnx, 1)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_no_precision_excuses_wrong_outputs(tiny_onnx: Path, precision: Any) -> None:
    assert checked(tiny_onnx, 2, precision).cosine == pytest.approx(1)
    with pytest.raises(StageError, match=f"as {precision} no longer computes"):
        checked(tiny_onnx, 1, precision)


class Coarse(OrtRunner):
    """A runtime whose inputs keep some bits only."""

    def __init__(self, bits: int) -> None:
        self._step = 2.0**bits

    @contextmanager
    def open(self, *built: Any, **how: Any) -> Iterator[Any]:
        with super().open(*built, **how) as [session]:
            stage = session.stage

            def rounded(values: Any) -> Any:
                share, power = np.frexp(values)
                return np.ldexp(np.rint(share * self._step) / self._step, power).astype("f")

            session.stage = lambda feed: stage({k: rounded(v) for k, v in feed.items()})  # type: ignore[method-assign]
            yield [session]


@pytest.mark.parametrize(
    ("factor", "bits", "right"), [(1200, 11, True), (1200, 9, False), (50, 6, False)]
)
def test_fp16_is_held_to_the_networks_own_sensitivity(
    tmp_path: Path, factor: int, bits: int, right: bool
) -> None:
    """One that makes much of the last of 11 bits may differ; coarser than fp16 is wrong in it, and
    so it is in one that makes little of them."""
    nodes = [
        helper.make_node("Mul", ["input", "factor"], ["large"]),
        helper.make_node("Sin", ["large"], ["output"]),
    ]
    shape = [1, 3, 16, 16]
    graph = helper.make_graph(
        nodes,
        "waves",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
    path = tmp_path / "waves.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    made = artifact(path, form="onnx", made_by="test", build_s=0.0)
    model = OnnxFile().describe(str(path), "pretrained")
    target, silent = replace(TARGET, precision="fp16"), Silent()
    given: Any = (made, made, model, Coarse(bits), target, FEEDS, 1, silent)
    if right:
        assert 0.95 < check(*given).cosine < 0.99
    else:
        with pytest.raises(StageError, match="as fp16 no longer computes"):
            check(*given)


def boxes_that_say(values: Any) -> Any:
    """A runtime whose boxes, for each feed, are those of the list at the number that it is fed."""

    class Boxes(OrtRunner):
        @contextmanager
        def open(self, *_: Any, **__: Any) -> Iterator[Any]:
            class Session:
                def stage(self, feed: Any) -> None:
                    self.index = int(feed["input"].ravel()[0])

                def step(self) -> None: ...

                def fetch(self) -> Any:
                    return values[self.index]

            yield [Session()]

    return Boxes()


def found_by(seed: int, n: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 500, (n, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 90, (n, 2))], axis=1)
    return [boxes.astype("f"), rng.integers(1, 3, n), rng.uniform(0.3, 0.9, n).astype("f")]


def test_boxes_are_held_against_chance(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [found_by(seed, 20 + seed) for seed in range(4)]
    monkeypatch.setattr("bench.check.plugins.runner", lambda _: boxes_that_say(wanted))
    made = artifact(tiny_onnx, form="onnx", made_by="test", build_s=0.0)
    model = Model(
        "net",
        "test",
        "random",
        "detection",
        (TensorSpec("input", (1, 3, 8, 8), "float32"),),
        labels=("a", "b"),
        output=Output("boxes", label_offset=1),
    )
    feeds: list[Any] = [{"input": np.full((1, 3, 8, 8), i, "f")} for i in range(4)]
    silent: Any = Silent()

    def cosine(found: Any, precision: Any) -> float:
        target = Target("x", "cpu", "ort", precision)
        return check(made, made, model, boxes_that_say(found), target, feeds, 1, silent).cosine

    assert cosine(wanted, "fp32") == pytest.approx(1, abs=1e-6)
    fewer = [[each[: 10 + i] for each in boxes] for i, boxes in enumerate(wanted)]
    assert 0.3 < cosine(fewer, "int8") < 0.9  # half of the boxes is still the same network
    with pytest.raises(StageError, match="no longer computes"):
        cosine(fewer, "fp32")
    with pytest.raises(StageError, match="no longer computes"):
        cosine([wanted[0]] * 4, "int8")  # right for one image, and the same for every other
    with pytest.raises(StageError, match="no longer computes"):
        cosine([each[::1] for each in (*wanted[1:], wanted[0])], "int8")
    alike = [wanted[0]] * 4  # a network that says the same of every image
    monkeypatch.setattr("bench.check.plugins.runner", lambda _: boxes_that_say(alike))
    assert cosine(alike, "fp32") == pytest.approx(1, abs=1e-6)
    with pytest.raises(StageError, match="no longer computes"):
        cosine([wanted[1]] * 4, "fp32")
    lost = [
        [np.full_like(each, np.nan) if i == 2 else each for i, each in enumerate(wanted[0])]
    ] * 4
    monkeypatch.setattr("bench.check.plugins.runner", lambda _: boxes_that_say(lost))
    with pytest.raises(StageError, match="itself gives outputs that are not finite"):
        cosine(lost, "fp32")


def test_outputs_of_another_size_for_each_input(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["input"], ["where"])],
        "found",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("where", TensorProto.INT64, [2, "n"])],
    )
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "found.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    made = artifact(path, form="onnx", made_by="test", build_s=0.0)
    with OrtRunner().open(made, TARGET, batch=1, threads=1) as [session]:
        for n in (3, 5, 0, 8):
            feed = {"input": (np.arange(8) < n).astype("f")[None]}
            [where] = outputs(session, feed)
            assert where.shape == (2, n)
