"""`metergate spend-limit`: the most that may be spent in a month, in OpenAI's shapes.

A project's is the one that `metergate limit` sets. A tenant's is the tenant's own word to itself, beside what
the operator has set on it with `metergate limit`, which it cannot move; each holds by itself.
"""

from typing import Annotated, Any

import typer

from admin.cli.amounts import CurrencyOption, currency_of, in_units, smallest_units
from admin.cli.api import Api
from admin.cli.command import Request, resource

app = typer.Typer(
    help="Spend limits: what a tenant allows itself a month, beside the operator's limits.",
    no_args_is_help=True,
)

OfTenant = Annotated[
    str | None,
    typer.Option(
        "--tenant", metavar="ID", help="Of this tenant (your own, or the only one).", show_default=False
    ),
]
OfProject = Annotated[
    str | None, typer.Option("--project", metavar="ID", help="Of this project.", show_default=False)
]


@app.command()
@resource
def show(request: Request, tenant: OfTenant = None, project: OfProject = None) -> None:
    """Show the spend limit of a tenant or a project, and whether it is reached."""
    api, words = _limit(request, tenant, project)
    request.show(_told(request, api.get(*words)))


@app.command("set")
@resource
def set_(
    request: Request,
    max_: Annotated[
        str, typer.Option("--max", metavar="VALUE", help="Units of currency: 100.00.", show_default=False)
    ],
    tenant: OfTenant = None,
    project: OfProject = None,
    currency: CurrencyOption = None,
) -> None:
    """Set the spend limit of a tenant or a project, within a second; it takes the place of the one before."""
    counted = currency_of(request, currency)
    order = {"threshold_amount": smallest_units(max_, counted), "currency": counted, "interval": "month"}
    api, words = _limit(request, tenant, project)
    request.show(_told(request, api.post(*words, body=order)))


@app.command()
@resource
def remove(request: Request, tenant: OfTenant = None, project: OfProject = None) -> None:
    """Take the spend limit of a tenant or a project away; what the operator has set stays."""
    api, words = _limit(request, tenant, project)
    request.show(api.delete(*words))


def _limit(request: Request, tenant: str | None, project: str | None) -> tuple[Api, tuple[str, ...]]:
    """The API about the tenant that is meant, and the words for this limit."""
    words = ("spend_limit",) if project is None else ("projects", project, "spend_limit")
    return request.api.organization(tenant), words


def _told(request: Request, limit: dict[str, Any]) -> dict[str, Any]:
    """As it is asked for: OpenAI tells amounts in cents."""
    if request.as_json:
        return limit
    return {
        "max": in_units(limit["threshold_amount"], limit["currency"]),
        "interval": limit["interval"],
        "enforcement": limit["enforcement"]["status"],
    }
