"""What a sweep found, as a Markdown page: what works, how long it took, how much memory, and for
what fails the stage and the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.terminal import amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.coverage.ledger import Attempt

_EXPORT = "export"


def page(
    attempts: Sequence[Attempt], targets: Sequence[str], circumstances: str, *, untried: int = 0
) -> str:
    """The whole page; models come in the order of the attempts."""
    columns: list[str | None] = [None, *targets]
    ahead = {each.target for each in attempts if each.ahead}
    titles = [_EXPORT, *(f"{name} (not run)" if name in ahead else name for name in targets)]
    by_place = {(each.model, each.target): each for each in attempts}
    models = list(dict.fromkeys(each.model for each in attempts))
    lines = [
        "# Coverage",
        "",
        circumstances,
        "",
        f"What `bench coverage` found, with {_weights(attempts)}: each model is exported and "
        "compared with its source, then built for each target, checked against its ONNX file on "
        "ONNX Runtime, and run. Every cell is a process of its own: seconds from its start to its "
        "end (no measure: nothing keeps the machine from doing other work), and the most resident "
        "memory it took.",
        "",
        *_rows(["", *titles], _summary(models, by_place, columns)),
        "",
        f"{_everywhere(models, by_place, columns)} of {len(models)} models work everywhere; what "
        "does not, and why, is said below the table.",
        "",
        *_rows(
            ["model", "params", "MACs", *titles],
            (
                [model, *_facts(by_place.get((model, None))), *_cells(model, by_place, columns)]
                for model in models
            ),
        ),
    ]
    if untried:
        lines += ["", f"Of the list, {untried} models were not tried yet."]
    failed = [each for each in attempts if each.failure]
    if failed:
        lines += ["", "## What does not work", ""]
        lines += [f"- {_name(each)}, at {failure(each)}" for each in failed]
    return "\n".join([*lines, ""])


def random_instead(attempts: Iterable[Attempt]) -> int:
    """How many models got random weights, though others were asked for."""
    return len({each.model for each in attempts if each.fell_back})


def _weights(attempts: Sequence[Attempt]) -> str:
    """Those that were really used, in words."""
    kinds = {each.weights for each in attempts if each.works and not each.fell_back}
    said = ", ".join(sorted(kinds or {each.weights for each in attempts}))
    fallen = random_instead(attempts)
    if fallen and not kinds:
        return f"random weights, for the {said} ones could not be had"
    if fallen:
        models = len({each.model for each in attempts})
        few = f"{fallen} of {models} models, whose own could not be had"
        return f"{said} weights, and random ones for {few}"
    return f"{said} weights"


def counts(attempts: Iterable[Attempt]) -> str:
    """How many of how many work, in words."""
    tried = list(attempts)
    return f"{sum(each.works for each in tried)} of {len(tried)} work"


def failure(attempt: Attempt) -> str:
    """The stage, and why, in one line."""
    assert attempt.failure
    said = " ".join(attempt.failure.message.split())
    return f"{attempt.failure.stage}: {said} ({attempt.failure.kind})"


def cost(attempt: Attempt) -> str:
    """Seconds and memory in a few letters."""
    memory = attempt.highest_mb
    return f"{attempt.total_seconds:.0f} s" + (f", {memory / 1e3:.1f} GB" if memory else "")


def _name(attempt: Attempt) -> str:
    return f"`{attempt.model}`" + (f" @ {attempt.target}" if attempt.target else "")


def _summary(
    models: Sequence[str],
    by_place: dict[tuple[str, str | None], Attempt],
    columns: Sequence[str | None],
) -> Iterator[list[str]]:
    found = [
        [by_place[model, column] for model in models if (model, column) in by_place]
        for column in columns
    ]
    yield ["works", *(f"{sum(a.works for a in each)} of {len(models)}" for each in found)]
    minutes = (sum(a.total_seconds for a in each) / 60 for each in found)
    yield ["in all", *(f"{taken:.1f} min" for taken in minutes)]
    highest = (max((a.highest_mb or 0 for a in each), default=0) for each in found)
    yield ["at most", *(f"{peak / 1e3:.1f} GB" if peak else "-" for peak in highest)]
    cosines = [[a.check.cosine for a in each if a.check] for each in found]
    yield ["lowest cosine", *(f"{min(each):.4f}" if each else "-" for each in cosines)]


def _everywhere(
    models: Sequence[str],
    by_place: dict[tuple[str, str | None], Attempt],
    columns: Sequence[str | None],
) -> int:
    """How many models work on every target."""
    cells = ([by_place.get((model, column)) for column in columns] for model in models)
    return sum(all(each is not None and each.works for each in row) for row in cells)


def _facts(exported: Attempt | None) -> list[str]:
    if not exported or not exported.facts:
        return ["-", "-"]
    macs, least = exported.facts.macs, exported.facts.least_macs
    return [amount(exported.facts.params), f"≥ {amount(least)}" if least else amount(macs)]


def _cells(
    model: str,
    by_place: dict[tuple[str, str | None], Attempt],
    columns: Sequence[str | None],
) -> Iterator[str]:
    for column in columns:
        each = by_place.get((model, column))
        if each is None:
            yield "-"
        elif each.failure:
            yield f"**{each.failure.stage}: {each.failure.kind}**"
        else:
            yield cost(each)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
