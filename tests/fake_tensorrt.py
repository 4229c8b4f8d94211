"""The part of TensorRT's Python API that `runners/trt*.py` call, without a GPU: ONNX Runtime
computes what an engine would.

It has no name that is not used, and `tests/test_trt_seam.py` holds every name and its arguments to
the real bindings. Enumerations and flags that only TensorRT 8 had (`old`) cannot be held to them.
"""

from __future__ import annotations

import json
import types
from enum import IntEnum
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from tests import fake_pycuda

_LAYERS = {
    "Conv": "CONVOLUTION",
    "Gemm": "MATRIX_MULTIPLY",
    "MatMul": "MATRIX_MULTIPLY",
    "DequantizeLinear": "DEQUANTIZE",
}


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class OldNetworkDefinitionCreationFlag(IntEnum):
    EXPLICIT_BATCH = 0


class BuilderFlag(IntEnum):
    TF32 = 7
    VERSION_COMPATIBLE = 20


class OldBuilderFlag(IntEnum):
    FP16 = 0
    INT8 = 1
    TF32 = 7
    VERSION_COMPATIBLE = 20


class OldestBuilderFlag(IntEnum):
    FP16 = 0
    INT8 = 1
    TF32 = 7


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class HardwareCompatibilityLevel(IntEnum):
    NONE = 0
    AMPERE_PLUS = 1


class ProfilingVerbosity(IntEnum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 1


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class LayerInformationFormat(IntEnum):
    ONELINE = 0
    JSON = 1


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2


class LayerType(IntEnum):
    CONVOLUTION = 0
    MATRIX_MULTIPLY = 1
    DEQUANTIZE = 2
    IDENTITY = 3


class ErrorCode(IntEnum):
    INVALID_NODE = 6
    UNSUPPORTED_NODE = 8


def nptype(trt_type: DataType) -> Any:
    return {0: np.float32, 1: np.float16, 2: np.int8}[int(trt_type)]


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class ITensor:
    def __init__(self, name: str, shape: tuple[int, ...] = (), dtype: DataType = DataType.FLOAT):
        self.name, self.shape, self.dtype = name, shape, dtype


class ILayer:
    def __init__(self, node: onnx.NodeProto) -> None:
        self._node = node
        self.num_inputs = len(node.input)
        self.type = LayerType[_LAYERS.get(node.op_type, "IDENTITY")]

    def get_input(self, index: int) -> ITensor:
        return ITensor(self._node.input[index])

    def get_output(self, index: int) -> ITensor:
        return ITensor(self._node.output[index], dtype=DataType.HALF)


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._model = onnx.ModelProto()

    @property
    def num_inputs(self) -> int:
        return len(self._model.graph.input)

    @property
    def num_layers(self) -> int:
        return len(self._model.graph.node)

    def get_input(self, index: int) -> ITensor:
        value = self._model.graph.input[index]
        sizes = value.type.tensor_type.shape.dim
        return ITensor(value.name, tuple(size.dim_value or -1 for size in sizes))

    def get_layer(self, index: int) -> ILayer:
        return ILayer(self._model.graph.node[index])


#: What the parser says of an operator that it has no importer for: a sentence, and what versions of
#: it assert in C++.
_NO_IMPORTER = {
    "Det": 'No importer registered for op: "Det".\nIn importNode',
    "Unique": "false",
    "Compress": 'Assertion failed: creator && "Plugin not found, are the plugin name correct?"',
}


class ParserError:
    def __init__(self, code: ErrorCode, desc: str, node: int = -1, operator: str = "") -> None:
        self._code, self._desc, self._node, self._operator = code, desc, node, operator

    def code(self) -> ErrorCode:
        return self._code

    def desc(self) -> str:
        return self._desc

    def node(self) -> int:
        return self._node

    def node_operator(self) -> str:
        return self._operator


class OnnxParser:
    _ERROR: type = ParserError

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def parse_from_file(self, model: str) -> bool:
        try:
            self._network._model = onnx.load(model)
        except Exception:
            self._errors.append(self._ERROR(ErrorCode.INVALID_NODE, "Failed to parse the file"))
            return False
        for i, node in enumerate(self._network._model.graph.node):
            code, said = ErrorCode.UNSUPPORTED_NODE, _NO_IMPORTER.get(node.op_type)
            if node.op_type == "Multinomial":
                code, said = ErrorCode.INVALID_NODE, "only one sample is supported."
            if said:
                self._errors.append(self._ERROR(code, said, i, node.op_type))
        return not self._errors

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


def _without(made: type, *names: str) -> type:
    """The class as versions knew it that did not have these members."""
    hidden = {*names, "__dict__", "__weakref__"}
    return type(made.__name__, (), {k: v for k, v in vars(made).items() if k not in hidden})


class OldOnnxParser(OnnxParser):
    """Up to TensorRT 9, whose errors have the node's place alone."""

    _ERROR = _without(ParserError, "node_operator")


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(
        self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]
    ) -> None:
        self._shapes[input] = [min, opt, max]


class IHostMemory(bytes):
    pass


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._content)


