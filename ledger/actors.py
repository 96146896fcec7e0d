"""Who acts on the book: an admin key, a user, the operator at the command line, or metergate itself. Pure.

An actor has a role (ledger/roles.py), and sees what is its tenant's, or its project's where it is limited to
one. The audit log keeps who it was; no secret is in it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.roles import Permission, Role, allows, may_give


class ActorKind(StrEnum):
    """What an actor is identified by."""

    ADMIN_KEY = "admin_key"
    USER = "user"
    COMMAND_LINE = "command_line"  # a user of the operating system, on a host that reaches the database
    PROGRAM = "program"  # metergate by itself


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, how far it reaches, and from where.

    `tenant_id` None: the operator's, of every tenant; `project_id` None: of the whole tenant. `name` is for
    people: a key's name, a user's name. `address` and `user_agent` are those of the request, if there is one.
    """

    kind: ActorKind
    id: str
    name: str
    role: Role
    tenant_id: str | None = None
    project_id: str | None = None
    email: str | None = None
    address: str | None = None
    user_agent: str | None = None

    def may(self, permission: Permission) -> bool:
        """Whether its role lets it, somewhere."""
        return allows(self.role, permission, in_project=self.project_id is not None)

    def sees(self, tenant_id: str | None, project_id: str | None = None) -> bool:
        """Whether what belongs to this tenant, and to this project of it, is there for this actor. Whose
        tenant_id is None belongs to the operator.
        """
        if self.tenant_id is None:
            return True
        return tenant_id == self.tenant_id and self.project_id in (None, project_id)

    def is_bounded_by(self, project_id: str | None) -> bool:
        """Whether a tenant that it sees (None), or a project of it, is what the actor is limited to, or above
        that: what is set there are its own bounds, and not for it to move.
        """
        return self.tenant_id is not None and (self.project_id is not None or project_id is None)

    def may_give(self, role: Role) -> bool:
        """Whether it may give, change or take away this role."""
        return may_give(self.role, role)


PROGRAM: Final = Actor(ActorKind.PROGRAM, "metergate", "metergate", Role.OPERATOR)
"""metergate by itself: first keys, expiry, what a worker does in the background."""
