"""`metergate tenant`: who pays."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from admin.cli.command import GivenName, NameOption, Request, common, name_of

if TYPE_CHECKING:
    from ledger.states import OutagePolicy

app = typer.Typer(help="Tenants: who pays.", no_args_is_help=True)

TenantId = Annotated[str, typer.Argument(metavar="TENANT_ID", show_default=False)]


class OutageChoice(StrEnum):
    """As the command line writes it."""

    FAIL_CLOSED = "fail-closed"
    FAIL_OPEN = "fail-open"


OutageOption = Annotated[
    OutageChoice | None,
    typer.Option(
        "--outage-policy",
        help="While the ledger is away, past the leases in hand: refuse calls, or admit and post them later.",
        show_default=False,
    ),
]


@app.command()
@common
def create(
    request: Request,
    name: GivenName = None,
    name_option: NameOption = None,
    outage_policy: OutageOption = None,
) -> None:
    """Make a tenant; while the ledger is away it fails closed, unless told otherwise."""
    from admin.schemas import TenantView
    from ledger import tenancy

    chosen, policy = name_of(name, name_option), _policy(outage_policy or OutageChoice.FAIL_CLOSED)
    tenant = request.write(
        lambda session, _, now: tenancy.create_tenant(
            session, chosen, now, outage_policy=policy, by=request.actor
        )
    )
    request.show(TenantView.of(tenant).model_dump(mode="json"))


@app.command("list")
@common
def list_(request: Request) -> None:
    """List the tenants, the oldest first."""
    from admin.schemas import TenantView
    from ledger import tenancy

    tenants = request.read(tenancy.list_tenants)
    request.show_all(
        [TenantView.of(tenant).model_dump(mode="json") for tenant in tenants],
        ("id", "name", "state", "created_at"),
        none="no tenants yet: make one with `metergate tenant create NAME`",
    )


@app.command()
@common
def show(request: Request, tenant_id: TenantId) -> None:
    """Show a tenant."""
    from admin.schemas import TenantView
    from ledger import tenancy

    tenant = request.read(lambda session: tenancy.get_tenant(session, tenant_id))
    request.show(TenantView.of(tenant).model_dump(mode="json"))


@app.command()
@common
def update(request: Request, tenant_id: TenantId, outage_policy: OutageOption = None) -> None:
    """Change a tenant, within a second."""
    from admin.schemas import TenantView
    from ledger import tenancy

    if outage_policy is None:
        raise typer.BadParameter("say what to change: see --help")
    policy = _policy(outage_policy)
    tenant = request.write(
        lambda session, _, now: tenancy.set_outage_policy(session, tenant_id, policy, now, by=request.actor)
    )
    request.show(TenantView.of(tenant).model_dump(mode="json"))


@app.command()
@common
def block(request: Request, tenant_id: TenantId) -> None:
    """Refuse every call of a tenant, within a second, until it is unblocked."""
    _set_state(request, tenant_id, "blocked")


@app.command()
@common
def unblock(request: Request, tenant_id: TenantId) -> None:
    """Let a blocked tenant in again."""
    _set_state(request, tenant_id, "active")


def _set_state(request: Request, tenant_id: str, state: str) -> None:
    from admin.schemas import TenantView
    from ledger import tenancy
    from ledger.states import TenantState

    tenant = request.write(
        lambda session, _, now: tenancy.set_tenant_state(
            session, tenant_id, TenantState(state), now, by=request.actor
        )
    )
    request.show(TenantView.of(tenant).model_dump(mode="json"))


def _policy(choice: OutageChoice) -> "OutagePolicy":
    from ledger.states import OutagePolicy

    return OutagePolicy(choice.replace("-", "_"))
