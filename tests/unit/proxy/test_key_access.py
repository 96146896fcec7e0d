"""What a key's restrictions refuse, and in which words."""

from dataclasses import dataclass, replace

import pytest

from ledger.networks import Networks
from ledger.permissions import KeyScopes, Scope
from ledger.principal import Principal
from ledger.states import KeyState, ProjectState, TenantState
from proxy import access
from proxy.access import Access
from proxy.client_address import TrustedProxies
from proxy.endpoints import ENDPOINTS
from proxy.errors import AddressRefused, ScopeMissing
from proxy.known_head import Head
from tests.permitted import allow_models, deny_models

ANYBODY = Principal(
    "org-1", "proj_1", "key_1", TenantState.ACTIVE, ProjectState.ACTIVE, KeyState.ACTIVE, None
)
DIRECT = Access(TrustedProxies.parse([]))


@dataclass(frozen=True)
class Caller:
    """A request, as far as it tells where it comes from."""

    client_host: str | None
    head: Head


def http(peer: str | None = "203.0.113.7", *forwarded: bytes) -> Caller:
    return Caller(peer, Head("POST", "/", [(b"x-forwarded-for", line) for line in forwarded], None))


@dataclass(frozen=True)
class Model:
    id: str


class Served:
    """Engines that serve some models."""

    def __init__(self, *names: str) -> None:
        self._models = [Model(name) for name in names]

    def models(self) -> list[Model]:
        return self._models

    def only_model(self) -> str | None:
        return self._models[0].id if len(self._models) == 1 else None


def test_the_scopes_are_the_endpoints_and_the_models() -> None:
    """Guards against an endpoint that no restricted key can be given, or that each one has."""
    assert set(Scope) == {endpoint.name for endpoint in ENDPOINTS.values()} | {Scope.MODELS}


def test_a_key_without_restrictions_may_do_everything() -> None:
    """Guards against a default that shuts somebody out, and against work for everybody."""
    DIRECT.check(ANYBODY, "chat.completions", http())
    assert ANYBODY.may_call("x" * 10_000)


def test_a_missing_scope_is_said_as_openai_says_it() -> None:
    """Guards against a refusal that does not name what is missing."""
    key = replace(ANYBODY, scopes=KeyScopes.parse(["embeddings"]))
    DIRECT.check(key, "embeddings", http())
    DIRECT.check(key, None, http())
    with pytest.raises(ScopeMissing) as caught:
        DIRECT.check(key, "chat.completions", http())
    assert caught.value.message.startswith(
        "You have insufficient permissions for this operation. Missing scopes: chat.completions."
    )
    assert (caught.value.status, caught.value.code) == (403, "insufficient_permissions")
    assert (b"x-should-retry", b"false") in caught.value.headers()


def test_another_address_is_refused_and_named() -> None:
    """Guards against a leaked key that works from everywhere, and a user who cannot tell why it does not."""
    key = replace(ANYBODY, networks=Networks.parse(["203.0.113.0/24"]))
    DIRECT.check(key, "models", http("203.0.113.7"))
    DIRECT.check(key, "models", http("::ffff:203.0.113.7"))
    for forwarded in (b"203.0.113.7", b"198.51.100.1, 203.0.113.7"):
        with pytest.raises(AddressRefused) as caught:
            DIRECT.check(key, "models", http("198.51.100.1", forwarded))
        assert caught.value.message == "Your IP 198.51.100.1 is not authorized for this API key."
        assert (caught.value.status, caught.value.code) == (403, "ip_not_authorized")
        assert (b"x-should-retry", b"false") in caught.value.headers()
    with pytest.raises(AddressRefused, match="not known"):
        DIRECT.check(key, "models", http(None, b"203.0.113.7"))


def test_project_and_key_both_have_to_allow() -> None:
    """Guards against a key that gives itself more than its project has."""
    key = replace(ANYBODY, model_permissions=(allow_models(["gpt-*"]), deny_models(["*-large"])))
    assert key.may_call("gpt-small")
    assert not key.may_call("gpt-large")
    assert not key.may_call("llama-small")


def test_a_key_sees_the_models_it_may_call() -> None:
    """Guards against a list of models that tells what a tenant must not know of."""
    served = Served("gpt-large", "gpt-small", "llama")
    assert access.models(ANYBODY, served) is served.models()
    key = replace(ANYBODY, model_permissions=(allow_models(["gpt-*"]),))
    assert [model.id for model in access.models(key, served)] == ["gpt-large", "gpt-small"]


def test_a_missing_model_is_the_only_one_the_key_may_call() -> None:
    """Guards against a refusal that names the one model which the key must not know of."""
    assert access.only_model(ANYBODY, Served("m")) == "m"
    assert access.only_model(ANYBODY, Served("m", "n")) is None
    assert access.only_model(replace(ANYBODY, model_permissions=(deny_models(["m"]),)), Served("m")) is None
    assert (
        access.only_model(replace(ANYBODY, model_permissions=(deny_models(["m"]),)), Served("m", "n")) == "n"
    )
