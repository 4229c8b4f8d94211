"""A GPU through pycuda: its context, pinned host memory and device memory, a stream, events; and
what pycuda does not have, by calls of the driver itself: a captured graph, and the GPU's UUID."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from bench.errors import BenchError, StageError, Unavailable, first_line

if TYPE_CHECKING:
    from bench.contracts import Array


def driver() -> Any:
    """`pycuda.driver`. Raises Unavailable with the remedy when it or the driver is absent."""
    try:
        import pycuda.driver as cuda
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"pycuda cannot be imported ({error}): pip install pycuda (it is compiled, and needs "
            "the CUDA toolkit's nvcc and headers)"
        ) from error
    except ImportError as error:  # its library asks for libcuda.so.1, which comes with the driver
        if "libcuda.so" in str(error):
            raise Unavailable(
                f"there is no NVIDIA driver here ({first_line(error)}): install it; in a "
                "container, start that with --gpus all (--runtime nvidia on a Jetson)"
            ) from error
        raise Unavailable(
            f"pycuda cannot be loaded ({first_line(error)}): it was compiled for another CUDA or "
            "numpy than is here: pip install --no-cache-dir --force-reinstall --no-deps pycuda"
        ) from error
    return cuda


class Gpu:
    """The first visible GPU, with its primary context, which all that is opened in this process
    shares: work of two contexts would take turns.

    CUDA's calls act on the context that is current in their thread: that of the thread which opened
    it here; other threads borrow it. (pycuda ends the process when a thread ends that has not given
    its context back.)
    """

    def __init__(self) -> None:
        self._cuda = driver()
        try:
            self._cuda.init()
            device = self._cuda.Device(0)
            self._context = device.retain_primary_context()
            self._context.push()
        except self._cuda.Error as error:
            raise _translated(error, "be opened") from error
        self.home = threading.get_ident()
        self.name = str(device.name())
        self.capability = ".".join(map(str, device.compute_capability()))
        self.driver = self._cuda.get_driver_version()

    @property
    def title(self) -> str:
        """What an engine is built for."""
        return f"{self.name}, compute capability {self.capability}"

    @property
    def uuid(self) -> str | None:
        """As NVML calls it: that of the whole GPU, where this is a part of one (MIG)."""
        library, device, found = libcuda(), ctypes.c_int(), (ctypes.c_ubyte * 16)()
        if library.cuDeviceGet(ctypes.byref(device), ctypes.c_int(0)):
            return None
        if library.cuDeviceGetUuid(found, device):
            return None
        return f"GPU-{UUID(bytes=bytes(found))}"

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Make the context current in another thread for a while."""
        if threading.get_ident() == self.home:
            yield
            return
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def close(self) -> None:
        with suppress(self._cuda.Error):
            self._context.pop()
            self._context.detach()

    def stream(self) -> Any:
        return self._cuda.Stream()

    def event(self, *, blocking: bool = False) -> Any:
        """A point on a stream; with `blocking`, who waits for it sleeps."""
        flags = self._cuda.event_flags
        return self._cuda.Event(flags.BLOCKING_SYNC if blocking else flags.DEFAULT)

    def buffer(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        """Memory for one tensor. Raises StageError "oom" with how much is left."""
        size = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        try:
            return Buffer(self._cuda, shape, dtype, size)
        except self._cuda.Error as error:
            raise _translated(error, f"give {size / 1e6:.0f} MB", self._cuda) from error


class Buffer:
    """One tensor twice: pinned on the host, which the GPU copies to and from by itself, and on the
    GPU."""

    def __init__(self, cuda: Any, shape: tuple[int, ...], dtype: Any, size: int) -> None:
        self._cuda = cuda
        self.host: Array = cuda.pagelocked_empty(shape, dtype)
        self._memory = cuda.mem_alloc(size)
        self.address = int(self._memory)

    def upload(self, stream: Any) -> None:
        self._cuda.memcpy_htod_async(self._memory, self.host, stream)

    def download(self, stream: Any) -> None:
        self._cuda.memcpy_dtoh_async(self.host, self._memory, stream)


class Graph:
    """What one call put on a stream, as one launch."""

    #: So that allocations that other threads make do not end the capture.
    _THREAD_LOCAL = 1

    def __init__(self, stream: Any, work: Callable[[], None]) -> None:
        self._call = _Driver()
        self._stream = ctypes.c_void_p(int(stream.handle))
        graph, self._exec = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, ctypes.c_int(self._THREAD_LOCAL))
        try:
            work()
        finally:
            self._call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        self._call(
            "cuGraphInstantiateWithFlags", ctypes.byref(self._exec), graph, ctypes.c_ulonglong(0)
        )
        self._call("cuGraphDestroy", graph)

    def launch(self) -> None:
        self._call("cuGraphLaunch", self._exec, self._stream)

    def close(self) -> None:
        with suppress(BenchError):
            self._call("cuGraphExecDestroy", self._exec)


def libcuda() -> Any:
    """The driver's own library."""
    return ctypes.CDLL("libcuda.so.1")


class _Driver:
    """Calls of the driver; a status that is not 0 is an error."""

    def __init__(self) -> None:
        self._library = libcuda()

    def __call__(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise StageError(
                "cuda-graph",
                f"the network cannot be captured as a CUDA graph ({name} returned {status}): run "
                "it with -o cuda_graph=false",
            )


def _translated(error: Exception, what: str, cuda: Any = None) -> BenchError:
    said = first_line(error)
    if "out of memory" in said.lower():
        if "cuMemHostAlloc" in said:
            return StageError(
                "oom",
                "the host cannot give the GPU so much pinned memory: end what else runs, or take "
                f"a smaller batch ({said})",
            )
        left = ""
        if cuda is not None:
            with suppress(cuda.Error):
                left = f", {cuda.mem_get_info()[0] / 1e6:.0f} MB are left"
        return StageError(
            "oom",
            f"not enough GPU memory{left}: end what else uses the GPU, or take a smaller batch "
            f"({said})",
        )
    if "insufficient" in said or "driver combination" in said:
        return Unavailable(f"the NVIDIA driver is too old for this CUDA: update it ({said})")
    if "no CUDA-capable device" in said or "no device" in said:
        return Unavailable(
            f"no GPU is visible here: look at nvidia-smi and CUDA_VISIBLE_DEVICES ({said})"
        )
    return StageError("cuda", f"the GPU cannot {what}: {said}")
