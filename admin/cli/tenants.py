"""`metergate tenant`: who pays."""

from typing import Annotated

import typer

from admin.cli.command import GivenName, NameOption, Request, common, name_of

app = typer.Typer(help="Tenants: who pays.", no_args_is_help=True)

TenantId = Annotated[str, typer.Argument(metavar="TENANT_ID", show_default=False)]


@app.command()
@common
def create(request: Request, name: GivenName = None, name_option: NameOption = None) -> None:
    """Make a tenant."""
    from admin.schemas import TenantView
    from ledger import tenancy

    chosen = name_of(name, name_option)
    tenant = request.write(lambda session, _, now: tenancy.create_tenant(session, chosen, now))
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
        lambda session, _, now: tenancy.set_tenant_state(session, tenant_id, TenantState(state), now)
    )
    request.show(TenantView.of(tenant).model_dump(mode="json"))
