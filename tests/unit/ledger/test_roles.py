"""Who may do what, as a table; that no role gives what it has not."""

import itertools

import pytest

from ledger.actors import PROGRAM, Actor, ActorKind
from ledger.roles import IN_A_PROJECT, ROLES_OF, Permission, Role, allows, may_give, permissions_of


def test_every_permission_is_in_the_table() -> None:
    """Guards against a permission that asks at run time and fails."""
    assert set(ROLES_OF) == set(Permission)
    assert {one.value.rpartition(".")[2] for one in Permission} == {"read", "write"}


def test_the_operator_may_everything_and_nobody_else_what_is_the_services() -> None:
    assert permissions_of(Role.OPERATOR) == set(Permission)
    services = {one for one in Permission if ROLES_OF[one] == {Role.OPERATOR}}
    assert services == {
        Permission.TENANTS_WRITE,
        Permission.USERS_WRITE,
        Permission.PRICES_WRITE,
        Permission.BACKENDS_READ,
        Permission.BACKENDS_WRITE,
        Permission.LEASES_READ,
    }
    assert permissions_of(Role.OWNER) == set(Permission) - services


def test_billing_reads_money_and_no_keys_and_readers_change_nothing() -> None:
    """Guards against a finance tool's key that makes API keys."""
    for role in (Role.BILLING, Role.READER):
        assert all(one.value.endswith(".read") for one in permissions_of(role))
    billing = permissions_of(Role.BILLING)
    assert {Permission.COSTS_READ, Permission.USAGE_READ, Permission.SPEND_READ} <= billing
    assert not {Permission.KEYS_READ, Permission.ADMIN_KEYS_READ, Permission.AUDIT_READ} & billing


@pytest.mark.parametrize("role", Role)
def test_a_project_takes_permissions_away_and_adds_none(role: Role) -> None:
    limited = permissions_of(role, in_project=True)
    assert limited == permissions_of(role) & IN_A_PROJECT
    assert not allows(role, Permission.PROJECTS_WRITE, in_project=True)


def test_a_role_is_given_by_those_who_have_all_of_it() -> None:
    """Guards against an admin who makes an owner's key, and is the owner with it."""
    given = {(giver, role) for giver, role in itertools.product(Role, Role) if may_give(giver, role)}
    below = {
        Role.OPERATOR: set(Role),
        Role.OWNER: set(Role) - {Role.OPERATOR},
        Role.ADMIN: {Role.ADMIN, Role.BILLING, Role.READER},
        Role.BILLING: {Role.BILLING},
        Role.READER: {Role.READER, Role.BILLING},
    }
    assert given == {(giver, role) for giver, roles in below.items() for role in roles}


def test_an_actor_sees_what_is_its_own() -> None:
    def actor(tenant_id: str | None, project_id: str | None) -> Actor:
        return Actor(ActorKind.ADMIN_KEY, "k", "k", Role.OWNER, tenant_id, project_id)

    tenants, projects = actor("a", None), actor("a", "p")
    assert tenants.sees("a") and tenants.sees("a", "p") and not tenants.sees("b") and not tenants.sees(None)
    assert projects.sees("a", "p")
    assert not any(
        (projects.sees("a"), projects.sees("a", "q"), projects.sees("b", "p"), projects.sees(None))
    )
    assert PROGRAM.sees("a", "p") and PROGRAM.sees(None)
    assert tenants.is_bounded_by(None) and not tenants.is_bounded_by("p")
    assert projects.is_bounded_by(None) and projects.is_bounded_by("p")
    assert not PROGRAM.is_bounded_by(None)
