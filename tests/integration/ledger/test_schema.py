"""Migrations on both databases, and what a wrong database is told."""

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from ledger import schema
from ledger.database import Database
from ledger.errors import DatabaseUnavailable, DatabaseUnusable, SchemaAhead, SchemaBehind
from ledger.partitions import is_partition
from ledger.tables import Table


async def test_metadata_equals_head(database: Database) -> None:
    """Guards against a table changed without its migration."""

    def is_no_partition(name: str | None, kind: str, _parents: Any) -> bool:
        return kind != "table" or not is_partition(name)

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_name": is_no_partition}
        )
        return list(compare_metadata(context, Table.metadata))

    async with database.read() as session:
        assert await (await session.connection()).run_sync(differences) == []


async def test_up_down_and_up_again(empty_database_url: str) -> None:
    """Guards against a downgrade that leaves something behind, on which the next upgrade would trip."""
    database = Database(empty_database_url)
    try:
        await database.upgrade()
        await database.check()
        await database.downgrade("base")
        async with database.read() as session:
            tables = await (await session.connection()).run_sync(lambda c: set(inspect(c).get_table_names()))
        assert tables <= {"alembic_version"}
        await database.upgrade()
        await database.upgrade()
        await database.check()
    finally:
        await database.close()


async def test_a_database_without_a_ledger_says_to_upgrade(empty_database_url: str) -> None:
    """Guards against serving on nothing, and against making a file where a path was mistyped."""
    database = Database(empty_database_url)
    try:
        with pytest.raises(SchemaBehind, match="metergate db upgrade") as caught:
            await database.check()
        assert "\n" not in str(caught.value)
        if database.is_sqlite:
            assert not Path(str(database.url.database)).exists()
    finally:
        await database.close()


async def test_a_database_ahead_of_the_code_is_refused(database: Database) -> None:
    """Guards against old code writing into a schema it does not know."""
    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaAhead, match="9999"):
        await database.check()
    with pytest.raises(SchemaAhead, match="9999"):
        await database.upgrade()


async def test_a_failed_migration_leaves_nothing(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against half a schema, on SQLite too, whose driver would commit before DDL if let."""

    whole = schema.upgrade

    def fail_at_the_end(connection: Connection, current: str | None) -> None:
        whole(connection, current)
        raise RuntimeError("pulled the plug")

    monkeypatch.setattr(schema, "upgrade", fail_at_the_end)
    database = Database(empty_database_url)
    try:
        with pytest.raises(RuntimeError, match="pulled the plug"):
            await database.upgrade()
        with pytest.raises(SchemaBehind):
            await database.check()
    finally:
        await database.close()


async def test_a_file_that_is_no_database_is_said_in_one_line(tmp_path: Path) -> None:
    """Guards against a traceback, and against overwriting somebody's file."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, and long enough to be looked at\n" * 100)
    database = Database(f"sqlite:///{path}")
    for step in (database.check, database.upgrade):
        with pytest.raises(DatabaseUnusable, match="not a database") as caught:
            await step()
        assert "\n" not in str(caught.value)
    await database.close()
    assert path.read_text().startswith("not a database")


async def test_an_unreachable_server_may_come_back(tmp_path: Path) -> None:
    """Guards against giving up on a PostgreSQL that restarts, and against its password in the message."""
    database = Database(f"postgresql://metergate:hunter2@/ledger?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable) as caught:
        await database.check()
    assert "hunter2" not in str(caught.value)
    await database.close()


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_other_databases_are_refused(url: str) -> None:
    """Guards against a late and obscure failure for a database we do not have."""
    with pytest.raises(DatabaseUnusable, match="METERGATE_DATABASE_URL"):
        Database(url)


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """Guards against a traceback where the data folder is a file."""
    (tmp_path / "file").write_text("")
    database = Database(f"sqlite:///{tmp_path / 'file' / 'metergate.db'}")
    with pytest.raises(DatabaseUnusable, match="no folder"):
        await database.upgrade()
    await database.close()


async def test_reads_keep_nothing_and_failures_roll_back(database: Database) -> None:
    """Guards against a write that only looked done."""
    insert = text("INSERT INTO tenant (id, name, state, created_us) VALUES ('org-x', 'x', 'active', 1)")
    with pytest.raises(RuntimeError, match="half way"):
        async with database.write() as session:
            await session.execute(insert)
            raise RuntimeError("half way")
    async with database.read() as session:
        assert (await session.execute(text("SELECT count(*) FROM tenant"))).scalar_one() == 0
    async with database.write() as session:
        await session.execute(insert)
    async with database.read() as session:
        assert (await session.execute(text("SELECT count(*) FROM tenant"))).scalar_one() == 1
