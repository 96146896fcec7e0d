"""Our reading of a database's URL is SQLAlchemy's: one process reads it one way, and another the other."""

import pytest
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import make_url

from ledger.database import async_url
from ledger.database_url import parse
from ledger.errors import DatabaseUnusable


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host/db",
        "postgres://host/db",
        "postgresql+asyncpg://host/db",
        "postgresql://user@host:5433/db",
        "postgresql://us%40er:p%40ss%2F:w%25d@host/my%20db",
        "postgresql://user:@/db?host=/var/run/postgresql",
        "postgresql://user:pw@[::1]:5432/db?ssl=require",
        "postgresql:///db?host=somewhere&port=6000",
        "postgresql:///db?host=somewhere:6000",
        "postgresql://user:pw@/db?host=a:1&host=b:2&target_session_attrs=read-write",
        "postgresql://user:pw@/db?host=a,b&port=1,2",
    ],
)
def test_what_the_driver_is_told_is_what_sqlalchemy_tells_it(url: str) -> None:
    """Guards against a worker that connects elsewhere, or as somebody else, than the control plane."""
    expected = PGDialect_asyncpg().create_connect_args(async_url(url))[1]  # type: ignore[no-untyped-call]
    read = parse(url)
    assert read.connect == expected
    assert read.sqlite_path is None


def test_parameters_of_sqlalchemys_own_are_not_the_drivers() -> None:
    """Guards against asyncpg being called with what it does not know."""
    assert parse("postgresql://h/d?prepared_statement_cache_size=0").connect == {"host": "h", "database": "d"}


@pytest.mark.parametrize("url", ["sqlite:///data/metergate.db", "sqlite:////var/lib/a%20b.db"])
def test_a_path_is_sqlalchemys(url: str) -> None:
    """Guards against two ledgers where there is to be one."""
    assert parse(url).sqlite_path == make_url(url).database


def test_a_password_is_never_shown() -> None:
    """Guards against a password in a log line."""
    read = parse("postgresql://user:s3cret@host/db")
    assert "s3cret" not in repr(read)
    assert read.shown == async_url("postgresql://user:s3cret@host/db").set(
        drivername="postgresql"
    ).render_as_string(hide_password=True)


@pytest.mark.parametrize("url", ["", "metergate.db", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_what_is_no_ledger_is_refused(url: str) -> None:
    """Guards against a start that goes on with a database of its own imagination."""
    with pytest.raises(DatabaseUnusable, match="METERGATE_DATABASE_URL"):
        parse(url)
