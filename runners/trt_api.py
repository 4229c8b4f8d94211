"""TensorRT (8.5 to 11) and TensorRT for RTX behind one seam: which module, which version, what it
says when it refuses.

The two have one API and are two compilers with two runtimes: an engine of one is never taken for
the other's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from bench.errors import BenchError, StageError, Unavailable

#: The named-tensor API (`num_io_tensors`, `set_tensor_address`, `execute_async_v3`) came with it.
OLDEST = (8, 5)
#: What the compilers' Python packages are called; the second of TensorRT-RTX is how the wheels
#: without the umbrella package name it.
_MODULES = {
    "TensorRT": ("tensorrt",),
    "TensorRT-RTX": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
INSTALL = {
    "TensorRT": "pip install 'frontier-bench[tensorrt]', or NVIDIA's own packages on a Jetson",
    "TensorRT-RTX": "pip install 'frontier-bench[tensorrt-rtx]'",
}

Name = Literal["TensorRT", "TensorRT-RTX"]

_NO_DRIVER = r"insufficient for CUDA runtime|error:? ?35\b|cudaError 35\b"
#: How the libraries say what a person can mend: words in their log, the word for scripts, and the
#: remedy. The first that fits is said.
_KNOWN = (
    (
        _NO_DRIVER,
        "unavailable",
        "there is no NVIDIA driver, or one too old for this version: update the driver, or install "
        "the version that was made for it",
    ),
    (
        r"no CUDA-capable device|cudaErrorNoDevice|error:? ?100\b",
        "unavailable",
        "no GPU is visible here: look at nvidia-smi and CUDA_VISIBLE_DEVICES",
    ),
    (
        r"out of memory|OutOfMemory|cudaErrorMemoryAllocation|requested size .* exceeds|"
        r"[Ii]nsufficient (GPU )?memory",
        "oom",
        "not enough GPU memory: end what else uses the GPU, take a smaller batch, or give the "
        "compiler less to try with (-o workspace_mb=256)",
    ),
    (
        r"nvinfer_lean",
        "unavailable",
        "engines that later versions load need TensorRT's lean runtime beside it (NVIDIA's package "
        "libnvinfer-lean, of the same version; TensorRT-RTX has none): install it, or leave out "
        "version_compatible=true",
    ),
)


@dataclass(frozen=True)
class Api:
    """One of the two, as it is installed here."""

    name: Name
    module: Any

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    @property
    def title(self) -> str:
        """The name with its version: what an engine is marked with."""
        return f"{self.name} {self.version}"

    @property
    def form(self) -> str:
        """What the artifact's format is called."""
        return "tensorrt-engine" if self.name == "TensorRT" else "tensorrt-rtx-engine"

    @property
    def strongly_typed(self) -> bool:
        """Whether it can take every type from the network (TensorRT 9 and later; 11 only so)."""
        return hasattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Compute capabilities that it compiles for without such a GPU: "7.5" and so on."""
        known = getattr(self.module, "ComputeCapability", None)
        if known is None or self.name == "TensorRT":
            return ()  # TensorRT picks kernels by timing them on the GPU itself
        numbers = [name[2:] for name in known.__members__ if re.fullmatch(r"SM\d+", name)]
        return tuple(f"{number[:-1]}.{number[-1]}" for number in numbers)

    def network_flags(self, *, strongly_typed: bool) -> int:
        flags = self.module.NetworkDefinitionCreationFlag
        if strongly_typed:
            return 1 << int(flags.STRONGLY_TYPED)
        # Up to TensorRT 9 an explicit batch had to be asked for; later there is no other.
        return 1 << int(flags.EXPLICIT_BATCH) if hasattr(flags, "EXPLICIT_BATCH") else 0

    def logger(self) -> Any:
        """A logger that keeps what was said, as `errors` and `warnings`."""
        base: Any = self.module.ILogger

        class Log(base):  # type: ignore[misc]
            def __init__(self) -> None:
                base.__init__(self)
                self.errors: list[str] = []
                self.warnings: list[str] = []

            def log(self, severity: Any, msg: str) -> None:
                if int(severity) <= int(base.Severity.ERROR):
                    self.errors.append(msg)
                elif int(severity) == int(base.Severity.WARNING):
                    self.warnings.append(msg)

        return Log()


def find(name: Name) -> tuple[Api | None, str | None]:
    """The API of that name; or None and why, with the remedy."""
    problem = "it is not installed"
    for module in _MODULES[name]:
        try:
            api = Api(name, import_module(module))
            version = api.version
        except ModuleNotFoundError as error:
            if error.name != module:
                problem = str(error)
            continue
        except (ImportError, OSError, AttributeError) as error:  # its libraries, or the driver's
            problem = str(error).partition("\n")[0]
            continue
        if name == "TensorRT" and _numbers(version) < OLDEST:
            return None, (
                f"TensorRT {version} has no named-tensor API, which came with 8.5: update it "
                "(JetPack 5.1 and later have it)"
            )
        return api, None
    return None, f"{name} cannot be imported ({problem}): {INSTALL[name]}"


def refusal(api: Api, log: Any, *, what: str, kind: str, ahead: bool = False) -> BenchError:
    """The error for a refusal: the compiler's or the runtime's own reason, and the remedy where
    there is a known one. `what` is what was tried ("compile the model"); `ahead` says that no GPU
    was expected, so that complaints about there being none are not the reason."""
    errors = [each for each in log.errors if not (ahead and re.search(_NO_DRIVER, each))]
    said = "\n".join(errors)
    reason = _reason(errors)
    for words, known, remedy in _KNOWN:
        if re.search(words, said):
            message = f"{api.title} cannot {what}: {remedy} ({reason})"
            return Unavailable(message) if known == "unavailable" else StageError(known, message)
    return StageError(kind, f"{api.title} cannot {what}: {reason}")


def _reason(errors: list[str]) -> str:
    """The first error's own sentence, without the function and the file that it came from."""
    if not errors:
        return "it does not say why"
    text = errors[0].strip().splitlines()[0]  # one error leads to others
    text = re.sub(r"^\d+: ", "", text)  # up to TensorRT 8 the code is said twice
    text = re.sub(r"^\w+::\w+: ", "", text)
    # Only what names a source file: a fused node's name is in brackets, too.
    text = re.sub(r"\[[\w./]+\.(?:cpp|h|hpp|cu):[^\]]*\] ?", "", text)
    text = re.sub(r"^Error Code \d+: ", "", text)
    text = re.sub(r"\.? In \w+ at \S+\)?\s*$", "", text)
    text = re.sub(r"^Myelin \((.*?)\)*$", r"\1", text)
    if text.count("(") > text.count(")"):
        text += ")"
    return text[:300].strip().rstrip(".")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
