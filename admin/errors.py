"""Any failure of the control plane as OpenAI's error body: `{"error": {message, type, param, code}}`,
always all four.

The one place where the ledger's errors meet HTTP. Messages hold no secret, and nothing of a traceback.
"""

import logging
from collections.abc import Mapping
from functools import partial

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from admin.allowed_methods import AllowedMethods
from ledger.errors import (
    AlreadyExists,
    DatabaseFault,
    DatabaseUnavailable,
    Denied,
    LedgerError,
    NotFound,
    PostingLate,
    Refused,
    TokenRefused,
    TooManyAttempts,
    WrongCredentials,
)

RETRY_SECONDS = 1
"""What a client is told to wait while the database is away."""

_CHALLENGE = {"WWW-Authenticate": "Bearer"}

_log = logging.getLogger("metergate.admin")


class ErrorDetail(BaseModel):
    """What went wrong, in OpenAI's four fields."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error envelope."""

    error: ErrorDetail


class Unauthenticated(Exception):
    """No admin key, or not a valid one; the message says which."""


class CsrfFailed(Exception):
    """A request with a session's cookie comes from somewhere else than the session's own pages."""


def answer(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error response."""
    body = ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code))
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


def install(app: FastAPI) -> None:
    """Makes every failure of the app come out in this shape."""
    app.add_exception_handler(Unauthenticated, _unauthenticated)
    app.add_exception_handler(CsrfFailed, _csrf_failed)
    app.add_exception_handler(LedgerError, _ledger)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, partial(_http, AllowedMethods(app)))
    app.add_exception_handler(Exception, _unexpected)


async def of_ledger(fault: LedgerError) -> JSONResponse:
    """The answer that is given to a failure of the ledger."""
    return await _ledger(Request({"type": "http"}), fault)


async def _unauthenticated(_: Request, fault: Exception) -> JSONResponse:
    return answer(401, str(fault), code="invalid_api_key", headers=_CHALLENGE)


async def _csrf_failed(_: Request, __: Exception) -> JSONResponse:
    return answer(
        403,
        "This does not come from the session's own pages: send its csrf_token in the header X-CSRF-Token.",
        code="csrf_failed",
    )


async def _ledger(_: Request, fault: Exception) -> JSONResponse:
    match fault:
        case NotFound():
            return answer(404, str(fault), code="not_found")
        case WrongCredentials():
            return answer(401, _sentence(fault), code="invalid_credentials", headers=_CHALLENGE)
        case TooManyAttempts():
            return answer(
                429,
                _sentence(fault),
                kind="requests",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(fault.wait_seconds)},
            )
        case TokenRefused():
            return answer(400, _sentence(fault), param="token", code="token_refused")
        case Denied():
            return answer(403, str(fault), code="insufficient_permissions")
        case AlreadyExists():
            return answer(409, str(fault), code="already_exists")
        case Refused():
            return answer(400, str(fault), param=fault.param, code="refused")
        case DatabaseUnavailable() | PostingLate():
            _log.warning("%s", fault)
            return answer(
                503,
                "The ledger does not answer now; try again.",
                kind="server_error",
                code="ledger_unavailable",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        case DatabaseFault():
            _log.error("%s", fault)
            return answer(503, "The ledger cannot serve; the log says why.", kind="server_error")
        case _:
            return await _unexpected(_, fault)


async def _invalid(_: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RequestValidationError)
    first = fault.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return answer(400, f"{where}: {first['msg']}", param=where, code="invalid_value")


async def _http(allowed: AllowedMethods, request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)
    headers = fault.headers
    if fault.status_code == 405:
        headers = {"Allow": allowed.of(request.url.path)}
    messages = {
        404: f"Unknown request URL: {request.method} {request.url.path}.",
        405: f"Not allowed to {request.method} on {request.url.path}.",
    }
    codes = {404: "unknown_url", 405: "method_not_supported"}
    return answer(
        fault.status_code,
        messages.get(fault.status_code, str(fault.detail)),
        code=codes.get(fault.status_code),
        headers=headers,
    )


async def _unexpected(_: Request, fault: Exception) -> JSONResponse:
    _log.error("an unexpected fault", exc_info=fault)
    return answer(500, "The server had an error while processing your request.", kind="server_error")


def _sentence(fault: Exception) -> str:
    text = str(fault)
    return f"{text[:1].upper()}{text[1:]}."
