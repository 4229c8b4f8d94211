"""TensorRT on NVIDIA GPUs: fp32, fp16, and int8 as explicit Q/DQ with fp16 for the rest.

Engines are built on the GPU itself by TensorRT. Where that GPU is not, TensorRT for RTX compiles
ahead of time (`bench compile`): that shows whether the network compiles for it, and its engine is
marked as TensorRT-RTX's and never timed as TensorRT's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from bench import targets
from bench.errors import BenchError, StageError, Unavailable, UsageError
from bench.machine import observe
from runners import trt_api, trt_onnx, trt_operators, trt_options
from runners.cuda_device import Gpu
from runners.trt_build import compile_engine
from runners.trt_session import TrtSession, deserialized

if TYPE_CHECKING:
    from bench.contracts import Calibration
    from bench.records import Artifact, Option, Precision, Target
    from runners.trt_api import Api

#: What `build` compiles for, who does not know what the engine is opened with.
_BATCHES = (1, 2, 4, 8)


class TrtRunner:
    """The artifact is an engine with a profile for each batch size that it is opened with."""

    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    methods = trt_onnx.METHODS
    packages: tuple[str, ...] = ("tensorrt", "nvidia-modelopt", "onnx", "onnxruntime", "pycuda")

    def probe(self, target: Target) -> str | None:
        options = trt_options.read(target)
        api, problem = trt_api.find("TensorRT")
        if api is None:
            return problem
        if lacking := trt_options.lacking(options, api):
            return lacking
        trt_options.timings(options)
        try:
            _, capability = _device_here()
        except BenchError as error:
            return str(error)
        return trt_options.unfit(options, capability, jetson="Jetson" in observe().board)

    def probe_build(self, target: Target) -> str | None:
        """The options alone: what `lower` and `compile` need depends on the network."""
        options, wanted = trt_options.read(target), targets.hardware_of(target)
        if options.timing_cache:
            raise UsageError(
                f"timing_cache={options.timing_cache}: no kernel is timed where the GPU is not: "
                "leave it out"
            )
        if wanted.compute_capability is None:  # then nothing can be compiled for it
            return None
        return trt_options.unfit(
            options, wanted.compute_capability, jetson=wanted.board is not None
        )

    def identity(self, target: Target, *, ahead: bool = False) -> Mapping[str, Option]:
        """What decides an engine, beside the network and the options: compiler, version, device."""
        options = trt_options.read(target)
        try:
            api, ahead_for = _compiler(target, ahead)
            found: dict[str, Option] = {"compiler": api.title, "device": _device(ahead_for)}
        except Unavailable as error:
            found = {"compiler": str(error)}
        if options.timing_cache and Path(options.timing_cache).is_file():
            found["timing_cache"] = sha256(Path(options.timing_cache).read_bytes()).hexdigest()
        return found

    def lower(
        self,
        onnx: Artifact,
        target: Target,
        calibration: Calibration,
        to: Path,
        *,
        ahead: bool = False,
    ) -> Artifact:
        """The ONNX that the compiler is given."""
        if _is_for_8_5(target, ahead):
            trt_operators.require_in_8_5(onnx)
        return trt_onnx.lower(
            onnx,
            target.precision,
            calibration,
            to,
            strongly_typed=_strongly_typed(target, ahead),
        )

    def rank(self, onnx: Artifact, target: Target, calibration: Calibration) -> list[str]:
        """Layers by what int8 does to them, as ONNX Runtime computes it."""
        return trt_onnx.rank(onnx, calibration)

    def compile(
        self,
        lowered: Artifact,
        target: Target,
        batches: Sequence[int],
        to: Path,
        *,
        ahead: bool = False,
    ) -> Artifact:
        """The engine. Raises Unavailable where no compiler here can make one."""
        api, ahead_for = _compiler(target, ahead)
        if lacking := trt_options.lacking(trt_options.read(target), api):
            raise Unavailable(lacking)
        return compile_engine(
            api,
            lowered,
            target.precision,
            trt_options.read(target),
            batches=batches,
            strongly_typed=_strongly_typed(target, ahead),
            ahead_for=ahead_for,
            device=_device(ahead_for),
            to=to,
        )

    def build(self, onnx: Artifact, target: Target, calibration: Calibration, to: Path) -> Artifact:
        """Lowered and compiled, for the batch sizes that most ask for."""
        return self.compile(self.lower(onnx, target, calibration, to), target, _BATCHES, to)

    @contextmanager
    def open(
        self, built: Artifact, target: Target, *, batch: int, threads: int, streams: int = 1
    ) -> Iterator[list[TrtSession]]:
        """Execution contexts of one engine, each with its own stream and memory."""
        options = trt_options.read(target)
        api = _for_running(built)
        with ExitStack() as opened:
            gpu = Gpu()
            opened.callback(gpu.close)
            _require_own(built, api, gpu)
            log = api.logger()
            engine = deserialized(api, log, built)
            sessions = []
            for _ in range(streams):
                session = TrtSession(api, log, engine, gpu, options, batch)
                opened.callback(session.close)
                sessions.append(session)
            yield sessions


def _compiler(target: Target, ahead: bool) -> tuple[Api, str | None]:
    """Who compiles for a target here, and for which compute capability where that is ahead of time
    (None: on the GPU itself). Raises Unavailable where nobody can."""
    if not ahead:
        api, problem = trt_api.find("TensorRT")
        if api is None:
            raise Unavailable(problem or "TensorRT is not installed")
        return api, None
    wanted = targets.hardware_of(target)
    api, problem = trt_api.find("TensorRT-RTX")
    if api is None:
        raise Unavailable(f"nothing here compiles ahead of time for {wanted.name}: {problem}")
    if wanted.compute_capability not in api.capabilities:
        has = f"has {wanted.compute_capability}" if wanted.compute_capability else "says none"
        raise Unavailable(
            f"{api.title} compiles ahead of time for compute capability "
            f"{', '.join(api.capabilities)}, and {wanted.name} {has}: build on the device itself"
        )
    return api, wanted.compute_capability


def _device(ahead_for: str | None) -> str:
    return f"compute capability {ahead_for}" if ahead_for else _device_here()[0]


def _device_here() -> tuple[str, str]:
    """The GPU's title and its compute capability."""
    gpu = Gpu()
    try:
        return gpu.title, gpu.capability
    finally:
        gpu.close()


