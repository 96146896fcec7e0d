"""API keys: minting, the checksum, the digest, what may be shown.

A key is its prefix, 43 base62 characters (256 random bits) and 6 characters of checksum: the CRC-32 of all
before it, in base62. The checksum keeps typing errors and guesses away from the database; it is no secret.

What the checksum guarantees: one changed character, any two changed characters among the 43, and any two of
the 43 swapped, are always caught (the CRC's algebra; tests/unit/ledger/test_keys.py proves it by
enumeration). One or more changed characters among the 6 alone are always caught. Anything else gets through
once in 2**32.

A secret is never stored: the ledger keeps `digest`, and `redact` for people. Everything but `mint` is without
I/O, clock and randomness.
"""

import hmac
import secrets
import zlib
from typing import Final

from ledger.ids import ALPHABET

API_PREFIX: Final = "sk-mg-"
ADMIN_PREFIX: Final = "sk-admin-"

BODY_CHARS: Final = 43
CHECKSUM_CHARS: Final = 6  # 62**6 > 2**32

_ALPHABET_BYTES: Final = ALPHABET.encode()


def mint(prefix: str = API_PREFIX) -> str:
    """A new secret. Show it once; store `digest` and `redact` of it."""
    rest = prefix + "".join(secrets.choice(ALPHABET) for _ in range(BODY_CHARS))
    return rest + _checksum(rest.encode()).decode()


def is_well_formed(secret: bytes, prefix: str = API_PREFIX) -> bool:
    """Whether this can be a key of ours: prefix, length, alphabet, checksum. Costs about 2 us and no
    database.
    """
    rest_bytes = len(prefix) + BODY_CHARS
    return (
        len(secret) == rest_bytes + CHECKSUM_CHARS
        and secret.startswith(prefix.encode())
        and not secret[len(prefix) :].translate(None, _ALPHABET_BYTES)
        and secret[rest_bytes:] == _checksum(secret[:rest_bytes])
    )


def digest(pepper: bytes, secret: str | bytes) -> bytes:
    """The 32 bytes the ledger knows a key by: HMAC-SHA256 of the secret under the server's pepper."""
    return hmac.digest(pepper, secret.encode() if isinstance(secret, str) else secret, "sha256")


def redact(secret: str) -> str:
    """What lists and pages show: the prefix, three characters, and the last four (`sk-mg-abc...wxyz`)."""
    prefix = next((known for known in (API_PREFIX, ADMIN_PREFIX) if secret.startswith(known)), "")
    return f"{secret[: len(prefix) + 3]}...{secret[-4:]}"


def _checksum(rest: bytes) -> bytes:
    value = zlib.crc32(rest)
    digits = bytearray(CHECKSUM_CHARS)
    for place in range(CHECKSUM_CHARS - 1, -1, -1):
        value, digit = divmod(value, 62)
        digits[place] = _ALPHABET_BYTES[digit]
    return bytes(digits)
