"""Failures as the OpenAPI document tells them: the shape, an example of each status, the headers that come
with it. Pure.

The routers name the statuses, with these; what an operation answers beside is in its own module.
"""

from typing import Any, Final

Answer = dict[str, Any]

_SHAPE: Final = {"$ref": "#/components/schemas/ErrorBody"}
_RETRY: Final = {
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 0}}
}
_HEADERS: Final[dict[int, Answer]] = {
    401: {"WWW-Authenticate": {"description": "`Bearer`", "schema": {"type": "string"}}},
    429: _RETRY,
    503: _RETRY,
}


def error_answer(
    status: int,
    description: str,
    message: str,
    *,
    code: str | None,
    param: str | None = None,
    kind: str = "invalid_request_error",
) -> Answer:
    """A failure of this status; `message`, `code`, `param` and `kind` as one of them has them."""
    example = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    answer: Answer = {
        "description": description,
        "content": {"application/json": {"schema": _SHAPE, "example": example}},
    }
    return {**answer, "headers": _HEADERS[status]} if status in _HEADERS else answer


SERVER_ERROR: Final = "server_error"

REFUSED: Final = error_answer(
    400,
    "The request is wrong, or a state does not allow it; `param` names where",
    "limit: Input should be greater than or equal to 1",
    code="invalid_value",
    param="limit",
)
UNAUTHENTICATED: Final = error_answer(
    401,
    "No admin key and no session, or not one that works",
    "Incorrect admin key provided.",
    code="invalid_api_key",
)
DENIED: Final = error_answer(
    403,
    "The role lacks the permission that `message` names; or the CSRF token of a session is missing",
    "You have insufficient permissions for this operation. Missing permission: keys.write.",
    code="insufficient_permissions",
)
MISSING: Final = error_answer(
    404,
    "The id names nothing, or nothing that who asks may see",
    "no project with the id 'proj_1f8sDKq0Yb3nVx7Rt2LcWm9Z'",
    code="not_found",
)
TOO_LARGE: Final = error_answer(
    413,
    "The body is larger than 1 MiB",
    "The body is larger than 1048576 bytes.",
    code="body_too_large",
)
TOO_MANY: Final = error_answer(
    429,
    "Too many attempts; `Retry-After` says when to go on",
    "Too many attempts: try again in 30 seconds.",
    code="rate_limit_exceeded",
    kind="requests",
)
FAULT: Final = error_answer(
    500,
    "A fault of the server; its log says more",
    "The server had an error while processing your request.",
    code=None,
    kind=SERVER_ERROR,
)
UNAVAILABLE: Final = error_answer(
    503,
    "The ledger does not answer now",
    "The ledger does not answer now; try again.",
    code="ledger_unavailable",
    kind=SERVER_ERROR,
)
NOT_READY: Final = error_answer(
    503,
    "The ledger does not answer, or its schema does not fit",
    "The ledger does not answer.",
    code="not_ready",
    kind=SERVER_ERROR,
)
KEY_IN_USE: Final = error_answer(
    409,
    "The name or id is taken; or the request with this `Idempotency-Key` is still at work",
    "Another request with this Idempotency-Key is still at work.",
    code="idempotency_key_in_use",
    param="Idempotency-Key",
)
UNFIT: Final = error_answer(
    412,
    "The resource is not the one that `If-Match` names",
    "The resource is not the one that If-Match names: it was changed, or is gone.",
    code="precondition_failed",
    param="If-Match",
)
KEY_REUSED: Final = error_answer(
    422,
    "The `Idempotency-Key` was used for another request",
    "This Idempotency-Key was used for another request.",
    code="idempotency_key_reused",
    param="Idempotency-Key",
)
