"""Clients that go on calling while what they call is restarted, and what they saw.

Each sends one call after another on a connection of its own, streams and whole answers in turn, and may send
a call again only where that is safe by the rules of HTTP: where the connection was refused, or ended before
the first byte of an answer. Anything else that goes wrong is kept as an error.
"""

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

TIMEOUT_SECONDS = 60
TRIES = 5
PAUSE_SECONDS = 0.02
"""Between two calls of one client, so that the tests leave the processes they test some of the machine."""

Connect = Callable[[], http.client.HTTPConnection]


def plainly(port: int) -> Connect:
    """Connections to a port of this host."""
    return partial(http.client.HTTPConnection, "127.0.0.1", port, timeout=TIMEOUT_SECONDS)


def by_tls(port: int, context: ssl.SSLContext) -> Connect:
    """The same with TLS."""
    return partial(http.client.HTTPSConnection, "127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context)


@dataclass
class Seen:
    """What the clients were told: the ids of calls that were answered whole, and what went wrong."""

    request_ids: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    begun: int = 0
    """How many answers have begun."""
    again: int = 0
    """How many calls had to be sent once more."""


class Client:
    """One client of what `connect` connects to."""

    def __init__(self, connect: Connect, key: str, seen: Seen, *, may_retry: bool) -> None:
        self._new = connect
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._seen = seen
        self._tries = TRIES if may_retry else 1
        self._connection = self._new()

    def call(self, number: int, max_tokens: int = 4) -> None:
        """One call: answered whole, or an error."""
        body = {
            "model": "simulated",
            "messages": [{"role": "user", "content": f"number {number}"}],
            "max_tokens": max_tokens,
            "ignore_eos": True,
            "stream": number % 2 == 0,
        }
        response = self._answer(json.dumps(body))
        if response is None:
            return
        self._seen.begun += 1
        try:
            content = response.read()
        except (OSError, http.client.HTTPException) as fault:
            self._seen.errors.append(f"in the middle of an answer: {fault!r}")
            self._connection = self._new()
            return
        whole = content.rstrip().endswith(b"[DONE]") if body["stream"] else b'"usage"' in content
        if response.status != 200 or not whole:
            self._seen.errors.append(f"{response.status}: {content[-300:]!r}")
            return
        request_id = response.headers["x-request-id"]
        assert request_id is not None
        self._seen.request_ids.append(request_id)

    def _answer(self, body: str) -> http.client.HTTPResponse | None:
        fault: BaseException | None = None
        for attempt in range(self._tries):
            try:
                self._connection.request("POST", "/v1/chat/completions", body, self._headers)
                response = self._connection.getresponse()
            except (ConnectionError, http.client.RemoteDisconnected) as caught:
                self._connection.close()
                self._connection = self._new()
                fault = caught
                self._seen.again += attempt + 1 < self._tries
            else:
                return response
        self._seen.errors.append(f"no answer: {fault!r}")
        return None

    def close(self) -> None:
        """Lets its connection go."""
        self._connection.close()


@contextmanager
def calling(connect: Connect, key: str, clients: int, *, may_retry: bool) -> Iterator[Seen]:
    """Clients that call one time after another, until the end of the block."""
    seen = Seen()
    ending = threading.Event()

    def go_on(first: int) -> None:
        client = Client(connect, key, seen, may_retry=may_retry)
        number = first
        try:
            while not ending.wait(PAUSE_SECONDS):
                client.call(number)
                number += 1
        except BaseException as fault:
            seen.errors.append(repr(fault))
        finally:
            client.close()

    threads = [threading.Thread(target=go_on, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ending.set()
        for thread in threads:
            thread.join()
