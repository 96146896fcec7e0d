"""Reads: usage and costs by bucket, tenant by tenant, from the rollups.

What is not grouped by is added up. A read ends early, at the end of a bucket, once it holds `groups_max`
groups or has looked at as much as it may (a first bucket is always whole), and says where: so what it costs
is bounded however many keys a tenant has. Amounts are tokens times prices, exact: the daily sums keep what
rated them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from operator import add
from typing import Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.bucket_sources import USER, CallFilter, Question, users_of
from ledger.buckets import MINUTE_US, BucketWidth, Grain, Part, cut
from ledger.cost_lines import Counts, PricedVersion
from ledger.money import Rates
from ledger.tables import Table

__all__ = [
    "GROUPS_MAX",
    "BucketGroup",
    "BucketRead",
    "CallFilter",
    "cost_days",
    "priced_versions",
    "usage_buckets",
]

GROUPS_MAX: Final = 5_000
"""Of one read: some two megabytes of JSON, and less than a tenth of a second."""

_PRICES: Final = Table.metadata.tables["price_version"]


class BucketGroup(NamedTuple):
    """Counts of one bucket, told by when it begins in UTC, for one value of each grouping."""

    bucket_us: int
    group: tuple[str | None, ...]
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
    """Calls and tokens, by `project_id`, `user_id`, `api_key_id`, `model` in any order.

    A user is None for a key that was none's.
    """
    has_users = False
    if USER in by or wanted.user_ids is not None:
        has_users = (await session.execute(users_of(wanted.tenant_id))).first() is not None
        if wanted.user_ids is not None and not has_users:
            return BucketRead(wanted.until_us)
    question = Question(wanted, width.us, by, has_users, _is_postgresql(session))
    return await _bounded(session, question, width.grains, groups_max)


async def cost_days(
    session: AsyncSession,
    wanted: CallFilter,
    by: Sequence[str] = (),
    groups_max: int = GROUPS_MAX,
    lines: int = 1,
) -> BucketRead:
    """As usage_buckets, of whole days, and not by user; what rated the calls, a price version's id, is the
    last of each group. Each group counts as many `lines` of those that make a page full.

    Calls that nothing was due for are left out.
    """
    by = (*by, "price_version_id")
    question = Question(wanted, Grain.DAY, by, False, _is_postgresql(session), lines)
    return await _bounded(session, question, (Grain.DAY,), groups_max)


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


def _is_postgresql(session: AsyncSession) -> bool:
    return session.get_bind().dialect.name == "postgresql"


async def _bounded(
    session: AsyncSession, question: Question, grains: tuple[Grain, ...], groups_max: int
) -> BucketRead:
    wanted, width_us = question.wanted, question.width_us
    read = await _read(session, question, grains, groups_max)
    first_us = wanted.from_us - wanted.from_us % width_us
    if read.until_us > first_us:
        return read
    # The first bucket alone has more: a page without any would never end.
    first = replace(wanted, until_us=min(wanted.until_us, first_us + width_us))
    return await _read(session, replace(question, wanted=first), grains, None)


async def _read(
    session: AsyncSession, question: Question, grains: tuple[Grain, ...], groups_max: int | None
) -> BucketRead:
    """`groups_max`: None reads all there is."""
    wanted, width_us, depth = question.wanted, question.width_us, 1 + len(question.by)
    first_end_us = wanted.from_us - wanted.from_us % width_us + width_us
    read = BucketRead(wanted.until_us)
    looked_at = 0.0  # of what may be
    for whole in cut(wanted.from_us, wanted.until_us, grains):
        unit_us = max(whole.grain, MINUTE_US)
        at_us, length_us = whole.from_us, question.first_us(whole.grain)
        while at_us < whole.until_us:
            end_us = min(at_us - at_us % unit_us + length_us, whole.until_us)
            most = None
            if groups_max is not None and end_us > first_end_us:  # the first bucket is whole in any case
                most = max(groups_max - len(read.groups), 0) + 1
            query = question.statement(Part(whole.grain, at_us, end_us), most)
            rows = (await session.execute(query)).all()
            is_full = most is not None and len(rows) >= most
            _append(
                read.groups,
                [BucketGroup(row[0], row[1:depth], Counts._make(row[depth:-1])) for row in rows],
            )
            if is_full:
                read.until_us = rows[-1][0]  # of this bucket there may be more
                while read.groups and read.groups[-1].bucket_us == read.until_us:
                    read.groups.pop()
                return read
            looked_at += sum(row[-1] for row in rows) / question.sums_max(whole.grain)
            # The rest is taken to be as what was read.
            share = max(
                looked_at, 0 if groups_max is None else len(read.groups) * question.lines / groups_max, 1e-9
            )
            room_us = (1 / share - 1) * (end_us - wanted.from_us)
            if groups_max is not None and room_us < width_us and end_us % width_us == 0:
                read.until_us = end_us
                return read
            if whole.grain is not Grain.ROW:  # of rows PostgreSQL takes another index for more than an hour
                length_us = max(int(room_us / unit_us), 1) * unit_us
            at_us = end_us
    return read


def _append(groups: list[BucketGroup], more: list[BucketGroup]) -> None:
    """Adds the groups of a later part; of a bucket that both have a part of, what is in both is added up."""
    if not groups or not more or groups[-1].bucket_us != more[0].bucket_us:
        groups += more
        return
    shared_us = more[0].bucket_us
    begin = next(place for place, group in enumerate(groups) if group.bucket_us == shared_us)
    sums = {group: counts for _, group, counts in groups[begin:]}
    del groups[begin:]
    for bucket_us, group, counts in more:
        if bucket_us == shared_us:
            there = sums.get(group)
            sums[group] = counts if there is None else Counts._make(map(add, there, counts))
    groups += (BucketGroup(shared_us, group, counts) for group, counts in sums.items())
    groups += (group for group in more if group.bucket_us != shared_us)
