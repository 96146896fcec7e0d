"""`ledger verify` on both databases: silent about a book that is right, loud about exactly what is not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import leases, limit_settings, past_windows, prices, tenancy
from ledger.database import Database
from ledger.ids import new_request_id
from ledger.lease_terms import BalanceKey, Wish
from ledger.limit_settings import LimitScope
from ledger.limits import EACH_USER, Limit, LimitKind, LimitWindow
from ledger.money import Rates
from ledger.partitions import ensure_partitions
from ledger.past_windows import KEPT_DAYS
from ledger.periods import DAY_US, HOUR_US, month_span
from ledger.posting import post
from ledger.record import CallRecord, Charge, Ending
from ledger.terms import Terms
from ledger.usage import UsageSource
from ledger.verification.findings import Check, Findings, Notice
from ledger.verification.verify import verify
from tests.integration.ledger.balances import register, turns
from tests.records import NOON_US, a_record

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
DAY, MONTH, LIFETIME = LimitWindow.DAY, LimitWindow.MONTH, LimitWindow.LIFETIME


@dataclass
class Book:
    """A ledger with all that can be in one: two tenants, prices that changed, limits of every kind set before
    and midway, end users, late calls, leases.
    """

    database: Database
    ids: dict[str, str]
    limits: dict[str, Limit]
    records: list[CallRecord]
    holder_id: str

    async def verify(self, span: tuple[int, int] | None = None) -> Findings:
        async with self.database.read() as session:
            return await verify(session, NOON_US, span)

    async def limit(self, kind: LimitKind, window: LimitWindow | None, at_us: int, **fields: object) -> Limit:
        async with self.database.write() as session:
            return await limit_settings.set_limit(
                session, LimitScope(self.ids["tenant_id"]), kind, window, 10**15, at_us, **fields
            )  # type: ignore[arg-type]

    async def post(self, records: Sequence[CallRecord], at_us: int) -> None:
        async with self.database.write() as session:
            await post(await session.connection(), records, Terms(), at_us)


@pytest.fixture
async def book(database: Database) -> Book:
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "search", 1)
        key, _ = await tenancy.create_api_key(session, b"p" * 32, project.id, "ci", 1)
        await prices.set_price(session, "tiny", Rates(150_000, 75_000, 600_000, 2), 1)
        await prices.set_price(
            session, "tiny", Rates(151_000, 75_000, 600_000), 1, from_us=NOON_US + 30_000_000
        )
        await prices.set_price(
            session, "tiny", Rates(1, 1, 1), 1, tenant_id=tenant.id, from_us=NOON_US + HOUR_US
        )
        await ensure_partitions(session, NOON_US)
    ids = {"tenant_id": tenant.id, "project_id": project.id, "api_key_id": key.id}
    book = Book(database, ids, {}, [], await register(database))
    book.limits["spend"] = await book.limit(LimitKind.SPEND, MONTH, NOON_US - DAY_US)
    book.limits["slots"] = await book.limit(LimitKind.CONCURRENT, None, NOON_US)
    await book.limit(LimitKind.TOKENS, LimitWindow.MINUTE, NOON_US)
    records = [
        a_record(
            started_us=NOON_US + number * 6 * 60_000_000,
            ended_us=NOON_US + number * 6 * 60_000_000 + 1,
            prompt_tokens=100 + number,
            model="free" if number % 5 == 0 else "tiny",
            end_user=("", "ann", "bob")[number % 3],
            **(ids if number % 4 else {}),
        )
        for number in range(40)
    ]
    unknown = a_record(
        **ids, usage_source=UsageSource.UNRESOLVED, ending=Ending.KILLED,
        prompt_tokens=0, cached_prompt_tokens=0, completion_tokens=0,
    )  # fmt: skip
    old = a_record(**ids, started_us=NOON_US - 40 * DAY_US, ended_us=NOON_US)
    await book.post([*records[:20], unknown, old], NOON_US + 8 * HOUR_US)
    midway_us = NOON_US + 9 * HOUR_US
    for window in (DAY, MONTH, LIFETIME):
        book.limits[f"midway {window}"] = await book.limit(LimitKind.TOKENS, window, midway_us)
        book.limits[f"each {window}"] = await book.limit(
            LimitKind.REQUESTS, window, midway_us, end_user=EACH_USER
        )
    book.limits["ann"] = await book.limit(LimitKind.SPEND, MONTH, midway_us, end_user="ann", model="tiny")
    late = [
        a_record(**ids, started_us=NOON_US - back, ended_us=NOON_US, end_user=user)
        for back, user in ((DAY_US, "ann"), (20 * DAY_US, ""), (40 * DAY_US, "bob"), (40 * DAY_US, ""))
    ]
    await book.post([*records[20:], *late], midway_us + HOUR_US)
    keys = [
        BalanceKey(book.limits["spend"].id, "", month_span("2026-10")[0]),
        BalanceKey(book.limits["slots"].id, "", 0),
        BalanceKey(book.limits["midway day"].id, "", NOON_US - NOON_US % DAY_US),
    ]
    async with database.write() as session:
        await leases.exchange(
            await session.connection(),
            book.holder_id,
            [Wish(key, 5, 5) for key in keys],
            [],
            NOON_US,
            next(turns),
        )
    await book.post(
        [a_record(**ids, holder_id=book.holder_id, charges=(Charge(*keys[0], 3),))], midway_us + 2 * HOUR_US
    )
    book.records = records
    return book


async def test_a_book_that_metergate_wrote_has_no_faults(book: Book) -> None:
    """Guards against an alarm that is always on: limits set midway, late calls, charges, unresolved ones."""
    findings = await book.verify()
    assert {check: result.shown for check, result in findings.results.items() if result.shown} == {}
    assert findings.is_clean
    assert {check.value: result.looked_at for check, result in findings.results.items()} == {
        "request_ids": 47, "rows": 47, "prices": 47, "amounts": 47,
        "rollups": findings[Check.ROLLUPS].looked_at,
        "days": findings[Check.DAYS].looked_at,
        "balances": findings[Check.BALANCES].looked_at,
        "leases": findings[Check.LEASES].looked_at,
        "keys": findings[Check.KEYS].looked_at,
        "audit": 16,
    }  # fmt: skip
    assert findings[Check.ROLLUPS].looked_at > 10 and findings[Check.DAYS].looked_at > 10
    assert findings[Check.BALANCES].looked_at > 10
    assert findings[Check.LEASES].looked_at > 10 and findings[Check.KEYS].looked_at >= 1
    assert not any(notice.faults for notice in findings.notices.values())


# What an accident or a hand in the tables can do, and the checks that must say so: those and no others.
CORRUPTIONS: dict[str, tuple[str, set[Check]]] = {
    "two rows with one id": (
        "UPDATE usage SET request_id = {id_2} WHERE request_id = {id_1}",
        {Check.REQUEST_IDS},
    ),
    "an amount too high, the hour's sum with it": (
        "UPDATE usage SET amount_picos = amount_picos + 1 WHERE request_id = {id_1};"
        "UPDATE usage SET amount_picos = amount_picos - 1 WHERE request_id = {id_2}",
        {Check.AMOUNTS},
    ),
    "an amount where there is no price": (
        "UPDATE usage SET amount_picos = 1 WHERE request_id = {id_5};"
        "UPDATE usage_hour SET amount_picos = 1 WHERE model = 'free' AND hour_us = {noon}"
        " AND tenant_id = {tenant};"
        "UPDATE limit_balance SET used = used + 1 WHERE limit_id = {spend} AND window_us = {month}",
        {Check.AMOUNTS},
    ),
    "another version's price": (
        "UPDATE usage SET price_version_id = (SELECT id FROM price_version WHERE tenant_id IS NOT NULL)"
        " WHERE request_id = {id_1}",
        {Check.PRICES, Check.AMOUNTS, Check.DAYS},
    ),
    "a version that begins earlier than it did": (
        "UPDATE price_version SET effective_from_us = {noon} + 1 WHERE tenant_id IS NOT NULL",
        {Check.PRICES},
    ),
    "a version that is gone": (
        "DELETE FROM price_version WHERE tenant_id IS NOT NULL",
        {Check.PRICES},
    ),
    "a price that was changed in place": (
        "UPDATE price_version SET request_micros = 1 WHERE tenant_id IS NOT NULL",
        {Check.AMOUNTS},
    ),
    "a row's currency": (
        "UPDATE usage SET currency = 'EUR' WHERE started_us >= {noon} AND started_us < {noon} + 3600000000"
        " AND tenant_id = {tenant} AND model = 'tiny';"
        "UPDATE usage_hour SET currency = 'EUR' WHERE hour_us = {noon}"
        " AND tenant_id = {tenant} AND model = 'tiny'",
        {Check.PRICES},
    ),
    "a sum too high": (
        "UPDATE usage_hour SET calls = calls + 1 WHERE hour_us = {noon} AND model = 'free'",
        {Check.ROLLUPS},
    ),
    "a sum without rows": (
        "UPDATE usage_hour SET hour_us = hour_us + 40 * 86400000000 WHERE hour_us = {noon}",
        {Check.ROLLUPS},
    ),
    "a row without a sum": (
        "DELETE FROM usage_hour WHERE hour_us = {noon} AND model = 'free'",
        {Check.ROLLUPS},
    ),
    "a project's hourly sum too high": (
        "UPDATE project_hour SET prompt_tokens = prompt_tokens + 1 WHERE hour_us = {noon}",
        {Check.ROLLUPS},
    ),
    "a project's hour without sums": (
        "DELETE FROM project_hour WHERE hour_us = {noon}",
        {Check.ROLLUPS},
    ),
    "a project's hour without rows": (
        "INSERT INTO project_hour VALUES ({noon} - 777 * 86400000000, 'o', 'p', 'm', 'e', 1, 1, 0, 1)",
        {Check.ROLLUPS},
    ),
    "a daily sum too low": (
        "UPDATE usage_day SET calls = calls - 1 WHERE day_us = {day} AND model = 'free'",
        {Check.DAYS},
    ),
    "a project's daily sum too high": (
        "UPDATE project_day SET completion_tokens = completion_tokens + 1 WHERE day_us = {day}",
        {Check.DAYS},
    ),
    "a daily sum of another price": (
        "UPDATE project_day SET price_version_id = 'none' WHERE day_us = {day}"
        " AND price_version_id = (SELECT id FROM price_version WHERE tenant_id IS NOT NULL)",
        {Check.DAYS},
    ),
    "a day without rows": (
        "INSERT INTO usage_day VALUES ({day} - 777 * 86400000000, 'o', 'p', 'k', 'm', 'e', '', 1, 1, 0, 1)",
        {Check.DAYS},
    ),
    "a day without sums": (
        "DELETE FROM project_day WHERE day_us = {day}",
        {Check.DAYS},
    ),
    "a row that is gone": (
        "DELETE FROM usage WHERE request_id = {id_1}",
        {Check.ROLLUPS, Check.DAYS, Check.BALANCES},
    ),
    "a balance too low": (
        "UPDATE limit_balance SET used = used - 1 WHERE limit_id = {spend} AND window_us = {month}",
        {Check.BALANCES},
    ),
    "a balance that is gone": (
        "DELETE FROM limit_balance WHERE limit_id = {each_month} AND end_user = 'ann'"
        " AND window_us = {month}",
        {Check.BALANCES},
    ),
    "a balance of nobody": (
        "INSERT INTO limit_balance VALUES ({each_month}, 'eve', {month}, 1, 0)",
        {Check.BALANCES},
    ),
    "a balance of a window without calls": (
        "INSERT INTO limit_balance VALUES ({midway_day}, '', {noon} - 129600000000 * 30, 1, 0)",
        {Check.BALANCES},
    ),
    "a balance of one end user too high": (
        "UPDATE limit_balance SET used = used + 10 WHERE limit_id = {each_month} AND end_user = 'ann'"
        " AND window_us = {month}",
        {Check.BALANCES},
    ),
    "more leased than held": (
        "UPDATE limit_balance SET leased = leased + 1 WHERE limit_id = {slots}",
        {Check.LEASES},
    ),
    "more held than leased": (
        "UPDATE lease SET held = held + 1 WHERE limit_id = {slots}",
        {Check.LEASES},
    ),
    "a lease without a balance": (
        "DELETE FROM limit_balance WHERE limit_id = {slots}",
        {Check.LEASES},
    ),
    "leases of a holder that has ended": (
        "DELETE FROM lease_holder",
        {Check.LEASES},
    ),
    "something negative": (
        "UPDATE lease SET held = -1 WHERE limit_id = {slots};"
        "UPDATE limit_balance SET leased = -1 WHERE limit_id = {slots}",
        {Check.LEASES},
    ),
    "an end before the start": (
        "UPDATE usage SET ended_us = started_us - 1 WHERE request_id = {id_1}",
        {Check.ROWS},
    ),
    "more cached than read": (
        "UPDATE usage SET cached_prompt_tokens = prompt_tokens + 1 WHERE request_id = {id_5};"
        "UPDATE usage_hour SET cached_prompt_tokens = cached_prompt_tokens + 102"
        " WHERE hour_us = {noon} AND model = 'free' AND tenant_id = {tenant};"
        "UPDATE project_hour SET cached_prompt_tokens = cached_prompt_tokens + 102"
        " WHERE hour_us = {noon} AND model = 'free' AND tenant_id = {tenant};"
        "UPDATE usage_day SET cached_prompt_tokens = cached_prompt_tokens + 102 WHERE model = 'free'"
        " AND day_us = {day} AND tenant_id = {tenant};"
        "UPDATE project_day SET cached_prompt_tokens = cached_prompt_tokens + 102 WHERE model = 'free'"
        " AND day_us = {day} AND tenant_id = {tenant}",
        {Check.ROWS},
    ),
    "an unresolved row with an amount": (
        "UPDATE usage SET amount_picos = 7 WHERE usage_source = 'unresolved';"
        "UPDATE usage_hour SET amount_picos = 7 WHERE usage_source = 'unresolved';"
        "UPDATE limit_balance SET used = used + 7 WHERE limit_id = {spend} AND window_us = {month}",
        {Check.ROWS},
    ),
    "an id of another day": (
        "UPDATE usage SET request_id = {old_id} WHERE request_id = {id_1}",
        {Check.ROWS},
    ),
    "a key that is called with another secret than its row says": (
        "UPDATE api_key_secret SET digest = {digest}",
        {Check.KEYS},
    ),
    "a third secret": (
        "INSERT INTO api_key_secret (api_key_id, digest, redacted, created_us, expires_us)"
        " SELECT api_key_id, {digest}, '', 1, 2 FROM api_key_secret;"
        "INSERT INTO api_key_secret (api_key_id, digest, redacted, created_us, expires_us)"
        " SELECT api_key_id, {digest_2}, '', 1, 2 FROM api_key_secret WHERE expires_us IS NULL",
        {Check.KEYS},
    ),
    "a key without a secret": (
        "DELETE FROM api_key_secret",
        {Check.KEYS},
    ),
    "an event of the audit log that was changed": (
        "UPDATE audit_event SET actor_id = 'nobody' WHERE position = 2",
        {Check.AUDIT},
    ),
    "an event with another's hash": (
        "UPDATE audit_event SET hash = (SELECT hash FROM audit_event WHERE position = 1) WHERE position = 2",
        {Check.AUDIT},
    ),
    "an event that was taken out": (
        "DELETE FROM audit_event WHERE position = 3",
        {Check.AUDIT},
    ),
    "the first event": (
        "DELETE FROM audit_event WHERE position = 1",
        {Check.AUDIT},
    ),
    "the newest events": (
        "DELETE FROM audit_event WHERE position > 5",
        {Check.AUDIT},
    ),
    "all events": (
        "DELETE FROM audit_event",
        {Check.AUDIT},
    ),
    "the audit log's head": (
        "DELETE FROM audit_head",
        {Check.AUDIT},
    ),
    "a head before the end": (
        "UPDATE audit_head SET position = position - 1",
        {Check.AUDIT},
    ),
}


async def _corrupt(session: AsyncSession, book: Book, statements: str) -> None:
    values = {
        "noon": NOON_US,
        "day": NOON_US - NOON_US % DAY_US,
        "month": month_span("2026-10")[0],
        "tenant": repr(book.ids["tenant_id"]),
        "id_1": repr(book.records[1].request_id),
        "id_2": repr(book.records[2].request_id),
        "id_5": repr(book.records[5].request_id),
        "old_id": repr(new_request_id(NOON_US - 3 * DAY_US)),
        "digest": "X'aa'" if book.database.is_sqlite else "'\\xaa'",
        "digest_2": "X'bb'" if book.database.is_sqlite else "'\\xbb'",
        "spend": repr(book.limits["spend"].id),
        "slots": repr(book.limits["slots"].id),
        "each_month": repr(book.limits["each month"].id),
        "midway_day": repr(book.limits["midway day"].id),
    }
    if book.database.is_sqlite:
        await session.execute(text("PRAGMA ignore_check_constraints = ON"))
        await session.execute(text("PRAGMA foreign_keys = OFF"))
        if "SET request_id" in statements:
            await session.execute(text("ALTER TABLE usage RENAME TO usage_before"))
            await session.execute(text("CREATE TABLE usage AS SELECT * FROM usage_before"))
    else:
        await session.execute(text("ALTER TABLE usage DROP CONSTRAINT pk_usage"))
        checks = await session.execute(
            text(
                "SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'c'"
                " AND conrelid IN ('lease'::regclass, 'limit_balance'::regclass)"
            )
        )
        for table, constraint in checks.all():
            await session.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"))
    if "audit_event" in statements:
        await open_audit_log(session)
    for statement in statements.split(";"):
        changed = (await session.execute(text(statement.format(**values)))).rowcount  # type: ignore[attr-defined]
        assert changed, statement


async def open_audit_log(session: AsyncSession) -> None:
    """Let it be changed, as whoever owns the tables can."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text("DROP TRIGGER audit_event_append_only ON audit_event"))
    else:
        for verb in ("update", "delete"):
            await session.execute(text(f"DROP TRIGGER audit_event_no_{verb}"))


