"""Fresh ledgers for the chaos; PostgreSQL's server is its own: it is killed and stopped."""

from collections.abc import Iterator

import pytest

from race.databases import Databases
from race.databases import databases as open_databases


@pytest.fixture(scope="session")
def chaos_databases() -> Iterator[Databases]:
    with open_databases() as opened:
        yield opened
