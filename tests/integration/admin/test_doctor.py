"""`metergate doctor`, with everything that it looks at really broken."""

import asyncio
import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from admin import data_folder, kept_settings
from admin.config import AdminSettings
from admin.doctor.examination import examine
from admin.doctor.finding import Check, Finding
from admin.sockets import listen, url_of
from ledger import secret_key
from ledger.database import Database
from ledger.journal import holder_file
from ledger.journal.segments import worker_folder
from ledger.journal.writer import JournalWriter
from ledger.record import CallRecord
from ledger.secret_check import hold_to
from ledger.setting import Secret
from ledger.tables.alerts import Outbound
from ledger.tables.tenancy import AdminKey
from proxy.capacity import FILES_ENOUGH, files_max
from proxy.config import ProxySettings
from proxy.simulator import SimulatorConfig
from race.postgresql import run_statement
from tests.engines import engine_process, engine_thread
from tests.mailbox import mailbox
from tests.records import a_record

from .conftest import Cli, run

NOW_US = time.time_ns() // 1000
DAY_US = 86_400_000_000
PASSWORD = "correct-horse-battery-staple"
FREE: dict[str, Any] = {"port": 0, "metrics_port": 0}

Look = Callable[..., list[Finding]]


@pytest.fixture
def data(tmp_path: Path, sqlite_template: Path) -> Path:
    """A data folder with an empty ledger and a secret, as a start leaves it."""
    path = tmp_path / "data"
    data_folder.prepare(path)
    shutil.copy(sqlite_template, path / "metergate.db")
    secret_key.pepper(ProxySettings(data_dir=path))
    for name in ("metergate.db", "secret.key"):
        (path / name).chmod(0o600)
    return path


