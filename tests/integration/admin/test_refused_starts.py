"""What a start refuses, and how: one clear line, exit status 1, nothing left running."""

import asyncio
import shutil
import socket
import sqlite3
from pathlib import Path

import asyncpg
import pytest

from .conftest import FREE_PORTS, run


def refusal(folder: Path, *arguments: str, command: str = "up", **env: str) -> str:
    """Starts where it must not; the one line that says why."""
    done = run(command, *arguments, cwd=folder, **env)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.startswith("metergate: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def _ledger_with_a_tenant(folder: Path, template: Path) -> None:
    """A data folder whose ledger has been in use."""
    (folder / "data").mkdir()
    shutil.copy(template, folder / "data" / "metergate.db")
    connection = sqlite3.connect(folder / "data" / "metergate.db")
    connection.execute("INSERT INTO tenant (id, name, state, created_us) VALUES ('org-1', 'A', 'active', 1)")
    connection.commit()
    connection.close()


def _on_postgresql(url: str, statement: str) -> None:
    async def do() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(do())


@pytest.mark.parametrize("place", ["a-file", "a-file/below", "/proc/metergate"])
def test_a_data_folder_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    """A file in the way, and /proc, are closed to root as well, whom permissions do not stop."""
    (tmp_path / "a-file").touch()
    said = refusal(tmp_path, *FREE_PORTS, "--data-dir", place)
    assert "is not writable" in said
    assert "--data-dir or METERGATE_DATA_DIR" in said


def test_an_unknown_setting_is_named_with_the_nearest(tmp_path: Path) -> None:
    said = refusal(tmp_path, METERGATE_ENGINE="http://127.0.0.1:8000")
    assert "METERGATE_ENGINE " in said
    assert "METERGATE_ENGINES" in said


def test_a_bad_value_is_named(tmp_path: Path) -> None:
    assert "METERGATE_WORKERS" in refusal(tmp_path, METERGATE_WORKERS="many")


def test_a_trusted_proxy_that_is_no_address_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, METERGATE_TRUSTED_PROXIES="127.0.0.1, unix")
    assert "METERGATE_TRUSTED_PROXIES: 'unix' is no address" in said


def test_an_engine_that_is_no_url_is_named(tmp_path: Path) -> None:
    assert "METERGATE_ENGINES" in refusal(tmp_path, "--engine", "localhost:8000")


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    said = refusal(tmp_path, "--host", "192.0.2.1", "--port", "0")
    assert "192.0.2.1" in said
    assert "the data plane" in said


def test_a_database_ahead_of_the_code(tmp_path: Path, sqlite_template: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(sqlite_template, tmp_path / "data" / "metergate.db")
    connection = sqlite3.connect(tmp_path / "data" / "metergate.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    assert "newer than this metergate knows" in refusal(tmp_path, *FREE_PORTS)


def test_a_database_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "metergate.db").write_text("This is not SQLite. " * 100)
    assert "metergate.db" in refusal(tmp_path, *FREE_PORTS)


@pytest.mark.postgres
def test_a_postgresql_without_the_schema_is_left_to_the_operator(
    tmp_path: Path, empty_postgresql_url: str
) -> None:
    """Guards against a fleet's rolling update migrating a production database by accident."""
    assert "metergate db upgrade" in refusal(tmp_path, *FREE_PORTS, "--database-url", empty_postgresql_url)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("command", "at", "words"),
    [
        ("up", "0001", "metergate db upgrade"),
        ("proxy", "0001", "metergate db upgrade"),
        ("admin", "9999", "upgrade metergate"),
        ("worker", "9999", "upgrade metergate"),
    ],
)
def test_a_postgresql_at_another_schema(
    tmp_path: Path, postgresql_url: str, command: str, at: str, words: str
) -> None:
    """Guards against code that writes into a schema it does not know, and says so in tracebacks."""
    _on_postgresql(postgresql_url, f"UPDATE alembic_version SET version_num = '{at}'")
    ports = {f"METERGATE_{name}PORT": "0" for name in ("", "ADMIN_", "METRICS_")}
    said = refusal(tmp_path, "--database-url", postgresql_url, command=command, **ports)
    assert f"at schema {at}" in said
    assert words in said


def test_another_secret_than_the_keys(tmp_path: Path, sqlite_template: Path) -> None:
    """A mistyped METERGATE_SECRET_KEY started well, and then every key got 401."""
    _ledger_with_a_tenant(tmp_path, sqlite_template)
    made = run("admin-key", "create", cwd=tmp_path, METERGATE_SECRET_KEY="the first secret key")
    assert made.returncode == 0, made.stderr
    said = refusal(tmp_path, *FREE_PORTS, METERGATE_SECRET_KEY="another secret key")
    assert "not the one that the keys of this ledger were made with" in said
    assert "another secret key" not in said
    assert said == refusal(tmp_path, "create", command="admin-key", METERGATE_SECRET_KEY="another secret key")


@pytest.mark.postgres
def test_another_secret_than_the_other_hosts(tmp_path: Path, postgresql_url: str) -> None:
    """Guards against a second host with a secret.key of its own, on which no key works."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    made = run("admin-key", "create", "--database-url", postgresql_url, cwd=first)
    assert made.returncode == 0, made.stderr
    ports = {"METERGATE_PORT": "0", "METERGATE_METRICS_PORT": "0"}
    said = refusal(second, "--database-url", postgresql_url, command="proxy", **ports)
    assert "not the one that the keys of this ledger were made with" in said
    adopted = run("db", "adopt-secret", "--database-url", postgresql_url, cwd=second)
    assert adopted.returncode == 0, adopted.stderr
    assert run("admin-key", "create", "--database-url", postgresql_url, cwd=second).returncode == 0


def test_a_url_of_no_known_database(tmp_path: Path) -> None:
    assert "postgresql://" in refusal(tmp_path, *FREE_PORTS, "--database-url", "mysql://localhost/metergate")


def test_a_lost_secret_is_not_made_anew(tmp_path: Path, sqlite_template: Path) -> None:
    """A new secret.key beside an old ledger made every key an unknown one, and nobody was told."""
    _ledger_with_a_tenant(tmp_path, sqlite_template)
    assert "secret.key is gone" in refusal(tmp_path, *FREE_PORTS)
    assert not (tmp_path / "data" / "secret.key").exists()


def test_a_secret_that_cannot_be_one_is_refused_before_anything_starts(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """Each process found it for itself, the control plane with sixty lines of traceback, again and again."""
    _ledger_with_a_tenant(tmp_path, sqlite_template)
    (tmp_path / "data" / "secret.key").write_text("abc")
    assert "holds no key" in refusal(tmp_path, *FREE_PORTS)


def test_the_simulator_on_a_taken_port(tmp_path: Path) -> None:
    """It died with a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("engine", "simulate", "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert port in done.stderr
