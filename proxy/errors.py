"""Everything that can go wrong with a call, as the client is told of it. Pure.

Owns the shape: `{"error": {"message", "type", "param", "code"}}` with OpenAI's types and codes, and the
headers by which the official SDKs decide on a retry (`x-should-retry`, `retry-after`, `retry-after-ms`).
Must know neither sockets nor the ledger.

    ApiError
    ├── BodyUnreadable  FieldMissing  FieldRefused  FieldUnsupported                400
    ├── ContextExceeded  RequestRefused                                             400
    ├── KeyMissing  KeyIncorrect                                                    401
    ├── AccessBlocked  ScopeMissing  AddressRefused                                 403
    ├── PathUnknown  ModelUnknown  EndpointUnserved                                 404
    ├── MethodRefused                                                               405
    ├── BodyTooLarge  HeadTooLarge                                                  413 431
    ├── RateLimited  QuotaExhausted                                                 429
    ├── EngineFault  EngineRefusedUs                                                500 502
    ├── EngineUnavailable  EngineBusy  LedgerUnavailable  Stopping  EngineHung      503 504
    └── ClientGone                                                                  499, which nobody receives
"""

import re
from typing import Any, ClassVar, Final

import msgspec

_encode: Final = msgspec.json.Encoder().encode


class ApiError(Exception):
    """A call that ends with an error answer. What a kind says of `type` and `retry_after_ms`, one error may
    say otherwise.
    """

    status: ClassVar[int] = 500
    type: str = "server_error"
    code: ClassVar[str | None] = None
    should_retry: ClassVar[bool | None] = None
    retry_after_ms: int | None = None

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def body(self) -> bytes:
        """The JSON body: all four members, always."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return _encode({"error": error})

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that say whether and when to try again."""
        headers = []
        if self.should_retry is not None:
            headers.append((b"x-should-retry", b"true" if self.should_retry else b"false"))
        if self.retry_after_ms is not None:
            seconds = -(-self.retry_after_ms // 1000)
            headers.append((b"retry-after", str(max(1, seconds)).encode()))
            headers.append((b"retry-after-ms", str(self.retry_after_ms).encode()))
        return headers


class _Invalid(ApiError):
    status = 400
    type = "invalid_request_error"


class BodyUnreadable(_Invalid):
    """The body is not one JSON object in UTF-8."""


class FieldMissing(_Invalid):
    """A required field is not there."""

    code = "missing_required_parameter"


class FieldRefused(_Invalid):
    """A field has a value, or is one, that we do not pass on."""

    code = "invalid_value"


class FieldUnsupported(_Invalid):
    """A field that the endpoint does not know, or that no tenant may set."""

    code = "unsupported_parameter"


class ContextExceeded(_Invalid):
    """The prompt and the tokens asked for are longer than the model's context."""

    code = "context_length_exceeded"


class RequestRefused(_Invalid):
    """The engine refuses the request."""


class KeyMissing(ApiError):
    """No API key came with the request."""

    status = 401
    type = "invalid_request_error"


class KeyIncorrect(ApiError):
    """The API key is malformed, unknown, revoked, expired, or replaced and past its grace."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class AccessBlocked(ApiError):
    """The key, its project or its tenant is blocked; or its owner has no part in the project now."""

    status = 403
    type = "invalid_request_error"
    code = "access_blocked"
    should_retry = False


class ScopeMissing(ApiError):
    """The key may not be used for this endpoint."""

    status = 403
    type = "invalid_request_error"
    code = "insufficient_permissions"
    should_retry = False


class AddressRefused(ApiError):
    """The key may not be used from this address."""

    status = 403
    type = "invalid_request_error"
    code = "ip_not_authorized"
    should_retry = False


class PathUnknown(_Invalid):
    """No such path here; the engine may have it, but it is not ours to open."""

    status = 404
    code = "unknown_url"


class ModelUnknown(_Invalid):
    """No engine serves the model, or the key may not use it: the answer is the same."""

    status = 404
    code = "model_not_found"


class EndpointUnserved(_Invalid):
    """The model's engine does not answer this path: a chat model makes no embeddings."""

    status = 404


class MethodRefused(_Invalid):
    """The path has other methods, which `allowed` names."""

    status = 405
    code = "method_not_supported"

    def __init__(self, message: str, param: str | None = None, *, allowed: str = "GET, HEAD") -> None:
        super().__init__(message, param)
        self.allowed = allowed

    def headers(self) -> list[tuple[bytes, bytes]]:
        """RFC 9110 asks for `allow`."""
        return [*super().headers(), (b"allow", self.allowed.encode())]


class BodyTooLarge(_Invalid):
    """The body is longer than METERGATE_MAX_BODY_BYTES."""

    status = 413
    code = "request_too_large"


class HeadTooLarge(_Invalid):
    """The request's head is longer than METERGATE_MAX_HEADER_BYTES."""

    status = 431
    code = "headers_too_large"


class RateLimited(ApiError):
    """A limit has nothing left at the moment: requests or tokens by the minute, calls in flight."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"
    retry_after_ms = 1000
    types: ClassVar = ("requests", "tokens")
    """What is limited: `type` is one of these."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        *,
        type: str = "requests",  # noqa: A002 (OpenAI's word)
        retry_after_us: int = 1_000_000,
    ) -> None:
        """`retry_after_us`: in how long a retry can succeed; told in milliseconds, never early."""
        super().__init__(message, param)
        assert type in self.types, type
        self.type = type
        self.retry_after_ms = max(1, -(-retry_after_us // 1000))


class QuotaExhausted(ApiError):
    """A budget or quota is used up until its window ends, or for good."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    should_retry = False


class ClientGone(ApiError):
    """The client left before anything was answered; nobody reads this."""

    status = 499


class EngineFault(ApiError):
    """The engine failed on this request, or its answer cannot be read."""

    status = 500


class EngineRefusedUs(ApiError):
    """The engine does not take metergate's own key: the operator's mistake, not the caller's."""

    status = 502
    should_retry = False


class EngineUnavailable(ApiError):
    """No replica of the model answers."""

    status = 503
    code = "engine_unavailable"
    retry_after_ms = 1000


class EngineBusy(ApiError):
    """The engine's queue is full."""

    status = 503
    code = "engine_overloaded"
    retry_after_ms = 1000


class LedgerUnavailable(ApiError):
    """The key cannot be checked, or the call not recorded, because the ledger cannot be reached."""

    status = 503
    code = "ledger_unavailable"
    retry_after_ms = 1000


class ControlPlaneUnavailable(ApiError):
    """The control plane, which this path is passed on to, does not answer."""

    status = 503
    code = "control_plane_unavailable"
    retry_after_ms = 1000


class Stopping(ApiError):
    """This process is shutting down."""

    status = 503
    code = "stopping"
    retry_after_ms = 1000


class EngineHung(ApiError):
    """The engine took the request and then said nothing for too long."""

    status = 504
    code = "engine_timeout"


_TOO_LONG: Final = re.compile(
    r"context length|max_model_len|maximum model length|longer than the maximum", re.IGNORECASE
)


def from_engine(status: int, body: bytes, model: str, input_field: str) -> ApiError:
    """Translates an engine's error answer: its integer codes, its string errors, FastAPI's `{"detail"}`.

    Source: facts measured on vLLM 0.32: `{"error": {"message", "type", "param", "code": 400}}`, `{"error":
    "Unauthorized"}`, `{"detail": "Not Found"}`, and 503 with a full queue.
    """
    message, param = _engine_words(body)
    if status in {401, 403}:
        return EngineRefusedUs("The engine refused metergate's own key. Set METERGATE_ENGINE_API_KEY.")
    if status == 404:
        if param == "model" or "does not exist" in message:
            return model_unknown(model)
        return EndpointUnserved(f"The model `{model[:200]}` is not served at this endpoint.", "model")
    if status in {429, 503}:
        return EngineBusy(message or "The engine is overloaded.")
    if status == 413:
        return BodyTooLarge(message or "The engine refused the request as too large.")
    if 400 <= status < 500:
        if _TOO_LONG.search(message):
            return ContextExceeded(message, input_field)
        return RequestRefused(message or "The engine refused the request.", param)
    return EngineFault(message or "The engine failed on this request.")


def from_stream(error: dict[str, Any]) -> ApiError:
    """Translates an error object that the engine sent inside a stream."""
    message = error.get("message")
    text = (
        message if isinstance(message, str) and message else "The engine failed in the middle of the answer."
    )
    code = error.get("code")
    if isinstance(code, int) and 400 <= code < 500:
        param = error.get("param")
        return RequestRefused(text, param if isinstance(param, str) else None)
    return EngineFault(text)


def model_unknown(model: str) -> ModelUnknown:
    """OpenAI's words for a model that is not there or not allowed."""
    return ModelUnknown(f"The model `{model[:200]}` does not exist or you do not have access to it.", "model")


def _engine_words(body: bytes) -> tuple[str, str | None]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", None
    if not isinstance(answer, dict):
        return "", None
    error = answer.get("error", answer.get("detail", answer))
    if isinstance(error, str):
        return error, None
    if not isinstance(error, dict):
        return "", None
    message, param = error.get("message"), error.get("param")
    return message if isinstance(message, str) else "", param if isinstance(param, str) else None
