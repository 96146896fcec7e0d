"""The OpenAPI document's words on what admin/conditional.py does around every route. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from admin import openapi_errors

Document = dict[str, Any]

KEY_CHARS_MAX: Final = 255  # as Stripe's
"""Of an Idempotency-Key."""
PREFIXES: Final = ("/admin/v1/", "/v1/organization/")
"""What the control plane's resources lie under."""


def _header(name: str, description: str, example: str) -> Document:
    return {
        "name": name, "in": "header", "required": False, "description": description,
        "schema": {"type": "string"}, "example": example,
    }  # fmt: skip


_TAG: Final = '"5c0f2a7be1d94c3880a1f6d2"'
_IDEMPOTENCY_KEY: Final = _header(
    "Idempotency-Key",
    "A request that is sent again with the same key is done once, and answered the same for 24 hours",
    "7f7d9a52-1c0e-4f0e-9c5e-0d9c1f6f2b11",
)
_IDEMPOTENCY_KEY["schema"] |= {"minLength": 1, "maxLength": KEY_CHARS_MAX, "pattern": "^[ -~]*$"}
_IF_MATCH: Final = _header("If-Match", "Only if the resource still has this ETag; else 412", _TAG)
_IF_NONE_MATCH: Final = _header("If-None-Match", "Only if the resource has another ETag; else 304", _TAG)
_ETAG: Final = {
    "ETag": {"description": "Strong; for If-Match and If-None-Match", "schema": {"type": "string"}}
}
_CSRF: Final = {
    "type": "apiKey", "in": "header", "name": "X-CSRF-Token",
    "description": "The `csrf_token` of the session: beside its cookie, with every method but GET",
}  # fmt: skip
_REQUEST_ID: Final = {
    "x-request-id": {
        "description": "The request's id: your own, if it had one of 1 to 128 of `A-Z a-z 0-9 . _ -`",
        "schema": {"type": "string"},
    }
}
_REPLAYED: Final = {
    "idempotent-replayed": {
        "description": "The request was done before, and this was its answer",
        "schema": {"type": "string", "enum": ["true"]},
    }
}


def with_conditions(document: Document) -> Document:
    """The document, each operation with the headers that it takes and the answers that come of them."""
    document["components"]["securitySchemes"] |= {"CsrfToken": _CSRF}
    for path, method, operation in _operations(document):
        parameters, responses = operation.setdefault("parameters", []), operation["responses"]
        security = operation.get("security", [])
        is_resource = path.startswith(PREFIXES) and bool(security)
        if method == "get" and is_resource:
            if _is_single(document, responses["200"]):
                parameters.append(_IF_NONE_MATCH)
                responses["200"]["headers"] = dict(_ETAG)
                responses["304"] = {"description": "The resource is as `If-None-Match` has it"}
        elif is_resource:
            operation["security"] = [_with_token(one) for one in security]
            if any("AdminKey" in one for one in security):
                _add_conditions(method, parameters, responses)
        if "requestBody" in operation:
            responses["413"] = openapi_errors.TOO_LARGE
        for status, answer in responses.items():
            responses[status] = {**answer, "headers": {**answer.get("headers", {}), **_REQUEST_ID}}
        if not parameters:
            del operation["parameters"]
    return document


def _add_conditions(method: str, parameters: list[Document], responses: Document) -> None:
    """What a change takes. What people do with their own session takes neither."""
    parameters.append(_IF_MATCH)
    responses["412"] = openapi_errors.UNFIT
    if method == "post":
        parameters.append(_IDEMPOTENCY_KEY)
        responses["409"] = openapi_errors.KEY_IN_USE
        responses["422"] = openapi_errors.KEY_REUSED
        for status in ("200", "201"):
            if status in responses:
                responses[status]["headers"] = dict(_REPLAYED)


def _with_token(security: Document) -> Document:
    """A way in by a session's cookie, with the token that unsafe methods need beside it."""
    return {**security, "CsrfToken": []} if "Session" in security else security


def _operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _is_single(document: Document, response: Document) -> bool:
    if "application/json" not in response.get("content", {}):
        return False
    schema = response["content"]["application/json"].get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    schema = document["components"]["schemas"].get(name, schema)
    return "data" not in schema.get("properties", {})
