"""Conditional requests: Idempotency-Key on every POST, If-Match on every change, ETag and If-None-Match on
every single resource. Raw ASGI, around all routes: none needs to know.

A request with one of these headers is one transaction (admin/request_transaction.py). If-Match is compared
just before it is committed, when its own changes hold their rows locked, with what everybody else still sees
of the resource: its GET, asked inside the process, on a database of its own. What somebody changed meanwhile
is seen there, and nobody can change it any more. A request that is refused for another reason is answered
with that.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin import errors
from admin.auth import Plane
from admin.etags import if_match, if_none_match, tag_of
from admin.idempotency import AnswerGone, Asked, Claim, KeyReused, Replay
from admin.openapi_headers import KEY_CHARS_MAX, PREFIXES
from admin.request_transaction import RequestTransaction
from ledger.actors import Actor
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.kept_answers import KeyInUse

CHANGES: Final = ("POST", "PATCH", "PUT", "DELETE")
REPLAYED: Final = (b"idempotent-replayed", b"true")
_MEANT: Final = (b"openai-organization", b"openai-project", b"content-type", b"if-match")
_JSON: Final = b"application/json"
_KEY: Final = "Idempotency-Key"
_OF_THE_CONNECTION: Final = (
    "type", "asgi", "http_version", "scheme", "client", "server", "root_path", "app",
)  # fmt: skip


class Unfit(Exception):
    """The resource is not what If-Match says."""


@dataclass(slots=True)
class Given:
    """An answer, held back until it is known whether it holds."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)

    async def take(self, message: Message) -> None:
        """As `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            self.chunks.append(message.get("body", b""))

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.chunks)

    @property
    def content_type(self) -> bytes:
        """What kind of body."""
        return dict(self.headers).get(b"content-type", b"")

    @classmethod
    def of(cls, response: Response) -> "Given":
        """The answer that is this response."""
        return cls(response.status_code, list(response.raw_headers), [bytes(response.body)])

    async def send(self, send: Send) -> None:
        """Lets it go."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Conditional:
    """The middleware. It needs `app.state.plane`."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` is what follows."""
        self._app = app
        self._running: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIXES):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        method = scope["method"]
        key = headers.get(b"idempotency-key") if method == "POST" else None
        if method == "GET":
            await self._get(scope, receive, send, headers.get(b"if-none-match"))
        elif key is not None and not _is_key(key):
            refusal = errors.answer(
                400,
                f"An Idempotency-Key has 1 to {KEY_CHARS_MAX} printable ASCII characters.",
                param="Idempotency-Key",
                code="invalid_value",
            )
            await refusal(scope, receive, send)
        elif method in CHANGES and (key is not None or b"if-match" in headers):
            await self._change(scope, receive, send, key)
        else:
            await self._app(scope, receive, send)

    async def _get(self, scope: Scope, receive: Receive, send: Send, known: bytes | None) -> None:
        given = Given()
        passes = False

        async def take(message: Message) -> None:
            nonlocal passes
            if message["type"] == "http.response.start":
                headers = dict(message.get("headers", ()))
                passes = message["status"] != 200 or headers.get(b"content-type") != _JSON
            await (send(message) if passes else given.take(message))

        await self._app(scope, receive, take)
        if passes:
            return
        tag = tag_of(given.body)
        if tag is not None:
            given.headers.append((b"etag", tag.encode()))
            if known is not None and not if_none_match(known.decode("latin-1"), tag):
                given.status, given.chunks = 304, []
                given.headers = [one for one in given.headers if not one[0].startswith(b"content-")]
        await given.send(send)

    async def _change(self, scope: Scope, receive: Receive, send: Send, key: bytes | None) -> None:
        plane: Plane = scope["app"].state.plane
        body = (await receive()).get("body", b"")  # whole: admin/requests.py has read it
        claim = None
        if key is not None:
            claim = Claim(key, _asked(scope, body), plane.pepper, plane.now_us(), self._running)
        state: dict[str, Any] = {**scope.get("state", {})}
        transaction = RequestTransaction(plane.database, state, claim)
        state["plane"] = replace(plane, database=transaction)
        unread = [body]

        async def receive_body() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        try:
            given = await self._done({**scope, "state": state}, receive_body, transaction, claim)
        except BaseException as cause:
            told = await transaction.undo(cause)
            refusal = await _refused(told)
            if refusal is None:
                raise told from None
            given = refusal
        finally:
            if claim is not None:
                claim.leave()
        await given.send(send)

    async def _done(
        self, scope: Scope, receive: Receive, transaction: RequestTransaction, claim: Claim | None
    ) -> Given:
        """The answer of a request whose transaction is committed."""
        given = Given()
        await self._app(scope, receive, given.take)
        if given.status < 400:
            await transaction.flush()
            fits = dict(scope["headers"]).get(b"if-match")
            actor: Actor | None = scope["state"].get("actor")
            if fits is None or actor is None:  # what people do with their own session has no tags
                pass
            elif not if_match(fits.decode("latin-1"), await self._tag_now(scope, actor)):
                raise Unfit("The resource is not the one that If-Match names: it was changed, or is gone.")
            if claim is not None and transaction.session is not None:
                await claim.keep(transaction.session, given.status, given.content_type, given.body)
        await transaction.commit()
        return given

    async def _tag_now(self, scope: Scope, actor: Actor) -> str | None:
        """The ETag that everybody else is given now: of this path, or of the thing that the last word of a
        POST's path is said of (`/keys/ID/block`). None where there is no such resource.
        """
        path: str = scope["path"]
        paths = [path, path.rsplit("/", 1)[0]] if scope["method"] == "POST" else [path]
        plane: Plane = scope["app"].state.plane
        looking = Database(plane.database.url.render_as_string(hide_password=False), pool_size=2)
        try:
            for one in paths:
                given = Given()
                state = {"plane": replace(plane, database=looking), "actor": actor}
                await self._app(_get_scope(scope, one, state), _nothing, given.take)
                if given.status == 200 and (tag := tag_of(given.body)) is not None:
                    return tag
        finally:
            await looking.close()
        return None


