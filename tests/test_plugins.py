"""The contract: what every installed plug-in has to be, and what may import what.

Nothing here names a plug-in: a stranger's package is held to the same contract as ours.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest

from bench import contracts, plugins, recipes, targets
from bench.cache import artifact
from bench.check import reference
from bench.errors import BenchError, StageError, Unavailable, UsageError
from bench.modelref import ZOOS
from bench.records import Artifact, Model, Precision, Target
from tests.builders import message_of, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
KINDS: tuple[plugins.Kind, ...] = get_args(plugins.Kind)
PROTOCOLS: dict[str, type] = {
    "exporters": contracts.Exporter,
    "runners": contracts.Runner,
    "reports": contracts.Report,
}
LOADERS = {"exporters": plugins.exporter, "runners": plugins.runner, "reports": plugins.report}
#: What takes long to import, or is not on every machine.
HEAVY = {
    "matplotlib", "modelopt", "nncf", "numpy", "onnx", "onnxruntime", "openvino", "pandas",
    "pyarrow", "pycuda", "sklearn", "sqlalchemy", "tensorrt", "tensorrt_rtx_bindings", "timm",
    "torch", "torchvision",
}  # fmt: skip

INSTALLED = [(kind, name) for kind in KINDS for name in plugins.find(kind)]
EXPORTERS = [name for kind, name in INSTALLED if kind == "exporters"]
RUNNERS = [name for kind, name in INSTALLED if kind == "runners"]
REPORTS = [name for kind, name in INSTALLED if kind == "reports"]


def load(kind: str, name: str) -> Any:
    return LOADERS[kind](name)


def methods(protocol: type) -> dict[str, inspect.Signature]:
    """Its own and those of the protocols that it extends."""
    return {
        name: inspect.signature(value)
        for each in reversed(protocol.__mro__)
        if each.__module__ == protocol.__module__
        for name, value in vars(each).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def attributes(protocol: type) -> set[str]:
    return set(inspect.get_annotations(protocol))


def assert_fits(made: object, protocol: type) -> None:
    """`made` has the attributes and methods of the protocol, and they can be called the same."""
    for name in attributes(protocol):
        assert hasattr(made, name), f"it lacks {name}"
    for name, wanted in methods(protocol).items():
        found = getattr(made, name, None)
        assert callable(found), f"it lacks {name}()"
        own = inspect.signature(found)
        expected = [p for p in wanted.parameters.values() if p.name != "self"]
        assert [(p.name, p.kind) for p in own.parameters.values()][: len(expected)] == [
            (p.name, p.kind) for p in expected
        ], f"{name}{own} is not {name}{wanted}"
        for extra in [*own.parameters.values()][len(expected) :]:
            optional = extra.default is not extra.empty or extra.kind in (
                extra.VAR_POSITIONAL,
                extra.VAR_KEYWORD,
            )
            assert optional, f"{name} needs {extra.name}, which nobody gives"


def is_words(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(word, str) and word for word in value)


def test_something_of_every_kind_is_installed() -> None:
    assert {kind for kind, _ in INSTALLED} == set(KINDS)
    assert set(PROTOCOLS) == set(KINDS)


@pytest.mark.parametrize(("kind", "name"), INSTALLED)
def test_a_plugin_fits_its_contract(kind: str, name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", name), "names are typed by people"
    made = load(kind, name)
    assert_fits(made, PROTOCOLS[kind])
    assert inspect.getdoc(type(made)) or inspect.getdoc(sys.modules[type(made).__module__])


@pytest.mark.parametrize(("kind", "name"), [each for each in INSTALLED if each[0] != "reports"])
def test_packages_are_names_of_distributions(kind: str, name: str) -> None:
    packages = load(kind, name).packages
    assert is_words(packages)
    assert len(set(packages)) == len(packages)
    for package in packages:
        assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", package)


def test_the_contract_test_notices() -> None:
    """It would pass anything if `methods` found nothing."""
    assert methods(contracts.Runner).keys() == {"probe", "build", "open"}
    assert attributes(contracts.Runner) == {"precisions", "packages"}
    assert methods(contracts.BuildsAhead).keys() == {"probe_build"}
    assert methods(contracts.Compiler).keys() == {"probe_build", "identity", "lower", "compile"}

    class Wrong:
        precisions = packages = ()

        def probe(self) -> None: ...

    with pytest.raises(AssertionError, match="probe"):
        assert_fits(Wrong(), contracts.Runner)
    with pytest.raises(AssertionError, match="it lacks packages"):
        assert_fits(object(), type("P", (), {"__annotations__": {"packages": "str"}}))


# Exporters


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_exporter_says_whether_names_mean_the_same_forever(name: str) -> None:
    assert type(plugins.exporter(name).stable) is bool


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTERS)
def test_an_exporter_lists_names_that_can_be_typed(name: str) -> None:
    try:
        every = list(plugins.exporter(name).names())
    except Unavailable as refusal:
        pytest.skip(message_of(refusal))
    assert len(set(every)) == len(every)
    for each in every:
        assert isinstance(each, str)
        assert re.fullmatch(r"[\w.+-]+", each), each
    if name in ZOOS:
        assert every


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTERS)
@pytest.mark.parametrize("asked", ["no-such-model", "no_such.module:at_all", "", "resnet5O"])
@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_an_exporter_refuses_what_it_does_not_know(name: str, asked: str, weights: str) -> None:
    with pytest.raises((UsageError, Unavailable)) as caught:
        plugins.exporter(name).describe(asked, weights)
    assert message_of(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTERS)
def test_an_exporter_refuses_weights_that_are_not_there(name: str, tmp_path: Path) -> None:
    exporter = plugins.exporter(name)
    try:
        model = min(exporter.names(), default="")
    except Unavailable:
        pytest.skip("its packages are not installed")
    with pytest.raises((UsageError, Unavailable)) as caught:
        exporter.describe(model, str(tmp_path / "none.safetensors"))
    assert message_of(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTERS)
def test_an_exporter_describes_without_its_weights(name: str) -> None:
    exporter = plugins.exporter(name)
    try:
        first = min(exporter.names(), default=None)
    except Unavailable:
        pytest.skip("its packages are not installed")
    if first is None:
        pytest.skip("a source of files has no names")
    model = exporter.describe(first, "random")
    assert isinstance(model, Model)
    assert (model.source, model.weights) == (name, "random")
    assert model.inputs
    assert model.inputs[0].shape[0] is None, "the batch comes first, and is free"
    assert model.published is None, "random weights have no accuracy"
    if model.preprocess is not None:
        how = model.preprocess
        channels = 3 if how.mode == "RGB" else 1
        assert model.inputs[0].shape[1:] == (channels, how.height, how.width)
        assert len(how.mean) == len(how.std) == channels
        assert min(how.std) > 0
    assert len(set(model.labels)) > 1 or not model.labels


FACTORY = """
import torch

