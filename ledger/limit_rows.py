"""Limits as they are read by hand-written statements: the columns of `usage_limit` and their value."""

from typing import Any, Final

from ledger.direct import Connection
from ledger.given import Statement
from ledger.limits import Limit, LimitKind, LimitWindow

COLUMNS: Final = (
    "id",
    "tenant_id",
    "project_id",
    "api_key_id",
    "model",
    "end_user",
    "kind",
    '"window"',  # a word of PostgreSQL's own
    "max_value",
    "burst",
    "soft",
)


def selected(alias: str) -> str:
    """The columns, for a SELECT."""
    return ", ".join(f"{alias}.{name}" for name in COLUMNS)


def limit_of(row: tuple[Any, ...]) -> Limit:
    """The limit that a row of `selected` columns is."""
    limit_id, tenant_id, project_id, api_key_id, model, end_user, kind, window, max_value, burst, soft = row
    return Limit(
        limit_id,
        tenant_id,
        project_id,
        api_key_id,
        model,
        end_user,
        LimitKind(kind),
        None if window is None else LimitWindow(window),
        int(max_value),
        None if burst is None else int(burst),
        bool(soft),
    )


_OF_KEY: Final = Statement(
    f"SELECT {selected('l')} FROM {{given}} JOIN usage_limit AS l ON l.tenant_id = given.tenant_id"  # noqa: S608
    " WHERE (l.project_id IS NULL OR l.project_id = given.project_id)"
    " AND (l.api_key_id IS NULL OR l.api_key_id = given.api_key_id) ORDER BY l.id",
    {"tenant_id": "varchar", "project_id": "varchar", "api_key_id": "varchar"},
)


async def limits_of(
    connection: Connection, tenant_id: str, project_id: str, api_key_id: str
) -> tuple[Limit, ...]:
    """Every limit that can concern a call of this key, whatever its model and end user, by id."""
    return tuple(map(limit_of, await _OF_KEY.read(connection, [(tenant_id, project_id, api_key_id)])))
