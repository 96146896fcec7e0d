"""Pure: METERGATE_DATABASE_URL, read as SQLAlchemy reads it, without importing it.

A process of the data plane never needs more of a URL than this: a path, or what asyncpg.connect takes. The
tests hold it to SQLAlchemy's own reading.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from ledger.errors import DatabaseUnusable

_URL: Final = re.compile(
    r"(?P<kind>\w+)(?:\+\w+)?://"
    r"(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:(?:\[(?P<ipv6>[^/?]+)\]|(?P<name>[^/:?]+))?(?::(?P<port>\d*))?)?"
    r"(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?"
)
_NO_URL: Final = "METERGATE_DATABASE_URL is no URL: write sqlite:///path or postgresql://..."
_OF_NEITHER: Final = "METERGATE_DATABASE_URL must be sqlite:///path or postgresql://..."
_SQLALCHEMYS: Final = ("prepared_statement_cache_size", "prepared_statement_name_func")
"""Parameters that are SQLAlchemy's own, and nothing to the driver."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """`sqlite_path` of an embedded ledger, else None; `shown` has no password in it."""

    shown: str
    sqlite_path: str | None
    connect: dict[str, Any] = field(default_factory=dict, repr=False)
    """What asyncpg.connect takes."""


def parse(url: str) -> DatabaseUrl:
    """Raises DatabaseUnusable for what is neither SQLite nor PostgreSQL."""
    found = _URL.fullmatch(url)
    if found is None:
        raise DatabaseUnusable(_NO_URL)
    kind, database = found["kind"], unquote(found["database"] or "")
    if kind == "sqlite" and database not in ("", ":memory:"):
        return DatabaseUrl(url, database)
    if kind not in ("postgresql", "postgres"):
        raise DatabaseUnusable(_OF_NEITHER)
    shown = url if found["password"] is None else _hidden(url, found.span("password"))
    return DatabaseUrl(shown, None, _connect(found, database))


def _hidden(url: str, password: tuple[int, int]) -> str:
    return f"{url[: password[0]]}***{url[password[1] :]}"


def _connect(found: re.Match[str], database: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, text in (("user", found["user"]), ("password", found["password"])):
        if text:
            given[name] = unquote(text)
    if host := found["ipv6"] or found["name"]:
        given["host"] = host
    if found["port"]:
        given["port"] = int(found["port"])
    if database:
        given["database"] = database
    query: dict[str, list[str]] = {}
    for name, text in parse_qsl(found["query"] or ""):
        query.setdefault(name, []).append(text)
    hosts, ports = query.pop("host", []), query.pop("port", [])
    given |= {name: texts[-1] for name, texts in query.items() if name not in _SQLALCHEMYS}
    given |= _places(
        [host for text in hosts for host in text.split(",")], [p for text in ports for p in text.split(",")]
    )
    return given


def _places(hosts: list[str], ports: list[str]) -> dict[str, Any]:
    """Hosts of the query: `host=/socket/folder`, `host=a:1&host=b:2`, or `host=a,b&port=1,2`."""
    if hosts and not ports and not hosts[0].startswith("/"):
        pairs = [host.partition(":") for host in hosts]
        hosts, ports = [host for host, _, _ in pairs], [port for _, _, port in pairs]
    try:
        numbers = [int(port) for port in ports if port]
    except ValueError:
        raise DatabaseUnusable(_NO_URL) from None
    places: dict[str, Any] = {}
    if hosts:
        places["host"] = hosts[0] if len(hosts) == 1 else hosts
    if numbers:
        places["port"] = numbers[0] if len(numbers) == 1 else numbers
    return places
