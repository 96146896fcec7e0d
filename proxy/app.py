"""The data plane as one ASGI application: authenticate -> read -> admit -> relay -> settle.

Owns which path goes where, the bounds on a request's head and body, and that every failure is answered in
OpenAI's shape. Its parts come through the constructor; `proxy.worker` puts them together. Must not know SQL
or sockets.
"""

import logging
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

from ledger.ids import new_request_id
from ledger.periods import iso
from ledger.permissions import Scope
from ledger.principals import Principal
from proxy import access, errors, headers, pages
from proxy.access import Access
from proxy.admission import Admission
from proxy.answer import DIRECT_LINE, Answer, Receive, Send
from proxy.auth import Authenticator
from proxy.backends import Backends
from proxy.call import read_call
from proxy.endpoints import ENDPOINTS, Endpoint
from proxy.fields import Limits
from proxy.key_page import KeyPage
from proxy.metrics import Metrics
from proxy.relay import Relay
from proxy.settlement import SettledCalls, Settlement

_MODELS: Final = "/v1/models"
_KEY: Final = "/v1/key"

_log = logging.getLogger("metergate.app")


class DataPlane:
    """The application. `salt_of(tenant_id)` gives a tenant's cache salt, or None where the cache is
    shared."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        access: Access,
        admission: Admission,
        backends: Backends,
        relay: Relay,
        key_page: KeyPage,
        settled: SettledCalls,
        metrics: Metrics,
        limits: Limits,
        max_body_bytes: int,
        max_header_bytes: int,
        salt_of: Callable[[str], str | None],
        now_us: Callable[[], int],
    ) -> None:
        self._authenticator = authenticator
        self._access = access
        self._admission = admission
        self._backends = backends
        self._relay = relay
        self._key_page = key_page
        self._settled = settled
        self._metrics = metrics
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._salt_of = salt_of
        self._now_us = now_us

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        path = scope["path"]
        endpoint = ENDPOINTS.get(path)
        name = endpoint.name if endpoint else "other"
        answer = Answer(new_request_id(), send, scope["extensions"].pop(DIRECT_LINE))
        try:
            if headers.size(scope["headers"]) > self._max_header_bytes:
                raise errors.HeadTooLarge("The headers of your request are too large.")
            if endpoint is not None:
                await self._call(endpoint, scope, receive, answer)
            else:
                await self._page(path, scope, answer)
            status = 200
        except errors.ApiError as error:
            status = error.status
            if not answer.started:
                answer.error(error)
        except Exception:
            _log.exception("request %s failed", answer.request_id)
            status = 500
            if answer.started:
                raise
            answer.error(errors.EngineFault("The server had an error while processing your request."))
        self._metrics.answered(name, status)

    async def _call(
        self, endpoint: Endpoint, scope: dict[str, Any], receive: Receive, answer: Answer
    ) -> None:
        """One call that an engine answers."""
        if scope["method"] != "POST":
            raise errors.MethodRefused(
                f"Not allowed to {scope['method']} on {endpoint.path}. Use POST.", allowed="POST"
            )
        principal = await self._authenticate(endpoint.name, scope, answer)
        body = answer.line.body()
        if body is None:
            body = await self._body(scope, receive)
        elif len(body) > self._max_body_bytes:
            raise self._too_large()
        only_model = access.only_model(principal, self._backends)
        call = read_call(endpoint, body, self._limits, only_model)
        admission, started_us = self._admission, self._now_us()
        admission.check(principal, call)
        hold = None
        if (plan := admission.plan(principal, call, started_us)) is not None:
            hold = admission.take(plan, call, len(body))
            try:
                if hold is None:
                    call, hold = await admission.obtain(plan, call, len(body))
            finally:
                answer.limits = admission.headers(plan)
        settlement = Settlement(
            self._settled,
            self._metrics.settled,
            self._now_us,
            answer.request_id,
            principal,
            call,
            started_us,
            hold,
        )
        try:
            del body  # it may be long, and so may its answer take
            scope["headers"].clear()
            await self._relay.carry(call, self._salt_of(principal.tenant_id), settlement, answer, hold)
        finally:
            settlement.close()

    async def _authenticate(self, purpose: str | None, scope: dict[str, Any], answer: Answer) -> Principal:
        """Who is calling, with a key that may be used for this and from there; `purpose`: a scope."""
        secret = headers.secret_in(scope["headers"])
        principal = self._authenticator.cached(secret)
        if principal is None:
            assert secret is not None
            principal = await self._authenticator.find(secret)
        answer.organization = principal.tenant_id
        self._access.check(principal, purpose, scope)
        return principal

    async def _body(self, scope: dict[str, Any], receive: Receive) -> bytes:
        """The whole body, as it comes. Raises BodyTooLarge, as early as it is known, and ClientGone."""
        announced = headers.content_length(scope["headers"])
        if announced is not None and announced > self._max_body_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise errors.ClientGone("The client closed the connection.")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self) -> errors.BodyTooLarge:
        return errors.BodyTooLarge(f"The body of your request is larger than {self._max_body_bytes} bytes.")

    async def _page(self, path: str, scope: dict[str, Any], answer: Answer) -> None:
        """What is answered without an engine."""
        page = path.rstrip("/") or "/"
        if page not in _PAGES and not page.startswith((_MODELS + "/", "/docs/")):
            raise errors.PathUnknown(f"Unknown request URL: {scope['method']} {path[:200]}.{_meant(path)}")
        if scope["method"] not in ("GET", "HEAD"):
            raise errors.MethodRefused(f"Not allowed to {scope['method']} on {path[:200]}. Use GET.")
        status, content_type, body = 200, headers.JSON, b""
        more: headers.Headers = []
        if page == "/":
            body = pages.front()
        elif page == "/healthz":
            body = pages.health()
        elif page == "/readyz":
            status, body = pages.readiness(self._problems(), self._strains())
        elif page in ("/docs", "/openapi.json") or page.startswith("/docs/"):
            from proxy import docs  # loaded when somebody looks  # noqa: PLC0415

            shown = docs.page(page)
            content_type, body, more = shown.content_type, shown.body, shown.headers
        elif page == _KEY:
            body = await self._key_page.body(await self._authenticate(None, scope, answer))
        else:
            principal = await self._authenticate(Scope.MODELS, scope, answer)
            body = self._models(page, principal)
        answer.whole(status, content_type, body, more)

    def _models(self, page: str, principal: Principal) -> bytes:
        models = access.models(principal, self._backends)
        if page == _MODELS:
            return pages.model_list(models)
        wanted = unquote(page.removeprefix(_MODELS + "/"))
        for model in models:
            if model.id == wanted:
                return pages.model_page(model)
        raise errors.model_unknown(wanted[:200])

    def _strains(self) -> list[str]:
        """What known keys do not feel: a load balancer that took every host away for it would make an outage
        of the database everybody's.
        """
        if since_us := self._authenticator.ledger.away_since_us:
            return [f"the ledger's database does not answer since {iso(since_us)}"]
        if since_us := self._admission.ungranted_since_us:
            return [f"the ledger's database grants no leases since {iso(since_us)}"]
        return []

    def _problems(self) -> list[str]:
        problems = []
        if not self._backends.any_healthy():
            problems.append("no engine answers")
        if self._authenticator.ledger.is_lapsed:
            problems.append("no key is taken until the ledger's database is back")
        if not self._settled.has_room():
            problems.append("the journal has no room")
        if self._admission.stopping:
            problems.append("shutting down")
        return problems


_PAGES: Final = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json", _MODELS, _KEY})


def _meant(path: str) -> str:
    """A hint for the usual mistakes with an OpenAI client's base_url: no /v1, two slashes, a whole path."""
    for known in (*ENDPOINTS, _MODELS, _KEY):
        if path.endswith(known.removeprefix("/v1")):
            return f" Did you mean {known}? The base_url of an OpenAI client ends with /v1."
    return ""
