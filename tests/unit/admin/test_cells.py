"""The cells of an export."""

import json
from dataclasses import replace

import pytest

from admin.exports.cells import DAILY_COLUMNS, DAILY_GROUPING, ROW_COLUMNS, Cell, csv_cell, day_cells
from ledger.tags import Tags
from ledger.totals import KeyLabel, UsageTotal


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
    assert list(ROW_COLUMNS)[17:] == ["ended_at", "ending", "amount", "api_key_name", "api_key_tags"]
    assert DAILY_COLUMNS[-3:] == ("amount", "api_key_name", "api_key_tags")


def test_tags_are_one_object_in_one_cell() -> None:
    """Guards against a value that looks like the next tag, and against a formula in a tag."""
    total = UsageTotal(
        "USD", 1, 1, 0, 1, 0, ("",) * len(DAILY_GROUPING), 0,
        KeyLabel("=A1", Tags.of({"team": "search; stage=prod", "cost centre": "=1+1"})),
    )  # fmt: skip
    cells = day_cells(total)
    assert tuple(cells) == DAILY_COLUMNS
    written = csv_cell(cells["api_key_tags"])
    assert json.loads(str(written)) == {"cost centre": "=1+1", "team": "search; stage=prod"}
    assert csv_cell(cells["api_key_name"]) == "'=A1"
    plain = day_cells(replace(total, key=None))
    assert (plain["api_key_name"], plain["api_key_tags"]) == (None, None)