def raises():
    raise ValueError("the first line\\nand a second one")

def number():
    return 3
"""


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["raises", "number", "nothing"])
def test_what_the_users_own_code_does_wrong_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: str
) -> None:
    pytest.importorskip("torch")
    if "py" not in EXPORTERS:
        pytest.skip("no source of Python factories is installed")
    (tmp_path / "users_own_nets.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises((UsageError, StageError)) as caught:
        plugins.exporter("py").describe(f"users_own_nets:{factory}", "pretrained")
    assert "users_own_nets" in message_of(caught.value)


# Runners


@pytest.mark.parametrize("name", plugins.find("runners"))
def test_the_methods_of_a_runner(name: str) -> None:
    """int8 in several ways is optional; half of it is not."""
    runner: Any = plugins.runner(name)
    if not hasattr(runner, "methods"):
        assert not hasattr(runner, "rank")
        return
    assert_fits(runner, contracts.Quantizer)
    assert is_words(runner.methods)
    assert len(set(runner.methods)) == len(runner.methods) > 0
    for method in runner.methods:
        [recipe] = recipes.parse(f"{method}:8:1")
        assert recipe.method == method


@pytest.mark.parametrize("name", RUNNERS)
def test_the_precisions_of_a_runner(name: str) -> None:
    precisions = plugins.runner(name).precisions
    assert is_words(precisions)
    assert set(precisions) <= set(get_args(Precision))
    assert len(set(precisions)) == len(precisions) > 0


@pytest.mark.parametrize("target", targets.every(), ids=lambda target: target.name)
def test_the_runner_of_a_shipped_target_is_installed_and_can_do_it(target: Target) -> None:
    assert target.runner in RUNNERS
    assert target.precision in plugins.runner(target.runner).precisions


def test_every_runner_has_a_target() -> None:
    assert {target.runner for target in targets.every()} >= {*RUNNERS}


@pytest.mark.parametrize("name", RUNNERS)
def test_a_probe_answers_for_every_precision(name: str) -> None:
    runner = plugins.runner(name)
    for precision in runner.precisions:
        reason = runner.probe(Target("x", "cpu", name, precision))
        assert reason is None or (reason.strip() and reason.splitlines() == [reason])


@pytest.mark.parametrize("name", RUNNERS)
def test_a_runner_that_compiles_ahead_does_all_of_it(name: str) -> None:
    runner = plugins.runner(name)
    if not hasattr(runner, "compile"):
        assert not hasattr(runner, "lower")
        pytest.skip("it builds in one step")
    assert_fits(runner, contracts.Compiler)
    for precision in runner.precisions:
        reason = runner.probe_build(Target("x", "cpu", name, precision))
        assert reason is None or (reason.strip() and reason.splitlines() == [reason])


@pytest.fixture(params=RUNNERS)
def runnable(request: pytest.FixtureRequest) -> Target:
    """A fp32 target of each runner that can run here."""
    runner = plugins.runner(request.param)
    target = Target("x", "cpu", request.param, "fp32")
    if "fp32" not in runner.precisions:
        pytest.skip("it does no fp32")
    if reason := runner.probe(target):
        pytest.skip(reason)
    return target


@pytest.fixture
def onnx(tiny_onnx: Path) -> Artifact:
    return artifact(tiny_onnx, form="onnx", made_by="test", build_s=0.0)


class NoCalibration:
    source, n, fingerprint = "none", 0, "0"

    def feeds(self) -> Iterator[Any]:
        return iter(())


@pytest.mark.parametrize("batch", [1, 2])
def test_a_runner_computes_what_the_network_computes(
    runnable: Target, onnx: Artifact, tmp_path: Path, batch: int
) -> None:
    runner = plugins.runner(runnable.runner)
    built = runner.build(onnx, runnable, NoCalibration(), tmp_path)
    assert isinstance(built, Artifact)
    assert built == onnx or Path(built.path).is_relative_to(tmp_path)
    rng = np.random.default_rng(0)
    feeds = [
        {"input": rng.standard_normal((batch, 3, 16, 16)).astype(np.float32)} for _ in range(3)
    ]
    with (
        reference(onnx, batch) as [wanted],
        runner.open(built, runnable, batch=batch, threads=1) as [session],
    ):
        assert_fits(session, contracts.Session)
        assert [spec.name for spec in session.inputs] == ["input"]
        for feed in [*feeds, feeds[0]]:  # what was staged last is what counts
            for each in (wanted, session):
                each.stage(feed)
                each.step()
                each.step()
            (expected,), (found,) = wanted.fetch(), session.fetch()
            assert found.shape == (batch, 10)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        flags = dict(session.flags())
        assert json.loads(json.dumps(flags)) == flags
        assert all(type(value) in (str, int, float, bool) for value in flags.values())


def test_streams_do_not_mix_what_they_compute(
    runnable: Target, onnx: Artifact, tmp_path: Path
) -> None:
    runner = plugins.runner(runnable.runner)
    built = runner.build(onnx, runnable, NoCalibration(), tmp_path)
    rng = np.random.default_rng(0)
    feeds = [{"input": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(2)]

    def repeat(session: contracts.Session, feed: contracts.Feed) -> Any:
        session.stage(feed)
        for _ in range(20):
            session.step()
        return np.array(session.fetch()[0])

    with (
        reference(onnx) as [wanted],
        runner.open(built, runnable, batch=1, threads=1, streams=2) as sessions,
        ThreadPoolExecutor(2) as both,
    ):
        found = list(both.map(repeat, sessions, feeds))
        for feed, output in zip(feeds, found, strict=True):
            np.testing.assert_allclose(output, repeat(wanted, feed), rtol=1e-3, atol=1e-4)


def test_a_runner_leaves_its_inputs_alone(runnable: Target, onnx: Artifact, tmp_path: Path) -> None:
    runner = plugins.runner(runnable.runner)
    before = Path(onnx.path).read_bytes()
    built = runner.build(onnx, runnable, NoCalibration(), tmp_path)
    values = np.ones((1, 3, 16, 16), np.float32)
    with runner.open(built, runnable, batch=1, threads=1) as [session]:
        session.stage({"input": values})
        session.step()
        session.fetch()
    assert (values == 1).all()
    assert Path(onnx.path).read_bytes() == before


def test_a_file_that_a_runner_cannot_load_is_one_line(
    runnable: Target, onnx: Artifact, tmp_path: Path
) -> None:
    runner = plugins.runner(runnable.runner)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(Path(onnx.path).read_bytes()[:300])
    made = artifact(broken, form="onnx", made_by="test", build_s=0.0)

    def run() -> None:
        built = runner.build(made, runnable, NoCalibration(), tmp_path)
        with runner.open(built, runnable, batch=1, threads=1):
            pass

    with pytest.raises(StageError) as caught:
        run()
    message_of(caught.value)
    assert caught.value.kind


# Reports


@pytest.mark.parametrize("name", REPORTS)
def test_the_formats_of_a_report_are_file_name_endings(name: str) -> None:
    formats = plugins.report(name).formats
    assert is_words(formats)
    assert formats
    assert all(re.fullmatch(r"[a-z0-9]+", ending) for ending in formats)


def test_no_format_is_written_by_two_reports() -> None:
    every = [ending for name in REPORTS for ending in plugins.report(name).formats]
    assert len(set(every)) == len(every)


# Finding them


def pretend(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [p for p in points if p.group == group]
    )


def point(name: str, value: str, group: str = "bench.runners") -> EntryPoint:
    return EntryPoint(name, value, group)


def test_two_plugins_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, point("ort", "a:One"), point("x", "b:Two"), point("ort", "c:Three"))
    with refused(UsageError, "two runners", "'ort'", "a:One", "c:Three", "uninstall"):
        plugins.find("runners")
    with refused(UsageError, "two runners"):
        plugins.runner("x")


def test_one_plugin_found_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable install beside an installed one lists the same entry point twice."""
    pretend(monkeypatch, point("b", "a:One"), point("b", "a:One"), point("a", "c:Two"))
    assert list(plugins.find("runners")) == ["a", "b"]


