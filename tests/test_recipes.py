"""How int8 is made: what people write, what is tried when it loses too much, and what comes of it
through the command line."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from bench import campaign, pipeline, plugins, present, recipes, remedies
from bench.cache import artifact
from bench.errors import UsageError
from bench.messages import Prepare, Quantized
from bench.public import to_public
from bench.records import Accuracy, Artifact, Data, Failure, Job, Recipe, Target, Trial
from bench.stages.evaluate import evaluate
from bench.stages.prepare import prepare
from bench.teller import Teller
from runners.harm import harm
from runners.ort import OrtRunner
from tests.builders import refused
from tests.conftest import QUICK, WORKED, write_network

if TYPE_CHECKING:
    from collections.abc import Callable

ORT = Target("cpu-ort-int8", "cpu", "ort", "int8")
OPENVINO = Target("cpu-openvino-int8", "cpu", "openvino", "int8")
FP32 = Target("cpu-ort-fp32", "cpu", "ort", "fp32")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [Recipe()]),
        ("128", [Recipe(None, 128)]),
        ("0", [Recipe(None, 0)]),
        ("entropy", [Recipe("entropy")]),
        ("minmax:128", [Recipe("minmax", 128)]),
        ("minmax:128:4", [Recipe("minmax", 128, 4)]),
        ("64, entropy:256", [Recipe(None, 64), Recipe("entropy", 256)]),
        ("accuracy-aware,*:32", [Recipe("accuracy-aware"), Recipe("*", 32)]),
    ],
)
def test_what_people_write(text: str, found: list[Recipe]) -> None:
    assert recipes.parse(text) == found


@pytest.mark.parametrize("text", ["minmax:", "-3", "a:b", "minmax:1:2:3", ",", "minmax:1.5"])
def test_what_makes_no_sense(text: str) -> None:
    with refused(UsageError, "METHOD[:IMAGES[:KEEP]]"):
        recipes.parse(text)


def test_patterns_become_the_methods_of_each_runner() -> None:
    found = recipes.expand(recipes.parse("*:64,32"), [ORT, OPENVINO, FP32])
    assert [each.method for each in found["cpu-ort-int8"]] == [
        *("minmax", "percentile", "entropy"),
        None,
    ]
    assert found["cpu-openvino-int8"][0] == Recipe("mixed", 64)
    assert found["cpu-ort-fp32"] == [Recipe()]
    with refused(UsageError, "minmax"):
        recipes.expand([Recipe("minmac")], [ORT])
    with refused(UsageError, "cpu-openvino-int8 has none", "accurate-bias"):
        recipes.expand([Recipe("minmax")], [ORT, OPENVINO])


def test_all_recipes_are_evaluated_on_the_same_images() -> None:
    asked = recipes.parse("64,entropy:512")
    assert recipes.set_aside(asked, search=False) == 512
    assert recipes.set_aside(asked[:1], search=True) == recipes.MORE_IMAGES
    assert recipes.set_aside([Recipe(None, 0)], search=True) == 0


def accuracy(change: float) -> Accuracy:
    return Accuracy(
        *("classification", "top1", 70 + change, (60, 80), 100, "val", "ab", 70.0),
        change_ci95=(change - 1, change + 1),
    )


def search(lost: Callable[[Recipe], float], *, available: int = 600, layers: int = 20) -> Any:
    """All that is tried where a recipe changes accuracy by `lost(recipe)`, at most 1 point down."""
    tried: list[Trial] = []
    recipe: Recipe | None = remedies.first(Recipe())
    while recipe:
        kept = tuple("abcdefghijklmnopqrst"[: min(recipe.keep, layers // 2)])
        images = min(recipe.images or 0, available)
        made = Quantized(images, available, kept, ("minmax", "entropy"), bool(layers))
        recipe = remedies.resolved(recipe, made)
        tried.append(Trial(recipe, kept, accuracy(lost(recipe))))
        found = tried[-1].accuracy
        assert found
        if remedies.enough(found, 1):
            break
        recipe = remedies.following(tried, made)
    return [(each.recipe.method, each.recipe.images, len(each.kept)) for each in tried], tried


def test_remedies_in_the_order_of_cost() -> None:
    everything, tried = search(lambda _: -3)
    assert everything == [
        ("minmax", 256, 0),
        ("minmax", 600, 0),
        ("entropy", 600, 0),
        ("minmax", 600, 1),
        ("minmax", 600, 2),
        ("minmax", 600, 4),
        ("minmax", 600, 8),
        ("minmax", 600, 10),
    ]
    assert "best of 8 recipes, minmax:256, loses 3.00" in remedies.in_vain(tried, 1)


def test_the_first_that_is_good_enough_ends_it() -> None:
    assert search(lambda _: -1.0)[0] == [("minmax", 256, 0)]
    by_keeping, _ = search(lambda recipe: -8 / (1 + recipe.keep) - 0.05)
    assert by_keeping[-1] == ("minmax", 600, 8)
    by_method, _ = search(lambda recipe: 0 if recipe.method == "entropy" else -2)
    assert by_method[-1] == ("entropy", 600, 0)


def test_nothing_is_tried_twice() -> None:
    few, _ = search(lambda _: -3, available=40)
    assert few[:2] == [("minmax", 40, 0), ("entropy", 40, 0)]
    assert len(few) == len(set(few))
    assert search(lambda _: -3, layers=0)[0][-1] == ("entropy", 600, 0)


def test_accuracy_has_an_exit_status_of_its_own() -> None:
    def row(kind: str) -> dict[str, Any]:
        return {"failure": {"kind": kind}, "verdict": None}

    assert campaign.exit_status([row("accuracy")]) == 5
    assert campaign.exit_status([row("accuracy"), row("unavailable")]) == 5
    assert campaign.exit_status([row("accuracy"), row("crash")]) == 1


def test_harm_sees_small_scores_beside_large_boxes() -> None:
    rng = np.random.default_rng(0)
    boxes, scores = rng.normal(0, 300, (50, 4)), rng.random((50, 3))
    wanted = [[np.hstack([boxes, scores])]] * 2
    blurred = [[np.hstack([boxes, scores + rng.normal(0, 1, scores.shape)])]] * 2
    shifted = [[np.hstack([boxes + rng.normal(0, 1, boxes.shape), scores])]] * 2
    assert harm(wanted, wanted) < harm(wanted, shifted) < harm(wanted, blurred)
    assert harm(wanted, [[np.zeros((3, 7))]] * 2) == float("inf")


# Through the command line.

#: With one thread there is no pool to wait for between blocks.
ONE = ["--threads", "1", *QUICK]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty images of ten classes."""
    rng = np.random.default_rng(3)
    root = tmp_path / "val"
    root.mkdir()
    for i in range(40):
        pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{i:02}.png")
    (root / "val.txt").write_text("".join(f"{i:02}.png {i % 10}\n" for i in range(40)))
    return root


