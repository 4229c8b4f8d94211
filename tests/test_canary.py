"""The canary never changes, and its lack costs no result. (That it is timed: test_cli_run.)"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bench import canary
from tests.conftest import QUICK, WORKED


def test_it_is_the_same_file_every_time(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = canary.write(tmp_path / "a"), canary.write(tmp_path / "b")
    assert first.sha256 == second.sha256
    onnx.checker.check_model(first.path, full_check=True)


def test_it_never_changes(tmp_path: Path) -> None:
    """Ratios of years ago compare only while the canary computes what it did: when this fails,
    give it a new VERSION."""
    session = ort.InferenceSession(canary.write(tmp_path).path)
    (output,) = session.run(None, {"input": np.ones((1, 3, 128, 128), np.float32)})
    assert canary.VERSION == 1
    expected = [0.295, 1.495, 0.001, 2.646, 2.156, -0.138, 0.729, 0.162, 0.932, 0.533]
    assert output[0] == pytest.approx(expected, abs=2e-3)


def test_a_runner_that_cannot_build_it_costs_the_model_nothing(
    bench: Any, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An exporter of the canary that fails: no ratio, a note, and a latency all the same."""
    shadow = tmp_path / "sitecustomize.py"
    shadow.write_text(
        "import bench.canary\n"
        "from bench.errors import StageError\n"
        "def fail(to):\n"
        "    raise StageError('simulated', 'no canary today')\n"
        "bench.canary.write = fail\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    ran = bench("run", "-m", tiny_onnx, "-t", "null-fp32", *QUICK, "--json")
    assert ran.status in WORKED
    assert ran.json["latency"]["canary_ratio"] is None
    assert any("no canary today" in note for note in ran.json["notes"])
