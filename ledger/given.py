"""Statements over given rows: written once, run on both databases.

Any number of rows travel as the parameters of one statement, so that a round trip costs the same for one and
for a thousand: as arrays for unnest on PostgreSQL, as one JSON text on SQLite. It knows nothing of what the
rows are.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ledger.direct import Connection, Result


class Statement:
    """`{given}` in the SQL is a table named `given` with the columns given; `{0}`, `{1}`, ... are further
    parameters.

    `columns` maps each column to its PostgreSQL type. `lock` is what PostgreSQL alone needs at the end:
    SQLite's writer is alone anyway.
    """

    __slots__ = ("_postgresql", "_sqlite")

    def __init__(self, sql: str, columns: Mapping[str, str], *, further: int = 0, lock: str = "") -> None:
        """Built once, from our own names: nothing from outside is ever in the text."""
        arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(columns.values(), 1))
        values = ", ".join(
            f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(columns)
        )
        begin = len(columns) + 1
        self._postgresql = (
            sql.format(
                *(f"${begin + place}" for place in range(further)),
                given=f"unnest({arrays}) AS given({', '.join(columns)})",
            )
            + lock
        )
        self._sqlite = sql.format(
            *(f"?{place + 2}" for place in range(further)),
            given=f"(SELECT {values} FROM json_each(?1)) AS given",  # noqa: S608
        )

    async def read(
        self, connection: Connection, rows: Sequence[tuple[Any, ...]], *further: Any
    ) -> list[tuple[Any, ...]]:
        """Run it over at least one row; what it returns."""
        return [tuple(row) for row in await self._run(connection, rows, further)]

    async def change(self, connection: Connection, rows: Sequence[tuple[Any, ...]], *further: Any) -> int:
        """Run it over at least one row; how many rows it changed, on a connection that counts them: one of
        ledger/direct.py counts what is returned.
        """
        return (await self._run(connection, rows, further)).rowcount

    async def _run(
        self, connection: Connection, rows: Sequence[tuple[Any, ...]], further: tuple[Any, ...]
    ) -> Result:
        assert rows
        if connection.dialect.name == "postgresql":
            columns = (list(column) for column in zip(*rows, strict=True))
            return await connection.exec_driver_sql(self._postgresql, (*columns, *further))
        return await connection.exec_driver_sql(self._sqlite, (json.dumps(rows), *further))
