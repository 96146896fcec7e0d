"""The native resources as JSON: what the control plane answers under /admin/v1 and what the CLI prints with
--json.

One shape for both. Times are ISO 8601 in UTC; prices are decimal strings, units of currency per million
tokens; amounts are exact integers of picos (1e-12) and, beside them, decimal strings. A secret appears in
`NewKey` alone.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from admin.restrictions import Cidrs, ModelList, Scopes, TagMap
from admin.times import format_instant
from ledger.key_owners import Owner
from ledger.money import format_micros, format_picos
from ledger.reports import UsageTotal
from ledger.roles import Role
from ledger.states import KeyState, OutagePolicy, ProjectState, TenantState
from ledger.tables.prices import PriceVersion
from ledger.tables.tenancy import AdminKey, ApiKey, ApiKeySecret, Project, Tenant

Instant = Annotated[str, Field(examples=["2026-11-22T18:00:00Z"], description="ISO 8601, UTC")]
Price = Annotated[str, Field(examples=["0.15"], description="Units of currency per million tokens, decimal")]
Expiry = Annotated[
    str | None,
    Field(
        max_length=64,
        examples=["30d"],
        description="A duration (90s, 45m, 12h, 30d, 2w) or an ISO 8601 time; never, unless given",
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=200, examples=["Acme"])]
Email = Annotated[str, Field(min_length=1, max_length=1024, examples=["ann@example.com"])]
Password = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        repr=False,
        examples=["kumquat lattice vortex"],
        description="12 to 1024 characters; not the e-mail address, and none of the commonest",
        json_schema_extra={"format": "password"},
    ),
]
MemberRole = Annotated[
    Literal["owner", "admin", "billing", "reader"],
    Field(examples=["reader"], description="What a user is in a tenant; OpenAI knows `owner` and `reader`"),
]


class Resource(BaseModel):
    """What is answered: nothing is added to it by accident."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TenantView(Resource):
    """Who pays."""

    id: str
    name: str
    state: TenantState
    created_at: Instant
    outage_policy: OutagePolicy

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """The view of a row."""
        return cls(
            id=tenant.id,
            name=tenant.name,
            state=tenant.state,
            created_at=format_instant(tenant.created_us),
            outage_policy=tenant.outage_policy,
        )


class ProjectView(Resource):
    """A part of a tenant, with its own keys."""

    id: str
    tenant_id: str
    name: str
    state: ProjectState
    created_at: Instant
    model_permissions: ModelList | None

    @classmethod
    def of(cls, project: Project) -> Self:
        """The view of a row."""
        return cls(
            id=project.id,
            tenant_id=project.tenant_id,
            name=project.name,
            state=project.state,
            created_at=format_instant(project.created_us),
            model_permissions=ModelList.of(project.model_permissions),
        )


class SecretView(Resource):
    """One of the secrets that a key works with, without itself."""

    redacted: str
    created_at: Instant
    expires_at: Annotated[
        Instant | None, Field(description="When the grace of its rotation ends; null: it has no successor")
    ]
    last_used_at: Annotated[
        Instant | None, Field(description="Of a call that was let in, also one that a limit refused")
    ]

    @classmethod
    def of(cls, secret: ApiKeySecret) -> Self:
        """The view of a row."""
        return cls(
            redacted=secret.redacted,
            created_at=format_instant(secret.created_us),
            expires_at=None if secret.expires_us is None else format_instant(secret.expires_us),
            last_used_at=None if secret.last_used_us is None else format_instant(secret.last_used_us),
        )


class KeyOwnerView(Resource):
    """Whose a key is."""

    type: Literal["user", "service_account"]
    id: str
    name: str
    email: Annotated[str | None, Field(description="A user's")]
    project_access: Annotated[
        Literal["active", "inactive"],
        Field(description="Inactive: they have no part in the project now, and the key does not work"),
    ]

    @classmethod
    def of(cls, owner: Owner) -> Self:
        """The view of an owner."""
        return cls(
            type="user" if owner.is_user else "service_account",
            id=owner.id,
            name=owner.name,
            email=owner.email,
            project_access="active" if owner.has_access else "inactive",
        )


class KeyView(Resource):
    """An API key, without its secrets; `redacted` is of the newest of them."""

    id: str
    project_id: str
    tenant_id: str
    name: str
    state: KeyState
    redacted: str
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None
    model_permissions: ModelList | None
    scopes: Scopes
    cidrs: Cidrs
    tags: TagMap
    service_account_id: Annotated[str | None, Field(description="Whose it is, unless it is a user's")]
    user_id: Annotated[str | None, Field(description="Whose it is, unless it is a service account's")]
    secrets: Annotated[list[SecretView], Field(description="The newest first; two during a rotation")]
    owner: Annotated[KeyOwnerView | None, Field(description="Null: made before keys had owners")]

    @classmethod
    def of(cls, key: ApiKey, secrets: Sequence[ApiKeySecret], owner: Owner | None) -> Self:
        """The view of a row, its secrets and its owner: admin/key_views.py finds them."""
        return cls(**_key_fields(key, secrets, owner))


class NewKey(KeyView):
    """A key just made, or just rotated: `key` is the secret, shown this once and kept nowhere."""

    key: str

    @classmethod
    def made(cls, key: ApiKey, secrets: Sequence[ApiKeySecret], owner: Owner | None, secret: str) -> Self:
        """The view of a row, its secrets and its owner, with the newest secret itself."""
        return cls(key=secret, **_key_fields(key, secrets, owner))


