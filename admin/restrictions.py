"""What a project or key may do, as JSON: told to the control plane, and shown by it and by the CLI.

The models are in OpenAI's shape. Everywhere null is no restriction; a member that is left out of a change
stays as it is.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from ledger.networks import NETWORKS_MAX, Networks
from ledger.permissions import PATTERNS_MAX, KeyScopes, ModelPermissions, PermissionMode, Scope
from ledger.tags import TAGS_MAX

ModelPattern = Annotated[str, Field(examples=["meta-llama/*"])]
Scopes = Annotated[
    list[Scope] | None,
    Field(description="Endpoints that the key may call, and `models` for the list; null or none: all"),
]
Cidrs = Annotated[
    list[str] | None,
    Field(
        max_length=NETWORKS_MAX,
        examples=[["192.0.2.0/24", "2001:db8::/32"]],
        description="Addresses and networks that the key may be used from; null or none: everywhere",
    ),
]

TagMap = Annotated[
    dict[str, str],
    Field(
        max_length=TAGS_MAX,
        examples=[{"team": "search"}],
        description="For people: names of up to 64 characters, with values of up to 512",
    ),
]


class ModelList(BaseModel):
    """Models that may be called, or may not. A `*` stands for any characters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: PermissionMode
    model_ids: Annotated[list[ModelPattern], Field(max_length=PATTERNS_MAX)]

    @classmethod
    def of(cls, permissions: ModelPermissions | None) -> Self | None:
        """The view of permissions."""
        if permissions is None:
            return None
        return cls(mode=permissions.mode, model_ids=list(permissions.patterns))

    def permissions(self) -> ModelPermissions:
        """What is meant. Raises Refused."""
        return ModelPermissions(self.mode, tuple(self.model_ids))


class ProjectRestrictions(BaseModel):
    """What the keys of a project may do."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"model_permissions": {"mode": "allow_list", "model_ids": ["meta-llama/*"]}}
        },
    )

    model_permissions: Annotated[
        ModelList | None, Field(description="Models that may be called; null: every model")
    ] = None

    def models(self) -> ModelPermissions | None:
        """The permissions that are told. Raises Refused."""
        return None if self.model_permissions is None else self.model_permissions.permissions()


class KeyRestrictions(ProjectRestrictions):
    """What a key may do, within what its project may."""

    scopes: Scopes = None
    cidrs: Cidrs = None

    def key_scopes(self) -> KeyScopes | None:
        """The scopes that are told; None for all. Raises Refused."""
        return scopes_of(self.scopes)

    def networks(self) -> Networks | None:
        """The networks that are told; None for everywhere. Raises Refused."""
        return networks_of(self.cidrs)


def scopes_of(names: list[Scope] | list[str] | None) -> KeyScopes | None:
    """The scopes of these names; None, which is all of them, where there are none. Raises Refused."""
    return KeyScopes.parse(names) if names else None


def networks_of(cidrs: list[str] | None) -> Networks | None:
    """These networks; None, which is everywhere, where there are none. Raises Refused."""
    return Networks.parse(cidrs) if cidrs else None
