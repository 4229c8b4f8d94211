"""An engine ready to compute: tensors by name, pinned host memory, one stream."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import StageError
from bench.records import TensorSpec
from runners.cuda_device import Graph
from runners.trt_api import refusal

if TYPE_CHECKING:
    from bench.contracts import Array, Feed
    from bench.records import Artifact, Option
    from runners.cuda_device import Gpu
    from runners.trt_api import Api
    from runners.trt_options import Options

#: Steps that CUDA events time when all measuring is over, for the record.
_EVENT_STEPS = 20
#: How the inspector's "Format/Datatype" names what a layer writes; versions differ in their words.
_WRITTEN = (
    ("int8", re.compile(r"\bint8\b", re.IGNORECASE)),
    ("fp16", re.compile(r"\b(fp16|half)\b", re.IGNORECASE)),
    ("bf16", re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE)),
    ("fp32", re.compile(r"\b(fp32|float)\b", re.IGNORECASE)),
)
_COMPUTE = re.compile(r"conv|gemm|matrix|matmul|fullyconnected", re.IGNORECASE)


def deserialized(api: Api, log: Any, built: Artifact) -> Any:
    """The engine, loaded. Raises the runtime's own reason when it refuses."""
    runtime = api.module.Runtime(log)
    if built.details.get("version_compatible"):
        runtime.engine_host_code_allowed = True  # such engines carry a runtime of their own
    engine = runtime.deserialize_cuda_engine(Path(built.path).read_bytes())
    if engine is None:
        raise refusal(api, log, what="load the engine", kind="not-loadable")
    return engine


