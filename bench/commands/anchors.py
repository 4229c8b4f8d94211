"""`bench anchors`: can a published number be reproduced?"""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.common import JsonOption, StoreOption, open_store, print_json


def anchors(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="MODEL", help="A network's name, or a glob."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", metavar="TARGET", help="A target's name, or a glob."),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare results with figures that others have published, and say what may differ."""
    from bench import anchors
    from bench.anchors import shown

    chosen = anchors.select(model or [], target or [])
    found = anchors.compare(chosen, open_store(store).read())
    print_json([anchors.to_json(each) for each in found]) if as_json else shown.findings(found)
