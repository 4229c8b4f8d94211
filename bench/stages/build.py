"""From an exported network to what runs on the target: which runner, what decides a build, and the
build itself, from the cache where it can."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import canary, plugins, targets
from bench.cache import versions
from bench.contracts import BuildsAhead, Compiler
from bench.errors import Unavailable
from bench.machine import observe
from bench.records import Artifact
from bench.stages import calibrate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.cache import Cache
    from bench.calibration import Calibration
    from bench.contracts import Runner
    from bench.messages import Timed
    from bench.records import Target
    from bench.teller import Teller


@dataclass(frozen=True)
class Builder:
    """A target's runner, and whether it builds `ahead`: for a device that is not here, or that
    cannot be used here."""

    target: Target
    runner: Runner
    ahead: bool = False

    def build(
        self,
        source: Artifact,
        calibration: Calibration,
        batches: Sequence[int],
        cache: Cache,
        tell: Teller,
    ) -> tuple[Artifact, Artifact]:
        """What the compiler was given and what it made of it; the source itself and the artifact,
        where a runner builds in one step."""
        key = {
            "onnx": source.sha256,
            "calibration": calibrate.key(calibration) if self.target.precision == "int8" else None,
            **build_key(self.runner, self.target),
        }
        if not isinstance(self.runner, Compiler):
            built, _ = cache.get_or_make(
                "build",
                key,
                Artifact,
                lambda to: self._described(
                    self.runner.build(source, self.target, calibration, to), calibration, to
                ),
            )
            return source, built
        compiler, target, ahead = self.runner, self.target, self.ahead
        lowered, _ = cache.get_or_make(
            "lower",
            {**key, "ahead": ahead},
            Artifact,
            lambda to: self._described(
                compiler.lower(source, target, calibration, to, ahead=ahead), calibration, to
            ),
        )
        if lowered.sha256 != source.sha256:
            tell.found(artifact=lowered)
        built, _ = cache.get_or_make(
            "build",
            {
                "onnx": lowered.sha256,
                "batches": list(batches),
                "identity": dict(compiler.identity(target, ahead=ahead)),
                **build_key(compiler, target),
            },
            Artifact,
            lambda to: compiler.compile(lowered, target, batches, to, ahead=ahead),
        )
        return lowered, calibrate.handed_on(lowered, built)

    def _described(self, built: Artifact, calibration: Calibration, to: Path) -> Artifact:
        """With what it was calibrated on."""
        if self.target.precision != "int8" or not Path(built.path).is_relative_to(to):
            return built  # a file of the user's own was taken as it is
        return calibrate.described(built, calibration, to)


def usable(target: Target) -> Builder:
    """The target's runner. Raises Unavailable, with the remedy, when it cannot run here."""
    runner = _runner(target)
    if reason := runner.probe(target):
        raise Unavailable(f"target {target.name} cannot run here: {reason}")
    return Builder(target, runner)


def able_to_build(target: Target) -> Builder:
    """The target's runner, where it can at least build here. Raises Unavailable when not even
    that."""
    runner = _runner(target)
    wanted = targets.hardware_of(target)
    reason: str | None = (
        f"it needs {wanted.name}, for which the runner {target.runner} cannot build ahead"
    )
    if wanted.is_here(observe()) and (reason := runner.probe(target)) is None:
        return Builder(target, runner)
    if isinstance(runner, BuildsAhead):
        reason = runner.probe_build(target)
    if reason:
        raise Unavailable(f"target {target.name} cannot be built here: {reason}")
    return Builder(target, runner, ahead=True)


def problem(target: Target) -> str | None:
    """Why nothing can be built for a target here; None when it can."""
    try:
        able_to_build(target)
    except Unavailable as refusal:
        return str(refusal)
    return None


def canary_for(runner: Runner, target: Target, cache: Cache) -> Timed:
    """The canary, built for a target."""
    key = build_key(runner, target)
    if isinstance(runner, Compiler):
        key["identity"] = dict(runner.identity(target, ahead=False))
    return canary.ready(runner, target, key, cache)


def build_key(runner: Any, target: Target) -> dict[str, Any]:
    """What decides a build, beside the network and its calibration."""
    return {
        "target": what_decides_a_build(target),
        "versions": versions(("frontier-bench", *runner.packages)),
        "machine": observe().what_computes(target.device),
    }


def what_decides_a_build(target: Target) -> Any:
    return [target.hardware, target.runner, target.precision, target.device, target.options]


def _runner(target: Target) -> Runner:
    """The target's runner. Raises Unavailable where it is not installed, or does something else."""
    if target.runner not in plugins.find("runners"):
        raise Unavailable(
            f"target {target.name} needs the runner {target.runner!r}, which is not installed: "
            f"the runners here are {', '.join(plugins.find('runners'))}"
        )
    runner = plugins.runner(target.runner)
    if target.precision not in runner.precisions:
        raise Unavailable(
            f"runner {target.runner} does {', '.join(runner.precisions)}, not {target.precision}"
        )
    return runner
