"""Browsers that have logged in as a user before: a mark that they keep, and nobody else can make.

A mark lets nobody in. It says that failed logins elsewhere are not this browser's (ledger/login_throttle.py).
It is an id and the digest of that id and the e-mail address under the server's pepper; the ledger keeps
none.
"""

import hmac

from ledger import tokens
from ledger.ids import new_id
from ledger.tokens import Purpose


def mark(pepper: bytes, email: str) -> str:
    """A new mark."""
    device_id = new_id("device_")
    return f"{device_id}.{_digest(pepper, device_id, email)}"


def known(pepper: bytes, email: str, text: str | None) -> str | None:
    """The id of a device that has logged in with this e-mail address; None for a mark of another one."""
    device_id, _, told = (text or "").partition(".")
    if not device_id or not hmac.compare_digest(told.encode(), _digest(pepper, device_id, email).encode()):
        return None
    return device_id


def _digest(pepper: bytes, device_id: str, email: str) -> str:
    return tokens.digest(pepper, Purpose.DEVICE, f"{device_id} {email}").hex()
