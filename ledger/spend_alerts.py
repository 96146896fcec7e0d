"""Alerts on spend: setting them, and letting them go off, once for each month and threshold.

An alert is about what is posted in a UTC month, in its own currency: a tenant's, or one project's. That it
goes off and what is to be told of it are one transaction, so that neither is without the other, whatever dies
when; two workers that see it at once tell it once.
"""

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import exists
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger import audit, outbox, tenancy
from ledger.actors import PROGRAM, Actor
from ledger.alert_channel import AlertChannel
from ledger.audit import Facts, Subject
from ledger.audit_events import Event
from ledger.errors import NotFound
from ledger.ids import new_id
from ledger.object_pages import ObjectPage, PageWish, read_page
from ledger.outbox import OutboundKind
from ledger.periods import HOUR_US, month_span_at
from ledger.spend_limits import amount_of
from ledger.spending import Spending
from ledger.tables.alerts import SpendAlert, SpendAlertFiring

LATE_US: Final = 2 * HOUR_US
"""How long a month that has ended is looked at: its last calls may be posted after it."""

US_PER_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class AlertScope:
    """Whose spend: a tenant's, or that of one project of it."""

    tenant_id: str
    project_id: str | None = None


async def create(
    session: AsyncSession,
    scope: AlertScope,
    threshold_picos: int,
    currency: str,
    channel: AlertChannel,
    now_us: int,
    *,
    by: Actor = PROGRAM,
) -> SpendAlert:
    """A new alert. Raises NotFound for the scope."""
    if scope.project_id is None:
        await tenancy.get_tenant(session, scope.tenant_id)
    else:
        await tenancy.get_project(session, scope.project_id)
    alert = SpendAlert(
        id=new_id("alert_"),
        tenant_id=scope.tenant_id,
        project_id=scope.project_id,
        threshold_picos=threshold_picos,
        currency=currency,
        channel=channel,
        created_us=now_us,
        changed_us=now_us,
    )
    session.add(alert)
    await _record(session, by, Event.SPEND_ALERT_CREATED, alert, None, _facts(alert), now_us)
    return alert


async def read(session: AsyncSession, scope: AlertScope, wish: PageWish) -> ObjectPage[SpendAlert]:
    """A page of the alerts of exactly this scope: a tenant's without those of its projects."""
    return await read_page(session, SpendAlert, wish, _within(scope), [col(SpendAlert.deleted_us).is_(None)])


async def get(session: AsyncSession, scope: AlertScope, alert_id: str) -> SpendAlert:
    """Raises NotFound, for an alert of another scope too."""
    query = select(SpendAlert).where(
        col(SpendAlert.id) == alert_id, col(SpendAlert.deleted_us).is_(None), *_within(scope)
    )
    alert = (await session.execute(query)).scalar_one_or_none()
    if alert is None:
        raise NotFound("spend alert", alert_id)
    return alert


async def change(
    session: AsyncSession,
    alert: SpendAlert,
    threshold_picos: int,
    currency: str,
    channel: AlertChannel,
    now_us: int,
    *,
    by: Actor = PROGRAM,
) -> None:
    """Replaces what an alert was told. With another threshold it may go off again in the same month."""
    before = _facts(alert)
    if (alert.threshold_picos, alert.currency) != (threshold_picos, currency):
        alert.threshold_picos, alert.currency, alert.changed_us = threshold_picos, currency, now_us
    alert.channel = channel
    await _record(session, by, Event.SPEND_ALERT_UPDATED, alert, before, _facts(alert), now_us)


async def delete(session: AsyncSession, alert: SpendAlert, now_us: int, *, by: Actor = PROGRAM) -> None:
    """It goes off no more; what it has told already is still sent."""
    alert.deleted_us = now_us
    await _record(session, by, Event.SPEND_ALERT_DELETED, alert, _facts(alert), None, now_us)


@dataclass(frozen=True, slots=True)
class ReachedAlert:
    """An alert that is to go off: its month, and what was spent in it."""

    alert: SpendAlert
    window_us: int
    spent_picos: int


