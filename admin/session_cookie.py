"""The cookies of a session: the token, and the mark of a known browser.

HttpOnly, SameSite=Lax (a link in an e-mail finds its reader logged in; unsafe methods ask for the CSRF token
besides), Secure where the request came by https. A secure cookie has the prefix `__Host-`: no other host of
the same domain, and nobody on a plain connection, can set it.
"""

from typing import Final

from fastapi import Request, Response

from admin.cookies import SecureCookies
from ledger.sessions import Origin

SESSION: Final = "metergate_session"
DEVICE: Final = "metergate_device"
HOST_PREFIX: Final = "__Host-"
DEVICE_SECONDS: Final = 365 * 86_400


def read(request: Request, name: str, secure: SecureCookies) -> str | None:
    """The cookie of this request, under the name it has there."""
    return request.cookies.get(_name(request, name, secure))


def write(
    request: Request, response: Response, name: str, value: str, seconds: int | None, secure: SecureCookies
) -> None:
    """Set a cookie; `seconds` None: until the browser is closed."""
    is_secure = _is_secure(request, secure)
    response.set_cookie(
        _name(request, name, secure),
        value,
        max_age=seconds,
        path="/",
        secure=is_secure,
        httponly=True,
        samesite="lax",
    )


def forget(request: Request, response: Response, name: str, secure: SecureCookies) -> None:
    """Take a cookie back."""
    response.delete_cookie(
        _name(request, name, secure),
        path="/",
        secure=_is_secure(request, secure),
        httponly=True,
        samesite="lax",
    )


def origin_of(request: Request) -> Origin:
    """Where the request comes from."""
    address = None if request.client is None else request.client.host
    return Origin(address, request.headers.get("user-agent"))


def _is_secure(request: Request, secure: SecureCookies) -> bool:
    if secure is SecureCookies.AUTO:
        return request.url.scheme == "https"
    return secure is SecureCookies.ALWAYS


def _name(request: Request, name: str, secure: SecureCookies) -> str:
    return HOST_PREFIX + name if _is_secure(request, secure) else name
