"""What every table shares: its metadata, the names of constraints, and the exact column types.

Every time is microseconds since the Unix epoch in a BigInteger named `_us`. No column may hold a prompt, a
completion or a secret (tests/architecture holds the names to that).
"""

from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Dialect, MetaData, Numeric, String
from sqlalchemy.dialects.postgresql import VARCHAR
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import SQLModel

from ledger import kept_text
from ledger.kept_text import Kept

NAMING = {
    "pk": "pk_%(table_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}


class Table(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))):
    """The base of all tables, on metadata of its own: other users of SQLModel in the process stay apart."""


class Picos(TypeDecorator[int]):
    """An exact integer of 1e-12 units of currency: NUMERIC(38,0) on PostgreSQL, 64 bits on SQLite.

    On SQLite an addition past 64 bits turns into a float; a CHECK on the column (`integer_only`) refuses that
    loudly.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The exact type each database has."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric(38, 0))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Python's integers go in exactly."""
        if value is None or dialect.name != "postgresql":
            return value
        return Decimal(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """And come out exactly, as integers."""
        return None if value is None else int(value)


class Amount(Picos):
    """An exact amount of a limit, in its own unit: picos, tokens, requests or calls."""

    cache_ok = True


class StateText(TypeDecorator[StrEnum]):
    """A StrEnum kept as its text: a new member needs no migration, an unknown one fails when it is read."""

    impl = String
    cache_ok = True

    def __init__(self, members: type[StrEnum]) -> None:
        """`members` is the enumeration."""
        super().__init__()
        self.members = members

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """The member's text; text that names no member raises ValueError."""
        return None if value is None else str(self.members(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> StrEnum | None:
        """The member."""
        return None if value is None else self.members(value)


class JsonText(TypeDecorator[Kept]):
    """A frozen value kept as the JSON it writes, and read back whole; what cannot be read raises."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[Kept]) -> None:
        """`kind` is the value's class."""
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """The value's text."""
        return None if value is None else value.to_json()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The value."""
        return kept_text.read(self.kind, value)


def ordered_text() -> TypeEngine[Any]:
    """Text that sorts by its bytes on both databases, whatever the locale of a PostgreSQL is."""
    return String().with_variant(VARCHAR(collation="C"), "postgresql")
