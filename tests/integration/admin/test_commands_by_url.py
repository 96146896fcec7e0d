"""Commands with --url: the same documents as on the database, and every way in which it can go wrong."""

import asyncio
import http.server
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ledger import keys, reports
from ledger.database import Database
from ledger.posting import post
from ledger.record import CallRecord
from ledger.roles import Role
from ledger.terms import Terms
from tests.integration.admin.served_cli import made_key, served, settings_of
from tests.records import a_record

from .conftest import METERGATE, Cli, environment


@pytest.fixture
def url(cli: Cli, tmp_path: Path) -> Iterator[str]:
    """A control plane on the ledger that `cli` finds."""
    with served(settings_of(tmp_path / "data")) as url:
        yield url


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again without a pause."""
    monkeypatch.setattr("admin.cli.remote.PAUSES_S", (0.0, 0.0))


@pytest.fixture
def operator(cli: Cli, tmp_path: Path) -> str:
    """The operator's admin key."""
    return made_key(settings_of(tmp_path / "data"))


def test_what_is_done_at_a_url_is_found_on_the_database(cli: Cli, url: str, operator: str) -> None:
    """Guards against two command lines that tell different things of one ledger."""
    there = ("--url", url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METERGATE_ADMIN_KEY", operator)
        tenant = cli("tenant", "create", "Acme", *there)
        project = cli("project", "create", "Chat", "--tenant", tenant["id"], *there)
        made = cli("key", "create", "--project", project["id"], "--tag", "team=search", *there)
        assert keys.is_well_formed(made["key"].encode())
        assert cli("key", "list", *there) == cli("key", "list")
        assert cli("key", "block", made["id"], *there) == cli("key", "show", made["id"])
        patch.setenv("METERGATE_ADMIN_URL", url)
        assert cli("tenant", "show", tenant["id"]) == tenant
        assert cli("project", "list", "--data-dir", "data") == [project]


def test_the_audit_log_names_the_command_line_or_the_key(cli: Cli, url: str, operator: str) -> None:
    """Guards against changes on the database that nobody made."""
    cli("tenant", "create", "Here")
    done = cli.run("tenant", "create", "There", "--url", url, METERGATE_ADMIN_KEY=operator)
    assert done.returncode == 0, done.stderr
    there, here = cli("audit", "list", "--limit", "2")
    assert (here["actor_kind"], here["address"]) == ("command_line", None)
    assert here["actor_name"].endswith(f"at {socket.gethostname()}")
    assert (there["actor_kind"], there["address"]) == ("admin_key", "127.0.0.1")
    assert there["user_agent"].startswith("metergate-cli/")


def test_a_list_is_walked_to_its_end(cli: Cli, url: str, operator: str) -> None:
    """Guards against a list that is a page, and not all there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("admin.cli.api.PAGE_MAX", {"/admin/v1": 2, "/v1/organization": 2})
        made = [cli("tenant", "create", f"T{number}")["id"] for number in range(5)]
        patch.setenv("METERGATE_ADMIN_KEY", operator)
        assert [each["id"] for each in cli("tenant", "list", "--url", url)] == made
        assert [each["id"] for each in cli("tenant", "list")] == made


def test_a_tenants_key_sees_its_own_and_is_told_what_it_may_not(cli: Cli, url: str, tmp_path: Path) -> None:
    """Guards against a command line that hides which permission is missing, or shows what is another's."""
    own, others = (cli("tenant", "create", name)["id"] for name in ("Ours", "Theirs"))
    theirs = cli("project", "create", "P", "--tenant", others)["id"]
    key = made_key(settings_of(tmp_path / "data"), Role.BILLING, own)

    def ask(*arguments: str) -> tuple[int, str, str]:
        done = cli.run(*arguments, "--url", url, METERGATE_ADMIN_KEY=key)
        assert key not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    status, listed, _ = ask("tenant", "list")
    assert status == 0 and own in listed and others not in listed
    assert ask("key", "list")[0::2] == (
        1,
        "metergate: You have insufficient permissions for this operation. Missing permission: keys.read.\n",
    )
    assert ask("project", "show", theirs) == (
        1, "", f"metergate: no project with the id '{theirs}'\n"
    )  # fmt: skip


Said = tuple[int | None, dict[str, str], bytes]


class _Speaks(http.server.BaseHTTPRequestHandler):
    """Answers as it is told, once for each of `answers`, and keeps what it was asked."""

    answers: ClassVar[list[Said]] = []
    heard: ClassVar[list[dict[str, str]]] = []

    def do_GET(self) -> None:
        self.heard.append({"method": self.command, "path": self.path, **dict(self.headers)})
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status is None:  # goes away
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_PATCH = do_GET

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def speaking(
    *answers: Said,
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers so, and what it heard."""
    heard: list[dict[str, str]] = []
    handler = type("Speaks", (_Speaks,), {"answers": list(answers), "heard": heard})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


KEY = keys.mint(keys.ADMIN_PREFIX)
BREAKS: Said = (None, {}, b"")
MADE: Said = (201, {"Content-Type": "application/json"}, b'{"id": "org-1"}')


def test_a_post_is_sent_again_where_the_connection_broke_and_means_the_same(cli: Cli) -> None:
    """Guards against a tenant that is made twice, and against a key that is lost with an answer."""
    with speaking(BREAKS, BREAKS, MADE) as (url, heard):
        done = cli.run("tenant", "create", "A", "--url", url, METERGATE_ADMIN_KEY=KEY)
    assert (done.returncode, done.stdout) == (0, "id: org-1\n"), done.stderr
    assert len(heard) == 3
    (idempotency_key,) = {each["Idempotency-Key"] for each in heard}
    assert len(idempotency_key) == 36


def test_a_change_that_may_have_arrived_is_not_sent_again(cli: Cli) -> None:
    """Guards against a second removal, which would be told as "there is no such limit"."""
    with speaking(BREAKS, MADE) as (url, heard):
        done = cli.run("limit", "remove", "limit_1", "--url", url, METERGATE_ADMIN_KEY=KEY)
    assert (done.returncode, len(heard)) == (1, 1)
    assert f"the connection to {url} broke" in done.stderr


def test_the_key_is_not_sent_after_a_redirect(cli: Cli) -> None:
    """Guards against a key that goes to whoever answers at an old address."""
    with speaking((200, {}, b"{}")) as (elsewhere, heard):
        with speaking((307, {"Location": elsewhere}, b"")) as (url, _):
            done = cli.run("tenant", "list", "--url", url, METERGATE_ADMIN_KEY=KEY)
        assert (done.returncode, heard) == (1, [])
    assert f"redirects to '{elsewhere}': the key is not sent there" in done.stderr


def test_an_answer_that_is_no_control_planes_is_told(cli: Cli) -> None:
    """Guards against a traceback where --url names the data plane, or a web page."""
    answers: list[Said] = [(404, {}, b"<html>"), (200, {}, b"<html>"), (502, {}, b"Bad Gateway")]
    for answer in answers:
        with speaking(answer) as (url, _):
            done = cli.run("tenant", "list", "--url", url, METERGATE_ADMIN_KEY=KEY)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert f"is {url} a control plane" in done.stderr


def test_a_connection_without_tls_is_warned_about_beyond_this_machine(cli: Cli) -> None:
    """Guards against an admin key in clear on a network, unnoticed."""
    done = cli.run("tenant", "list", "--url", "http://metergate.invalid:1", METERGATE_ADMIN_KEY=KEY)
    warning, fault = done.stderr.splitlines()
    assert warning == (
        "metergate: warning: http://metergate.invalid:1 is not https: the admin key travels unprotected"
    )
    assert fault.startswith("metergate: cannot reach http://metergate.invalid:1: ")
    done = cli.run("tenant", "list", "--url", "http://127.0.0.1:1", METERGATE_ADMIN_KEY=KEY)
    assert done.returncode == 1 and "warning" not in done.stderr
    assert "is it up, and the URL right?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "status", "said"),
    [
        ("--url URL", {}, 1, "no admin key: set METERGATE_ADMIN_KEY, or give --admin-key-file"),
        ("--url URL", {"METERGATE_ADMIN_KEY": "hunter2"}, 1, "METERGATE_ADMIN_KEY is no admin key"),
        ("--url URL", {"METERGATE_ADMIN_KEY": keys.mint()}, 1, "METERGATE_ADMIN_KEY is no admin key"),
        ("--url URL", {"METERGATE_ADMIN_KEY": KEY}, 1, "Incorrect admin key provided. Check METERGATE_ADMIN"),
        ("--url URL --admin-key-file none", {}, 1, "cannot read none: No such file"),
        ("--url URL --data-dir data", {}, 2, "give --url, or --data-dir and --database-url, not both"),
        ("--admin-key-file none", {}, 2, "--admin-key-file goes with --url"),
        ("--url admin.example.com", {}, 1, "is one such as https://admin.example.com"),
        ("--url https://a:b@c", {}, 1, "no user and password in the URL"),
        ("--url https://c?d=e", {}, 1, "has nothing behind its path"),
    ],
)
def test_a_first_mistake_is_told_to_the_point(
    cli: Cli, url: str, arguments: str, env: dict[str, str], status: int, said: str
) -> None:
    """Guards against riddles, and against a secret in what is told."""
    done = cli.run("tenant", "list", *arguments.replace("URL", url).split(), **env)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert not any(secret in done.stderr for secret in env.values())
    assert status == 2 or done.stderr.count("\n") == 1


def test_a_command_of_the_server_itself_says_so(cli: Cli) -> None:
    """Guards against `ledger verify --url` that verifies the ledger of this folder."""
    for command in (
        ("ledger", "verify"),
        ("db", "check"),
        ("journal", "inspect"),
        ("doctor",),
        ("reconcile",),
    ):
        done = cli.run(*command, "--url", "https://admin.example.com")
        assert done.returncode == 2
        assert "works on the server itself" in " ".join(done.stderr.replace("│", " ").split())


def test_a_path_that_an_id_would_make_is_not_asked(cli: Cli) -> None:
    """Guards against an id that names another route."""
    for word in ("a/b", "..", "", "a\nb"):
        done = cli.run("key", "show", word)
        assert (done.returncode, done.stderr) == (1, f"metergate: {word!r} is no id\n")


def test_the_key_comes_from_a_file_and_is_nowhere_to_be_read(url: str, operator: str, tmp_path: Path) -> None:
    """As a process: neither its arguments nor what it says have the key, also where something breaks that
    nobody foresaw.
    """
    (tmp_path / "key").write_text(f"{operator}\n")
    command = [*METERGATE, "tenant", "list", "--url", url, "--admin-key-file", "key", "--json"]
    env = environment(TMPDIR=str(tmp_path))
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    breaking = (
        "import sys, httpx\nfrom admin.cli import main\n"
        "def breaks(*_, **__): raise RuntimeError('unforeseen')\n"
        "httpx.Client.send = breaks\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", breaking, *command[len(METERGATE) :]],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    (kept,) = tmp_path.glob("metergate-fault-*.txt")
    assert done.returncode == 1 and "unexpected RuntimeError" in done.stderr
    assert "unforeseen" in kept.read_text() and operator not in kept.read_text() + done.stderr


def test_reading_leaves_no_secret_key_behind(cli: Cli, tmp_path: Path) -> None:
    """Guards against a command that makes a key file of its own where the server's is elsewhere."""
    cli("key", "list")
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["metergate.db"]


def test_an_export_is_a_file_that_is_whole_or_not_there(cli: Cli, tmp_path: Path) -> None:
    """Guards against half a month that looks like all of it, where the connection broke in the middle."""
    half: Said = (200, {"Content-Length": "1000"}, b"request_id,started_at\nreq_1,")
    with speaking(half) as (url, _):
        done = cli.run("usage", "export", "--out", "x.csv", "--url", url, METERGATE_ADMIN_KEY=KEY)
    assert done.returncode == 1 and f"the connection to {url} broke" in done.stderr
    assert not (tmp_path / "x.csv").exists() and not list(tmp_path.glob(".x.csv.*"))


def test_an_export_is_read_in_pages_and_hides_engines_from_tenants(
    cli: Cli, url: str, operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against pages that lose a call or tell it twice, and against a tenant that learns where engines
    are.
    """
    ours, project = cli("tenant", "create", "Ours")["id"], "proj_x"
    records = [a_record(tenant_id=ours, project_id=project) for _ in range(5)]
    asyncio.run(_post(settings_of(tmp_path / "data").database_url, [*records, a_record()]))
    monkeypatch.setattr(reports.usage_page, "__defaults__", (None, 2))
    month = ("usage", "export", "--month", "2026-10", "--url", url)
    with monkeypatch.context() as patch:
        patch.setenv("METERGATE_ADMIN_KEY", operator)
        everything = cli(*month)
        assert len(everything) == 6 and all(row["backend"] for row in everything)
        assert cli.run(*month, "--format", "jsonl").stdout.count("\n") == 6
        patch.setenv("METERGATE_ADMIN_KEY", made_key(settings_of(tmp_path / "data"), Role.BILLING, ours))
        own = cli(*month)
    assert {row["request_id"] for row in own} == {record.request_id for record in records}
    assert [row["request_id"] for row in own] == sorted(record.request_id for record in records)
    assert {row["backend"] for row in own} == {""}


async def _post(url: str, records: list[CallRecord]) -> None:
    database, book = Database(url), Terms()
    async with database.write() as session:
        await book.refresh(await session.connection())
        await post(await session.connection(), records, book, 1)
    await database.close()
