"""Who a key speaks for and which limits hold for it, in two queries of one snapshot; what is shown of it."""

from typing import Final, NamedTuple

from ledger import kept_text
from ledger.direct import Connection
from ledger.errors import NotFound
from ledger.limit_rows import limits_of
from ledger.networks import Networks
from ledger.permissions import KeyScopes, ModelPermissions
from ledger.principal import Principal
from ledger.states import KeyState, OutagePolicy, ProjectState, TenantState

__all__ = ["Principal", "ShownKey", "find_principal", "show_key"]

_FIND: Final = (
    "SELECT k.tenant_id, k.project_id, k.id, t.state, p.state, k.state, k.expires_us, t.outage_policy,"
    " p.model_permissions, k.model_permissions, k.scopes, k.networks"
    " FROM api_key AS k JOIN project AS p ON p.id = k.project_id JOIN tenant AS t ON t.id = k.tenant_id"
    " WHERE k.digest = {given}"
)
_SHOW: Final = "SELECT id, tenant_id, project_id, name, redacted, expires_us FROM api_key WHERE id = {given}"
_GIVEN: Final = {"sqlite": "?", "postgresql": "$1"}


class ShownKey(NamedTuple):
    """A key as its holder may see it."""

    id: str
    tenant_id: str
    project_id: str
    name: str
    redacted: str
    expires_us: int | None


async def find_principal(connection: Connection, digest: bytes) -> Principal | None:
    """The principal of the key with this digest, in whatever state it is; None when there is no such key.

    In a `look`, both queries see one moment.
    """
    query = _FIND.format(given=_GIVEN[connection.dialect.name])
    rows = (await connection.exec_driver_sql(query, (digest,))).all()
    if not rows:
        return None
    tenant_id, project_id, key_id, of_tenant, of_project, of_key, expires_us, outage_policy, *texts = rows[0]
    projects, keys = (kept_text.read(ModelPermissions, text) for text in texts[:2])
    return Principal(
        tenant_id,
        project_id,
        key_id,
        TenantState(of_tenant),
        ProjectState(of_project),
        KeyState(of_key),
        expires_us,
        limits=await limits_of(connection, tenant_id, project_id, key_id),
        model_permissions=tuple(each for each in (projects, keys) if each is not None),
        scopes=kept_text.read(KeyScopes, texts[2]),
        networks=kept_text.read(Networks, texts[3]),
        outage_policy=OutagePolicy(outage_policy),
    )


async def show_key(connection: Connection, key_id: str) -> ShownKey:
    """Raises NotFound."""
    query = _SHOW.format(given=_GIVEN[connection.dialect.name])
    rows = (await connection.exec_driver_sql(query, (key_id,))).all()
    if not rows:
        raise NotFound("key", key_id)
    return ShownKey(*rows[0])
