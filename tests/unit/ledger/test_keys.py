"""Keys: what the checksum catches, what is shown, what is kept."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.ids import ALPHABET
from ledger.keys import ADMIN_PREFIX, API_PREFIX, digest, is_well_formed, mint, redact

BODY = slice(len(API_PREFIX), len(API_PREFIX) + 43)


@pytest.mark.parametrize("prefix", [API_PREFIX, ADMIN_PREFIX])
def test_a_minted_key_is_well_formed_under_its_own_prefix_alone(prefix: str) -> None:
    """Guards against an admin key that opens the data plane, or the other way round."""
    secret = mint(prefix)
    other = ADMIN_PREFIX if prefix == API_PREFIX else API_PREFIX
    assert len(secret) == len(prefix) + 49
    assert is_well_formed(secret.encode(), prefix)
    assert not is_well_formed(secret.encode(), other)


@given(place=st.integers(min_value=0, max_value=54), character=st.sampled_from(ALPHABET))
def test_any_one_changed_character_is_caught(place: int, character: str) -> None:
    """Guards against a mistyped key that costs a look-up, in the body and in the checksum."""
    secret = "sk-mg-" + "7" * 43
    secret += _checksum(secret)
    changed = secret[:place] + character + secret[place + 1 :]
    assert is_well_formed(changed.encode()) == (changed == secret)


@given(first=st.integers(min_value=0, max_value=48), second=st.integers(min_value=0, max_value=48))
def test_any_swap_is_caught(first: int, second: int) -> None:
    """Guards against two transposed characters."""
    secret = mint()
    characters = list(secret)
    first, second = first + len(API_PREFIX), second + len(API_PREFIX)
    characters[first], characters[second] = characters[second], characters[first]
    changed = "".join(characters)
    assert is_well_formed(changed.encode()) == (changed == secret)


def test_no_two_changed_characters_cancel_out() -> None:
    """Proves what keys.py says of the 43: a CRC is linear, so it is enough to see that no two agree.

    An error of one character changes the CRC by the CRC of the difference alone; two errors cancel out only
    if their changes are equal. All 43 places x 255 differences are enumerated.
    """
    length = len(API_PREFIX) + 43
    zero = zlib.crc32(bytes(length))
    changes = set()
    for place in range(len(API_PREFIX), length):
        for difference in range(1, 256):
            error = bytearray(length)
            error[place] = difference
            changes.add(zlib.crc32(error) ^ zero)
    assert len(changes) == 43 * 255
    assert 0 not in changes


@pytest.mark.parametrize(
    "secret", ["", "sk-mg-", "sk-mg-" + "é" * 49, "sk-mg-" + "-" * 49, "Bearer x", "sk-" + "a" * 48]
)
def test_what_is_no_key_is_no_key(secret: str) -> None:
    """Guards against anything but base62 behind the prefix, and against keys of other makers."""
    assert not is_well_formed(secret.encode())
    assert not is_well_formed(secret.encode() + b"\n")


def test_the_digest_depends_on_pepper_and_secret() -> None:
    """Guards against a table of digests that can be searched without the server's pepper."""
    secret = mint()
    assert digest(b"p" * 32, secret) == digest(b"p" * 32, secret.encode())
    assert digest(b"p" * 32, secret) != digest(b"q" * 32, secret)
    assert len(digest(b"p" * 32, secret)) == 32


def test_a_redacted_key_shows_seven_characters() -> None:
    """Guards against lists that give the secret away."""
    secret = mint()
    assert redact(secret) == f"sk-mg-{secret[6:9]}...{secret[-4:]}"


def _checksum(rest: str) -> str:
    value, digits = zlib.crc32(rest.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = ALPHABET[digit] + digits
    return digits
