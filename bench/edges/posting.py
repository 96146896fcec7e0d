"""How fast a journal of 100,000 records is brought into the ledger, and what a row costs.

The real poster, as a process of its own on the subject's core, idle; then a folder that is full of records is
moved to where it looks. Time is from there until its cursor is at the end, CPU is that process's. PostgreSQL
is a real server on the other core, with fsync on; its own CPU is told apart, for it lives on another host.
The calls are of 100 keys in 10 tenants; the charged ones have a budget and a quota each, and take of their
worker's leases.

    python -m bench.edges posting
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from bench.edges.lines import Line
from bench.processes import choose_cores, cpu_s, on_core, tree
from ledger import leases, prices, tenancy
from ledger.ids import new_request_id
from ledger.journal.reader import end_position
from ledger.journal.segments import START, Position, journal_root, read_cursor, worker_folder
from ledger.journal.writer import JournalWriter
from ledger.lease_terms import BalanceKey, Wish
from ledger.limit_settings import LimitScope, set_limit
from ledger.limits import LimitKind, LimitWindow
from ledger.money import Rates
from ledger.periods import day_span, month_span_at
from ledger.record import CallRecord, Charge, Ending
from ledger.secret_key import pepper
from ledger.settings import LedgerSettings
from ledger.usage import UsageSource
from race.databases import Databases, databases
from race.owner import in_ledger
from race.postgresql import run_statement

RECORDS: Final = 100_000
TENANTS: Final = 10
KEYS_OF_A_TENANT: Final = 10
ROUNDS: Final = 3
ROWS_PER_S_MIN: Final = {"sqlite": 20_000, "postgresql": 5_000}
_MODEL: Final = "bench"
_LIMIT_S: Final = 120.0
_LEASED: Final = 10**14


@dataclass(frozen=True, slots=True)
class Key:
    """One key and what its calls are charged to."""

    tenant_id: str
    project_id: str
    id: str
    budget_id: str
    quota_id: str


@dataclass(frozen=True, slots=True)
class Posted:
    """One journal, brought into a ledger."""

    wall_s: float
    poster_s: float
    server_s: float


def measure(*, rounds: int = ROUNDS, records: int = RECORDS) -> list[Line]:
    """Rows a second and CPU a row, into both databases, with charges and without."""
    found: dict[tuple[str, bool], list[Posted]] = {}
    with databases() as ledgers:
        for _ in range(rounds):
            for kind in ROWS_PER_S_MIN:
                for charged in (False, True):
                    found.setdefault((kind, charged), []).append(_post(ledgers, kind, charged, records))
    return [
        line for (kind, charged), posted in found.items() for line in _lines(kind, charged, posted, records)
    ]


def _lines(kind: str, charged: bool, posted: list[Posted], records: int) -> list[Line]:
    name, title = (
        f"{kind}_{'charged' if charged else 'plain'}",
        f"{kind}, {'with' if charged else 'no'} limits",
    )
    speed = tuple(records / one.wall_s for one in posted)
    lines = [
        Line(
            "posting", f"{name}_rows_per_s", f"{title}: rows a second", speed, at_least=ROWS_PER_S_MIN[kind]
        ),
        Line(
            "posting",
            f"{name}_cpu_us_per_row",
            f"{title}: CPU of the poster a row, us",
            tuple(one.poster_s / records * 1e6 for one in posted),
            1,
        ),
    ]
    if kind == "postgresql":
        server = tuple(one.server_s / records * 1e6 for one in posted)
        lines.append(
            Line("posting", f"{name}_server_us_per_row", f"{title}: CPU of the server a row, us", server, 1)
        )
    return lines


def _post(ledgers: Databases, kind: str, charged: bool, records: int) -> Posted:
    cores = choose_cores()
    with on_core(cores.engine):  # where PostgreSQL starts, once
        fresh = ledgers.fresh(kind)
        folder, url = fresh.__enter__()
    try:
        if ledgers.server is not None:
            run_statement(ledgers.server.url, "ALTER SYSTEM SET fsync = on")
            run_statement(ledgers.server.url, "SELECT pg_reload_conf()")
        data = folder / "data"
        aside, end = _fill(data, url, charged, records)
        server_pid = _postmaster(ledgers) if kind == "postgresql" else None
        with _poster(data, url, folder / "poster.log", cores.subject) as process:
            return _drain(process.pid, server_pid, aside, worker_folder(data, 0), end)
    finally:
        fresh.__exit__(None, None, None)


def _drain(poster_pid: int, server_pid: int | None, aside: Path, folder: Path, end: Position) -> Posted:
    def server_s() -> float:
        return cpu_s(tree(server_pid)) if server_pid else 0.0

    server_before, poster_before, began = server_s(), cpu_s((poster_pid,)), time.monotonic()
    aside.rename(folder)
    while read_cursor(folder) < end:
        assert time.monotonic() < began + _LIMIT_S, f"only {read_cursor(folder)} of {end} is posted"
        time.sleep(0.002)
    wall_s = time.monotonic() - began
    return Posted(wall_s, cpu_s((poster_pid,)) - poster_before, server_s() - server_before)


@contextmanager
def _poster(data: Path, url: str, log: Path, core: int) -> Iterator[subprocess.Popen[bytes]]:
    """The poster's process, once it has said that it is at work and has nothing to do."""
    reading, writing = os.pipe()
    environ = {**os.environ, "METERGATE_DATABASE_URL": url, "METERGATE_DATA_DIR": str(data)}
    with log.open("wb") as output, on_core(core):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ledger.poster"],
            env=environ | {"METERGATE_READY_FD": str(writing)},
            pass_fds=(writing,),
            stdout=output,
            stderr=output,
        )
    os.close(writing)
    try:
        assert os.read(reading, 64), log.read_text()
        yield process
    finally:
        os.close(reading)
        process.terminate()
        process.wait()


