"""Reads: usage and costs by bucket, tenant by tenant, from the rollups.

What is not grouped by is added up. A read ends early, at the end of a bucket, once it holds `groups_max`
groups (a first bucket is always whole), and says where: so what it costs is bounded however many keys a
tenant has. Amounts are tokens times prices, exact: the daily sums keep what rated them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from operator import add
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, cast, func, select
from sqlalchemy import Table as SqlTable
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.buckets import BucketWidth, Grain, Part, cut
from ledger.cost_lines import Counts, PricedVersion
from ledger.money import Rates
from ledger.partitions import made_between
from ledger.tables import Table

GROUPS_MAX: Final = 6_000
"""Of one read: some two megabytes of JSON, and less than a tenth of a second."""

EMBEDDING_ENDPOINTS: Final = ("embeddings",)
"""What makes vectors; every other endpoint generates."""

_TABLES: Final = Table.metadata.tables
_ROWS: Final = _TABLES["usage"]
_HOURS: Final = _TABLES["usage_hour"]
_DAYS: Final = _TABLES["usage_day"]
_PROJECT_DAYS: Final = _TABLES["project_day"]
_PRICES: Final = _TABLES["price_version"]
_TABLE_OF: Final = {
    Grain.ROW: (_ROWS, "started_us"),
    Grain.HOUR: (_HOURS, "hour_us"),
    Grain.DAY: (_DAYS, "day_us"),
}
_ORDER: Final = ("project_id", "api_key_id", "model", "price_version_id")


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Calls of a tenant that started in [from_us, until_us), of any of the ids given; None is all of them."""

    tenant_id: str
    from_us: int
    until_us: int
    project_ids: Collection[str] | None = None
    api_key_ids: Collection[str] | None = None
    models: Collection[str] | None = None
    embeddings: bool | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """How long buckets are, and what they may be read from, the coarsest first."""

    width_us: int
    grains: tuple[Grain, ...]


class BucketGroup(NamedTuple):
    """Counts of one bucket, told by when it begins in UTC, for one value of each grouping."""

    bucket_us: int
    group: tuple[str, ...]
    counts: Counts


@dataclass(slots=True)
class BucketRead:
    """What a read found, in the order of time. It is whole up to `until_us`."""

    until_us: int
    groups: list[BucketGroup] = field(default_factory=list)


async def usage_buckets(
    session: AsyncSession,
    wanted: CallFilter,
    width: BucketWidth,
    by: Sequence[str] = (),
    groups_max: int = GROUPS_MAX,
) -> BucketRead:
    """Calls and tokens, by `project_id`, `api_key_id`, `model` in any order."""
    return await _bounded(session, wanted, _Source(width.us, width.grains), by, groups_max)


async def cost_days(
    session: AsyncSession, wanted: CallFilter, by: Sequence[str] = (), groups_max: int = GROUPS_MAX
) -> BucketRead:
    """As usage_buckets, of whole days; what rated the calls, a price version's id, is the last of each group.

    Calls that nothing was due for are left out.
    """
    source = _Source(Grain.DAY, (Grain.DAY,))
    return await _bounded(session, wanted, source, (*by, "price_version_id"), groups_max)


async def priced_versions(session: AsyncSession, ids: Collection[str]) -> dict[str, PricedVersion]:
    """What the versions charge."""
    query = select(_PRICES).where(_PRICES.c.id.in_(ids))
    return {
        row.id: PricedVersion(
            row.model,
            row.currency,
            Rates(
                row.input_micros_per_mtok,
                row.cached_input_micros_per_mtok,
                row.output_micros_per_mtok,
                row.request_micros,
            ),
        )
        for row in await session.execute(query)
    }


async def _bounded(
    session: AsyncSession, wanted: CallFilter, source: _Source, by: Sequence[str], groups_max: int
) -> BucketRead:
    read = await _read(session, wanted, source, by, groups_max)
    first_us = wanted.from_us - wanted.from_us % source.width_us
    if read.until_us > first_us:
        return read
    # The first bucket alone has more: a page without any would never end.
    first = replace(wanted, until_us=min(wanted.until_us, first_us + source.width_us))
    return await _read(session, first, source, by, None)


