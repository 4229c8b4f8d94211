"""Targets: the shipped ones, the user's own, and which hardware is taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from bench import targets
from bench.errors import Unavailable, UsageError
from bench.machine import observe
from bench.records import Precision
from tests.builders import gpu, machine, message_of, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.machine import Machine
    from bench.records import Target

EPYC = machine(cpu="AMD EPYC 7B13", vendor="AuthenticAMD", family=25, model=1, stepping=0)
XAVIER = machine(
    cpu="ARMv8 Processor rev 0 (v8l)",
    vendor="",
    family=-1,
    model=-1,
    stepping=-1,
    flags=frozenset({"fp", "asimd"}),
    board="NVIDIA Jetson Xavier NX Developer Kit",
)
ORIN = machine(board="NVIDIA Jetson Orin NX Engineering Reference Developer Kit", vendor="")

#: For each piece of hardware that is shipped: machines that are it, and machines that are not.
#: What runs anywhere has none of the latter.
MACHINES: dict[str, tuple[list[Machine], list[Machine]]] = {
    "cpu": ([machine(), EPYC, XAVIER], []),
    "simulated": ([machine(), EPYC, XAVIER], []),
    "cascade-lake": (
        [machine(stepping=stepping) for stepping in (5, 6, 7)],
        [
            machine(stepping=4, flags=frozenset({"avx512f"})),  # Skylake
            machine(stepping=4),
            machine(stepping=11),  # Cooper Lake
            machine(model=106, stepping=6),  # Ice Lake
            machine(flags=frozenset({"avx512f"})),  # a virtual machine that hides VNNI
            machine(vendor="AuthenticAMD"),
            EPYC,
            XAVIER,
        ],
    ),
    "t4": (
        [gpu("Tesla T4", "7.5"), gpu("NVIDIA T4", "7.5")],
        [
            machine(),
            gpu("NVIDIA T400", "7.5"),
            gpu("NVIDIA T400 4GB", "7.5"),
            gpu("Tesla V100-SXM2-16GB", "7.0"),
            gpu("Quadro T4", "8.9"),
            gpu("NVIDIA H200", "9.0"),
            XAVIER,
        ],
    ),
    "nvidia": ([gpu("Tesla T4", "7.5"), gpu("NVIDIA H200", "9.0"), XAVIER], [machine(), EPYC]),
    "xavier-nx": (
        [XAVIER],
        [machine(), ORIN, gpu("Tesla T4", "7.5"), machine(board="Jetson AGX Xavier")],
    ),
    "orin-nx": (
        [ORIN],
        [machine(), XAVIER, machine(board="NVIDIA Jetson Orin Nano Developer Kit")],
    ),
}


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No files of the user's; the configuration directory, which is empty."""
    monkeypatch.delenv("BENCH_TARGETS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    targets._load.cache_clear()
    yield tmp_path / "config" / "bench"
    targets._load.cache_clear()


def names(found: list[Target]) -> list[str]:
    return [target.name for target in found]


@pytest.mark.parametrize("target", targets.every(), ids=lambda target: target.name)
def test_every_shipped_target_is_whole(target: Target) -> None:
    hardware = targets.hardware_of(target)
    assert target.hardware in MACHINES
    assert hardware.name.split()[0] in ("a", "an", "any", "no")
    assert target.device == hardware.device
    assert target.device in ("cpu", "gpu", "simulated")
    assert target.precision in get_args(Precision)
    assert target.name.endswith(f"-{target.precision}")
    assert target.name == target.name.lower()
    assert targets.select([target.name]) == [target]


def test_no_shipped_name_comes_twice() -> None:
    every = names(targets.every())
    assert len(set(every)) == len(every)
    assert {"t4-int8", "xavier-nx-fp16", "cascade-lake-int8", "cpu-ort-fp32"} <= set(every)


def test_every_shipped_hardware_is_tried_here() -> None:
    assert {target.hardware for target in targets.every()} == MACHINES.keys()


@pytest.mark.parametrize("target", targets.every(), ids=lambda target: target.name)
def test_hardware_is_recognised(target: Target) -> None:
    here, elsewhere = MACHINES[target.hardware]
    for each in here:
        targets.require(target, each)
    for each in elsewhere:
        with refused(Unavailable, target.name):
            targets.require(target, each)


def test_one_fitting_gpu_of_several_is_enough() -> None:
    both = machine(gpus=(*gpu("NVIDIA H200", "9.0").gpus, *gpu("Tesla T4", "7.5").gpus))
    targets.require(targets.select(["t4-fp16"])[0], both)


def test_of_several_gpus_the_one_it_runs_on_has_to_fit() -> None:
    both = machine(gpus=(*gpu("Tesla T4", "7.5").gpus, *gpu("NVIDIA H200", "9.0").gpus))
    (t4,) = targets.select(["t4-fp16"])
    targets.require_used(t4, both, "Tesla T4", "7.5")
    with refused(Unavailable, "t4-fp16", "runs on NVIDIA H200", "CUDA_VISIBLE_DEVICES"):
        targets.require_used(t4, both, "NVIDIA H200", "9.0")
    # Where there is no T4 at all, that was said and --anyway given.
    targets.require_used(t4, gpu("NVIDIA H200", "9.0"), "NVIDIA H200", "9.0")


def test_the_name_of_one_gpu_and_the_capability_of_another_are_no_fit() -> None:
    both = machine(gpus=(*gpu("Tesla T4", "6.1").gpus, *gpu("Quadro RTX 4000", "7.5").gpus))
    with refused(Unavailable, "t4-fp16"):
        targets.require(targets.select(["t4-fp16"])[0], both)


def test_a_refusal_says_what_is_wanted_what_is_here_and_what_to_do() -> None:
    (t4,) = targets.select(["t4-int8"])
    with refused(
        Unavailable,
        "t4-int8 needs an NVIDIA T4",
        "this machine is AMD EPYC 7B13, 20 cores, no NVIDIA GPU",
        "run it there",
        "bench doctor",
    ):
        targets.require(t4, EPYC)
    with refused(Unavailable, "NVIDIA Jetson Xavier NX Developer Kit"):
        targets.require(t4, XAVIER)
    with refused(Unavailable, "NVIDIA H200"):
        targets.require(t4, gpu("NVIDIA H200", "9.0"))


def test_this_machine_is_any_cpu() -> None:
    for target in targets.select(["cpu-*", "null-*"]):
        targets.require(target, observe())


def test_select_by_name_and_glob_in_the_order_asked_each_once() -> None:
    assert names(targets.select(["t4-int8"])) == ["t4-int8"]
    assert names(targets.select(["t4-int8", "t4-*"])) == ["t4-int8", "t4-fp32", "t4-fp16"]
    assert names(targets.select(["null-*", "cpu-ort-fp32"]))[-1] == "cpu-ort-fp32"
    assert targets.select(["*"]) == targets.every()
    assert targets.select([]) == []
    assert all(target.precision == "int8" for target in targets.select(["*-int8"]))


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("t4-int88", "did you mean t4-int8"),
        ("cpu-openvno-int8", "cpu-openvino-int8"),
        ("T4-INT8", "'T4-INT8'"),
        ("nothing-like-it-at-all", "bench list targets"),
        ("zz*", "bench list targets"),
        ("", "bench list targets"),
    ],
)
def test_an_unknown_target_names_the_near_ones(pattern: str, near: str) -> None:
    with refused(UsageError, "unknown target", repr(pattern), near):
        targets.select(["cpu-*", pattern])