@pytest.fixture
def look(data: Path) -> Look:
    """An examination of the data folder; the settings are as told."""

    def go(
        check: Check | None = None, *, seconds: float = 5.0, admin: dict[str, Any] | None = None, **told: Any
    ) -> list[Finding]:
        proxy = ProxySettings(data_dir=data, **{**FREE, **told})
        shared = {name: told[name] for name in ("database_url", "secret_key") if name in told}
        plane = AdminSettings(data_dir=data, **{"admin_port": 0, **shared, **(admin or {})})
        explicit = frozenset({"database_url"} & told.keys())
        done = examine(proxy, plane, explicit=explicit, now_us=time.time_ns() // 1000, seconds=seconds)
        return [each for each in done.findings if check in (None, each.check)]

    return go


def shown(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(each.check, each.state) for each in findings]


def change(data: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(data / "metergate.db")) as connection, connection:
        connection.execute(statement, values)


def test_a_ledger_that_is_well_has_nothing_wrong_but_no_key(look: Look, data: Path) -> None:
    """Guards against a doctor that cries wolf, and against one that leaves something behind."""
    before = sorted(path.name for path in data.rglob("*"))
    assert [each.check for each in look() if each.state == "wrong"] == [Check.ADMIN_KEYS]
    left = sorted(path.name for path in data.rglob("*"))
    assert [name for name in left if not name.startswith("metergate.db")] == [
        name for name in before if not name.startswith("metergate.db")
    ]


def test_a_schema_is_behind_or_ahead(look: Look, data: Path) -> None:
    """Guards against a command that does not mend it: an upgrade does not help a database that is ahead."""
    assert shown(look(Check.SCHEMA)) == [("schema", "ok")]
    change(data, "UPDATE alembic_version SET version_num = '0003'")
    (behind,) = look(Check.SCHEMA)
    assert behind.state == "note" and "metergate up" in behind.do and "0003" in behind.fact
    change(data, "UPDATE alembic_version SET version_num = '9999'")
    (ahead,) = look(Check.SCHEMA)
    assert ahead.state == "wrong" and "newer metergate" in ahead.do and "9999" in ahead.fact


@pytest.mark.postgres
def test_a_schema_of_a_server_is_brought_up_by_hand(look: Look, empty_postgresql_url: str) -> None:
    (finding,) = look(Check.SCHEMA, database_url=empty_postgresql_url)
    assert finding.state == "wrong" and "metergate db upgrade" in finding.do


@pytest.mark.postgres
def test_a_server_tells_its_version_clock_connections_and_whether_it_takes_writes(
    look: Look, postgresql_url: str
) -> None:
    """Guards against a standby that looks as good as a primary, and against SQL of one database alone."""
    found = look(database_url=postgresql_url)
    states = dict(shown(found))
    for check in ("database", "schema", "database_clock", "database_connections", "database_writes"):
        assert states[check] == "ok", found
    (database,) = [each for each in found if each.check == Check.DATABASE]
    assert "PostgreSQL 1" in database.fact
    assert states["outbox"] == states["leases"] == states["unresolved"] == "ok"
    name = postgresql_url.partition("?")[0].rpartition("/")[2]
    run_statement(postgresql_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    (writes,) = look(Check.DATABASE_WRITES, database_url=postgresql_url)
    assert writes.state == "wrong" and "standby" in writes.do


def test_a_database_that_is_gone_or_hangs_is_wrong_within_the_bound(look: Look) -> None:
    """Guards against a doctor that waits as long as the patient."""
    with listen("127.0.0.1", 0, purpose="", choose_with="") as deaf:
        url = f"postgresql://me:{PASSWORD}@127.0.0.1:{deaf.getsockname()[1]}/ledger"
        found = look(database_url=url, seconds=0.5)
    assert [each.state for each in found if each.check == Check.DATABASE] == ["wrong"]
    assert PASSWORD not in str(found)
    (gone,) = look(Check.DATABASE, database_url=url)
    assert gone.state == "wrong" and "journals" in gone.do and PASSWORD not in str(gone)


def test_a_ledger_that_takes_no_writes_is_wrong(look: Look, data: Path) -> None:
    """Guards against a writer that holds it for ever, while all reads are well."""
    assert shown(look(Check.DATABASE_WRITES)) == [("database_writes", "ok")]
    with closing(sqlite3.connect(data / "metergate.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        found = look(seconds=0.5)
        writer.execute("ROLLBACK")
    assert dict(shown(found))["database_writes"] == "wrong"
    assert dict(shown(found))["database"] == "ok"


def test_a_ledger_that_was_there_and_is_gone_is_wrong(look: Look, data: Path) -> None:
    """Guards against a start that makes an empty ledger where a disk was not mounted."""
    (data / "metergate.db").unlink()
    (gone,) = look(Check.SCHEMA)
    assert gone.state == "wrong" and "backup" in gone.do
    (data / "secret.key").unlink()
    assert shown(look(Check.SCHEMA)) == [("schema", "note")]
    assert not (data / "secret.key").exists() and not (data / "metergate.db").exists()


async def test_another_secret_is_wrong_and_a_lost_one_too(look: Look, data: Path) -> None:
    """Guards against an operator who looks everywhere but at the secret while every key is refused."""
    database = Database(f"sqlite:///{data}/metergate.db")
    async with database.write() as session:
        pepper = secret_key.pepper(ProxySettings(data_dir=data))
        await hold_to(await session.connection(), pepper, NOW_US)
    await database.close()

    assert shown(look(Check.SECRET_KEY)) == [("secret_key", "ok")]
    assert shown(look(Check.SECRET_KEY, secret_key=Secret(PASSWORD))) == [("secret_key", "wrong")]
    (data / "secret.key").write_text("short\n")
    assert shown(look(Check.SECRET_KEY)) == [("secret_key", "wrong")]
    (data / "secret.key").unlink()
    assert shown(look(Check.SECRET_KEY)) == [("secret_key", "wrong")]
    assert not (data / "secret.key").exists()


def a_key(data: Path, ends_us: int | None) -> None:
    columns = "id, name, digest, redacted, state, expires_us, created_us, role"
    marks = "?, 'ops', ?, 'sk', 'active', ?, 1, 'operator'"
    name = str(ends_us)
    change(
        data,
        f"INSERT INTO {AdminKey.__tablename__} ({columns}) VALUES ({marks})",
        name,
        name.encode(),
        ends_us,
    )


def test_the_operators_last_key_is_told_before_it_ends(look: Look, data: Path) -> None:
    """Guards against a morning on which nobody can administer anything."""
    assert shown(look(Check.ADMIN_KEYS)) == [("admin_keys", "wrong")]
    for ends_us, state in ((NOW_US + 2 * DAY_US, "wrong"), (NOW_US + 90 * DAY_US, "note"), (None, "ok")):
        a_key(data, ends_us)
        assert shown(look(Check.ADMIN_KEYS)) == [("admin_keys", state)]


def a_notice(data: Path, number: int, **values: Any) -> None:
    row = {"id": f"msg_{number}", "tenant_id": "t", "subject_id": "alert", "kind": "mail", "address": "a@b",
           "notice": "{}", "created_us": NOW_US, "due_us": NOW_US, "tries": 0, **values}  # fmt: skip
    marks = ", ".join("?" * len(row))
    change(data, f"INSERT INTO {Outbound.__tablename__} ({', '.join(row)}) VALUES ({marks})", *row.values())


def test_notices_that_nobody_sends_are_wrong_and_failing_ones_a_note(look: Look, data: Path) -> None:
    """Guards against alerts that went off and never arrived."""
    a_notice(data, 1)
    assert shown(look(Check.OUTBOX)) == [("outbox", "ok")]
    a_notice(data, 2, tries=3, fault="HTTP 500")
    assert shown(look(Check.OUTBOX)) == [("outbox", "note")]
    a_notice(data, 3, due_us=NOW_US - 3_600_000_000)
    (stuck,) = look(Check.OUTBOX)
    assert stuck.state == "wrong" and "metergate worker" in stuck.do
    assert "a@b" not in stuck.fact


def test_calls_without_a_count_and_calls_of_the_future_are_told(look: Look, data: Path) -> None:
    """Guards against calls that nobody is billed for, and a clock that was set back."""
    assert shown(look(Check.UNRESOLVED)) == [("unresolved", "ok")]
    row = "'t', 'p', 'k', 'm', '/v1/chat/completions', 'USD'"
    hour_us = NOW_US - NOW_US % 3_600_000_000
    change(data, f"INSERT INTO usage_hour VALUES (?, {row}, 'unresolved', 3, 0, 0, 0, 0)", hour_us)
    (unresolved,) = look(Check.UNRESOLVED)
    assert unresolved.state == "note" and "3 of 3" in unresolved.fact
    assert shown(look(Check.POSTINGS)) == [("postings", "ok")]
    change(data, f"INSERT INTO usage_hour VALUES (?, {row}, 'final', 1, 0, 0, 0, 0)", hour_us + DAY_US)
    assert shown(look(Check.POSTINGS)) == [("postings", "wrong")]


def test_leases_of_a_worker_that_is_gone_are_told(look: Look, data: Path) -> None:
    change(data, "INSERT INTO lease_holder VALUES ('h', 'host', 0, 1, 1, 0)")
    change(data, "INSERT INTO lease VALUES ('h', 'limit', '', 0, 5, 0, 0)")
    assert shown(look(Check.LEASES)) == [("leases", "note")]


@contextmanager
def odd_engine(date: str) -> Iterator[str]:
    """An engine with a clock of its own."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"data": [{"id": "m"}]}'
            self.send_response_only(200)
            for name, value in (("Date", date), ("Content-Length", str(len(body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_each_engine_is_asked_on_its_own(look: Look, data: Path) -> None:
    """Guards against a dead replica, or one that hangs, behind one that answers."""
    with (
        engine_thread(SimulatorConfig()) as engine,
        listen("127.0.0.1", 0, purpose="", choose_with="") as deaf,
        odd_engine(formatdate(time.time() - 3600, usegmt=True)) as late,
    ):
        hung, dead = url_of(deaf), "http://127.0.0.1:9"
        found = look(engines=(engine.url, hung, dead, late), seconds=1.5)
    by_engine = {each.about: each for each in found if each.check == Check.ENGINE}
    assert by_engine[engine.url].state == "ok" and "simulated" in by_engine[engine.url].fact
    assert by_engine[dead].state == "wrong" and by_engine[dead].do
    assert [each.state for each in found if each.check == Check.ENGINE] == ["ok", "wrong", "wrong", "ok"]
    clocks = {each.about: each.state for each in found if each.check == Check.ENGINE_CLOCK}
    assert clocks == {engine.url: "ok", late: "note"}
    (prices,) = [each for each in found if each.check == Check.PRICES]
    assert prices.state == "note" and "metergate price set" in prices.do


def test_an_engine_takes_the_key_and_nobody_without(look: Look) -> None:
    """Guards against an engine that anybody can use unmetered, and against the wrong key."""
    with engine_thread(SimulatorConfig(api_keys=(PASSWORD,))) as closed:
        found = look(engines=(closed.url,), engine_api_key=Secret(PASSWORD))
        assert [each.state for each in found if each.check == Check.ENGINE_KEY] == ["ok"]
        (refused,) = look(Check.ENGINE, engines=(closed.url,), engine_api_key=Secret("another"))
        assert refused.state == "wrong" and "METERGATE_ENGINE_API_KEY" in refused.do
    with engine_thread(SimulatorConfig()) as opened:
        found = look(Check.ENGINE_KEY, engines=(opened.url,), engine_api_key=Secret(PASSWORD))
        assert shown(found) == [("engine_key", "note")]
        assert PASSWORD not in str(found)


def test_a_taken_port_is_told_with_who_has_it(look: Look) -> None:
    """Guards against an operator who has to find out with other tools, and against a stranger's secrets."""
    script = (
        "import socket, sys\n"
        "taken = socket.create_server(('127.0.0.1', 0))\n"
        "print(taken.getsockname()[1], flush=True)\nsys.stdin.read()"
    )
    stranger = subprocess.Popen(
        [sys.executable, "-c", script, f"--password={PASSWORD}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert stranger.stdout is not None and stranger.stdin is not None
    port = int(stranger.stdout.readline())
    (finding, *_) = look(Check.PORT, port=port)
    stranger.communicate()
    assert finding.state == "wrong" and f"process {stranger.pid}" in finding.fact
    assert "METERGATE_PORT" in finding.do and PASSWORD not in str(finding)
    assert [each.state for each in look(Check.PORT, port=port)] == ["ok"] * 3


def test_what_runs_is_looked_at_where_it_runs_and_with_what_it_was_told(look: Look, data: Path) -> None:
    """Guards against a doctor that calls the settings' ports free, or taken by others, while a metergate that
    was told others on its command line is up; and against what was left by one that ended.
    """
    answering, deaf = (listen("127.0.0.1", 0, purpose="", choose_with="") for _ in range(2))
    places = {"the data plane": url_of(answering), "the metrics page": url_of(deaf)}
    data_folder.keep_places(data, "proxy", places)
    deaf.close()
    with engine_thread(SimulatorConfig()) as engine:
        told = ProxySettings(data_dir=data, engines=(engine.url,), secret_key=Secret(PASSWORD), **FREE)
        kept_settings.keep(data, "proxy", told)
        assert shown(look(Check.RUNNING)) == [("running", "ok")]
        assert shown(look(Check.ENGINES)) == [("engines", "note")]
        assert [each.state for each in look(Check.PORT)] == ["ok"] * 3
        with data_folder.claim(data, "proxy"):
            found = look()
    answering.close()
    (running,) = [each for each in found if each.check == Check.RUNNING]
    assert running.state == "note" and "METERGATE_ENGINES, METERGATE_SECRET_KEY" in running.fact
    assert [each.about for each in found if each.check == Check.ENGINE] == [engine.url]
    ports = {each.about: each.state for each in found if each.check == Check.PORT}
    assert ports == {"the data plane": "wrong", "the metrics page": "wrong", "the control plane": "ok"}
    assert [each.state for each in found if each.check == Check.SECRET_KEY] == ["note"]
    assert PASSWORD not in str(found)


def test_a_disk_that_hangs_is_wrong_within_the_bound(look: Look, data: Path) -> None:
    """Guards against a network disk that hangs where the doctor itself has to read first."""
    os.mkfifo(fifo := data / "run" / "proxy.settings")
    with data_folder.claim(data, "proxy"):
        found = look(seconds=0.2)
    os.close(os.open(fifo, os.O_WRONLY))  # lets it go on
    assert shown(found) == [("settings", "ok"), ("data_folder", "wrong")]


def test_a_database_whose_password_only_the_service_knows_is_not_taken_for_another(
    look: Look, data: Path
) -> None:
    """Guards against the empty SQLite of a shell, told as if it were the ledger."""
    url = f"postgresql://me:{PASSWORD}@127.0.0.1:9/ledger"
    kept_settings.keep(data, "proxy", ProxySettings(data_dir=data, database_url=url))
    with data_folder.claim(data, "proxy"):
        (finding,) = look(Check.DATABASE)
        assert finding.state == "note" and "METERGATE_DATABASE_URL" in finding.do
        assert shown(look(Check.SCHEMA)) == []
        assert shown(look(Check.SCHEMA, database_url=f"sqlite:///{data}/metergate.db")) == [("schema", "ok")]


def journal(data: Path, record: CallRecord) -> JournalWriter:
    writer = JournalWriter(worker_folder(data, 0))
    writer.append(record)
    writer.sync()
    return writer


def test_calls_that_wait_are_told_with_their_age_and_the_mark(look: Look, data: Path) -> None:
    """Guards against a journal that fills up to its mark unnoticed."""
    writer = journal(data, a_record())
    (waits,) = look(Check.JOURNAL)
    assert waits.state == "note" and "metergate usage show" in waits.do, "nobody posts, and it is old"
    writer.close()
    (full,) = look(Check.JOURNAL, journal_bytes_max=100)
    assert full.state == "wrong" and "METERGATE_JOURNAL_BYTES_MAX" in full.do
    assert shown(look(Check.POSTER)) == [("poster", "ok")]
    with data_folder.claim(data, "proxy"):
        assert shown(look(Check.POSTER)) == [("poster", "wrong")]
        assert shown(look(Check.JOURNAL)) == [("journal", "wrong")]
    (worker_folder(data, 0) / "posted").write_text("neither here nor there")
    assert "worker-0" in [each.about for each in look(Check.JOURNAL) if each.state == "wrong"]


def test_what_the_dead_left_and_what_was_no_record_is_told(look: Look, data: Path) -> None:
    assert shown(look(Check.ORPHANS)) == [("orphans", "ok")]
    folder = worker_folder(data, 0)
    folder.mkdir(parents=True)
    (folder / holder_file.NAME).write_text("holder_x\n")
    (orphan,) = look(Check.ORPHANS)
    assert orphan.state == "note" and "worker-0" in orphan.fact
    assert shown(look(Check.QUARANTINE)) == [("quarantine", "ok")]
    (folder.parent / "quarantine").mkdir()
    (folder.parent / "quarantine" / "worker-0-1-2").write_bytes(b"?")
    assert shown(look(Check.QUARANTINE)) == [("quarantine", "note")]


async def test_the_mail_server_is_greeted_and_gets_no_mail(look: Look) -> None:
    """Guards against a password that is wrong until the first alert, and against test mails."""
    async with mailbox() as box:
        told = {"smtp_url": Secret(f"smtp://127.0.0.1:{box.port}"), "smtp_from": "a@example.com"}
        (answers,) = await asyncio.to_thread(look, Check.MAIL, admin=told)
    assert answers.state == "ok" and not box.messages and not box.recipients
    told["smtp_url"] = Secret(f"smtp://me:{PASSWORD}@127.0.0.1:{box.port}")
    (gone,) = await asyncio.to_thread(look, Check.MAIL, admin=told)
    assert gone.state == "wrong" and PASSWORD not in str(gone)


def test_settings_that_are_refused_end_it_with_a_line_for_each(cli: Cli) -> None:
    done = cli.run("doctor", "--json", METERGATE_PORT="many", METERGATE_PROT="1")
    document = json.loads(done.stdout)
    assert done.returncode == 1 and document["state"] == "wrong"
    assert [each["check"] for each in document["findings"]] == ["settings"] * 2


def test_the_command_tells_all_with_its_status(cli: Cli) -> None:
    """Guards against a doctor that finds something wrong and exits as if all were well."""
    free = {f"METERGATE_{name}": "0" for name in ("PORT", "ADMIN_PORT", "METRICS_PORT")}
    done = cli.run("doctor", "--json", METERGATE_ENGINES="http://127.0.0.1:9", **free)
    document = json.loads(done.stdout)
    found = {each["check"]: each for each in document["findings"]}
    assert done.returncode == 1 and document["state"] == "wrong"
    assert found["database"]["state"] == "ok" and found["engine"]["about"] == "http://127.0.0.1:9"
    assert set(found["engine"]) == {"check", "state", "fact", "do", "about"}
    assert found["open_files"]["state"] == ("ok" if files_max() >= FILES_ENOUGH else "note")
    Path("data").chmod(0o700)
    cli("admin-key", "create", "--name", "ops")
    with engine_thread(SimulatorConfig()) as engine:
        done = cli.run("doctor", METERGATE_ENGINES=engine.url, **free)
    assert done.returncode == 0, done.stdout
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert {len(line) for line in lines} == {5} and {line[0] for line in lines} == {"ok", "note"}


def test_what_hangs_keeps_the_command_no_longer_than_its_bound(tmp_path: Path) -> None:
    """Guards against a process that has told all and waits for a library's thread."""
    with listen("127.0.0.1", 0, purpose="", choose_with="") as deaf:
        url = f"postgresql://me:{PASSWORD}@127.0.0.1:{deaf.getsockname()[1]}/ledger"
        done = run("doctor", "--json", "--seconds", "0.5", cwd=tmp_path, METERGATE_DATABASE_URL=url)
    assert done.returncode == 1 and PASSWORD not in done.stdout + done.stderr
    assert json.loads(done.stdout)["state"] == "wrong"


def test_another_metergate_is_told_from_a_stranger(look: Look) -> None:
    """A port that another metergate has wants another answer than one that nginx has."""
    with engine_process() as other:
        (finding, *_) = look(Check.PORT, port=other.port)
    assert finding.state == "wrong" and "another metergate" in finding.fact
