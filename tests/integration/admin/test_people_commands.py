"""`metergate project-member`, `session` and `user reset-password`: on the database, and at a URL."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ledger.roles import Role
from tests.integration.admin.conftest import Cli
from tests.integration.admin.served_cli import made_key, served, settings_of
from tests.people import OTHER_PASSWORD, PASSWORD

ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
def url(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A control plane on the ledger that `cli` finds."""
    monkeypatch.setenv("METERGATE_PASSWORD_MEMORY_MIB", "19")
    with served(settings_of(tmp_path / "data")) as url:
        yield url


@pytest.fixture
def tenant(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tenant with Ann and Bob, and another one beside it."""
    monkeypatch.setattr("sys.stdin.readline", lambda: f"{PASSWORD}\n", raising=False)
    made = str(cli("tenant", "create", "Acme")["id"])
    cli("tenant", "create", "Other")
    for email in (ANN, BOB):
        cli("user", "create", email, "--name", "N", "--tenant", made, "--password-stdin")
    return made


def test_people_come_into_a_project_and_go(cli: Cli, tenant: str) -> None:
    """Guards against a member who is found by one of their names alone, and against a project of one of two
    tenants that asks which tenant.
    """
    project = cli("project", "create", "Chat", "--tenant", tenant)["id"]
    there = ("--project", project)
    ann = cli("user", "show", ANN)["id"]
    empty = cli.run("project-member", "list", *there)
    assert (empty.returncode, empty.stdout) == (0, "") and "project-member add" in empty.stderr
    assert cli("project-member", "add", ANN, *there)["role"] == "member"
    added = cli("project-member", "add", BOB, "--role", "owner", *there)
    assert cli("project-member", "show", BOB, *there) == added
    assert cli("project-member", "set-role", ann, "--role", "owner", *there)["role"] == "owner"
    assert [one["email"] for one in cli("project-member", "list", *there)] == [ANN, BOB]
    lines = cli.run("project-member", "list", *there).stdout.splitlines()
    assert [line.split("\t")[1:4] for line in lines] == [[ANN, "N", "owner"], [BOB, "N", "owner"]]
    assert lines[0].split("\t")[4].endswith("Z")
    assert cli("project-member", "remove", ANN, *there)["deleted"] is True
    assert [one["email"] for one in cli("project-member", "list", *there)] == [BOB]
    again = cli.run("project-member", "add", BOB, *there)
    assert (again.returncode, "already" in again.stderr) == (1, True)


def test_a_token_to_reset_a_password_is_shown_once_and_works(cli: Cli, tenant: str, url: str) -> None:
    """Guards against a token that is kept in the audit log or a file, and against one that sets nothing."""
    made = cli.run("user", "reset-password", ANN, "--json")
    assert made.returncode == 0 and "token" not in made.stderr
    shown = cli.run("user", "reset-password", BOB)
    token = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())["token:"]
    assert "not shown again" in shown.stderr and token not in shown.stderr
    secret = token.partition(".")[2]
    assert len(secret) > 40
    for path in Path("data").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    events = cli("audit", "list", "--event", "user.password_reset_created")
    assert len(events) == 2 and secret not in str(events)
    order = {"token": token, "password": OTHER_PASSWORD}
    done = httpx.post(f"{url}/admin/v1/password-resets/accept", json=order)
    assert done.status_code == 200, done.text
    login = {"email": BOB, "password": OTHER_PASSWORD}
    assert httpx.post(f"{url}/admin/v1/session", json=login).status_code == 200
    assert httpx.post(f"{url}/admin/v1/password-resets/accept", json=order).status_code == 400


def test_a_person_is_logged_out_in_one_place_and_everywhere(cli: Cli, tenant: str, url: str) -> None:
    """Guards against a command that ends all where one was meant, or nothing where all was, either way."""
    browsers = [
        httpx.Client(base_url=url, headers={"user-agent": f"browser {number}"}) for number in range(3)
    ]
    for browser in browsers:
        browser.post("/admin/v1/session", json={"email": ANN, "password": PASSWORD}).raise_for_status()
    at_url = ("--url", url)
    operator = made_key(settings_of("data"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METERGATE_ADMIN_KEY", operator)
        here, there = cli("session", "list", "--user", ANN), cli("session", "list", "--user", ANN, *at_url)
        assert here == there and [one["user_agent"] for one in here] == [f"browser {n}" for n in range(3)]
        table = cli.run("session", "list", "--user", ANN).stdout.splitlines()
        assert [line.split("\t")[4:] for line in table] == [["127.0.0.1", f"browser {n}"] for n in range(3)]
        for words in (("session", "end"), ("session", "end", here[0]["id"], "--all")):
            assert cli.run(*words, "--user", ANN).returncode == 2
        assert cli("session", "end", here[0]["id"], "--user", ANN) == {"ended": 1}
        assert cli("session", "end", here[1]["id"], "--user", ANN, *at_url) == {"ended": 1}
        assert [browser.get("/admin/v1/session").status_code for browser in browsers] == [401, 401, 200]
        gone = cli.run("session", "end", here[0]["id"], "--user", ANN)
        assert (gone.returncode, gone.stderr) == (1, f"metergate: no session with the id '{here[0]['id']}'\n")
        assert cli("session", "end", "--all", "--user", ANN, *at_url) == {"ended": 1}
        assert browsers[2].get("/admin/v1/session").status_code == 401
        nowhere = cli.run("session", "list", "--user", ANN)
        assert (nowhere.returncode, nowhere.stdout) == (0, "") and "nowhere" in nowhere.stderr
    for browser in browsers:
        browser.close()


def test_a_reader_is_told_in_a_line_which_permission_is_missing(cli: Cli, tenant: str, url: str) -> None:
    """Guards against a reader who logs people out, and against a refusal that says nothing."""
    project = cli("project", "create", "Chat", "--tenant", tenant)["id"]
    key = made_key(settings_of("data"), Role.READER, tenant)
    for words in (
        ("project-member", "add", ANN, "--project", project),
        ("session", "end", "--all", "--user", ANN),
        ("session", "list", "--user", ANN),
        ("user", "reset-password", ANN),
    ):
        done = cli.run(*words, "--url", url, METERGATE_ADMIN_KEY=key)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1 and "Missing permission: people.write." in done.stderr, words


def test_what_cannot_be_is_said_in_a_line(cli: Cli, tenant: str) -> None:
    """Guards against an address that is told of as an id, and a role that nobody has."""
    project = cli("project", "create", "Chat", "--tenant", tenant)["id"]
    nobody = cli.run("project-member", "add", "no@example.com", "--project", project)
    assert (nobody.returncode, nobody.stderr) == (
        1, "metergate: no user with the e-mail address 'no@example.com'\n"
    )  # fmt: skip
    assert cli.run("project-member", "add", ANN, "--project", project, "--role", "chief").returncode == 2
    assert cli.run("session", "list").returncode == 2
