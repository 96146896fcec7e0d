"""People for tests: tenants, users with a password, and who acts in whose name."""

from ledger import memberships, tenancy, users
from ledger.actors import PROGRAM, Actor, ActorKind
from ledger.database import Database
from ledger.passwords import Passwords
from ledger.roles import Role
from ledger.session_terms import SessionTerms
from ledger.tables.people import User
from ledger.tables.tenancy import Project, Tenant

PEPPER = b"p" * 32
PASSWORD = "kumquat lattice vortex"
OTHER_PASSWORD = "xkcd-oak-river-9"
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
NOON_US = 1_793_361_600_000_000
TERMS = SessionTerms(idle_us=HOUR_US, absolute_us=12 * HOUR_US, turn_us=15 * MINUTE_US)
MEMORY_MIB = 19
"""The least that the settings allow: a hash takes some 30 ms."""


def somebody(role: Role, tenant_id: str | None = None) -> Actor:
    """An actor of a tenant, or the operator."""
    return Actor(ActorKind.ADMIN_KEY, f"adminkey_{role}", role, role, tenant_id)


async def a_tenant(database: Database, name: str = "Acme") -> tuple[Tenant, Project]:
    """A tenant with a project."""
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, name, 1)
        return tenant, await tenancy.create_project(session, tenant.id, "Chat", 1)


async def a_user(
    database: Database,
    email: str,
    *roles: tuple[str, Role],
    credential_hash: str | None = None,
    is_operator: bool = False,
    now_us: int = 1,
) -> User:
    """A user, and their role in some tenants."""
    async with database.write() as session:
        user = await users.create_user(
            session,
            email,
            email.partition("@")[0].title(),
            now_us,
            by=PROGRAM,
            credential_hash=credential_hash,
            is_operator=is_operator,
        )
        for tenant_id, role in roles:
            await memberships.join(session, user, tenant_id, role, now_us, by=PROGRAM)
        return user


async def hashed(email: str, password: str = PASSWORD) -> str:
    """The hash of a user's password."""
    return await Passwords(MEMORY_MIB).hash(password, email)
