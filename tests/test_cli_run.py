"""`bench run` as its users meet it: results, refusals, faults and interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from bench import launch, rounds
from bench.cache import Cache
from bench.machine import observe
from bench.store import Store
from tests.builders import ok
from tests.conftest import QUICK, WORKED, write_network

if TYPE_CHECKING:
    from collections.abc import Callable

LATENCY_KEYS = {
    "window", "p50_ms", "ci95_ms", "mean_ms", "min_ms", "p90_ms", "p99_ms", "max_ms", "samples",
    "processes", "canary_ratio", "stopped_by",
}  # fmt: skip
KEYS = {
    "id", "status", "model", "source", "weights", "target", "hardware", "runner", "precision",
    "batch", "latency", "throughput_ips", "load_ms", "build_s", "first_ms", "peak_rss_mb",
    "artifact_mb", "params_m", "gmacs", "accuracy", "verdict", "reasons", "failure",
    "environment", "artifacts",
}  # fmt: skip
#: Needs no runtime but the base's.
FAKE = ["--target", "null-fp32"]


def assert_timed_beside_its_canary(row: Any, store: Path) -> None:
    """The one result in the store, and its public row: a canary sang in every block."""
    assert row["latency"]["canary_ratio"] > 0
    assert not [note for note in row["notes"] if "canary" in note]
    (result,) = Store(str(store)).read()
    assert result.measurement is not None
    assert result.measurement.canary
    for run in result.measurement.processes:
        assert len(run.canary_ns) == len(run.blocks_ns)


def one_line(text: str) -> str:
    """The last line printed, after making sure that no traceback was."""
    assert "Traceback" not in text
    return text.strip().splitlines()[-1]


def test_json_has_the_keys_that_scripts_rely_on(
    bench: Any, tiny_onnx: Path, own_store: Path
) -> None:
    ran = bench("run", "--model", tiny_onnx, *FAKE, *QUICK, "--json")
    assert ran.status in WORKED
    assert ran.json.keys() >= KEYS
    assert ran.json["latency"].keys() == LATENCY_KEYS
    assert ran.json["status"] == "ok"
    low, high = ran.json["latency"]["ci95_ms"]
    assert low <= ran.json["latency"]["p50_ms"] <= high
    assert ran.json["latency"]["min_ms"] >= 0.2
    assert ran.json["latency"]["canary_ratio"] == pytest.approx(1, abs=0.3)  # both are simulated
    assert ran.json["latency"]["processes"] >= 2
    assert ran.json["failure"] is None
    assert_timed_beside_its_canary(ran.json, own_store)


def test_several_jobs_make_a_list_and_a_table_in_80_columns(bench: Any, tiny_onnx: Path) -> None:
    table = bench("run", "--model", tiny_onnx, "--target", "null-*", *QUICK).out
    assert "null-int8" in table
    assert max(map(len, table.splitlines())) <= 80
    absent = ["--target", "t4-fp16", "--target", "t4-int8", "--json"]
    listed = bench("run", "--model", tiny_onnx, *absent).json
    assert [row["target"] for row in listed] == ["t4-fp16", "t4-int8"]


def test_facts_and_check_come_with_the_number(bench: Any, tiny_onnx: Path, own_store: Path) -> None:
    on = ["--target", "cpu-ort-fp32", "--threads", "1", *QUICK]
    row = bench("run", "--model", tiny_onnx, *on, "--json").json
    assert row["params_m"] == pytest.approx((8 * 27 + 8 + 80 + 10) / 1e6)
    assert row["gmacs"] == pytest.approx((16 * 16 * 8 * 27 + 80) / 1e9)
    assert row["check"]["cosine"] > 0.9999
    assert row["accuracy"] is None
    assert any("preprocessing" in note for note in row["notes"])
    assert row["environment"]["versions"]["onnxruntime"]
    assert_timed_beside_its_canary(row, own_store)


def test_threads_batch_and_window_are_what_was_asked(bench: Any, tiny_onnx: Path) -> None:
    asked = ["--threads", "1", "--batch", "3", "--window", "io", *QUICK, "--json"]
    row = bench("run", "--model", tiny_onnx, "--target", "cpu-ort-fp32", *asked).json
    assert row["environment"]["flags"]["threads"] == 1
    assert row["latency"]["window"] == "io"
    assert row["batch"] == 3
    mean = row["latency"]["mean_ms"]
    assert row["throughput_ips"] == pytest.approx(3000 / mean)


@pytest.mark.parametrize("target", ["cpu-ort-int8", "cpu-openvino-int8"])
def test_int8_is_quantized_and_says_how(
    bench: Any, tiny_onnx: Path, own_store: Path, target: str
) -> None:
    pytest.importorskip("openvino")
    row = bench("run", "--model", tiny_onnx, "--target", target, *QUICK, "--json").json
    built = row["artifacts"][-1]
    assert built["details"]["calibration_n"] > 0
    assert built["sha256"] != row["artifacts"][0]["sha256"]
    assert 0.8 < row["check"]["cosine"] <= 1
    assert any("calibrated on random inputs" in note for note in row["notes"])
    assert row["environment"]["flags"]["threads"] >= 1
    assert_timed_beside_its_canary(row, own_store)


def test_int8_without_images_says_what_is_missing_for_them(
    bench: Any, tiny_onnx: Path, tmp_path: Path
) -> None:
    """Images cannot be fed to a file that nothing is known of: --data alone is no remedy."""
    job = ["compile", "-m", tiny_onnx, "-t", "cpu-ort-int8", "--json"]
    for more, said in ([], "and give --data"), (["--data", tmp_path], "were left unused"):
        notes = bench(*job, *more).json["notes"]
        (note,) = [note for note in notes if "calibrated on random inputs" in note]
        assert "say in tiny.toml beside it how images are fed" in note
        assert said in note


def test_openvino_fp32_really_is_fp32(bench: Any, tiny_onnx: Path, own_store: Path) -> None:
    pytest.importorskip("openvino")
    row = bench("run", "-m", tiny_onnx, "-t", "cpu-openvino-fp32", *QUICK, "--json").json
    flags = row["environment"]["flags"]
    assert flags["precision_hint"] == "f32"
    assert {part.partition(":")[0] for part in flags["executed"].split()} == {"f32"}
    assert_timed_beside_its_canary(row, own_store)


def test_a_second_run_makes_nothing_again(bench: Any, tiny_onnx: Path, shared_cache: Path) -> None:
    """Nor does a run after `bench compile`."""
    job = ["--model", tiny_onnx, "--target", "cpu-ort-int8", "--json"]
    first = bench("compile", *job).json["artifacts"][-1]
    made = Path(first["path"]).stat().st_mtime_ns
    ran = bench("run", *job, "--threads", "1", *QUICK)
    assert ran.json["artifacts"][-1] == first
    assert Path(first["path"]).stat().st_mtime_ns == made
    bench("compile", *job, "--no-cache")
    assert Path(first["path"]).stat().st_mtime_ns > made
    assert Cache(shared_cache).size()["build"][0] >= 1


def test_unknown_names_give_near_matches_and_exit_2(bench: Any, tiny_onnx: Path) -> None:
    target = bench("run", "-m", tiny_onnx, "-t", "cpu-ort-fp23")
    assert target.status == 2
    assert "cpu-ort-fp32" in one_line(target.err)
    model = bench("run", "-m", "builtin:digits-resnets", *FAKE)
    assert model.status == 2
    assert "builtin:digits-resnet" in one_line(model.err)
    source = bench("run", "-m", "tim:resnet50", *FAKE)
    assert source.status == 2
    assert "timm" in one_line(source.err)


def test_wrong_arguments_exit_2_in_one_sentence(
    bench: Any, tiny_onnx: Path, tmp_path: Path
) -> None:
    fake = ["run", "-m", tiny_onnx, *FAKE, *QUICK]
    notes = tmp_path / "notes.txt"
    notes.write_text("hello")
    for arguments, word in [
        (["run", "-m", "nowhere.onnx", *FAKE], "does not exist"),
        (["run", "-m", tmp_path / "x" / "*.onnx", *FAKE], "does not exist"),
        ([*fake, "--data", "nowhere"], "does not exist"),
        ([*fake, "--data", notes], "not a folder"),
        ([*fake, "-o", "latency"], "KEY=VALUE"),
        ([*fake, "-o", "latancy_us=3"], "latency_us"),
        ([*fake, "-o", "fault=nonsense"], "KIND@STAGE"),
        (["run", "-m", tiny_onnx, "-t", "cpu-ort-fp32", "-o", "streams=1"], "session config"),
        (["run", "-m", tiny_onnx, "-t", "cpu-openvino-fp32", "-o", "streams=1"], "SCHEDULING_CORE"),
        (["run", "-m", tiny_onnx, "-t", "cpu-openvino-fp32", "-o", "NUM_STREAMS=2"], "--streams"),
        ([*fake, "--weights", "random"], "its own weights"),
        ([*fake, "--batch", "0"], "batch"),
        ([*fake, "--store", "nonsense://x"], "store"),
    ]:
        ran = bench(*arguments)
        assert ran.status == 2, arguments
        assert word in ran.err, arguments
        assert "Traceback" not in ran.err


@pytest.mark.parametrize("option", ["--data", "--calib", "--weights"])
def test_a_path_that_is_not_utf8_exits_2_in_one_sentence(
    bench: Any, tiny_onnx: Path, tmp_path: Path, option: str
) -> None:
    """No record could hold it."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("the file system takes no such name")
    given = [option, odd, *(["--data", tmp_path] if option == "--calib" else [])]
    ran = bench("run", "-m", tiny_onnx, *FAKE, *QUICK, *given)
    assert ran.status == 2
    assert "caf\\udce9' is not UTF-8: rename it" in ran.err
    assert "Traceback" not in ran.err


