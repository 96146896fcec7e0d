"""What schemathesis makes of the control plane's OpenAPI document, asked of the app inside this process, by
every role: for test_schemathesis.

A case is generated for the document and knows nothing of what there is. So most are told: ids that name
something take the place of made-up ones, in the path, the query, the headers and the body. The ledger is one
in which nothing stays (asking.Undone): whatever is asked, the next case finds the world as it was, and a
fault comes again when its case does.
"""

import asyncio
import collections
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core import NOT_SET
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks

from admin.app import create_app
from admin.config import AdminSettings
from admin.session_cookie import SESSION
from admin.signed_in import CSRF_HEADER
from ledger import memberships, sessions, users
from ledger.actors import PROGRAM
from ledger.roles import Role
from ledger.sessions import Origin
from ledger.settings import pepper
from tests.inline_sqlite import inline_sqlite
from tests.integration.admin.asking import NOBODYS, SHARED, Ids, Undone, World, make_world

load_all_checks()
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
"""Off are: `positive_data_acceptance`, since what is well-formed is refused where a state or a right does not
allow it; `ignored_auth` and `object_level_authorization`, which ask again with other credentials: here nobody
is asked for everything, and test_permissions has the rest; `unsupported_method`, `allow_header_conformance`
and `missing_required_header`, which are of schemathesis' coverage phase (`make fuzz`); `use_after_free` and
`ensure_resource_availability`, which need a ledger in which things stay: CHAINED.
"""

ILL_FORMED = [*CHECKS, checks.negative_data_rejection]
CHAINED = [*CHECKS, checks.use_after_free, checks.ensure_resource_availability]

NOBODY = "nobody"
OWN, OTHERS, NONE = "own", "others", "none"


def checks_of(case: Any) -> list[Any]:
    """What an answer to this case is held to. Ill-formed is what still is so as it was sent: not a body of
    nothing where none is needed, and not a list in a query, which there is a parameter said again: the last
    counts.
    """
    ill = {location for location, part in case.meta.components.items() if part.mode.is_negative}
    is_needed = case.operation.definition.raw.get("requestBody", {}).get("required", False)
    if not is_needed and (case.body is None or case.body is NOT_SET):
        ill.discard(ParameterLocation.BODY)
    changed = (case.query or {}).get(getattr(case.meta.phase.data, "parameter", None))
    if isinstance(changed, list):
        ill.discard(ParameterLocation.QUERY)
    return ILL_FORMED if ill else CHECKS


def schema_of(app: FastAPI) -> Any:
    """The document as served, for schemathesis. Credentials are the askers', and never generated."""
    config = {
        "generation": {"with-security-parameters": False},
        "checks": {
            "negative_data_rejection": {
                "expected-statuses": ["400", "401", "403", "404", "409", "412", "413", "422", "429"]
            }
        },
    }
    return schemathesis.openapi.from_dict(app.openapi(), config=schemathesis.Config.from_dict(config))


@dataclass(frozen=True)
class Question:
    """A case, and whose ids are put into it."""

    case: Any
    whose: str
    is_conditional: bool
    """With the If-Match that was generated: it fits nothing."""


@st.composite
def questions(draw: st.DrawFn, operation: Any) -> Question:
    """Of an operation: well-formed twice as often as not."""
    well = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    ill = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    case = draw(draw(st.sampled_from([well, well, ill])))
    whose = draw(st.sampled_from([OWN, OWN, OWN, OTHERS, NONE]))
    return Question(case, whose, draw(st.integers(0, 3)) == 3)


class Plane:
    """The app with a world in it, and everybody's credentials. Only `planes` makes one."""

    def __init__(self, app: FastAPI, world: World, people: dict[str, dict[str, str]]) -> None:
        """`people`: the headers of each asker."""
        self.app = app
        self._ids = {
            OWN: SHARED | world.own,
            OTHERS: SHARED | world.others,
            NONE: SHARED | NOBODYS,
        }
        self.people = people

    async def ask(self, question: Question, who: str) -> tuple[Any, Response]:
        """The case as it was sent, and the answer."""
        case = question.case
        ids = self._ids[question.whose]
        for location, part in _PARTS.items():
            made = case.meta.components.get(location)
            if made is None or made.mode.is_positive:  # what is wrong stays wrong
                setattr(case, part, _known(getattr(case, part), ids))
        headers = dict(case.headers or {})
        if "/organization/" in case.path and question.whose != NONE:
            headers["OpenAI-Organization"] = ids["tenant_id"]
        if not question.is_conditional:
            headers.pop("If-Match", None)
        case.headers = headers
        return case, await self.send(case, who)

    async def send(self, case: Any, who: str) -> Response:
        """The answer to a case as it is."""
        sent = case.as_transport_kwargs(base_url="http://plane")
        sent = {name: sent[name] for name in sent.keys() & _SENT}
        sent["headers"] = {**(sent.get("headers") or {}), **self.people[who]}
        prepared = requests.Request(**sent).prepare()
        return await _call(self.app, prepared)


