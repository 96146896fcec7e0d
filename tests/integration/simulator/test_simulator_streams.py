"""The simulator over real connections: framing, counters, and clients that leave."""

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from proxy.simulator import SimulatorConfig
from tests.engines import Engine, engine, engine_process, engine_thread, fast_engine

__all__ = ["engine", "fast_engine"]

BOTH = {"include_usage": True, "continuous_usage_stats": True}
HI = [{"role": "user", "content": "hi"}]
STREAM: dict[str, Any] = {"messages": HI, "stream": True, "stream_options": BOTH}
ENDLESS: dict[str, Any] = {**STREAM, "ignore_eos": True, "max_tokens": 8000}


class Connection:
    """A raw client connection with one request on it, so that nothing of the wire is hidden."""

    def __init__(self, port: int, body: dict[str, Any], request_id: str, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        content = json.dumps(body).encode()
        self.socket.sendall(
            b"POST %b HTTP/1.1\r\nhost: engine\r\nx-request-id: %b\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % (path.encode(), request_id.encode(), len(content)) + content
        )
        self.raw = bytearray()

    def read_until(self, mark: bytes) -> None:
        searched = 0
        while self.raw.find(mark, searched) < 0:
            searched = max(0, len(self.raw) - len(mark))
            got = self.socket.recv(65536)
            assert got, self.raw[-300:]
            self.raw += got

    def drain(self) -> None:
        """Reads until the engine closes."""
        while got := self.socket.recv(65536):
            self.raw += got

    def chunks(self) -> list[bytes]:
        """The whole HTTP chunks so far."""
        at = self.raw.find(b"\r\n\r\n") + 4
        found = []
        while (line_end := self.raw.find(b"\r\n", at)) > 0:
            length = int(self.raw[at:line_end], 16)
            at = line_end + 2 + length + 2
            if not length or at > len(self.raw):
                break
            found.append(bytes(self.raw[line_end + 2 : at - 2]))
        return found

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(chunk[6:]) for chunk in self.chunks() if chunk.startswith(b"data: {")]


@contextlib.contextmanager
def connected(
    engine: Engine, body: dict[str, Any], request_id: str = "one", path: str = "/v1/chat/completions"
) -> Iterator[Connection]:
    connection = Connection(engine.port, body, request_id, path)
    with connection.socket:
        yield connection


def test_every_event_is_one_http_chunk(fast_engine: Engine) -> None:
    """vLLM sends one event a chunk; a relay tested with other framing is not tested."""
    with connected(fast_engine, {**STREAM, "max_tokens": 5}) as client:
        client.read_until(b"0\r\n\r\n")
    head = bytes(client.raw).partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert [line.split(b":")[0] for line in head[1:]] == [
        b"date", b"server", b"content-type", b"vary", b"transfer-encoding",
    ]  # fmt: skip
    assert b"content-type: text/event-stream; charset=utf-8" in head
    chunks = client.chunks()
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)
    assert all(chunk.count(b"\n\n") == 1 for chunk in chunks)
    assert chunks[-1] == b"data: [DONE]\n\n"
    assert len(chunks) == 1 + 5 + 1 + 1
    assert client.events()[0]["id"] == "chatcmpl-one"


def test_finished_calls_reconcile_with_the_counters(fast_engine: Engine) -> None:
    """The engine's counters count a prompt n times and its usage once: reconciliation must know both."""
    body = {"messages": HI, "n": 3, "temperature": 1, "max_tokens": 4}
    usage = fast_engine.client.post("/v1/chat/completions", json=body).json()["usage"]
    assert usage["completion_tokens"] == 12
    totals, metrics = fast_engine.totals(), fast_engine.metrics()
    assert totals["generated_tokens"] == metrics["vllm:generation_tokens_total"] == 12
    assert totals["prompt_tokens"] == usage["prompt_tokens"]
    assert metrics["vllm:prompt_tokens_total"] == 3 * usage["prompt_tokens"]
    length = 'vllm:request_success_total{engine="0",finished_reason="length",model_name="simulated"}'
    assert metrics[length] == 3


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_streamed_and_unstreamed_and_repeated_texts_are_the_same(fast_engine: Engine, path: str) -> None:
    """A direct call and one through the proxy are compared: the text must depend on the request alone."""
    body = {"messages": HI, "prompt": "hi", "max_tokens": 60}
    once, again = (fast_engine.client.post(path, json=body).json()["choices"][0] for _ in range(2))
    assert once == again
    text = once["text"] if path == "/v1/completions" else once["message"]["content"]
    streamed = ""
    with fast_engine.client.stream("POST", path, json={**body, "stream": True}) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                (choice,) = json.loads(line[6:])["choices"]
                streamed += choice["text"] if path == "/v1/completions" else choice["delta"]["content"]
    assert streamed == text


