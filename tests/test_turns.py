"""Two processes that take turns; here two threads, on real pipes."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from bench import load, pairs
from bench.messages import Turns
from bench.records import Load
from bench.stages import turns

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_SECONDS = 20.0


def spell(
    seconds: float,
    blocks: tuple[Callable[[], list[int]], Callable[[], list[int]]],
    first: int = 0,
    uncounted: int = 0,
) -> list[list[tuple[int, ...]]]:
    """What both have taken, of a spell that one of them begins."""
    told = [Turns(seconds, 0.0, i == first, uncounted) for i in (0, 1)]
    with pairs._pipes() as ends, ThreadPoolExecutor(2) as threads:
        taking: list[Future[list[tuple[int, ...]]]] = [
            threads.submit(turns.take, asked, ends[i], blocks[i]) for i, asked in enumerate(told)
        ]
        return [each.result(WAIT_SECONDS) for each in taking]


@pytest.mark.parametrize("uncounted", [0, 1])
@pytest.mark.parametrize("first", [0, 1])
def test_they_work_one_after_the_other(first: int, uncounted: int) -> None:
    order: list[int] = []

    def block(i: int) -> Callable[[], list[int]]:
        def work() -> list[int]:
            order.append(i)
            return [len(order)]

        return work

    taken = spell(0.0, (block(0), block(1)), first, uncounted)
    assert order == [first, 1 - first] * (uncounted + turns.LEAST_TURNS)
    assert list(map(len, taken)) == [turns.LEAST_TURNS] * 2
    begun = 2 * uncounted + 1
    assert [ns for (ns,) in taken[first]] == list(range(begun, len(order), 2))


@pytest.mark.parametrize("first", [0, 1])
def test_a_spell_lasts_as_long_as_it_is_asked_for(first: int) -> None:
    taken = spell(0.05, (lambda: [1], lambda: [2]), first)
    assert len(taken[0]) == len(taken[1]) > turns.LEAST_TURNS
    assert set(taken[0]) == {(1,)}
    assert set(taken[1]) == {(2,)}


@pytest.mark.parametrize("first", [0, 1])
def test_whoever_is_left_does_not_wait_for_one_that_is_gone(first: int) -> None:
    """Its pipes close with it: the kernel says so to the other one."""
    (read_a, write_b), (read_b, write_a) = os.pipe(), os.pipe()
    ends = (read_a, write_a), (read_b, write_b)

    def fails() -> list[int]:
        for end in ends[1]:
            os.close(end)
        raise MemoryError

    with ThreadPoolExecutor(2) as threads:
        left = threads.submit(turns.take, Turns(9.0, 0.0, first == 0), ends[0], lambda: [1])
        gone = threads.submit(turns.take, Turns(9.0, 0.0, first == 1), ends[1], fails)
        assert isinstance(gone.exception(WAIT_SECONDS), MemoryError)
        assert len(left.result(WAIT_SECONDS)) <= 1
    for end in ends[0]:
        os.close(end)


def test_what_the_two_used_is_no_strangers() -> None:
    """Both are watched all the time: each sees the other's work, and the core that it lost to the
    one that it woke."""
    one = Load(10**9, 4 * 10**8, 7 * 10**8, 0, 30, 2)
    other = Load(10**9, 5 * 10**8, 6 * 10**8, 0, 12, 2)
    found = load.of_two(one, other)
    assert [each.other_cpu_ns for each in found] == [2 * 10**8, 2 * 10**8]
    assert [each.own_cpu_ns for each in found] == [4 * 10**8, 5 * 10**8]
    assert [each.switches for each in found] == [0, 0], "to each other, as far as one can tell"
    assert [each.throttled for each in found] == [2, None], "once, not by each of them"
    unseen = load.of_two(Load(1, 1, None, None, 0, None), other)[0]
    assert unseen.other_cpu_ns is None
