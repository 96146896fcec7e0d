"""/admin/v1/prices: what tokens cost, as versions."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.auth import Here
from admin.schemas import Price, PriceView
from admin.times import parse_instant
from ledger import prices
from ledger.money import Rates, parse_price
from ledger.roles import Permission

router = APIRouter(tags=["prices"])


class PriceOrder(BaseModel):
    """What a new version is told. Prices are decimal strings, units of currency per million tokens."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"model": "llama-3.1-8b", "input": "0.15", "cached_input": "0.03", "output": "0.60"}
        },
    )

    model: Annotated[str, Field(min_length=1, max_length=512, examples=["llama-3.1-8b"])]
    input: Price
    output: Price
    cached_input: Annotated[Price | None, Field(description="As `input`, unless given")] = None
    request: Annotated[str, Field(description="Units of currency per request", examples=["0"])] = "0"
    effective_from: Annotated[str | None, Field(description="ISO 8601; now, unless given")] = None
    tenant_id: Annotated[str | None, Field(description="For this tenant alone")] = None
    currency: Annotated[str | None, Field(pattern="^[A-Z]{3}$", examples=["USD"])] = None


@router.get("/prices")
async def list_prices(
    plane: Here,
    actor: Annotated[Actor, may(Permission.PRICES_READ)],
    wanted: Wanted,
    model: Annotated[str | None, Query(description="Only this model's")] = None,
) -> Listing[PriceView]:
    """List the versions: by model, then tenant, then time. A tenant sees everybody's and its own."""
    async with plane.database.read() as session:
        page = await prices.page_prices(session, wanted, model=model, tenant_id=actor.tenant_id)
    return Listing[PriceView].of(page, PriceView.of)


@router.post("/prices", status_code=201)
async def create_price(
    plane: Here, actor: Annotated[Actor, may(Permission.PRICES_WRITE)], body: PriceOrder
) -> PriceView:
    """Begin a new version of a model's price. What was rated before stays as it was."""
    rates = Rates(
        input_micros_per_mtok=parse_price(body.input),
        cached_input_micros_per_mtok=parse_price(body.cached_input or body.input),
        output_micros_per_mtok=parse_price(body.output),
        request_micros=parse_price(body.request),
    )
    from_us = None if body.effective_from is None else parse_instant(body.effective_from)
    async with plane.database.write() as session:
        version = await prices.set_price(
            session,
            body.model,
            rates,
            plane.now_us(),
            tenant_id=body.tenant_id,
            currency=body.currency or plane.currency,
            from_us=from_us,
            by=actor,
        )
        return PriceView.of(version)
