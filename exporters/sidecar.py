"""What an ONNX file does not say of itself: a file NAME.toml beside NAME.onnx does.

    task = "detection"              # classification, detection, instance-segmentation, segmentation
    size = [416, 416]               # height, width of the input
    resize = "letterbox"            # squash, crop (with shorter_side), letterbox
    place = "top-left"              # of a letterbox: top-left or center
    pad = 114                       # of a letterbox: the pixel value around the image
    channels = "BGR"                # RGB, BGR, L
    scale = 1                       # pixels are divided by it, then (x - mean) / std
    mean = [0, 0, 0]
    std = [1, 1, 1]
    output = "yolox"                # see bench.records.Decoder

and where they differ from the defaults: interpolation, layout (NCHW, NHWC), label_offset (1 where
the first class is a background), labels (a list, or a file with one a line), strides,
score_threshold, nms_iou.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal

import msgspec

from bench import toml_file
from bench.accuracy.classification import BACKGROUND
from bench.errors import UsageError
from bench.records import Decoder, Output, Preprocess, Task

if TYPE_CHECKING:
    from pathlib import Path

#: What a network for a task may give, the usual one first.
_DECODERS: dict[Task, tuple[Decoder, ...]] = {
    "classification": ("scores",),
    "detection": ("boxes", "yolox", "yolo", "detr"),
    "instance-segmentation": ("boxes",),
    "segmentation": ("class-map", "class-scores"),
}


class _Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    task: Task
    size: tuple[int, int]
    resize: Literal["squash", "crop", "letterbox"] = "squash"
    shorter_side: int | None = None
    place: Literal["top-left", "center"] = "center"
    pad: float = 114.0
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    channels: Literal["RGB", "BGR", "L"] = "RGB"
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    output: Decoder | None = None
    label_offset: int | None = None
    labels: tuple[str, ...] | str = ()
    strides: tuple[int, ...] = (8, 16, 32)
    score_threshold: float = 0.001
    nms_iou: float = 0.65


@dataclass(frozen=True)
class Sidecar:
    task: Task
    preprocess: Preprocess
    output: Output
    labels: tuple[str, ...]


def read(onnx: Path, outputs: int | None) -> Sidecar | None:
    """What the file beside an ONNX file says, None where there is none. `outputs` is how many
    numbers an image the network's first output has, where that is fixed. Raises UsageError with one
    sentence that names the file."""
    path = onnx.with_suffix(".toml")
    if not path.is_file():
        return None
    form = toml_file.read(path, _Form, "the sidecar")
    channels = 1 if form.channels == "L" else 3
    _require(path, form, channels)
    if form.task == "classification" and outputs == 1001 and form.label_offset is None:
        raise UsageError(f"the sidecar {path}: {BACKGROUND}")
    if form.task == "classification" and outputs and (form.label_offset or 0) >= outputs:
        raise UsageError(
            f"the sidecar {path}: label_offset = {form.label_offset} leaves none of the network's "
            f"{outputs:,} outputs: it is the index of the first class, 0 or 1"
        )
    preprocess = Preprocess(
        height=form.size[0],
        width=form.size[1],
        shorter_side=form.shorter_side if form.resize == "crop" else None,
        interpolation=form.interpolation,
        mode=form.channels,
        mean=_each(form.mean, channels),
        std=_each(form.std, channels),
        letterbox=form.place if form.resize == "letterbox" else None,
        pad=form.pad,
        scale=form.scale,
        layout=form.layout,
    )
    output = Output(
        form.output or _DECODERS[form.task][0],
        label_offset=form.label_offset or 0,
        strides=form.strides,
        score_threshold=form.score_threshold,
        nms_iou=form.nms_iou,
        offset_assumed=form.label_offset is None and form.task == "classification" and not outputs,
    )
    labels = _labels(path, form.labels)
    if form.task == "classification" and outputs and not labels:
        labels = tuple(str(i) for i in range(outputs - output.label_offset))
    return Sidecar(form.task, preprocess, output, labels)


def _require(path: Path, form: _Form, channels: int) -> None:
    _require_numbers(path, form)
    for name in ("mean", "std"):
        if len(getattr(form, name)) not in (1, channels):
            raise UsageError(f"the sidecar {path}: {name} needs 1 number, or {channels}")
    if (
        min(form.size) < 1
        or (form.label_offset or 0) < 0
        or not form.strides
        or min(form.strides) < 1
    ):
        raise UsageError(
            f"the sidecar {path}: size and strides have to be above 0, label_offset not below"
        )
    if form.resize == "crop" and (form.shorter_side or 0) < 1:
        raise UsageError(f'the sidecar {path}: resize = "crop" needs shorter_side = PIXELS')
    allowed = _DECODERS[form.task]
    if form.output is not None and form.output not in allowed:
        raise UsageError(
            f'the sidecar {path}: output = "{form.output}" does not go with task = "{form.task}", '
            f"which has {', '.join(allowed)}"
        )


def _require_numbers(path: Path, form: _Form) -> None:
    """TOML has nan and inf, and 1e999 is one."""
    positive, share = (" above 0", lambda x: x > 0), (" from 0 to 1", lambda x: 0 <= x <= 1)
    any_ = ("", lambda _: True)
    for name, values, (words, fits) in (
        ("mean", form.mean, any_),
        ("std", form.std, positive),
        ("scale", (form.scale,), positive),
        ("pad", (form.pad,), any_),
        ("score_threshold", (form.score_threshold,), share),
        ("nms_iou", (form.nms_iou,), share),
    ):
        for value in values:
            if not isfinite(value) or not fits(value):
                raise UsageError(
                    f"the sidecar {path}: {name} is {value}, it must be a finite number{words}"
                )


def _each(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def _labels(path: Path, labels: tuple[str, ...] | str) -> tuple[str, ...]:
    if not isinstance(labels, str):
        return labels
    file = path.parent / labels
    try:
        return tuple(file.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the sidecar {path}: its labels {file} cannot be read: {error}"
        ) from error
