"""`metergate price`: what tokens cost."""

from typing import TYPE_CHECKING, Annotated

import typer

from admin.cli.command import Request, common

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from ledger.settings import LedgerSettings
    from ledger.tables.prices import PriceVersion

app = typer.Typer(help="Prices: versions, in currency per million tokens.", no_args_is_help=True)

PER_MILLION = "per million tokens, decimal"


@app.command("set")
@common
def set_(
    request: Request,
    model: Annotated[str, typer.Argument(metavar="MODEL", show_default=False)],
    input_price: Annotated[
        str, typer.Option("--input", metavar="P", help=f"Prompt tokens, {PER_MILLION}.", show_default=False)
    ],
    output_price: Annotated[
        str,
        typer.Option("--output", metavar="P", help=f"Completion tokens, {PER_MILLION}.", show_default=False),
    ],
    cached_input_price: Annotated[
        str | None,
        typer.Option(
            "--cached-input", metavar="P", help="Cached prompt tokens (as --input).", show_default=False
        ),
    ] = None,
    request_price: Annotated[
        str, typer.Option("--request", metavar="P", help="Each request, in units of currency.")
    ] = "0",
    begins: Annotated[
        str | None,
        typer.Option("--from", metavar="ISO8601", help="When it begins (now).", show_default=False),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="ID", help="For this tenant alone.", show_default=False),
    ] = None,
    currency: Annotated[
        str | None, typer.Option("--currency", help="ISO 4217 (METERGATE_CURRENCY).", show_default=False)
    ] = None,
) -> None:
    """Begin a new version of a model's price. What was rated before stays as it was."""
    from admin.schemas import PriceView
    from admin.times import parse_instant
    from ledger import prices
    from ledger.money import Rates, parse_price

    rates = Rates(
        input_micros_per_mtok=parse_price(input_price),
        cached_input_micros_per_mtok=parse_price(cached_input_price or input_price),
        output_micros_per_mtok=parse_price(output_price),
        request_micros=parse_price(request_price),
    )
    from_us = None if begins is None else parse_instant(begins)

    async def begin(session: "AsyncSession", settings: "LedgerSettings", now: int) -> "PriceVersion":
        return await prices.set_price(
            session,
            model,
            rates,
            now,
            tenant_id=tenant,
            currency=currency or settings.currency,
            from_us=from_us,
            by=request.actor,
        )

    request.show(PriceView.of(request.write(begin)).model_dump(mode="json"))


@app.command("list")
@common
def list_(request: Request) -> None:
    """List every version of every price."""
    from admin.schemas import PriceView
    from ledger import prices

    request.show_all(
        [PriceView.of(version).model_dump(mode="json") for version in request.read(prices.list_prices)],
        ("model", "tenant_id", "currency", "input", "cached_input", "output", "request", "effective_from"),
        none="no prices: every model is free; set one with `metergate price set MODEL --input P --output P`",
    )