class TrtSession:
    """One execution context. `stage` and `fetch` copy through pinned memory and wait for it; `step`
    waits for the stream."""

    def __init__(
        self, api: Api, log: Any, engine: Any, gpu: Gpu, options: Options, batch: int
    ) -> None:
        self._api, self._log, self._engine, self._gpu = api, log, engine, gpu
        self._stream = gpu.stream()
        self._done = gpu.event(blocking=True) if options.blocking_wait else None
        self._context = engine.create_execution_context()
        if self._context is None:
            raise refusal(api, log, what="give the engine its memory", kind="not-loadable")
        modes = {name: engine.get_tensor_mode(name) for name in _names(engine)}
        inputs = [name for name, mode in modes.items() if mode == api.module.TensorIOMode.INPUT]
        self._set_batch(inputs, batch)
        self._shapes = {name: tuple(self._context.get_tensor_shape(name)) for name in modes}
        self._buffers = {}
        for name, shape in self._shapes.items():
            if -1 in shape:
                raise StageError(
                    "free-shape",
                    f"the shape of {name!r} is known only after each run: end the network before "
                    "what selects (non-maximum suppression), as detectors for TensorRT do",
                )
            dtype = api.module.nptype(engine.get_tensor_dtype(name))
            self._buffers[name] = gpu.buffer(shape, dtype)
            self._context.set_tensor_address(name, self._buffers[name].address)
        self._inputs = {name: self._buffers[name] for name in inputs}
        self._outputs = [self._buffers[name] for name in modes if name not in inputs]
        self.inputs: Sequence[TensorSpec] = [
            TensorSpec(name, self._shapes[name], each.host.dtype.name)
            for name, each in self._inputs.items()
        ]
        self._work = self._enqueue
        self._graph = None
        self._options = options
        if options.cuda_graph:
            self._enqueue()  # what is done once only must not be captured
            self._stream.synchronize()
            self._graph = Graph(self._stream, self._enqueue)
            self._work = self._graph.launch

    def stage(self, feed: Feed) -> None:
        with self._gpu.borrowed():
            for name, values in feed.items():
                np.copyto(self._inputs[name].host, values)
                self._inputs[name].upload(self._stream)
            self._stream.synchronize()

    def step(self) -> None:
        if get_ident() == self._gpu.home:
            self._step()
        else:
            with self._gpu.borrowed():
                self._step()

    def fetch(self) -> Sequence[Array]:
        with self._gpu.borrowed():
            for each in self._outputs:
                each.download(self._stream)
            self._stream.synchronize()
        return [each.host for each in self._outputs]

    def flags(self) -> Mapping[str, Option]:
        uuid = self._gpu.uuid
        return {
            "runtime": self._api.title,
            **({"gpu_uuid": uuid} if uuid else {}),
            "cuda_driver": self._gpu.driver,
            "cuda_graph": self._graph is not None,
            "wait": "blocking" if self._done else "auto",
            "profile": str(self._shapes[self.inputs[0].name]),
            # Beside the window, which is the host's: what the GPU's own events say.
            "events_us": self._events_us(),
            "executed": self._executed(),
        }

    def close(self) -> None:
        """Give the memory back before the context ends."""
        if self._graph:
            self._graph.close()
        self._buffers, self._inputs, self._outputs = {}, {}, []
        self._context = self._stream = self._done = None

    def _set_batch(self, inputs: Sequence[str], batch: int) -> None:
        """Pick the profile of that batch size."""
        fixed = self._engine.get_tensor_shape(inputs[0])
        if -1 not in tuple(fixed):
            if tuple(fixed) and fixed[0] != batch:
                raise StageError(
                    "fixed-batch", f"the model is fixed at batch {fixed[0]}, and {batch} is asked"
                )
            return
        built = []
        for profile in range(self._engine.num_optimization_profiles):
            shapes = {name: self._engine.get_tensor_profile_shape(name, profile) for name in inputs}
            built.append(int(shapes[inputs[0]][1][0]))
            if built[-1] == batch:
                self._context.set_optimization_profile_async(profile, self._stream.handle)
                self._stream.synchronize()
                for name, (_, exact, _) in shapes.items():
                    self._context.set_input_shape(name, tuple(exact))
                return
        raise StageError(
            "fixed-batch",
            f"the engine was built for batch {', '.join(map(str, built))}, and {batch} is asked: "
            f"`bench run --batch {batch}` builds it",
        )

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise refusal(self._api, self._log, what="run the engine", kind="not-runnable")

    def _step(self) -> None:
        self._work()
        if self._done is None:
            self._stream.synchronize()
        else:
            self._done.record(self._stream)
            self._done.synchronize()

    def _events_us(self) -> float:
        """The median over a few steps between two events on the stream, in microseconds."""
        taken: list[float] = []
        with self._gpu.borrowed():
            start, end = self._gpu.event(), self._gpu.event()
            for _ in range(_EVENT_STEPS):
                start.record(self._stream)
                self._work()
                end.record(self._stream)
                end.synchronize()
                taken.append(float(start.time_till(end)) * 1e3)
        return round(median(taken), 2)

    def _executed(self) -> str:
        inspector = self._engine.create_engine_inspector()
        told = inspector.get_engine_information(self._api.module.LayerInformationFormat.JSON)
        return " ".join(f"{name}:{n}" for name, n in executed_layers(told).most_common())


def executed_layers(told: str) -> Counter[str]:
    """How many compute layers write which type, as the engine's inspector tells it; empty where it
    tells only their names."""
    found: Counter[str] = Counter()
    try:
        layers = json.loads(told)["Layers"]
    except (ValueError, KeyError, TypeError):
        return found
    for layer in layers:
        if not isinstance(layer, dict) or not _COMPUTE.search(_kind(layer)):
            continue
        written = " ".join(
            str(each.get("Format/Datatype")) for each in layer.get("Outputs", ())[:1]
        )
        found[next((name for name, word in _WRITTEN if word.search(written)), "other")] += 1
    return found


def _kind(layer: Mapping[str, Any]) -> str:
    """What kind of layer it is; kernels are called by what they fused."""
    return " ".join(str(layer.get(key, "")) for key in ("LayerType", "ParameterType", "TacticName"))


def _names(engine: Any) -> list[str]:
    return [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
