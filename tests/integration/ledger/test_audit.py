"""The audit log on both databases: every change in it, no secret in it, one chain whoever writes."""

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from ledger import admin_keys, audit, limit_settings, prices, tenancy
from ledger.actors import Actor, ActorKind
from ledger.audit_chain import Head
from ledger.audit_events import Event
from ledger.audit_pages import AuditFilter, page
from ledger.database import Database
from ledger.errors import DatabaseFault, NotFound
from ledger.limit_settings import LimitScope
from ledger.limits import LimitKind, LimitWindow
from ledger.money import Rates
from ledger.roles import Role
from ledger.states import OutagePolicy, ProjectState, TenantState
from ledger.verification.audit import check_audit
from ledger.verification.findings import Check, Findings
from tests.integration.ledger.test_verification import open_audit_log

PEPPER = b"p" * 32
ANN = Actor(
    ActorKind.USER, "user-ann", "Ann", Role.OPERATOR,
    email="ann@example.com", address="192.0.2.1", user_agent="curl/8",
)  # fmt: skip


async def verified(database: Database, noted: Head | None = None) -> list[str]:
    """What is wrong with the log."""
    findings = Findings()
    async with database.read() as session:
        await check_audit(session, findings, noted)
    return [f"{fault.id}: {fault.what}" for fault in findings[Check.AUDIT].shown]


async def events(database: Database, **wanted: Any) -> list[Any]:
    """The log, the oldest first."""
    async with database.read() as session:
        return (await page(session, AuditFilter(**wanted), 1000)).events[::-1]


async def test_every_change_is_in_the_log_with_what_was_and_what_became(database: Database) -> None:
    """Guards against a change that nobody can be asked about."""
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1, by=ANN)
        await tenancy.set_tenant_state(session, tenant.id, TenantState.BLOCKED, 2, by=ANN)
        await tenancy.set_tenant_state(session, tenant.id, TenantState.BLOCKED, 3, by=ANN)
        await tenancy.set_outage_policy(session, tenant.id, OutagePolicy.FAIL_OPEN, 4, by=ANN)
        project = await tenancy.create_project(session, tenant.id, "Chat", 5, by=ANN)
        key, _ = await tenancy.create_api_key(session, PEPPER, project.id, "CI", 6, by=ANN)
        await tenancy.block_api_key(session, key.id, 7, by=ANN)
        await tenancy.revoke_api_key(session, key.id, 8, by=ANN)
        scope = LimitScope(project_id=project.id)
        rate = (scope, LimitKind.REQUESTS, LimitWindow.MINUTE)
        await limit_settings.set_limit(session, *rate, 60, 9, by=ANN)
        limit = await limit_settings.set_limit(session, *rate, 90, 10, by=ANN)
        await limit_settings.remove_limit(session, limit.id, 11, by=ANN)
        await limit_settings.set_limit(session, scope, LimitKind.SPEND, LimitWindow.MONTH, 5, 12, by=ANN)
        await prices.set_price(session, "m", Rates(1, 1, 1), 13, by=ANN)
        await tenancy.set_project_state(session, project.id, ProjectState.ARCHIVED, 14, by=ANN)
        await admin_keys.create_admin_key(session, PEPPER, "Ops", 15, by=ANN)
    found = await events(database)
    assert [(row.event, row.at_us) for row in found] == [
        ("organization.created", 1),
        ("organization.updated", 2),
        ("organization.updated", 4),
        ("project.created", 5),
        ("api_key.created", 6),
        ("api_key.updated", 7),
        ("api_key.deleted", 8),
        ("rate_limit.updated", 9),
        ("rate_limit.updated", 10),
        ("rate_limit.deleted", 11),
        ("limit.updated", 12),
        ("price.created", 13),
        ("project.archived", 14),
        ("tenant.admin_api_key.created", 15),
    ]
    assert [row.position for row in found] == list(range(1, 15))
    assert {(row.actor_id, row.actor_email, row.address, row.user_agent) for row in found} == {
        ("user-ann", "ann@example.com", "192.0.2.1", "curl/8")
    }
    changed = {
        row.at_us: (json.loads(row.before or "null"), json.loads(row.after or "null")) for row in found
    }
    assert changed[1] == (None, {"name": "Acme", "state": "active", "outage_policy": "fail_closed"})
    assert changed[2] == ({"state": "active"}, {"state": "blocked"})
    assert changed[8] == ({"state": "blocked"}, {"state": "revoked"})
    which = {"kind": "requests", "window": "minute", "model": None, "api_key_id": None, "end_user": None}
    assert changed[10] == ({"max_value": 60, **which}, {"max_value": 90, **which})
    assert changed[11][0]["max_value"] == 90 and changed[11][1] is None
    assert {row.tenant_id for row in found} == {tenant.id, None}
    assert [row.at_us for row in await events(database, project_ids=[project.id])] == [*range(5, 13), 14]
    assert await verified(database) == []


async def test_no_secret_gets_in(database: Database) -> None:
    """Guards against a log that opens what it tells of: by our own facts, and by what a caller hands in."""
    told = {
        "name": "sk-mg-0123456789abcdefghijklmnopqrstuvwxyz in a name",
        "password": "hunter2",
        "inner": [{"secret": "hunter2", "kept": 1}],
        "token": None,
    }
    async with database.write() as session:
        _, admin_secret = await admin_keys.create_admin_key(session, PEPPER, "Ops", 1)
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "p", 1)
        key, secret = await tenancy.create_api_key(session, PEPPER, project.id, "k", 1)
        await audit.record(session, ANN, Event.USER_ADDED, audit.Subject("user-1"), None, told, 2)
    rows = await events(database)
    written = " ".join(str(value) for row in rows for value in row)
    for hidden in (secret, admin_secret, "hunter2", "sk-mg-0123456789", key.digest.hex(), str(key.digest)):
        assert hidden not in written
    assert json.loads(rows[-1].after) == {
        "name": "[redacted] in a name",
        "password": "[redacted]",
        "inner": [{"secret": "[redacted]", "kept": 1}],
        "token": None,
    }