class _Undone(Exception):
    """Takes a corruption back."""


async def test_each_corruption_turns_exactly_its_checks_red(book: Book) -> None:
    """Guards against a check that cannot fail, and against one that cries about everything."""
    found: dict[str, set[Check]] = {}
    for name, (statements, _) in CORRUPTIONS.items():
        try:
            async with book.database.write() as session:
                await _corrupt(session, book, statements)
                findings = await verify(session, NOON_US)
                raise _Undone
        except _Undone:
            red = {check: result for check, result in findings.results.items() if result.faults}
            assert all(result.shown for result in red.values()), (name, red)
            found[name] = set(red)
    assert found == {name: red for name, (_, red) in CORRUPTIONS.items()}
    assert (await book.verify()).is_clean


async def test_a_month_is_looked_at_alone(book: Book) -> None:
    """Guards against a month that is declared clean by looking at another."""
    async with book.database.write() as session:
        await session.execute(text(f"DELETE FROM usage WHERE request_id = '{book.records[1].request_id}'"))
    assert (await book.verify(month_span("2026-09"))).is_clean
    findings = await book.verify(month_span("2026-10"))
    assert findings[Check.ROLLUPS].faults == 2 and findings[Check.BALANCES].faults
    assert 0 < findings[Check.ROWS].looked_at < 47


