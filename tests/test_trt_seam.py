"""The fakes of TensorRT and pycuda have nothing that the real ones do not have: each name, and the
names of each call's arguments, is held to the real bindings.

TensorRT for RTX has TensorRT's API and installs everywhere. pycuda is compiled against CUDA and
linked against the driver; where it cannot be imported its test is skipped.
"""

from __future__ import annotations

import ast
import inspect
import re
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from runners import trt_api, trt_build, trt_session
from tests import fake_pycuda, fake_tensorrt

#: How the bindings and Python call the same.
_PARAMETER = re.compile(r"(?:^|, )(\w+): ")


def own_names(made: type) -> dict[str, Any]:
    """What a fake class has itself."""
    return {name: value for name, value in vars(made).items() if name[0] != "_"}


def arguments(function: Any) -> list[list[str]]:
    """The names of the arguments of each overload of a bound function, from its documentation."""
    found = []
    for line in (function.__doc__ or "").splitlines():
        stated = re.match(r"\s*(?:\d+\. )?(\w+)\((.*)\) ->", line)
        if stated and "*args" not in stated[2]:
            found.append([name for name in _PARAMETER.findall(stated[2]) if name != "self"])
    return found


@pytest.mark.parametrize("made", fake_tensorrt.SURFACE, ids=lambda made: made.__name__)
def test_tensorrt_has_what_its_fake_has(made: Any) -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    real = getattr(trt, made.__name__)
    if inspect.isclass(made) and issubclass(made, IntEnum):
        known = real.__members__
        if made is fake_tensorrt.ErrorCode:
            known = trt.ErrorCode.__members__  # the parser's; the runtime's own has another name
        assert set(made.__members__) <= set(known)
        return
    if not inspect.isclass(made):
        assert callable(real)
        return
    for name, value in own_names(made).items():
        assert hasattr(real, name), f"{made.__name__} has no {name}"
        if inspect.isfunction(value):
            ours = [each for each in inspect.signature(value).parameters if each != "self"]
            theirs = arguments(getattr(real, name))
            assert theirs, f"the documentation of {made.__name__}.{name} states no arguments"
            assert any(ours == each[: len(ours)] for each in theirs), (name, ours, theirs)
    if "__init__" in vars(made) and (stated := arguments(real.__init__)):
        ours = [each for each in inspect.signature(made).parameters if each != "self"]
        assert ours in stated, (ours, stated)


def test_members_set_on_instances_exist_too() -> None:
    """What a fake sets in its constructor is as much a claim as what it defines."""
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    parsed = ast.parse(Path(fake_tensorrt.__file__).read_text(encoding="utf-8"))
    checked = 0
    for node in parsed.body:
        if not isinstance(node, ast.ClassDef) or not hasattr(trt, node.name):
            continue
        for each in ast.walk(node):
            own = isinstance(each, ast.Attribute) and getattr(each.value, "id", "") == "self"
            if own and isinstance(each.ctx, ast.Store) and each.attr[0] != "_":
                assert hasattr(getattr(trt, node.name), each.attr), f"{node.name}.{each.attr}"
                checked += 1
    assert checked > 5


def test_the_seam_finds_tensorrt_rtx_and_what_it_compiles_for() -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    api, problem = trt_api.find("TensorRT-RTX")
    assert api is not None, problem
    assert api.strongly_typed
    assert {"7.5", "8.6", "8.9", "12.0"} <= set(api.capabilities)
    assert api.form == "tensorrt-rtx-engine"


def test_what_is_called_ahead_of_time_is_there() -> None:
    """The fake is TensorRT's; these two are TensorRT for RTX's alone."""
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    assert arguments(trt.IBuilderConfig.set_compute_capability) == [["compute_capability", "index"]]
    assert hasattr(trt.IBuilderConfig, "num_compute_capabilities")
    assert all(hasattr(trt.LayerType, name) for name in trt_build._COMPUTE[:3])


PYCUDA = {
    fake_pycuda.Device: ["name", "compute_capability", "retain_primary_context"],
    fake_pycuda.Context: ["push", "pop", "detach"],
    fake_pycuda.Stream: ["handle", "synchronize"],
    fake_pycuda.Event: ["record", "synchronize", "time_till"],
}
FUNCTIONS = [
    "get_driver_version",
    "init",
    "mem_alloc",
    "mem_get_info",
    "memcpy_dtoh_async",
    "memcpy_htod_async",
    "pagelocked_empty",
]


def test_pycuda_has_what_its_fake_has() -> None:
    try:
        import pycuda.driver as real
    except ImportError as error:
        pytest.skip(f"pycuda cannot be imported: {error}")
    for made, names in PYCUDA.items():
        for name in names:
            assert hasattr(getattr(real, made.__name__), name), f"{made.__name__}.{name}"
    for name in FUNCTIONS:
        assert callable(getattr(real, name))
    for name in ("DEFAULT", "BLOCKING_SYNC", "DISABLE_TIMING"):
        assert hasattr(real.event_flags, name)
    for error in ("LogicError", "MemoryError", "RuntimeError"):
        assert issubclass(getattr(real, error), real.Error)


def test_the_module_calls_nothing_else_of_pycuda() -> None:
    """So that the list above is the whole of it."""
    used = attributes_of("_cuda", "cuda")
    known = {*FUNCTIONS, "Device", "Error", "Event", "Stream", "event_flags"}
    assert used == known


def attributes_of(*names: str) -> set[str]:
    """What is read of a name, or of an attribute of that name, in runners/cuda_device.py."""
    path = Path(trt_session.__file__).with_name("cuda_device.py")
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            of = node.value
            name = of.attr if isinstance(of, ast.Attribute) else getattr(of, "id", "")
            if name in names:
                found.add(node.attr)
    return found


def test_the_calls_of_the_driver_are_declared_by_cuda() -> None:
    header = next(Path("/usr/local").glob("cuda*/include/cuda.h"), None)
    if header is None:
        pytest.skip("no CUDA toolkit in /usr/local")
    text = header.read_text(encoding="utf-8")
    for name in (each for each in vars(fake_pycuda.Libcuda) if each.startswith("cu")):
        declared = rf"CUDAAPI {name}\(|#define \w+\s.*\b{name}\b"  # newer headers rename them
        assert re.search(declared, text), name
