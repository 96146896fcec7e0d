"""Prices: setting a version, and listing them. ledger/price_book.py has the book that rates calls.

The price in force when a call started rates it: the tenant's own, else everybody's. A version is never
changed, and none may begin in the past where a posted row would then be rated differently.

Rating and setting must not pass each other: a posting shares the book's lock, and a new price takes it alone.
"""

from sqlalchemy import func, or_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger import audit, book_lock, changes
from ledger.actors import PROGRAM, Actor
from ledger.audit import Subject
from ledger.audit_events import Event
from ledger.audit_facts import facts_of
from ledger.errors import NotFound, Refused
from ledger.ids import new_id
from ledger.money import PRICE_MICROS_MAX, Rates
from ledger.partitions import made_between
from ledger.places import Cut, Order, Page
from ledger.price_book import CHANGED, DEFAULT_CURRENCY
from ledger.tables.prices import PriceVersion
from ledger.tables.tenancy import Tenant
from ledger.tables.usage import UsageRow

MODEL_CHARS_MAX = 512  # vLLM takes paths as model names


async def set_price(
    session: AsyncSession,
    model: str,
    rates: Rates,
    now_us: int,
    *,
    tenant_id: str | None = None,
    currency: str = DEFAULT_CURRENCY,
    from_us: int | None = None,
    by: Actor = PROGRAM,
) -> PriceVersion:
    """A new version from `from_us` on (None: now), for everybody or for one tenant.

    Raises NotFound for the tenant; Refused for an impossible price, a second version at the same instant, and
    a beginning in the past of rows that are already rated.
    """
    _check(model, rates, currency)
    if tenant_id is not None and await session.get(Tenant, tenant_id) is None:
        raise NotFound("tenant", tenant_id)
    await book_lock.take(session)
    versions = await list_prices(session, model=model, tenant_id=tenant_id)
    begins = [version.effective_from_us for version in versions if version.tenant_id == tenant_id]
    if from_us is None:
        # Hosts' clocks differ by a little: "now" is after whatever was posted already.
        from_us = now_us
        posted_us = await _last_rated_us(session, model, tenant_id, from_us, None)
        if posted_us is not None:
            from_us = posted_us + 1
        while from_us in begins:
            from_us += 1
    elif from_us in begins:
        raise Refused(f"{model} already has a price that begins at that instant")
    else:
        until_us = min((begin for begin in begins if begin > from_us), default=None)
        if await _last_rated_us(session, model, tenant_id, from_us, until_us) is not None:
            raise Refused(
                f"calls of {model} after that time are already rated: a price cannot begin before them"
            )
    version = PriceVersion(
        id=new_id("price_"),
        model=model,
        tenant_id=tenant_id,
        currency=currency,
        input_micros_per_mtok=rates.input_micros_per_mtok,
        cached_input_micros_per_mtok=rates.cached_input_micros_per_mtok,
        output_micros_per_mtok=rates.output_micros_per_mtok,
        request_micros=rates.request_micros,
        effective_from_us=from_us,
        created_us=now_us,
    )
    session.add(version)
    await changes.append(session, CHANGED, version.id, now_us)
    subject = Subject(version.id, tenant_id)
    await audit.record(session, by, Event.PRICE_CREATED, subject, None, facts_of(version), now_us)
    return version


async def list_prices(
    session: AsyncSession, *, model: str | None = None, tenant_id: str | None = None
) -> list[PriceVersion]:
    """Every version, by model, then tenant (everybody's first), then time; `tenant_id` leaves out other
    tenants'.
    """
    query = select(PriceVersion)
    if model is not None:
        query = query.where(col(PriceVersion.model) == model)
    if tenant_id is not None:
        query = query.where(
            or_(col(PriceVersion.tenant_id).is_(None), col(PriceVersion.tenant_id) == tenant_id)
        )
    found = list((await session.execute(query)).scalars())
    return sorted(found, key=lambda price: (price.model, price.tenant_id or "", price.effective_from_us))


async def page_prices(
    session: AsyncSession, cut: Cut, *, model: str | None = None, tenant_id: str | None = None
) -> Page[PriceVersion]:
    """A page of what `list_prices` lists, in its order. Raises Refused."""
    query = select(PriceVersion)
    if model is not None:
        query = query.where(col(PriceVersion.model) == model)
    if tenant_id is not None:
        query = query.where(
            or_(col(PriceVersion.tenant_id).is_(None), col(PriceVersion.tenant_id) == tenant_id)
        )
    order: Order[PriceVersion] = Order(
        (
            col(PriceVersion.model),
            func.coalesce(PriceVersion.tenant_id, ""),
            col(PriceVersion.effective_from_us),
            col(PriceVersion.id),
        ),
        (str, str, int, str),
        lambda price: (price.model, price.tenant_id or "", price.effective_from_us, price.id),
    )
    return await order.page(session, query, cut)


async def _last_rated_us(
    session: AsyncSession, model: str, tenant_id: str | None, from_us: int, until_us: int | None
) -> int | None:
    """When the last posted call started that a version over [from_us, until_us) would rate; None when none
    did.
    """
    query = select(func.max(UsageRow.started_us)).where(
        col(UsageRow.model) == model, col(UsageRow.started_us) >= from_us
    )
    if until_us is not None:
        query = query.where(col(UsageRow.started_us) < until_us)
    if session.get_bind().dialect.name == "postgresql":
        query = query.where(*made_between(col(UsageRow.request_id), from_us, until_us))
    if tenant_id is not None:
        query = query.where(col(UsageRow.tenant_id) == tenant_id)
    else:
        # A tenant's own price is untouched by everybody's.
        own = select(PriceVersion.id).where(col(PriceVersion.tenant_id).is_not(None))
        query = query.where(
            or_(col(UsageRow.price_version_id).is_(None), col(UsageRow.price_version_id).not_in(own))
        )
    return (await session.execute(query)).scalar_one()


def _check(model: str, rates: Rates, currency: str) -> None:
    if not model or len(model) > MODEL_CHARS_MAX or not model.isprintable():
        raise Refused(f"a model's name has 1 to {MODEL_CHARS_MAX} printable characters")
    for micros in (
        rates.input_micros_per_mtok,
        rates.cached_input_micros_per_mtok,
        rates.output_micros_per_mtok,
        rates.request_micros,
    ):
        if not 0 <= micros <= PRICE_MICROS_MAX:
            raise Refused("a price is zero or more, and at most ten million units of currency")
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha() or not currency.isupper():
        raise Refused("a currency is three capital letters, such as USD")
