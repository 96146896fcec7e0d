"""The principal: who a key speaks for, as workers keep it in memory.

Pure. What admits and settles a call needs this and not the tables behind it; ledger/principals.py finds it.
"""

from dataclasses import dataclass, field

from ledger.limits import Limit
from ledger.networks import Networks
from ledger.permissions import KeyScopes, ModelPermissions
from ledger.states import KeyState, OutagePolicy, ProjectState, TenantState


@dataclass(frozen=True, slots=True)
class Principal:
    """A key with its project and tenant, and the state of each. `expires_us` is when the secret that it was
    called with ends: with its key, or with the grace of a rotation; None is never.
    """

    tenant_id: str
    project_id: str
    api_key_id: str
    tenant_state: TenantState
    project_state: ProjectState
    key_state: KeyState
    expires_us: int | None
    limits: tuple[Limit, ...] = ()
    """Every limit that can concern a call of this key."""
    model_permissions: tuple[ModelPermissions, ...] = ()
    """The project's and the key's: each of them has to allow a model."""
    scopes: KeyScopes | None = None
    """None is all of them."""
    networks: Networks | None = None
    """Where the key may be used from; None is everywhere."""
    outage_policy: OutagePolicy = OutagePolicy.FAIL_CLOSED
    """The tenant's."""
    secret_id: int = field(default=0, compare=False)
    """Which of the key's secrets it was called with."""
    is_replaced: bool = False
    """Whether that secret has a successor, and goes on only until the grace ends."""

    def is_active(self, now_us: int) -> bool:
        """Whether calls may come in: active on every level and not expired."""
        return (
            self.key_state == KeyState.ACTIVE
            and self.project_state == ProjectState.ACTIVE
            and self.tenant_state == TenantState.ACTIVE
            and (self.expires_us is None or now_us < self.expires_us)
        )

    def may_call(self, model: str) -> bool:
        """Whether project and key let the model through; not whether there is one of this name."""
        for permissions in self.model_permissions:  # noqa: SIM110 - no generator for every call
            if not permissions.allows(model):
                return False
        return True
