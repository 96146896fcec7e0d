"""Passing OpenAI's Administration API on to the control plane, so that one base URL serves both.

Owns what is passed on: paths under PREFIX and no other, however they are written; bodies up to a bound, and
an answer that does not tell its length as it comes; headers but for those of one connection. Off the hot
path: httpx, imported when the first such request comes. It must not know what is asked or answered: the key
that comes along is the control plane's to check. Who asks is added behind `x-forwarded-for`, as a proxy does:
the control plane believes what its trusted proxies wrote there, from the right, and nothing a client did.
"""

import logging
from typing import TYPE_CHECKING, Final

from proxy import errors, headers
from proxy.eager import in_task

if TYPE_CHECKING:
    import httpx

    from proxy.request import Request

PREFIX: Final = "/v1/organization"
BODY_BYTES_MAX: Final = 1 << 20
"""What the control plane takes."""
ANSWER_BYTES_MAX: Final = 16 << 20
"""What is kept of an answer that tells its length; the control plane's pages are a few hundred KiB."""
OK: Final = 200
CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 60.0

_OF_ONE_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110, section 7.6.1, and what was in use before it."""
_NOT_ASKED_ON: Final = frozenset(
    {
        b"host",
        b"expect",
        b"content-length",  # it is told of the body that was read
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-real-ip",
    }
)
_NOT_ANSWERED_ON: Final = frozenset({b"date"})

_log = logging.getLogger("metergate.forwarding")


def takes(path: str) -> bool:
    """Whether a path, percent-encoding taken away, is one that is passed on."""
    if path != PREFIX and not path.startswith(PREFIX + "/"):
        return False
    return not {".", ".."}.intersection(path.replace("\\", "/").split("/"))


class Forwarding:
    """Passes requests on. Make it inside the event loop that uses it; close it in the end."""

    def __init__(self, admin_url: str) -> None:
        """`admin_url` is the control plane's base URL; empty: nothing is passed on."""
        self._admin_url = admin_url
        self._client: httpx.AsyncClient | None = None

    def takes(self, path: str) -> bool:
        """Whether requests for a path are passed on."""
        return bool(self._admin_url) and takes(path)

    async def carry(self, request: "Request") -> int:
        """Passes one request on and its answer back; the status. An answer that breaks off is left as it is,
        for the caller to abandon.

        Raises PathUnknown, BodyTooLarge, ControlPlaneUnavailable, ClientGone before anything was answered.
        """
        import httpx  # noqa: PLC0415 (see the top)

        await in_task()  # httpx runs in nothing else
        head, target = request.head, request.head.target
        if not target.startswith(b"/") or not takes(head.path):
            raise errors.PathUnknown(f"Unknown request URL: {head.method} {head.path[:200]}.")
        body = await request.read(BODY_BYTES_MAX)
        client = self._connected()
        asked = client.build_request(
            head.method,
            httpx.URL(self._admin_url).copy_with(raw_path=target),
            headers=_asked_on(head.headers, request.client_host),
            content=body or None,
        )
        try:
            answer = await client.send(asked, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL):
            raise _unavailable() from None
        try:
            if answer.status_code == OK and _length(answer.headers.raw) is None:
                await _stream(request, answer)
            else:
                body = await _whole(answer)
                told = _without(answer.headers.raw, _NOT_ANSWERED_ON)
                if head.method != "HEAD":
                    told = [one for one in told if one[0] != b"content-length"]
                    told.append((b"content-length", b"%d" % len(body)))
                request.whole(answer.status_code, headers.lines(told), body)
        finally:
            await answer.aclose()
        return answer.status_code

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()

    def _connected(self) -> "httpx.AsyncClient":
        if self._client is None:
            import httpx  # noqa: PLC0415 (see the top)

            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
                trust_env=False,
                follow_redirects=False,
            )
            # Nothing of its own is added: not a user agent, not an encoding that the client cannot read.
            self._client.headers.clear()
        return self._client


async def _whole(answer: "httpx.Response") -> bytes:
    """An answer that tells its length, or is an error: all of it. Raises ControlPlaneUnavailable."""
    import httpx  # noqa: PLC0415 (see the top)

    body = bytearray()
    try:
        async for part in answer.aiter_raw():
            body += part
            if len(body) > ANSWER_BYTES_MAX:
                raise _unavailable()
    except httpx.HTTPError:
        raise _unavailable() from None
    return bytes(body)


async def _stream(request: "Request", answer: "httpx.Response") -> None:
    """An answer that does not: as it comes, and no faster than the client takes it."""
    import httpx  # noqa: PLC0415 (see the top)

    request.start(headers.lines(_without(answer.headers.raw, _NOT_ANSWERED_ON)))
    try:
        async for part in answer.aiter_raw():
            if not request.chunk(part):
                await request.drained()
    except httpx.HTTPError as fault:
        _log.warning("the control plane broke off an answer (%s)", type(fault).__name__)
        return
    request.end()


def _unavailable() -> errors.ControlPlaneUnavailable:
    return errors.ControlPlaneUnavailable("The control plane does not answer now; try again.")


def _length(answered: headers.Headers) -> int | None:
    return next((int(value) for name, value in answered if name.lower() == b"content-length"), None)


def _asked_on(asked: headers.Headers, client_host: str | None) -> headers.Headers:
    """The request's headers, and who asks behind those it came by."""
    way = [value for name, value in asked if name.lower() == b"x-forwarded-for"]
    if client_host is not None:
        way.append(client_host.encode())
    passed_on = _without(asked, _NOT_ASKED_ON)
    return [*passed_on, (b"x-forwarded-for", b", ".join(way))] if way else passed_on


def _without(told: headers.Headers, more: frozenset[bytes]) -> headers.Headers:
    """Without those of one connection, those that `connection` names, and `more`."""
    lowered = [(name.lower(), value) for name, value in told]
    named = {
        word.strip().lower() for name, value in lowered if name == b"connection" for word in value.split(b",")
    }
    dropped = _OF_ONE_CONNECTION | named | more
    return [(name, value) for name, value in lowered if name not in dropped]