@pytest.mark.parametrize("tokens_per_second", [0, 300])
def test_a_half_closed_stream_ends_with_exact_counts(tokens_per_second: float) -> None:
    """The proxy's way to leave: half-close and drain. What was read last is what the engine counted."""
    with engine_thread(SimulatorConfig(tokens_per_second=tokens_per_second)) as engine:
        with connected(engine, {**ENDLESS, "max_tokens": 8000}) as client:
            client.read_until(b'"completion_tokens":5')
            client.socket.shutdown(socket.SHUT_WR)
            client.drain()
        call = engine.call("one")
        seen = client.events()[-1]["usage"]["completion_tokens"]
        if call["ended"] == "aborted":
            assert seen == call["generated_tokens"]
            assert not client.raw.endswith(b"0\r\n\r\n")
            assert engine.metrics()["vllm:generation_tokens_total"] == seen
            aborted = 'vllm:request_success_total{engine="0",finished_reason="abort",model_name="simulated"}'
            assert engine.metrics()[aborted] == 0
        else:
            # As fast as possible, all of it may have been generated before the half-close came.
            assert tokens_per_second == 0


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_aborts_generation(engine: Engine, reset: bool, stream: bool) -> None:
    """An engine that goes on burning tokens for nobody would hide a proxy that never tells it."""
    body = ENDLESS if stream else {"messages": HI, "ignore_eos": True, "max_tokens": 8000}
    with connected(engine, body) as client:
        engine.wait_for(lambda: engine.totals()["generated_tokens"] > 3 or None, "some tokens")
        if reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    call = engine.call("one")
    assert call["ended"] == "aborted"
    assert 3 < call["generated_tokens"] < 8000
    metrics = engine.metrics()
    assert metrics["vllm:generation_tokens_total"] == call["generated_tokens"]
    assert metrics["vllm:num_requests_running"] == 0


def test_leaving_before_the_first_token_counts_nothing() -> None:
    """vLLM counts not even the prompt of such a call."""
    with engine_thread(SimulatorConfig(first_token_delay_ms=60_000)) as engine:
        with connected(engine, STREAM) as client:
            client.read_until(b"\r\n\r\n")
        call = engine.call("one")
        assert (call["ended"], call["generated_tokens"], call["prefilled"]) == ("aborted", 0, False)
        assert engine.metrics()["vllm:prompt_tokens_total"] == 0
        assert engine.totals()["prompt_tokens"] == 0


def test_a_client_that_does_not_read_pauses_its_stream() -> None:
    """Without a bound on the buffer one slow reader would hold the whole answer in memory."""
    tokens = 60_000
    with (
        engine_thread(SimulatorConfig(tokens_per_second=0, max_model_len=100_000)) as engine,
        connected(engine, {**ENDLESS, "max_tokens": tokens}) as client,
    ):
        looks = [0]

        def paused() -> bool | None:
            looks.append(engine.totals()["generated_tokens"])
            return True if looks[-1] and len(set(looks[-10:])) == 1 else None

        engine.wait_for(paused, "the stream to pause")
        assert looks[-1] < tokens
        client.read_until(b"[DONE]")
        assert client.events()[-1]["usage"]["completion_tokens"] == tokens


def test_a_full_queue_is_refused_and_a_free_slot_serves_the_waiting() -> None:
    """--max-num-queued-reqs: 503 without Retry-After, and the queue goes on when a slot is free."""
    config = SimulatorConfig(tokens_per_second=100, max_num_seqs=1, max_num_queued=1)
    with engine_thread(config) as engine, connected(engine, ENDLESS) as first:
        first.read_until(b"data: ")
        with connected(engine, {**STREAM, "max_tokens": 2}, "two") as second:
            engine.wait_for(lambda: engine.metrics()["vllm:num_requests_waiting"] or None, "a waiting call")
            refused = engine.client.post("/v1/chat/completions", json={"messages": HI})
            assert refused.status_code == 503
            assert refused.json()["error"]["type"] == "Service Unavailable"
            first.socket.close()
            second.read_until(b"[DONE]")
        assert engine.call("two")["ended"] == "finished"
        assert engine.settled_totals()["ended"]["refused"] == 1
        assert engine.metrics()["vllm:num_requests_running"] == 0