_PARTS = {
    ParameterLocation.PATH: "path_parameters", ParameterLocation.QUERY: "query",
    ParameterLocation.BODY: "body",
}  # fmt: skip
_SENT = {"method", "url", "headers", "params", "data", "json", "files"}


def _known(value: Any, ids: Ids) -> Any:
    """The value with the ids that its members are named after."""
    if not isinstance(value, dict):
        return value
    return {name: ids.get(name, inner) if isinstance(inner, str) else inner for name, inner in value.items()}


async def _call(app: FastAPI, prepared: requests.PreparedRequest) -> Response:
    """The app's answer, as a server would ask it."""
    assert prepared.url is not None
    url = urlsplit(prepared.url)
    body = prepared.body or b""
    answer: dict[str, Any] = {}
    chunks: list[bytes] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
        "method": prepared.method, "path": unquote(url.path), "raw_path": url.path.encode(),
        "query_string": url.query.encode(), "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("plane", 80), "state": {},
        "headers": [(_bytes(name).lower(), _bytes(of).strip()) for name, of in prepared.headers.items()],
    }  # fmt: skip

    unread = [_bytes(body)]

    async def receive() -> dict[str, Any]:
        if not unread:
            await asyncio.Event().wait()  # nobody goes away
        return {"type": "http.request", "body": unread.pop(), "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.update(message)
        else:
            chunks.append(message.get("body", b""))

    try:
        await app(scope, receive, send)
    except Exception:
        if not answer:  # else it was answered 500 and then raised on, for the server's log
            raise
    headers: dict[str, list[str]] = collections.defaultdict(list)
    for name, value in answer["headers"]:
        headers[name.decode("latin-1")].append(value.decode("latin-1"))
    return Response(answer["status"], headers, b"".join(chunks), prepared, 0.0, verify=False)


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("latin-1", "replace")


@dataclass(frozen=True)
class Stage:
    """A plane, and the loop that it lives in."""

    plane: Plane
    runner: asyncio.Runner

    def ask(self, question: Question, who: str) -> tuple[Any, Response]:
        """As the plane's."""
        return self.runner.run(self.plane.ask(question, who))

    def send(self, case: Any, who: str) -> Response:
        """As the plane's."""
        return self.runner.run(self.plane.send(case, who))

    @classmethod
    @contextmanager
    def on(cls, database_url: str, folder: Path, *, is_undone: bool = True) -> Iterator[Self]:
        """An app on a ledger that is migrated and empty; whether what is changed there is taken back."""
        settings = AdminSettings(database_url=database_url, data_dir=folder, password_memory_mib=19)
        app = create_app(settings)
        with inline_sqlite(), asyncio.Runner() as runner:
            lifespan = app.router.lifespan_context(app)
            runner.run(lifespan.__aenter__())
            plane = app.state.plane
            world, people = runner.run(_inhabit(plane.database, settings))
            undone = Undone(plane.database)
            if is_undone:
                app.state.plane = replace(plane, database=undone)
            try:
                yield cls(Plane(app, world, people), runner)
            finally:
                app.state.plane = plane
                runner.run(undone.close())
                runner.run(lifespan.__aexit__(None, None, None))


async def _inhabit(database: Any, settings: AdminSettings) -> tuple[World, dict[str, dict[str, str]]]:
    """The world, and the headers of each of its askers, by name."""
    secret = pepper(settings)
    world = await make_world(database, secret)
    # Of the keys that are limited to a project the mightiest: test_permissions has the others.
    askers = [one for one in world.askers if not one.is_limited or one.role is Role.OWNER]
    people = {str(one): {"Authorization": f"Bearer {one.secret}"} for one in askers}
    now_us = time.time_ns() // 1000
    async with database.write() as session:
        user = await users.create_user(session, "owner@example.com", "Owner", 1, by=PROGRAM)
        await memberships.join(session, user, world.own["tenant_id"], Role.OWNER, 1, by=PROGRAM)
        begun, token = await sessions.begin(session, secret, user, Origin(), settings.session_terms(), now_us)
        csrf_token = sessions.csrf_token(secret, begun.id)
    people["owner, by a session"] = {"Cookie": f"{SESSION}={token}", CSRF_HEADER: csrf_token}
    return world, {**people, NOBODY: {}}
