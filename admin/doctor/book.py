"""The ledger's database: it answers, fits, takes writes and has the time; and how the book in it is doing.

One connection for all that is read, none of it for long. SQLite is tried for whether it takes writes on
another one, since that may hang where reading does not; PostgreSQL says so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from admin.doctor.finding import Check, Finding, Look, Tell, note, ok, wrong
from admin.times import format_instant
from ledger import secret_check, vitals
from ledger.database_url import parse
from ledger.direct import Connection
from ledger.direct_database import DirectDatabase
from ledger.errors import DatabaseFault, SchemaAhead, SchemaBehind, SecretChanged
from ledger.periods import DAY_US, HOUR_US
from ledger.reconciliation.arithmetic import NO_TOKENS
from ledger.reconciliation.links import Standing, standings

SLOW_S: Final = 0.1
"""A statement's way there and back: leases are fetched in a few of them."""
SKEW_NOTED_US: Final = 2_000_000
SKEW_WRONG_US: Final = 60_000_000
CONNECTIONS_LEFT_MIN: Final = 10
OVERDUE_US: Final = 600_000_000
"""A notice that was due so long ago, when each is tried within a minute: nobody sends."""
KEY_ENDS_US: Final = 14 * DAY_US
STALE_US: Final = HOUR_US


@dataclass(slots=True)
class Book:
    """Looks, and keeps what others compare with: `priced_models` is None until it is known."""

    database_url: str
    pepper: bytes | None
    """None where it is not known here, or there is none yet."""
    is_pepper_known: bool
    """False where a metergate runs here with a secret that this shell has not."""
    is_made: bool
    """Whether there was a ledger: the data folder has what a start leaves beside it."""
    reconciled: bool
    """Whether the background worker compares with engines."""
    now_us: int
    priced_models: frozenset[str] | None = field(default=None, init=False)

    def looks(self) -> list[Look]:
        """Reading, and trying whether it takes writes."""
        return [Look(Check.DATABASE, self._read), Look(Check.DATABASE_WRITES, self._try)]

    def _read(self, tell: Tell) -> None:
        asyncio.run(self._with_database(partial(self._look, tell)))

    def _try(self, tell: Tell) -> None:
        asyncio.run(self._with_database(partial(self._begin, tell)))

    async def _with_database(self, work: Callable[[DirectDatabase], Awaitable[None]]) -> None:
        database = DirectDatabase(self.database_url, pool_size=1)
        try:
            await work(database)
        finally:
            await database.close()

    async def _look(self, tell: Tell, database: DirectDatabase) -> None:
        try:
            await database.check()
        except (SchemaBehind, SchemaAhead) as fault:
            tell(self._wrong_schema(database, fault))
        except DatabaseFault as fault:
            do = (
                "start it, or set METERGATE_DATABASE_URL right; until then settled calls wait in the journals"
            )
            tell(wrong(Check.DATABASE, str(fault), do))
            return
        else:
            tell(ok(Check.SCHEMA, "it is this version's"))
        if not self._is_there():
            return
        for finding in of_server(database.shown_url, await database.look(vitals.server)):
            tell(finding)
        try:
            await database.check()
        except (SchemaBehind, SchemaAhead):
            return
        if self.is_pepper_known:
            tell(await database.look(self._compare_secret))
        read = await database.look(partial(vitals.vitals, now_us=self.now_us))
        self.priced_models = read.priced_models
        for finding in of_vitals(read, self.now_us):
            tell(finding)
        if self.reconciled:
            compared = await database.look(partial(standings, since_us=self.now_us - DAY_US))
            for finding in of_reconciliation(compared, read.calls_of_a_day, self.now_us):
                tell(finding)

    async def _begin(self, tell: Tell, database: DirectDatabase) -> None:
        if not database.is_sqlite or not self._is_there():  # a server says so by itself
            return

        async def nothing(_: Connection) -> None:
            """To have begun is enough: nothing is written."""

        try:
            await database.transact(nothing)
        except DatabaseFault as fault:
            do = "see to its disk, its owner and who holds it: postings and leases wait for it"
            tell(wrong(Check.DATABASE_WRITES, str(fault), do))
        else:
            tell(ok(Check.DATABASE_WRITES, "it takes writes"))

    def _is_there(self) -> bool:
        """Connecting to SQLite would make a file."""
        path = parse(self.database_url).sqlite_path
        return path is None or Path(path).exists()

    async def _compare_secret(self, connection: Connection) -> Finding:
        if self.pepper is None:
            rows = await connection.exec_driver_sql("SELECT 1 FROM secret_check")
            if rows.all():
                do = "restore secret.key from a backup, or set METERGATE_SECRET_KEY to what it held"
                return wrong(
                    Check.SECRET_KEY, "it is gone, and no API key of this ledger works without it", do
                )
            return ok(Check.SECRET_KEY, "there is none yet: the first start makes it")
        try:
            await secret_check.check(connection, self.pepper)
        except SecretChanged:
            do = "restore it; to give up every key, `metergate db adopt-secret`"
            return wrong(Check.SECRET_KEY, "it is not the one that this ledger's keys were made with", do)
        return ok(Check.SECRET_KEY, "it is the one that this ledger's keys were made with")

    def _wrong_schema(self, database: DirectDatabase, fault: DatabaseFault) -> Finding:
        fact, _, told = str(fault).rpartition(": ")
        if isinstance(fault, SchemaAhead):
            return wrong(Check.SCHEMA, fact, "install the newer metergate here, as on the host that upgraded")
        if self.is_made and not self._is_there():
            do = "restore it from a backup before anything is started: a start makes an empty one"
            return wrong(Check.SCHEMA, f"{fact}, and this data folder had one", do)
        if database.is_sqlite:
            return note(Check.SCHEMA, fact, "`metergate up` does it by itself at its start")
        return wrong(Check.SCHEMA, fact, f"{told}, as the owner of the tables")


