"""What can be told to go wrong (pure): which requests it hits, and how.

A fault is a flat record; its fields may be combined. It applies to the next `count` requests that match
(None: all), and of several matching faults the first counts. Chunks are SSE events that carry `choices`,
counted from the first.
"""

from typing import Any

import msgspec


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One fault. Every field that is left out does nothing."""

    # Which requests: all of a model, all of a path (`/v1/chat/completions`), only so many.
    model: str | None = None
    path: str | None = None
    count: int | None = None

    # Before the answer.
    read_delay_ms: float = 0.0
    headers_delay_ms: float = 0.0
    status: int | None = None
    # A JSON value, or a string that is sent as it is.
    body: Any = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    content_type: str | None = None
    # The connection is closed before any answer.
    die_before_headers: bool = False

    # In a stream: after so many chunks.
    die_after_chunks: int | None = None
    hang_after_chunks: int | None = None
    stall_after_chunks: int | None = None
    stall_ms: float = 1000.0
    error_after_chunks: int | None = None
    # A death is a FIN (False) or a RST (True).
    reset: bool = False

    # An unstreamed answer ends after so many bytes of its body.
    break_answer_at_byte: int | None = None

    # How events reach the wire: each cut in two at a byte (or at a random one, seeded), several in one write.
    split_at_byte: int | None = None
    split_seed: int | None = None
    coalesce_events: int = 1
    omit_done: bool = False
    omit_usage: bool = False
    omit_running_usage: bool = False

    # Overrides of the engine's pace.
    tokens_per_second: float | None = None
    first_token_delay_ms: float | None = None


NO_FAULT = Fault()


class FaultPlan:
    """The faults in force, with how often each may still strike."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self._left: list[tuple[Fault, int | None]] = []
        self.replace(faults)

    def replace(self, faults: tuple[Fault, ...]) -> None:
        self._left = [(fault, fault.count) for fault in faults]

    def take(self, path: str, model: str | None) -> Fault:
        """The fault that this request meets; mostly NO_FAULT. A model of None matches no named one."""
        for at, (fault, left) in enumerate(self._left):
            if fault.path not in (None, path) or (fault.model is not None and fault.model != model):
                continue
            if left is not None:
                if left <= 1:
                    del self._left[at]
                else:
                    self._left[at] = (fault, left - 1)
            return fault
        return NO_FAULT

    def read_delay_ms(self, path: str) -> float:
        """How long the body is left unread; asked before the body, and so the model, is known."""
        return next((fault.read_delay_ms for fault, _ in self._left if fault.path in (None, path)), 0.0)

    def in_force(self) -> list[Fault]:
        """What is still to come, counts as they are left."""
        return [msgspec.structs.replace(fault, count=left) for fault, left in self._left]


def decode_faults(document: bytes) -> tuple[Fault, ...]:
    """One fault or a list of them. msgspec.ValidationError or DecodeError says what is wrong."""
    if document.lstrip().startswith(b"["):
        return tuple(msgspec.json.decode(document, type=list[Fault]))
    return (msgspec.json.decode(document, type=Fault),)
