"""ONNX Runtime on the CPU: fp32, and int8 as static Q/DQ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StageError, UsageError, first_line
from bench.records import TensorSpec
from runners import ort_int8

if TYPE_CHECKING:
    from bench.contracts import Array, Calibration, Feed
    from bench.records import Artifact, Option, Precision, Target

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}

#: What ONNX Runtime's session config entries begin with (onnxruntime_session_options_config_keys.h
#: of 1.32). It passes over an entry that it does not know.
_ENTRIES = ("ep.", "mlas.", "optimization.", "session.")


class OrtRunner:
    """Runs the ONNX file itself; int8 is a second ONNX file with Q/DQ nodes."""

    precisions: tuple[Precision, ...] = ("fp32", "int8")
    packages: tuple[str, ...] = ("onnxruntime", "onnx")
    methods = tuple(ort_int8.METHODS)

    def probe(self, target: Target) -> str | None:
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            return f"onnxruntime cannot be imported ({error}): pip install onnxruntime"
        if strange := [key for key in target.options if not key.startswith(_ENTRIES)]:
            raise UsageError(
                f"the ort runner has no option {strange[0]!r}: its options are ONNX Runtime's "
                "session config entries, such as session.intra_op.allow_spinning=0"
            )
        return None

    def build(self, onnx: Artifact, target: Target, calibration: Calibration, to: Path) -> Artifact:
        """fp32 runs the exported file as it is; int8 quantizes it, unless it is quantized."""
        from bench import onnx_graph  # here: onnx has no place in a process that measures
        from runners import onnx_precision

        graph = onnx_graph.read(Path(onnx.path))
        if target.precision == "fp32":
            onnx_precision.require_fp32(graph)
            return onnx
        return onnx if onnx_precision.is_int8(graph) else ort_int8.quantize(onnx, calibration, to)

    def rank(self, onnx: Artifact, target: Target, calibration: Calibration) -> Sequence[str]:
        return ort_int8.rank(onnx, calibration)

    @contextmanager
    def open(
        self, built: Artifact, target: Target, *, batch: int, threads: int, streams: int = 1
    ) -> Iterator[list[OrtSession]]:
        """One session for all streams where each is its caller's own thread, for it may be run by
        several at once; else a session each, for the streams of one would share its threads."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Exports name their free dimension so, and a file's own name is told; fixing it lets shapes
        # be folded.
        axis = str(built.details.get("batch_axis", "batch"))
        options.add_free_dimension_override_by_name(axis, batch)
        for key, value in target.options.items():
            # It reads "1" as true, and anything else as false.
            said = int(value) if isinstance(value, bool) else value
            options.add_session_config_entry(key, str(said))
        try:
            sessions = [
                ort.InferenceSession(built.path, options, ["CPUExecutionProvider"])
                for _ in range(1 if threads == 1 else streams)
            ]
        except Exception as error:  # its exceptions share no base class but Exception
            reason = first_line(error)
            raise StageError("not-loadable", f"ONNX Runtime refuses the model: {reason}") from error
        each = sessions * streams if threads == 1 else sessions
        yield [OrtSession(session, batch, threads) for session in each]


class OrtSession:
    """Inputs bound without a copy, outputs allocated by the runtime, as `run` does it."""

    def __init__(self, session: Any, batch: int, threads: int) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._threads = threads
        self.inputs: Sequence[TensorSpec] = [
            TensorSpec(
                value.name,
                tuple(size if isinstance(size, int) else None for size in value.shape),
                _DTYPES.get(value.type, value.type),
            )
            for value in session.get_inputs()
        ]
        fixed = self.inputs[0].shape[0] if self.inputs[0].shape else None
        if fixed not in (None, batch):
            raise StageError(
                "fixed-batch", f"the model is fixed at batch {fixed}, and batch {batch} is asked"
            )
        outputs = session.get_outputs()
        self._outputs = [value.name for value in outputs]
        # A network that chooses its boxes gives another number of them for each image.
        self._free = any(not isinstance(size, int) for value in outputs for size in value.shape)
        self._bind_outputs()

    def _bind_outputs(self) -> None:
        """Let the runtime allocate them in the next step; it keeps them, and their shapes, for the
        steps after it."""
        self._binding.clear_binding_outputs()
        for name in self._outputs:
            self._binding.bind_output(name, "cpu")

    def stage(self, feed: Feed) -> None:
        for name, values in feed.items():
            self._binding.bind_cpu_input(name, values)
        if self._free:
            self._bind_outputs()

    def step(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def fetch(self) -> Sequence[Array]:
        outputs: Sequence[Array] = self._binding.copy_outputs_to_cpu()
        return outputs

    def flags(self) -> Mapping[str, Option]:
        return {
            "threads": self._threads,
            "provider": self._session.get_providers()[0],
            "graph_optimization": "all",
        }
