"""`metergate user`: people who log in. A password comes from a prompt or from stdin, never from an argument,
which every process of the machine can read.
"""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from admin.cli.command import Request, common

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from ledger.settings import LedgerSettings
    from ledger.tables.people import Invite, Membership, User

    Known = tuple[User, list[Membership]]

app = typer.Typer(help="Users: people who log in.", no_args_is_help=True)

Who = Annotated[
    str, typer.Argument(metavar="USER", help="An e-mail address, or an id: user-...", show_default=False)
]
Email = Annotated[str, typer.Argument(metavar="EMAIL", show_default=False)]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin, not from a prompt.")
]
TenantOption = Annotated[
    str | None,
    typer.Option("--tenant", metavar="ID", help="The tenant to be a member of.", show_default=False),
]


class RoleChoice(StrEnum):
    """What a user is in a tenant, as the command line writes it."""

    OWNER = "owner"
    ADMIN = "admin"
    BILLING = "billing"
    READER = "reader"


RoleOption = Annotated[RoleChoice, typer.Option("--role", help="What they are in the tenant.")]


@app.command()
@common
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
    from admin.cli.acting import command_line
    from ledger import memberships, users
    from ledger.emails import parse_email
    from ledger.roles import Role

    if (tenant is None) is not operator:
        raise typer.BadParameter("say of which --tenant, or --operator")
    address = parse_email(email)
    credential_hash = _hash(request, _password(password_stdin), address)

    async def make(session: "AsyncSession", _: "LedgerSettings", now: int) -> "Known":
        by = command_line()
        user = await users.create_user(
            session, address, name, now, by=by, credential_hash=credential_hash, is_operator=operator
        )
        if tenant is not None:
            await memberships.join(session, user, tenant, Role(role), now, by=by)
        return await _known(session, user)

    _show(request, request.write(make))


@app.command("list")
@common
def list_(request: Request, tenant: TenantOption = None) -> None:
    """List the users, the oldest first."""
    from admin.people_schemas import UserRecord
    from ledger import users

    async def find(session: "AsyncSession") -> "list[Known]":
        known = [await _known(session, user) for user in await users.list_users(session)]
        return [
            (user, theirs)
            for user, theirs in known
            if tenant is None or tenant in {one.tenant_id for one in theirs}
        ]

    request.show_all(
        [UserRecord.of(user, theirs).shown() for user, theirs in request.read(find)],
        ("id", "email", "name", "state", "operator", "last_login_at", "memberships"),
        none="no users: make one with `metergate user create`",
    )


@app.command()
@common
def disable(request: Request, user: Who) -> None:
    """Log a user out everywhere, and let them in no more."""
    _set_state(request, user, "disabled")


@app.command()
@common
def enable(request: Request, user: Who) -> None:
    """Let a disabled user in again."""
    _set_state(request, user, "active")


@app.command("set-password")
@common
def set_password(request: Request, user: Who, password_stdin: PasswordStdin = False) -> None:
    """Give a user another password; all their sessions end."""
    from admin.cli.acting import command_line
    from ledger import users

    email = request.read(lambda session: _find(session, user)).email
    credential_hash = _hash(request, _password(password_stdin), email)

    async def change(session: "AsyncSession", _: "LedgerSettings", now: int) -> "Known":
        found = await _find(session, user)
        await users.set_credential(session, found, credential_hash, now, by=command_line())
        return await _known(session, found)

    _show(request, request.write(change))


@app.command()
@common
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
    from admin.cli.acting import command_line
    from admin.people_schemas import NewInviteRecord
    from ledger import invites
    from ledger.project_roles import ProjectGrants
    from ledger.roles import Role
    from ledger.settings import pepper

    named = [one.partition("=") for one in projects or []]
    grants = ProjectGrants.parse((project_id, named_role or "member") for project_id, _, named_role in named)

    async def make(session: "AsyncSession", settings: "LedgerSettings", now: int) -> "tuple[Invite, str]":
        return await invites.create(
            session, pepper(settings), tenant, email, Role(role), grants, now, by=command_line()
        )

    made, token = request.write(make)
    request.show(
        NewInviteRecord.made(made, token).model_dump(mode="json"),
        note="Pass the token on now: it is not shown again.",
    )


def _set_state(request: Request, who: str, state: str) -> None:
    from admin.cli.acting import command_line
    from ledger import users
    from ledger.states import UserState

    async def change(session: "AsyncSession", _: "LedgerSettings", now: int) -> "Known":
        found = await _find(session, who)
        await users.set_state(session, found.id, UserState(state), now, by=command_line())
        return await _known(session, found)

    _show(request, request.write(change))


async def _find(session: "AsyncSession", who: str) -> "User":
    from ledger import users
    from ledger.emails import parse_email
    from ledger.errors import NotFound

    if "@" not in who:
        return await users.get_user(session, who)
    found = await users.find_user(session, parse_email(who))
    if found is None:
        raise NotFound("user", who)
    return found


async def _known(session: "AsyncSession", user: "User") -> "Known":
    from ledger import memberships

    return user, [membership for membership, _ in await memberships.list_tenants(session, user.id)]


def _show(request: Request, known: "Known") -> None:
    from admin.people_schemas import UserRecord

    request.show(UserRecord.of(*known).shown())


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask at: give it with --password-stdin")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _hash(request: Request, password: str, email: str) -> str:
    """Before the transaction: it takes a while. Raises Refused for a password that they may not have."""
    import asyncio

    from admin.config import AdminSettings
    from ledger.passwords import Passwords
    from ledger.settings import load

    settings = load(AdminSettings, data_dir=request.data_dir, database_url=request.database_url)

    async def make() -> str:
        return await Passwords(settings.password_memory_mib).hash(password, email)

    return asyncio.run(make())