def of_server(shown_url: str, server: vitals.Server) -> list[Finding]:
    """What the server told of itself."""
    words = f"{shown_url} ({server.version}) answers in {server.latency_s * 1000:.1f} ms"
    is_slow = server.latency_s > SLOW_S
    do = "look at the network and at what it is busy with"
    found = [note(Check.DATABASE, words, do) if is_slow else ok(Check.DATABASE, words)]
    if server.clock_us is None:
        return found
    found.append(_skew(server.clock_us - server.asked_us))
    left = server.connections_max - server.connections
    words = f"{server.connections} of {server.connections_max} connections are in use"
    if left < CONNECTIONS_LEFT_MIN:
        do = "raise max_connections, or lower METERGATE_DATABASE_POOL_SIZE: see Connections in operations.md"
        found.append(note(Check.DATABASE_CONNECTIONS, words, do))
    else:
        found.append(ok(Check.DATABASE_CONNECTIONS, words))
    if server.is_read_only:
        do = "is it a standby? METERGATE_DATABASE_URL has to lead to the primary"
        found.append(wrong(Check.DATABASE_WRITES, "it is read-only: nothing is posted or leased", do))
    else:
        found.append(ok(Check.DATABASE_WRITES, "it takes writes"))
    return found


def of_vitals(read: vitals.Vitals, now_us: int) -> list[Finding]:
    """How the book is doing."""
    found = [_operator_keys(read.operator_ends_us, now_us), _postings(read, now_us)]
    if read.unresolved_of_a_day:
        told = f"{read.unresolved_of_a_day} of {read.calls_of_a_day} calls of the last day are unresolved"
        do = "nobody is billed for them; `metergate usage show --by source`, and look at engines that died"
        found.append(note(Check.UNRESOLVED, told, do))
    else:
        found.append(ok(Check.UNRESOLVED, "every call of the last day has its count"))
    if read.silent_holders:
        told = f"{read.silent_holders} workers have leases and were not heard of for long"
        do = "the background worker takes them back, and who lacks them at once: does one run on this ledger?"
        found.append(note(Check.LEASES, told, do))
    else:
        found.append(ok(Check.LEASES, "whoever has leases was heard of"))
    found.append(_outbox(read.outbox, now_us))
    do = "`metergate ledger verify` does, over every row: once a night, and after a restore"
    found.append(ok(Check.VERIFICATION, "whether the book agrees with itself is not looked at here", do))
    return found