def test_options_are_laid_over_the_targets_own() -> None:
    (plain,) = targets.select(["null-fp32"])
    (changed,) = targets.select(["null-fp32"], {"latency_us": 300, "noise": 0.1})
    assert plain.options == {"latency_us": 200}
    assert changed.options == {"latency_us": 300, "noise": 0.1}
    assert targets.select(["null-fp32"], {"noise": 0.1})[0].options["latency_us"] == 200
    assert targets.select(["null-fp32"]) == [plain]


OWN = """
[hardware.toaster]
name = "a toaster"
device = "cpu"
vendor = "Toast"

[target.toaster-int8]
hardware = "toaster"
runner = "ort"
precision = "int8"
options = { slots = 2, brown = 0.5, name = "x", hot = true }

[target.cpu-mine]
hardware = "cpu"
runner = "null"
precision = "fp32"
"""


def use(path: Path, text: str | bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.setenv("BENCH_TARGETS", str(path))
    return path


def check_own() -> None:
    toaster, mine = targets.select(["toaster-int8", "cpu-mine"])
    assert toaster.options == {"slots": 2, "brown": 0.5, "name": "x", "hot": True}
    assert toaster.options["hot"] is True
    assert targets.hardware_of(toaster).name == "a toaster"
    assert mine.device == "cpu"
    assert "t4-int8" in names(targets.every())
    with refused(Unavailable, "needs a toaster"):
        targets.require(toaster, machine())
    targets.require(toaster, machine(vendor="Toast"))


def test_a_file_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path / "mine.toml", OWN, monkeypatch)
    check_own()


