"""The part of pycuda.driver, and of the driver itself, that `runners/cuda_device.py` calls, without
a GPU: a stand-in that does what the documents say and nothing more.

Work on a stream is done when somebody waits for it, so whoever forgets to wait gets stale numbers.
Every call needs a context that is current in its thread, as on a GPU. `tests/test_trt_seam.py`
holds the names and arguments to pycuda's own, where that is installed.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np


class Error(Exception):
    pass


class LogicError(Error):
    pass


class MemoryError(Error):
    pass


class RuntimeError(Error):
    pass


class Faults:
    """What goes wrong: `init` is raised by init(); `bytes_free` is all the memory there is on the
    GPU, `bytes_pinned` what the host can pin."""

    def __init__(self) -> None:
        self.init: Error | None = None
        self.bytes_free = 1 << 40
        self.bytes_pinned = 1 << 40


class Device:
    NAME, CAPABILITY = "Tesla T4", (7, 5)

    def __init__(self, number: int) -> None:
        assert number == 0

    def name(self) -> str:
        return self.NAME

    def compute_capability(self) -> tuple[int, int]:
        return self.CAPABILITY

    def retain_primary_context(self) -> Context:
        return Context()


class Context:
    _stacks = threading.local()

    def push(self) -> None:
        self.stack().append(self)

    @classmethod
    def pop(cls) -> None:
        if not cls.stack():
            raise LogicError("context::pop failed: invalid device context")
        cls.stack().pop()

    def detach(self) -> None:
        pass

    @classmethod
    def stack(cls) -> list[Context]:
        if not hasattr(cls._stacks, "own"):
            cls._stacks.own = []
        found: list[Context] = cls._stacks.own
        return found


def _needs_context(name: str) -> None:
    if not Context.stack():
        raise LogicError(f"{name} failed: invalid device context")


class Stream:
    _handles = itertools.count(1000)
    by_handle: dict[int, Stream] = {}  # noqa: RUF012

    def __init__(self, flags: int = 0) -> None:
        _needs_context("cuStreamCreate")
        self.handle = next(self._handles)
        self.by_handle[self.handle] = self
        self.queue: list[Callable[[], None]] = []
        self.captured: list[Callable[[], None]] | None = None

    def put(self, work: Callable[[], None]) -> None:
        (self.queue if self.captured is None else self.captured).append(work)

    def synchronize(self) -> None:
        _needs_context("cuStreamSynchronize")
        if self.captured is not None:
            raise LogicError("cuStreamSynchronize failed: operation not permitted when capturing")
        while self.queue:
            self.queue.pop(0)()


class Event:
    def __init__(self, flags: int = 0) -> None:
        _needs_context("cuEventCreate")
        self.flags = flags
        self._stream: Stream | None = None

    def record(self, stream: Stream | None = None) -> None:
        _needs_context("cuEventRecord")
        self._stream = stream

    def synchronize(self) -> None:
        assert self._stream is not None, "the event was not recorded"
        self._stream.synchronize()

    def time_till(self, other: Event) -> float:
        return 0.5


class DeviceAllocation:
    _addresses = itertools.count(1 << 20, 1 << 20)
    memory: dict[int, np.ndarray[Any, Any]] = {}  # noqa: RUF012

    def __init__(self, size: int) -> None:
        self._address = next(self._addresses)
        self.memory[self._address] = np.zeros(size, np.uint8)

    def __int__(self) -> int:
        return self._address


def memcpy_htod_async(dest: Any, src: Any, stream: Stream | None = None) -> None:
    _needs_context("cuMemcpyHtoDAsync")
    assert stream is not None
    held, given = DeviceAllocation.memory[int(dest)], src
    stream.put(lambda: held.__setitem__(slice(None), np.ravel(given).view(np.uint8)))


def memcpy_dtoh_async(dest: Any, src: Any, stream: Stream | None = None) -> None:
    _needs_context("cuMemcpyDtoHAsync")
    assert stream is not None
    held, given = dest, DeviceAllocation.memory[int(src)]
    stream.put(lambda: np.copyto(held, given.view(held.dtype).reshape(held.shape)))


def module(faults: Faults) -> types.ModuleType:
    """`pycuda.driver`, with these faults."""
    made = types.ModuleType("pycuda.driver")

    def init(flags: int = 0) -> None:
        if faults.init:
            raise faults.init

    def mem_alloc(size: int) -> DeviceAllocation:
        _needs_context("cuMemAlloc")
        if size > faults.bytes_free:
            raise MemoryError("cuMemAlloc failed: out of memory")
        faults.bytes_free -= size
        return DeviceAllocation(size)

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        _needs_context("cuMemHostAlloc")
        if np.empty(shape, dtype).nbytes > faults.bytes_pinned:
            raise MemoryError("cuMemHostAlloc failed: out of memory")
        return np.empty(shape, dtype)

    members = [Error, LogicError, MemoryError, RuntimeError, Device, Context, Stream, Event]
    for each in (*members, memcpy_htod_async, memcpy_dtoh_async, pagelocked_empty, init, mem_alloc):
        setattr(made, each.__name__, each)
    made.mem_get_info = lambda: (faults.bytes_free, 1 << 40)  # type: ignore[attr-defined]
    made.get_driver_version = lambda: 13000  # type: ignore[attr-defined]
    flags = types.SimpleNamespace(DEFAULT=0, BLOCKING_SYNC=1, DISABLE_TIMING=2)
    made.event_flags = flags  # type: ignore[attr-defined]
    return made


class Libcuda:
    """The calls of the driver that a CUDA graph and a UUID take; all answer a status, 0 for
    success."""

    UUID = bytes(range(16))

    def __init__(self) -> None:
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.status = 0

    def __call__(self) -> Libcuda:
        return self

    def cuDeviceGet(self, device: Any, ordinal: Any) -> int:  # noqa: N802
        _pointed(device).value = ordinal.value
        return self.status

    def cuDeviceGetUuid(self, uuid: Any, device: Any) -> int:  # noqa: N802
        assert device.value == 0
        uuid[:] = self.UUID
        return self.status

    def cuStreamBeginCapture_v2(self, stream: Any, mode: Any) -> int:  # noqa: N802
        Stream.by_handle[stream.value].captured = []
        return self.status

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:  # noqa: N802
        on = Stream.by_handle[stream.value]
        number = len(self.graphs) + 1
        assert on.captured is not None
        self.graphs[number], on.captured = on.captured, None
        _pointed(graph).value = number
        return 0

    def cuGraphInstantiateWithFlags(self, made: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        _pointed(made).value = graph.value
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        return 0

    def cuGraphExecDestroy(self, made: Any) -> int:  # noqa: N802
        return 0

    def cuGraphLaunch(self, made: Any, stream: Any) -> int:  # noqa: N802
        for work in self.graphs[made.value]:
            Stream.by_handle[stream.value].put(work)
        return 0


def _pointed(pointer: Any) -> ctypes.c_void_p:
    """What `ctypes.byref` was made of."""
    found: ctypes.c_void_p = pointer._obj
    return found
