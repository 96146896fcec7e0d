"""What every endpoint may answer beside its own, for the OpenAPI document."""

from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from admin.errors import ErrorBody

T = TypeVar("T")

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request is wrong; `param` names where"},
    401: {"model": ErrorBody, "description": "No admin key, or not a valid one"},
    403: {"model": ErrorBody, "description": "The key's role lacks the permission that `message` names"},
    404: {"model": ErrorBody, "description": "The id names nothing"},
    500: {"model": ErrorBody, "description": "A fault of the server; its log says more"},
    503: {"model": ErrorBody, "description": "The ledger does not answer now"},
}


class Listing(BaseModel, Generic[T]):
    """A list, the oldest first."""

    data: list[T]
    has_more: bool = False
