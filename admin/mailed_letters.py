"""Letters by the mail server that the settings name.

Owns that no request waits for a mail server, and that letters on their way are bounded. A letter holds a
token: it is handed in or lost, never kept, and whoever asked for it has the token in their answer anyway.
"""

import asyncio
import logging
from email.message import EmailMessage
from typing import Final

from admin.alerts import mail
from admin.alerts.smtp_server import SmtpServer

ON_THE_WAY_MAX: Final = 100
"""Letters that are being handed in; one more is not, and the log says so."""

_log = logging.getLogger("metergate.letters")


class MailedLetters:
    """`sender`: METERGATE_SMTP_FROM. Used inside one event loop."""

    def __init__(self, server: SmtpServer, sender: str) -> None:
        self._server = server
        self._sender = sender
        self._on_the_way: set[asyncio.Task[None]] = set()

    async def send(self, to: str, subject: str, body: str) -> None:
        """Begins to hand a letter in."""
        if len(self._on_the_way) >= ON_THE_WAY_MAX:
            _log.error("a letter is not sent: %d wait for the mail server", ON_THE_WAY_MAX)
            return
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._sender, to, subject
        message.set_content(body)
        task = asyncio.create_task(self._hand_in(message))
        self._on_the_way.add(task)
        task.add_done_callback(self._on_the_way.discard)

    async def close(self) -> None:
        """Waits for those on their way."""
        if self._on_the_way:
            await asyncio.wait(self._on_the_way)

    async def _hand_in(self, message: EmailMessage) -> None:
        try:
            await asyncio.to_thread(mail.send, self._server, message)
        except mail.MailNotTaken as fault:
            _log.error("a letter is not sent: %s", fault)
