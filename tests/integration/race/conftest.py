"""Fresh ledgers for races: one set of templates, and one PostgreSQL server, for all of them."""

from collections.abc import Iterator

import pytest

from race.databases import Databases
from race.databases import databases as open_databases


@pytest.fixture(scope="session")
def race_databases() -> Iterator[Databases]:
    with open_databases() as opened:
        yield opened
