"""The records that flow through the tool: frozen, inert, and the file format of the store.

A record checks nothing but its own types (msgspec does, when one is read from a file) and acts on
nothing. What can be computed from a record is computed from it (`bench.stats`, `bench.public`),
never kept beside it, so that no field can disagree with the raw samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

#: Version of the stored record. History: 1, first light.
SCHEMA = 1

Task = Literal["classification", "detection", "instance-segmentation", "segmentation"]
#: What the outputs of a network are: `scores` a class (logits or probabilities); `boxes` ready to
#: be used, as torchvision's detectors give them (boxes x1 y1 x2 y2, labels, scores, and masks);
#: `yolox` undecoded and `yolo` decoded grids; `detr` scores and boxes a query; `class-map` a class
#: a pixel, `class-scores` a score for each class of each pixel.
Decoder = Literal["scores", "boxes", "yolox", "yolo", "detr", "class-map", "class-scores"]
Window = Literal["device", "io"]
Precision = Literal["fp32", "tf32", "bf16", "fp16", "int8"]
Stage = Literal[
    "target", "describe", "export", "inputs", "build", "open", "check", "time", "evaluate"
]
Option = str | int | float | bool


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input of a network. `shape` has None where the size is free (the batch comes first);
    `dtype` is numpy's name, for example "float32"."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How an image becomes the input of a network, as its weights were trained.

    The image is converted to `mode`, brought to (height, width), divided by `scale`, then `mean` is
    taken off and the rest divided by `std`, a channel at a time.
    """

    height: int
    width: int
    #: Resize the shorter side to this many pixels and crop the centre; None squashes the whole
    #: image to (height, width) or to `squash`, or letterboxes it.
    shorter_side: int | None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    mode: Literal["RGB", "BGR", "L"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    #: Keep the shape of the image: scale it until it just fits, place it there, and fill the rest
    #: with `pad` (a pixel value before `scale`).
    letterbox: Literal["top-left", "center"] | None = None
    pad: float = 114.0
    scale: float = 255.0
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    #: Squash the whole image to this (height, width), and crop the centre of that.
    squash: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """How the outputs of a network are read (`bench.accuracy.decoders`). `label_offset` is the
    index of the first class: 1 where a background comes before it; `offset_assumed` where nobody
    said that there is none. `strides`, `score_threshold` and `nms_iou` are for boxes that the
    network leaves undecided."""

    decoder: Decoder
    label_offset: int = 0
    strides: tuple[int, ...] = (8, 16, 32)
    score_threshold: float = 0.001
    nms_iou: float = 0.65
    offset_assumed: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """An accuracy that somebody else states for these very weights. `value` is in percent."""

    metric: str
    value: float
    weights: str
    source: str


@dataclass(frozen=True, slots=True)
class Model:
    """A network as its source describes it, with all that its weights need to be used rightly.

    `weights` is the tag of the weights really used: the source's own tag, "random", or
    "FILE#SHA256[:12]". `labels` names the output classes in order.
    """

    name: str
    source: str
    weights: str
    task: Task | None
    inputs: tuple[TensorSpec, ...]
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()
    output: Output | None = None
    published: Published | None = None
    weights_file: str | None = None
    notes: tuple[str, ...] = ()
    #: The tag whose network it is, whatever the weights: an architecture's tags may differ in their
    #: heads. None is the architecture's own first one.
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Hardware x runtime x precision, as one TOML table says it."""

    name: str
    hardware: str
    runner: str
    precision: Precision
    device: str = "cpu"
    options: dict[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Procedure:
    """How to measure. Times in seconds, of samples over all processes where nothing else is said;
    `rel_error` is the wanted half-width of the 95 % interval of the median, as a share of it.
    `streams` copies of the network work at the same time, each on `threads` CPU threads."""

    batch: int = 1
    streams: int = 1
    window: Window = "device"
    processes: int = 5
    min_seconds: float = 3.0
    max_seconds: float = 10.0
    warmup_seconds: float = 0.3
    block_seconds: float = 0.1
    rel_error: float = 0.01
    threads: int | None = None
    seed: int = 0
    timeout_seconds: float = 1800.0


@dataclass(frozen=True, slots=True)
class Data:
    """Labelled images to measure accuracy on, and how many of them. `path` None means the data
    that the model's source carries, where it carries any. `calibration` is how many images are set
    aside at most, for int8 to learn its ranges from: of the folder `calibration_path`, else of the
    data. `strict` makes errors of images that are odd."""

    path: str | None = None
    limit: int | None = None
    calibration: int = 256
    calibration_path: str | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """How int8 is made: by which of the runner's methods (None: its first), on how many of the
    images that are set aside (None: all), and how many layers stay in higher precision, those that
    int8 harms most."""

    method: str | None = None
    images: int | None = None
    keep: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to measure. `model` is what was asked for ("timm:resnet50"); the Result says what
    it turned out to be. `max_drop` is how many points of accuracy may be lost against fp32: with
    it, `recipe` is only the first that is tried (`bench.remedies`)."""

    model: str
    target: Target
    weights: str = "pretrained"
    procedure: Procedure = Procedure()
    data: Data = Data()
    recipe: Recipe = Recipe()
    max_drop: float | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a stage produced. `details` holds what the maker wants remembered: calibration
    set and method, opset, the exporter that worked."""

    path: str
    format: str
    sha256: str
    bytes: int
    made_by: str
    build_s: float
    #: Names of further files beside `path` that belong to it (weights); `sha256` covers them.
    companions: tuple[str, ...] = ()
    details: dict[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """How far the built artifact's outputs are from those of the exported fp32 ONNX, over `n`
    inputs: the lowest cosine similarity, and the largest absolute difference as a share of the
    largest absolute reference output. Of boxes that the network itself has chosen, `cosine` is how
    much of them is the same beyond chance, over all inputs (`bench.check`), and `max_rel` is about
    the scores of the same boxes."""

    cosine: float
    max_rel: float
    n: int


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """What the GPU did while the blocks of one process ran, as NVML tells it: `steps` batches (with
    those dropped), the energy they took (the board's, idling included), the lowest and the highest
    clock, the highest temperature and power at the ends of blocks, why it ran slower than it could
    (NVML's reasons), for how long it was held back by heat and by its power limit, and the most
    processes of others that had it at once, and the most that these used of it, in percent. None
    where the GPU does not tell."""

    steps: int
    energy_mj: float | None
    sm_mhz: tuple[int, int] | None
    temperature_c: int | None
    power_mw: int | None
    slowed_by: tuple[str, ...]
    hot_ns: int | None
    capped_ns: int | None
    others: int | None
    others_percent: int | None


@dataclass(frozen=True, slots=True)
class Load:
    """What went on in the machine while the blocks of one process ran: their wall time, the CPU
    time of that process and of all others, the time the hypervisor took away (steal), how often
    the process lost its core to another (involuntary context switches), and how often the CPU said
    that it was too hot to keep its clock. Sums over the blocks; None where the system does not
    tell. `gpu` where the target is one that tells; `quota_ns` where a cgroup has a quota of CPU
    time, for how long that stopped it, on all its CPUs together."""

    wall_ns: int
    own_cpu_ns: int
    other_cpu_ns: int | None
    steal_ns: int | None
    switches: int
    throttled: int | None
    gpu: GpuLoad | None = None
    quota_ns: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessRun:
    """What one fresh process saw. Blocks are kept apart; the warm-up is kept too, and after it the
    calls that were dropped at the start of each block. All in ns.
    `stable` is False when the warm-up hit its cap before the latency settled. `canary_ns` has one
    block of the canary for each block of the model, taken right after it. Load time, first
    inference and peak memory are None where another tool measured and does not say."""

    blocks_ns: tuple[tuple[int, ...], ...]
    warmup_ns: tuple[int, ...]
    stable: bool
    load_ns: int | None
    first_ns: int | None
    peak_rss_bytes: int | None
    canary_ns: tuple[tuple[int, ...], ...] = ()
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """Raw samples, grouped process > block > sample. One sample is one batch; a
    block of several streams has the samples of all of them. `wall_ns` is the time
    from the first load to the last block, with the pauses between processes. `canary` is the sha256
    of the canary that was built for this target: only ratios to the same canary compare."""

    window: Window
    processes: tuple[ProcessRun, ...]
    stopped_by: Literal["interval", "cap"]
    wall_ns: int
    canary: str | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who measured, where it was another tool: its name and version (None where it says none), the
    files that it wrote, and the sha256 of their bytes one after the other."""

    tool: str
    version: str | None
    files: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Reported:
    """Latencies that another tool reports and kept no samples of, in ms, as it rounded them (to
    `resolution_ms`), over `n` inferences. Without samples there is no interval and no verdict, so
    this never stands where a Measurement does."""

    window: Window
    n: int
    p50_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    resolution_ms: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of the artifact that was timed, in percent. `metric`, `value` and `ci95` are the
    headline, `metrics` all figures; `reference` and `reference_metrics` are those of the fp32 ONNX
    on the same images, `change_ci95` is the paired interval of value - reference in points, and
    `agreement` how much of what they say is the same. `n` images were evaluated, whose names and
    truths hash to `subset`, on every machine and for every model; `fingerprint` is of all the data
    as their files lie here, times of change and all. `skipped` other images could not be read."""

    task: Task
    metric: str
    value: float
    ci95: tuple[float, float]
    n: int
    dataset: str
    fingerprint: str
    reference: float | None = None
    agreement: float | None = None
    change_ci95: tuple[float, float] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    reference_metrics: dict[str, float] = field(default_factory=dict)
    subset: str = ""
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Size of the network, counted on its ONNX graph (`bench.onnx_count`). `macs` are multiply-
    accumulates an image, `activations` the elements that its convolutions and matrix products put
    out. Both are None where some could not be counted: `uncounted` says which ("3 MatMul"), and
    `least_macs` is the count of the others."""

    params: int
    macs: int | None
    activations: int | None = None
    least_macs: int | None = None
    uncounted: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """What was observed while measuring, never assumed. `versions` are distributions; `flags` are
    what the runtime says it really did (threads, executed precision, ...)."""

    hardware: str
    cpu: str
    gpus: tuple[str, ...]
    os: str
    python: str
    versions: dict[str, str]
    flags: dict[str, Option] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no number. `kind` is one word a script can match: unavailable, usage,
    bad-model, timeout, crash, oom, ...; `message` is one sentence for a person."""

    stage: Stage
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe that was tried for the sake of accuracy: `kept` names the layers in higher
    precision. `accuracy` is None where it failed before."""

    recipe: Recipe
    kept: tuple[str, ...] = ()
    accuracy: Accuracy | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One row: what was asked, and what was found or why nothing was. `started_at` is in UTC;
    `tried` are the recipes that `max_drop` went through, the last one the one that was timed.
    `provenance` says who measured, None for this tool itself."""

    job: Job
    started_at: str
    environment: Environment
    model: Model | None = None
    artifacts: tuple[Artifact, ...] = ()
    facts: Facts | None = None
    check: Check | None = None
    measurement: Measurement | None = None
    accuracy: Accuracy | None = None
    failure: Failure | None = None
    notes: tuple[str, ...] = ()
    tried: tuple[Trial, ...] = ()
    schema: int = SCHEMA
    provenance: Provenance | None = None
    reported: Reported | None = None
