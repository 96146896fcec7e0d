"""The data plane as one application: authenticate -> read -> admit -> relay -> settle.

Owns which path goes where, the bounds on a request's head and body, and that every failure is answered in
OpenAI's shape. Its parts come through the constructor; `proxy.worker` puts them together. Must not know SQL
or sockets.
"""

import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from ledger.ids import new_request_id
from ledger.periods import iso
from ledger.permissions import Scope
from ledger.principals import Principal
from proxy import access, errors, headers, pages
from proxy.access import Access
from proxy.admission import Admission
from proxy.answer import Answer
from proxy.auth import Authenticator
from proxy.backends import Backends
from proxy.call import read_call
from proxy.endpoints import ENDPOINTS, Endpoint
from proxy.fields import Limits
from proxy.forwarding import Forwarding
from proxy.key_page import KeyPage
from proxy.metrics import Metrics
from proxy.relay import Relay
from proxy.request import Request
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
        forwarding: Forwarding,
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
        self._forwarding = forwarding
        self._salt_of = salt_of
        self._now_us = now_us

    async def __call__(self, request: Request) -> None:
        """Answers one request."""
        head = request.head
        endpoint = ENDPOINTS.get(head.path)
        name = endpoint.name if endpoint else "other"
        answer = Answer(new_request_id(), request)
        status = 200
        try:
            if request.head_bytes_max > self._max_header_bytes < headers.size(head.headers):
                raise errors.HeadTooLarge("The headers of your request are too large.")
            if endpoint is not None:
                await self._call(endpoint, request, answer)
            elif self._forwarding.takes(head.path):
                status = await self._forwarding.carry(request)
            else:
                await self._page(request, answer)
        except errors.ApiError as error:
            status = error.status
            if not answer.started:
                answer.error(error)
        except Exception:
            _log.exception("request %s failed", answer.request_id)
            status = 500
            if not answer.started:
                answer.error(errors.EngineFault("The server had an error while processing your request."))
        finally:
            request.abandon()
        self._metrics.answered(name, status)

    async def _call(self, endpoint: Endpoint, request: Request, answer: Answer) -> None:
        """One call that an engine answers."""
        if request.head.method != "POST":
            raise errors.MethodRefused(
                f"Not allowed to {request.head.method} on {endpoint.path}. Use POST.", allowed="POST"
            )
        principal = await self._authenticate(endpoint.name, request, answer)
        body = await request.read(self._max_body_bytes)
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
            if call.stream:
                request.forget_head()
            await self._relay.carry(call, self._salt_of(principal.tenant_id), settlement, answer, hold)
        finally:
            settlement.close()

    async def _authenticate(self, purpose: str | None, request: Request, answer: Answer) -> Principal:
        """Who is calling, with a key that may be used for this and from there; `purpose`: a scope."""
        secret = request.head.secret
        principal = self._authenticator.cached(secret)
        if principal is None:
            assert secret is not None
            principal = await self._authenticator.find(secret)
        answer.organization = principal.tenant_id
        self._access.check(principal, purpose, request)
        return principal

    async def _page(self, request: Request, answer: Answer) -> None:
        """What is answered without an engine."""
        method, path = request.head.method, request.head.path
        page = path.rstrip("/") or "/"
        if page not in _PAGES and not page.startswith((_MODELS + "/", "/docs/")):
            raise errors.PathUnknown(f"Unknown request URL: {method} {path[:200]}.{_meant(path)}")
        if method not in ("GET", "HEAD"):
            raise errors.MethodRefused(f"Not allowed to {method} on {path[:200]}. Use GET.")
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
            body = await self._key_page.body(await self._authenticate(None, request, answer))
        else:
            principal = await self._authenticate(Scope.MODELS, request, answer)
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
