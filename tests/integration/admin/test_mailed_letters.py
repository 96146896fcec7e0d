"""Invites and password resets by mail: no request waits for it, and none fails for it."""

import logging

import pytest

from admin.alerts.smtp_server import SmtpServer
from admin.letters import send_invite
from admin.mailed_letters import MailedLetters
from tests.mailbox import mailbox


async def test_an_invite_reaches_whom_it_is_for() -> None:
    """Guards against an invitation that nobody gets, or that another gets."""
    async with mailbox() as box:
        letters = MailedLetters(SmtpServer("localhost", box.port, tls_at_once=False), "M <m@example.com>")
        await send_invite(letters, "ann@example.com", "Acme", "the-token")
        await letters.close()
        (message,) = box.messages
        assert (message["To"], message["From"]) == ("ann@example.com", "M <m@example.com>")
        assert "the-token" in message.get_content() and "Acme" in message["Subject"]


async def test_a_mail_server_that_is_away_fails_nothing_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Guards against an invite that is not made because mail is down, and against a token in the log."""
    async with mailbox() as box:
        port = box.port
    letters = MailedLetters(SmtpServer("localhost", port, tls_at_once=False), "m@example.com")
    with caplog.at_level(logging.ERROR):
        await send_invite(letters, "ann@example.com", "Acme", "the-token")
        await letters.close()
    assert "a letter is not sent" in caplog.text and "the-token" not in caplog.text
