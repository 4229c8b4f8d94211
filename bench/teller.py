"""How the work of a child reaches its parent while it goes on."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import msgspec

from bench.messages import At, Done, Found, Reply

if TYPE_CHECKING:
    from bench.messages import Quantized
    from bench.records import Artifact, Model, Stage


class Teller:
    """How a stage tells the parent where it is and what it has found."""

    def __init__(self, channel: IO[bytes]) -> None:
        self._channel = channel
        self.stage: Stage = "target"

    def at(self, stage: Stage) -> None:
        self.stage = stage
        self.send(At(stage))

    def found(
        self,
        *,
        model: Model | None = None,
        artifact: Artifact | None = None,
        quantized: Quantized | None = None,
    ) -> None:
        self.send(Found(model, artifact, quantized))

    def done(self, value: Any) -> None:
        self.send(Done(value))

    def close(self) -> None:
        self._channel.close()

    def send(self, reply: Reply) -> None:
        self._channel.write(msgspec.json.encode(reply) + b"\n")
        self._channel.flush()
