"""Every failure as the client is told of it: OpenAI's shape, types and codes, and the SDK's retry headers."""

import inspect
import json
from typing import Any

import pytest

from proxy import errors
from proxy.errors import ApiError
from tests.unit.proxy.reference import VECTORS

INDEX = json.loads((VECTORS / "index.json").read_text())
RECORDED = sorted(name for name, entry in INDEX.items() if entry["status"] >= 400)
KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ApiError) and not kind.__name__.startswith("_")
]


def shape(error: ApiError) -> dict[str, Any]:
    """The error object, once it has OpenAI's shape."""
    body = json.loads(error.body())
    assert body.keys() == {"error"}
    told: dict[str, Any] = body["error"]
    assert list(told) == ["message", "type", "param", "code"]
    assert isinstance(told["message"], str) and told["message"]
    assert isinstance(told["type"], str)
    assert told["param"] is None or isinstance(told["param"], str)
    assert told["code"] is None or isinstance(told["code"], str)
    return told


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_openais_shape(kind: type[ApiError]) -> None:
    """All four members, always; an integer code breaks clients that compare it with a string."""
    told = shape(kind("Something.", "field"))
    if 400 <= kind.status < 500 and kind.status != 429 and kind is not errors.ClientGone:
        assert told["type"] == "invalid_request_error"
    if kind.status >= 500:
        assert told["type"] == "server_error"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_sdk_retries_what_may_pass(kind: type[ApiError]) -> None:
    """The SDK retries 5xx unless told not to, and waits as long as retry-after-ms says."""
    sent = dict(kind("Something.").headers())
    assert sent.get(b"x-should-retry") in (None, b"true", b"false")
    assert (b"retry-after" in sent) == (b"retry-after-ms" in sent)
    if kind.status == 503:
        assert int(sent[b"retry-after"]) >= 1 and int(sent[b"retry-after-ms"]) <= 120_000
        assert sent.get(b"x-should-retry") != b"false"
    if kind.status < 500:
        assert (b"retry-after" in sent) is (kind is errors.RateLimited)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_refusal_of_vllm_is_translated(name: str) -> None:
    """vLLM's code is the integer status and its types are its own."""
    entry = INDEX[name]
    body = (VECTORS / entry["file"]).read_bytes()
    error = errors.from_engine(entry["status"], body, "tiny", "messages")
    told = shape(error)
    assert error.status == entry["status"]
    assert told["type"] == "invalid_request_error"
    if "too_long" in name:
        assert (told["code"], told["param"]) == ("context_length_exceeded", "messages")
    if name == "error_unknown_model":
        assert (told["code"], told["param"]) == ("model_not_found", "model")
    if name in ("error_bad_field", "error_stream_options_without_stream"):
        assert told["message"] == json.loads(body)["error"]["message"]
        assert told["param"] == json.loads(body)["error"]["param"]


