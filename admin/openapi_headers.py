"""The OpenAPI document's words on what admin/conditional.py does around every route. Pure."""

from collections.abc import Iterator
from typing import Any, Final

Document = dict[str, Any]

PREFIXES: Final = ("/admin/v1/", "/v1/organization/")
"""What the control plane's resources lie under."""

_ERROR: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}


def _header(name: str, description: str, example: str) -> Document:
    return {
        "name": name, "in": "header", "required": False, "description": description,
        "schema": {"type": "string", "minLength": 1}, "example": example,
    }  # fmt: skip


_TAG: Final = '"5c0f2a7be1d94c3880a1f6d2"'
_IDEMPOTENCY_KEY: Final = _header(
    "Idempotency-Key",
    "A request that is sent again with the same key is done once, and answered the same for 24 hours",
    "7f7d9a52-1c0e-4f0e-9c5e-0d9c1f6f2b11",
)
_IF_MATCH: Final = _header("If-Match", "Only if the resource still has this ETag; else 412", _TAG)
_IF_NONE_MATCH: Final = _header("If-None-Match", "Only if the resource has another ETag; else 304", _TAG)
_ETAG: Final = {
    "ETag": {"description": "Strong; for If-Match and If-None-Match", "schema": {"type": "string"}}
}
_REPLAYED: Final = {
    "idempotent-replayed": {
        "description": "The request was done before, and this was its answer",
        "schema": {"type": "string", "enum": ["true"]},
    }
}


def with_conditions(document: Document) -> Document:
    """The document, each operation with the headers that it takes and the answers that come of them."""
    for method, operation in _operations(document):
        parameters, responses = operation.setdefault("parameters", []), operation["responses"]
        if method == "get":
            if _is_single(document, responses["200"]):
                parameters.append(_IF_NONE_MATCH)
                responses["200"]["headers"] = _ETAG
                responses["304"] = {"description": "The resource is as `If-None-Match` has it"}
            continue
        parameters.append(_IF_MATCH)
        responses["412"] = _answer("The resource is not the one that `If-Match` names")
        if method == "post":
            parameters.append(_IDEMPOTENCY_KEY)
            responses.setdefault("409", _answer("The request with this `Idempotency-Key` is at work"))
            responses["422"] = _answer("The `Idempotency-Key` was used for another request")
            for status in ("200", "201"):
                if status in responses:
                    responses[status]["headers"] = _REPLAYED
    return document


def _operations(document: Document) -> Iterator[tuple[str, Document]]:
    """Those that ask for a key: all that have a permission."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path.startswith(PREFIXES) and "403" in operation["responses"] and operation.get("security"):
                yield method, operation


def _answer(description: str) -> Document:
    return {"description": description, "content": _ERROR}


def _is_single(document: Document, response: Document) -> bool:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    schema = document["components"]["schemas"].get(name, schema)
    return "data" not in schema.get("properties", {})
