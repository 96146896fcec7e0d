"""What tests of the worker's limits share: a ledger on SQLite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ledger.database import Database


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    await database.upgrade()
    yield database
    await database.close()
