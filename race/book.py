"""What the ledger says after a race: read from its tables, past the code that is being proved.

Owns the queries. Must not know what they should say.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from ledger.database import Database


@dataclass(frozen=True, slots=True)
class PostedCall:
    """One usage row."""

    request_id: str
    api_key_id: str
    started_us: int
    ended_us: int
    prompt_tokens: int
    completion_tokens: int
    amount_picos: int
    ending: str
    project_id: str
    streamed: bool
    usage_source: str
    end_user: str


class Book:
    """The ledger at a URL. Each question is one connection: none stays open to be counted."""

    def __init__(self, url: str) -> None:
        self._url = url

    def count(self) -> int:
        """How many calls are posted."""
        return int(self._ask("SELECT count(*) FROM usage")[0][0])

    def calls(self) -> list[PostedCall]:
        """Every posted call, the oldest first."""
        rows = self._ask(
            "SELECT request_id, api_key_id, started_us, ended_us, prompt_tokens, completion_tokens,"
            " amount_picos, ending, project_id, streamed, usage_source, end_user"
            " FROM usage ORDER BY started_us, request_id"
        )
        return [
            PostedCall(
                **{**row._mapping, "amount_picos": int(row.amount_picos), "streamed": bool(row.streamed)}
            )
            for row in rows
        ]

    def balance(self, limit_id: str) -> tuple[int, int]:
        """(used, leased) of a limit, over all its windows and users."""
        rows = self._ask("SELECT used, leased FROM limit_balance WHERE limit_id = :id", id=limit_id)
        return sum(int(row[0]) for row in rows), sum(int(row[1]) for row in rows)

    def postings(self) -> int:
        """How many transactions posted something: the rows of one carry one time."""
        return int(self._ask("SELECT count(DISTINCT posted_us) FROM usage")[0][0])

    def transactions(self) -> int | None:
        """How many transactions this database has committed; None on SQLite, which does not count."""
        if self._url.startswith("sqlite"):
            return None
        counted = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        return int(self._ask(counted)[0][0])

    def _ask(self, question: str, **values: Any) -> list[Any]:
        async def ask() -> list[Any]:
            database = Database(self._url, pool_size=1)
            try:
                async with database.read() as session:
                    return list((await session.execute(text(question), values)).all())
            finally:
                await database.close()

        return asyncio.run(ask())
