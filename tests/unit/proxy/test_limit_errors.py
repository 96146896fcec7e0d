"""What a limit says when it stops a call: which one, how large, what is used, and when to come back."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.limits import EACH_USER, FOREVER_US, Limit, LimitKind, LimitWindow
from proxy.errors import ApiError, QuotaExhausted, RateLimited
from proxy.limit_errors import busy, quota_exhausted, rate_limited

NOW_US = 1_795_000_000_000_000  # 2026-11-18T12:26:40Z
MONTH_END_US = 1_796_083_200_000_000  # 2026-12-01T00:00:00Z
RPM = Limit("lim_1", "org-t", "proj_p", "key_k", None, None, LimitKind.REQUESTS, LimitWindow.MINUTE, 600)
TPM = replace(RPM, api_key_id=None, kind=LimitKind.TOKENS, max_value=10_000)
SLOTS = Limit("lim_2", "org-t", "proj_p", None, None, None, LimitKind.CONCURRENT, None, 8)
SPEND = Limit("lim_3", "org-t", None, None, None, None, LimitKind.SPEND, LimitWindow.MONTH, 10**12)


def told(error: ApiError) -> tuple[str, str | None]:
    """(type, code) as they go out."""
    body = json.loads(error.body())["error"]
    return body["type"], body["code"]


def test_a_rate_is_told_as_openai_tells_it() -> None:
    error = rate_limited(RPM, "llama", 600, 1, 100_000)
    assert error.message == (
        "Rate limit reached for `llama` on requests per min (RPM) for this API key: "
        "Limit 600, Used 600, Requested 1. Please try again in 100ms."
    )
    assert told(error) == ("requests", "rate_limit_exceeded")
    assert dict(error.headers()) == {b"retry-after": b"1", b"retry-after-ms": b"100"}


def test_a_rate_of_tokens_has_the_type_tokens() -> None:
    """Apps back off by it: fewer requests do not help where the prompts are long."""
    error = rate_limited(TPM, "llama", 9348, 5086, 26_604_000)
    assert error.message == (
        "Rate limit reached for `llama` on tokens per min (TPM) for this project: "
        "Limit 10000, Used 9348, Requested 5086. Please try again in 26.604s."
    )
    assert told(error) == ("tokens", "rate_limit_exceeded")


def test_slots_are_told_as_calls_in_flight() -> None:
    error = rate_limited(SLOTS, "llama", 8, 1, 1_000_000)
    assert error.message == (
        "Too many calls in flight for this project: Limit 8, Used 8, Requested 1. Please try again in 1s."
    )
    assert told(error) == ("requests", "rate_limit_exceeded")
    assert "on `llama`" in rate_limited(replace(SLOTS, model="llama"), "llama", 8, 1, 1).message


def test_an_exhausted_budget_is_not_to_be_retried() -> None:
    """The SDK would knock twice more at a door that stays shut for a week."""
    error = quota_exhausted(SPEND, 10**12, "USD", MONTH_END_US, NOW_US)
    assert error.message == (
        "You exceeded your current quota: the limit on spend for this organization is 1.00 USD a month, "
        "used 1.00 USD. It resets at 2026-12-01T00:00:00Z, in 300h53m20s."
    )
    assert told(error) == ("insufficient_quota", "insufficient_quota")
    assert dict(error.headers()) == {b"x-should-retry": b"false"}


@pytest.mark.parametrize("resets_us", [None, FOREVER_US])
def test_a_lifetime_does_not_reset(resets_us: int | None) -> None:
    """Guards against a date beyond what a calendar has."""
    limit = replace(SPEND, window=LimitWindow.LIFETIME)
    message = quota_exhausted(limit, 999_999_999_999, "EUR", resets_us, NOW_US).message
    assert message.endswith("is 1.00 EUR, used 0.999999999999 EUR. It does not reset.")


def test_a_budget_in_the_hands_of_running_calls_is_worth_another_try() -> None:
    error = busy(SPEND, 4 * 10**11, 6 * 10**11, "USD")
    assert error.message == (
        "What is left of the limit on spend for this organization is held by calls in flight: "
        "Limit 1.00 USD, Used 0.40 USD, Held 0.60 USD. Please try again in 1s."
    )
    assert told(error) == ("requests", "rate_limit_exceeded")
    assert dict(error.headers())[b"retry-after-ms"] == b"1000"


def test_what_narrows_a_limit_is_said() -> None:
    """Guards against an app that blames its project for one user's share."""
    limit = replace(SPEND, project_id="proj_p", model="llama", end_user=EACH_USER)
    message = quota_exhausted(limit, 10**12, "USD", MONTH_END_US, NOW_US).message
    assert "the limit on spend with `llama` for each end user of this project is" in message


KINDS_AND_WINDOWS = [
    (LimitKind.SPEND, LimitWindow.DAY), (LimitKind.SPEND, LimitWindow.LIFETIME),
    (LimitKind.TOKENS, LimitWindow.MINUTE), (LimitKind.TOKENS, LimitWindow.MONTH),
    (LimitKind.REQUESTS, LimitWindow.MINUTE), (LimitKind.REQUESTS, LimitWindow.DAY),
    (LimitKind.CONCURRENT, None),
]  # fmt: skip


@given(
    st.sampled_from(KINDS_AND_WINDOWS),
    st.integers(0, 9 * 10**18),
    st.integers(0, 10**19),
    st.sampled_from([None, "key_secretly"]),
    st.sampled_from([None, "m" * 5000]),
    st.integers(-(10**6), 10**15),
)
def test_every_limit_has_its_words(
    kind: tuple[LimitKind, LimitWindow | None],
    size: int,
    used: int,
    key_id: str | None,
    model: str | None,
    later_us: int,
) -> None:
    """Guards against a kind or window whose refusal is a 500, and against an id or a novel in a message."""
    limit = Limit("lim_1", "org-t", "proj_p", key_id, model, None, kind[0], kind[1], size)
    error: RateLimited | QuotaExhausted
    if kind[1] in (None, LimitWindow.MINUTE):
        error = rate_limited(limit, "m" * 5000, used, 1, later_us)
    else:
        error = quota_exhausted(limit, used, "USD", NOW_US + later_us, NOW_US)
        assert busy(limit, used, 1, "USD", later_us).status == 429
    assert error.status == 429
    assert len(error.message) < 800
    assert "org-t" not in error.message and "key_secretly" not in error.message