class IBuilderConfig:
    builder_optimization_level = 3

    def __init__(self) -> None:
        self._flags = {int(BuilderFlag.TF32)}  # on by default, as in the real one
        self._profiles: list[IOptimizationProfile] = []
        self._pools: dict[int, int] = {}
        self._timings: ITimingCache | None = None
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(int(flag))

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(int(flag))

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self._pools[int(pool)] = pool_size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self._timings = cache
        return not cache._content.startswith(b"of another GPU")

    def get_timing_cache(self) -> ITimingCache:
        assert self._timings is not None
        return ITimingCache(self._timings._content + b"timed;")


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        if any(node.op_type == "Sinh" for node in network._model.graph.node):
            self._logger.log(
                ILogger.Severity.ERROR,
                "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find "
                "any implementation for node Sinh_1. In computeCosts at /_src/optimizer.cpp:9)",
            )
            return None
        head = {
            "network_flags": network._flags,
            "flags": sorted(config._flags),
            "workspace": config._pools.get(0),
            "level": getattr(config, "builder_optimization_level", None),
            "compatible": int(config.hardware_compatibility_level),
            "profiles": [profile._shapes for profile in config._profiles],
        }
        encoded = json.dumps(head).encode()
        return IHostMemory(b"FAKE\n" + encoded + b"\n" + network._model.SerializeToString())


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if not serialized_engine.startswith(b"FAKE\n"):
            self._logger.log(
                ILogger.Severity.ERROR,
                "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization "
                "assertion magicTag == rt::serialize::kMAGIC_TAG failed.Magic tag does not match)",
            )
            return None
        return ICudaEngine(serialized_engine, self._logger)


class ICudaEngine:
    def __init__(self, blob: bytes, logger: ILogger) -> None:
        _, head, model = blob.split(b"\n", 2)
        self._logger = logger
        self._profiles = json.loads(head)["profiles"]
        self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._inputs = {each.name: each for each in self._session.get_inputs()}
        self._outputs = {each.name: each for each in self._session.get_outputs()}
        self._tensors = {**self._inputs, **self._outputs}
        self.num_optimization_profiles = max(1, len(self._profiles))

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes = self._tensors[name].shape
        return tuple(size if isinstance(size, int) else -1 for size in sizes)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._profiles[profile_index][name]]

    def create_execution_context(self) -> IExecutionContext | None:
        if fake_pycuda.DeviceAllocation.memory.get(-1) is not None:
            self._logger.log(
                ILogger.Severity.ERROR,
                "IExecutionContext: Error Code 2: OutOfMemory (Requested size was 96473088 bytes.)",
            )
            return None
        return IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector()


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._profile: int | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = profile_index
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._profile is not None, "the profile comes first"
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Known once the shapes of all inputs are."""
        if name in self._shapes:
            return self._shapes[name]
        sizes = self._engine.get_tensor_shape(name)
        batch = next(iter(self._shapes.values()), (-1,))[0]
        return tuple(batch if i == 0 and size == -1 else size for i, size in enumerate(sizes))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        missing = self._engine._tensors.keys() - self._addresses.keys()
        if missing or not fake_pycuda.Context.stack():
            return False
        fake_pycuda.Stream.by_handle[stream_handle].put(self._compute)
        return True

    def _compute(self) -> None:
        memory = fake_pycuda.DeviceAllocation.memory
        feed = {
            name: memory[self._addresses[name]]
            .view(np.float32)
            .reshape(self.get_tensor_shape(name))
            for name in self._engine._inputs
        }
        names = list(self._engine._outputs)
        found = self._engine._session.run(names, feed)
        for name, values in zip(names, found, strict=True):
            memory[self._addresses[name]][:] = np.ravel(values).view(np.uint8)


class EngineInspector:
    def get_engine_information(self, format: LayerInformationFormat) -> str:
        written = "Thirty-two wide channel vectorized row major Int8 format"
        layer = {"LayerType": "CaskConvolution", "Outputs": [{"Format/Datatype": written}]}
        head = {"LayerType": "Reformat", "Outputs": [{"Format/Datatype": "Row major FP32"}]}
        return json.dumps({"Layers": [layer, head], "Bindings": ["input", "output"]})


#: Every class and function that the runner can meet.
SURFACE = (
    Builder,
    BuilderFlag,
    DataType,
    EngineInspector,
    ErrorCode,
    HardwareCompatibilityLevel,
    IBuilderConfig,
    ICudaEngine,
    IExecutionContext,
    IHostMemory,
    ILayer,
    ILogger,
    INetworkDefinition,
    IOptimizationProfile,
    ITensor,
    ITimingCache,
    LayerInformationFormat,
    LayerType,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    OnnxParser,
    ParserError,
    ProfilingVerbosity,
    Runtime,
    TensorIOMode,
    nptype,
)


def module(version: str = "11.1.0") -> types.ModuleType:
    """`tensorrt` of that version."""
    made = types.ModuleType("tensorrt")
    made.__version__ = version  # type: ignore[attr-defined]
    for each in SURFACE:
        setattr(made, each.__name__, each)
    if int(version.partition(".")[0]) < 9:
        made.NetworkDefinitionCreationFlag = OldNetworkDefinitionCreationFlag  # type: ignore[attr-defined]
        made.BuilderFlag = OldBuilderFlag  # type: ignore[attr-defined]
        made.OnnxParser = OldOnnxParser  # type: ignore[attr-defined]
    if version.startswith("8.5"):
        made.BuilderFlag = OldestBuilderFlag  # type: ignore[attr-defined]
        made.IBuilderConfig = _without(IBuilderConfig, "builder_optimization_level")  # type: ignore[attr-defined]
        del made.HardwareCompatibilityLevel  # type: ignore[attr-defined]
    return made
