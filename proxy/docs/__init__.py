"""`/docs` and `/openapi.json`: the data plane's own description, for people and for programs.

Owns which of these pages there are, their types and their headers. The document is made from the code's own
tables (`document`); the Swagger UI comes from a wheel, so the pages work where no other host can be
reached. Rules:

- Public: nothing here depends on who asks, on the settings or on the engines.
- An asset is found by its whole name in a table; no path is ever joined to a folder.
- Loaded at the first look (`proxy.app` imports it there), and what was made once is kept: about 1.4 MB.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from proxy.docs.document import openapi
from proxy.docs.openapi30 import downgrade
from proxy.errors import PathUnknown
from proxy.headers import JSON, Headers

_ASSETS_CACHED: Final = (b"cache-control", b"public, max-age=86400")
_PAGES_CACHED: Final = (b"cache-control", b"public, max-age=300")
_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
_NO_STRANGERS: Final = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
"""The browser itself refuses any other host, and any script that is not one of the files below."""

_HTML: Final = b"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>metergate data plane</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

_START: Final = b"""\
SwaggerUIBundle({
  url: "/docs/openapi-3.0.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  layout: "BaseLayout"
});
"""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. `headers` are further ones: how long to keep it, and what a browser may do with it."""

    content_type: bytes
    body: bytes
    headers: Headers


def page(path: str) -> Page:
    """The page at `path`, which is `/openapi.json`, `/docs` or below it. Raises PathUnknown."""
    make = _PAGES.get(path)
    if make is None:
        raise PathUnknown(f"Unknown request URL: GET {path[:200]}.")
    content_type, headers = _TYPES[path.rpartition(".")[2]]
    return Page(content_type, make(), headers)


@cache
def _document() -> bytes:
    return msgspec.json.encode(openapi())


@cache
def _document_30() -> bytes:
    return msgspec.json.encode(downgrade(openapi()))


def _asset(name: str) -> Callable[[], bytes]:
    @cache
    def read() -> bytes:
        from swagger_ui_bundle import swagger_ui_path  # noqa: PLC0415 (needed by whoever looks at /docs)

        return (Path(swagger_ui_path) / name).read_bytes()

    return read


_TYPES: Final[dict[str, tuple[bytes, Headers]]] = {
    "/docs": (b"text/html; charset=utf-8", [_PAGES_CACHED, _NO_SNIFFING, _NO_STRANGERS]),
    "json": (JSON, [_PAGES_CACHED, _NO_SNIFFING]),
    "js": (b"text/javascript; charset=utf-8", [_ASSETS_CACHED, _NO_SNIFFING]),
    "css": (b"text/css; charset=utf-8", [_ASSETS_CACHED, _NO_SNIFFING]),
    "png": (b"image/png", [_ASSETS_CACHED, _NO_SNIFFING]),
}
"""By the end of the path: content type and headers."""

_PAGES: Final[dict[str, Callable[[], bytes]]] = {
    "/openapi.json": _document,
    "/docs": lambda: _HTML,
    "/docs/openapi-3.0.json": _document_30,
    "/docs/start.js": lambda: _START,
    "/docs/swagger-ui-bundle.js": _asset("swagger-ui-bundle.js"),
    "/docs/swagger-ui.css": _asset("swagger-ui.css"),
    "/docs/favicon-32x32.png": _asset("favicon-32x32.png"),
}
