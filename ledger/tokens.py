"""Tokens that let a person in: of sessions, invites and password resets.

A token is the id of the row it belongs to, a dot, and 43 base62 characters (256 random bits): the row is
found by its id, and the secret is compared in constant time. The ledger keeps a digest, under the server's
pepper and for one purpose: the token of an invite is no session. Everything but `mint` is without I/O and
randomness.
"""

import hmac
import re
import secrets
from enum import StrEnum
from typing import Final, NamedTuple

from ledger.ids import ALPHABET

SECRET_CHARS: Final = 43  # 62**43 > 2**256
_TOKEN: Final = re.compile(rf"([a-z]+[-_][0-9A-Za-z]{{24}})\.([0-9A-Za-z]{{{SECRET_CHARS}}})")


class Purpose(StrEnum):
    """What a secret is for."""

    SESSION = "session"
    CSRF = "csrf"
    DEVICE = "device"
    INVITE = "invite"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a purpose


class Token(NamedTuple):
    """A token that was read: whose it claims to be."""

    subject_id: str
    secret: str

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Token({self.subject_id})"


def mint() -> str:
    """A new secret."""
    return "".join(secrets.choice(ALPHABET) for _ in range(SECRET_CHARS))


def written(subject_id: str, secret: str) -> str:
    """The token, as it is given to its owner."""
    return f"{subject_id}.{secret}"


def read(text: str) -> Token | None:
    """The parts of a token; None for what is none."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else Token(found[1], found[2])


def digest(pepper: bytes, purpose: Purpose, secret: str) -> bytes:
    """The 32 bytes that are kept of a secret."""
    return hmac.digest(pepper, f"metergate {purpose} {secret}".encode(), "sha256")


def is_same(kept: bytes | None, given: bytes) -> bool:
    """Whether two digests are the same, in constant time."""
    return kept is not None and hmac.compare_digest(kept, given)
