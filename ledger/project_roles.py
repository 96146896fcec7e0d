"""What a user is in a project: OpenAI's two words, and what each lets a user do there. Pure.

A user has a role in the tenant, and may have one in some of its projects. The project's adds to the
tenant's, and never takes from it: a reader of the tenant who owns a project runs that project.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from ledger.errors import Refused
from ledger.roles import Role

PROJECTS_MAX: Final = 100
"""In one invite."""


class ProjectRole(StrEnum):
    """As OpenAI's `projects/{id}/users` has them."""

    OWNER = "owner"
    MEMBER = "member"

    def role(self) -> Role:
        """What it is worth: an admin key of that role, limited to the project."""
        return Role.ADMIN if self is ProjectRole.OWNER else Role.READER


@dataclass(frozen=True, slots=True)
class ProjectGrants:
    """The projects that an invite opens, each with its role. Raises Refused for more than PROJECTS_MAX and
    for one that is named twice.
    """

    grants: tuple[tuple[str, ProjectRole], ...]

    def __post_init__(self) -> None:
        """Checks."""
        if len(self.grants) > PROJECTS_MAX:
            raise Refused(f"an invite opens {PROJECTS_MAX} projects at most, not {len(self.grants)}")
        if len(dict(self.grants)) != len(self.grants):
            raise Refused("an invite names each project once")

    @classmethod
    def parse(cls, grants: Iterable[tuple[str, str]]) -> Self:
        """Of ids and names of roles. Raises Refused."""
        return cls(tuple((project_id, parse_project_role(name)) for project_id, name in grants))

    @classmethod
    def of_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        return cls(tuple((project_id, ProjectRole(name)) for project_id, name in json.loads(text)))

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(self.grants)


def parse_project_role(name: str) -> ProjectRole:
    """Raises Refused for a name that is none."""
    try:
        return ProjectRole(name)
    except ValueError:
        raise Refused(
            f"there is no role {name[:64]!r} in a project: the roles are {', '.join(ProjectRole)}"
        ) from None