def test_the_kinds_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, point("x", "a:One"), point("x", "b:Two", "bench.reports"))
    assert plugins.find("runners")["x"].value == "a:One"
    assert plugins.find("reports")["x"].value == "b:Two"
    assert plugins.find("exporters") == {}


@pytest.mark.parametrize(("kind", "name"), INSTALLED)
def test_an_unknown_name_says_the_near_one(kind: str, name: str) -> None:
    with refused(UsageError, f"unknown {kind.removesuffix('s')} '{name}x'", "did you mean", name):
        load(kind, f"{name}x")


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_like_no_other_says_what_there_is(kind: str) -> None:
    with refused(UsageError, "0000", *plugins.find(kind)):  # type: ignore[arg-type]
        load(kind, "0000")


def test_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    with refused(UsageError, "unknown runner 'ort'", "none is installed"):
        plugins.runner("ort")


@pytest.mark.parametrize("value", ["no_such_package_at_all:Runner", "bench.records:NoSuchClass"])
def test_a_plugin_that_cannot_be_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    pretend(monkeypatch, point("stale", value))
    with pytest.raises(BenchError) as caught:
        plugins.runner("stale")
    assert "stale" in message_of(caught.value)
    assert value.partition(":")[0] in message_of(caught.value)


# What is in the folders


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """The full names of all modules that a file imports, wherever in it it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name_of(path).split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", getattr(node.func, "attr", None)) == "import_module"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(str(node.args[0].value))
    return found


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_plugin_in_our_folders_is_registered(kind: str) -> None:
    """A class with all the methods of a contract is a plug-in, whoever forgot to say so."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    registered = project["entry-points"][f"bench.{kind}"]
    defined = {
        f"{name_of(path)}:{node.name}"
        for path in modules(kind)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        and methods(PROTOCOLS[kind]).keys()
        <= {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    }
    assert set(registered.values()) == defined
    ours = {
        name: found.value
        for name, found in plugins.find(kind).items()  # type: ignore[arg-type]
        if found.value in defined
    }
    assert ours == registered, "pyproject.toml was changed: pip install --editable . again"


@cache
def taken() -> set[str]:
    """Names that would be shadowed: what we import or depend on, and the standard library."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [word for words in project["optional-dependencies"].values() for word in words]
    declared = {
        re.split(r"[^\w.-]", word)[0].replace("-", "_")
        for word in [*project["dependencies"], *extras]
    }
    imported = {name for other in modules("bench", *KINDS) for name in tops(other)}
    return (imported | declared | sys.stdlib_module_names) - {*KINDS}


@pytest.mark.parametrize("path", modules(*KINDS), ids=name_of)
def test_no_module_is_called_like_something_that_is_imported(path: Path) -> None:
    """A script run from inside the folder would import itself."""
    assert {"openvino", "torch", "onnxruntime"} <= taken()
    assert (path.parent.name if path.stem == "__init__" else path.stem) not in taken()


@pytest.mark.parametrize("path", modules("bench"), ids=name_of)
def test_the_kernel_imports_no_plugin(path: Path) -> None:
    assert not tops(path) & set(KINDS)


@pytest.mark.parametrize("path", modules("reports"), ids=name_of)
def test_a_report_imports_nothing_that_measures(path: Path) -> None:
    assert not tops(path) & {"runners", "exporters"}
    assert not imports(path) & {
        f"bench.{name}" for name in ("timing", "pipeline", "launch", "child")
    }


@pytest.mark.parametrize("path", modules("exporters", "runners"), ids=name_of)
def test_the_kinds_of_plugins_do_not_know_each_other(path: Path) -> None:
    others = set(KINDS) - {path.relative_to(ROOT).parts[0]}
    assert not tops(path) & others


def modules_after(code: str) -> set[str]:
    """The top-level modules that are there after a fresh Python has run some code."""
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return {name.partition(".")[0] for name in ran.stdout.split()}


def test_the_command_line_imports_nothing_heavy() -> None:
    found = modules_after("import bench.cli")
    assert "typer" in found
    assert not found & HEAVY


def test_reporting_imports_nothing_that_measures() -> None:
    found = modules_after("import bench.reporting, bench.public, bench.store")
    assert not found & (HEAVY - {"numpy", "sqlalchemy"})


def test_a_process_that_measures_imports_no_images() -> None:
    """Every measurement starts five of them."""
    found = modules_after("import bench.child, bench.stages.measure")
    assert not found & ((HEAVY | {"PIL"}) - {"numpy"})


def test_plugins_import_what_they_wrap_only_when_they_are_used() -> None:
    """`bench list runners` stays instant, and a board without torch runs an ONNX file."""
    found = modules_after(
        "from bench import plugins\n"
        "for kind in ('exporters', 'runners', 'reports'):\n"
        "    for name in plugins.find(kind): getattr(plugins, kind[:-1])(name)"
    )
    assert not found & (HEAVY - {"numpy", "onnx"})
