"""The first look at the embedded ledger, against ledgers that the real code made."""

import sqlite3
from pathlib import Path

import pytest

from ledger import embedded, prices, tenancy
from ledger.database import Database
from ledger.money import Rates


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data/metergate.db", "data/metergate.db"),
        ("sqlite:////var/lib/metergate.db", "/var/lib/metergate.db"),
        ("sqlite:///file?mode=ro", None),
        ("postgresql://localhost/metergate", None),
    ],
)
def test_only_a_plain_file_is_looked_at(url: str, path: str | None) -> None:
    assert embedded.database_path(url) == (None if path is None else Path(path))


async def test_it_sees_what_the_ledger_wrote(sqlite_url: str) -> None:
    path = embedded.database_path(sqlite_url)
    assert path is not None
    assert embedded.is_current(path)
    assert not embedded.has_tenant(path)
    database = Database(sqlite_url)
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        await session.flush()
        await prices.set_price(session, "everybody's", Rates(1, 1, 1), 1)
        await prices.set_price(session, "one's own", Rates(1, 1, 1), 1, tenant_id=tenant.id)
    await database.close()
    assert embedded.has_tenant(path)
    assert embedded.priced_models(path) == {"everybody's"}


@pytest.mark.parametrize("revision", ["0000", "9999"])
def test_another_schema_is_not_current(sqlite_url: str, revision: str) -> None:
    path = embedded.database_path(sqlite_url)
    assert path is not None
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()
    assert not embedded.is_current(path)


def test_a_look_that_cannot_tell_says_no_and_makes_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    assert not embedded.is_current(missing)
    assert not embedded.has_tenant(missing)
    assert embedded.priced_models(missing) == set()
    assert not missing.exists()
    (tmp_path / "text.db").write_text("no database " * 100)
    assert not embedded.is_current(tmp_path / "text.db")
