"""`metergate db`: the ledger's schema."""

from pathlib import Path
from typing import Annotated

import typer

from admin.cli.command import Fault, Request, common

app = typer.Typer(help="The ledger's database schema.", no_args_is_help=True)


@app.command()
@common
def upgrade(request: Request) -> None:
    """Bring the schema to this version of metergate, and make PostgreSQL's partitions of the months ahead;
    does nothing where all is there already.
    """
    import asyncio
    import os

    from admin.cli.command import now_us
    from ledger.database import Database
    from ledger.partitions import ensure_partitions

    settings = request.settings()
    os.umask(0o077)  # an embedded ledger that is made here is for nobody else to read

    async def run() -> tuple[str, str | None]:
        database = Database(settings.database_url)
        try:
            await database.upgrade()
            async with database.write() as session:
                await ensure_partitions(session, now_us())
            return database.shown_url, await database.revision()
        finally:
            await database.close()

    where, revision = asyncio.run(run())
    request.show({"database": where, "schema": revision, "state": "current"})


@app.command()
@common
def check(request: Request) -> None:
    """Say whether the schema fits this version of metergate; exit status 1 where it does not."""
    from admin.cli.reach import with_database
    from ledger.database import Database

    async def look(database: Database) -> tuple[str, str | None]:
        return database.shown_url, await database.revision()

    where, revision = with_database(request.settings(), look)
    request.show({"database": where, "schema": revision, "state": "current"})


@app.command()
@common
def backup(
    request: Request, out: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")]
) -> None:
    """Copy the embedded SQLite ledger to a new file, while it is in use. PostgreSQL: pg_dump."""
    from ledger.backup import back_up
    from ledger.embedded import database_path

    source = database_path(request.settings().database_url)
    if source is None:
        raise Fault("this ledger is in PostgreSQL: use pg_dump, or its point-in-time recovery")
    request.show({"ledger": str(source), "backup": str(out), "bytes": back_up(source, out)})


@app.command()
@common
def adopt_secret(request: Request) -> None:
    """Go on with the secret key of now: every key made with another one is given up for good."""
    from admin.cli.acting import command_line
    from admin.cli.command import now_us
    from admin.cli.reach import with_database
    from ledger import audit, secret_check
    from ledger.audit import Subject
    from ledger.audit_events import Event
    from ledger.database import Database
    from ledger.settings import pepper

    settings, now = request.settings(), now_us()

    async def take(database: Database) -> None:
        async with database.write() as session:
            await secret_check.adopt(await session.connection(), pepper(settings), now)
            subject = Subject("secret_key")
            await audit.record(session, command_line(), Event.SECRET_ADOPTED, subject, None, {}, now)

    with_database(settings, take)
    request.show({"state": "adopted"}, note="Restart every metergate of this ledger, and make new keys.")