def test_cached_tokens_are_told_and_a_salt_keeps_them_apart(fast_engine: Engine) -> None:
    """Cached tokens have a price of their own; a tenant's salt must not see another's cache."""

    def cached(**more: Any) -> int:
        body = {"prompt": "river harbor " * 200, "max_tokens": 1, **more}
        usage = fast_engine.client.post("/v1/completions", json=body).json()["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    assert (cached(), cached()) == (0, 384)
    assert (cached(cache_salt="a"), cached(cache_salt="a"), cached(cache_salt="b")) == (0, 384, 0)
    assert fast_engine.metrics()["vllm:prompt_tokens_cached_total"] == 768


def test_keys_guard_only_the_engines_own_prefixes() -> None:
    """vLLM's /invocations and /metrics answer without a key: what a proxy exposes it must choose itself."""
    with engine_thread(SimulatorConfig(api_keys=("k",), tokens_per_second=0)) as engine:
        refused = engine.client.get("/v1/models")
        assert (refused.status_code, refused.text) == (401, '{"error":"Unauthorized"}')
        assert "vary" not in refused.headers
        assert engine.client.get("/v1/models", headers={"authorization": "Bearer k"}).status_code == 200
        body = {"messages": HI, "max_tokens": 1}
        assert engine.client.post("/invocations", json=body).status_code == 200
        assert engine.client.get("/metrics").status_code == 200


def test_embeddings_rerank_and_score_answer_and_count(fast_engine: Engine) -> None:
    """Their usage is metered like any other; near texts must be near for a retrieval demo."""
    body = {"input": ["the river and the harbor", "the river and the bridge", "tokens of python code"]}
    answer = fast_engine.client.post("/v1/embeddings", json=body).json()
    one, two, three = (item["embedding"] for item in answer["data"])
    near, far = (sum(a * b for a, b in zip(one, other, strict=True)) for other in (two, three))
    assert near > far
    encoded = fast_engine.client.post(
        "/v1/embeddings", json={**body, "encoding_format": "base64", "dimensions": 8}
    )
    assert all(isinstance(item["embedding"], str) for item in encoded.json()["data"])
    ranked = fast_engine.client.post(
        "/v1/rerank", json={"query": "river", "documents": ["code", "the river"]}
    )
    assert ranked.json()["results"][0]["index"] == 1
    scored = fast_engine.client.post(
        "/v1/score", json={"text_1": "river", "text_2": ["code", "the river"]}
    ).json()
    tokens = 2 * answer["usage"]["prompt_tokens"] + ranked.json()["usage"]["prompt_tokens"]
    tokens += scored["usage"]["prompt_tokens"]
    assert (
        fast_engine.totals()["prompt_tokens"] == fast_engine.metrics()["vllm:prompt_tokens_total"] == tokens
    )


def test_tokenize_agrees_with_usage_and_detokenize(fast_engine: Engine) -> None:
    """The proxy asks /tokenize for exact prompt counts near the edge of a budget."""
    counted = fast_engine.client.post("/tokenize", json={"messages": HI}).json()
    usage = fast_engine.client.post("/v1/chat/completions", json={"messages": HI, "max_tokens": 1}).json()[
        "usage"
    ]
    assert counted["count"] == len(counted["tokens"]) == usage["prompt_tokens"]
    ids = fast_engine.client.post("/tokenize", json={"prompt": "über 🌊"}).json()["tokens"]
    assert fast_engine.client.post("/detokenize", json={"tokens": ids}).json() == {"prompt": "über 🌊"}


def test_a_killed_engine_refuses_connections() -> None:
    """Chaos tests kill engines: nothing may keep the dead one's port."""
    with engine_process("--tokens-per-second", "100") as engine:
        with connected(engine, ENDLESS) as client:
            client.read_until(b"data: ")
            engine.kill()
            with contextlib.suppress(ConnectionResetError):
                client.drain()
        assert not client.raw.endswith(b"0\r\n\r\n")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{engine.url}/health")
