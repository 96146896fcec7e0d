"""What METERGATE_SMTP_URL says, and what it may not."""

import pytest

from admin.alerts.smtp_server import SmtpServer, is_sender


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", SmtpServer("mail.example", 587, tls_at_once=False)),
        ("smtps://mail.example/", SmtpServer("mail.example", 465, tls_at_once=True)),
        ("smtp://u%40a:p%2Fq@m:25", SmtpServer("m", 25, tls_at_once=False, user="u@a", password="p/q")),
    ],
)
def test_a_server(url: str, server: SmtpServer) -> None:
    assert SmtpServer.parse(url) == server
    assert "p/q" not in repr(SmtpServer.parse(url))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example:25",
        "http://m",
        "smtp://",
        "smtp://m:0",
        "smtp://m:x",
        "smtp://u:hunter2@m/box",
        "smtp://hunter2@m",
    ],
)
def test_what_is_no_server_is_refused_without_a_word_of_it(url: str) -> None:
    """Guards against a password in a log line of a start that fails."""
    with pytest.raises(ValueError, match=r"is|has") as caught:
        SmtpServer.parse(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("a@b.example", True), ("Alerts <a@b.example>", True), ("", False), ("a", False), ("<a>", False),
     ("a@b\nBcc: c@d", False), ("a@b, c@d", False), ("x <a@b> y", False)],
)  # fmt: skip
def test_a_sender(text: str, is_one: bool) -> None:
    """Guards against a mail whose head says more than it should."""
    assert is_sender(text) == is_one
