"""Handing mail to a server: TLS where there is a password, and no word of it in what is said of a failure."""

import asyncio
import ssl
from email.message import EmailMessage

import pytest

from admin.alerts import mail
from admin.alerts.mail import MailNotTaken
from admin.alerts.smtp_server import SmtpServer
from tests.integration.admin.test_spend_alerts import CERTIFICATE
from tests.mailbox import mailbox


def a_message() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", "Ünïcode"
    message.set_content("text\n.\nmore\n")
    return message


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATE)


async def test_a_password_goes_over_tls_and_nothing_less() -> None:
    """Guards against a password that anybody on the way can read."""
    async with mailbox() as box:
        box.offers_login = True
        server = SmtpServer("localhost", box.port, tls_at_once=False, user="u", password="hunter2")
        with pytest.raises(MailNotTaken, match="no TLS") as caught:
            await asyncio.to_thread(mail.send, server, a_message())
        assert "hunter2" not in str(caught.value)
        assert not any(line.startswith("AUTH") for line in box.said)
        box.tls = server_context()
        await asyncio.to_thread(mail.send, server, a_message(), trusting)
        assert [line.partition(" ")[0] for line in box.said].count("STARTTLS") == 1
        assert any(line.startswith("AUTH") for line in box.said)
        (message,) = box.messages
        assert (message["Subject"], message.get_content().split()) == ("Ünïcode", ["text", ".", "more"])


async def test_tls_from_the_start_and_only_where_it_is_trusted() -> None:
    """Guards against a certificate that nobody looks at."""
    async with mailbox(tls_at_once=server_context()) as box:
        server = SmtpServer("localhost", box.port, tls_at_once=True)
        await asyncio.to_thread(mail.send, server, a_message(), trusting)
        assert len(box.messages) == 1
        with pytest.raises(MailNotTaken, match="SSLCertVerificationError"):
            await asyncio.to_thread(mail.send, server, a_message())


async def test_a_server_that_is_away_is_a_reason_and_no_traceback() -> None:
    """Guards against a turn of the worker that ends with the first dead server."""
    with pytest.raises(MailNotTaken, match="ConnectionRefusedError"):
        await asyncio.to_thread(mail.send, SmtpServer("127.0.0.1", 1, tls_at_once=False), a_message())
