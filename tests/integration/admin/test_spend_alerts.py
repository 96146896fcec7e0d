"""Alerts on spend, from posted calls to a mailbox and a webhook, on both databases."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import select

from admin.alerts import signing
from admin.alerts.smtp_server import SmtpServer
from admin.alerts.webhooks import Webhooks
from admin.alerts.worker import AlertWorker
from ledger import outbox, prices, spend_alerts, tenancy
from ledger.alert_channel import AlertChannel
from ledger.database import Database
from ledger.money import Rates
from ledger.periods import month_span
from ledger.posting import post
from ledger.spend_alerts import AlertScope
from ledger.tables.alerts import Outbound, SpendAlert
from ledger.terms import Terms
from tests.mailbox import Mailbox, mailbox
from tests.records import a_record

PEPPER = b"p" * 32
CENT = 10**10
HOUR = 3_600_000_000
MONTH, NEXT_MONTH = month_span("2026-10")
CERTIFICATE = Path(__file__).parents[2] / "vectors/tls/names.pem"


@dataclass
class Hook:
    """A webhook that keeps what it is told, and answers `status`."""

    url: str = ""
    status: int = 204
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.calls.append((headers, body))
        location = "location: http://127.0.0.1:1/\r\n" if self.status == 302 else ""
        writer.write(f"HTTP/1.1 {self.status} x\r\n{location}content-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def hook(tls: ssl.SSLContext | None = None) -> AsyncIterator[Hook]:
    running = Hook()
    server = await asyncio.start_server(running.answer, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    running.url = f"{'https' if tls else 'http'}://localhost:{port}/alerts?token=abc"
    async with server:
        yield running


@dataclass
class Ground:
    """A ledger with a tenant whose calls cost 10 cents each, and a clock."""

    database: Database
    tenant_id: str
    project_id: str
    now_us: int = MONTH + 10 * HOUR

    async def spend(self, calls: int, *, project_id: str | None = None, at_us: int | None = None) -> None:
        records = [
            a_record(
                tenant_id=self.tenant_id,
                project_id=project_id or self.project_id,
                model="priced",
                started_us=self.now_us if at_us is None else at_us,
                prompt_tokens=0,
                cached_prompt_tokens=0,
                completion_tokens=1,
            )
            for _ in range(calls)
        ]
        await self.database.transact(lambda connection: post(connection, records, Terms(), self.now_us))

    async def alert(
        self,
        cents: int,
        recipients: tuple[str, ...] = ("a@example.com",),
        *,
        project_id: str | None = None,
        webhook_url: str | None = None,
        prefix: str | None = None,
    ) -> SpendAlert:
        async with self.database.write() as session:
            return await spend_alerts.create(
                session,
                AlertScope(self.tenant_id, project_id),
                cents * CENT,
                "USD",
                AlertChannel(recipients, prefix, webhook_url),
                self.now_us,
            )

    def worker(self, box: Mailbox | None = None, *, private: bool = True) -> AlertWorker:
        smtp = None if box is None else SmtpServer("127.0.0.1", box.port, tls_at_once=False)
        webhooks = Webhooks(may_be_private=private)
        return AlertWorker(
            self.database, PEPPER, webhooks, smtp, "Alerts <alerts@example.com>", lambda: self.now_us
        )

    async def outbound(self) -> list[Outbound]:
        async with self.database.read() as session:
            return list((await session.execute(select(Outbound).order_by("id"))).scalars())


@pytest.fixture
async def ground(database: Database) -> Ground:
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "Chat", 1)
        ten_cents = Rates(0, 0, 100_000 * 10**6)
        await prices.set_price(session, "priced", ten_cents, 1, from_us=1)
    return Ground(database, tenant.id, project.id)


async def test_an_alert_goes_off_once_a_month_and_threshold(ground: Ground) -> None:
    """Guards against a mail every half minute from the threshold on, and against none the month after."""
    await ground.alert(100, prefix="[spend]")
    async with mailbox() as box:
        worker = ground.worker(box)
        await ground.spend(9)
        await worker.turn()
        assert box.messages == []
        await ground.spend(1)
        for _ in range(3):
            await worker.turn()
        (message,) = box.messages
        assert message["Subject"] == "[spend] Spend of organization Acme has reached 1.00 USD"
        assert (message["To"], message["From"]) == ("a@example.com", "Alerts <alerts@example.com>")
        assert "in 2026-10 (UTC)" in message.get_content()
        ground.now_us = NEXT_MONTH + 5 * HOUR
        await ground.spend(10)
        await worker.turn()
        assert len(box.messages) == 2
        await worker.close()


async def test_a_changed_threshold_goes_off_anew_and_a_changed_recipient_does_not(ground: Ground) -> None:
    """Guards against mail about what was told already, and against a higher threshold that is never told."""
    alert = await ground.alert(100)
    await ground.spend(25)
    async with mailbox() as box:
        worker = ground.worker(box)
        await worker.turn()

        async def change(cents: int, recipient: str) -> None:
            async with ground.database.write() as session:
                row = await spend_alerts.get(session, AlertScope(ground.tenant_id), alert.id)
                channel = AlertChannel((recipient,))
                await spend_alerts.change(session, row, cents * CENT, "USD", channel, ground.now_us)
            await worker.turn()

        await change(100, "b@example.com")
        assert box.recipients == ["a@example.com"]
        await change(200, "b@example.com")
        assert box.recipients == ["a@example.com", "b@example.com"]
        await change(100, "c@example.com")
        assert len(box.recipients) == 2
        await worker.close()


async def test_whose_spend_counts(ground: Ground) -> None:
    """Guards against a project's alert that hears of its neighbour, and a tenant's that hears of one."""
    async with ground.database.write() as session:
        other = await tenancy.create_project(session, ground.tenant_id, "Other", 1)
        stranger = await tenancy.create_tenant(session, "Stranger", 1)
    await ground.alert(100, ("tenant@example.com",))
    await ground.alert(100, ("mine@example.com",), project_id=ground.project_id)
    await ground.alert(60, ("other@example.com",), project_id=other.id)
    async with ground.database.write() as session:
        channel = AlertChannel(("stranger@example.com",))
        await spend_alerts.create(session, AlertScope(stranger.id), 0, "USD", channel, 1)
    await ground.spend(5)
    await ground.spend(5, project_id=other.id)
    async with mailbox() as box:
        worker = ground.worker(box)
        await worker.turn()
        assert box.recipients == ["tenant@example.com"]
        await ground.spend(1, project_id=other.id)
        await worker.turn()
        assert box.recipients == ["tenant@example.com", "other@example.com"]
        assert "project Other" in box.messages[1]["Subject"]
        await worker.close()


async def test_what_is_posted_after_the_month_counts_in_it(ground: Ground) -> None:
    """Guards against the last minutes of a month that nobody ever looks at, and against an alert that tells
    of a month before it was.
    """
    await ground.alert(100)
    ground.now_us = NEXT_MONTH + HOUR // 2
    await ground.alert(100, ("late@example.com",))
    await ground.spend(10, at_us=NEXT_MONTH - 1)
    async with mailbox() as box:
        worker = ground.worker(box)
        await worker.turn()
        assert box.recipients == ["a@example.com"]
        assert "in 2026-10" in box.messages[0].get_content()
        await worker.close()


async def test_old_hours_are_added_up_once_an_hour_and_still_count(ground: Ground) -> None:
    """Guards against a report over the whole month twice a minute, and late calls that never count."""
    await ground.alert(100)
    ground.now_us = MONTH + 200 * HOUR
    await ground.spend(5)
    async with mailbox() as box:
        worker = ground.worker(box)
        await worker.turn()
        await ground.spend(5, at_us=MONTH + HOUR)
        await worker.turn()
        assert box.messages == []
        ground.now_us += HOUR
        await worker.turn()
        assert len(box.messages) == 1
        await worker.close()


async def test_a_webhook_is_signed_as_openais_client_checks_it(ground: Ground) -> None:
    """Guards against a signature that only we can check, and a body without what it is about."""
    async with hook() as receiver:
        alert = await ground.alert(100, (), webhook_url=receiver.url, project_id=ground.project_id)
        await ground.spend(12)
        worker = ground.worker()
        await worker.turn()
        await worker.close()
    ((headers, body),) = receiver.calls
    event = json.loads(body)
    assert (event["id"], event["type"]) == (headers["webhook-id"], "spend_alert.reached")
    assert event["data"] == {
        "alert_id": alert.id,
        "organization_id": ground.tenant_id,
        "organization_name": "Acme",
        "project_id": ground.project_id,
        "project_name": "Chat",
        "threshold_amount": 100,
        "spend_amount": 120,
        "currency": "USD",
        "interval": "month",
        "interval_start": MONTH // 10**6,
    }
    secret = signing.secret_of(PEPPER, alert.id)
    client = openai.OpenAI(api_key="unused", webhook_secret=secret)
    check: Any = client.webhooks.verify_signature
    check(body, headers, tolerance=10**12)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        check(body.replace(b"120", b"121"), headers, tolerance=10**12)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        check(body, headers, secret=signing.secret_of(PEPPER, "alert_other"), tolerance=10**12)


async def test_what_did_not_arrive_is_tried_again_and_what_did_is_not(ground: Ground) -> None:
    """Guards against an alert that is lost with one refused recipient, and one that is sent for ever."""
    await ground.alert(10, ("a@example.com", "b@example.com"))
    await ground.spend(1)
    async with mailbox() as box:
        box.refused.add("b@example.com")
        worker = ground.worker(box)
        await worker.turn()
        await worker.turn()
        assert box.recipients == ["a@example.com"]
        (waiting,) = [row for row in await ground.outbound() if row.due_us is not None]
        assert (waiting.tries, waiting.fault) == (1, "the recipient is refused: 550 no such mailbox")
        pauses = []
        for _ in range(4):
            before = waiting.due_us or 0
            ground.now_us = before
            await worker.turn()
            (waiting,) = [row for row in await ground.outbound() if row.due_us is not None]
            pauses.append(((waiting.due_us or 0) - before) // 10**6)
        assert pauses == [60, 120, 240, 480]
        box.refused.clear()
        ground.now_us = waiting.due_us or 0
        await worker.turn()
        assert box.recipients == ["a@example.com", "b@example.com"]
        ids = [message["Message-ID"] for message in box.messages]
        assert ids[1] == f"<{waiting.id}@example.com>" != ids[0]
        assert all(row.due_us is None and row.fault is None for row in await ground.outbound())
        await worker.close()


async def test_it_is_given_up_after_three_days(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    """Guards against a dead address that is tried for years; no address and no URL may get into the log."""
    async with hook() as receiver:
        receiver.status = 500
        await ground.alert(10, ("gone@example.com",), webhook_url=receiver.url)
        await ground.spend(1)
        worker = ground.worker()
        await worker.turn()
        ground.now_us += 73 * HOUR
        await worker.turn()
        await worker.turn()
        await worker.close()
        assert len(receiver.calls) == 2
    assert {row.fault for row in await ground.outbound()} == {
        "answered 500", "no server is set (METERGATE_SMTP_URL)"
    }  # fmt: skip
    assert all(row.due_us is None and row.ended_us for row in await ground.outbound())
    said = caplog.text
    assert "given up" in said
    assert "gone@example.com" not in said and "token=abc" not in said and "localhost" not in said


async def test_an_alert_outlives_who_saw_it(ground: Ground) -> None:
    """Guards against an alert that is marked as told and dies with the worker: it goes off and is written in
    one transaction, and a claim of the dead ends.
    """
    await ground.alert(10)
    await ground.spend(1)
    async with mailbox() as box:
        async with ground.database.read() as session:
            (seen,) = await spend_alerts.reached(session, spend_alerts.Spending(), ground.now_us)
        with pytest.raises(RuntimeError):
            async with ground.database.write() as session:
                assert await spend_alerts.fire(session, seen, ground.now_us)
                raise RuntimeError("killed before the commit")
        assert await ground.outbound() == []
        async with ground.database.write() as session:
            assert await spend_alerts.fire(session, seen, ground.now_us)
        (row,) = await ground.outbound()
        async with ground.database.write() as session:
            assert await outbox.claim(session, row.id, row.due_us or 0, ground.now_us)
        worker = ground.worker(box)
        await worker.turn()
        assert box.messages == []
        ground.now_us += outbox.CLAIM_US
        await worker.turn()
        assert len(box.messages) == 1
        await worker.close()


async def test_two_workers_tell_it_once(ground: Ground) -> None:
    """Guards against every host's worker sending the same mail."""
    for number in range(5):
        await ground.alert(10, (f"r{number}@example.com",))
    await ground.spend(1)
    async with mailbox() as box:
        workers = [ground.worker(box) for _ in range(3)]
        await asyncio.gather(*(worker.turn() for worker in workers))
        await workers[0].turn()
        assert sorted(box.recipients) == [f"r{number}@example.com" for number in range(5)]
        for worker in workers:
            await worker.close()