def _key_fields(key: ApiKey, secrets: Sequence[ApiKeySecret], owner: Owner | None) -> dict[str, Any]:
    return {
        "id": key.id,
        "project_id": key.project_id,
        "tenant_id": key.tenant_id,
        "name": key.name,
        "state": key.state,
        "redacted": key.redacted,
        "created_at": format_instant(key.created_us),
        "expires_at": None if key.expires_us is None else format_instant(key.expires_us),
        "last_used_at": None if key.last_used_us is None else format_instant(key.last_used_us),
        "model_permissions": ModelList.of(key.model_permissions),
        "scopes": None if key.scopes is None else list(key.scopes.scopes),
        "cidrs": None if key.networks is None else list(key.networks.cidrs),
        "tags": {} if key.tags is None else dict(key.tags.pairs),
        "service_account_id": key.service_account_id,
        "user_id": key.user_id,
        "secrets": [SecretView.of(one) for one in secrets],
        "owner": None if owner is None else KeyOwnerView.of(owner),
    }


class AdminKeyView(Resource):
    """A key of the control plane, without its secret."""

    id: str
    name: str
    role: Role
    tenant_id: Annotated[str | None, Field(description="Whose; null: the operator's")]
    project_id: Annotated[str | None, Field(description="What it is limited to; null: the whole tenant")]
    state: KeyState
    redacted: str
    created_at: Instant
    expires_at: Instant | None

    @classmethod
    def of(cls, key: AdminKey) -> Self:
        """The view of a row."""
        return cls(**_admin_key_fields(key))


class NewAdminKey(AdminKeyView):
    """An admin key just made: `key` is the secret, shown this once and kept nowhere."""

    key: str

    @classmethod
    def made(cls, key: AdminKey, secret: str) -> Self:
        """The view of a row and its secret."""
        return cls(key=secret, **_admin_key_fields(key))


def _admin_key_fields(key: AdminKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "tenant_id": key.tenant_id,
        "project_id": key.project_id,
        "state": key.state,
        "redacted": key.redacted,
        "created_at": format_instant(key.created_us),
        "expires_at": None if key.expires_us is None else format_instant(key.expires_us),
    }


class PriceView(Resource):
    """A version of a price: in force from its time until the next version of the same model and tenant
    begins.
    """

    id: str
    model: str
    tenant_id: str | None
    currency: str
    input: Price
    cached_input: Price
    output: Price
    request: Annotated[str, Field(examples=["0.00"], description="Units of currency per request, decimal")]
    effective_from: Instant
    created_at: Instant

    @classmethod
    def of(cls, version: PriceVersion) -> Self:
        """The view of a row."""
        return cls(
            id=version.id,
            model=version.model,
            tenant_id=version.tenant_id,
            currency=version.currency,
            input=format_micros(version.input_micros_per_mtok),
            cached_input=format_micros(version.cached_input_micros_per_mtok),
            output=format_micros(version.output_micros_per_mtok),
            request=format_micros(version.request_micros),
            effective_from=format_instant(version.effective_from_us),
            created_at=format_instant(version.created_us),
        )


class UsageSums(Resource):
    """Sums over calls; the amount is of one currency."""

    calls: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    currency: str
    amount_picos: int
    amount: Annotated[
        str, Field(examples=["1.2345"], description="The same amount in units of currency, exact")
    ]
    group: Annotated[
        dict[str, str], Field(description="What these sums are of, where a grouping was asked for")
    ] = {}

    @classmethod
    def of(cls, total: UsageTotal, by: Sequence[str]) -> Self:
        """The view of a total."""
        return cls(
            calls=total.calls,
            prompt_tokens=total.prompt_tokens,
            cached_prompt_tokens=total.cached_prompt_tokens,
            completion_tokens=total.completion_tokens,
            currency=total.currency,
            amount_picos=total.amount_picos,
            amount=format_picos(total.amount_picos),
            group=dict(zip(by, total.group, strict=True)),
        )


class UsageView(Resource):
    """The usage of a month. Tokens are added over all currencies; money never is: `amounts` has a sum for
    each.
    """

    month: str
    from_: Annotated[Instant, Field(alias="from")]
    until: Instant
    calls: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    amounts: Annotated[dict[str, str], Field(examples=[{"USD": "1.2345"}])]
    totals: list[UsageSums]

    @classmethod
    def of(cls, month: str, span: tuple[int, int], totals: Sequence[UsageTotal], by: Sequence[str]) -> Self:
        """The view of a month's totals, grouped by `by`."""
        picos: dict[str, int] = {}
        for total in totals:
            picos[total.currency] = picos.get(total.currency, 0) + total.amount_picos
        return cls(
            month=month,
            **{"from": format_instant(span[0])},
            until=format_instant(span[1]),
            calls=sum(total.calls for total in totals),
            prompt_tokens=sum(total.prompt_tokens for total in totals),
            cached_prompt_tokens=sum(total.cached_prompt_tokens for total in totals),
            completion_tokens=sum(total.completion_tokens for total in totals),
            amounts={currency: format_picos(amount) for currency, amount in picos.items()},
            totals=[UsageSums.of(total, by) for total in totals],
        )
