"""The states of tenants, projects and keys.

Pure. Only `active` on every level lets a call in; the other states say why not.
"""

from enum import StrEnum


class TenantState(StrEnum):
    """A blocked tenant can be set active again."""

    ACTIVE = "active"
    BLOCKED = "blocked"


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
