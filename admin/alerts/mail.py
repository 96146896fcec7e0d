"""Mail: handing a message to an SMTP server.

The standard library's client, in a thread. TLS from the start (`smtps://`), or by STARTTLS wherever the
server offers it (`smtp://`); a password is never sent without TLS.
"""

import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Final

from admin.alerts.smtp_server import SmtpServer

TIMEOUT_SECONDS: Final = 20.0
"""For each step of a conversation; it has about eight, all quick but the connecting."""


class MailNotTaken(Exception):
    """The server did not take the message; the text says why, and holds no password."""


def send(
    server: SmtpServer,
    message: EmailMessage,
    make_context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
) -> None:
    """Hands in a message to its one recipient. Blocks: for a thread. Raises MailNotTaken."""
    with _conversation(server, make_context, TIMEOUT_SECONDS) as smtp:
        smtp.send_message(message)


def greet(
    server: SmtpServer,
    make_context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Goes as far as a message would, and sends none. Blocks, as `send`. Raises MailNotTaken."""
    with _conversation(server, make_context, timeout_seconds) as smtp:
        smtp.noop()


@contextmanager
def _conversation(
    server: SmtpServer, make_context: Callable[[], ssl.SSLContext], timeout_seconds: float
) -> Iterator[smtplib.SMTP]:
    try:
        with _connect(server, make_context, timeout_seconds) as smtp:
            if server.user is not None and server.password is not None:
                smtp.login(server.user, server.password)
            yield smtp
    except smtplib.SMTPRecipientsRefused as fault:
        ((code, said),) = fault.recipients.values()
        raise MailNotTaken(f"the recipient is refused: {code} {_shown(said)}") from None
    except smtplib.SMTPResponseException as fault:
        raise MailNotTaken(f"{fault.smtp_code} {_shown(fault.smtp_error)}") from None
    except (smtplib.SMTPException, OSError) as fault:  # ssl.SSLError and timeouts are among the latter
        raise MailNotTaken(f"{type(fault).__name__}: {fault}") from None


def _connect(
    server: SmtpServer, make_context: Callable[[], ssl.SSLContext], timeout_seconds: float
) -> smtplib.SMTP:
    if server.tls_at_once:
        return smtplib.SMTP_SSL(server.host, server.port, timeout=timeout_seconds, context=make_context())
    smtp = smtplib.SMTP(server.host, server.port, timeout=timeout_seconds)
    try:
        smtp.ehlo()
        if smtp.has_extn("starttls"):
            smtp.starttls(context=make_context())
            smtp.ehlo()
        elif server.user is not None:
            raise MailNotTaken("the server offers no TLS, and a password is sent over nothing less")
    except BaseException:
        smtp.close()
        raise
    return smtp


def _shown(said: bytes | str) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return "".join(char if char.isprintable() else " " for char in text)[:200]
