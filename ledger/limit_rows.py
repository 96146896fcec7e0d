"""Limits as they are read by hand-written statements: the columns of `usage_limit` and their value."""

from typing import Any, Final

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