def engine(code: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> bytes:
    """vLLM's own envelope."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (401, b'{"error":"Unauthorized"}', errors.EngineRefusedUs, {"type": "server_error"}),
        (403, b"<html>", errors.EngineRefusedUs, {}),
        (400, engine(400, "bad", "Bad Request", "body.n"), errors.RequestRefused, {"param": "body.n"}),
        (400, b'{"detail":"There was an error parsing the body"}', errors.RequestRefused, {}),
        (
            400,
            b'{"object":"error","message":"old","type":"x","param":null,"code":400}',
            errors.RequestRefused,
            {},
        ),
        (400, b"", errors.RequestRefused, {"code": None}),
        (404, b'{"detail":"Not Found"}', errors.EndpointUnserved, {}),
        (405, b'{"detail":"Method Not Allowed"}', errors.RequestRefused, {}),
        (
            404,
            engine(404, "The model `x` does not exist.", "NotFoundError"),
            errors.ModelUnknown,
            {"code": "model_not_found", "param": "model"},
        ),
        (413, b"", errors.BodyTooLarge, {}),
        (422, b'{"detail":[{"loc":["body"],"msg":"x"}]}', errors.RequestRefused, {}),
        (429, b"slow down", errors.EngineBusy, {"code": "engine_overloaded"}),
        (503, engine(503, "queue full", "Service Unavailable"), errors.EngineBusy, {"message": "queue full"}),
        (500, engine(500, "boom", "InternalServerError"), errors.EngineFault, {"message": "boom"}),
        (500, b"Internal Server Error", errors.EngineFault, {"type": "server_error"}),
        (502, b"", errors.EngineFault, {}),
        (500, b'{"error":{"message":"\xff"}}', errors.EngineFault, {}),
        (400, b"[" * 100_000, errors.RequestRefused, {}),
        (400, b'{"error":{"message":5,"param":7}}', errors.RequestRefused, {"param": None}),
        (400, b'{"error":null}', errors.RequestRefused, {}),
        (400, b'{"error":[]}', errors.RequestRefused, {}),
        (400, b"[]", errors.RequestRefused, {}),
        (
            400,
            engine(400, "max_tokens=9 cannot be greater than max_model_len=1.", param="max_tokens"),
            errors.ContextExceeded,
            {"code": "context_length_exceeded"},
        ),
    ],
)
def test_an_engines_error_is_translated(
    status: int, body: bytes, kind: type[ApiError], told: dict[str, Any]
) -> None:
    """Whatever an engine, or a gateway before it, answers with: the client reads OpenAI's shape."""
    error = errors.from_engine(status, body, "x", "messages")
    assert type(error) is kind
    assert told.items() <= shape(error).items()


@pytest.mark.parametrize(
    ("error", "status", "param"),
    [
        ({"message": "EngineCore", "type": "InternalServerError", "param": None, "code": 500}, 500, None),
        (
            {"message": "too many", "type": "BadRequestError", "param": "input_tokens", "code": 400},
            400,
            "input_tokens",
        ),
        ({"message": "", "code": "x"}, 500, None),
        ({"message": {"a": 1}, "param": 3, "code": 422}, 400, None),
        ({"code": True}, 500, None),
        ({"code": 200}, 500, None),
        ({"message": "x"}, 500, None),
    ],
)
def test_an_error_inside_a_stream_is_translated(
    error: dict[str, Any], status: int, param: str | None
) -> None:
    """The SDK raises APIError from this event; its code must not be vLLM's integer."""
    translated = errors.from_stream(error)
    assert translated.status == status
    assert shape(translated)["param"] == param


def test_no_error_tells_the_operators_key() -> None:
    """The engine's 401 is the operator's matter; its words stay here."""
    error = errors.from_engine(401, engine(401, "key sk-operator is wrong"), "x", "messages")
    assert b"sk-operator" not in error.body()


def test_a_made_up_model_is_not_sent_back_whole() -> None:
    """A model name of a megabyte came back in the answer."""
    assert len(errors.model_unknown("x" * 1_000_000).body()) < 1000


@pytest.mark.parametrize(
    ("us", "ms", "seconds"),
    [
        (0, b"1", b"1"), (1, b"1", b"1"), (1000, b"1", b"1"), (1001, b"2", b"1"), (999_999, b"1000", b"1"),
        (1_000_001, b"1001", b"2"), (26_604_000, b"26604", b"27"),
    ],
)  # fmt: skip
def test_a_retry_is_never_told_early(us: int, ms: bytes, seconds: bytes) -> None:
    """Guards against a client that comes back a moment too soon, and is refused again."""
    sent = dict(errors.RateLimited("Wait.", retry_after_us=us).headers())
    assert (sent[b"retry-after-ms"], sent[b"retry-after"]) == (ms, seconds)


def test_one_errors_delay_is_its_own() -> None:
    """Guards against a delay kept by the kind: one call's would be told to another's client."""
    errors.RateLimited("Wait.", type="tokens", retry_after_us=5_000_000)
    other = errors.RateLimited("Wait.")
    assert (other.type, other.retry_after_ms) == ("requests", 1000)
    assert errors.RateLimited.retry_after_ms == 1000
