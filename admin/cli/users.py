"""`metergate user`: people who log in. A password comes from a prompt or from stdin, never from an argument,
which every process of the machine can read.
"""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from admin.cli.command import Request, resource
from admin.cli.people import Who, id_of

app = typer.Typer(help="Users: people who log in.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(metavar="EMAIL", show_default=False)]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin, not from a prompt.")
]
TenantOption = Annotated[
    str | None,
    typer.Option("--tenant", metavar="ID", help="The tenant to be a member of.", show_default=False),
]

InTenant = Annotated[
    str | None,
    typer.Option(
        "--tenant", metavar="ID", help="In this tenant (your own, or the only one).", show_default=False
    ),
]


class RoleChoice(StrEnum):
    """What a user is in a tenant, as the command line writes it."""

    OWNER = "owner"
    ADMIN = "admin"
    BILLING = "billing"
    READER = "reader"


RoleOption = Annotated[RoleChoice, typer.Option("--role", help="What they are in the tenant.")]


@app.command()
@resource
def create(
    request: Request,
    email: Email,
    name: Annotated[str, typer.Option("--name", help="What people call them.", show_default=False)],
    tenant: TenantOption = None,
    role: RoleOption = RoleChoice.READER,
    operator: Annotated[
        bool, typer.Option("--operator", help="Of the service itself: may do everything, in every tenant.")
    ] = False,
    password_stdin: PasswordStdin = False,
) -> None:
    """Make a user, with a password, as a member of a tenant or as an operator."""
    if (tenant is None) is not operator:
        raise typer.BadParameter("say of which --tenant, or --operator")
    order = {
        "email": email,
        "name": name,
        "password": _password(password_stdin),
        "tenant_id": tenant,
        "role": role,
        "operator": operator,
    }
    request.show(request.api.post("users", body=order))


@app.command("list")
@resource
def list_(request: Request, tenant: TenantOption = None) -> None:
    """List the users, the oldest first."""
    request.show_all(
        request.api.every("users", tenant_id=tenant),
        ("id", "email", "name", "state", "operator", "last_login_at", "memberships"),
        none="no users: make one with `metergate user create`",
    )


@app.command()
@resource
def show(request: Request, user: Who) -> None:
    """Show a user, and what they are where."""
    request.show(request.api.get("users", id_of(request, user)))


@app.command()
@resource
def disable(request: Request, user: Who) -> None:
    """Log a user out everywhere, and let them in no more."""
    request.show(request.api.post("users", id_of(request, user), "disable"))


@app.command()
@resource
def enable(request: Request, user: Who) -> None:
    """Let a disabled user in again."""
    request.show(request.api.post("users", id_of(request, user), "enable"))


@app.command("set-role")
@resource
def set_role(
    request: Request,
    user: Who,
    role: Annotated[
        RoleChoice, typer.Option("--role", help="What they are in the tenant.", show_default=False)
    ],
    tenant: InTenant = None,
) -> None:
    """Give a user another role in a tenant."""
    user_id = id_of(request, user)
    request.api.organization(tenant).post("users", user_id, body={"role": role})
    request.show(request.api.get("users", user_id))


@app.command()
@resource
def remove(request: Request, user: Who, tenant: InTenant = None) -> None:
    """Take a user out of a tenant and its projects; what they are elsewhere stays."""
    request.show(request.api.organization(tenant).delete("users", id_of(request, user)))


@app.command("set-password")
@resource
def set_password(request: Request, user: Who, password_stdin: PasswordStdin = False) -> None:
    """Give a user another password; all their sessions end."""
    user_id = id_of(request, user)
    order = {"password": _password(password_stdin)}
    request.show(request.api.post("users", user_id, "password", body=order))


@app.command("reset-password")
@resource
def reset_password(request: Request, user: Who) -> None:
    """Let a user set a new password, within a day. The token for it is shown this once."""
    request.show(
        request.api.post("users", id_of(request, user), "password-resets"),
        note="Pass the token on now: it is not shown again.",
    )


@app.command()
@resource
def invite(
    request: Request,
    email: Email,
    tenant: Annotated[
        str, typer.Option("--tenant", metavar="ID", help="The tenant to invite into.", show_default=False)
    ],
    role: RoleOption = RoleChoice.READER,
    projects: Annotated[
        list[str] | None,
        typer.Option(
            "--project",
            metavar="ID=ROLE",
            help="A project to open, too: proj_...=member, or =owner. May be given again.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Invite somebody into a tenant. The token they accept it with is shown this once."""
    from admin.times import US_PER_SECOND, format_instant
    from ledger.project_roles import ProjectGrants

    named = [one.partition("=") for one in projects or []]
    grants = ProjectGrants.parse((project_id, named_role or "member") for project_id, _, named_role in named)
    order = {
        "email": email,
        "role": role,
        "projects": [{"id": project_id, "role": its_role} for project_id, its_role in grants.grants],
    }
    made = request.api.organization(tenant).post("invites", body=order)
    request.show(
        {
            "id": made["id"],
            "tenant_id": tenant,
            "email": made["email"],
            "role": made["metergate_role"],
            "projects": made["projects"],
            "expires_at": format_instant(made["expires_at"] * US_PER_SECOND),
            "token": made["token"],
        },
        note="Pass the token on now: it is not shown again.",
    )


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask at: give it with --password-stdin")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password
