"""How the two processes of a comparison are started, and that none is left."""

from __future__ import annotations

import errno
import gc
import os
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bench import comparison, pairs, sides
from bench.cache import Cache
from bench.launch import ChildError
from bench.messages import Finish, Observed, Turned, Turns, Warmed, WarmUp
from bench.stages.turns import LEAST_TURNS
from bench.store import Store
from bench.targets import select
from bench.timing import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.sides import Side

linux = pytest.mark.skipif(sys.platform != "linux", reason="twins are for Linux")


@pytest.fixture
def side(tiny_onnx: Path, tmp_path: Path) -> Callable[..., Side]:
    def made(target: str = "cpu-ort-fp32", python: str | None = None) -> Side:
        asked = sides.parse(
            str(tiny_onnx),
            target=target,
            weights="pretrained",
            options={},
            procedure=replace(comparison.PROCEDURE, threads=1),
            store=Store(":memory:"),
            cache=Cache(tmp_path),
        )
        asked = replace(asked, python=python)
        return sides.prepare(asked, tmp_path, Deadline.after(60), anyway=False)

    return made


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def descriptors() -> int:
    """That are open, and not merely by what earlier tests have left to be collected."""
    gc.collect()
    return len(list(Path("/dev/fd").iterdir()))


def patience(_: int) -> Deadline:
    return Deadline.after(60)


@linux
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_twins_come_from_one_process_and_measure(
    side: Callable[..., Side], order: list[int]
) -> None:
    one = side()
    with pairs.started(one, one, order, patience) as children:
        pids = [children[i].pid for i in (0, 1)]
        (maker,) = {parent(pid) for pid in pids}
        assert maker != os.getpid()
        for i in (0, 1):
            children[i].ask(WarmUp(), Warmed, patience(i))
        for first in (0, 1, 1):
            for i in (0, 1):
                children[i].tell(Turns(0.01, 0.0, i == first, 1))
            taken = [children[i].answer(Turned, patience(i)).blocks_ns for i in (0, 1)]
            assert len(taken[0]) == len(taken[1]) >= LEAST_TURNS
            assert all(ns > 0 for blocks in taken for (ns,) in blocks)
        for i in (0, 1):
            found = children[i].ask(Finish(), Observed, patience(i))
            assert found.load.wall_ns >= 2 * 10**7, "watched, though not to the very beginning"
    assert not any(map(alive, [maker, *pids]))


def test_strangers_have_nothing_in_common(side: Callable[..., Side]) -> None:
    a, b = side("null-fp32"), side("null-int8")
    assert not pairs.alike(a, b)
    with pairs.started(a, b, [0, 1], patience) as children:
        pids = [children[i].pid for i in (0, 1)]
        if sys.platform == "linux":
            assert {parent(pid) for pid in pids} == {os.getpid()}
    assert not any(map(alive, pids))


@linux
def test_a_twin_that_is_killed_is_told_of(side: Callable[..., Side]) -> None:
    one = side()
    with pairs.started(one, one, [0, 1], patience) as children:
        os.kill(children[1].pid, 9)
        with pytest.raises(ChildError, match="killed by SIGKILL"):
            children[1].ask(WarmUp(), Warmed, patience(1))
        children[0].ask(WarmUp(), Warmed, patience(0))
        children[0].tell(Turns(9.0, 0.0, first=True))
        taken = children[0].answer(Turned, Deadline.after(20)).blocks_ns
        assert len(taken) == 1, "its own, and it does not wait for the other's"


@linux
def test_a_comparison_whose_twin_dies_has_no_number(
    side: Callable[..., Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, real = side(), pairs.started

    @contextmanager
    def doomed(*asked: Any) -> Iterator[dict[int, Any]]:
        with real(*asked) as children:
            tell = children[0].tell

            def kill_it_then_tell(command: Any) -> None:
                if isinstance(command, Turns):
                    os.kill(children[1].pid, 9)
                tell(command)

            monkeypatch.setattr(children[0], "tell", kill_it_then_tell)
            yield children

    monkeypatch.setattr(pairs, "started", doomed)
    found = comparison.compare(one, one, comparison.Rules(max_seconds=20.0))
    assert found.verdict == "UNSURE"
    (said,) = comparison.reasons(found)
    assert said.startswith("a process failed at time: the process was killed by SIGKILL")


@linux
def test_twins_do_not_outlive_the_one_that_made_them(side: Callable[..., Side]) -> None:
    one = side()
    with pairs.started(one, one, [0, 1], patience) as children:
        pids = [children[i].pid for i in (0, 1)]
        (maker,) = {parent(pid) for pid in pids}
        assert maker != os.getpid()
        os.kill(maker, 9)
        for i in (0, 1):
            with pytest.raises(ChildError, match="killed by SIGKILL"):
                children[i].ask(WarmUp(), Warmed, Deadline.after(20))
    dying = Deadline.after(20)  # they are no children of ours, to be waited for
    while any(map(alive, pids)) and dying.left():
        time.sleep(0.01)
    assert not any(map(alive, pids))


def test_what_the_maker_cannot_do_is_said(side: Callable[..., Side]) -> None:
    """As it is where each side imports for itself; and nothing stays open."""
    one = side()
    target = replace(one.job.target, options={"nonsense": 1})
    broken = replace(one, asked=replace(one.asked, job=replace(one.job, target=target)))
    before = descriptors()
    for _ in range(3):
        with (
            pytest.raises(ChildError, match="no option 'nonsense'") as failed,
            pairs.started(broken, broken, [0, 1], patience),
        ):
            pass
        assert failed.value.exit_status == 2
        del failed
    assert descriptors() == before


@linux
def test_pairs_leave_nothing_open(side: Callable[..., Side]) -> None:
    one, other = side(), side("null-fp32")
    before = descriptors()
    for sides_ in ((one, one), (one, other)):
        with pairs.started(*sides_, [1, 0], patience):
            assert descriptors() > before
        assert descriptors() == before


def test_no_descriptor_left_is_a_failure_of_the_comparison(
    side: Callable[..., Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    one = side()
    monkeypatch.setattr(os, "pipe", none_left)
    found = comparison.compare(one, one, comparison.Rules())
    (said,) = comparison.reasons(found)
    assert "cannot be started: Too many open files" in said


@linux
@pytest.mark.slow
@pytest.mark.parametrize("target", ["cpu-openvino-fp32", "cpu-openvino-int8", "cpu-torch-fp32"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_every_runtime_survives_the_fork(bench: Any, target: str, threads: str) -> None:
    side = f"builtin:digits-lenet@{target}"
    ran = bench("compare", side, side, "--threads", threads, "--max-seconds", "1", "--json")
    assert ran.status == 6, ran.err
    assert ran.json["ratio"] == pytest.approx(1, abs=0.3)


def test_only_what_runs_alike_on_a_cpu_is_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")

    def made(target: str, python: str | None = None) -> Any:
        (on,) = select([target], {})
        return SimpleNamespace(job=SimpleNamespace(target=on), asked=SimpleNamespace(python=python))

    ort, openvino, gpu = map(made, ("cpu-ort-fp32", "cpu-openvino-fp32", "cuda-torch-fp16"))
    assert pairs.alike(ort, made("cpu-ort-fp32"))
    assert not pairs.alike(ort, openvino)
    assert not pairs.alike(gpu, gpu)
    assert not pairs.alike(ort, made("cpu-ort-fp32", "/new/bin/python"))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not pairs.alike(ort, ort)