async def test_sums_past_64_bits_are_compared_exactly(book: Book) -> None:
    """Guards against floats, and against SQLite's SUM, which fails past 64 bits."""
    async with book.database.write() as session:
        await prices.set_price(session, "dear", Rates(10**13, 10**13, 10**13), 1)
        tenant = await tenancy.create_tenant(session, "Rich", 1)
        await limit_settings.set_limit(
            session, LimitScope(tenant.id), LimitKind.SPEND, LIFETIME, 10**18, NOON_US
        )
    for hour in range(4):
        record = a_record(
            tenant_id=tenant.id, model="dear", started_us=NOON_US + hour * HOUR_US,
            ended_us=NOON_US + hour * HOUR_US, prompt_tokens=700_001, completion_tokens=0,
        )  # fmt: skip
        await book.post([record], NOON_US + DAY_US)
    findings = await book.verify()
    assert findings.is_clean, findings.results
    passed = findings.notices[Notice.LIMIT_PASSED]
    assert passed.faults == 1 and "of 1000000000000000000" in passed.shown[0].what


@pytest.mark.postgres
async def test_a_detached_month_is_said_and_is_no_fault(postgresql_url: str) -> None:
    """Guards against an operator who keeps old months elsewhere, as the docs allow, and is told that the
    book is broken.
    """
    database = Database(postgresql_url)
    try:
        async with database.write() as session:
            tenant = await tenancy.create_tenant(session, "Acme", 1)
            await limit_settings.set_limit(
                session, LimitScope(tenant.id), LimitKind.TOKENS, LIFETIME, 10**9, 1
            )
            await ensure_partitions(session, NOON_US)
            records = [
                a_record(tenant_id=tenant.id, started_us=at_us, ended_us=at_us)
                for at_us in (NOON_US, NOON_US + 3 * DAY_US)
            ]
            await post(await session.connection(), records, Terms(), NOON_US)
        async with database.write() as session:
            await session.execute(text("ALTER TABLE usage DETACH PARTITION usage_2026_10"))
        async with database.read() as session:
            findings = await verify(session, NOON_US)
        assert findings.is_clean, findings.results
        assert findings[Check.ROWS].looked_at == 1
        (told,) = findings.notices[Notice.MONTH_DETACHED].shown
        assert told.id == "2026-10"
    finally:
        await database.close()


