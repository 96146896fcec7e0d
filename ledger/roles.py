"""Who may do what: roles, permissions, and the one table between them. Pure.

A role is the operator's, or it is of one tenant. An actor of a tenant may be limited to one project: it keeps
what concerns things that lie in a project, and loses the rest. Which tenant's and which project's things
those are is not said here: `ledger.actors.Actor` holds them to theirs.

A role is given by whoever has all that it allows: nobody can make somebody mightier than they are.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Role(StrEnum):
    """What an actor is. All but the operator are of one tenant."""

    OPERATOR = "operator"  # runs the service: every tenant, prices, backends
    OWNER = "owner"  # all that is a tenant's own
    ADMIN = "admin"  # projects, keys, limits, people; not the money, not the tenant's settings
    BILLING = "billing"  # reads money and exports; no keys
    READER = "reader"  # reads what is there; changes nothing


class Permission(StrEnum):
    """What a route asks for: `resource.verb`."""

    TENANTS_READ = "tenants.read"
    TENANTS_WRITE = "tenants.write"
    SETTINGS_READ = "settings.read"
    SETTINGS_WRITE = "settings.write"
    PROJECTS_READ = "projects.read"
    PROJECTS_WRITE = "projects.write"
    KEYS_READ = "keys.read"
    KEYS_WRITE = "keys.write"
    LIMITS_READ = "limits.read"
    LIMITS_WRITE = "limits.write"
    SPEND_READ = "spend.read"
    SPEND_WRITE = "spend.write"
    PRICES_READ = "prices.read"
    PRICES_WRITE = "prices.write"
    USAGE_READ = "usage.read"
    COSTS_READ = "costs.read"
    PEOPLE_READ = "people.read"
    PEOPLE_WRITE = "people.write"
    USERS_WRITE = "users.write"
    ADMIN_KEYS_READ = "admin_keys.read"
    ADMIN_KEYS_WRITE = "admin_keys.write"
    AUDIT_READ = "audit.read"
    BACKENDS_READ = "backends.read"
    BACKENDS_WRITE = "backends.write"
    LEASES_READ = "leases.read"


_ALL: Final = (Role.OPERATOR, Role.OWNER, Role.ADMIN, Role.BILLING, Role.READER)
_SEE: Final = (Role.OPERATOR, Role.OWNER, Role.ADMIN, Role.READER)
_RUN: Final = (Role.OPERATOR, Role.OWNER, Role.ADMIN)
_OWN: Final = (Role.OPERATOR, Role.OWNER)
_SERVE: Final = (Role.OPERATOR,)

_P: Final = Permission
ROLES_OF: Final = MappingProxyType(
    {
        _P.TENANTS_READ: frozenset(_ALL),
        _P.TENANTS_WRITE: frozenset(_SERVE),
        _P.SETTINGS_READ: frozenset(_SEE),
        _P.SETTINGS_WRITE: frozenset(_OWN),
        _P.PROJECTS_READ: frozenset(_ALL),
        _P.PROJECTS_WRITE: frozenset(_RUN),
        _P.KEYS_READ: frozenset(_SEE),
        _P.KEYS_WRITE: frozenset(_RUN),
        _P.LIMITS_READ: frozenset(_SEE),
        _P.LIMITS_WRITE: frozenset(_RUN),
        _P.SPEND_READ: frozenset(_ALL),
        _P.SPEND_WRITE: frozenset(_OWN),
        _P.PRICES_READ: frozenset(_ALL),
        _P.PRICES_WRITE: frozenset(_SERVE),
        _P.USAGE_READ: frozenset(_ALL),
        _P.COSTS_READ: frozenset(_ALL),
        _P.PEOPLE_READ: frozenset(_SEE),
        _P.PEOPLE_WRITE: frozenset(_RUN),
        _P.USERS_WRITE: frozenset(_SERVE),
        _P.ADMIN_KEYS_READ: frozenset(_RUN),
        _P.ADMIN_KEYS_WRITE: frozenset(_RUN),
        _P.AUDIT_READ: frozenset(_RUN),
        _P.BACKENDS_READ: frozenset(_SERVE),
        _P.BACKENDS_WRITE: frozenset(_SERVE),
        _P.LEASES_READ: frozenset(_SERVE),
    }
)
"""Who has each permission. docs/api.md shows it as a table, and a test holds the two together."""

IN_A_PROJECT: Final = frozenset(
    {
        _P.PROJECTS_READ,
        _P.KEYS_READ,
        _P.KEYS_WRITE,
        _P.LIMITS_READ,
        _P.LIMITS_WRITE,
        _P.SPEND_READ,
        _P.PRICES_READ,
        _P.USAGE_READ,
        _P.COSTS_READ,
        _P.ADMIN_KEYS_READ,
        _P.ADMIN_KEYS_WRITE,
        _P.AUDIT_READ,
    }
)
"""What an actor that is limited to a project keeps. It changes what lies in the project, and not the project:
what the tenant has set on it are its own bounds."""


def allows(role: Role, permission: Permission, *, in_project: bool = False) -> bool:
    """Whether `role` has `permission`; `in_project`: limited to one project."""
    return role in ROLES_OF[permission] and (not in_project or permission in IN_A_PROJECT)


def permissions_of(role: Role, *, in_project: bool = False) -> frozenset[Permission]:
    """All that a role may do."""
    return frozenset(one for one in Permission if allows(role, one, in_project=in_project))


def may_give(giver: Role, given: Role) -> bool:
    """Whether who has one role may give, change or take away the other: only where it allows no more."""
    return permissions_of(given) <= permissions_of(giver)
