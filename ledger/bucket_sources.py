"""What buckets are read from: the coarsest sums that know what is asked, and the statement over a part of
them. Does no I/O.

Sums by project answer whatever does not tell keys apart, sums by key the rest, the rows what is finer than an
hour. A user is told by who owned the key at the end of the call's UTC day: whoever a key is given to, days
that are over stay as they were told, and hours add up to their day.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    String,
    and_,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
)
from sqlalchemy import Table as SqlTable

from ledger.buckets import Grain, Part
from ledger.cost_lines import Counts
from ledger.partitions import made_between
from ledger.periods import DAY_US, HOUR_US
from ledger.tables import Table

USER: Final = "user_id"
KEY: Final = "api_key_id"
VERSION: Final = "price_version_id"
EMBEDDING_ENDPOINTS: Final = ("embeddings",)
"""What makes vectors; every other endpoint generates."""

_LOOKED_AT: Final = "looked_at"
_TABLES: Final = Table.metadata.tables
_ROWS: Final = _TABLES["usage"]
_OWNERS: Final = _TABLES["key_ownership"]
_BY_KEY: Final = {
    Grain.ROW: _ROWS.c.started_us,
    Grain.HOUR: _TABLES["usage_hour"].c.hour_us,
    Grain.DAY: _TABLES["usage_day"].c.day_us,
}
_BY_PROJECT: Final = _BY_KEY | {
    Grain.HOUR: _TABLES["project_hour"].c.hour_us,
    Grain.DAY: _TABLES["project_day"].c.day_us,
}
_INDEX: Final = ("project_id", KEY, "model", VERSION)


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
    user_ids: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """The sums of a filter's calls by bucket, and by each of `by` in its order.

    `has_users`: the tenant has or had keys of users; where it had none, there is no user to tell.
    """

    wanted: CallFilter
    width_us: int
    by: Sequence[str]
    has_users: bool
    is_postgresql: bool
    lines: int = 1
    """How many results a group becomes."""

    def statement(self, part: Part, groups_max: int | None) -> Select[Any]:
        """A part's groups in the order of time: bucket, names, counts, and how many sums or rows it took.

        By key they are read in the order of their index, as far as is asked for. The rest is added up first:
        PostgreSQL would look for a way in order there, too, and that takes it three times as long.
        """
        if KEY in self.by:
            # A bucket and a key say which user it is: told behind the sums, of which there are few by then.
            by = [name for name in self.by if name != USER or self._joins_users]
            summed = self._sums(part, by)
            sums = summed.order_by(*self._in_index_order(part, by)).limit(groups_max).subquery()
            query = select(sums.c.bucket_us, *self._told(sums.c)).order_by(sums.c.bucket_us)
            if by != list(self.by) and self.has_users:
                owned = self._owned(sums.c.api_key_id, sums.c.bucket_us)
                query = query.select_from(sums.outerjoin(_OWNERS, owned))
            return query
        added = self._sums(part, self.by).cte("sums").prefix_with("MATERIALIZED", dialect="postgresql")
        order = (self._by_bytes(added.c[name]) for name in self.by)
        query = select(added.c.bucket_us, *self._told(added.c))
        return query.order_by(added.c.bucket_us, *order).limit(groups_max)

    def sums_max(self, grain: Grain) -> int:
        """What a read finds and then begins nothing further: some 50 ms of PostgreSQL's time."""
        if grain is Grain.ROW:
            return 20_000
        if not self._joins_users:
            return 100_000
        wanted = self.wanted  # what these leave out is looked at, too
        if wanted.embeddings or wanted.models is not None or wanted.user_ids is not None:
            return 10_000
        return 20_000 if "model" in self.by else 40_000  # a group more for each model to add up

    def first_us(self, grain: Grain) -> int:
        """How long a part is read first: OpenAI's pages unless told, or less where a sum takes more or there
        may be many. It shows what the rest will take.
        """
        days, hours = (1, 4) if self._joins_users or KEY in self.by or self.lines > 1 else (7, 24)
        return {Grain.DAY: days * DAY_US, Grain.HOUR: hours * HOUR_US, Grain.ROW: HOUR_US}[grain]

    @property
    def _joins_users(self) -> bool:
        """Whether sums are added up by user, or some users' alone."""
        tells_users = USER in self.by and KEY not in self.by
        return self.has_users and (tells_users or self.wanted.user_ids is not None)

    def _told(self, columns: Any) -> Iterator[ColumnElement[Any]]:
        for name in (*self.by, *Counts._fields, _LOOKED_AT):
            yield columns[name] if name in columns else self._user()

    def _user(self) -> ColumnElement[Any]:
        return _OWNERS.c.user_id if self.has_users else cast(null(), String)

    def _time(self, grain: Grain, by: Sequence[str]) -> ColumnElement[int]:
        """Of the table that a part is read from."""
        has_keys = KEY in by or self.wanted.api_key_ids is not None or self._joins_users
        return (_BY_KEY if has_keys else _BY_PROJECT)[grain]

    def _bucket(self, began: ColumnElement[int], grain: Grain) -> ColumnElement[int]:
        # A literal: an expression that is grouped and ordered by is the same one only with the same value.
        width_us: ColumnElement[int] = literal_column(str(self.width_us), BigInteger)
        return began if grain == self.width_us else began - began % width_us

    def _in_index_order(self, part: Part, by: Sequence[str]) -> list[ColumnElement[Any]]:
        began = self._time(part.grain, by)
        columns = began.table.c
        # A key is of one project for ever, and that comes before it.
        names = (columns[name] for name in _INDEX if name in by or name == "project_id")
        return [self._bucket(began, part.grain), *names]

    def _sums(self, part: Part, by: Sequence[str]) -> Select[Any]:
        began = self._time(part.grain, by)
        table: SqlTable = began.table
        bucket = self._bucket(began, part.grain)
        names = {name: self._user() if name == USER else table.c[name] for name in by}
        groups = {name: column for name, column in names.items() if name != USER or self.has_users}
        if KEY in by:
            groups["project_id"] = table.c.project_id
        calls = func.count() if table is _ROWS else func.sum(table.c.calls)
        sums = {"calls": calls, **{name: func.sum(table.c[name]) for name in Counts._fields[1:]}}
        query = (
            select(
                bucket.label("bucket_us"),
                *(column.label(name) for name, column in names.items()),
                *(cast(sum_, BigInteger).label(name) for name, sum_ in sums.items()),
                func.count().label(_LOOKED_AT),
            )
            .where(table.c.tenant_id == self.wanted.tenant_id, *self._of_time(began, part))
            .group_by(bucket, *groups.values())
        )
        if VERSION in by:
            query = query.where(table.c.price_version_id != "")
        if self._joins_users:
            query = query.select_from(table.outerjoin(_OWNERS, self._owned(table.c.api_key_id, began)))
        return self._of_ids(query, table)

    def _by_bytes(self, name: ColumnElement[Any]) -> ColumnElement[Any]:
        """A locale's order takes PostgreSQL as long as all the rest."""
        return name.collate("C") if self.is_postgresql else name

    def _of_time(self, began: ColumnElement[int], part: Part) -> list[ColumnElement[bool]]:
        if part.grain is not Grain.ROW:
            # Named one by one: each is one step down the index, whose next column is the tenant.
            return [began.in_(part.begins)]
        within = [began >= part.from_us, began < part.until_us]
        if self.is_postgresql:
            within += made_between(_ROWS.c.request_id, part.from_us, part.until_us)
        return within

    def _owned(self, key_id: ColumnElement[str], at_us: ColumnElement[int]) -> ColumnElement[bool]:
        owners, end_us = _OWNERS.c, at_us - at_us % DAY_US + DAY_US
        return and_(
            owners.tenant_id == self.wanted.tenant_id,
            owners.api_key_id == key_id,
            owners.from_us < end_us,
            or_(owners.until_us.is_(None), owners.until_us >= end_us),
        )

    def _of_ids(self, query: Select[Any], table: SqlTable) -> Select[Any]:
        wanted = self.wanted
        for column, ids in (
            (table.c.project_id, wanted.project_ids),
            (table.c.get(KEY), wanted.api_key_ids),
            (table.c.model, wanted.models),
            (_OWNERS.c.user_id, wanted.user_ids),
        ):
            if ids is not None:
                assert column is not None, "sums by project know no keys"
                query = query.where(column.in_(ids))
        if wanted.embeddings is not None:
            endpoint = table.c.endpoint
            is_embedding = endpoint.in_(EMBEDDING_ENDPOINTS)
            query = query.where(is_embedding if wanted.embeddings else endpoint.not_in(EMBEDDING_ENDPOINTS))
        return query


def users_of(tenant_id: str) -> Select[Any]:
    """A row if the tenant has or had keys of users."""
    return select(_OWNERS.c.user_id).where(_OWNERS.c.tenant_id == tenant_id).limit(1)
