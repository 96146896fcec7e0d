"""May this call go on? The first form: the key's state is checked by `auth`; here the model and its price.

Owns every reason to refuse a call before an engine sees it, but for the key itself. Limits, budgets and
permissions have their place here: one all-or-nothing step against the worker's own allowances, without I/O
in the common case.
"""

from collections.abc import Callable
from typing import Final

from ledger.principal import Principal
from proxy.backends import Backends
from proxy.call import Call
from proxy.errors import EngineUnavailable, LedgerUnavailable, Stopping, model_unknown


class Admission:
    """Admits calls.

    `has_room()` tells whether the journal can take more; `is_priced(model, tenant_id)` whether a price is
    in force now.
    """

    def __init__(
        self,
        backends: Backends,
        *,
        has_room: Callable[[], bool],
        is_priced: Callable[[str, str], bool],
        refuse_unpriced: bool,
    ) -> None:
        self._backends: Final = backends
        self._has_room: Final = has_room
        self._is_priced: Final = is_priced
        self._refuse_unpriced: Final = refuse_unpriced
        self.stopping = False

    def stop(self) -> None:
        """Admits nothing any more."""
        self.stopping = True

    def admit(self, principal: Principal, call: Call) -> None:
        """Raises the ApiError that says why not."""
        if self.stopping:
            raise Stopping("This server is shutting down. Try again.")
        if not self._has_room():
            raise LedgerUnavailable("The journal is full: no call is taken that could not be recorded.")
        if not principal.may_call(call.model):
            raise model_unknown(call.model)
        if not self._backends.known(call.model):
            if not self._backends.any_healthy():
                raise EngineUnavailable("No engine answers at the moment. Try again.")
            raise model_unknown(call.model)
        if self._refuse_unpriced and not self._is_priced(call.model, principal.tenant_id):
            raise model_unknown(call.model)
