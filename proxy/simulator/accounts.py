"""The simulator's own exact account of every call: what tests compare the ledger with.

One account a call, written as tokens are made and events are sent; the last `kept` calls can be listed, all
are in the totals. A call is in flight from its arrival until nothing more is made for it, which is before its
last byte leaves. It must not know HTTP.
"""

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any


class Ended(StrEnum):
    """How a call ended, seen from the engine."""

    RUNNING = "running"
    FINISHED = "finished"
    ABORTED = "aborted"  # the client left
    DIED = "died"  # a fault closed the connection
    HUNG = "hung"  # a fault fell silent
    ERRORED = "errored"  # a fault sent an error
    REFUSED = "refused"  # the queue was full


class Account:
    """One call. `prompt_tokens` as usage tells them: once, whatever n is. `arrived_us` and `ended_us` are by
    the clock of the accounts; 0: not yet.
    """

    SHOWN = (
        "arrived_us",
        "cached_prompt_tokens",
        "chunks_sent",
        "ended",
        "ended_us",
        "endpoint",
        "generated_tokens",
        "id",
        "model",
        "prefilled",
        "prompt_tokens",
        "request_id",
        "streamed",
    )
    __slots__ = (*SHOWN, "_on_end")

    def __init__(self, *, request_id: str, call_id: str, endpoint: str, model: str, streamed: bool) -> None:
        self.request_id = request_id
        self.id = call_id
        self.endpoint = endpoint
        self.model = model
        self.streamed = streamed
        self.prompt_tokens = 0
        self.cached_prompt_tokens = 0
        # False until the first token is made: an engine counts nothing of a call that leaves before.
        self.prefilled = False
        self.generated_tokens = 0
        self.chunks_sent = 0
        self.ended = Ended.RUNNING
        self.arrived_us = self.ended_us = 0
        self._on_end: Callable[[Account], None] | None = None

    def opened(self, now_us: int, on_end: Callable[["Account"], None]) -> None:
        """It has arrived; `on_end` is told once when it is over."""
        self.arrived_us, self._on_end = now_us, on_end

    def end(self, how: Ended) -> None:
        """How it ended; a later word goes before an earlier one."""
        self.ended = how
        self.over()

    def over(self) -> None:
        """Nothing more is made for it, whatever may still be on its way to the client."""
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end(self)

    def shown(self) -> dict[str, Any]:
        """The account as /simulator/calls shows it."""
        return {name: getattr(self, name) for name in self.SHOWN}


class Accounts:
    """Every call's account; bounded. `now_us` is the clock."""

    def __init__(self, kept: int, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._in_flight = self._in_flight_max = 0
        self._recent: deque[Account] = deque()
        self._kept = kept
        self._forgotten = dict.fromkeys(Ended, 0)
        self._forgotten_tokens = {
            "prompt_tokens": 0,
            "cached_prompt_tokens": 0,
            "generated_tokens": 0,
            "chunks_sent": 0,
        }

    def open(self, account: Account) -> None:
        account.opened(self._now_us(), self._over)
        self._in_flight += 1
        self._in_flight_max = max(self._in_flight_max, self._in_flight)
        self._recent.append(account)
        # A call that still runs is kept: what it makes later must not be lost to the totals.
        while len(self._recent) > self._kept and self._recent[0].ended is not Ended.RUNNING:
            self._add(self._recent.popleft(), self._forgotten, self._forgotten_tokens)

    def _over(self, account: Account) -> None:
        account.ended_us = self._now_us()
        self._in_flight -= 1

    @staticmethod
    def _add(account: Account, endings: dict[Ended, int], tokens: dict[str, int]) -> None:
        endings[account.ended] += 1
        if account.prefilled:
            tokens["prompt_tokens"] += account.prompt_tokens
            tokens["cached_prompt_tokens"] += account.cached_prompt_tokens
        tokens["generated_tokens"] += account.generated_tokens
        tokens["chunks_sent"] += account.chunks_sent

    def recent(self, request_id: str | None = None) -> list[dict[str, Any]]:
        """Oldest first; only those of a request id if one is given."""
        return [
            account.shown()
            for account in self._recent
            if request_id is None or account.request_id == request_id
        ]

    def totals(self) -> dict[str, Any]:
        """`prompt_tokens` counts only calls that made a token, and each prompt once; `in_flight_max` is the
        most calls that ran at once.
        """
        endings, tokens = dict(self._forgotten), dict(self._forgotten_tokens)
        for account in self._recent:
            self._add(account, endings, tokens)
        return {
            "calls": sum(endings.values()),
            "in_flight_max": self._in_flight_max,
            **tokens,
            "ended": endings,
        }