async def _refused(cause: BaseException) -> Given | None:
    """What is answered in place of what was undone; None where nobody foresaw it."""
    match cause:
        case Replay():
            headers = [(b"content-length", str(len(cause.body)).encode()), REPLAYED]
            if cause.content_type:
                headers.append((b"content-type", cause.content_type))
            return Given(cause.status, headers, [cause.body])
        case KeyReused():
            return Given.of(errors.answer(422, str(cause), param=_KEY, code="idempotency_key_reused"))
        case KeyInUse():
            return Given.of(errors.answer(409, str(cause), param=_KEY, code="idempotency_key_in_use"))
        case AnswerGone():
            return Given.of(errors.answer(409, str(cause), param=_KEY, code="idempotency_answer_gone"))
        case Unfit():
            return Given.of(errors.answer(412, str(cause), param="If-Match", code="precondition_failed"))
        case LedgerError():
            return Given.of(await errors.of_ledger(cause))
        case _:
            return None


def _is_key(key: bytes) -> bool:
    return re.fullmatch(rb"[\x20-\x7e]{1,%d}" % KEY_CHARS_MAX, key) is not None


def _asked(scope: Scope, body: bytes) -> Asked:
    headers = dict(scope["headers"])
    told = tuple(headers.get(name, b"") for name in _MEANT)
    credentials = headers.get(b"authorization", b"")
    return Asked(scope["method"], scope["path"], scope["query_string"], body, told, credentials)


def _get_scope(scope: Scope, path: str, state: dict[str, Any]) -> Scope:
    """A GET of a path in the name of who made this request."""
    organization = [one for one in scope["headers"] if one[0] in (b"openai-organization", b"openai-project")]
    return {
        **{name: value for name, value in scope.items() if name in _OF_THE_CONNECTION},
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": organization,
        "state": state,
    }


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
