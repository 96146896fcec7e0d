"""Ids: what they look like, and making them.

Ids of things are a prefix and 24 random base62 characters (142 bits). A request id begins with its time, so
that rows arrive in the order of their primary key, and a table can be cut by month at the key alone.
"""

import random
import re
import secrets
import time
from typing import Literal

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
REQUEST_PREFIX = "req_"

_REQUEST_ID = re.compile(REQUEST_PREFIX + "([0-9a-f]{14})[0-9a-f]{18}")

# A request id must be unlike any other, but opens nothing: it need not be unguessable. The system seeds it.
_random = random.Random()  # noqa: S311

Prefix = Literal[
    "org-", "proj_", "key_", "adminkey_", "svc_acct_", "user-", "price_", "limit_", "holder_", "audit_log-",
    "invite-", "reset_", "session_", "device_", "alert_", "msg_",
]  # fmt: skip


def new_id(prefix: Prefix) -> str:
    """A new id such as `proj_3fK...`."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(24))


def new_request_id(now_us: int | None = None) -> str:
    """`req_` and 32 hex digits: 14 of microseconds since the epoch, 18 random (72 bits).

    14 hex digits hold microseconds until the year 4253, so ids sort as text by their time.
    """
    if now_us is None:
        now_us = time.time_ns() // 1000
    return f"{REQUEST_PREFIX}{now_us:014x}{_random.getrandbits(72):018x}"


def id_at(at_us: int) -> str:
    """The first text that a request id of this instant can begin with: ids of then and later are not below
    it, ids from before are.
    """
    return f"{REQUEST_PREFIX}{at_us:014x}"


def id_time_us(request_id: str) -> int | None:
    """When a request id was made; None for text that no `new_request_id` gave."""
    found = _REQUEST_ID.fullmatch(request_id)
    return None if found is None else int(found[1], 16)
