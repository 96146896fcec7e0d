"""Tokens and the marks of known browsers."""

import pytest

from ledger import known_devices, tokens
from ledger.ids import new_id
from ledger.tokens import Purpose

PEPPER = b"p" * 32


def test_a_token_is_read_as_it_was_written() -> None:
    """Guards against a token that its own server does not know."""
    invite_id, secret = new_id("invite-"), tokens.mint()
    assert tokens.read(tokens.written(invite_id, secret)) == (invite_id, secret)


@pytest.mark.parametrize("text", ["", ".", "a.b", "invite-x." + "a" * 43, "b" * 43, "\u0661" * 80])
def test_what_is_no_token_is_none(text: str) -> None:
    """Guards against a look-up in the database for everything that somebody sends."""
    assert tokens.read(text) is None
    good = tokens.written(new_id("invite-"), tokens.mint())
    assert tokens.read(good + text[:1]) == (tokens.read(good) if not text else None)


def test_a_digest_is_for_one_purpose_and_one_server() -> None:
    """Guards against an invite's token that opens a session, and a digest that another server makes."""
    secret = tokens.mint()
    made = {tokens.digest(pepper, purpose, secret) for pepper in (PEPPER, b"q" * 32) for purpose in Purpose}
    assert len(made) == 2 * len(Purpose)


def test_a_mark_is_for_one_address_and_cannot_be_made() -> None:
    """Guards against a stranger whose failures do not count because they say that they are known."""
    mark = known_devices.mark(PEPPER, "ann@example.com")
    device_id = known_devices.known(PEPPER, "ann@example.com", mark)
    assert device_id is not None
    assert device_id.startswith("device_")
    assert known_devices.known(PEPPER, "bob@example.com", mark) is None
    assert known_devices.known(b"q" * 32, "ann@example.com", mark) is None
    other = known_devices.mark(PEPPER, "ann@example.com").partition(".")[0]
    for forged in (
        None,
        "",
        ".",
        device_id,
        f"{other}.{mark.partition('.')[2]}",
        mark + "\u00e9",
        mark.upper(),
    ):
        assert known_devices.known(PEPPER, "ann@example.com", forged) is None
