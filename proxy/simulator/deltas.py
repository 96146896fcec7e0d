"""What of the generated text a chat stream shows, piece by piece (pure).

A feed answers the delta object as JSON, or None for silence: tokens that are generated and counted while no
chunk tells of them. `shown_when_asked`: whether return_token_ids or logprobs make silent tokens visible (not
so for hidden reasoning).
"""

from typing import Protocol

import msgspec

THINK_END = "</think>"

_encode = msgspec.json.Encoder().encode


class Deltas(Protocol):
    """One choice's parser."""

    shown_when_asked: bool

    def feed(self, text: str) -> bytes | None: ...


class PlainDeltas:
    """Every piece is content, an empty one too."""

    __slots__ = ()

    shown_when_asked = True

    def feed(self, text: str) -> bytes | None:
        return b'{"content":%b}' % _encode(text)


class ReasoningDeltas:
    """Reasoning until the closing mark, then what `after` makes of the rest."""

    __slots__ = ("_after", "_include", "_mark_at", "_over", "_seen", "shown_when_asked")

    def __init__(self, reasoning_length: int, include: bool, after: Deltas) -> None:
        self._mark_at = reasoning_length
        self._seen = 0
        self._over = False
        self._include = include
        self._after = after
        self.shown_when_asked = include

    def feed(self, text: str) -> bytes | None:
        if self._over:
            return self._after.feed(text)
        start = self._seen
        self._seen = end = start + len(text)
        if end >= self._mark_at + len(THINK_END):
            self._over = self.shown_when_asked = True
            rest = text[self._mark_at + len(THINK_END) - start :]
            return self._after.feed(rest) if rest else None
        shown = text[: max(0, self._mark_at - start)]
        if not self._include or (not shown and text):
            return None
        return b'{"reasoning":%b}' % _encode(shown)