async def _read(
    session: AsyncSession,
    wanted: CallFilter,
    source: _Source,
    by: Sequence[str],
    groups_max: int | None,
) -> BucketRead:
    found: list[BucketGroup] = []
    until_us = wanted.until_us
    depth = 1 + len(by)
    for part in cut(wanted.from_us, wanted.until_us, source.grains):
        query = _query(session, wanted, part, source, by)
        if groups_max is not None:
            query = query.limit(groups_max - len(found) + 1)
        rows = (await session.execute(query)).all()
        groups = [BucketGroup(row[0], row[1:depth], Counts(*row[depth:])) for row in rows]
        is_full = groups_max is not None and len(found) + len(rows) > groups_max
        found = _joined(found, groups)
        if is_full:
            until_us = groups[-1].bucket_us  # of this bucket there may be more
            return BucketRead(until_us, [group for group in found if group.bucket_us < until_us])
    return BucketRead(until_us, found)


def _joined(before: list[BucketGroup], after: list[BucketGroup]) -> list[BucketGroup]:
    """The groups of two parts of time; of a bucket that both have a part of, what is in both is added up."""
    if not before or not after or before[-1].bucket_us != after[0].bucket_us:
        return before + after
    shared_us = after[0].bucket_us
    sums = {group: counts for bucket_us, group, counts in before if bucket_us == shared_us}
    for bucket_us, group, counts in after:
        if bucket_us == shared_us:
            there = sums.get(group)
            sums[group] = counts if there is None else Counts._make(map(add, there, counts))
    return [
        *(group for group in before if group.bucket_us != shared_us),
        *(BucketGroup(shared_us, group, counts) for group, counts in sums.items()),
        *(group for group in after if group.bucket_us != shared_us),
    ]


def _query(
    session: AsyncSession, wanted: CallFilter, part: Part, source: _Source, by: Sequence[str]
) -> Select[Any]:
    """The sums of a part, in the order of time, and of names as the rollup has them: PostgreSQL reads those
    by key in the order of their index, as far as is asked for, and sorts the few others by their bytes.
    """
    has_keys = "api_key_id" in by or wanted.api_key_ids is not None
    table, time = _TABLE_OF[part.grain]
    if table is _DAYS and not has_keys:
        table = _PROJECT_DAYS
    began = table.c[time]
    bucket = began if part.grain == source.width_us else began - began % source.width_us
    # A key is of one project for ever, and that comes before it.
    order = [name for name in _ORDER if name in by or (name == "project_id" and "api_key_id" in by)]
    names: list[ColumnElement[Any]] = [table.c[name] for name in order]
    calls = func.count() if table is _ROWS else func.sum(table.c.calls)
    sums = [calls, *(func.sum(table.c[name]) for name in Counts._fields[1:])]
    query = (
        select(bucket, *(table.c[name] for name in by), *(cast(each, BigInteger) for each in sums))
        .where(table.c.tenant_id == wanted.tenant_id)
        .group_by(bucket, *names)
        .order_by(bucket, *(names if has_keys else (_by_bytes(session, name) for name in names)))
    )
    if table is _ROWS:
        query = query.where(began >= part.from_us, began < part.until_us)
        if session.get_bind().dialect.name == "postgresql":
            query = query.where(*made_between(_ROWS.c.request_id, part.from_us, part.until_us))
    else:
        # Named one by one: each is one step down the index, whose next column is the tenant.
        query = query.where(began.in_(part.begins))
    if "price_version_id" in by:
        query = query.where(table.c.price_version_id != "")
    return _of_ids(query, table, wanted)


def _by_bytes(session: AsyncSession, name: ColumnElement[Any]) -> ColumnElement[Any]:
    """A locale's order takes PostgreSQL as long as all the rest."""
    return name.collate("C") if session.get_bind().dialect.name == "postgresql" else name


def _of_ids(query: Select[Any], table: SqlTable, wanted: CallFilter) -> Select[Any]:
    for name, ids in (
        ("project_id", wanted.project_ids),
        ("api_key_id", wanted.api_key_ids),
        ("model", wanted.models),
    ):
        if ids is not None:
            query = query.where(table.c[name].in_(ids))
    if wanted.embeddings is not None:
        endpoint = table.c.endpoint
        is_embedding = endpoint.in_(EMBEDDING_ENDPOINTS)
        query = query.where(is_embedding if wanted.embeddings else endpoint.not_in(EMBEDDING_ENDPOINTS))
    return query
