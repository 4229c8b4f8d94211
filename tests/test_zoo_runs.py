"""Real models through the whole line: the embedded zoo, timm, torchvision, factories, weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exporters import digits
from tests.conftest import QUICK, WORKED

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")
pytest.importorskip("openvino")


#: With one thread there is no pool to wait for between blocks.
ORT = ["-t", "cpu-ort-fp32", "--threads", "1"]


def row(bench: Any, *arguments: str | Path) -> Any:
    ran = bench("run", *arguments, *QUICK, "--json")
    assert ran.out, ran.err
    return ran.json


def test_a_digits_network_on_every_cpu_target(bench: Any) -> None:
    stated = json.loads((digits.WEIGHTS / "accuracy.json").read_text())["digits-resnet"]["top1"]
    rows = row(bench, "-m", "builtin:digits-resnet", "-t", "cpu-o*")
    for each in rows:
        if (each["failure"] or {}).get("kind") == "unavailable":
            assert each["precision"] == "bf16"  # the one that a CPU may lack
            continue
        assert each["status"] == "ok", each["failure"]
        found = each["accuracy"]
        assert found["task"] == "classification"
        assert found["metric"] == "top1"
        assert found["reference"] == pytest.approx(stated, abs=0.15)
        assert abs(found["value"] - found["reference"]) <= 1
        assert found["ci95"][0] <= found["value"] <= found["ci95"][1]
        assert found["agreement"] >= 98
        assert each["weights"] == "digits"
        assert each["hardware"] == rows[0]["hardware"]
    fp32 = next(each for each in rows if each["target"] == "cpu-ort-fp32")
    assert fp32["accuracy"]["value"] == pytest.approx(stated, abs=0.15)


def test_the_report_draws_what_was_measured(bench: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    many = ["-m", "builtin:digits-lenet", "-m", "builtin:digits-mobilenet"]
    rows = row(bench, *many, "-t", "cpu-ort-*", "--threads", "1")
    ran = bench("report", "--out", tmp_path)
    written = ran.out.split()
    endings = {Path(path).suffix for path in written}
    if all(each["verdict"] == "INVALID" for each in rows):  # a very busy machine: nothing to draw
        assert endings == {".md", ".csv"}
        assert "no result has both a valid latency and an accuracy" in ran.err
    else:
        assert endings == {".png", ".svg", ".pdf", ".md", ".csv"}
    assert all(Path(path).stat().st_size > 500 for path in written)


def test_random_weights_get_no_accuracy(bench: Any) -> None:
    found = row(bench, "-m", "builtin:digits-lenet", "--weights", "random", *ORT)
    assert found["weights"] == "random"
    assert found["accuracy"] is None
    assert found["published"] is None
    assert any("no accuracy" in note for note in found["notes"])


def test_weights_of_a_file(bench: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    shipped = digits.weights_file("digits-lenet")
    as_pickle = tmp_path / "lenet.pt"
    torch.save({"state_dict": load_file(shipped)}, as_pickle)
    job = ["-m", "builtin:digits-lenet", *ORT]
    wanted = row(bench, *job)["accuracy"]["value"]
    for path in (shipped, as_pickle):
        found = row(bench, *job, "--weights", path)
        assert found["accuracy"]["value"] == wanted
        assert found["weights"].startswith(path.name + "#")
    other = digits.weights_file("digits-vgg")
    wrong = row(bench, *job, "--weights", other)
    assert wrong["failure"]["kind"] == "bad-weights"
    assert "does not fit" in wrong["failure"]["message"]
    evil = tmp_path / "evil.pt"
    torch.save({"x": Path("/")}, evil)  # a class, which weights_only refuses to unpickle
    assert row(bench, *job, "--weights", evil)["failure"]["kind"] == "bad-weights"
    missing = bench("run", *job, "--weights", tmp_path / "none.pt")
    assert missing.status == 2
    assert "does not exist" in missing.err


@pytest.mark.parametrize(
    ("model", "how"),
    [
        ("timm:mobilenetv3_small_050", ["run", *QUICK]),
        ("torchvision:squeezenet1_1", ["compile"]),
    ],
)
def test_a_zoo_model_with_random_weights(bench: Any, model: str, how: list[str]) -> None:
    on = ["-t", "cpu-o*-fp32", "-t", "cpu-*-int8"]
    rows = bench(*how, "-m", model, "--weights", "random", *on, "--json").json
    assert len(rows) == 4
    for each in rows:
        assert each["status"] == "ok", each["failure"]
        assert each.get("accuracy") is None
        assert each["check"]["cosine"] > (0.9999 if each["precision"] == "fp32" else 0.8)
        assert each["artifacts"][0]["details"]["dynamic_batch"] is True
        assert each["artifacts"][0]["details"]["parity_cosine"] > 0.9999
    small = {each["precision"]: each["artifact_mb"] for each in rows if each["runner"] == "ort"}
    assert small["int8"] < small["fp32"] / 2


def test_pretrained_weights_that_cannot_be_had_are_said_loudly(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Nothing listens there, on any machine: the fallback is the same with and without a network.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    ran = bench("run", "-m", "timm:mobilenetv3_small_050", "-t", "null-fp32", *QUICK, "--json")
    assert ran.status in WORKED
    assert ran.json["weights"] == "random"
    assert ran.json["accuracy"] is None
    assert "RANDOM" in ran.err


def test_a_python_factory(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mynets.py").write_text(
        "import torch\n"
        "def small():\n"
        "    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(),\n"
        "        torch.nn.Flatten(), torch.nn.Linear(4 * 36, 3))\n"
        "    return net, torch.zeros(1, 1, 8, 8)\n"
        "def broken():\n"
        "    raise RuntimeError('no luck')\n"
    )
    monkeypatch.chdir(tmp_path)
    found = row(bench, "-m", "py:mynets:small", *ORT)
    assert found["status"] == "ok"
    assert found["params_m"] == pytest.approx((36 + 4 + 4 * 36 * 3 + 3) / 1e6)
    assert (
        "no luck" in row(bench, "-m", "py:mynets:broken", "-t", "null-fp32")["failure"]["message"]
    )
    for wrong in ("py:mynets:nothing", "py:nowhere:small", "py:mynets"):
        assert bench("run", "-m", wrong, "-t", "null-fp32").status == 2


def test_a_bare_name_is_found_and_a_wrong_one_has_neighbours(bench: Any) -> None:
    found = row(bench, "-m", "mobilenetv3_small_050", "--weights", "random", "-t", "null-fp32")
    assert found["source"] == "timm"
    wrong = bench("run", "-m", "mobilenetv3_smal_050", "-t", "null-fp32")
    assert wrong.status == 2
    assert "mobilenetv3_small_050" in wrong.err
    bare = bench("run", "-m", "resnet50.a9_in1k", "-t", "null-fp32")
    assert "unknown weights tag of resnet50 'a9_in1k': did you mean resnet50." in bare.err
    tag = bench("run", "-m", "timm:resnet50.a9_in1k", "-t", "null-fp32")
    assert tag.status == 2
    assert "timm:resnet50.a2_in1k" in tag.err
    version = bench("run", "-m", "torchvision:resnet18.V9", "-t", "null-fp32")
    assert "unknown weights tag of torchvision:resnet18 'V9'" in version.err
    assert "IMAGENET1K_V1" in version.err
    shouted = bench("run", "-m", "RESNET18", "-t", "null-fp32")
    assert "did you mean resnet18" in shouted.err
    video = bench("run", "-m", "torchvision:r3d_18", "-t", "null-fp32")
    assert video.status == 2
    assert "torchvision:r3d_18 takes no single image" in video.err


def test_accuracy_on_a_folder_of_images(bench: Any, tmp_path: Path) -> None:
    """The digits test images as a folder a class: the same accuracy as from their source."""
    from exporters.digits.data import Digits

    for i, sample in enumerate(Digits().test[:200]):
        folder = tmp_path / "digits" / str(sample.truth)
        folder.mkdir(parents=True, exist_ok=True)
        sample.load().save(folder / f"{i:04}.png")
    job = ["-m", "builtin:digits-mobilenet", "-t", "cpu-ort-int8", "--threads", "1"]
    found = row(bench, *job, "--data", tmp_path / "digits", "--calibration", "20")["accuracy"]
    assert found["dataset"] == "digits"
    assert found["n"] == 180
    assert found["value"] > 95
    limited = row(bench, *job, "--data", tmp_path / "digits", "--limit", "50")
    assert limited["accuracy"]["n"] == 50


def test_large_models_keep_their_weights_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past protobuf's 2 GB; a small model is made to count as one."""
    from bench import onnx_graph
    from exporters import torch_onnx
    from exporters.builtin_zoo import BuiltinZoo

    zoo = BuiltinZoo()
    model = zoo.describe("digits-vgg", "pretrained")
    whole, split = tmp_path / "whole", tmp_path / "split"
    whole.mkdir()
    split.mkdir()
    one = zoo.export(model, whole)
    assert one.companions == ()
    monkeypatch.setattr(torch_onnx, "_EXTERNAL_BYTES", 0)
    two = zoo.export(model, split)
    assert len(two.companions) == 1
    assert (split / two.companions[0]).stat().st_size > 100_000
    assert two.details["parity_cosine"] > 0.9999
    assert onnx_graph.facts(two) == onnx_graph.facts(one)


def test_tags_of_weights_can_be_named(bench: Any) -> None:
    job = ["--weights", "random", "-t", "null-fp32"]
    found = row(bench, "-m", "torchvision:squeezenet1_1.IMAGENET1K_V1", *job)
    assert (found["model"], found["status"]) == ("squeezenet1_1", "ok")
    assert row(bench, "-m", "builtin:digits-lenet.digits", "-t", "null-fp32")["status"] == "ok"
