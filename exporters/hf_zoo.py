"""`hf:NAME`: image models of transformers, by their name on the Hugging Face hub or a local folder
that holds config.json (and model.safetensors, preprocessor_config.json)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cache import sha256_of
from bench.contracts import Outline
from bench.errors import StageError, Unavailable, UsageError, first_line
from bench.paths import expanded
from bench.records import Model, Output, Preprocess, Task, TensorSpec
from exporters import checkpoints, hf_images, torch_onnx
from exporters.hf_known import KNOWN
from exporters.torch_program import TorchSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.contracts import Dataset
    from bench.records import Artifact

_TASKS: dict[str, Task] = {
    "ForImageClassification": "classification",
    "ForObjectDetection": "detection",
    "ForSemanticSegmentation": "segmentation",
}
_CONFIGURED = ("*.json", "*.txt")
#: Of an input of which nothing is said.
_USUAL_SIDE = 224


class HfZoo(TorchSource):
    packages: tuple[str, ...] = ("transformers", "torch", "onnxscript", "onnx")
    stable = True

    def names(self) -> Iterable[str]:
        """The hub has a million of them."""
        return ()

    def describe(self, name: str, weights: str) -> Model:
        torch_onnx.require("transformers", extra="hf")
        torch_onnx.require("torch", "onnxscript")
        checkpoints.without_hub(weights)  # a file that is not there is said before the hub is asked
        folder, problem = _found(name, wanted=weights == "pretrained")
        if folder is None:
            return _from_table(name, weights, str(problem))
        config = _config(folder)
        task = _task(name, config)
        how, odd = hf_images.preprocess(folder)
        tag, notes = _weights(name, folder, weights, problem)
        labels = [str(config.id2label[i]) for i in sorted(config.id2label)]
        background = task == "classification" and labels[:1] == ["background"]
        return Model(
            name=name,
            source="hf",
            weights=tag,
            task=task,
            output=_output(task, background=background),
            inputs=(TensorSpec("pixel_values", (None, 3, *_size(config, how)), "float32"),),
            preprocess=how,
            labels=tuple(labels[background:]),
            weights_file=checkpoints.file_of(weights),
            notes=(*notes, *odd),
        )

    def export(self, model: Model, to: Path) -> Artifact:
        assert model.task is not None
        module = _create(model)
        detects = model.task == "detection"
        names = ["logits", "pred_boxes"] if detects else ["logits"]
        return torch_onnx.export_image_model(_plain(module, names), model, to, names)

    def outlines(self) -> Iterable[Outline]:
        """Of those that can be had without the hub."""
        for name, known in KNOWN.items():
            how = known.preprocess
            yield Outline(name, known.task, known.params, (3, how.height, how.width))

    def dataset(self, model: Model) -> Dataset | None:
        return None


def _found(name: str, *, wanted: bool) -> tuple[Path | None, str | None]:
    """The folder that holds a model, and why the hub could not be asked. `wanted` says that its
    weights are, too."""
    local = expanded(name)
    if name and local.is_dir():
        if not (local / "config.json").is_file():
            raise UsageError(f"hf:{name} has no config.json, which save_pretrained writes")
        return local, None
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        raise UsageError(f"hf:{name}: there is no such folder; hf:OWNER/NAME is a model of the hub")
    import huggingface_hub

    endpoint = huggingface_hub.constants.ENDPOINT
    problem = checkpoints.hub_problem(endpoint)
    try:
        patterns = [*_CONFIGURED, *(["*.safetensors"] if wanted else [])]
        fetched = Path(_snapshot(name, patterns, offline=problem is not None))
        if wanted and not list(fetched.glob("*.safetensors")):
            fetched = Path(_snapshot(name, ["*.json", "*.bin"], offline=problem is not None))
    except Exception as error:  # whatever a hub, a proxy or a disk can do
        return None, problem or first_line(error)[:200]
    return (fetched, problem) if (fetched / "config.json").is_file() else (None, problem)


def _snapshot(name: str, patterns: list[str], *, offline: bool) -> str:
    import huggingface_hub

    return huggingface_hub.snapshot_download(
        name, allow_patterns=patterns, local_files_only=offline
    )


def _from_table(name: str, weights: str, problem: str) -> Model:
    """A model whose layers are known without the hub. Its weights are random, or a file's."""
    known = KNOWN.get(name)
    if known is None:
        raise Unavailable(
            f"hf:{name} cannot be had: {problem}; give a folder that holds it (hf:./FOLDER with "
            f"config.json), or one that is known without the hub: {', '.join(KNOWN)}"
        )
    tag = checkpoints.without_hub(weights)
    note = checkpoints.RANDOM_NOTE.format(tag=name, reason=problem)
    return Model(
        name=name,
        source="hf",
        weights=tag or "random",
        task=known.task,
        output=_output(known.task, background=known.background),
        inputs=(
            TensorSpec(
                "pixel_values",
                (None, 3, known.preprocess.height, known.preprocess.width),
                "float32",
            ),
        ),
        preprocess=known.preprocess,
        labels=tuple(str(i) for i in range(known.classes - known.background)),
        weights_file=checkpoints.file_of(weights),
        notes=() if tag else (note,),
    )


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # unknown kinds, JSON that is none, code of its own
        raise StageError(
            "bad-model", f"transformers cannot read {folder}/config.json: {first_line(error)[:200]}"
        ) from error


