"""The parent's side: a fresh child process for each request; the parent sleeps while it works."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, TypeVar

import msgspec

from bench import __version__
from bench.errors import BenchError, UsageError
from bench.messages import At, Command, Done, Failed, Reply, Request, Update
from bench.records import Failure, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.timing import Deadline

T = TypeVar("T")

# `-c` and `-m` put the current folder on the import path, where a user's own `runners` or
# `exporters` would shadow ours (-P forbids that, but only since Python 3.11).
_START = "import sys; sys.path[:] = filter(None, sys.path); from bench.child import main; main()"


#: The kernel's own limit of waiting is 24 days.
_LONGEST_WAIT_SECONDS = 86_400.0


class ChildError(BenchError):
    """A child reported a failure, died, or was stopped."""

    def __init__(self, failure: Failure, details: str) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.kind = failure.kind
        self.exit_status = {"usage": 2, "unavailable": 3}.get(failure.kind, 1)
        #: Traceback and the end of standard error, for `--debug`.
        self.details = details


def not_started(error: OSError) -> ChildError:
    """No memory, no process, no file descriptor was left for it."""
    said = f"a process cannot be started: {error.strerror or error}"
    return ChildError(Failure("target", "spawn", said), "")


class Process(Protocol):
    """What `Child` needs of a process: `subprocess.Popen`'s part of it."""

    @property
    def pid(self) -> int: ...
    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


#: A process, and the file that its standard error goes to.
Running = tuple[Process, IO[bytes]]


class Child:
    """A fresh process that works on one request, and on commands where it takes any.

    Use it as a context: at its end the process and all that it started are killed.
    """

    def __init__(
        self,
        request: Request,
        on_reply: Callable[[Update], None] = lambda _: None,
        *,
        python: str | None = None,
        inherit: tuple[int, ...] = (),
        running: Running | None = None,
    ) -> None:
        """`inherit` are file descriptors that it shares. `running` is a process that waits for its
        request already. Raises UsageError for a request that cannot be written down."""
        asked = _encoded(request)
        self._on_reply = on_reply
        self._stage: Stage = "target"
        self._oom_kills = _oom_kills()
        self._decoder = msgspec.json.Decoder(Reply)
        self._pending: list[bytes] = [b""]
        try:
            self._process, self.stderr = running or _spawned(python or sys.executable, inherit)
        except OSError as error:
            raise not_started(error) from error
        self._send(asked)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        self.stderr.close()

    @property
    def pid(self) -> int:
        """Of the process, and of the session that holds all that it starts."""
        return self._process.pid

    def ask(self, command: Command, answer: type[T], deadline: Deadline) -> T:
        """Give a command and return what it answers."""
        self.tell(command)
        return self.answer(answer, deadline)

    def tell(self, command: Command) -> None:
        """Give a command; `answer` has what it answers."""
        self._send(_encoded(command))

    def answer(self, kind: type[T], deadline: Deadline) -> T:
        """What the child answers to what it was asked last.

        Raises ChildError for whatever else happens to it: an error it reports, a crash, a signal,
        an out-of-memory kill, or the deadline.
        """
        while (line := self._line(deadline)) is not None:
            reply = self._decoder.decode(line)
            if isinstance(reply, Done):
                return msgspec.convert(reply.value, kind)
            if isinstance(reply, Failed):
                details = f"{reply.traceback}\n{_tail(self.stderr)}"
                raise ChildError(reply.failure, details)
            if isinstance(reply, At):
                self._stage = reply.stage
            self._on_reply(reply)
        try:
            status = self._process.wait(timeout=deadline.left())
            failure = self._death(status)
        except subprocess.TimeoutExpired:
            failure = Failure(self._stage, "timeout", f"the time limit ran out: {deadline.remedy}")
        raise ChildError(failure, _tail(self.stderr))

    def _send(self, line: bytes) -> None:
        with suppress(BrokenPipeError):  # it has died; its end says why
            self._stdin.write(line)
            self._stdin.flush()

    def _line(self, deadline: Deadline) -> bytes | None:
        """The next line, None when the child has closed its end or the deadline has passed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            while len(self._pending) < 2:
                if not selector.select(min(deadline.left(), _LONGEST_WAIT_SECONDS)):
                    if deadline.left():
                        continue
                    return None
                chunk = os.read(self._stdout.fileno(), 1 << 16)
                if not chunk:
                    return None
                self._pending = [*self._pending[:-1], *(self._pending[-1] + chunk).split(b"\n")]
        return self._pending.pop(0)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _death(self, status: int) -> Failure:
        """What to say of a child that ended without an answer."""
        said = [line.strip() for line in _tail(self.stderr).splitlines() if line.strip()]
        hint = f" ({said[-1][:200]})" if said else ""
        if status == -signal.SIGKILL and _oom_kills() > self._oom_kills:
            return Failure(self._stage, "oom", "the kernel killed the process: out of memory")
        if status < 0:
            name = _signal_name(-status)
            return Failure(self._stage, "crash", f"the process was killed by {name}{hint}")
        return Failure(self._stage, "crash", f"the process ended with status {status}{hint}")


def _spawned(python: str, inherit: tuple[int, ...]) -> Running:
    """A fresh interpreter that waits for a request. Raises OSError."""
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by Child.close)
    process = subprocess.Popen(
        [python, "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        # Its own session: Ctrl-C reaches the parent alone, which then ends the child and all that
        # the child has started.
        start_new_session=True,
        pass_fds=inherit,
    )
    return process, stderr


def call(
    request: Request,
    answer: type[T],
    deadline: Deadline,
    on_reply: Callable[[Update], None] = lambda _: None,
    *,
    python: str | None = None,
) -> T:
    """Have a fresh child do one request and return what it answers."""
    with Child(request, on_reply, python=python) as child:
        return child.answer(answer, deadline)


def interpreter(path: str) -> str:
    """Another Python to run children with. Raises UsageError unless it has this very version of
    bench, for the two have to understand each other."""
    code = "from bench import __version__; print(__version__)"
    try:
        asked = subprocess.run(
            [path, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"{path} cannot be run as a Python interpreter: {error}") from error
    if asked.stdout.strip() != __version__:
        found = asked.stdout.strip() or "none"
        raise UsageError(
            f"{path} needs frontier-bench {__version__}, and has {found[:40]}: "
            f"{path} -m pip install frontier-bench=={__version__}"
        )
    return path


def _encoded(message: Request | Command) -> bytes:
    """A message as the child reads it. Raises UsageError for a name or a path whose bytes are no
    text: JSON cannot hold it."""
    try:
        return msgspec.json.encode(message) + b"\n"
    except UnicodeEncodeError as error:
        raise UsageError(f"{error.object!r} is not UTF-8: rename it") from error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have none
        return f"signal {number}"


def _tail(stderr: IO[bytes], size: int = 8192) -> str:
    end = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, end - size))
    return stderr.read().decode(errors="replace")


def _oom_kills() -> int:
    """How often the kernel has killed for memory, machine-wide (Linux 4.13 and later)."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
