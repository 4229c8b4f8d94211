"""Where the weights of a torch module come from: a hub, a file, or a seed."""

from __future__ import annotations

import pickle
import urllib.error
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cache import sha256_of
from bench.errors import StageError, UsageError, first_line
from bench.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import torch

#: Seconds a hub has to answer before random weights are used instead.
HUB_SECONDS = 5.0

RANDOM_NOTE = (
    "the pretrained weights {tag} could not be had ({reason}): going on with RANDOM weights; the "
    "latency is real, no accuracy is claimed; --weights PATH takes a local file"
)


def hub_problem(url: str) -> str | None:
    """Why the hub at `url` cannot be used now, None when it answers (whatever it answers)."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=HUB_SECONDS).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"{url} does not answer: {getattr(reason, 'strerror', None) or reason}"
    return None


def without_hub(weights: str) -> str | None:
    """The tag of the weights that `--weights` names, where no hub is needed for them: random ones,
    or those of a file. Raises UsageError for a file that is not there."""
    if weights == "pretrained":
        return None
    return weights if weights == "random" else tag_of(weights)


def file_of(weights: str) -> str | None:
    """The path that `--weights` names, None where it is one of its two words."""
    return None if weights in ("pretrained", "random") else weights


def tag_of(path: str) -> str:
    """How results name the weights of a file: its name and the start of its sha256."""
    file = expanded(path)
    if not file.is_file():
        problem = "is a folder" if file.is_dir() else "does not exist"
        raise UsageError(f"--weights {path} {problem}: give pretrained, random or a weights file")
    return f"{file.name}#{sha256_of([file])[:12]}"


def load_file(module: torch.nn.Module, path: str, unused: Collection[str] = ()) -> None:
    """Load safetensors or a state dict into `module`, without the parts that are `unused`. Nothing
    but tensors is ever unpickled. Raises StageError "bad-weights"."""
    file = expanded(path)
    state = _read(file)
    for wrapper in ("state_dict", "model", "state_dict_ema"):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    state = {key: value for key, value in state.items() if key.partition(".")[0] not in unused}
    own = module.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unfit = [
        key for key in own if key in state and getattr(state[key], "shape", None) != own[key].shape
    ]
    if missing or unfit or state.keys() - own.keys():
        odd = next(iter([*missing, *unfit, *sorted(state.keys() - own.keys())]))
        raise StageError(
            "bad-weights",
            f"{file} does not fit the model: {len(missing)} tensors missing, {len(unfit)} of "
            f"another shape, {len(state.keys() - own.keys())} unknown (for example {odd})",
        )
    module.load_state_dict(state, strict=False)


def _read(file: Path) -> dict[str, Any]:
    """What a file of weights holds. Raises StageError "bad-weights" with one sentence."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file as load_safetensors

            return dict(load_safetensors(file))
        import torch

        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # what is not zipped may be no pickle either
        if zipfile.is_zipfile(file):
            problem = "holds a pickled module or other objects: save its state_dict() instead"
        else:
            problem = "is neither safetensors nor a plain state dict"
        raise StageError("bad-weights", f"{file} {problem}") from error
    except Exception as error:  # each format has its own errors
        reason = first_line(error)[:200]
        if _is_cut_off(file):
            problem = "is not a whole file: it ends too early; copy or download it again"
        elif file.suffix == ".safetensors":
            problem = f"is not a whole safetensors file: {reason}"
        else:
            problem = f"is neither safetensors nor a plain state dict: {reason}"
        raise StageError("bad-weights", f"{file} {problem}") from error
    if not isinstance(loaded, dict):
        kind = type(loaded).__name__
        raise StageError("bad-weights", f"{file} holds a {kind}, not a dictionary of tensors")
    return loaded


def _is_cut_off(file: Path) -> bool:
    """Whether it begins as the zip archive that `torch.save` writes, and has not the end of one."""
    with file.open("rb") as opened:
        return opened.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(file)


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Random weights that are the same every time."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