def _postmaster(ledgers: Databases) -> int:
    assert ledgers.server is not None
    return int((ledgers.server.folder / "postmaster.pid").read_text().split("\n")[0])


def _fill(data: Path, url: str, charged: bool, records: int) -> tuple[Path, Position]:
    """A folder of the records that a worker would have left, and where it ends."""
    now_us = time.time_ns() // 1000
    keys, holder_id = in_ledger(url, lambda session: _populate(session, data, charged, now_us))
    aside = journal_root(data) / "aside"
    aside.mkdir(parents=True)
    writer = JournalWriter(aside)
    for number in range(records):
        writer.append(_record(keys[number % len(keys)], holder_id, charged, now_us + number))
    writer.close()
    (aside / "lock").unlink()
    return aside, end_position(aside, START)


async def _populate(session: AsyncSession, data: Path, charged: bool, now_us: int) -> tuple[list[Key], str]:
    """Tenants, keys, a price; where calls are charged, limits, and a worker that has all of them on lease."""
    secret = pepper(LedgerSettings(data_dir=data))
    await prices.set_price(session, _MODEL, Rates(150_000, 75_000, 600_000, 0), now_us - 3_600_000_000)
    keys: list[Key] = []
    for number in range(TENANTS):
        tenant = await tenancy.create_tenant(session, f"tenant {number}", now_us)
        project = await tenancy.create_project(session, tenant.id, "p", now_us)
        scope = LimitScope(tenant_id=tenant.id)
        limits = ("", "")
        if charged:
            budget = await set_limit(session, scope, LimitKind.SPEND, LimitWindow.MONTH, 10**18, now_us)
            quota = await set_limit(session, scope, LimitKind.TOKENS, LimitWindow.DAY, 10**15, now_us)
            limits = (budget.id, quota.id)
        for _ in range(KEYS_OF_A_TENANT):
            key, _secret = await tenancy.create_api_key(session, secret, project.id, "k", now_us)
            keys.append(Key(tenant.id, project.id, key.id, *limits))
    if not charged:
        return keys, ""
    holder_id = await leases.register(await session.connection(), "bench", 0, now_us)
    wishes = [
        Wish(BalanceKey(charge.limit_id, "", charge.window_us), _LEASED, _LEASED)
        for key in keys[::KEYS_OF_A_TENANT]
        for charge in _charges(key, now_us)
    ]
    exchanged = await leases.exchange(await session.connection(), holder_id, wishes, (), now_us, 1)
    assert all(grant.granted == _LEASED for grant in exchanged.grants)
    return keys, holder_id


def _record(key: Key, holder_id: str, charged: bool, at_us: int) -> CallRecord:
    """A finished chat call of 96 and 24 tokens; its hold was exact."""
    return CallRecord(
        request_id=new_request_id(at_us),
        started_us=at_us,
        ended_us=at_us + 1_500_000,
        tenant_id=key.tenant_id,
        project_id=key.project_id,
        api_key_id=key.id,
        model=_MODEL,
        backend="http://127.0.0.1:8000",
        endpoint="chat.completions",
        streamed=False,
        ending=Ending.FINISHED,
        http_status=200,
        usage_source=UsageSource.FINAL,
        prompt_tokens=96,
        cached_prompt_tokens=0,
        completion_tokens=24,
        first_byte_us=at_us + 200_000,
        holder_id=holder_id,
        charges=_charges(key, at_us) if charged else (),
    )


def _charges(key: Key, at_us: int) -> tuple[Charge, ...]:
    """What a call is charged: of the budget of a month, and of the quota of a day."""
    return (
        Charge(key.budget_id, "", month_span_at(at_us)[0], 28_800_000),
        Charge(key.quota_id, "", day_span(at_us)[0], 120),
    )
