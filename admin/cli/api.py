"""The control plane's API as commands call it: what is asked is a path and a body, what comes back is JSON.

A command is written once: whoever answers, a control plane over the network (admin/cli/remote.py) or this
process on the ledger's database (admin/cli/in_process.py), has the same routes. An answer that refuses is a
Fault with the API's own message. It knows neither of them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from admin.cli.command import Fault

NATIVE: Final = "/admin/v1"
ORGANIZATION: Final = "/v1/organization"
PAGE_MAX: Final = {NATIVE: 1000, ORGANIZATION: 100}
"""The longest page that lists give."""

Query = str | int | bool | list[str] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `words` are those of its path behind `root`: the even ones name things, the others are ids,
    or what is done.
    """

    method: str
    root: str
    words: tuple[str, ...]
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    tenant: str | None = None
    """Which tenant the operator means, under /v1/organization."""

    @property
    def path(self) -> str:
        """All of it, as it is before it is quoted."""
        return "/".join((self.root, *self.words))


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered, whole."""

    status: int
    body: bytes
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Streamed:
    """What is answered, as it comes. `chunks` raise Fault where it breaks off."""

    status: int
    chunks: Iterator[bytes]


class Server(Protocol):
    """Who answers."""

    def ask(self, asked: Asked) -> Answer:
        """The answer. Raises Fault where there is none."""

    def open(self, asked: Asked) -> Streamed:
        """The answer, bit by bit. Raises Fault where there is none."""

    def advice(self, status: int, code: str | None) -> str:
        """What to do about a refusal, where the message does not say it."""

    def wait_posted(self) -> None:
        """Waits until what is settled now is posted, where that can be known. Raises LedgerError."""

    def close(self) -> None:
        """Lets go of what it took."""


class Api:
    """The routes under one root. Values that are None are left out of queries."""

    def __init__(self, server: Server, root: str = NATIVE, tenant: str | None = None) -> None:
        """`tenant`: whom the operator means, where no path says so."""
        self.server = server
        self._root = root
        self._tenant = tenant

    def organization(self, tenant: str | None = None) -> "Api":
        """OpenAI's Administration API, about a tenant: the key's own, or the only one, unless named."""
        return Api(self.server, ORGANIZATION, tenant)

    def get(self, *words: str, **query: Query) -> Any:
        """What is there. Raises Fault."""
        return self._done(self._asked("GET", words, query))

    def post(self, *words: str, body: Mapping[str, Any] | None = None) -> Any:
        """Has something made or done. Raises Fault."""
        return self._done(self._asked("POST", words, {}, body))

    def patch(self, *words: str, body: Mapping[str, Any]) -> Any:
        """Has something changed. Raises Fault."""
        return self._done(self._asked("PATCH", words, {}, body))

    def delete(self, *words: str) -> Any:
        """Has something removed. Raises Fault."""
        return self._done(self._asked("DELETE", words, {}))

    def every(self, *words: str, most: int | None = None, **query: Query) -> list[Any]:
        """All of a list, or so many at the most, page by page to its end. Raises Fault."""
        found: list[Any] = []
        after: str | None = query.pop("after", None)  # type: ignore[assignment]
        while True:
            size = PAGE_MAX[self._root] if most is None else min(most - len(found), PAGE_MAX[self._root])
            page = self.get(*words, **query, limit=size, after=after)
            found += page["data"]
            after = page.get("next_after") or page.get("last_id")
            if not page["has_more"] or after is None or len(found) == most:
                return found

    def stream(self, *words: str, **query: Query) -> Iterator[bytes]:
        """A document, bit by bit. Raises Fault, also in the middle."""
        streamed = self.server.open(self._asked("GET", words, query))
        if streamed.status >= 300:
            raise self._refusal(Answer(streamed.status, b"".join(streamed.chunks)))
        return streamed.chunks

    def _asked(
        self, method: str, words: tuple[str, ...], query: Mapping[str, Query], body: Any = None
    ) -> Asked:
        for word in words:
            if not word or word in (".", "..") or "/" in word or not word.isprintable():
                raise Fault(f"{word!r} is no id")
        asked = Asked(method, self._root, words, body=body, tenant=self._tenant)
        return replace(asked, query=tuple(_pairs(query)))

    def _done(self, asked: Asked) -> Any:
        answer = self.server.ask(asked)
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        try:
            return json.loads(answer.body)
        except ValueError:
            raise Fault(f"the answer is no JSON{_of(answer)}; {self.server.advice(404, None)}") from None

    def _refusal(self, answer: Answer) -> Fault:
        try:
            error = json.loads(answer.body)["error"]
            message, code = " ".join(str(error["message"]).split()), error["code"]
            message = message.replace("in the header OpenAI-Organization", "with --tenant")
        except (ValueError, KeyError, TypeError):
            message, code = f"HTTP {answer.status}", None
        if answer.status >= 500:
            message += _of(answer)
        advice = self.server.advice(answer.status, code)
        return Fault(f"{message}{'' if not advice else ' ' if message.endswith('.') else ': '}{advice}")


def given(**fields: Any) -> dict[str, Any]:
    """A body of what is said: what is None is left out."""
    return {name: value for name, value in fields.items() if value is not None}


def _pairs(query: Mapping[str, Query]) -> Iterator[tuple[str, str]]:
    for name, value in query.items():
        if value is None:
            continue
        for one in value if isinstance(value, list) else [value]:
            yield name, str(one).lower() if isinstance(one, bool) else str(one)


def _of(answer: Answer) -> str:
    return f" (request {answer.request_id})" if answer.request_id else ""
