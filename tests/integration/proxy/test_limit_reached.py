"""Streams that a hard limit ends, through real processes: the client gets a whole answer, the book every
token.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.engines import Engine
from tests.integration.proxy.gate import CANARY, PATIENCE_S, Gate, chat_body, stream_body, wait_for
from tests.integration.proxy.gate import gate as open_gate
from tests.integration.proxy.wire import events
from tests.unit.proxy.reference import VECTORS

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
LIMITED = "tests.integration.proxy.scripted_worker"


@pytest.fixture(scope="module")
def limited_gate(
    shared_engine: Engine, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """A data plane whose streams hold what their `user` says."""
    folder = tmp_path_factory.mktemp("limited")
    with open_gate(sqlite_template, folder, [shared_engine.url], worker_module=LIMITED) as running:
        yield running


def finishes(told: list[Any]) -> list[tuple[int, str]]:
    """(index, reason) of every finish that was told."""
    return sorted(
        (choice["index"], choice["finish_reason"])
        for chunk in told
        if isinstance(chunk, dict)
        for choice in chunk["choices"]
        if choice["finish_reason"]
    )


@pytest.mark.parametrize("asked", [None, "final", "running"])
@pytest.mark.parametrize(
    ("path", "fields", "choices"),
    [
        (CHAT, {}, 1),
        (CHAT, {"n": 3, "temperature": 1}, 3),
        (CHAT, {"tools": [TOOL], "tool_choice": "required", "user": "5x1"}, 1),
        (CHAT, {"logprobs": True}, 1),
        (COMPLETIONS, {"prompt": ["one", f"{CANARY} two"], "messages": None, "n": 2, "temperature": 1}, 4),
    ],
    ids=["plain", "n", "tools", "logprobs", "prompts"],
)
def test_a_stream_that_its_limit_ends_is_whole_and_counted(
    limited_gate: Gate,
    calm_engine: Engine,
    path: str,
    fields: dict[str, Any],
    choices: int,
    asked: str | None,
) -> None:
    """A stream cut off at the limit breaks the app; one that runs on breaks the limit."""
    options = {"include_usage": True, "continuous_usage_stats": asked == "running"}
    more = {} if asked is None else {"stream_options": options}
    body = {"user": "10x2", **stream_body(**fields, **more)}
    body = {name: value for name, value in body.items() if value is not None}
    calm_engine.set_faults({"tokens_per_second": 100})
    with limited_gate.wire() as wire:
        wire.send(limited_gate.request(body, path))
        assert wire.answer_head() == 200, wire.answer()
        told = events(wire.rest())
    assert not wire.unfinished and told.count("[DONE]") == 1 and told[-1] == "[DONE]"
    assert finishes(told) == [(index, "length") for index in range(choices)]
    account, row = calm_engine.call(wire.request_id), limited_gate.row(wire.request_id)
    assert row["ending"] == "limit_reached" and row["usage_source"] == "running" and row["http_status"] == 200
    assert account["ended"] == "aborted"
    assert row["completion_tokens"] == account["generated_tokens"] >= (10 if "tools" in body else 30)
    assert row["prompt_tokens"] == account["prompt_tokens"]
    assert row["completion_tokens"] < 2000, "the engine ran on"
    totals = [chunk["usage"] for chunk in told if isinstance(chunk, dict) and not chunk["choices"]]
    said = [(total["prompt_tokens"], total["completion_tokens"]) for total in totals]
    assert said == ([] if asked is None else [(row["prompt_tokens"], row["completion_tokens"])])


def test_the_sdk_reads_a_limited_stream_to_its_end(limited_gate: Gate, calm_engine: Engine) -> None:
    """The official client raises on an error event and on a body that breaks off."""
    asked: Any = {
        "model": "simulated",
        "messages": chat_body()["messages"],
        "stream_options": {"include_usage": True},
        "user": "6x0",
        "max_tokens": 1500,
        "extra_body": {"ignore_eos": True},
    }
    with OpenAI(base_url=f"{limited_gate.url}/v1", api_key=limited_gate.secret, max_retries=0) as sdk:
        *chunks, last = sdk.chat.completions.create(**asked, stream=True)
        assert chunks[-1].choices[0].finish_reason == "length" and last.usage is not None
        row = limited_gate.row(last.id.removeprefix("chatcmpl-"))
        assert last.usage.completion_tokens == row["completion_tokens"] >= 6
        assert calm_engine.call(row["request_id"])["generated_tokens"] == row["completion_tokens"]
        with sdk.chat.completions.stream(**asked) as stream:
            assert [event.type for event in stream].count("content.done") == 1
            whole = stream.current_completion_snapshot  # the final one is refused where it ends with `length`
        assert whole.choices[0].finish_reason == "length" and whole.usage is not None
        row = limited_gate.row(whole.id.removeprefix("chatcmpl-"))
        assert whole.usage.completion_tokens == row["completion_tokens"] and row["ending"] == "limit_reached"


def test_a_hold_that_grows_lets_the_stream_finish(limited_gate: Gate, calm_engine: Engine) -> None:
    """A limit that has enough must not be felt."""
    calm_engine.set_faults({"tokens_per_second": 0})
    response = limited_gate.client.post(CHAT, json=stream_body(max_tokens=50, user="10x9"))
    told = events(response.content)
    assert finishes(told) == [(0, "length")] and told[-1] == "[DONE]"
    row = limited_gate.row(response.headers["x-request-id"])
    assert row["ending"] == "finished" and row["usage_source"] == "final" and row["completion_tokens"] == 50


EVENTS = [
    event + b"\n\n" for event in (VECTORS / "chat_stream_continuous.sse").read_bytes().split(b"\n\n")[:-1]
]
TOLD = 3
"""Events before the limit of "2x0": the role, and two tokens."""


class Scene:
    """An engine of one call, played by the test: it tells TOLD events and waits for the half-close.

    `drain(connection)` is what it does then.
    """

    def __init__(self, drain: Callable[[socket.socket], None]) -> None:
        self._drain = drain
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.stopped = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            head = connection.recv(65536)
            if head.startswith(b"GET"):
                body = b'{"object":"list","data":[{"id":"simulated","object":"model"}]}'
                lines = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
                connection.sendall(f"{lines}content-length: {len(body)}\r\n\r\n".encode() + body)
                return
            lines = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            connection.sendall(lines.encode() + b"".join(EVENTS[:TOLD]))
            while connection.recv(65536):
                pass
            self.stopped.set()
            self._drain(connection)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def scene(
    template: Path, folder: Path, drain: Callable[[socket.socket], None]
) -> Iterator[tuple[Scene, Gate]]:
    """A data plane before such an engine."""
    engine = Scene(drain)
    try:
        with open_gate(template, folder, [engine.url], worker_module=LIMITED) as gate:
            yield engine, gate
    finally:
        engine.close()


def silent(connection: socket.socket) -> None:
    """Says nothing until the proxy has had enough."""
    connection.settimeout(PATIENCE_S)
    wait_for(lambda: _is_closed(connection) or None, "the proxy to close")


def _is_closed(connection: socket.socket) -> bool:
    """A half-closed connection takes bytes; a closed one answers them with a reset."""
    try:
        connection.send(b": still here\n\n")
    except OSError:
        return True
    return False


def dies(connection: socket.socket) -> None:
    connection.sendall(EVENTS[TOLD][:40])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def errs(connection: socket.socket) -> None:
    connection.sendall(EVENTS[TOLD] + b'data: {"error":{"message":"dead","code":500}}\n\ndata: [DONE]\n\n')


def tells_more(connection: socket.socket) -> None:
    connection.sendall(b"".join(EVENTS[TOLD : TOLD + 2]))


def finishes_by_itself(connection: socket.socket) -> None:
    connection.sendall(b"".join(EVENTS[TOLD:]))


@pytest.mark.parametrize(
    ("drain", "tokens", "source"),
    [
        (silent, 2, "running"),
        (dies, 2, "running"),
        (errs, 3, "running"),
        (tells_more, 4, "running"),
        (finishes_by_itself, 6, "final"),
    ],
)
def test_whatever_the_engine_does_in_the_drain_the_answer_is_whole(
    sqlite_template: Path,
    tmp_path: Path,
    drain: Callable[[socket.socket], None],
    tokens: int,
    source: str,
) -> None:
    """An engine that dies or hangs when it is stopped would take the client's clean end with it."""
    with scene(sqlite_template, tmp_path, drain) as (_, gate):
        response = gate.client.post(
            CHAT, json=stream_body(user="2x0", stream_options={"include_usage": True})
        )
        told = [event for event in events(response.content) if not str(event).startswith(":")]
        *_, last, done = told
        assert done == "[DONE]" and told.count(done) == 1 and finishes(told) == [(0, "length")]
        row = gate.row(response.headers["x-request-id"])
        assert row["ending"] == "limit_reached" and row["usage_source"] == source
        assert row["completion_tokens"] == last["usage"]["completion_tokens"] == tokens


def test_a_client_that_leaves_in_the_drain_has_left(sqlite_template: Path, tmp_path: Path) -> None:
    """What is written for nobody would be an answer that nobody got."""
    with scene(sqlite_template, tmp_path, silent) as (engine, gate):
        with gate.wire() as wire:
            wire.send(gate.request(stream_body(user="2x0")))
            assert wire.answer_head() == 200
            assert engine.stopped.wait(PATIENCE_S)
        row = gate.row(wire.request_id)
        assert row["ending"] == "client_left" and row["completion_tokens"] == 2
