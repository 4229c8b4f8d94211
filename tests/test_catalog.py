"""Names that name nothing: what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from bench.errors import unknown


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "builtin:digits-resnet.nosuch",
            "unknown weights tag of builtin:digits-resnet 'nosuch': one of: digits",
        ),
        ("builtin:DIGITS-RESNET", "did you mean builtin:digits-resnet"),
        ("builtin:digits-lonet", "did you mean builtin:digits-lenet"),
        ("builtin:xyz", "unknown builtin model 'xyz': see `bench list models 'builtin:*'`"),
        ("builtin:xyz*", "unknown model 'builtin:xyz*'"),
    ],
)
def test_a_name_that_a_source_does_not_have(bench: Any, name: str, words: str) -> None:
    ran = bench("run", "-m", name, "-t", "null-fp32")
    assert ran.status == 2
    assert words in ran.err


def test_a_name_is_near_whatever_its_case() -> None:
    known = ["resnet18", "IMAGENET1K_V1"]
    assert "did you mean resnet18?" in str(unknown("model", "RESNET18", known, "it"))
    assert "did you mean IMAGENET1K_V1?" in str(unknown("tag", "imagenet1k_v1", known, "it"))
