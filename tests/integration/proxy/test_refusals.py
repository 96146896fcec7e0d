"""What does not get through: bodies, heads, paths and methods; and HTTP as odd clients speak it."""

import json

import pytest

from tests.engines import Engine
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import CANARY, Gate, chat_body, stream_body
from tests.integration.proxy.wire import events

CHAT = "/v1/chat/completions"


def refusal(response: object) -> dict[str, object]:
    """The error object of an answer in OpenAI's shape."""
    error = response.json()["error"]  # type: ignore[attr-defined]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["type"] == "invalid_request_error" and not isinstance(error["code"], int)
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"hello",
        json.dumps(chat_body()).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(chat_body()).encode(),
        b'{"model":"\xff"}',
        b'{"model":' + b"[" * 20_000,
    ],
    ids=["empty", "torn", "list", "text", "utf-16", "bom", "latin-1", "deep"],
)
def test_a_body_that_is_no_json_object_is_refused(gate: Gate, calm_engine: Engine, body: bytes) -> None:
    """vLLM takes some of these; the proxy would meter another request than the engine runs."""
    before = calm_engine.totals()["calls"]
    response = gate.client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    refusal(response)
    assert calm_engine.totals()["calls"] == before


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": "on"}, "stream"),
        ({"n": "2"}, "n"),
        ({"use_beam_search": True}, "use_beam_search"),
        ({"priority": -9}, "priority"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": []}, "messages"),
        ({"model": None}, "model"),
        ({"warp": 1}, "warp"),
    ],
)
def test_a_field_that_is_refused_is_named(gate: Gate, fields: dict[str, object], param: str) -> None:
    """The SDK shows `param`; a client must see what to take out."""
    response = gate.client.post(CHAT, json={**chat_body(), **fields})
    assert response.status_code == 400
    assert refusal(response)["param"] == param


def test_an_unknown_model_is_openais_404(gate: Gate) -> None:
    """The SDK raises NotFoundError; apps read the code."""
    response = gate.client.post(CHAT, json=chat_body(model="gpt-none"))
    assert response.status_code == 404
    error = refusal(response)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["message"] == "The model `gpt-none` does not exist or you do not have access to it."


