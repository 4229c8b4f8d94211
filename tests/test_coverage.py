"""`bench coverage`: a list is tried to its end, what is done is not done twice, and nothing but the
table and the ledger stays behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import progress
from bench.content import fingerprint
from bench.coverage import listing
from bench.coverage.ledger import Attempt, Ledger, held
from bench.coverage.table import page
from bench.coverage.watch import Watch
from bench.errors import UsageError
from bench.launch import ChildError
from bench.messages import Exported, Found
from bench.records import Artifact, Facts, Failure, Model
from tests.builders import refused
from tests.conftest import write_network

TARGET = ["--target", "cpu-ort-fp32"]


@pytest.fixture
def folder(tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a list of a network that works, one that is none and one that is not."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    (tmp_path / "list.txt").write_text(
        f"# a comment\n{tiny_onnx}\n\n{tmp_path / 'broken.onnx'}\nnosuchsource:net\n"
    )
    return tmp_path


def attempts(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "c.jsonl").read_text().splitlines()]


def cover(bench: Any, folder: Path, *more: str) -> Any:
    return bench(
        "coverage", "--list", folder / "list.txt", "--out", folder / "out" / "c.md", *TARGET, *more
    )


def test_a_list_is_tried_to_its_end_and_only_once(
    bench: Any, folder: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cover(bench, folder, "--json")
    assert first.status == 1
    tiny, on_target, broken, unknown = attempts(folder)
    assert first.json == [tiny, on_target, broken, unknown]
    assert (tiny["model"], tiny["target"], tiny["failure"]) == (str(tiny_onnx), None, None)
    assert tiny["facts"]["params"] == 314
    assert (on_target["target"], on_target["failure"]) == ("cpu-ort-fp32", None)
    assert on_target["check"]["n"] == 2
    assert on_target["check"]["cosine"] > 0.9999
    assert on_target["seconds"].keys() >= {"export", "inputs", "build", "open", "check"}
    assert max(on_target["peak_mb"].values()) > 20
    assert broken["failure"]["stage"] == "describe"
    assert broken["failure"]["kind"] == "bad-model"
    assert "unknown model source 'nosuchsource'" in unknown["failure"]["message"]
    table = (folder / "out" / "c.md").read_text()
    assert "| works | 1 of 3 | 1 of 3 |" in table
    assert "nosuchsource:net`, at describe: unknown model source" in table
    assert not [path for path in (folder / "cache" / "coverage").rglob("*") if path.is_file()]

    def no_more(*_: object) -> None:
        raise AssertionError("it was done already")

    with monkeypatch.context() as patched:
        patched.setattr("bench.coverage.sweep.Child", no_more)
        assert cover(bench, folder).status == 1
    assert len(attempts(folder)) == 4
    assert (folder / "out" / "c.md").read_text() == table

    assert cover(bench, folder, "--retry-failed").status == 1
    assert [each["model"] for each in attempts(folder)[4:]] == [broken["model"], "nosuchsource:net"]

    assert cover(bench, folder, "--again").status == 1
    assert [each["model"] for each in attempts(folder)[6:]] == [
        *(str(tiny_onnx), str(tiny_onnx)),
        *(broken["model"], "nosuchsource:net"),
    ]


def test_an_interrupted_sweep_goes_on_where_it_was(
    bench: Any, folder: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(progress.Coverage, "finish", interrupt)
        assert cover(bench, folder).status == 130
    assert [each["target"] for each in attempts(folder)] == [None]
    assert "2 models were not tried yet" in (folder / "out" / "c.md").read_text()
    assert cover(bench, folder).status == 1
    assert {each["model"] for each in attempts(folder)} == set(listing.read(folder / "list.txt"))


def test_a_hang_is_a_row_and_the_rest_goes_on(bench: Any, folder: Path) -> None:
    asked = cover(bench, folder, "--timeout", "0.1")
    assert asked.status == 1
    kinds = [each["failure"]["kind"] for each in attempts(folder)]
    assert kinds == ["timeout", "timeout", "usage"]


def test_artifacts_are_kept_where_it_is_asked(bench: Any, folder: Path, tiny_onnx: Path) -> None:
    asked = bench(
        "coverage", "-m", tiny_onnx, "--out", folder / "c.md", "-t", "cpu-openvino-fp32", "--keep"
    )
    assert asked.status == 0, asked.err
    assert list((folder / "cache" / "build").rglob("model.xml"))


def test_a_file_that_has_changed_is_tried_anew(bench: Any, folder: Path) -> None:
    own = write_network(folder / "own.onnx")
    (folder / "list.txt").write_text(str(own))
    cover(bench, folder, "--timeout", "0.1")
    cover(bench, folder, "--timeout", "0.1")
    assert len(attempts(folder)) == 1
    write_network(own, classes=7)
    cover(bench, folder, "--timeout", "0.1")
    assert len({each["content"] for each in attempts(folder)}) == len(attempts(folder)) == 2
    assert all("frontier-bench" in each["versions"] for each in attempts(folder))


def test_what_a_name_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    package, vit, net = tmp_path / "pack", tmp_path / "vit", tmp_path / "net.onnx"
    for each in (package, vit, tmp_path / "resnet18"):
        each.mkdir()
        (each / "__init__.py").write_text("raise ValueError('it was run')")
    (tmp_path / "single.py").write_text("")
    write_network(net)
    models = ["py:pack.made:net", "py:single:net", "hf:./vit", "net.onnx"]

    def now() -> list[str | None]:
        return [fingerprint(model, "pretrained") for model in models]

    before = now()
    assert None not in before
    assert now() == before
    (package / "layers.py").write_text("x = 1")
    (tmp_path / "helper.py").write_text("x = 1")
    (vit / "config.json").write_text("{}")
    net.with_suffix(".toml").write_text("task = 'classification'")
    assert not set(before) & set(now())
    assert fingerprint("timm:resnet18", "pretrained") is None
    assert fingerprint("py:no_such_module:net", "pretrained") is None
    assert fingerprint("timm:resnet18", "net.onnx") is not None, "weights of the user's own"


def test_two_at_once_on_one_ledger_are_refused(bench: Any, folder: Path) -> None:
    (folder / "out").mkdir()
    with held(folder / "out" / "c.jsonl"):
        second = cover(bench, folder)
    assert second.status == 2
    assert "another `bench coverage` is at work" in second.err
    assert len(second.err.splitlines()) == 1
    with held(folder / "out" / "c.jsonl"):
        pass


def test_random_weights_in_place_of_others_are_said(
    bench: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Offline:
        """A child of a source whose hub does not answer."""

        pid = 0

        def __init__(self, request: Any, on_reply: Any) -> None:
            asked.append(request)
            self.on_reply = on_reply

        def __enter__(self) -> Offline:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def answer(self, kind: Any, _: object) -> Any:
            model = Model("net", "builtin", "random", None, ())
            self.on_reply(Found(model=model))
            if kind is Exported:
                return Exported(model, Artifact("x", "onnx", "0", 1, "test", 0.0), Facts(1, 1))
            raise ChildError(Failure("build", "oom", "out of memory"), "")

    monkeypatch.setattr("bench.coverage.sweep.Child", Offline)
    (folder / "list.txt").write_text("builtin:segnet")
    covered = cover(bench, folder, "--weights", "pretrained")
    export, prepare = asked
    assert (export.weights, prepare.job.weights) == ("pretrained", "random"), "not asked for twice"
    assert {each["used"] for each in attempts(folder)} == {"random"}
    assert "1 of 1 models were tried with random weights" in covered.err
    table = (folder / "out" / "c.md").read_text()
    assert "with random weights, for the pretrained ones could not be had" in table
    other = Attempt("timm:net", None, "pretrained", {}, "2026-01-01", used="a1_in1k")
    fallen = Attempt("timm:other", None, "pretrained", {}, "2026-01-01", used="random")
    text = page([other, fallen], [], "today")
    assert "with pretrained weights, and random ones for 1 of 2 models" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--list", "none.txt"], ["none.txt cannot be read"]),
        (["--list", "empty.txt"], ["names no model", "one a line"]),
        (["--list", "empty.txt", "-m", "resnet18"], ["--list and --model"]),
        (["-m", "resnet18", "-t", "no-such"], ["unknown target"]),
        (["-m", "resnet18", "--out", "c.jsonl"], [".jsonl"]),
        (["-m", "resnet18", *TARGET, "--out", "."], ["is a folder"]),
        (["-m", "resnet18", *TARGET, "--out", "empty.txt/c.md"], ["cannot be written"]),
        (["-m", "resnet18", *TARGET, "--out", "taken.md"], ["taken.jsonl cannot be written"]),
    ],
)
def test_wrong_usage_is_one_sentence(
    bench: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "taken.jsonl").mkdir()
    asked = bench("coverage", *arguments)
    assert asked.status == 2
    assert len(asked.err.splitlines()) == 1
    for word in words:
        assert word in asked.err


def test_a_target_that_is_not_here_is_said_at_once(bench: Any, tmp_path: Path) -> None:
    asked = bench("coverage", "-m", "resnet18", "-t", "cuda-torch-fp32", "--out", tmp_path / "c.md")
    assert asked.status == 3
    assert "NVIDIA GPU" in asked.err


def test_what_was_not_run_is_called_so() -> None:
    built = Attempt(*_of(TRIED)[:1], "t4-int8", *_of(TRIED)[2:], ahead=True)
    assert "| t4-int8 (not run) |" in page([TRIED, built], ["t4-int8"], "today")


def test_the_shipped_list() -> None:
    names = listing.read(listing.SHIPPED)
    assert len(set(names)) == len(names) == 71
    assert all(":" in name for name in names)
    assert names[0] == "timm:mobilenetv3_small_100"
    assert names[-1] == "timm:resnetv2_152x4_bit", "the smallest first"


def test_a_list_with_columns(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_text("# c\nfamily\tmodel\na\ttimm:x\nb\ttimm:y\nc\n")
    assert listing.read(path) == ["timm:x", "timm:y"]


TRIED = Attempt("timm:net", None, "random", {"timm": "1"}, "2026-01-01T00:00:00+00:00")


def test_a_ledger_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    Ledger(path).append(TRIED)
    with path.open("ab") as file:
        file.write(b'{"model": "timm:ne')
    again = Ledger(path)
    assert again.find(TRIED) == TRIED
    other = Attempt("timm:other", None, "random", {}, "2026-01-01T00:00:00+00:00")
    again.append(other)
    assert path.read_bytes().count(b"\n") == 2
    assert Ledger(path).find(other) == other


def test_a_last_line_that_is_whole_is_kept_though_it_lacks_its_end(tmp_path: Path) -> None:
    path = tmp_path / "coverage.jsonl"
    Ledger(path).append(TRIED)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    other = Attempt("timm:other", None, "random", {}, "2026-01-01T00:00:00+00:00")
    Ledger(path).append(other)
    assert Ledger(path).find(TRIED) == TRIED
    assert Ledger(path).find(other) == other


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": 1}\n{"id": 2}\n')
    with refused(UsageError, "line 1", "move the file away"):
        Ledger(path)


def test_other_versions_are_another_attempt(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "c.jsonl")
    ledger.append(TRIED)
    newer = Attempt("timm:net", None, "random", {"timm": "2"}, "2026-01-02T00:00:00+00:00")
    assert ledger.find(newer) is None
    failed = Attempt(*_of(TRIED), failure=Failure("export", "oom", "out of memory"))
    ledger.append(failed)
    assert ledger.find(TRIED) == failed, "the last one counts"


def _of(attempt: Attempt) -> tuple[Any, ...]:
    return attempt.model, attempt.target, attempt.weights, attempt.versions, attempt.started_at


def test_the_table_says_what_fails_and_why() -> None:
    failed = Attempt(*_of(TRIED), failure=Failure("export", "oom", "out of\nmemory"))
    text = page([failed], ["cpu-ort-fp32"], "today")
    assert "| timm:net | - | - | **export: oom** | - |" in text
    assert "- `timm:net`, at export: out of memory (oom)" in text
    assert "0 of 1 models work everywhere" in text
    ran = Attempt("timm:net", "cpu-ort-fp32", *_of(TRIED)[2:])
    assert "1 of 1 models work everywhere" in page([TRIED, ran], ["cpu-ort-fp32"], "today")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_is_told_by_stage_and_with_all_that_was_started() -> None:
    code = (
        "import subprocess, sys\n"
        "b = bytearray(60 << 20)\n"
        "print('small', flush=True); sys.stdin.readline()\n"
        "grandchild = 'b = bytearray(200 << 20); print(1, flush=True); input()'\n"
        "p = subprocess.Popen([sys.executable, '-c', grandchild], stdin=-1, stdout=-1)\n"
        "p.stdout.readline(); print('large', flush=True); sys.stdin.readline(); p.kill()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        watch = Watch()
        with watch.follow(process.pid):
            watch.at("export")
            assert process.stdout.readline() == "small\n"
            watch.at("build")
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "large\n"
            watch.at("check")
            process.stdin.write("\n")
    assert 60 << 20 < watch.peak_bytes["export"] < 120 << 20
    assert 260 << 20 < watch.peak_bytes["build"] < 400 << 20
    assert watch.seconds.keys() == {"start", "export", "build", "check"}