def test_a_sweep_tells_its_rows_apart(
    bench: Any, network: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = ["--calibration", "minmax:4,percentile:8", "--calibration", "minmax:8:1"]
    ran = bench("run", "-m", network, "--data", folder, "-t", "cpu-ort-*", *ways, *ONE, "--json")
    assert ran.status in WORKED, ran.err
    rows = ran.json
    present.results(rows)  # as without --json
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 80
    for words in ("minmax:4", "percentile:8", "minmax:8:1"):
        assert words in table
    made = [row["calibration"] for row in rows]
    assert made[0] is None  # fp32 is measured once
    assert [each["recipe"] for each in made[1:]] == ["minmax:4", "percentile:8", "minmax:8:1"]
    assert len({row["accuracy"]["subset"] for row in rows}) == 1
    assert len({row["artifacts"][-1]["sha256"] for row in rows}) == 4
    [kept] = made[3]["kept"]
    assert kept in {"a", "b", "c", "d", "output"}
    report = bench("report", "--out", folder.parent / "out", "--format", "md")
    assert report.status == 0, report.err
    table = (folder.parent / "out" / "results.md").read_text()
    assert "cpu-ort-int8 minmax:8:1" in table


def test_a_sweep_is_compiled_without_being_measured(
    bench: Any, network: Path, folder: Path
) -> None:
    ways = ["--data", folder, "--calibration", "minmax:4,percentile:8", "--batch", "2"]
    ran = bench("compile", "-m", network, "-t", "cpu-ort-int8", *ways, "--json")
    assert ran.status == 0, ran.err
    made = [row["compiled"]["details"] for row in ran.json]
    assert [(each["calibration_method"], each["calibration_n"]) for each in made] == [
        ("minmax", 4),
        ("percentile", 8),
    ]
    for row in ran.json:
        assert row["batch"] == 2
        assert row["check"]["cosine"] > 0.8
        assert not any("random inputs" in note for note in row["notes"])


def test_enough_at_once_is_timed(bench: Any, network: Path, folder: Path) -> None:
    job = ["run", "-m", network, "--data", folder, "-t", "cpu-ort-int8", *ONE]
    ran = bench(*job, "--max-drop", "100", "--json")
    assert ran.status in WORKED, ran.err
    [trial] = ran.json["tried"]
    assert trial["recipe"] == "minmax:8"
    assert trial["accuracy"] == ran.json["accuracy"]
    assert ran.json["latency"]


def test_a_method_that_is_not_there(bench: Any, network: Path, folder: Path) -> None:
    job = ["run", "-m", network, "--data", folder, "-t", "cpu-ort-int8", *ONE]
    wrong = bench(*job, "--calibration", "minmac:8")
    assert wrong.status == 2
    assert "minmax" in wrong.err
    for more_than_one in ("minmax,entropy", "*"):
        several = bench(*job, "--calibration", more_than_one, "--max-drop", "1")
        assert several.status == 2
        assert "one --calibration" in several.err
    nothing_like_it = bench(*job, "--calibration", "foo")
    assert "'foo': one of: entropy, minmax, percentile" in nothing_like_it.err


@pytest.mark.slow
def test_what_cannot_be_kept_fails_with_the_table(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network whose labels are its own fp32 answers: any other answer is a loss."""
    network, folder = write_network(tmp_path / "net.onnx"), tmp_path / "val"
    (tmp_path / "net.toml").write_text('task = "classification"\nsize = [16, 16]\nscale = 1\n')
    folder.mkdir()
    import onnxruntime

    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    colours = np.random.default_rng(3).integers(0, 256, (2000, 1, 1, 3), np.uint8)
    images = np.broadcast_to(colours, (2000, 16, 16, 3))
    feed = images.transpose(0, 3, 1, 2).astype(np.float32)
    [scores] = session.run(None, {"input": feed})
    first, second = np.sort(scores, axis=1)[:, -1:-3:-1].T
    lines = []
    for i in np.argsort(first - second)[:100]:  # the least certain answers
        Image.fromarray(images[i]).save(folder / f"{i}.png")
        lines.append(f"{i}.png {scores[i].argmax()}\n")
    (folder / "val.txt").write_text("".join(lines))
    job = ["run", "-m", network, "--data", folder, "-t", "cpu-ort-int8", *ONE]
    ran = bench(*job, "--max-drop", "0", "--json")
    tried = ran.json["tried"]
    assert [trial["method"] for trial in tried][:3] == ["minmax", "percentile", "entropy"]
    lost = [-trial["accuracy"]["change"] for trial in tried]
    assert min(lost[:-1]) > 0
    assert all(trial["accuracy"]["reference"] == 100 for trial in tried)
    if lost[-1] > 0:
        assert ran.status == 5, ran.err
        assert ran.json["failure"]["kind"] == "accuracy"
        assert ran.json["latency"] is None
    present.results([ran.json])  # as without --json
    table = capsys.readouterr().out
    assert "fp32 layers" in table
    assert "percentile" in table


class Compiles(OrtRunner):
    """A compiler, as TensorRT is one: it is given the int8 ONNX file, and makes another of it."""

    methods = ("minmax",)

    def probe_build(self, target: Target) -> str | None:
        return self.probe(target)

    def identity(self, target: Target, *, ahead: bool) -> dict[str, Any]:
        return {}

    def lower(self, *given: Any, ahead: bool) -> Artifact:
        return self.build(*given)

    def compile(self, lowered: Artifact, *given: Any, ahead: bool) -> Artifact:
        path = shutil.copy(lowered.path, given[-1] / "engine.onnx")
        return artifact(Path(path), form="engine", made_by="test", build_s=0.0)


def test_what_is_compiled_tells_how_it_was_calibrated(
    network: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search goes on from what was kept; where it stops, the row says how int8 was made."""

    def here(request: Any, _: Any, __: Any, on_reply: Callable[[Any], None]) -> Any:
        tell = Teller(io.BytesIO())
        monkeypatch.setattr(tell, "send", on_reply)
        return (prepare if isinstance(request, Prepare) else evaluate)(request, tell)

    monkeypatch.setattr(plugins, "runner", lambda _: Compiles())
    monkeypatch.setattr(pipeline, "call", here)
    never = -101  # points: it has to gain more than there are
    job = Job(str(network), ORT, data=Data(str(folder)), max_drop=never)
    result = pipeline.run(job, pipeline.Settings(tmp_path / "cache"))
    assert result.failure is not None
    assert result.failure.kind == "accuracy", result.failure
    assert [len(trial.kept) for trial in result.tried] == [0, 1, 2, 2]
    row = to_public(result)
    assert row["artifacts"][-1]["format"] == "engine"
    assert row["calibration"]["recipe"] == "minmax:8:2"
    assert row["calibration"]["kept"] == list(result.tried[-1].kept)


@pytest.mark.parametrize("kind", ["timeout", "oom", "disk-full", "not-written"])
def test_what_the_machine_lacks_ends_a_search(kind: str) -> None:
    assert remedies.goes_on(Failure("build", "not-quantizable", "it cannot be done"))
    assert not remedies.goes_on(Failure("build", kind, "no more of it"))
