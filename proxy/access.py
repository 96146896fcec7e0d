"""What a key may be used for: endpoints, models, and from where. pure.

Owns the words of the refusals and what of the models a key gets to see. A key without restrictions costs two
comparisons. A model that a key may not call is as good as none, here and in `proxy.admission`: a key must not
learn what there is.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from ledger.principal import Principal
from proxy.client_address import TrustedProxies
from proxy.errors import AddressRefused, ScopeMissing
from proxy.known_head import Head


class Named(Protocol):
    """A model, as far as permissions go."""

    @property
    def id(self) -> str: ...


M_co = TypeVar("M_co", bound=Named, covariant=True)


class Served(Protocol[M_co]):
    """The models that engines serve now."""

    def models(self) -> Sequence[M_co]: ...
    def only_model(self) -> str | None: ...


class Caller(Protocol):
    """A request, as far as it tells where it comes from: `proxy.request.Request`."""

    @property
    def client_host(self) -> str | None: ...
    @property
    def head(self) -> Head: ...


class Access:
    """Checks where a key is used from, and for which endpoint."""

    def __init__(self, trusted: TrustedProxies) -> None:
        self._trusted = trusted

    def check(self, principal: Principal, purpose: str | None, caller: Caller) -> None:
        """Raises AddressRefused, ScopeMissing. `purpose`: the scope that is asked for; None: all may go."""
        if principal.networks is not None:
            address = self._trusted.client_of(caller.client_host, caller.head.headers)
            if address is None:
                raise AddressRefused("Your IP is not known here, and this API key is bound to addresses.")
            if not principal.networks.hold(address):
                raise AddressRefused(f"Your IP {address} is not authorized for this API key.")
        if purpose is not None and principal.scopes is not None and not principal.scopes.allow(purpose):
            raise ScopeMissing(
                "You have insufficient permissions for this operation. "
                f"Missing scopes: {purpose}. Check that your API key has the scopes it needs."
            )


def models(principal: Principal, served: Served[M_co]) -> Sequence[M_co]:
    """The models that the key may call."""
    if not principal.model_permissions:
        return served.models()
    return [model for model in served.models() if principal.may_call(model.id)]


def only_model(principal: Principal, served: Served[Named]) -> str | None:
    """The model that is meant by a call without one, which has to be the only one that the key may call."""
    if not principal.model_permissions:
        return served.only_model()
    allowed = models(principal, served)
    return allowed[0].id if len(allowed) == 1 else None
