"""Records made up for tests, and what the message of every error has to be."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import strategies as st

from bench.machine import Gpu, Machine
from bench.records import (
    Accuracy,
    Artifact,
    Check,
    Data,
    Environment,
    Facts,
    Failure,
    Job,
    Measurement,
    Model,
    Preprocess,
    Procedure,
    ProcessRun,
    Published,
    Result,
    Target,
    TensorSpec,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CPU = "Intel(R) Xeon(R) Processor @ 2.60GHz"
ENVIRONMENT = Environment(
    hardware=f"{CPU}, 2 cores",
    cpu=CPU,
    gpus=(),
    os="Linux 6.1",
    python="3.11.7",
    versions={"onnxruntime": "1.31.1", "numpy": "2.1.0"},
    flags={"threads": 2, "provider": "CPUExecutionProvider", "simulated": False, "load": 0.25},
)
TARGET = Target("cpu-ort-int8", "cpu", "ort", "int8", options={"latency_us": 200, "fast": True})
PREPROCESS = Preprocess(224, 224, 256, "bicubic", "RGB", (0.485, 0.456, 0.406), (0.2, 0.2, 0.2))


def message_of(error: BaseException) -> str:
    """What a person, or the store, is given: one line, and not nothing."""
    text = str(error)
    assert text.strip()
    assert text.splitlines() == [text], f"more than one line: {text!r}"
    return text


@contextmanager
def refused(kind: type[Exception], *words: object) -> Iterator[None]:
    """The block raises exactly `kind`, with a message of one line that has every one of `words`."""
    with pytest.raises(kind) as caught:
        yield
    assert type(caught.value) is kind
    message = message_of(caught.value)
    for word in words:
        assert str(word) in message


def blocks_ns(
    seed: int = 0,
    *,
    blocks: int = 4,
    samples: int = 60,
    centre_ns: float = 1e6,
    noise: float = 0.01,
) -> tuple[tuple[int, ...], ...]:
    """Blocks of lognormal samples around a centre."""
    rng = np.random.default_rng(seed)
    drawn = centre_ns * rng.lognormal(0.0, noise, (blocks, samples))
    return tuple(tuple(int(ns) for ns in block) for block in drawn)


def measurement(seed: int = 0, *, processes: int = 3, **how: Any) -> Measurement:
    runs = tuple(
        ProcessRun(
            blocks_ns=blocks_ns(seed * 100 + i, **how),
            warmup_ns=(1_500_000, 1_100_000, 1_000_000),
            stable=True,
            load_ns=30_000_000 + i,
            first_ns=4_000_000,
            peak_rss_bytes=90_000_000,
        )
        for i in range(processes)
    )
    return Measurement("device", runs, "interval", 10**9)


def job(model: str = "timm:resnet50", target: Target = TARGET) -> Job:
    return Job(model, target, data=Data("/data/val", None, 64))


def invalid(result: Result) -> Result:
    """The same result, its processes as far apart as no believable ones are."""
    assert result.measurement is not None
    processes = tuple(
        replace(
            run, blocks_ns=tuple(tuple(ns * (1 + i) for ns in block) for block in run.blocks_ns)
        )
        for i, run in enumerate(result.measurement.processes)
    )
    return replace(result, measurement=replace(result.measurement, processes=processes))


def ok(seed: int = 0, *, model: str = "timm:resnet50", **changed: Any) -> Result:
    """A whole result with raw samples; another seed is another result, a second later."""
    source, _, name = model.partition(":")
    onnx = Artifact("/cache/a/model.onnx", "onnx", "0f" * 32, 102_000_000, "torch.onnx", 4.5)
    built = replace(onnx, path="/cache/b/model.onnx", format="onnx-qdq", bytes=26_000_000)
    whole = Result(
        job=job(model),
        started_at=f"2026-11-21T01:{seed // 60:02}:{seed % 60:02}.000+00:00",
        environment=ENVIRONMENT,
        model=Model(
            name=name,
            source=source,
            weights="a1_in1k",
            task="classification",
            inputs=(TensorSpec("input", (None, 3, 224, 224), "float32"),),
            preprocess=PREPROCESS,
            labels=("cat", "dog"),
            published=Published("top1", 80.1, "a1_in1k", "https://example.org/results.csv"),
        ),
        artifacts=(onnx, replace(built, details={"opset": 18, "per_channel": True})),
        facts=Facts(params=25_600_000, macs=4_100_000_000),
        check=Check(cosine=0.998, max_rel=0.02, n=4),
        measurement=measurement(seed),
        accuracy=Accuracy(
            "classification", "top1", 79.5, (78.9, 80.1), 20_000, "val", "ab" * 32, 80.0, 98.5
        ),
        notes=("a note, with a comma",),
    )
    return replace(whole, **changed)


def failed(
    seed: int = 0, *, kind: str = "crash", message: str = "it died", **changed: Any
) -> Result:
    """A result without a number, and with the reason."""
    nothing = dict.fromkeys(("model", "facts", "check", "measurement", "accuracy"))
    failure = Failure("build", kind, message)
    without: dict[str, Any] = {**nothing, "artifacts": (), "failure": failure, "notes": ()}
    return replace(ok(seed), **{**without, **changed})


def machine(**changed: Any) -> Machine:
    """A server with a Cascade Lake CPU and nothing else, or whatever `changed` makes of it."""
    made = Machine(
        cpu="Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz",
        vendor="GenuineIntel",
        family=6,
        model=85,
        stepping=7,
        flags=frozenset({"avx2", "avx512f", "avx512_vnni"}),
        threads=20,
        gpus=(),
        board="",
        os="Linux 6.1",
    )
    return replace(made, **changed)


def gpu(name: str, compute_capability: str) -> Machine:
    return machine(gpus=(Gpu(name, compute_capability, "550.54.15"),))


# What hypothesis draws: anything that the types allow and that JSON can say.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
OPTION = st.one_of(TEXT, st.booleans(), NUMBER, st.integers(-(2**63), 2**64 - 1))
_OPTIONS = st.dictionaries(TEXT, OPTION, max_size=3)
_COUNT = st.integers(0, 2**53)


def _some(values: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, min_size=least, max_size=3).map(tuple)


def _process_runs() -> st.SearchStrategy[ProcessRun]:
    return st.builds(
        ProcessRun,
        blocks_ns=_some(_some(st.integers(1, 2**50), 1), 1),
        warmup_ns=_some(st.integers(1, 2**50)),
        stable=st.booleans(),
        load_ns=_COUNT,
        first_ns=_COUNT,
        peak_rss_bytes=_COUNT,
    )


def _models() -> st.SearchStrategy[Model]:
    size = st.one_of(st.none(), st.integers(1, 4096))
    return st.builds(
        Model,
        name=TEXT,
        source=TEXT,
        weights=TEXT,
        task=st.sampled_from([None, "classification", "detection"]),
        inputs=_some(st.builds(TensorSpec, TEXT, _some(size), TEXT)),
        preprocess=st.sampled_from([None, PREPROCESS, replace(PREPROCESS, shorter_side=None)]),
        labels=_some(TEXT),
        published=st.one_of(st.none(), st.builds(Published, TEXT, NUMBER, TEXT, TEXT)),
        weights_file=st.one_of(st.none(), TEXT),
        notes=_some(TEXT),
    )


def results() -> st.SearchStrategy[Result]:
    """Any record: whole, failed, or something in between."""
    target = st.builds(Target, TEXT, TEXT, TEXT, st.sampled_from(["fp32", "int8"]), TEXT, _OPTIONS)
    procedure = st.builds(
        Procedure,
        batch=st.integers(1, 2**31),
        window=st.sampled_from(["device", "io"]),
        min_seconds=NUMBER,
        rel_error=NUMBER,
        threads=st.one_of(st.none(), st.integers(1, 512)),
        seed=_COUNT,
    )
    limit = st.one_of(st.none(), st.integers(1, 10**6))
    data = st.builds(Data, st.one_of(st.none(), TEXT), limit, st.integers(1, 10**6))
    runs = st.builds(
        Measurement, st.just("device"), _some(_process_runs(), 1), st.sampled_from(["cap"])
    )
    environment = st.builds(
        Environment,
        hardware=TEXT,
        cpu=TEXT,
        gpus=_some(TEXT),
        os=TEXT,
        python=TEXT,
        versions=st.dictionaries(TEXT, TEXT, max_size=3),
        flags=_OPTIONS,
        notes=_some(TEXT),
    )
    accuracy = st.builds(
        Accuracy,
        task=st.just("classification"),
        metric=TEXT,
        value=NUMBER,
        ci95=st.tuples(NUMBER, NUMBER),
        n=_COUNT,
        dataset=TEXT,
        fingerprint=TEXT,
        reference=st.one_of(st.none(), NUMBER),
        agreement=st.one_of(st.none(), NUMBER),
    )
    artifact = st.builds(Artifact, TEXT, TEXT, TEXT, _COUNT, TEXT, NUMBER, _some(TEXT), _OPTIONS)
    return st.builds(
        Result,
        job=st.builds(Job, TEXT, target, TEXT, procedure, data),
        started_at=st.datetimes().map(lambda moment: f"{moment.isoformat()}+00:00"),
        environment=environment,
        model=st.one_of(st.none(), _models()),
        artifacts=_some(artifact),
        facts=st.one_of(st.none(), st.builds(Facts, _COUNT, st.one_of(st.none(), _COUNT))),
        check=st.one_of(st.none(), st.builds(Check, NUMBER, NUMBER, _COUNT)),
        measurement=st.one_of(st.none(), runs),
        accuracy=st.one_of(st.none(), accuracy),
        failure=st.one_of(st.none(), st.builds(Failure, st.just("open"), TEXT, TEXT)),
        notes=_some(TEXT),
    )