@pytest.mark.parametrize(
    "path",
    [
        "/invocations",
        "/metrics",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/tokenize",
        "/detokenize",
        "/scale_elastic_ep",
        "/v1/chat/completions/batch",
        "/v1/chat/completions/render",
        "/collective_rpc",
        "/simulator/totals",
        "/load",
        "/ping",
        "/version",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1/../invocations",
        "/v1/models/../../invocations",
        "/V1/chat/completions",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_of_the_engine_are_closed(
    gate: Gate, calm_engine: Engine, path: str, method: str
) -> None:
    """vLLM answers /invocations without a key, and counts it on nobody."""
    before = calm_engine.totals()["calls"]
    with gate.wire() as wire:
        body = json.dumps(chat_body()).encode() if method == "POST" else b""
        wire.send(
            f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gate.secret}\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        status, told = wire.answer()
    assert status in (404, 405), told
    assert told["error"]["type"] == "invalid_request_error"
    assert calm_engine.totals()["calls"] == before


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(gate: Gate, method: str) -> None:
    """405 in OpenAI's shape, with the method that is right (RFC 9110 asks for `allow`)."""
    response = gate.client.request(method, CHAT)
    assert response.status_code == 405
    assert refusal(response)["code"] == "method_not_supported"
    assert response.headers["allow"] == "POST"
    if method != "GET":
        response = gate.client.request(method, "/v1/models")
        assert response.status_code == 405 and response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/healthz", 200), ("/readyz", 200), (CHAT, 405)])
def test_head_has_no_body(gate: Gate, path: str, status: int) -> None:
    """A body after HEAD is read as the next answer's head."""
    with gate.wire() as wire:
        for _ in range(2):
            wire.send(f"HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert wire.answer_head() == status
        wire.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert wire.answer() == (200, {"status": "ok"})
        assert wire.ended()


def test_a_large_body_is_refused_before_it_is_read(gate: Gate) -> None:
    """Announced: before a byte of it comes; unannounced: as soon as it is too much."""
    lines = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gate.secret}\r\n"
    with gate.wire() as wire:
        wire.send(f"{lines}content-length: 100001\r\n\r\n".encode())
        status, told = wire.answer()
        assert (status, told["error"]["code"]) == (413, "request_too_large")
    with gate.wire() as wire:
        wire.send(f"{lines}transfer-encoding: chunked\r\n\r\n".encode())
        for _ in range(11):
            wire.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        status, told = wire.answer()
        assert (status, told["error"]["code"]) == (413, "request_too_large")


def test_a_body_of_the_largest_size_passes(gate: Gate) -> None:
    """The bound is the bound, not one less."""
    body = json.dumps(chat_body(max_tokens=1)).encode()
    response = gate.client.post(CHAT, content=body + b" " * (100_000 - len(body)))
    assert response.status_code == 200


@pytest.mark.parametrize("size", [20_000, 60_000, 132_000])
def test_a_large_head_is_refused(gate: Gate, size: int) -> None:
    """431 in OpenAI's shape, whether the head ends or never does."""
    with gate.wire() as wire:
        wire.send(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n".encode())
        try:
            for _ in range(size // 1000):
                wire.send(b"x-filler: " + b"x" * 988 + b"\r\n")
            wire.send(b"content-length: 0\r\n\r\n")
        except (ConnectionResetError, BrokenPipeError):
            pass  # it has heard enough
        status, told = wire.answer()
    assert status == 431
    assert told["error"]["code"] == "headers_too_large"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["word", "header", "two lengths", "length", "smuggling", "tls"],
)
def test_what_is_no_http_is_refused_in_openais_shape(gate: Gate, request_bytes: bytes) -> None:
    """Two lengths are how requests are smuggled past a proxy; the connection ends there."""
    with gate.wire() as wire:
        wire.send(request_bytes)
        status, told = wire.answer()
        assert status == 400 and told["error"]["type"] == "invalid_request_error"
        assert wire.ended()


def test_pipelined_requests_are_answered_in_order(gate: Gate, calm_engine: Engine) -> None:
    """Two calls in one packet: two answers, two rows, whose tokens are each its own."""
    calm_engine.set_faults({"tokens_per_second": 0})
    with gate.wire() as wire:
        wire.send(
            gate.request(stream_body(max_tokens=3)) + gate.request(chat_body(max_tokens=4, ignore_eos=True))
        )
        assert wire.answer_head() == 200
        first = wire.request_id
        assert events(wire.rest())[-1] == "[DONE]"
        status, told = wire.answer()
        assert status == 200 and told["usage"]["completion_tokens"] == 4
        second = wire.request_id
    assert [gate.row(one)["completion_tokens"] for one in (first, second)] == [3, 4]


def test_a_client_that_leaves_in_the_middle_of_its_pipeline_breaks_nothing(
    new_gate: NewGate, calm_engine: Engine
) -> None:
    """Guards against answers written to a connection that is gone: a traceback for each, which any client can
    cause, and a call that nobody settles. The gate's log is looked through when it is closed.
    """
    gate = new_gate(calm_engine.url)
    calm_engine.set_faults({"path": CHAT, "tokens_per_second": 50})
    for number, body in enumerate((chat_body(max_tokens=20, ignore_eos=True), stream_body(max_tokens=20))):
        before = len(calm_engine.calls())
        with gate.wire() as wire:
            wire.send(gate.request(body) + gate.request(chat_body(max_tokens=3)))
            calm_engine.wait_for(lambda seen=before: len(calm_engine.calls()) > seen or None, "the call")
        assert gate.totals(number + 1)["calls"] >= number + 1


def test_a_connection_is_kept_for_the_next_request(gate: Gate) -> None:
    """Also after an error, a refused body and a stream: a client's pool must not be emptied by these."""
    with gate.wire() as wire:
        wire.send(gate.request(b"no json"))
        assert wire.answer()[0] == 400
        wire.send(gate.request(chat_body(), secret="sk-wrong"))
        assert wire.answer()[0] == 401
        wire.send(gate.request(stream_body(max_tokens=2)))
        assert wire.answer_head() == 200 and events(wire.rest())[-1] == "[DONE]"
        wire.send(gate.request(chat_body(max_tokens=1)))
        assert wire.answer()[0] == 200


def test_a_client_that_asks_first_is_told_to_continue(gate: Gate) -> None:
    """curl waits for `100 Continue` with bodies over 1 MiB; who has no key is told so before sending."""
    request = gate.request(chat_body(max_tokens=1), head="expect: 100-continue\r\n")
    head, _, body = request.partition(b"\r\n\r\n")
    with gate.wire() as wire:
        wire.send(head + b"\r\n\r\n")
        assert wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(body)
        assert wire.answer()[0] == 200
    with gate.wire() as wire:
        wire.send(head.replace(gate.secret.encode(), b"sk-mg-wrong") + b"\r\n\r\n")
        assert wire.answer()[0] == 401


def test_a_body_in_pieces_is_read_whole(gate: Gate) -> None:
    """Slow clients send a byte at a time; chunked ones announce no length."""
    body = json.dumps(chat_body(max_tokens=1)).encode()
    with gate.wire() as wire:
        request = gate.request(chat_body(max_tokens=1))
        for at in range(0, len(request), 7):
            wire.send(request[at : at + 7])
        assert wire.answer()[0] == 200
        lines = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gate.secret}\r\n"
        wire.send(f"{lines}transfer-encoding: chunked\r\n\r\n".encode())
        for at in range(0, len(body), 50):
            part = body[at : at + 50]
            wire.send(b"%x\r\n%b\r\n" % (len(part), part))
        wire.send(b"0\r\n\r\n")
        assert wire.answer()[0] == 200


def test_http_1_0_is_answered_and_closed(gate: Gate, calm_engine: Engine) -> None:
    """nginx speaks it to its upstreams by default; it knows no chunks: a stream ends with its connection."""
    calm_engine.set_faults({"tokens_per_second": 0})
    with gate.wire() as wire:
        wire.send(gate.request(chat_body(max_tokens=1)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        status, told = wire.answer()
        assert status == 200 and told["usage"]["completion_tokens"] == 1
        assert wire.ended()
    with gate.wire() as wire:
        wire.send(gate.request(stream_body(max_tokens=3)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert wire.answer_head() == 200 and not wire.header("transfer-encoding")
        told = events(wire.until_closed())
        assert len(told) == 5 and told[-1] == "[DONE]"


def test_nothing_said_comes_back_in_a_refusal(gate: Gate) -> None:
    """Errors are logged by clients: a prompt has no business in them."""
    for body in ({**chat_body(), "messages": CANARY}, {**chat_body(), "n": CANARY}, [CANARY]):
        response = gate.client.post(CHAT, json=body)
        assert response.status_code == 400 and CANARY not in response.text


@pytest.mark.parametrize("base", ["", "//v1", "/v1/chat/completions", "/v1/v1"])
def test_a_wrong_base_url_is_told_the_right_one(gate: Gate, base: str) -> None:
    """ "Unknown request URL" alone left everybody who forgot the /v1 with nothing to go by."""
    answer = gate.client.post(f"{gate.url}{base}/chat/completions", json={})
    assert answer.status_code == 404
    assert "Did you mean /v1/chat/completions?" in answer.json()["error"]["message"]