def test_a_folder_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path / "mine" / "a.toml", OWN, monkeypatch)
    (tmp_path / "mine" / "notes.txt").write_text("no target")
    monkeypatch.setenv("BENCH_TARGETS", str(tmp_path / "mine"))
    check_own()


def test_the_configuration_directory(own_files: Path) -> None:
    (own_files / "targets").mkdir(parents=True)
    (own_files / "targets" / "a.toml").write_text(OWN)
    check_own()


def test_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path / "mine.toml", OWN, monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BENCH_TARGETS", "~/mine.toml")
    check_own()


def test_an_empty_file_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = targets.every()
    targets._load.cache_clear()
    use(tmp_path / "mine.toml", "", monkeypatch)
    assert targets.every() == shipped


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_TARGETS", str(tmp_path / "none.toml"))
    with refused(UsageError, "BENCH_TARGETS", tmp_path / "none.toml", "does not exist"):
        targets.every()


TABLE = '[target.x]\nhardware = "cpu"\nrunner = "ort"\nprecision = "fp32"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[target.x", "end of document"),
        ("target = \n", "line 1"),
        (b'[target.x]\nrunner = "\xff"', "utf-8"),
        ("[target.x]\n[target.x]\n", "line 2"),
        ("target = 3", "target"),
        ('[target.x]\nhardware = "cpu"', "runner"),
        (TABLE.replace("fp32", "fp31"), "fp31"),
        (TABLE.replace('"ort"', "4"), "runner"),
        (TABLE + "options = 3", "options"),
        (TABLE + "options = { day = 2026-11-21 }", "options"),
        (TABLE + "options = { many = [1, 2] }", "options"),
        ('[hardware.x]\ndevice = "cpu"', "name"),
        ('[hardware.x]\nname = "x"\ndevice = "cpu"\nsteppings = "7"', "steppings"),
        ('[hardware.x]\nname = "x"\ndevice = "cpu"\nfamily = "six"', "family"),
        (TABLE.replace("target.x", "target.t4-int8"), "'t4-int8', which exists already"),
        ('[hardware.t4]\nname = "x"\ndevice = "gpu"', "'t4', which exists already"),
    ],
)
def test_a_bad_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes, words: str
) -> None:
    path = use(tmp_path / "mine.toml", text, monkeypatch)
    with refused(UsageError, path, words):
        targets.every()


@pytest.mark.parametrize(
    "text",
    [
        # Dropped in silence, each of these would let the target run on whatever is here.
        '[hardware.x]\nname = "x"\ndevice = "cpu"\nstepping = [7]',
        '[hardware.x]\nname = "x"\ndevice = "gpu"\ncompute-capability = "7.5"',
        TABLE + "option = { latency_us = 3 }",
        "[targets.x]\n",
    ],
    ids=["hardware", "dash", "target", "table"],
)
def test_a_misspelt_key_is_not_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    path = use(tmp_path / "mine.toml", text, monkeypatch)
    with refused(UsageError, path):
        targets.every()


def test_a_name_in_two_files_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path / "mine" / "a.toml", TABLE, monkeypatch)
    second = use(tmp_path / "mine" / "b.toml", TABLE, monkeypatch)
    monkeypatch.setenv("BENCH_TARGETS", str(tmp_path / "mine"))
    with refused(UsageError, second, "'x'"):
        targets.every()


def test_unknown_hardware_names_the_near_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(tmp_path / "mine.toml", TABLE.replace('"cpu"', '"cascade_lake"'), monkeypatch)
    with pytest.raises(UsageError, match="cascade-lake") as caught:
        targets.every()
    assert "hardware" in message_of(caught.value)
