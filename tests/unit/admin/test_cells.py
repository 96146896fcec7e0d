"""The cells of an export."""

import pytest

from admin.exports.cells import ROW_COLUMNS, Cell, csv_cell


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(start: str) -> None:
    assert csv_cell(f"{start}cmd|' /C calc'!A0") == f"'{start}cmd|' /C calc'!A0"


@pytest.mark.parametrize(
    ("cell", "written"), [(-5, -5), (True, "true"), (False, "false"), (None, ""), ("m", "m")]
)
def test_everything_else_is_written_as_it_is(cell: Cell, written: str | int) -> None:
    """A negative amount is a number, and stays one."""
    assert csv_cell(cell) == written


def test_the_contracts_columns_come_first_in_their_order() -> None:
    """Users' scripts read columns by place as well as by name."""
    assert list(ROW_COLUMNS)[:17] == [
        "request_id", "started_at", "tenant_id", "project_id", "api_key_id", "model", "backend", "endpoint",
        "streamed", "status", "usage_source", "prompt_tokens", "cached_prompt_tokens", "completion_tokens",
        "amount_picos", "currency", "price_version_id",
    ]  # fmt: skip
