"""What is left of the rates that a call counts against, as OpenAI's headers tell it. Pure.

Owns the names of the headers and the form of a duration, which is Go's: `12ms`, `1s`, `6m0s`, `1h0m0s`. The
SDKs and the gateways that read these headers parse it so. Runs for every call with a limit: under 2 us. Must
not know where the numbers come from.
"""

from dataclasses import dataclass

from proxy.headers import Headers


@dataclass(frozen=True, slots=True)
class RateStanding:
    """What is left of one limit: of `limit` units, `remaining`; `reset_us`: in how long all are back."""

    limit: int
    remaining: int
    reset_us: int


def rate_limit_headers(requests: RateStanding | None, tokens: RateStanding | None) -> Headers:
    """The header lines of the tightest limit on requests and on tokens; none for a kind without a limit."""
    lines: Headers = []
    if requests is not None:
        remaining = requests.remaining
        lines = [
            (b"x-ratelimit-limit-requests", b"%d" % requests.limit),
            (b"x-ratelimit-remaining-requests", b"%d" % (remaining if remaining > 0 else 0)),
            (b"x-ratelimit-reset-requests", go_duration(requests.reset_us)),
        ]
    if tokens is not None:
        remaining = tokens.remaining
        lines += (
            (b"x-ratelimit-limit-tokens", b"%d" % tokens.limit),
            (b"x-ratelimit-remaining-tokens", b"%d" % (remaining if remaining > 0 else 0)),
            (b"x-ratelimit-reset-tokens", go_duration(tokens.reset_us)),
        )
    return lines


def go_duration(duration_us: int) -> bytes:
    """A duration as Go's `time.Duration` prints it, in whole milliseconds, rounded up; `0s` for none."""
    if duration_us <= 0:
        return b"0s"
    ms = -(-duration_us // 1000)
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
