"""Trying every model of a list on every target, one child at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench import machine, plugins
from bench.cache import Cache, versions
from bench.content import fingerprint
from bench.coverage.ledger import Attempt
from bench.coverage.watch import Watch
from bench.errors import BenchError
from bench.launch import Child, ChildError
from bench.messages import At, Export, Exported, Found, Prepare, Prepared
from bench.modelref import ModelRef
from bench.records import Job, Recipe
from bench.timing import Deadline, utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from bench.contracts import Exporter
    from bench.coverage.ledger import Ledger
    from bench.coverage.listing import Entry
    from bench.messages import Request, Update
    from bench.records import Stage, Target

#: Inputs that a built artifact is checked on: with one, a detector that says the same of every
#: image would pass.
INPUTS = 2
#: What is made once a model, and stays until its last target is tried.
SHARED = frozenset({"describe", "export", "facts", "inputs"})


@dataclass(frozen=True)
class Plan:
    """How models are tried. `weights` does not concern files and code of the user's own, which
    bring theirs. `cache` is the folder of artifacts that `bench run` uses; unless they
    are to be kept, they are made in a folder of the ledger's own below it, and removed."""

    targets: tuple[Target, ...]
    cache: Path
    #: Names of the targets that are not here, for which models are built and not run.
    ahead: frozenset[str] = frozenset()
    weights: str = "random"
    calibration: int = 8
    timeout_seconds: float = 1800.0
    keep: bool = False
    again: bool = False
    retry_failed: bool = False
    on_start: Callable[[Attempt], None] = lambda _: None
    on_stage: Callable[[Stage], None] = lambda _: None
    on_finish: Callable[[Attempt], None] = lambda _: None
    on_details: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Sweep:
    """A list being tried. What the ledger has already is not tried again, unless the plan says so,
    or what the name stands for or the versions of the packages that decide it have changed since.
    """

    plan: Plan
    ledger: Ledger
    #: By model: what is looked at more than once may be large.
    _contents: dict[str, str | None] = field(default_factory=dict)

    def run(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._try_model(entry)

    def pending(self, entry: Entry) -> int:
        """How many attempts are still to be made of a model, if all goes well."""
        exported, *built = map(self._known, self._all(entry.model))
        if exported and not exported.works:
            return 0
        left = built.count(None)
        return left + int(left > 0 or exported is None)  # what was exported is not kept

    def found(self, entries: Iterable[Entry]) -> list[Attempt]:
        """The attempts that were made of these models, the newest of each."""
        attempts = []
        for entry in entries:
            exported, *built = map(self.ledger.find, self._all(entry.model))
            if exported:
                attempts += [exported, *filter(None, built if exported.works else ())]
        return attempts

    def _try_model(self, entry: Entry) -> None:
        if not self.pending(entry):
            return
        plan = self.plan
        asked, *on_targets = self._all(entry.model)
        if entry.problem:
            plan.on_start(asked)
            self._record(replace(asked, failure=entry.problem))
            return
        cache = Cache(plan.cache) if plan.keep else self._scratch()
        exported = self._try(asked, Export(entry.model, asked.weights, str(cache.root), False))
        if exported.works:
            for target, each in zip(plan.targets, on_targets, strict=True):
                if self._known(each):
                    continue
                # Where the hub did not answer once, it is not waited for again.
                weights = "random" if exported.fell_back else each.weights
                self._try(each, self._request(each, target, cache, weights))
                if not plan.keep:  # the artifact that was built; the export is still needed
                    cache.clear(set(cache.size()) - SHARED)
        if not plan.keep:
            cache.clear()

    def _try(self, asked: Attempt, request: Request) -> Attempt:
        """Have a fresh child do it, and write down what came of it."""
        self.plan.on_start(asked)
        deadline = Deadline.after(self.plan.timeout_seconds, "raise --timeout")
        answer: type[Exported | Prepared] = Exported if isinstance(request, Export) else Prepared
        watch = Watch()
        used: str | None = None

        def on_reply(reply: Update) -> None:
            nonlocal used
            if isinstance(reply, Found) and reply.model:
                used = reply.model.weights
            if isinstance(reply, At):
                watch.at(reply.stage)
                self.plan.on_stage(reply.stage)

        with Child(request, on_reply) as child, watch.follow(child.pid):
            try:
                found = _what(child.answer(answer, deadline))
            except ChildError as failed:
                found = {"failure": failed.failure}
                self.plan.on_details(failed.details)
        attempt = replace(
            asked,
            seconds={stage: round(seconds, 2) for stage, seconds in watch.seconds.items()},
            peak_mb={stage: round(peak / 1e6) for stage, peak in watch.peak_bytes.items()},
            used=used,
            **found,
        )
        self._record(attempt)
        return attempt

    def _record(self, attempt: Attempt) -> None:
        self.ledger.append(attempt)
        self.plan.on_finish(attempt)

    def _request(self, asked: Attempt, target: Target, cache: Cache, weights: str) -> Request:
        """All that comes before timing; for a target that is not here, without running it."""
        few = Recipe(images=self.plan.calibration)
        job = Job(asked.model, target, weights, recipe=few)
        return Prepare(
            job,
            cache=str(cache.root),
            fresh=False,
            inputs=INPUTS,
            canary=False,
            build_only=asked.ahead,
        )

    def _all(self, model: str) -> list[Attempt]:
        """What is asked of a model: its export, then each target."""
        return [self._asked(model, target) for target in (None, *self.plan.targets)]

    def _asked(self, model: str, target: Target | None) -> Attempt:
        exporter = _exporter(model)
        own = exporter.packages if exporter else ()
        packages = ("frontier-bench", *own, *_packages(target))
        int8 = target is not None and target.precision == "int8"
        weights = "pretrained" if exporter and not exporter.stable else self.plan.weights
        if model not in self._contents:
            self._contents[model] = fingerprint(model, weights)
        return Attempt(
            model=model,
            target=target.name if target else None,
            weights=weights,
            versions=versions(packages),
            started_at=utc(),
            content=self._contents[model],
            calibration=self.plan.calibration if int8 else None,
            ahead=target is not None and target.name in self.plan.ahead,
            machine=str(machine.observe()),
        )

    def _known(self, asked: Attempt) -> Attempt | None:
        """What the ledger has of it, unless it is to be done again."""
        found = None if self.plan.again else self.ledger.find(asked)
        return found if found and (found.works or not self.plan.retry_failed) else None

    def _scratch(self) -> Cache:
        """A folder of this ledger's own: what an interrupted sweep left there is gone on with."""
        name = hashlib.sha256(str(self.ledger.path.resolve()).encode()).hexdigest()[:12]
        return Cache(self.plan.cache / "coverage" / name)


def _exporter(model: str) -> Exporter | None:
    """The model's source, None where there is no such source: the attempt says so."""
    try:
        return plugins.exporter(ModelRef.parse(model).source or "")
    except BenchError:
        return None


def _packages(target: Target | None) -> tuple[str, ...]:
    return plugins.runner(target.runner).packages if target else ()


def _what(answer: Exported | Prepared) -> dict[str, Any]:
    """What an attempt keeps of its child's answer."""
    if isinstance(answer, Exported):
        made = answer.artifact
        found: dict[str, Any] = {"facts": answer.facts, "notes": answer.model.notes}
    else:
        made = answer.timed.built
        found = {"check": answer.check, "notes": answer.notes}
    return {
        **found,
        "artifact_mb": round(made.bytes / 1e6, 1),
        "made_by": made.made_by,
        "details": made.details,
    }
