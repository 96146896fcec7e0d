"""The audit log as JSON: OpenAI's `AuditLog`, and ours as the command line shows it.

OpenAI's object has a member named after the event, with the id of what was changed and what it was told; what
does not apply is left out. Events that are ours alone have the nearest of OpenAI's names there. What OpenAI
has no place for is in `metergate`: who acted, by what, from where, and what was before and after. A tenant is
not told which of the operator's people did something, nor whence.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from admin.schemas import Instant, Resource
from admin.times import format_instant
from ledger.actors import ActorKind
from ledger.audit_events import Event, openais
from ledger.audit_pages import Event as Row
from ledger.limits import LimitKind
from ledger.roles import Role

US_PER_SECOND = 1_000_000

_RATES = {
    LimitKind.REQUESTS: "max_requests_per_1_minute",
    LimitKind.TOKENS: "max_tokens_per_1_minute",
}
_WITHOUT_DETAILS = {Event.LOGIN_SUCCEEDED, Event.LOGOUT_SUCCEEDED}


class AuditView(Resource):
    """An event of the audit log. Names and addresses are as they were then."""

    id: str
    position: Annotated[int, Field(description="Its place in the chain: 1, 2, 3, without a gap")]
    at: Instant
    event: Annotated[str, Field(examples=["api_key.created"])]
    tenant_id: Annotated[str | None, Field(description="Whose; null: the operator's own")]
    project_id: str | None
    subject_id: Annotated[str, Field(description="What was changed")]
    actor_role: Role
    actor_kind: ActorKind
    actor_id: str
    actor_name: str
    actor_email: str | None
    address: str | None
    user_agent: str | None
    before: Annotated[dict[str, Any] | None, Field(description="What changed, as it was; null: it was made")]
    after: Annotated[dict[str, Any] | None, Field(description="The same, as it became; null: it is gone")]
    hash: Annotated[str, Field(description="SHA-256 over the hash before and this event, in hex")]

    @classmethod
    def of(cls, row: Row, *, is_tenants: bool = False) -> Self:
        """The view of a row; `is_tenants`: a tenant's, to whom the operator is one."""
        is_hidden = is_tenants and row.actor_role == Role.OPERATOR
        return cls(
            id=row.id,
            position=row.position,
            at=format_instant(row.at_us),
            event=row.event,
            tenant_id=row.tenant_id,
            project_id=row.project_id,
            subject_id=row.subject_id,
            actor_kind=row.actor_kind,
            actor_role=row.actor_role,
            actor_id=row.actor_role if is_hidden else row.actor_id,
            actor_name=row.actor_role if is_hidden else row.actor_name,
            actor_email=None if is_hidden else row.actor_email,
            address=None if is_hidden else row.address,
            user_agent=None if is_hidden else row.user_agent,
            before=_facts(row.before),
            after=_facts(row.after),
            hash=bytes(row.hash).hex(),
        )


class AuditLogUser(BaseModel):
    """Who."""

    id: str
    email: str | None = None


class AuditLogSession(BaseModel):
    """A user, from where."""

    user: AuditLogUser
    ip_address: str | None = None


class AuditLogApiKey(BaseModel):
    """An admin key, by its id."""

    id: str


class AuditLogActor(BaseModel):
    """Who acted, as OpenAI tells it: a user's session (the command line's user, too), or a key."""

    type: Literal["session", "api_key"]
    session: AuditLogSession | None = None
    api_key: AuditLogApiKey | None = None


class AuditLogProject(BaseModel):
    """The project that it was in, by its name of today."""

    id: str
    name: str


class OrganizationAuditLog(BaseModel):
    """OpenAI's `AuditLog`: beside these members it has one that is named as `type` says, with details. What
    does not apply is left out.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    type: Annotated[str, Field(examples=["api_key.created"])]
    effective_at: Annotated[int, Field(description="Seconds since the Unix epoch")]
    actor: Annotated[AuditLogActor | None, Field(description="Null: metergate by itself")]
    project: AuditLogProject | None = None
    metergate: Annotated[AuditView, Field(description="All that the log has of it")]

    @classmethod
    def of(cls, row: Row, project_names: dict[str, str], *, is_tenants: bool) -> Self:
        """The view of a row."""
        view = AuditView.of(row, is_tenants=is_tenants)
        name = openais(view.event)
        members: dict[str, Any] = {name: _details(name, view)}
        if row.project_id in project_names:
            members["project"] = AuditLogProject(id=row.project_id, name=project_names[row.project_id])
        return cls(
            id=view.id,
            type=name,
            effective_at=row.at_us // US_PER_SECOND,
            actor=_actor(view),
            metergate=view,
            **members,
        )


class AuditLogPage(BaseModel):
    """OpenAI's list: a page, and whether more follows."""

    object: Literal["list"]
    data: list[OrganizationAuditLog]
    first_id: str | None
    last_id: str | None
    has_more: bool


def _actor(view: AuditView) -> AuditLogActor | None:
    match view.actor_kind:
        case ActorKind.PROGRAM:
            return None
        case ActorKind.ADMIN_KEY:
            return AuditLogActor(type="api_key", api_key=AuditLogApiKey(id=view.actor_id))
        case _:
            email = {"email": view.actor_email} if view.actor_email else {}
            address = {"ip_address": view.address} if view.address else {}
            user = AuditLogUser(id=view.actor_id, **email)
            return AuditLogActor(type="session", session=AuditLogSession(user=user, **address))


def _details(name: str, view: AuditView) -> dict[str, Any]:
    """What was changed, and what it was told: `data` of what was made, `changes_requested` of a change."""
    if name in _WITHOUT_DETAILS:
        return {}
    if name == Event.LOGIN_FAILED:
        attempts = (view.after or {}).get("attempts")
        return {"error_code": "invalid_credentials", "error_message": f"{attempts} attempts failed"}
    details: dict[str, Any] = {"id": view.subject_id}
    told = _without_nulls(view.after or {})
    rate = _RATES.get(told.get("kind", ""))
    if view.event == Event.RATE_LIMIT_UPDATED and rate is not None and "max_value" in told:
        told[rate] = told["max_value"]
    if name.endswith((".created", ".sent", ".added")):
        return {**details, "data": told}
    if name.endswith(".updated"):
        return {**details, "changes_requested": told}
    return details


def _facts(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value
