"""Who a key speaks for and which limits hold for it, in two queries of one snapshot; what is shown of it."""

from typing import Final, NamedTuple

from ledger import kept_text
from ledger.direct import Connection
from ledger.errors import NotFound
from ledger.key_access import HAS_ACCESS
from ledger.limit_rows import limits_of
from ledger.networks import Networks
from ledger.permissions import KeyScopes, ModelPermissions
from ledger.principal import Principal
from ledger.states import KeyState, OutagePolicy, ProjectState, TenantState

__all__ = ["Principal", "ShownKey", "find_principal", "show_key"]

_FIND: Final = (
    "SELECT k.tenant_id, k.project_id, k.id, t.state, p.state, k.state, k.expires_us, t.outage_policy,"
    " s.id, s.expires_us, p.model_permissions, k.model_permissions, k.scopes, k.networks,"
    " CASE WHEN {has_access} THEN 1 ELSE 0 END"
    " FROM api_key_secret AS s JOIN api_key AS k ON k.id = s.api_key_id"
    " JOIN project AS p ON p.id = k.project_id JOIN tenant AS t ON t.id = k.tenant_id"
    " WHERE s.digest = {given}"
)
_SHOW: Final = (
    "SELECT k.id, k.tenant_id, k.project_id, k.name, s.redacted, k.expires_us, s.expires_us"
    " FROM api_key_secret AS s JOIN api_key AS k ON k.id = s.api_key_id WHERE s.id = {given}"
)
_GIVEN: Final = {"sqlite": "?", "postgresql": "$1"}


class ShownKey(NamedTuple):
    """A key as the holder of one of its secrets may see it; `expires_us`: when that secret ends."""

    id: str
    tenant_id: str
    project_id: str
    name: str
    redacted: str
    expires_us: int | None


async def find_principal(connection: Connection, digest: bytes) -> Principal | None:
    """The principal of the secret with this digest, in whatever state its key is; None when there is no such
    secret. A key whose owner has no access counts as blocked.

    In a `look`, both queries see one moment.
    """
    query = _FIND.format(given=_GIVEN[connection.dialect.name], has_access=HAS_ACCESS.format(key="k"))
    rows = (await connection.exec_driver_sql(query, (digest,))).all()
    if not rows:
        return None
    tenant_id, project_id, key_id, of_tenant, of_project, of_key, expires_us, outage_policy, *rest = rows[0]
    secret_id, grace_ends_us, *texts, has_access = rest
    projects, keys = (kept_text.read(ModelPermissions, text) for text in texts[:2])
    return Principal(
        tenant_id,
        project_id,
        key_id,
        TenantState(of_tenant),
        ProjectState(of_project),
        KeyState(of_key) if has_access or of_key != KeyState.ACTIVE else KeyState.BLOCKED,
        _first(expires_us, grace_ends_us),
        limits=await limits_of(connection, tenant_id, project_id, key_id),
        model_permissions=tuple(each for each in (projects, keys) if each is not None),
        scopes=kept_text.read(KeyScopes, texts[2]),
        networks=kept_text.read(Networks, texts[3]),
        outage_policy=OutagePolicy(outage_policy),
        secret_id=secret_id,
        is_replaced=grace_ends_us is not None,
    )


async def show_key(connection: Connection, principal: Principal) -> ShownKey:
    """Raises NotFound, also where the principal's secret is no more."""
    query = _SHOW.format(given=_GIVEN[connection.dialect.name])
    rows = (await connection.exec_driver_sql(query, (principal.secret_id,))).all()
    if not rows:
        raise NotFound("key", principal.api_key_id)
    found_id, tenant_id, project_id, name, redacted, expires_us, grace_ends_us = rows[0]
    return ShownKey(found_id, tenant_id, project_id, name, redacted, _first(expires_us, grace_ends_us))


def _first(one_us: int | None, other_us: int | None) -> int | None:
    """The earlier of two ends; None is never."""
    return min((at_us for at_us in (one_us, other_us) if at_us is not None), default=None)
