"""What is left of the rates that a call counts against, as OpenAI's headers tell it. Pure.

Owns the names of the headers and the form of a duration, which is Go's: `12ms`, `1s`, `6m0s`, `1h0m0s`. The
SDKs and the gateways that read these headers parse it so. Runs for every call with a limit: under 2 us. Must
not know where the numbers come from.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from proxy.headers import Headers

MINUTE_MS: Final = 60_000


class RateStanding(NamedTuple):
    """What is left of one limit: of `limit` units, `remaining`; `reset_us`: in how long all are back."""

    limit: int
    remaining: int
    reset_us: int


def rate_limit_headers(requests: RateStanding | None, tokens: RateStanding | None) -> Headers:
    """The header lines of the tightest limit on requests and on tokens; none for a kind without a limit."""
    lines: Headers = []
    if requests is not None:
        limit, remaining, reset_us = requests
        lines = [
            (b"x-ratelimit-limit-requests", b"%d" % limit),
            (b"x-ratelimit-remaining-requests", b"%d" % (remaining if remaining > 0 else 0)),
            (b"x-ratelimit-reset-requests", go_duration(reset_us) if reset_us > 0 else b"0s"),
        ]
    if tokens is not None:
        limit, remaining, reset_us = tokens
        lines += (
            (b"x-ratelimit-limit-tokens", b"%d" % limit),
            (b"x-ratelimit-remaining-tokens", b"%d" % (remaining if remaining > 0 else 0)),
            (b"x-ratelimit-reset-tokens", go_duration(reset_us) if reset_us > 0 else b"0s"),
        )
    return lines


def go_duration(duration_us: int) -> bytes:
    """A duration as Go's `time.Duration` prints it, rounded up: in whole milliseconds, and from a minute on
    in whole seconds; `0s` for none.
    """
    if duration_us <= 0:
        return b"0s"
    ms = -(-duration_us // 1000)
    return _written(ms if ms < MINUTE_MS else -(-ms // 1000) * 1000)


@lru_cache(maxsize=256)
def _written(ms: int) -> bytes:
    """One that ends hours from now is the same for a second's calls."""
    if ms < 1000:
        return b"%dms" % ms
    seconds, ms = divmod(ms, 1000)
    tail = b"%d" % (seconds % 60)
    if ms:
        tail += (b".%03d" % ms).rstrip(b"0")
    if seconds < 60:
        return tail + b"s"
    minutes = seconds // 60
    if minutes < 60:
        return b"%dm%bs" % (minutes, tail)
    return b"%dh%dm%bs" % (minutes // 60, minutes % 60, tail)
