"""Finding plug-ins by entry point: the built-in ones enter by the same door as a stranger's."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal, cast

from bench.errors import Unavailable, UsageError, unknown

if TYPE_CHECKING:
    from bench.contracts import Exporter, Report, Runner

Kind = Literal["exporters", "runners", "reports"]


def find(kind: Kind) -> dict[str, EntryPoint]:
    """Every installed plug-in of a kind, by name. Two of one name are an error, not a race."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"bench.{kind}"):
        twin = found.setdefault(point.name, point)
        if twin.value != point.value:
            raise UsageError(
                f"two {kind} are called {point.name!r}: {twin.value} and {point.value}; "
                "uninstall one of the packages"
            )
    return dict(sorted(found.items()))


def _load(kind: Kind, name: str) -> Any:
    found = find(kind)
    if name not in found:
        known = ", ".join(found) or "none is installed"
        raise unknown(kind.removesuffix("s"), name, found, f"one of: {known}")
    try:
        return found[name].load()()
    except (ImportError, AttributeError) as error:
        raise Unavailable(
            f"the {kind.removesuffix('s')} {name!r} ({found[name].value}) cannot be loaded: {error}"
        ) from error


def exporter(name: str) -> Exporter:
    return cast("Exporter", _load("exporters", name))


def runner(name: str) -> Runner:
    return cast("Runner", _load("runners", name))


def report(name: str) -> Report:
    return cast("Report", _load("reports", name))