async def test_what_is_rolled_back_was_never_done(database: Database) -> None:
    """Guards against a log in a transaction of its own, which tells of what did not happen."""
    with pytest.raises(RuntimeError):
        async with database.write() as session:
            await tenancy.create_tenant(session, "Acme", 1)
            raise RuntimeError
    assert await events(database) == []
    async with database.write() as session:
        await tenancy.create_tenant(session, "Acme", 2)
    assert [row.position for row in await events(database)] == [1]
    assert await verified(database) == []


async def test_writers_at_the_same_time_make_one_chain(database: Database) -> None:
    """Guards against two events that follow the same one: each writer has its own connection; some change
    limits, which take another lock first, and some tell the workers nothing.
    """
    other = Database(database.shown_url if database.is_sqlite else database.url.render_as_string(False))
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)

    async def write(number: int) -> None:
        writer = (database, other)[number % 2]
        for turn in range(6):
            async with writer.write() as session:
                if number % 3 == 0:
                    scope = LimitScope(tenant.id)
                    size = number * 10 + turn + 1
                    await limit_settings.set_limit(session, scope, LimitKind.TOKENS, LimitWindow.DAY, size, 2)
                elif number % 3 == 1:
                    await audit.record(
                        session, ANN, Event.LOGIN_FAILED, audit.Subject("user-1"), None, None, 2
                    )
                else:
                    await tenancy.create_project(session, tenant.id, f"{number}.{turn}", 2)

    try:
        await asyncio.gather(*(write(number) for number in range(6)))
    finally:
        await other.close()
    assert await verified(database) == []
    assert len(await events(database)) == 37


async def test_the_log_only_grows(database: Database) -> None:
    """Guards against a program of ours, or a slip of the hand, that edits it."""
    async with database.write() as session:
        await tenancy.create_tenant(session, "Acme", 1)
    for statement in ("UPDATE audit_event SET actor_id = 'x'", "DELETE FROM audit_event"):
        with pytest.raises(
            (DBAPIError, DatabaseFault, IntegrityError, OperationalError), match="append-only"
        ):
            async with database.write() as session:
                await session.execute(text(statement))
    assert len(await events(database)) == 1


async def test_a_head_that_was_noted_shows_what_the_chain_alone_cannot(database: Database) -> None:
    """Guards against trust in a chain that its own database has written anew: cut with its head, or
    rewritten whole.
    """
    async with database.write() as session:
        for number in range(5):
            await tenancy.create_tenant(session, f"T{number}", number)
    async with database.read() as session:
        noted = await audit.head(session)
    assert str(Head.parse(str(noted))) == str(noted)
    assert await verified(database, noted) == []
    async with database.write() as session:
        await open_audit_log(session)
        await session.execute(text("DELETE FROM audit_event WHERE position > 3"))
        await session.execute(
            text(
                "UPDATE audit_head SET position = 3, hash = (SELECT hash FROM audit_event WHERE position = 3)"
            )
        )
    assert await verified(database) == []
    assert await verified(database, noted) == ["event 5: it was noted as the newest, and it is gone"]
    async with database.write() as session:
        for number in range(3):
            await tenancy.create_tenant(session, f"Forged {number}", number)
    assert await verified(database) == []
    assert len(await verified(database, noted)) == 1


async def test_changes_go_on_over_a_log_that_somebody_cut(database: Database) -> None:
    """Guards against a cut that hides itself, and against one that stops the next revocation."""
    async with database.write() as session:
        for number in range(5):
            await tenancy.create_tenant(session, f"T{number}", number)
    async with database.write() as session:
        await open_audit_log(session)
        await session.execute(text("DELETE FROM audit_event WHERE position > 3"))
    async with database.write() as session:
        await tenancy.create_tenant(session, "After", 6)
    assert await verified(database) == ["events 4 to 5: 2 events are gone"]
    async with database.write() as session:
        await session.execute(text("DELETE FROM audit_head"))
        await tenancy.create_tenant(session, "Later", 7)
    assert len(await verified(database)) == 2


async def test_pages_walk_both_ways_and_meet(database: Database) -> None:
    """Guards against an event that a walk leaves out or shows twice."""
    async with database.write() as session:
        for number in range(7):
            await tenancy.create_tenant(session, f"T{number}", number)
    async with database.read() as session:
        walked, after = [], None
        while True:
            found = await page(session, AuditFilter(), 3, after=after)
            walked += [row.position for row in found.events]
            if not found.has_more:
                break
            after = found.events[-1].id
        assert walked == [7, 6, 5, 4, 3, 2, 1]
        back = await page(session, AuditFilter(), 3, before=found.events[-1].id)
        assert [row.position for row in back.events] == [4, 3, 2] and back.has_more
        between = await page(session, AuditFilter(), 9, after=back.events[0].id, before=found.events[-1].id)
        assert [row.position for row in between.events] == [3, 2] and not between.has_more
        with pytest.raises(NotFound):
            await page(session, AuditFilter(tenant_id="org-other"), 3, after=after)
