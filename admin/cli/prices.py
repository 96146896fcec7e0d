"""`metergate price`: what tokens cost."""

from typing import Annotated

import typer

from admin.cli.api import given
from admin.cli.command import Request, resource

app = typer.Typer(help="Prices: versions, in currency per million tokens.", no_args_is_help=True)

PER_MILLION = "per million tokens, decimal"


@app.command("set")
@resource
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
    order = given(
        model=model,
        input=input_price,
        output=output_price,
        cached_input=cached_input_price,
        request=request_price,
        effective_from=begins,
        tenant_id=tenant,
        currency=currency,
    )
    request.show(request.api.post("prices", body=order))


@app.command("list")
@resource
def list_(
    request: Request,
    model: Annotated[
        str | None, typer.Option("--model", help="Only this model's.", show_default=False)
    ] = None,
) -> None:
    """List every version of every price."""
    request.show_all(
        request.api.every("prices", model=model),
        ("model", "tenant_id", "currency", "input", "cached_input", "output", "request", "effective_from"),
        none="no prices: every model is free; set one with `metergate price set MODEL --input P --output P`",
    )
