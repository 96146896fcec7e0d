"""`/v1/key`: the tightest limits out of many, money without a float, and no end user's name."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec

from ledger.limits import EACH_USER, Limit, LimitKind, LimitWindow
from ledger.principals import ShownKey
from ledger.standings import LimitStanding
from proxy.key_page import document

KEY = ShownKey("key_k", "org-t", "proj_p", "CI", "sk-mg-ab...yz", 1_796_083_200_000_000)
SPEND = Limit("lim_a", "org-t", None, None, None, None, LimitKind.SPEND, LimitWindow.MONTH, 10**13)
RPM = Limit("lim_b", "org-t", "proj_p", None, None, None, LimitKind.REQUESTS, LimitWindow.MINUTE, 600)
RESETS_US = 1_796_083_200_000_000


def standing(limit: Limit, used: int, end_user: str = "") -> LimitStanding:
    return LimitStanding(limit, end_user, used, 0, limit.max_value - used, RESETS_US)


def page(*standings: LimitStanding, more: tuple[Limit, ...] = ()) -> dict[str, Any]:
    limits = [each.limit for each in standings] + list(more)
    body = msgspec.json.encode(document(KEY, limits, standings, ["m"], "USD"))
    data: dict[str, Any] = json.loads(body, parse_float=Decimal)["data"]
    return data


def test_a_key_without_limits_has_nothing_to_tell() -> None:
    data = page()
    assert (data["limit"], data["usage"], data["limit_remaining"], data["limit_reset"]) == (None,) * 4
    assert data["rate_limit"] == {"requests": None, "interval": "60s"}
    assert (data["limits"], data["models"], data["label"]) == ([], ["m"], "sk-mg-ab...yz")
    assert data["expires_at"] == "2026-12-01T00:00:00Z"


def test_the_tightest_budget_is_the_one_with_the_least_left() -> None:
    """Guards against the smallest budget hiding a larger one that is nearly used up."""
    small = replace(SPEND, id="lim_c", api_key_id="key_k", max_value=5 * 10**12, window=LimitWindow.DAY)
    data = page(standing(small, 10**12), standing(SPEND, 10**13 - 1))
    assert data["limit"] == Decimal(10)
    assert data["usage"] == Decimal("9.999999999999")
    assert data["limit_remaining"] == Decimal("0.000000000001")
    assert data["limit_reset"] == "month"
    assert [each["scope"] for each in data["limits"]] == ["key", "tenant"]
    assert data["limits"][0]["resets_at"] == "2026-12-01T00:00:00Z"


def test_what_refuses_no_call_of_the_key_is_not_its_budget() -> None:
    """Guards against an app that stops at a soft limit, or at another model's."""
    soft = replace(SPEND, id="lim_c", soft=True, max_value=1)
    of_model = replace(SPEND, id="lim_d", model="other", max_value=1)
    of_user = replace(SPEND, id="lim_e", end_user="ann", max_value=1)
    assert page(standing(soft, 1), standing(of_model, 1), standing(of_user, 1))["limit"] is None
    assert page(standing(soft, 1), standing(SPEND, 0))["limit"] == 10


def test_the_tightest_rate_is_told_and_a_rate_has_nothing_used() -> None:
    wide = replace(RPM, id="lim_c", max_value=6000)
    of_model = replace(RPM, id="lim_d", model="other", max_value=1)
    data = page(standing(wide, 0), standing(RPM, 0), standing(of_model, 0))
    assert data["rate_limit"] == {"requests": 600, "interval": "60s"}
    assert [each["used"] for each in data["limits"]] == [None] * 3


def test_of_each_end_user_only_the_size_is_told() -> None:
    """Guards against a key that lists the users of its tenant's other projects."""
    each = replace(SPEND, end_user=EACH_USER)
    (shown,) = page(more=(each,))["limits"]
    assert (shown["end_user"], shown["max"]) == ("*", Decimal(10))
    assert (shown["used"], shown["remaining"], shown["resets_at"]) == (None, None, None)
