"""Tables: exact types, units in names, and nothing that was said."""

import pytest
from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, Numeric
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator

from ledger import usage_columns
from ledger.record import CallRecord
from ledger.tables import Table
from ledger.tables.base import Amount, Picos

COLUMNS = [(table.name, column) for table in Table.metadata.tables.values() for column in table.columns]

# A prompt, a completion, or a secret has no column to be in, and no field of a record.
SAID = (
    "prompt",
    "completion",
    "message",
    "messages",
    "content",
    "text",
    "body",
    "secret",
    "password",
    "token",
    "input",
)
COUNTS = (
    "prompt_tokens",
    "cached_prompt_tokens",
    "completion_tokens",
    "input_micros_per_mtok",
    "choices_per_prompt",
)


def identify(column: object) -> str:
    return str(column) if isinstance(column, Column) else ""


def says(name: str) -> bool:
    counts = name in COUNTS or name.endswith(("_tokens", "_per_mtok"))
    return not counts and bool(set(SAID).intersection(name.split("_")))


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=identify)
def test_no_column_holds_what_was_said(table: str, column: Column[object]) -> None:
    """Guards against prompts, completions and secrets in the book and its backups."""
    assert not says(column.name), f"{table}.{column.name}"


@pytest.mark.parametrize("name", CallRecord.__struct_fields__)
def test_no_record_holds_what_was_said(name: str) -> None:
    """Guards against prompts in the journal."""
    assert not says(name), name


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=identify)
def test_columns_are_exact_and_wide_enough(table: str, column: Column[object]) -> None:
    """Guards against floats, and against times, tokens and amounts in 32 bits."""
    kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
    assert not isinstance(kind, Float), f"{table}.{column.name}"
    if column.name.endswith("_picos"):
        assert isinstance(column.type, Picos), f"{table}.{column.name}"
    elif column.name.endswith(("_us", "_tokens", "_per_mtok", "_micros", "_bytes", "_ms")):
        assert isinstance(kind, BigInteger), f"{table}.{column.name} is not 64 bits wide"
    elif isinstance(column.type, Amount):
        return  # its unit is its limit's, and it is as wide as money
    elif isinstance(kind, Numeric | Integer):
        narrow = {
            "http_status",
            "calls",
            "unknown_calls",
            "crossing_unknown_calls",
            "id",
            "worker",
            "choices_per_prompt",
            "in_flight",
            "position",
            "tries",
        }
        assert column.name in narrow, f"{table}.{column.name} does not say its unit"
    if column.name == "digest":
        assert isinstance(kind, LargeBinary)
        assert column.unique or column.primary_key


@pytest.mark.parametrize("table", Table.metadata.tables.values(), ids=str)
def test_every_constraint_has_a_name(table: object) -> None:
    """Guards against a constraint that no later migration can drop on both databases."""
    for constraint in table.constraints:  # type: ignore[attr-defined]
        assert constraint.name is not None, constraint


@pytest.mark.parametrize(
    ("name", "written", "key"),
    [
        ("usage", usage_columns.USAGE, ["request_id"]),
        ("usage_hour", usage_columns.USAGE_HOUR, list(usage_columns.HOUR_KEY)),
        ("project_hour", usage_columns.PROJECT_HOUR, list(usage_columns.PROJECT_HOUR_KEY)),
        ("usage_day", usage_columns.USAGE_DAY, list(usage_columns.DAY_KEY)),
        ("project_day", usage_columns.PROJECT_DAY, list(usage_columns.PROJECT_DAY_KEY)),
    ],
)
def test_posting_knows_the_columns_as_they_are(name: str, written: dict[str, str], key: list[str]) -> None:
    """Guards against a row whose values are in other columns than the tables say, or of another type."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]

    def kind(column: Column[object]) -> str:
        compiled: str = column.type.dialect_impl(dialect).compile(dialect=dialect)
        return compiled.split(" COLLATE", maxsplit=1)[0]

    table = Table.metadata.tables[name]
    assert list(written.items()) == [(column.name, kind(column)) for column in table.columns]
    assert [column.name for column in table.primary_key.columns] == key
