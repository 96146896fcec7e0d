"""What is sealed comes out the same, for who has the secret and for nobody else."""

from hypothesis import given
from hypothesis import strategies as st

from admin.sealing import SALT_BYTES, seal, unseal

SALT = bytes(range(SALT_BYTES))


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=40))
def test_it_comes_out_as_it_went_in(text: bytes, secret: bytes) -> None:
    """Guards against a text that loses its leading zeros, or an empty one."""
    assert unseal(secret, seal(secret, SALT, text)) == text


@given(st.binary(max_size=60), st.data())
def test_a_changed_bit_is_seen(text: bytes, data: st.DataObject) -> None:
    """Guards against an answer that somebody with the database has written."""
    sealed = bytearray(seal(b"secret", SALT, text))
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[place // 8] ^= 1 << place % 8
    assert unseal(b"secret", bytes(sealed)) is None


def test_another_secret_opens_nothing() -> None:
    """Guards against one key for all."""
    assert unseal(b"other", seal(b"secret", SALT, b"text")) is None
    assert unseal(b"secret", b"") is None


def test_neither_secret_nor_salt_is_used_twice() -> None:
    """Guards against two texts under one stream: their difference would be there to read."""
    zeros = bytes(64)
    sealed = {
        seal(secret, salt, zeros)[SALT_BYTES:]
        for secret in (b"a", b"b")
        for salt in (SALT, bytes(SALT_BYTES))
    }
    assert len(sealed) == 4
    assert all(b"sk-" not in seal(b"a", SALT, b"sk-admin-" * 9) for _ in range(1))
