"""Sealing an answer that is kept: who has not what the caller has can neither read nor change it. Pure.

The key is of 32 bytes and used for one text alone (its maker mixes a fresh salt in). The text is hidden under
SHAKE-256 of the key, as long as the text is, and an HMAC-SHA256 covers what comes of it. Why so:
docs/decisions/0020-answers-are-kept-sealed.md.
"""

import hashlib
import hmac
from typing import Final

SALT_BYTES: Final = 16
_TAG_BYTES: Final = 32


def seal(secret: bytes, salt: bytes, text: bytes) -> bytes:
    """The text, sealed under a secret; `salt` is fresh and random for each."""
    hidden = _hide(_key(secret, salt, b"hide"), text)
    return salt + _tag(secret, salt, hidden) + hidden


def unseal(secret: bytes, sealed: bytes) -> bytes | None:
    """The text; None where it was sealed under another secret, or changed."""
    salt, rest = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
    tag, hidden = rest[:_TAG_BYTES], rest[_TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(secret, salt, hidden)):
        return None
    return _hide(_key(secret, salt, b"hide"), hidden)


def _key(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, salt + purpose, "sha256")


def _tag(secret: bytes, salt: bytes, hidden: bytes) -> bytes:
    return hmac.digest(_key(secret, salt, b"tag"), hidden, "sha256")


def _hide(key: bytes, text: bytes) -> bytes:
    stream = hashlib.shake_256(key).digest(len(text))
    return (int.from_bytes(text, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(text), "big")
