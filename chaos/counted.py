"""What an engine counted of one call. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One call as an engine counted it. `ended` "running": the engine was killed over it. `frozen`: the
    engine stood still while it ran, so that what it did when it woke up may have come too late for anybody.
    """

    request_id: str
    endpoint: str
    streamed: bool
    arrived_us: int
    prompt_tokens: int
    generated_tokens: int
    chunks_sent: int
    ended: str
    frozen: bool = False

    @property
    def disturbed(self) -> bool:
        """Whether what it said may not have reached anybody, through no fault of those who listened."""
        return self.frozen or self.ended == "running"

    @property
    def broke_off(self) -> bool:
        """Whether it stopped in the middle, by itself, and said no more than it had said."""
        return self.ended in ("died", "hung", "errored")
