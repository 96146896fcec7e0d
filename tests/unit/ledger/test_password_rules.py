"""Which passwords are taken."""

import pytest

from ledger.errors import Refused
from ledger.password_rules import CHARS_MAX, checked

ANN = "ann.lee@example.com"


@pytest.mark.parametrize(
    "password",
    [
        "kumquat lattice vortex",
        "Tr4de-wind!Ox",
        "xkcd-oak-river-9",
        "e4f1c2a99b3d7710",
        "日本語のパスワードです長い",
        "ünïcödé wörds hêre",
        "4111-9820-5531-0077",
        "kumquat latti" + "ce vortex " * 101,
    ],
)
def test_a_long_password_of_any_kind_is_taken(password: str) -> None:
    """Guards against rules that send people back to `Summer2026!`."""
    assert checked(password, ANN)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "at least 12"),
        ("tooshort!", "at least 12"),
        ("x7!" * 400, "at most"),
        ("kumquat\x00lattice", "control characters"),
        ("kumquat\nlattice", "control characters"),
        ("kumquat lattice\ud800", "control characters"),
        ("aaaaaaaaaaaaaaaa", "different"),
        ("abababababababab", "different"),
        ("ann.lee@example.com", "e-mail"),
        ("My-ANN.LEE-is-mine", "e-mail"),
        ("kumquat at Example", "e-mail"),
        ("Password1234!", "guessed"),
        ("P@ssw0rd2026!!", "guessed"),
        ("passwordpassword", "guessed"),
        ("123456789012345", "guessed"),
        ("qwertyuiop12", "guessed"),
        ("Summer2026!!!", "guessed"),
        ("correct horse battery staple", "guessed"),
        ("abcde abcde abcde", "guessed"),
        ("metergate-admin1", "guessed"),
    ],
)
def test_what_guessers_try_first_is_refused_and_never_repeated(password: str, said: str) -> None:
    """Guards against the passwords that every list begins with, and against one in an error and its log."""
    with pytest.raises(Refused, match=said) as refused:
        checked(password, ANN)
    assert not password or password not in str(refused.value)


def test_a_keyboard_that_composes_differently_is_the_same_password() -> None:
    """Guards against a user who cannot log in from another computer."""
    assert checked("cafe\u0301 lattice vortex", ANN) == checked("caf\u00e9 lattice vortex", ANN)


def test_normalizing_cannot_pass_the_bound() -> None:
    """Guards against one character that becomes eighteen: hashing would read far more than was sent."""
    with pytest.raises(Refused, match="at most"):
        checked("\ufdfa" * CHARS_MAX, ANN)