def _task(name: str, config: Any) -> Task:
    heads = getattr(config, "architectures", None) or []
    for head in heads:
        for ending, task in _TASKS.items():
            if ending in head:
                return task
    raise UsageError(
        f"hf:{name} is {', '.join(heads) or config.model_type}: what classifies images, detects "
        "objects or segments by class is exported"
    )


def _output(task: Task, *, background: bool = False) -> Output:
    if task == "detection":
        return Output("detr")
    return Output("class-scores" if task == "segmentation" else "scores", int(background))


def _weights(
    name: str, folder: Path, asked: str, problem: str | None
) -> tuple[str, tuple[str, ...]]:
    """The tag of the weights to use, and what to say of them: the hub's commit, or a local folder's
    content."""
    if tag := checkpoints.without_hub(asked):
        return tag, ()
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    if not files:
        reason = problem or f"{folder} holds none"
        return "random", (checkpoints.RANDOM_NOTE.format(tag=name, reason=reason),)
    if expanded(name).is_dir():
        described = sorted(folder.glob("*.json"))
        return f"{folder.resolve().name}#{sha256_of([*described, *files])[:12]}", ()
    return folder.name[:12], ()  # the hub's cache names folders after commits


def _size(config: Any, how: Preprocess | None) -> tuple[int, int]:
    if how:
        return how.height, how.width
    side = getattr(config, "image_size", None) or _USUAL_SIDE
    return (side, side) if isinstance(side, int) else (side[0], side[-1])


def _create(model: Model) -> Any:
    import transformers

    kinds: dict[Task | None, Any] = {
        "classification": transformers.AutoModelForImageClassification,
        "detection": transformers.AutoModelForObjectDetection,
        "segmentation": transformers.AutoModelForSemanticSegmentation,
    }
    kind = kinds[model.task]
    trained = model.weights != "random" and model.weights_file is None
    folder = _described(model) if trained else _found(model.name, wanted=False)[0]
    try:
        if trained:
            return kind.from_pretrained(folder, local_files_only=True).float().eval()
        config = _config(folder) if folder else _known_config(model.name)
        # The weights of a part are not fetched where those of the whole are not.
        if getattr(config, "use_pretrained_backbone", False):
            config.use_pretrained_backbone = False
        with checkpoints.seeded():
            module = kind.from_config(config).eval()
    except StageError:
        raise
    except Exception as error:  # missing packages (timm, for backbones), weights that do not fit
        raise StageError(
            "bad-model", f"transformers cannot make hf:{model.name}: {first_line(error)[:200]}"
        ) from error
    if model.weights_file:
        checkpoints.load_file(module, model.weights_file)
    return module


def _described(model: Model) -> Path:
    """The folder with the very weights that were described: a description is kept, and the hub may
    have another commit by now. Raises StageError "changed" where they cannot be had."""
    import huggingface_hub

    # The hub's cache names folders after commits, and so is the tag.
    owned = f"models--{model.name.replace('/', '--')}/snapshots/{model.weights}*"
    for kept in Path(huggingface_hub.constants.HF_HUB_CACHE).glob(owned):
        if any(kept.glob("*.safetensors")) or any(kept.glob("*.bin")):  # not its settings alone
            return kept
    folder, problem = _found(model.name, wanted=True)
    found = _weights(model.name, folder, "pretrained", problem)[0] if folder else None
    if folder is None or found != model.weights:
        raise StageError(
            "changed",
            f"hf:{model.name} was described with the weights {model.weights}, and there is now "
            f"{found or problem}: run it again with --no-cache",
        )
    return folder


def _known_config(name: str) -> Any:
    from transformers import AutoConfig

    known = KNOWN[name]
    return AutoConfig.for_model(known.kind, num_labels=known.classes)


def _plain(module: Any, names: list[str]) -> Any:
    """An image in, tensors out: what else its output holds helps in training, or is None."""
    import torch

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = self.module(pixel_values=pixel_values)
            return tuple(found[name] for name in names)

    return Plain().eval()
