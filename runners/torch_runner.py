"""PyTorch itself, on an NVIDIA GPU or on the CPU: fp32, tf32, fp16, bf16.

It reads torch programs (`torch.export`), not ONNX files, and runs them as option `mode` says:

    mode            eager (default): one kernel after the other, as the program has them
                    compile: torch.compile, for the one shape that is timed
                    graph: eager, captured once as a CUDA graph and replayed
    channels_last   true: images and weights as NHWC, which convolutions on tensor cores prefer

Weights and inputs are cast as a whole to fp16 or bf16; inputs and outputs of the session stay
float32, and `stage` and `fetch` cast. fp32 is fp32: TF32 is off in matrix products and convolutions
unless the target says tf32.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.errors import StageError, UsageError, first_line
from bench.machine import observe
from bench.records import TensorSpec
from runners import torch_graph

if TYPE_CHECKING:
    from pathlib import Path

    from bench.contracts import Array, Calibration, Feed
    from bench.records import Artifact, Option, Precision, Target

_MODES = ("eager", "compile", "graph")
_OPTIONS = ("mode", "channels_last")
#: Instructions without which a CPU computes bf16 by way of fp32.
_CPU_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
#: The first compute capabilities with the arithmetic itself.
_NEEDS = {"tf32": (8, 0), "bf16": (8, 0), "fp16": (5, 3)}
_OOM = "the GPU's memory does not hold the network: free it, or take a smaller --batch"
#: Before a CUDA graph is captured: cuDNN chooses its kernels, and allocates, in the first calls.
_WARM_UPS = 3


class TorchRunner:
    """The artifact is the program as it was exported; it is cast and compiled when opened."""

    precisions: tuple[Precision, ...] = ("fp32", "tf32", "fp16", "bf16")
    packages: tuple[str, ...] = ("torch", "triton")
    reads = "torch"

    def probe(self, target: Target) -> str | None:
        _check_options(target)
        try:
            import torch
        except ImportError as error:
            return f"torch cannot be imported ({error}): pip install 'frontier-bench[zoo]'"
        if target.device != "gpu":
            return _cpu_problem(target)
        if torch.version.cuda is None:
            return "this torch was built without CUDA: install the CUDA build (pytorch.org)"
        if not torch.cuda.is_available():
            return (
                "torch finds no NVIDIA GPU here, or a driver too old for its CUDA "
                f"{torch.version.cuda}: see `nvidia-smi`"
            )
        have, need = torch.cuda.get_device_capability(), _NEEDS.get(target.precision, (0, 0))
        if have < need:
            return (
                f"{torch.cuda.get_device_name()} has compute capability {have[0]}.{have[1]} and no "
                f"{target.precision} arithmetic, which began with {need[0]}.{need[1]}"
            )
        return None

    def build(self, onnx: Artifact, target: Target, calibration: Calibration, to: Path) -> Artifact:
        """Nothing to do ahead of time: a compiled program belongs to one shape and one process. The
        canary, which comes as ONNX, is written as a program here."""
        if onnx.format == "torch-program":
            return onnx
        return torch_graph.convert(onnx, to)

    @contextmanager
    def open(
        self, built: Artifact, target: Target, *, batch: int, threads: int, streams: int = 1
    ) -> Iterator[list[TorchSession]]:
        """A session a stream; on a GPU each has a CUDA stream of its own."""
        if not built.details.get("dynamic_batch", True) and batch != 1:
            raise StageError(
                "fixed-batch", f"the model is fixed at batch 1, and batch {batch} is asked"
            )
        # Workers that compile in the background would still be there when it is timed.
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        import torch

        _set_up(torch, target, threads)
        with warnings.catch_warnings(), torch.inference_mode(), _sentences(target):
            warnings.simplefilter("ignore")
            program = _load(torch, built)
            sessions = [
                TorchSession(torch, program, built, target, batch, threads) for _ in range(streams)
            ]
        yield sessions


class TorchSession:
    """One copy of the network, ready on its device for one batch size."""

    def __init__(
        self, torch: Any, program: Any, built: Artifact, target: Target, batch: int, threads: int
    ) -> None:
        self._torch, self._target, self._threads = torch, target, threads
        self._gpu = target.device == "gpu"
        self._device = torch.device("cuda" if self._gpu else "cpu")
        self._mode = str(target.options.get("mode", "eager"))
        half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(target.precision)
        layout = torch.channels_last if target.options.get("channels_last") else None
        self.inputs: Sequence[TensorSpec] = _specs(program, built, batch)
        module = program.module().to(self._device)
        if half is not None:
            module = module.to(half)
        if layout is not None:
            module = module.to(memory_format=layout)
        self._weights = str(half or torch.float32).removeprefix("torch.")
        self._held: list[Any] = []  # the inputs on the device, at fixed addresses
        self._pinned: list[Any] = []  # what they are copied from
        for spec in self.inputs:
            shape = tuple(size or 1 for size in spec.shape)
            host = torch.zeros(shape, dtype=getattr(torch, spec.dtype))
            self._pinned.append(host.pin_memory() if self._gpu else host)
            kind = half if half is not None and host.dtype.is_floating_point else host.dtype
            device = torch.zeros(shape, dtype=kind, device=self._device)
            fits = layout is not None and device.dim() == 4
            self._held.append(device.contiguous(memory_format=layout) if fits else device)
        self._order = {spec.name: i for i, spec in enumerate(self.inputs)}
        self._stream = torch.cuda.Stream() if self._gpu else None
        self._outputs: Any = None
        if self._gpu:  # weights and inputs were brought on another stream than they are used on
            torch.cuda.synchronize()
        self._call = torch.compile(module, dynamic=False) if self._mode == "compile" else module
        if self._mode == "compile":
            self._run()  # compiling is loading
        self._replay = self._captured() if self._mode == "graph" else None

    def stage(self, feed: Feed) -> None:
        self._take_stream()
        with self._torch.inference_mode():
            for name, values in feed.items():
                i = self._order[name]
                self._pinned[i].copy_(self._torch.from_numpy(_writable(values)))
                self._held[i].copy_(self._pinned[i], non_blocking=True)
        self._wait()

    def step(self) -> None:
        if self._replay is None:
            self._run()
            return
        self._take_stream()
        self._replay()
        self._wait()

    def fetch(self) -> Sequence[Array]:
        from torch.utils._pytree import tree_leaves

        tensors = [leaf for leaf in tree_leaves(self._outputs) if self._torch.is_tensor(leaf)]
        self._take_stream()
        with self._torch.inference_mode():
            on_host = [tensor.to("cpu") for tensor in tensors]
        self._wait()
        return [_float32(tensor).numpy() for tensor in on_host]

    def flags(self) -> Mapping[str, Option]:
        torch = self._torch
        found: dict[str, Option] = {
            "threads": self._threads,
            "mode": self._mode,
            "weights": self._weights,
            "channels_last": bool(self._target.options.get("channels_last")),
        }
        if self._gpu:
            found |= {
                "tf32_matmul": bool(torch.backends.cuda.matmul.allow_tf32),
                "tf32_conv": bool(torch.backends.cudnn.allow_tf32),
                "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
                "cuda": str(torch.version.cuda),
                "cuda_graph": self._mode == "graph",
                "gpu_uuid": str(torch.cuda.get_device_properties(0).uuid),
            }
        return found

    def _run(self) -> None:
        self._take_stream()
        try:
            with self._torch.inference_mode():
                self._outputs = self._call(*self._held)
            self._wait()
        except self._torch.OutOfMemoryError as error:
            raise StageError("oom", _OOM) from error
        except RuntimeError as error:  # a constant of another precision, an op without this one
            precision, reason = self._target.precision, first_line(error)[:300]
            raise StageError(
                "not-runnable", f"torch cannot run the program as {precision}: {reason}"
            ) from error

    def _captured(self) -> Any:
        torch = self._torch
        for _ in range(_WARM_UPS):
            self._run()
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph, stream=self._stream):
            self._outputs = self._call(*self._held)
        return graph.replay

    def _take_stream(self) -> None:
        """Make the session's stream the current one of this thread, and leave it so: whoever uses
        another takes that. Giving it back each time (`torch.cuda.stream`) took some 10 us of every
        step, 6 % of a network of 0.15 ms on an H100."""
        if self._stream is not None:
            self._torch.cuda.set_stream(self._stream)

    def _wait(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()


def _check_options(target: Target) -> None:
    for key in target.options:
        if key not in _OPTIONS:
            raise UsageError(
                f"the torch runner has no option {key!r}: it has {', '.join(_OPTIONS)}"
            )
    mode = target.options.get("mode", "eager")
    if mode not in _MODES:
        raise UsageError(f"mode={mode}: the torch runner's modes are {', '.join(_MODES)}")
    if mode == "graph" and target.device != "gpu":
        raise UsageError(f"mode=graph is a CUDA graph, and target {target.name} is for the CPU")
    if not isinstance(target.options.get("channels_last", False), bool):
        raise UsageError("channels_last is true or false")


def _cpu_problem(target: Target) -> str | None:
    if target.precision in ("tf32", "fp16"):
        return f"{target.precision} is for GPUs: on the CPU the torch runner does fp32 and bf16"
    if target.precision == "bf16" and not observe().flags & _CPU_BF16:
        return (
            "this CPU has no bf16 instructions (avx512_bf16, amx_bf16), so torch would go by way "
            "of fp32: use cpu-torch-fp32"
        )
    return None


def _set_up(torch: Any, target: Target, threads: int) -> None:
    """The switches of the whole process."""
    torch.set_num_threads(threads)
    backends, tf32 = torch.backends, target.precision == "tf32"
    # The older switches: the newer ones (fp32_precision) make torch's own code that still asks the
    # older refuse to go on (torch 2.14, in torch.export).
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    backends.cuda.matmul.allow_tf32 = tf32
    backends.cudnn.allow_tf32 = tf32
    backends.cudnn.benchmark = True  # one shape, over and over


def _load(torch: Any, built: Artifact) -> Any:
    from importlib import import_module

    for library in filter(None, str(built.details.get("libraries", "")).split(",")):
        import_module(library)  # registers its operators
    return torch.export.load(built.path)


def _specs(program: Any, built: Artifact, batch: int) -> list[TensorSpec]:
    """The inputs in the order of the program's arguments, by the names that feeds have."""
    names = str(built.details["inputs"]).split(",")
    given, _ = program.example_inputs
    return [
        TensorSpec(name, (batch, *tensor.shape[1:]), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in zip(names, given, strict=True)
    ]


@contextmanager
def _sentences(target: Target) -> Iterator[None]:
    """What torch raises while it loads and compiles, in one sentence."""
    import torch

    try:
        yield
    except StageError:
        raise
    except torch.OutOfMemoryError as error:
        raise StageError("oom", _OOM) from error
    except Exception as error:  # inductor, triton and the C++ compiler have no common one
        mode = target.options.get("mode", "eager")
        raise StageError(
            "not-compilable" if mode == "compile" else "not-loadable",
            f"torch cannot run the program as {target.precision}, mode={mode}: "
            f"{type(error).__name__}: {first_line(error)[:300]}",
        ) from error


def _writable(values: Array) -> Array:
    """torch warns of arrays that it could write to and must not; it only reads these."""
    return values if values.flags.writeable else values.copy()


def _float32(tensor: Any) -> Any:
    """numpy knows no bf16, and outputs are compared as float32."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor
