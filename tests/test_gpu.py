"""What a GPU says of itself, on a fake of NVML that is held to the real module."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench import diagnosis, gpu, machine, stats
from bench.environment import environment
from bench.load import Watch
from bench.public import energy_mj
from bench.records import GpuLoad, Load, Measurement, Procedure, Target
from bench.verdict import judge
from tests.builders import measurement
from tests.fake_nvml import OPTIONAL, FakeNvml

if TYPE_CHECKING:
    from collections.abc import Iterator

GPU_TARGET = Target("t4-fp16", "t4", "tensorrt", "fp16", "gpu")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    made = FakeNvml()
    monkeypatch.setattr(gpu, "nvml", lambda: made)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


def device() -> gpu.Device:
    found = gpu.used()
    assert found is not None
    return found


def test_the_fake_has_nothing_that_the_real_one_has_not() -> None:
    pynvml = pytest.importorskip("pynvml")
    for name, own in inspect.getmembers(FakeNvml):
        if name.startswith(("nvml", "NVML_")) and not inspect.isclass(own):
            real = getattr(pynvml, name)
            if callable(own):
                wanted = list(inspect.signature(real).parameters)
                assert list(inspect.signature(own).parameters)[1:] == wanted, name
            else:
                assert own == real, name
    assert issubclass(pynvml.NVMLError, Exception)
    assert {name for name, _ in pynvml.c_nvmlViolationTime_t._fields_} >= {"violationTime"}
    sample = {name for name, _ in pynvml.c_nvmlProcessUtilizationSample_t._fields_}
    assert sample >= {"pid", "smUtil", "timeStamp"}


def test_all_that_is_used_is_in_the_fake() -> None:
    source = Path(gpu.__file__).read_text()
    named = set(re.findall(r"\b(?:nvml[A-Z]\w+|NVML_\w+)\b", source))
    assert named
    assert {name for name in named if not hasattr(FakeNvml, name)} == set()


def test_without_a_driver_there_is_no_gpu() -> None:
    pytest.importorskip("pynvml")
    gpu.nvml.cache_clear()
    if gpu.nvml() is not None:
        pytest.skip("there is a driver here")
    assert gpu.devices() == []
    assert gpu.used() is None
    assert gpu.driver() == ""
    assert gpu.facts(None) == {}


def test_without_the_package_there_is_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    gpu.nvml.cache_clear()
    assert gpu.devices() == []
    gpu.nvml.cache_clear()


def test_facts(fake: FakeNvml) -> None:
    assert gpu.facts(device()) == {
        "compute_capability": "7.5",
        "gpu_max_mhz": 1590,
        "gpu_application_mhz": 585,
        "gpu_memory_mhz": 5001,
        "gpu_power_limit_w": 70.0,
        "gpu_ecc": True,
        "gpu_persistence": False,
    }
    fake.missing = set(OPTIONAL)
    assert set(gpu.facts(device())) == {
        *("compute_capability", "gpu_max_mhz", "gpu_power_limit_w", "gpu_ecc", "gpu_persistence")
    }


def test_which_gpu(fake: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device().handle == "handle 0"
    for named in ("GPU-1234", "1234"):
        found = gpu.used(named)
        assert found is not None
        assert found.handle == "handle of GPU-1234"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1234,GPU-9")
    assert device().handle == "handle of GPU-1234"
    for none in ("", "7", "GPU-none"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert gpu.used() is None


def test_the_machine_is_seen_through_nvml(
    fake: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_DRIVERS", (tmp_path,))
    assert machine._gpus() == (machine.Gpu("Tesla T4", "7.5", "550.54.15"),)


def test_a_machine_without_nvml_asks_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_DRIVERS", (tmp_path,))
    monkeypatch.setattr(gpu, "nvml", lambda: None)
    told = subprocess.CompletedProcess([], 0, "Tesla T4, 7.5, 550.54.15\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: told)
    assert machine._gpus() == (machine.Gpu("Tesla T4", "7.5", "550.54.15"),)


def test_a_watch_adds_up_blocks_and_nothing_between(fake: FakeNvml) -> None:
    watch = Watch(gpu.GpuWatch(device()))
    for mhz, degrees in ((1590, 60), (1500, 70)):
        with watch:
            fake.energy_mj += 5_000
            fake.capped_ns += 7
            fake.sm_mhz, fake.temperature_c = mhz, degrees
        watch.count(100)
        fake.energy_mj += 77_000  # what another process does in its turn
        fake.hot_ns += 9
    found = watch.total.gpu
    assert found == GpuLoad(
        steps=200,
        energy_mj=10_000.0,
        sm_mhz=(1500, 1590),
        temperature_c=70,
        power_mw=60_000,
        slowed_by=(),
        hot_ns=0,
        capped_ns=14,
        others=0,
        others_percent=0,
    )


def test_what_is_not_told_is_none(fake: FakeNvml) -> None:
    fake.missing = set(OPTIONAL)
    watch = Watch(gpu.GpuWatch(device()))
    with watch:
        pass
    found = watch.total.gpu
    assert found == GpuLoad(0, None, None, None, None, (), None, None, None, None)


def test_energy_without_a_counter_is_power_times_time(fake: FakeNvml) -> None:
    fake.missing = {"nvmlDeviceGetTotalEnergyConsumption"}
    watch = gpu.GpuWatch(device())
    watch.begin()
    watch.end(wall_ns=500_000_000)
    assert watch.total.energy_mj == 30_000.0


@pytest.mark.parametrize("old", [False, True])
def test_reasons(fake: FakeNvml, old: bool) -> None:
    if old:
        fake.missing = {"nvmlDeviceGetCurrentClocksEventReasons"}
    fake.reasons = 0x1 | 0x2 | 0x4 | 0x40
    assert device().slowed_by() == ("power limit", "hardware slowdown by heat")


def test_strangers_on_the_gpu(fake: FakeNvml) -> None:
    """A process that the same parent started measures in turns, and is no stranger."""
    with (
        subprocess.Popen(["sleep", "30"]) as stranger,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other,
    ):
        try:
            fake.pids = [os.getpid(), stranger.pid, other.pid]
            fake.use = {os.getpid(): 90, stranger.pid: 12, other.pid: 0}
            watch = gpu.GpuWatch(device())
            watch.begin()
            watch.end(0)
        finally:
            stranger.kill()
            other.kill()
    assert (watch.total.others, watch.total.others_percent) == (2, 12)


def test_a_stranger_that_does_not_compute_or_has_ended(fake: FakeNvml) -> None:
    watch = gpu.GpuWatch(device())
    fake.pids = [os.getpid()]
    fake.use = {1: 70, os.getpid(): 99}
    watch.begin()
    watch.end(0)
    assert (watch.total.others, watch.total.others_percent) == (1, 70)


def test_a_sibling_is_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "30"]) as child:
        try:
            assert not gpu._of_ours(child.pid)
            monkeypatch.setattr(os, "getppid", os.getpid)
            assert gpu._of_ours(child.pid)
        finally:
            child.kill()
    assert not gpu._of_ours(2**22 + 1)


def test_in_a_container_strangers_cannot_be_told(fake: FakeNvml) -> None:
    fake.pids = [4_194_000]
    watch = gpu.GpuWatch(device())
    watch.begin()
    watch.end(0)
    assert watch.total.others is None


QUIET = GpuLoad(1000, 50_000.0, (1590, 1590), 60, 65_000, (), 0, 0, 0, 0)


def loaded(**changed: Any) -> Measurement:
    calm = measurement(processes=4, noise=0.001, blocks=10)
    load = Load(10**9, 99 * 10**7, 0, 0, 3, 0, replace(QUIET, **changed))
    return replace(calm, processes=tuple(replace(run, load=load) for run in calm.processes))


def judged(found: Measurement) -> tuple[str, list[str]]:
    interval = stats.median_interval([run.blocks_ns for run in found.processes])
    return judge(found, interval, Procedure())


def test_a_quiet_gpu_is_no_reason() -> None:
    assert judged(loaded()) == ("VALID", [])
    untold = {"sm_mhz": None, "hot_ns": None, "capped_ns": None, "others": None}
    assert judged(loaded(**untold, others_percent=None)) == ("VALID", [])
    assert judged(loaded(sm_mhz=(1575, 1590))) == ("VALID", [])


@pytest.mark.parametrize(
    ("changed", "verdict", "word"),
    [
        ({"others": 1}, "NOISY", "1 other process had the GPU open"),
        ({"others": 2, "others_percent": 1}, "NOISY", "2 other processes"),
        ({"others": 1, "others_percent": 30}, "INVALID", "used 30% of the GPU"),
        ({"slowed_by": ("heat",)}, "NOISY", "hot"),
        ({"hot_ns": 5}, "NOISY", "hot"),
        ({"slowed_by": ("power limit",)}, "NOISY", "power limit"),
        ({"capped_ns": 5}, "NOISY", "power limit"),
        ({"slowed_by": ("hardware slowdown",)}, "INVALID", "halved its clock"),
        ({"slowed_by": ("external power brake",)}, "INVALID", "external power brake"),
        ({"sm_mhz": (585, 1590)}, "NOISY", "between 585 and 1590 MHz"),
    ],
)
def test_what_the_gpu_did_is_judged(changed: dict[str, Any], verdict: str, word: str) -> None:
    found, reasons = judged(loaded(**changed))
    assert found == verdict
    assert [word in reason for reason in reasons] == [True]


def test_energy_is_per_image() -> None:
    assert energy_mj(loaded(), 1) == pytest.approx(50.0)
    assert energy_mj(loaded(), 10) == pytest.approx(5.0)
    assert energy_mj(loaded(energy_mj=None), 1) is None
    assert energy_mj(measurement(), 1) is None


def test_a_jetson_says_its_clocks_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sys/class/devfreq/17000000.gv11b"
    folder.mkdir(parents=True)
    for name, hertz in (("cur", 1_109_250_000), ("min", 114_750_000), ("max", 1_109_250_000)):
        (folder / f"{name}_freq").write_text(f"{hertz}\n")
    (tmp_path / "sys/class/devfreq/2c00000.memory").mkdir()
    zone = tmp_path / "sys/class/thermal/thermal_zone1"
    zone.mkdir(parents=True)
    (zone / "type").write_text("GPU-therm\n")
    (zone / "temp").write_text("41500\n")
    command = tmp_path / "bin" / "nvpmodel"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\necho 'NV Power Mode: MODE_20W_6CORE'\necho 8\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    assert gpu.jetson(tmp_path) == {
        "gpu_cur_mhz": 1109,
        "gpu_min_mhz": 115,
        "gpu_max_mhz": 1109,
        "gpu_temperature_c": 41,
        "nvpmodel": "MODE_20W_6CORE",
    }


def test_another_machine_has_no_jetsons_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.jetson(tmp_path) == {}


def test_a_boards_mode_is_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import builders

    board = builders.machine(board="NVIDIA Jetson Xavier NX Developer Kit")
    monkeypatch.setattr(machine, "observe", lambda: board)
    monkeypatch.setattr(gpu, "jetson", lambda: {"nvpmodel": "MODE_20W_6CORE"})
    assert environment(GPU_TARGET).flags["nvpmodel"] == "MODE_20W_6CORE"


def test_doctor_shows_the_gpu(fake: FakeNvml, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import builders

    monkeypatch.setattr(machine, "observe", lambda: builders.gpu("Tesla T4", "7.5"))
    monkeypatch.setattr(diagnosis, "_runner_problems", lambda _, fit: [None] * (1 + len(fit)))
    fake.sm_mhz, fake.reasons = 585, 0x20
    found = bench("doctor", "--json").json["machine"]
    assert found["gpu"] == "Tesla T4"
    assert found["gpu clock"] == "585 MHz now, 1590 at most"
    assert found["gpu power"] == "60 W now, 70.0 W at most"
    assert found["gpu held back by"] == "heat"
    assert found["gpu ecc"] == "on"
    assert found["gpu persistence"] == "off"
    assert found["gpu processes"] == "1"
