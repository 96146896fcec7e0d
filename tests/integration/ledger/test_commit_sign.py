"""What tells that something was committed to a SQLite file, without reading it."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.commit_sign import CommitSign


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a.db"
    with sqlite3.connect(made) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x INTEGER)")
    connection.close()
    return made


@pytest.fixture
def sign(path: Path) -> Iterator[CommitSign]:
    made = CommitSign(str(path))
    yield made
    made.close()


def committed(path: Path, *statements: str) -> None:
    """By another process, as it is."""
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    script += "for statement in sys.argv[2:]: c.execute(statement)"
    subprocess.run([sys.executable, "-c", script, str(path), *statements], check=True)


def test_each_commit_makes_it_another_one_and_nothing_else_does(path: Path, sign: CommitSign) -> None:
    """Guards against a change of the ledger that no worker hears of, also where the WAL begins anew."""
    seen = {before := sign.read()}
    assert before is not None
    assert sign.read() == before
    for _ in range(3):
        committed(path, "INSERT INTO t VALUES (1)")
        now = sign.read()
        assert now not in seen
        assert sign.read() == now
        seen.add(now)
        committed(path, "SELECT * FROM t")
        assert sign.read() == now
        committed(path, "PRAGMA wal_checkpoint(TRUNCATE)")
        seen.add(sign.read())
    assert None not in seen


def test_what_is_not_committed_yet_shows_only_then(path: Path, sign: CommitSign) -> None:
    """Guards against a sign that comes before what it is of: the log would be read too early, and not
    again. And against one that waits for a writer.
    """
    writer = sqlite3.connect(path, isolation_level=None)
    before = sign.read()
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES (2)")
    assert sign.read() == before is not None
    writer.execute("COMMIT")
    assert sign.read() != before
    writer.close()


def test_another_file_in_its_place_is_another_sign(path: Path, sign: CommitSign) -> None:
    """Guards against a restored ledger that is followed by the file it was before."""
    before = sign.read()
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    assert sign.read() != before


def test_where_nothing_can_be_read_there_is_no_sign(path: Path, sign: CommitSign) -> None:
    """Guards against a file that is made by looking for it, and a lock of others that ends a worker."""
    assert CommitSign(str(path.with_name("none.db"))).read() is None
    assert not path.with_name("none.db").exists()
    path.with_name("garbage.db").write_bytes(b"no database" * 1000)
    assert CommitSign(str(path.with_name("garbage.db"))).read() is None
    before = sign.read()
    assert before is not None
    path.rename(path.with_name("away.db"))
    assert sign.read() is None
    path.with_name("away.db").rename(path)
    assert sign.read() not in (None, before)
