"""What a client has of one answer, as its bytes come: head, tokens, and whether it was whole.

Pure, and a reader of its own: nothing of the proxy's that is being proved is used to count. Neither where
reads split the bytes nor how HTTP chunks and events lie in each other changes the count. Only events that are
whole count."""

from __future__ import annotations

import msgspec

_HEAD_END = b"\r\n\r\n"
_EVENT_END = b"\n\n"
_DATA = b"data: "


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Error(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None


class _Event(msgspec.Struct):
    """A stream's event, or a whole answer."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Error | None = None


_decoder = msgspec.json.Decoder(_Event)
_UNREADABLE = _Event(error=_Error("unreadable"))


def _decode(document: bytes) -> _Event:
    """What is no JSON is nothing that metergate should ever answer."""
    try:
        return _decoder.decode(document)
    except msgspec.DecodeError:
        return _UNREADABLE


class Received:
    """One answer. `status` 0 until its head is whole."""

    def __init__(self) -> None:
        self.status = 0
        self.request_id = ""
        self.code = ""
        self.whole = False
        self._pending = b""
        self._length: int | None = None
        self._chunk_left = 0
        self._events = b""
        self._counted: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._told_whole = 0
        self._done = self._over = False

    @property
    def tokens(self) -> int:
        """Completion tokens that the client was given: as it was told, or by the events that it can count."""
        indexes = self._counted.keys() | self._told.keys()
        by_choice = sum(max(self._counted.get(at, 0), self._told.get(at, 0)) for at in indexes)
        return max(by_choice, self._told_whole)

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        self._pending += data
        if not self.status:
            if _HEAD_END not in self._pending:
                return
            head, _, self._pending = self._pending.partition(_HEAD_END)
            self._read_head(head)
        if self._length is not None:
            if len(self._pending) >= self._length:
                self._read_whole(self._pending[: self._length])
        else:
            self._dechunk()

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        self.status = int(first[9:12])
        for line in lines:
            name, _, value = line.partition(b":")
            if name.lower() == b"x-request-id":
                self.request_id = value.strip().decode()
            elif name.lower() == b"content-length":
                self._length = int(value)

    def _read_whole(self, body: bytes) -> None:
        self.whole = True
        answer = _decode(body)
        if answer.error is not None:
            self.code = str(answer.error.code or answer.error.type)
        elif answer.usage is not None:
            self._told_whole = answer.usage.completion_tokens

    def _dechunk(self) -> None:
        while self._pending and not self._over:
            if self._chunk_left > 2:
                part = self._pending[: self._chunk_left - 2]
                self._pending = self._pending[len(part) :]
                self._chunk_left -= len(part)
                self._read_events(part)
            elif self._chunk_left:  # the line end behind a chunk
                cut = min(self._chunk_left, len(self._pending))
                self._pending, self._chunk_left = self._pending[cut:], self._chunk_left - cut
            else:
                size, found, rest = self._pending.partition(b"\r\n")
                if not found:
                    return
                self._pending, length = rest, int(size, 16)
                if not length:
                    self.whole, self._over = self._done, True
                    return
                self._chunk_left = length + 2

    def _read_events(self, data: bytes) -> None:
        *events, self._events = (self._events + data).split(_EVENT_END)
        for event in events:
            if event == b"data: [DONE]":
                self._done = True
            elif event.startswith(_DATA):
                self._count(_decode(event.removeprefix(_DATA)))

    def _count(self, event: _Event) -> None:
        if event.error is not None:
            self.code = str(event.error.code or event.error.type)
        elif not event.choices and event.usage is not None:
            self._told_whole = event.usage.completion_tokens
        for choice in event.choices:
            opens = choice.delta is not None and choice.delta.role is not None and not choice.delta.content
            if not opens or choice.finish_reason is not None:
                self._counted[choice.index] = self._counted.get(choice.index, 0) + 1
            if event.usage is not None:
                told = max(self._told.get(choice.index, 0), event.usage.completion_tokens)
                self._told[choice.index] = told