def test_coverage_with_weights_that_are_not_utf8_exits_2(bench: Any, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.pt")
    try:
        odd.touch()
    except OSError:
        pytest.skip("the file system takes no such name")
    job = ["-m", "builtin:digits-lenet", *FAKE, "--weights", odd, "--out", tmp_path / "out.md"]
    ran = bench("coverage", *job)
    assert ran.status == 2
    assert "caf\\udce9.pt' is not UTF-8: rename it" in ran.err


def test_hardware_that_is_not_here_is_refused_with_exit_3(
    bench: Any, tiny_onnx: Path, own_store: Path
) -> None:
    ran = bench("run", "-m", tiny_onnx, "-t", "t4-int8", "--json")
    assert ran.status == 3
    failure = ran.json["failure"]
    assert failure["kind"] == "unavailable"
    for part in ("NVIDIA T4", "this machine is", "bench doctor"):
        assert part in failure["message"]
    assert len(Store(str(own_store)).read()) == 1  # what could not run stays visible


def test_what_can_run_runs_beside_what_cannot(bench: Any, tiny_onnx: Path) -> None:
    ran = bench("run", "-m", tiny_onnx, "-t", "t4-fp16", "-t", "null-fp32", *QUICK, "--json")
    assert ran.status == 3
    assert [row["status"] for row in ran.json] == ["failed", "ok"]


def test_anyway_records_the_hardware_observed(bench: Any, tiny_onnx: Path) -> None:
    pytest.importorskip("openvino")
    asked = ["-t", "cascade-lake-fp32", "--anyway", *QUICK, "--json"]
    row = bench("run", "-m", tiny_onnx, *asked).json
    assert row["status"] == "ok"
    assert row["hardware"] == observe().hardware("cpu")
    assert "Cascade Lake" not in row["hardware"]


def test_files_that_are_no_whole_onnx_are_one_sentence(
    bench: Any, tiny_onnx: Path, tmp_path: Path
) -> None:
    text, empty, cut = (tmp_path / f"{name}.onnx" for name in ("text", "empty", "cut"))
    text.write_text("this is not a network\n")
    empty.write_bytes(b"")
    cut.write_bytes(tiny_onnx.read_bytes()[:-100])
    for path in (text, empty, cut):
        ran = bench("run", "-m", path, *FAKE, "--json")
        assert ran.status == 1, path
        assert ran.json["failure"]["kind"] == "bad-model"
        assert path.name in ran.json["failure"]["message"]
        assert "\n" not in ran.json["failure"]["message"]
        assert "Traceback" not in ran.err
    assert "Traceback" in bench("run", "-m", text, *FAKE, "--debug").err


def test_a_missing_external_file_is_named(bench: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_onnx)
    onnx.save(
        model,
        tmp_path / "net.onnx",
        save_as_external_data=True,
        location="net.weights",
        size_threshold=0,
    )
    assert bench("compile", "-m", tmp_path / "net.onnx", *FAKE).status == 0
    (tmp_path / "net.weights").unlink()
    ran = bench("run", "-m", tmp_path / "net.onnx", *FAKE, "--json")
    assert ran.status == 1
    assert "net.weights" in ran.json["failure"]["message"]


def test_a_batch_that_the_file_does_not_allow(bench: Any, tmp_path: Path) -> None:
    fixed = write_network(tmp_path / "fixed.onnx", batch=1)
    on = [word for name in ("cpu-ort-*", "cpu-openvino-fp32") for word in ("-t", name)]
    assert bench("compile", "-m", fixed, *on).status == 0
    ran = bench("run", "-m", fixed, *on, "--batch", "4", *QUICK, "--json")
    assert ran.status == 1
    assert {row["failure"]["kind"] for row in ran.json} == {"fixed-batch"}


FAULTS = [
    ("raise@build", "simulated", "build"),
    ("raise@time", "simulated", "time"),
    ("crash@open", "crash", "open"),
    ("crash@time", "crash", "time"),
    ("kill@time", "crash", "time"),
    ("oom@build", "oom", "build"),
    ("exit@build", "crash", "build"),
    ("wrong@time", "wrong-output", "check"),
]


def faulty(name: str, fault: str) -> str:
    """The TOML of a target that has a fault of its own."""
    return (
        f'[target.{name}]\nhardware = "simulated"\nrunner = "null"\nprecision = "fp32"\n'
        f'options = {{ fault = "{fault}" }}\n'
    )


def test_a_fault_is_a_row_and_the_next_job_runs(
    bench: Any, tiny_onnx: Path, own_targets: Callable[[str], Path]
) -> None:
    """Faults after faults, and a target without any at the end."""
    own_targets("".join(faulty(f"fault-{i}", fault) for i, (fault, *_) in enumerate(FAULTS)))
    ran = bench("run", "-m", tiny_onnx, "-t", "fault-*", "-t", "null-fp32", *QUICK, "--json")
    assert ran.status == 1
    *failed, fine = ran.json
    for row, (fault, kind, stage) in zip(failed, FAULTS, strict=True):
        assert (row["failure"]["kind"], row["failure"]["stage"]) == (kind, stage), fault
        assert "\n" not in row["failure"]["message"]
    assert fine["status"] == "ok"
    assert "Traceback" not in ran.err


def test_a_hang_is_ended_by_the_time_limit(bench: Any, tiny_onnx: Path) -> None:
    stuck = ["-o", "fault=hang@time", "--processes", "1", "--timeout", "6"]
    ran = bench("run", "-m", tiny_onnx, *FAKE, *stuck, "--json")
    assert ran.status == 1
    assert ran.json["failure"]["kind"] == "timeout"
    assert ran.json["failure"]["stage"] == "time"


def test_a_process_that_cannot_be_started_is_a_row(
    bench: Any, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory, no process or no file is left for it."""

    def none_left() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(launch.tempfile, "TemporaryFile", none_left)
    ran = bench("run", "-m", tiny_onnx, *FAKE, "--json")
    assert ran.status == 1
    assert ran.json["failure"]["kind"] == "spawn"
    assert "cannot be started: Too many open files" in ran.json["failure"]["message"]


def test_a_time_limit_of_months(bench: Any, tiny_onnx: Path) -> None:
    assert bench("compile", "-m", tiny_onnx, *FAKE, "--timeout", "1e7").status == 0


def test_a_signal_without_a_name_is_called_by_its_number() -> None:
    assert launch._signal_name(9) == "SIGKILL"
    assert launch._signal_name(40) == "signal 40"


def test_no_more_time_is_taken_than_allowed(bench: Any, tiny_onnx: Path) -> None:
    latency = bench("run", "-m", tiny_onnx, *FAKE, "--max-seconds", "0.2", "--json").json["latency"]
    assert latency["samples"] * latency["mean_ms"] < 400


def test_a_number_that_means_nothing_is_invalid_and_exits_6(bench: Any, tiny_onnx: Path) -> None:
    asked = ["-o", "noise=2", "-o", "latency_us=10000", "--processes", "2", "--min-seconds", "0.02"]
    ran = bench("run", "-m", tiny_onnx, *FAKE, *asked, "--max-seconds", "0.02", "--json")
    assert ran.json["verdict"] == "INVALID"
    assert ran.json["reasons"]
    assert ran.status == 6


def test_a_store_that_cannot_be_written_is_said_before_measuring(
    bench: Any, tiny_onnx: Path, own_store: Path, tmp_path: Path
) -> None:
    Store(str(own_store)).append(ok())
    read_only = f"sqlite:///file:{own_store}?mode=ro&uri=true"
    ran = bench("run", "-m", tiny_onnx, *FAKE, *QUICK, "--store", read_only)
    assert ran.status == 1
    assert "store" in one_line(ran.err)
    assert "readonly" in one_line(ran.err)
    corrupt = tmp_path / "corrupt.db"
    corrupt.write_bytes(b"no database at all" * 1000)
    ran = bench("run", "-m", tiny_onnx, *FAKE, *QUICK, "--store", corrupt)
    assert ran.status == 1
    assert "corrupt.db" in one_line(ran.err)
    assert corrupt.read_bytes().startswith(b"no database")
    assert len(Store(str(own_store)).read()) == 1


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from bench.cli import main; main()", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with SIGINT ignored, and the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_results(store: Path, n: int) -> None:
    for _ in range(600):
        if store.exists() and len(Store(str(store)).read()) >= n:
            return
        time.sleep(0.1)
    raise AssertionError(f"{n} results never came")


def children_of(pid: int) -> list[int]:
    """Its children, as soon as it has any."""
    for _ in range(600):
        if listed := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return [int(child) for child in listed]
        time.sleep(0.1)
    raise AssertionError("no child was ever started")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_end_in_the_middle_keeps_what_was_finished_and_leaves_no_child(
    tiny_onnx: Path, own_store: Path, own_targets: Callable[[str], Path], blow: signal.Signals
) -> None:
    own_targets(faulty("stuck", "hang@time"))
    process = start(["-m", str(tiny_onnx), "-t", "null-fp32", "-t", "stuck", *QUICK, "--json"])
    wait_for_results(own_store, 1)
    children = children_of(process.pid)  # of the second job: those of the first have ended
    process.send_signal(blow)
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    assert len(Store(str(own_store)).read()) == 1
    if blow != signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[blow]
        assert [row["target"] for row in json.loads(out)] == ["null-fp32"]
        assert "interrupted" in err
    for _ in range(100):  # a busy machine takes its time to end them
        if not any(map(is_ours, children)):
            return
        time.sleep(0.1)
    raise AssertionError("a child goes on")


def is_ours(pid: int) -> bool:
    with suppress(OSError):
        return b"bench.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_an_fp32_target_refuses_a_quantized_file(bench: Any, tiny_onnx: Path) -> None:
    row = bench("compile", "-m", tiny_onnx, "-t", "cpu-ort-int8", "--json").json
    quantized = row["artifacts"][-1]["path"]
    ran = bench("run", "-m", quantized, "-t", "cpu-o*-fp32", *QUICK, "--json")
    assert ran.status == 1
    assert {each["failure"]["kind"] for each in ran.json} == {"wrong-precision"}


def test_int8_of_what_cannot_be_quantized_is_no_int8(bench: Any, tmp_path: Path) -> None:
    relu = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])],
    )
    path = tmp_path / "relu.onnx"
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(relu, opset_imports=opsets, ir_version=9), path)
    ran = bench("run", "-m", path, "-t", "cpu-ort-int8", "-t", "cpu-openvino-int8", "--json")
    assert ran.status == 1
    kinds = {each["failure"]["kind"] for each in ran.json}
    assert kinds <= {"not-quantizable", "wrong-precision"}


def test_external_data_can_be_quantized(bench: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(
        onnx.load(tiny_onnx), path, save_as_external_data=True, location="w", size_threshold=0
    )
    row = bench("compile", "-m", path, "-t", "cpu-ort-int8", "--json").json
    assert row["status"] == "ok", row["failure"]


def test_a_file_that_changes_during_the_run_is_no_result(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Content that no other test has: the cache may know the same bytes in another place, which
    # then are what is timed, rightly.
    live = write_network(tmp_path / "live.onnx", classes=9)
    real = rounds._stop

    def stop(*asked: Any) -> Any:
        write_network(live, classes=7)  # every process has begun, and none has finished
        return real(*asked)

    monkeypatch.setattr(rounds, "_stop", stop)
    ran = bench("run", "-m", live, *FAKE, *QUICK, "--json")
    assert (ran.status, ran.json["failure"]["kind"]) == (1, "changed")
