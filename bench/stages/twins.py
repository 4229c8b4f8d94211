"""One process that becomes two, for a pair of a comparison.

What they have imported lies in the same memory, and at the same addresses: two processes that each
imported it for themselves differ by up to two percent for as long as they live, whatever they run
(`docs/architecture.md`). It is done once, too. What a network is given is each one's own.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, NoReturn

from bench import plugins
from bench.messages import Ended
from bench.stages import measure  # noqa: F401 (once, for both twins)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.messages import Lead, Twins
    from bench.teller import Teller


def become_two(request: Twins, tell: Teller, serve: Callable[[IO[bytes]], NoReturn]) -> None:
    """Have `serve` answer each twin's request in that twin, and stay to tell how they end."""
    plugins.runner(request.target.runner).probe(request.target)
    pids = []
    for i, lead in enumerate(request.leads):
        pid = os.fork()
        if not pid:
            tell.close()
            _close(request.leads[i + 1 :])
            os.dup2(lead.reads, 0)
            os.close(lead.reads)
            serve(os.fdopen(lead.answers, "wb"))
        os.setpgid(pid, pid)  # so that it can be killed with all that it starts
        _close([lead])  # so that whoever listens hears it end
        pids.append(pid)
    tell.done(pids)
    while pids:
        pid, status = os.wait()
        if pid in pids:  # and no process that a library has left behind
            pids.remove(pid)
            tell.done(Ended(pid, os.waitstatus_to_exitcode(status)))


def _close(leads: Sequence[Lead]) -> None:
    for lead in leads:
        for end in lead.ends:
            os.close(end)