async def test_the_repairs_in_the_docs_repair(book: Book) -> None:
    """Guards against an operator who is told to run what was never run."""
    told = re.search(r"```sql\n(-- rollups.*?)```", OPERATIONS.read_text(), re.DOTALL)
    assert told is not None
    statements = [part.strip() for part in re.sub(r"--.*", "", told[1]).split(";")]
    repairs = [part for part in statements if part not in ("", "BEGIN", "COMMIT") and "limit_..." not in part]
    assert len(repairs) == 11
    day_us = NOON_US - NOON_US % DAY_US
    async with book.database.write() as session:
        await session.execute(text(f"UPDATE usage_hour SET calls = calls + 1 WHERE hour_us = {NOON_US}"))
        await session.execute(text(f"DELETE FROM project_hour WHERE hour_us = {NOON_US}"))
        await session.execute(text("UPDATE limit_balance SET leased = leased + 1"))
        await session.execute(text(f"DELETE FROM usage_day WHERE day_us = {day_us} AND model = 'tiny'"))
        await session.execute(text(f"UPDATE project_day SET calls = calls + 1 WHERE day_us = {day_us}"))
    findings = await book.verify()
    assert {check for check in Check if findings[check].faults} == {Check.ROLLUPS, Check.DAYS, Check.LEASES}
    async with book.database.write() as session:
        for repair in repairs:
            await session.execute(text(repair.replace(":hour", str(NOON_US)).replace(":day", str(day_us))))
    assert (await book.verify()).is_clean


async def test_windows_long_past_are_left_alone(book: Book) -> None:
    """Guards against a book that is called wrong because balances nobody needs were cleared away."""
    later_us = NOON_US + (KEPT_DAYS + 60) * DAY_US
    async with book.database.write() as session:
        assert await past_windows.clear(session, later_us)
    assert (await book.verify())[Check.BALANCES].faults
    async with book.database.read() as session:
        assert not (await verify(session, later_us))[Check.BALANCES].faults
