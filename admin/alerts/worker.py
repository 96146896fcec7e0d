"""The background worker's turn at alerts: let go off what is to go off, and send what is on its way out.

Two workers may run: the ledger sees to it that an alert goes off once, and that a notice is claimed before it
is sent. Logs name a notice, an alert and a reason; never a URL or an address.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Final

from admin.alerts import mail, signing
from admin.alerts.mail import MailNotTaken
from admin.alerts.notice import US_PER_SECOND, Notice
from admin.alerts.smtp_server import SmtpServer
from admin.alerts.webhooks import WebhookFailed, Webhooks
from ledger import outbox, spend_alerts
from ledger.database import Database
from ledger.outbox import Claimed, OutboundKind
from ledger.spending import Spending

AT_ONCE_MAX: Final = 8
TURN_MAX: Final = 200
"""Notices of one turn; what is left is due at the next."""

_log = logging.getLogger("metergate.alerts")


class AlertWorker:
    """Has its turn again and again. `smtp` None: mail waits until there is a server."""

    def __init__(
        self,
        database: Database,
        pepper: bytes,
        webhooks: Webhooks,
        smtp: SmtpServer | None,
        sender: str,
        now_us: Callable[[], int],
    ) -> None:
        """`now_us` is the clock. Close it in the end."""
        self._database = database
        self._pepper = pepper
        self._webhooks = webhooks
        self._smtp = smtp
        self._sender = sender
        self._now_us = now_us
        self._spending = Spending()

    async def turn(self) -> None:
        """Looks once, and sends what is due. Raises DatabaseFault."""
        async with self._database.read() as session:
            reached = await spend_alerts.reached(session, self._spending, self._now_us())
        for gone_off in reached:
            async with self._database.write() as session:
                await spend_alerts.fire(session, gone_off, self._now_us())
        async with self._database.read() as session:
            due = await outbox.due(session, self._now_us(), TURN_MAX)
        turns = asyncio.Semaphore(AT_ONCE_MAX)

        async def send(outbound_id: str, due_us: int) -> None:
            async with turns:
                await self._send(outbound_id, due_us)

        tries = await asyncio.gather(*(send(*one) for one in due), return_exceptions=True)
        for fault in tries:
            if isinstance(fault, BaseException):
                raise fault

    async def close(self) -> None:
        """Closes what is open."""
        await self._webhooks.close()

    async def _send(self, outbound_id: str, due_us: int) -> None:
        async with self._database.write() as session:
            claimed = await outbox.claim(session, outbound_id, due_us, self._now_us())
        if claimed is None:
            return
        fault: str | None = None
        try:
            await self._bring(claimed)
        except (MailNotTaken, WebhookFailed) as error:
            fault = str(error)
        except Exception as error:
            fault = type(error).__name__
            _log.exception("%s cannot be sent", claimed.id)
        async with self._database.write() as session:
            if fault is None:
                await outbox.arrived(session, claimed, self._now_us())
                return
            goes_on = await outbox.failed(session, claimed, fault, self._now_us())
        _log.warning(
            "%s of alert %s by %s: %s; %s",
            claimed.id,
            claimed.subject_id,
            claimed.kind,
            fault.replace(claimed.address, "(the address)"),
            "it is tried again" if goes_on else "given up",
        )

    async def _bring(self, claimed: Claimed) -> None:
        """Raises MailNotTaken and WebhookFailed."""
        notice = Notice(claimed.id, claimed.created_us, json.loads(claimed.notice))
        if claimed.kind is OutboundKind.WEBHOOK:
            body, now_seconds = notice.event(), self._now_us() // US_PER_SECOND
            headers = signing.headers(self._pepper, claimed.subject_id, claimed.id, body, now_seconds)
            await self._webhooks.call(claimed.address, headers, body)
        elif self._smtp is None:
            raise MailNotTaken("no server is set (METERGATE_SMTP_URL)")
        else:
            message = notice.mail(self._sender, claimed.address)
            await asyncio.to_thread(mail.send, self._smtp, message)