async def reached(session: AsyncSession, spending: Spending, now_us: int) -> list[ReachedAlert]:
    """The alerts that are to go off now and have not yet: of this month, and for LATE_US of the one before.

    Nothing spent reaches nothing, not even a threshold of 0.
    """
    found: list[ReachedAlert] = []
    for window_us in sorted({month_span_at(now_us)[0], month_span_at(now_us - LATE_US)[0]}):
        waiting = await _waiting(session, window_us)
        if not waiting:
            continue
        spent = await spending.read(session, {alert.tenant_id for alert in waiting}, window_us, now_us)
        for alert in waiting:
            picos = spent.get((alert.tenant_id, alert.project_id, alert.currency), 0)
            if picos > 0 and picos >= alert.threshold_picos:
                found.append(ReachedAlert(alert, window_us, picos))
    return found


async def fire(session: AsyncSession, gone_off: ReachedAlert, now_us: int) -> bool:
    """Writes that an alert went off, and what is to be told to whom; False where somebody has already."""
    alert, window_us = gone_off.alert, gone_off.window_us
    is_postgresql = (await session.connection()).dialect.name == "postgresql"
    insert: Any = postgresql.insert if is_postgresql else sqlite.insert
    firing = insert(SpendAlertFiring).values(
        alert_id=alert.id,
        window_us=window_us,
        threshold_picos=alert.threshold_picos,
        spent_picos=gone_off.spent_picos,
        at_us=now_us,
    )
    firing = firing.on_conflict_do_nothing().returning(SpendAlertFiring.alert_id)
    if (await session.execute(firing)).scalar_one_or_none() is None:
        return False
    notice = await _notice(session, gone_off)
    channel = alert.channel
    sendings = [(OutboundKind.MAIL, address) for address in channel.recipients]
    if channel.webhook_url is not None:
        sendings.append((OutboundKind.WEBHOOK, channel.webhook_url))
    for kind, address in sendings:
        outbox.put(session, alert.tenant_id, alert.id, kind, address, notice, now_us)
    await session.flush()
    return True


async def _waiting(session: AsyncSession, window_us: int) -> list[SpendAlert]:
    """The alerts that have not gone off in a month, for the threshold they have."""
    has_fired = exists().where(
        col(SpendAlertFiring.alert_id) == col(SpendAlert.id),
        col(SpendAlertFiring.window_us) == window_us,
        col(SpendAlertFiring.threshold_picos) == col(SpendAlert.threshold_picos),
    )
    query = select(SpendAlert).where(
        col(SpendAlert.deleted_us).is_(None),
        col(SpendAlert.changed_us) < month_span_at(window_us)[1],
        ~has_fired,
    )
    return list((await session.execute(query.order_by(col(SpendAlert.id)))).scalars())


async def _notice(session: AsyncSession, gone_off: ReachedAlert) -> str:
    """What is told, as JSON: the members of a webhook's `data`, and what a mail says besides."""
    alert = gone_off.alert
    tenant = await tenancy.get_tenant(session, alert.tenant_id)
    project = None if alert.project_id is None else await tenancy.get_project(session, alert.project_id)
    return json.dumps(
        {
            "alert_id": alert.id,
            "organization_id": tenant.id,
            "organization_name": tenant.name,
            "project_id": alert.project_id,
            "project_name": None if project is None else project.name,
            "threshold_amount": amount_of(alert.threshold_picos, alert.currency),
            "spend_amount": amount_of(gone_off.spent_picos, alert.currency),
            "currency": alert.currency,
            "interval": "month",
            "interval_start": gone_off.window_us // US_PER_SECOND,
            "subject_prefix": alert.channel.subject_prefix,
        }
    )


def _facts(alert: SpendAlert) -> dict[str, Any]:
    """What the audit log is told: of a webhook its host alone, since a URL may hold a secret."""
    url = alert.channel.webhook_url
    return {
        "threshold_picos": alert.threshold_picos,
        "currency": alert.currency,
        "recipients": list(alert.channel.recipients),
        "webhook_host": None if url is None else urlsplit(url).hostname,
    }


async def _record(
    session: AsyncSession,
    by: Actor,
    event: Event,
    alert: SpendAlert,
    before: Facts | None,
    after: Facts | None,
    now_us: int,
) -> None:
    subject = Subject(alert.id, alert.tenant_id, alert.project_id)
    await audit.record(session, by, event, subject, before, after, now_us)


def _within(scope: AlertScope) -> list[Any]:
    return [
        col(SpendAlert.tenant_id) == scope.tenant_id,
        col(SpendAlert.project_id).is_not_distinct_from(scope.project_id),
    ]
