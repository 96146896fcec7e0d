"""The states of tenants, projects, keys and users, and what a tenant's calls do while the ledger is away.

Pure. Only `active` on every level lets a call in; the other states say why not.
"""

from enum import StrEnum


class TenantState(StrEnum):
    """A blocked tenant can be set active again."""

    ACTIVE = "active"
    BLOCKED = "blocked"


class OutagePolicy(StrEnum):
    """What becomes of a call that the leases in hand do not cover, while the ledger does not answer."""

    FAIL_CLOSED = "fail_closed"  # refused: a prepaid tenant never passes a limit
    FAIL_OPEN = "fail_open"  # admitted, recorded, and posted once the ledger is back


class ProjectState(StrEnum):
    """An archived project stays archived, as OpenAI's; a blocked one can be set active again."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    BLOCKED = "blocked"


class KeyState(StrEnum):
    """A revoked key stays revoked; a blocked one can be set active again."""

    ACTIVE = "active"
    BLOCKED = "blocked"
    REVOKED = "revoked"


class UserState(StrEnum):
    """A disabled user is logged out everywhere, and can be set active again."""

    ACTIVE = "active"
    DISABLED = "disabled"


class ServiceAccountRole(StrEnum):
    """A service account's part in its project, in OpenAI's words. Whose role is `none` has no keys."""

    OWNER = "owner"
    MEMBER = "member"
    NONE = "none"