def _strongly_typed(target: Target, ahead: bool) -> bool:
    """Whether types are the network's own: as the target says, else as the version here can."""
    asked = trt_options.read(target).strongly_typed
    if asked != "auto":
        return asked == "true"
    try:
        return _compiler(target, ahead)[0].strongly_typed
    except Unavailable:
        return True


def _is_for_8_5(target: Target, ahead: bool) -> bool:
    """Whether the network is for TensorRT 8.5: that is the last for a Xavier's compute capability
    on JetPack, and what may be installed here."""
    if ahead:
        return targets.hardware_of(target).compute_capability == "7.2"
    api, _ = trt_api.find("TensorRT")
    return api is not None and api.version.startswith("8.5.")


def _for_running(built: Artifact) -> Api:
    """TensorRT, for an engine of its own. TensorRT-RTX's are another runtime's."""
    api, problem = trt_api.find("TensorRT")
    if built.format != "tensorrt-engine":
        raise StageError(
            "wrong-engine",
            f"{Path(built.path).name} was compiled by {built.made_by}, which is not TensorRT: its "
            "time is not TensorRT's; run `bench run` on the device, which builds it there",
        )
    if api is None:
        raise Unavailable(problem or "TensorRT is not installed")
    return api


def _require_own(built: Artifact, api: Api, gpu: Gpu) -> None:
    """Raise StageError "stale-engine" for an engine of another version or GPU, unless it was built
    to be compatible: then the runtime itself judges."""
    compiler, device = built.details.get("compiler"), built.details.get("device")
    other_version = compiler != api.title and not built.details.get("version_compatible")
    other_device = device != gpu.title and not built.details.get("hardware_compatible")
    if other_version or other_device:
        raise StageError(
            "stale-engine",
            f"the engine was built by {compiler} for {device}, and this is {api.title} on "
            f"{gpu.title}: `bench run` builds it anew",
        )
