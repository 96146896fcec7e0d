"""What people write for a limit and are shown of it: money in units of the currency, the rest in whole
numbers.

Pure. The ledger keeps a limit in its kind's own unit, money in picos (1e-12); `ledger.limits` says what goes
together.
"""

import re

from ledger.errors import Refused
from ledger.limits import EACH_USER, LIMIT_MAX, LimitKind, LimitWindow
from ledger.money import SHOWN_CHARS_MAX, format_picos, parse_amount

_USUAL = {
    LimitKind.SPEND: LimitWindow.MONTH,
    LimitKind.TOKENS: LimitWindow.MINUTE,
    LimitKind.REQUESTS: LimitWindow.MINUTE,
    LimitKind.CONCURRENT: None,
}
_COUNTED = {LimitKind.CONCURRENT: "calls"}


def usual_window(kind: LimitKind) -> LimitWindow | None:
    """The window where none is given: spend by the month, tokens and requests by the minute, calls in
    flight have none.
    """
    return _USUAL[kind]


def parse_max(kind: LimitKind, window: LimitWindow | None, text: str) -> int:
    """A limit's size in its own unit: "1.00" of spend is 10**12 picos, "600" requests are 600.

    Raises Refused for what is no such number, with what to write instead.
    """
    size = parse_amount(text) if kind is LimitKind.SPEND else _whole_number(text, _COUNTED.get(kind, kind))
    if size == 0 and window is LimitWindow.MINUTE:
        raise Refused("a limit by the minute is at least 1: to stop every call, block the key or its project")
    return size


def shown_amount(kind: LimitKind, amount: int) -> str | int:
    """As people write it: money as a decimal string, the rest as a number."""
    return format_picos(amount) if kind is LimitKind.SPEND else amount


def end_user_of(user: str | None, *, each_user: bool) -> str | None:
    """A limit's `end_user`: one by name, or each of them. Raises Refused for both, and for no name."""
    if user is None:
        return EACH_USER if each_user else None
    if each_user:
        raise Refused("a limit is for one end user or for each of them, not both")
    if not user.strip() or user == EACH_USER:
        raise Refused(
            "name an end user as the app does in `user`; a limit for each of them is another option"
        )
    return user


def _whole_number(text: str, counted: str) -> int:
    text = text.strip()
    shown = repr(text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "...")
    if not re.fullmatch(r"\d+", text, re.ASCII):
        if re.fullmatch(r"-\d+", text, re.ASCII):
            raise Refused(f"{shown} is negative: a limit is at least 0")
        raise Refused(f"{shown} is not a number of {counted}: write a whole number such as 10000")
    digits = text.lstrip("0") or "0"
    # Digits are counted first: Python refuses to read integers of thousands of them.
    if len(digits) > len(str(LIMIT_MAX)) or int(digits) > LIMIT_MAX:
        raise Refused(f"{shown} is above the highest limit, {LIMIT_MAX:,}")
    return int(digits)
