"""Channels of alerts: whom to tell, and what is no address."""

import pytest

from ledger.alert_channel import AlertChannel
from ledger.errors import Refused


def test_it_comes_back_as_it_was_kept() -> None:
    channel = AlertChannel(
        ("a@example.com", "b@example.com", "a@example.com"), "[x]", "https://a.example/h?t=1"
    )
    assert channel.recipients == ("a@example.com", "b@example.com")
    assert AlertChannel.of_json(channel.to_json()) == channel


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "a@",
        "@b",
        "a b@example.com",
        "a@example.com\nBcc: c@example.com",
        "a@example..com",
        "ä@example.com",
        "<a@example.com>",
        "a@example.com,b@example.com",
        '"a"@example.com',
        "a@" + "e" * 260,
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """Guards against a recipient that adds headers to the mail, or others to its envelope."""
    with pytest.raises(Refused) as caught:
        AlertChannel((address,))
    assert caught.value.param == "notification_channel.recipients"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "ftp://a.example",
        "https://",
        "https://u:p@a.example/",
        "https://a.example/#x",
        "https://a.example/ x",
        "https://a.example/\r\nX: 1",
        "https://a.example:0/",
        "https://a.example:x/",
        "https://ä.example/",
        "https://a.example/" + "x" * 2048,
        "https://[::1",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """Guards against a URL that becomes another request on its way."""
    with pytest.raises(Refused) as caught:
        AlertChannel((), webhook_url=url)
    assert caught.value.param == "notification_channel.webhook_url"


def test_somebody_has_to_be_told() -> None:
    with pytest.raises(Refused):
        AlertChannel(())
    with pytest.raises(Refused):
        AlertChannel(tuple(f"a{number}@example.com" for number in range(26)))
    with pytest.raises(Refused):
        AlertChannel(("a@example.com",), subject_prefix="a\nb")
