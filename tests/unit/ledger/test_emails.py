"""E-mail addresses: one form for each."""

import pytest

from ledger.emails import parse_email
from ledger.errors import Refused


@pytest.mark.parametrize(
    ("text", "email"),
    [
        (" Ann.Lee@Example.COM ", "ann.lee@example.com"),
        ("a+b@xn--mnchen-3ya.de", "a+b@xn--mnchen-3ya.de"),
        ("root@localhost", "root@localhost"),
    ],
)
def test_an_address_has_one_form(text: str, email: str) -> None:
    """Guards against two users with one address."""
    assert parse_email(text) == email


@pytest.mark.parametrize(
    "text",
    [
        "", "ann", "@example.com", "ann@", "ann@example..com", "ann@-example.com", "ann lee@example.com",
        "ann@exa mple.com", "ann@example.com\nbcc: all@example.com", "ann@exampl\u00e9.com",
        "\u0130@example.com",
        "ann@example.com,bob@example.com", "<ann@example.com>", "a" * 65 + "@example.com",
        "a@" + ".".join(["b" * 60] * 5),
    ],
)  # fmt: skip
def test_what_is_none_is_refused(text: str) -> None:
    """Guards against a second header in a letter, and letters of other scripts that fold into ASCII."""
    with pytest.raises(Refused):
        parse_email(text)
