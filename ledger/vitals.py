"""What an operator's doctor asks a ledger: a few quick reads, straight to the driver, and no more.

Every one is bounded by what there is of limits, keys and notices, or by an index: none looks at calls one by
one. Whether the book agrees with itself is ledger/verification's. What is made of the answers is the
doctor's. `now_us` is microseconds since the epoch.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

from ledger.direct import Connection
from ledger.leases import LEASES_LOST_S
from ledger.periods import DAY_US

SILENT_US: Final = int(2 * LEASES_LOST_S * 1_000_000)
"""Whoever has leases and was not heard of for this long should have lost them."""
NEWEST_DAYS: Final = 31
"""How far back the newest call is looked for."""


@dataclass(frozen=True, slots=True)
class Server:
    """The database itself. `clock_us` is None where it has none of its own; `asked_us` is this machine's
    clock in the middle of the question.
    """

    version: str
    latency_s: float
    clock_us: int | None
    asked_us: int
    connections: int = 0
    connections_max: int = 0
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class Outbox:
    """Notices on their way out: how many wait, since when the oldest is due, how many have failed before, and
    how many were given up within a week.
    """

    waiting: int
    oldest_due_us: int | None
    failing: int
    given_up: int


@dataclass(frozen=True, slots=True)
class Vitals:
    """How the ledger is. `operator_ends_us`: when each of the operator's keys that work ends, None: never.
    `newest_hour_us`: the hour of the newest call of a month.
    """

    operator_ends_us: list[int | None]
    newest_hour_us: int | None
    calls_of_a_day: int
    unresolved_of_a_day: int
    silent_holders: int
    priced_models: frozenset[str]
    outbox: Outbox


async def server(connection: Connection) -> Server:
    """The database's version, how long it takes for an answer, its clock, and whether it takes writes."""
    is_sqlite = connection.dialect.name == "sqlite"
    began, began_us = time.monotonic(), time.time_ns() // 1000
    told = await _one(connection, "SELECT sqlite_version()" if is_sqlite else _POSTGRESQL_CLOCK)
    latency_s = time.monotonic() - began
    asked_us = began_us + int(latency_s * 500_000)
    if is_sqlite:
        return Server(f"SQLite {told}", latency_s, None, asked_us)
    version = str(await _one(connection, "SELECT current_setting('server_version')"))
    ((connections, most, is_read_only),) = await connection.exec_driver_sql(_POSTGRESQL_ROOM)
    return Server(
        f"PostgreSQL {version.split(maxsplit=1)[0]}",
        latency_s,
        int(told),
        asked_us,
        connections,
        most,
        bool(is_read_only),
    )


async def vitals(connection: Connection, now_us: int) -> Vitals:
    """All of them, on one snapshot."""
    day = f"hour_us >= {int(now_us - DAY_US)}"
    newest = f"SELECT max(hour_us) FROM usage_hour WHERE hour_us >= {int(now_us - NEWEST_DAYS * DAY_US)}"  # noqa: S608
    calls = f"SELECT coalesce(sum(calls), 0) FROM usage_hour WHERE {day}"  # noqa: S608
    return Vitals(
        operator_ends_us=[
            ends_us
            for (ends_us,) in await connection.exec_driver_sql(_OPERATOR_KEYS)
            if ends_us is None or ends_us > now_us
        ],
        newest_hour_us=await _one(connection, newest),
        calls_of_a_day=int(await _one(connection, calls)),
        unresolved_of_a_day=int(await _one(connection, f"{calls} AND usage_source = 'unresolved'")),
        silent_holders=await _one(connection, _SILENT.format(int(now_us - SILENT_US))),
        priced_models=frozenset(
            model for (model,) in await connection.exec_driver_sql(_PRICED.format(int(now_us)))
        ),
        outbox=await _outbox(connection, now_us),
    )


async def _outbox(connection: Connection, now_us: int) -> Outbox:
    ((waiting, oldest, failing),) = await connection.exec_driver_sql(_WAITING)
    given_up = await _one(connection, _GIVEN_UP.format(int(now_us - 7 * DAY_US)))
    return Outbox(waiting, oldest, int(failing or 0), given_up)


async def _one(connection: Connection, statement: str) -> Any:
    return (await connection.exec_driver_sql(statement)).scalar_one()


_POSTGRESQL_CLOCK: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_POSTGRESQL_ROOM: Final = (
    "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
    " current_setting('max_connections')::int,"
    " pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool"
)
_OPERATOR_KEYS: Final = "SELECT expires_us FROM admin_key WHERE role = 'operator' AND state = 'active'"
_SILENT: Final = (
    "SELECT count(DISTINCT lease.holder_id) FROM lease"
    " JOIN lease_holder ON lease_holder.id = lease.holder_id WHERE lease_holder.seen_us < {}"
)
_PRICED: Final = (
    "SELECT DISTINCT model FROM price_version WHERE tenant_id IS NULL AND effective_from_us <= {}"
)
_WAITING: Final = (
    "SELECT count(*), min(due_us), sum(CASE WHEN tries > 0 THEN 1 ELSE 0 END) FROM outbox"
    " WHERE due_us IS NOT NULL"
)
_GIVEN_UP: Final = "SELECT count(*) FROM outbox WHERE due_us IS NULL AND fault IS NOT NULL AND ended_us >= {}"
