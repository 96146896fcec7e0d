"""Accounts in a mapped file, where the death of the engine leaves them.

Owns the file's format. A file is SLOTS slots of SLOT_BYTES, each one call's account: words of 8 bytes that
the account's own fields are kept in, and two names. What is counted is in the kernel's page cache before the
bytes that tell of it are written to the connection, so that no kill -9 can take it back. The file is sparse,
stays on its host, and belongs to one run of one engine: it is made anew and never taken over."""

import mmap
import os
from pathlib import Path
from typing import Any, Final

from proxy.simulator.accounts import Account, Ended

SLOTS: Final = 65_536
SLOT_BYTES: Final = 256
_SLOT_WORDS: Final = SLOT_BYTES // 8
_TAKEN: Final = 0
_STREAMED: Final = 9
_ENDPOINT_AT: Final = 80
_REQUEST_ID_AT: Final = 128
_ENDINGS: Final = tuple(Ended)
_COUNTS: Final = {
    "arrived_us": 1,
    "ended_us": 2,
    "prompt_tokens": 3,
    "cached_prompt_tokens": 4,
    "generated_tokens": 5,
    "chunks_sent": 6,
}
_PREFILLED: Final = 7
_ENDED: Final = 8


class AccountFileFull(Exception):
    """More calls than the file has slots for: nothing would be known of the next one."""


def _word(number: int) -> Any:
    """A field of the account that lies in its slot."""

    def read(account: "KeptAccount") -> int:
        return account.words[account.at + number]

    def write(account: "KeptAccount", value: int) -> None:
        account.words[account.at + number] = value

    return property(read, write)


class KeptAccount(Account):
    """One call's account whose fields are words of the file."""

    __slots__ = ("at", "words")

    def __init__(self, words: "memoryview[int]", at: int, **told: Any) -> None:
        self.words = words
        self.at = at
        super().__init__(**told)

    arrived_us = _word(_COUNTS["arrived_us"])
    ended_us = _word(_COUNTS["ended_us"])
    prompt_tokens = _word(_COUNTS["prompt_tokens"])
    cached_prompt_tokens = _word(_COUNTS["cached_prompt_tokens"])
    generated_tokens = _word(_COUNTS["generated_tokens"])
    chunks_sent = _word(_COUNTS["chunks_sent"])
    prefilled = _word(_PREFILLED)

    @property
    def _ended(self) -> Ended:
        return _ENDINGS[self.words[self.at + _ENDED]]

    @_ended.setter
    def _ended(self, how: Ended) -> None:
        self.words[self.at + _ENDED] = _ENDINGS.index(how)

    ended: Any = _ended

    def shown(self) -> dict[str, Any]:
        return {**super().shown(), "prefilled": bool(self.prefilled)}


class AccountFile:
    """The accounts of one run of one engine."""

    def __init__(self, path: Path, slots: int = SLOTS) -> None:
        """Makes the file anew. Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, slots * SLOT_BYTES)
            self._map = mmap.mmap(descriptor, slots * SLOT_BYTES)
        finally:
            os.close(descriptor)
        self._words: memoryview[int] = memoryview(self._map).cast("Q")
        self._slots = slots
        self._used = 0

    def new(self, *, request_id: str, call_id: str, endpoint: str, model: str, streamed: bool) -> Account:
        """An account in the next slot. Raises AccountFileFull."""
        if self._used == self._slots:
            raise AccountFileFull
        number, self._used = self._used, self._used + 1
        self._name(number, _ENDPOINT_AT, endpoint, _REQUEST_ID_AT - _ENDPOINT_AT)
        self._name(number, _REQUEST_ID_AT, request_id, SLOT_BYTES - _REQUEST_ID_AT)
        at = number * _SLOT_WORDS
        self._words[at + _STREAMED] = streamed
        account = KeptAccount(
            self._words,
            at,
            request_id=request_id,
            call_id=call_id,
            endpoint=endpoint,
            model=model,
            streamed=streamed,
        )
        self._words[at + _TAKEN] = 1
        return account

    def _name(self, number: int, at: int, name: str, bytes_max: int) -> None:
        begin = number * SLOT_BYTES + at
        cut = name.encode()[:bytes_max]
        self._map[begin : begin + len(cut)] = cut


def read_accounts(path: Path) -> list[dict[str, Any]]:
    """Every account of a file, the oldest first, as /simulator/calls shows them but for `id` and `model`."""
    data = path.read_bytes()
    words = memoryview(data).cast("Q")
    accounts = []
    for at in range(0, len(words), _SLOT_WORDS):
        if not words[at + _TAKEN]:
            break
        begin = at * 8
        accounts.append(
            {
                **{name: words[at + number] for name, number in _COUNTS.items()},
                "prefilled": bool(words[at + _PREFILLED]),
                "ended": str(_ENDINGS[words[at + _ENDED]]),
                "streamed": bool(words[at + _STREAMED]),
                "endpoint": _text(data[begin + _ENDPOINT_AT : begin + _REQUEST_ID_AT]),
                "request_id": _text(data[begin + _REQUEST_ID_AT : begin + SLOT_BYTES]),
            }
        )
    return accounts


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode(errors="replace")