def of_reconciliation(compared: list[Standing], calls: int, now_us: int) -> list[Finding]:
    """How the ledger stands to the engines' own counters; `calls`: of the last day."""
    check = Check.RECONCILIATION
    if not compared and not calls:
        return [ok(check, "there is no call of the last day to compare")]
    if not compared:
        do = "does the background worker run, and do the engines show /metrics? `metergate reconcile`"
        return [note(check, "ledger and engines were not compared in the last day", do)]
    found = []
    for each in compared:
        about = f"{each.backend} {each.model}"
        told = f"compared at {format_instant(each.checked_us)[:19]}Z"
        if each.unexplained != NO_TOKENS:
            counts = f"{each.unexplained.prompt:+d} prompt and {each.unexplained.generation:+d} generated"
            do = "`metergate reconcile` says where"
            found.append(note(check, f"{counts} tokens that no call explains, {told}", do, about=about))
        elif now_us - each.checked_us > STALE_US:
            do = "does the background worker run, and does the engine show /metrics?"
            found.append(note(check, f"not for an hour: {told}", do, about=about))
        else:
            found.append(ok(check, f"all tokens are explained, {told}", about=about))
    return found


def _skew(skew_us: int) -> Finding:
    words = f"the database's clock is {abs(skew_us) / 1e6:.1f} s {'ahead of' if skew_us > 0 else 'behind'}"
    do = "have both set by NTP: limits go by the one, usage is dated by the other"
    if abs(skew_us) > SKEW_WRONG_US:
        return wrong(Check.DATABASE_CLOCK, f"{words} this machine's", do)
    if abs(skew_us) > SKEW_NOTED_US:
        return note(Check.DATABASE_CLOCK, f"{words} this machine's", do)
    return ok(Check.DATABASE_CLOCK, f"{words} this machine's")


def _operator_keys(ends_us: list[int | None], now_us: int) -> Finding:
    do = "`metergate admin-key create` makes one"
    if not ends_us:
        return wrong(Check.ADMIN_KEYS, "no admin key of the operator works", do)
    if None in ends_us:
        return ok(Check.ADMIN_KEYS, f"{ends_us.count(None)} admin keys of the operator have no end")
    last_us = max(end_us for end_us in ends_us if end_us is not None)
    told = f"the operator's last admin key ends at {format_instant(last_us)[:19]}Z"
    if last_us - now_us < KEY_ENDS_US:
        return wrong(Check.ADMIN_KEYS, told, do)
    return note(Check.ADMIN_KEYS, told, do)


def _postings(read: vitals.Vitals, now_us: int) -> Finding:
    newest_us = read.newest_hour_us
    if newest_us is None:
        return ok(Check.POSTINGS, f"no call in the last {vitals.NEWEST_DAYS} days")
    told = (
        f"{read.calls_of_a_day} calls in the last day, the newest in the hour of {format_instant(newest_us)}"
    )
    if newest_us > now_us:
        do = "this clock is behind, or one was ahead: set it, and `metergate ledger verify`"
        return wrong(Check.POSTINGS, f"{told}, which is still to come", do)
    return ok(Check.POSTINGS, told)


def _outbox(outbox: vitals.Outbox, now_us: int) -> Finding:
    late_us = 0 if outbox.oldest_due_us is None else now_us - outbox.oldest_due_us
    told = f"{outbox.waiting} notices wait, {outbox.failing} of them failed before"
    if outbox.given_up:
        told += f", {outbox.given_up} were given up in the last week"
    if late_us > OVERDUE_US:
        do = "start the background worker (`metergate worker`), or set METERGATE_ALERT_SECONDS above 0"
        return wrong(Check.OUTBOX, f"nobody sends: {told}, the oldest for {late_us // 60_000_000} min", do)
    if outbox.failing or outbox.given_up:
        do = "the background worker's lines `msg_... of alert ...` say why: the mail server, or a webhook"
        return note(Check.OUTBOX, told, do)
    return ok(Check.OUTBOX, told)
