"""Setting limits. How much of them is left is in ledger/standings.py.

A limit counts from the beginning of its running window, whenever it is set: what was posted before is read
from the rollups, in the transaction that makes it (but for limits of end users, which count from when they
are set: rollups do not know them). Each change appends to the change log under the id of its scope (the
tenant, project or key), so that workers drop the principals it concerns.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger import audit, book_lock, changes, lease_rows, limits, tenancy
from ledger.actors import PROGRAM, Actor
from ledger.audit import Facts, Subject
from ledger.audit_events import Event
from ledger.audit_facts import facts_of
from ledger.errors import NotFound, Refused
from ledger.ids import new_id
from ledger.lease_terms import BalanceKey
from ledger.limits import FOREVER_US, Limit, LimitKind, LimitNature, LimitWindow
from ledger.places import Cut, Order, Page
from ledger.prices import MODEL_CHARS_MAX
from ledger.record import END_USER_CHARS_MAX
from ledger.reports import UsageFilter, usage_totals
from ledger.tables.limits import Lease, LimitBalance, LimitEvent, LimitRate, UsageLimit

SET: Final = "limit.set"
REMOVED: Final = "limit.removed"


@dataclass(frozen=True, slots=True)
class LimitScope:
    """Whose limit: exactly one of tenant, project and key. `by_tenant`: what a tenant has told itself, beside
    what the operator has set on it; both hold.
    """

    tenant_id: str | None = None
    project_id: str | None = None
    api_key_id: str | None = None
    by_tenant: bool = False


async def set_limit(
    session: AsyncSession,
    scope: LimitScope,
    kind: LimitKind,
    window: LimitWindow | None,
    max_value: int,
    now_us: int,
    *,
    model: str | None = None,
    end_user: str | None = None,
    burst: int | None = None,
    soft: bool = False,
    by: Actor = PROGRAM,
) -> Limit:
    """Sets a limit; one of the same scope, model, end user, kind and window is changed and keeps its id.

    Raises NotFound for the scope, Refused for what does not go together (`ledger.limits.check`).
    """
    limits.check(kind, window, max_value, burst, end_user)
    _check_name("model", model, MODEL_CHARS_MAX)
    _check_name("end user", end_user, END_USER_CHARS_MAX)
    await book_lock.take(session)
    tenant_id, project_id, api_key_id = await _ids(session, scope)
    query = select(UsageLimit).where(
        col(UsageLimit.tenant_id) == tenant_id,
        col(UsageLimit.project_id).is_not_distinct_from(project_id),
        col(UsageLimit.api_key_id).is_not_distinct_from(api_key_id),
        col(UsageLimit.model).is_not_distinct_from(model),
        col(UsageLimit.end_user).is_not_distinct_from(end_user),
        col(UsageLimit.kind) == kind,
        col(UsageLimit.window).is_not_distinct_from(window),
        col(UsageLimit.by_tenant).is_(scope.by_tenant),
    )
    row = (await session.execute(query)).scalar_one_or_none()
    before: Facts | None = None
    if row is None:
        row = UsageLimit(
            id=new_id("limit_"),
            tenant_id=tenant_id,
            project_id=project_id,
            api_key_id=api_key_id,
            model=model,
            end_user=end_user,
            kind=kind,
            window=window,
            max_value=max_value,
            burst=burst,
            soft=soft,
            by_tenant=scope.by_tenant,
            created_us=now_us,
            changed_us=now_us,
        )
        session.add(row)
        await _begin(session, _limit(row), now_us)
    elif (row.max_value, row.burst, row.soft) == (max_value, burst, soft):
        return _limit(row)
    else:
        before = facts_of(row)
        row.max_value, row.burst, row.soft, row.changed_us = max_value, burst, soft, now_us
    limit = _limit(row)
    await changes.append(session, SET, limit.scope_id, now_us)
    await _record(session, by, limit, before, facts_of(row), now_us)
    return limit


async def remove_limit(session: AsyncSession, limit_id: str, now_us: int, *, by: Actor = PROGRAM) -> Limit:
    """Removes a limit, within a second on every worker. Raises NotFound."""
    await book_lock.take(session)
    row = await session.get(UsageLimit, limit_id)
    if row is None:
        raise NotFound("limit", limit_id)
    limit, before = _limit(row), facts_of(row)
    await session.delete(row)
    await session.flush()
    # Who exchanges leases of it just now has its balances locked: they go first, in the order of their key.
    keys = select(LimitBalance.end_user, LimitBalance.window_us).where(col(LimitBalance.limit_id) == limit_id)
    await lease_rows.lock_balances(
        await session.connection(),
        [BalanceKey(limit_id, end_user, window_us) for end_user, window_us in await session.execute(keys)],
    )
    for table in (LimitBalance, LimitRate, LimitEvent, Lease):
        await session.execute(delete(table).where(col(table.limit_id) == limit_id))
    await changes.append(session, REMOVED, limit.scope_id, now_us)
    await _record(session, by, limit, before, None, now_us)
    return limit


async def page_limits(
    session: AsyncSession, scope: LimitScope, cut: Cut, *, within_project_id: str | None = None
) -> Page[Limit]:
    """A page of the limits set on exactly this tenant, project or key (a tenant's with those of its projects
    and keys), or of all of them where `scope` names none, the oldest first; `within_project_id` leaves out
    what is not on this project or on a key of it. Raises Refused.
    """
    query = select(UsageLimit)
    if scope.tenant_id is not None:
        query = query.where(col(UsageLimit.tenant_id) == scope.tenant_id)
    if scope.project_id is not None:
        query = query.where(
            col(UsageLimit.project_id) == scope.project_id, col(UsageLimit.api_key_id).is_(None)
        )
    if scope.api_key_id is not None:
        query = query.where(col(UsageLimit.api_key_id) == scope.api_key_id)
    if within_project_id is not None:
        query = query.where(col(UsageLimit.project_id) == within_project_id)
    order: Order[UsageLimit] = Order(
        (col(UsageLimit.created_us), col(UsageLimit.id)), (int, str), lambda row: (row.created_us, row.id)
    )
    page = await order.page(session, query, cut)
    return Page([_limit(row) for row in page.rows], page.next_after)


async def list_set(session: AsyncSession) -> list[tuple[Limit, int]]:
    """Every limit, with the time it was set first."""
    return [(_limit(row), row.created_us) for row in (await session.execute(select(UsageLimit))).scalars()]


async def get_limit(session: AsyncSession, limit_id: str) -> Limit:
    """Raises NotFound."""
    row = await session.get(UsageLimit, limit_id)
    if row is None:
        raise NotFound("limit", limit_id)
    return _limit(row)


async def find_limit(
    session: AsyncSession, scope: LimitScope, kind: LimitKind, window: LimitWindow, model: str | None = None
) -> Limit | None:
    """The hard limit for all end users that is set on exactly this tenant, project or key; None where there
    is none. Raises NotFound for the scope.
    """
    tenant_id, project_id, api_key_id = await _ids(session, scope)
    query = select(UsageLimit).where(
        col(UsageLimit.tenant_id) == tenant_id,
        col(UsageLimit.project_id).is_not_distinct_from(project_id),
        col(UsageLimit.api_key_id).is_not_distinct_from(api_key_id),
        col(UsageLimit.model).is_not_distinct_from(model),
        col(UsageLimit.end_user).is_(None),
        col(UsageLimit.kind) == kind,
        col(UsageLimit.window) == window,
        col(UsageLimit.soft).is_(False),
        col(UsageLimit.by_tenant).is_(scope.by_tenant),
    )
    row = (await session.execute(query)).scalar_one_or_none()
    return None if row is None else _limit(row)


async def _ids(session: AsyncSession, scope: LimitScope) -> tuple[str, str | None, str | None]:
    """The tenant, project and key of a scope that there is."""
    given = [name for name in (scope.tenant_id, scope.project_id, scope.api_key_id) if name is not None]
    if len(given) != 1:
        raise Refused("a limit is of one tenant, one project or one key")
    if scope.api_key_id is not None:
        key = await tenancy.get_api_key(session, scope.api_key_id)
        return key.tenant_id, key.project_id, key.id
    if scope.project_id is not None:
        project = await tenancy.get_project(session, scope.project_id)
        return project.tenant_id, project.id, None
    tenant = await tenancy.get_tenant(session, given[0])
    return tenant.id, None, None


async def _begin(session: AsyncSession, limit: Limit, now_us: int) -> None:
    """What a new limit starts from: an empty rate, or what was posted in the running window."""
    if limit.nature is LimitNature.RATE:
        session.add(LimitRate(limit_id=limit.id, tat_us=0))
    elif limit.nature is LimitNature.CONSUMABLE and limit.end_user is None:
        from_us, until_us = limit.span(now_us)
        is_lifetime = until_us == FOREVER_US
        wanted = UsageFilter(
            from_us=None if is_lifetime else from_us,
            until_us=None if is_lifetime else until_us,
            tenant_id=limit.tenant_id,
            project_id=limit.project_id,
            api_key_id=limit.api_key_id,
            model=limit.model,
        )
        used = 0
        for total in await usage_totals(session, wanted):
            if limit.kind is LimitKind.SPEND:
                used += total.amount_picos
            elif limit.kind is LimitKind.TOKENS:
                used += total.prompt_tokens + total.completion_tokens
            else:
                used += total.calls
        used = min(used, lease_rows.used_max(await session.connection()))
        session.add(LimitBalance(limit_id=limit.id, end_user="", window_us=from_us, used=used, leased=0))


async def _record(
    session: AsyncSession, by: Actor, limit: Limit, before: Facts | None, after: Facts | None, now_us: int
) -> None:
    """OpenAI's rate limits are those of requests and tokens by the minute."""
    if limit.nature is LimitNature.RATE:
        event = Event.RATE_LIMIT_UPDATED if after else Event.RATE_LIMIT_DELETED
    else:
        event = Event.LIMIT_UPDATED if after else Event.LIMIT_DELETED
    subject = Subject(limit.id, limit.tenant_id, limit.project_id)
    which = ("kind", "window", "model", "api_key_id", "end_user")
    await audit.record(session, by, event, subject, before, after, now_us, keep=which)


def _limit(row: UsageLimit) -> Limit:
    return Limit(
        row.id,
        row.tenant_id,
        row.project_id,
        row.api_key_id,
        row.model,
        row.end_user,
        row.kind,
        row.window,
        row.max_value,
        row.burst,
        row.soft,
        row.by_tenant,
    )


def _check_name(what: str, name: str | None, chars_max: int) -> None:
    if name is not None and not (0 < len(name) <= chars_max and name.isprintable()):
        raise Refused(f"the name of the {what} has 1 to {chars_max} printable characters")
