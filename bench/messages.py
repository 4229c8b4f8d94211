"""What a parent and its child say to each other: one JSON object a line.

The parent writes a request; the child answers with At and Found as it goes, and ends with Done or
Failed. A child that measures stays alive and takes commands, each of which ends so too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bench.records import (
    Accuracy,
    Artifact,
    Check,
    Data,
    Environment,
    Facts,
    Failure,
    Job,
    Load,
    Model,
    Stage,
    Target,
)

#: Of two processes that take turns, what one of them has: the file descriptor that it reads from
#: when it is its turn, and the one that it writes to when it is the other's.
Ends = tuple[int, int]


class Lead(msgspec.Struct, frozen=True):
    """The file descriptors of a process: what it reads its request and its commands from, what it
    answers to, and those that it takes turns by."""

    reads: int
    answers: int
    partner: Ends

    @property
    def ends(self) -> tuple[int, ...]:
        """All of them."""
        return self.reads, self.answers, *self.partner


class Timed(msgspec.Struct, frozen=True):
    """A built artifact and the inputs that it is timed on."""

    built: Artifact
    pool: Artifact


class Names(msgspec.Struct, tag=True, frozen=True):
    """Ask for every model name of a source."""

    source: str


class Outlines(msgspec.Struct, tag=True, frozen=True):
    """Ask for an outline of every model of a source."""

    source: str


class Probe(msgspec.Struct, tag=True, frozen=True):
    """Ask why a runner cannot run some targets, or why nothing can be built for them here: a list
    of reasons, null for ready ones."""

    targets: list[Target]
    build_only: bool = False


class Describe(msgspec.Struct, tag=True, frozen=True):
    """Ask what a model is, without its weights, which have this tag; answered by Described."""

    model: str
    tag: str | None
    cache: str


class Export(msgspec.Struct, tag=True, frozen=True):
    """Describe and export a model; answered by Exported."""

    model: str
    weights: str
    cache: str
    fresh: bool


class Prepare(msgspec.Struct, tag=True, frozen=True):
    """Describe, export, build, and check on so many inputs; answered by Prepared. The canary beside
    it is for what is going to be timed. With `build_only` the artifact need not be able to run
    here."""

    job: Job
    cache: str
    fresh: bool
    inputs: int = 4
    canary: bool = True
    build_only: bool = False


class Canary(msgspec.Struct, tag=True, frozen=True):
    """Ask for the canary, built for a target; answered by a Timed."""

    target: Target
    cache: str


class Inputs(msgspec.Struct, tag=True, frozen=True):
    """Ask for the inputs that a recorded model was timed on; answered by an Artifact."""

    model: Model
    data: Data
    cache: str


class Measure(msgspec.Struct, tag=True, frozen=True):
    """Get ready to time a built artifact in this one process; then comes WarmUp, then Blocks; or
    Turns, where there is a partner to take them with."""

    job: Job
    timed: Timed
    canary: Timed | None
    packages: tuple[str, ...]
    partner: Ends | None = None


class Twins(msgspec.Struct, tag=True, frozen=True):
    """Import what timing on a target takes and become two processes, each of which has a Lead of
    its own and reads a Measure from there. Answered by their ids, then, as each one ends, by an
    Ended."""

    target: Target
    leads: tuple[Lead, Lead]


class Evaluate(msgspec.Struct, tag=True, frozen=True):
    """Measure the accuracy of a built artifact; answered by an Evaluated."""

    job: Job
    model: Model
    exported: Artifact
    built: Artifact
    cache: str
    fresh: bool


Request = (
    Names
    | Outlines
    | Probe
    | Describe
    | Export
    | Prepare
    | Inputs
    | Canary
    | Measure
    | Twins
    | Evaluate
)


class WarmUp(msgspec.Struct, tag=True, frozen=True):
    """Load the artifact and warm it up; answered by Warmed."""


class Block(msgspec.Struct, tag=True, frozen=True):
    """Measure for so many seconds, 0 for a single call; answered by a Sampled."""

    seconds: float


class Turns(msgspec.Struct, tag=True, frozen=True):
    """Take turns with the partner for so many `seconds`, measuring for `block_seconds` each time, 0
    for a single call; who is `first` begins. The first `uncounted` turns are for the caches, after
    a pause. Answered by a Turned."""

    seconds: float
    block_seconds: float
    first: bool
    uncounted: int = 0


class Finish(msgspec.Struct, tag=True, frozen=True):
    """Say what was observed, and end; answered by Observed."""


Command = WarmUp | Block | Turns | Finish


class Described(msgspec.Struct, frozen=True):
    """A model as its source describes it, and what was counted in an export that is there."""

    model: Model
    facts: Facts | None


class Exported(msgspec.Struct, frozen=True):
    """A model, its ONNX file, and what is counted in it."""

    model: Model
    artifact: Artifact
    facts: Facts


class Prepared(msgspec.Struct, frozen=True):
    """All that timing and evaluating need. `accuracy_note` says why no accuracy can be measured,
    null when it can; `check` is null where nothing could be checked."""

    model: Model
    exported: Artifact
    timed: Timed
    canary: Timed | None
    facts: Facts
    check: Check | None
    packages: tuple[str, ...]
    accuracy_note: str | None
    notes: tuple[str, ...]


class Warmed(msgspec.Struct, frozen=True):
    """How long loading and the first inference took, and the warm-up; in ns."""

    load_ns: int
    first_ns: int
    warmup_ns: tuple[int, ...]
    stable: bool


class Sampled(msgspec.Struct, frozen=True):
    """The calls that brought the caches back, the samples of one block, and those of the canary's
    block after it; in ns."""

    dropped_ns: tuple[int, ...]
    block_ns: tuple[int, ...]
    canary_ns: tuple[int, ...] = ()


class Ended(msgspec.Struct, frozen=True):
    """With what status a process has ended, minus the signal that killed it."""

    pid: int
    status: int


class Turned(msgspec.Struct, frozen=True):
    """The samples of each of one's own blocks, in ns."""

    blocks_ns: tuple[tuple[int, ...], ...]


class Observed(msgspec.Struct, frozen=True):
    """What the process saw in all its blocks."""

    environment: Environment
    peak_rss_bytes: int
    load: Load


class Evaluated(msgspec.Struct, frozen=True):
    """The accuracy, and what there is to say of the images."""

    accuracy: Accuracy
    notes: tuple[str, ...]


class At(msgspec.Struct, tag=True, frozen=True):
    """The child has come to a stage."""

    stage: Stage


class Quantized(msgspec.Struct, frozen=True):
    """How int8 is being made: on `images` of the `available` ones, with the layers `kept` in higher
    precision; and what else the runner could do: its `methods`, and whether it `keeps` layers."""

    images: int
    available: int
    kept: tuple[str, ...]
    methods: tuple[str, ...]
    keeps: bool


class Found(msgspec.Struct, tag=True, frozen=True):
    """Something worth keeping in the row even if a later stage fails."""

    model: Model | None = None
    artifact: Artifact | None = None
    quantized: Quantized | None = None


class Done(msgspec.Struct, tag=True, frozen=True):
    value: Any


class Failed(msgspec.Struct, tag=True, frozen=True):
    failure: Failure
    traceback: str


class Progress(msgspec.Struct, tag=True, frozen=True):
    """So many images of so many are done, at so many a second."""

    done: int
    total: int
    rate: float


#: What a child says on its way to an answer.
Update = At | Found | Progress
Reply = Update | Done | Failed
