"""What an export's columns are, and their cells. Pure.

The columns are a contract with users' scripts: new ones are added at the end, none is moved or renamed. The
name and the tags of a key are those of now; all else of a row never changes.
"""

from collections.abc import Callable
from typing import Any

from ledger.money import format_picos
from ledger.periods import iso
from ledger.tags import Tags
from ledger.totals import Grouping, UsageTotal

Cell = str | int | bool | None

# One column of an export of rows: its name, and the cell of a usage row.
ROW_COLUMNS: dict[str, Callable[[Any], Cell]] = {
    "request_id": lambda row: str(row.request_id),
    "started_at": lambda row: iso(row.started_us),
    "tenant_id": lambda row: str(row.tenant_id),
    "project_id": lambda row: str(row.project_id),
    "api_key_id": lambda row: str(row.api_key_id),
    "model": lambda row: str(row.model),
    "backend": lambda row: str(row.backend),
    "endpoint": lambda row: str(row.endpoint),
    "streamed": lambda row: bool(row.streamed),
    "status": lambda row: int(row.http_status),
    "usage_source": lambda row: str(row.usage_source),
    "prompt_tokens": lambda row: int(row.prompt_tokens),
    "cached_prompt_tokens": lambda row: int(row.cached_prompt_tokens),
    "completion_tokens": lambda row: int(row.completion_tokens),
    "amount_picos": lambda row: int(row.amount_picos),
    "currency": lambda row: str(row.currency),
    "price_version_id": lambda row: None if row.price_version_id is None else str(row.price_version_id),
    "ended_at": lambda row: iso(row.ended_us),
    "ending": lambda row: str(row.ending),
    "amount": lambda row: format_picos(row.amount_picos),
    "api_key_name": lambda row: None if row.api_key_name is None else str(row.api_key_name),
    "api_key_tags": lambda row: _tags(row.api_key_tags),
}

DAILY_GROUPING: tuple[Grouping, ...] = (
    "tenant_id",
    "project_id",
    "api_key_id",
    "model",
    "endpoint",
    "usage_source",
)
DAILY_COLUMNS = (
    "day",
    *DAILY_GROUPING,
    "calls",
    "prompt_tokens",
    "cached_prompt_tokens",
    "completion_tokens",
    "amount_picos",
    "currency",
    "amount",
    "api_key_name",
    "api_key_tags",
)


def row_cells(row: Any) -> dict[str, Cell]:
    """The cells of one call."""
    return {name: cell(row) for name, cell in ROW_COLUMNS.items()}


def day_cells(total: UsageTotal) -> dict[str, Cell]:
    """The cells of one day's total, grouped by DAILY_GROUPING."""
    assert total.day_us is not None
    return {
        "day": iso(total.day_us)[:10],
        **dict(zip(DAILY_GROUPING, total.group, strict=True)),
        "calls": total.calls,
        "prompt_tokens": total.prompt_tokens,
        "cached_prompt_tokens": total.cached_prompt_tokens,
        "completion_tokens": total.completion_tokens,
        "amount_picos": total.amount_picos,
        "currency": total.currency,
        "amount": format_picos(total.amount_picos),
        "api_key_name": None if total.key is None else total.key.name,
        "api_key_tags": None if total.key is None else _tags(total.key.tags),
    }


def _tags(tags: Tags | None) -> str | None:
    """As one cell: a JSON object, since values may hold whatever separates."""
    return None if tags is None else tags.to_json()


def csv_cell(cell: Cell) -> str | int:
    """A cell for CSV: true and false, nothing for None, and no text that a spreadsheet would run as a
    formula.

    A model's name comes from an engine or a tenant; =, +, -, @, a tab or a carriage return in front make a
    formula of it (OWASP, "CSV injection"), and an apostrophe before them does not.
    """
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if cell is None:
        return ""
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{cell}"
    return cell
