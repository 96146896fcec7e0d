"""`metergate user`: on the command line, with passwords that are no arguments."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.admin.conftest import Cli, Done
from tests.people import OTHER_PASSWORD, PASSWORD

ANN = "ann@example.com"
Typed = Callable[..., Done]


@pytest.fixture
def typed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Runs a command that reads this from stdin."""
    monkeypatch.setenv("METERGATE_PASSWORD_MEMORY_MIB", "19")

    def run(text: str, *arguments: str) -> Done:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return cli.run(*arguments)

    return run


def test_a_user_is_made_disabled_enabled_and_invited(cli: Cli, typed: Typed, tmp_path: Path) -> None:
    """Guards against a password in a process list, in what is printed, or in the data folder."""
    tenant = cli("tenant", "create", "Acme")["id"]
    project = cli("project", "create", "Chat", "--tenant", tenant)["id"]
    made = typed(
        f"{PASSWORD}\n", "user", "create", "Ann@Example.com", "--name", "Ann Lee", "--tenant", tenant,
        "--role", "owner", "--password-stdin",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert PASSWORD not in made.stdout + made.stderr
    (ann,) = cli("user", "list")
    assert (ann["email"], ann["name"], ann["state"], ann["operator"]) == (ANN, "Ann Lee", "active", False)
    assert ann["memberships"] == [{"tenant_id": tenant, "role": "owner"}]
    assert cli("user", "list", "--tenant", "org-none") == []
    assert cli("user", "disable", ANN)["state"] == "disabled"
    assert cli("user", "enable", ann["id"])["state"] == "active"
    changed = typed(f"{OTHER_PASSWORD}\r\n", "user", "set-password", ANN, "--password-stdin")
    assert changed.returncode == 0, changed.stderr
    invite = cli(
        "user",
        "invite",
        "bob@example.com",
        "--tenant",
        tenant,
        "--role",
        "admin",
        "--project",
        f"{project}=owner",
    )
    assert invite["projects"] == [{"id": project, "role": "owner"}]
    assert invite["token"].startswith(invite["id"] + ".")
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir() if path.is_file())
    for secret in (PASSWORD, OTHER_PASSWORD, invite["token"].partition(".")[2]):
        assert secret.encode() not in kept
    assert b"$argon2id$" in kept


@pytest.mark.parametrize(
    ("text", "arguments", "status", "said"),
    [
        ("", ("user", "create", ANN, "--name", "Ann", "--operator"), 2, "--password-stdin"),
        ("x\n", ("user", "create", ANN, "--name", "Ann", "--password-stdin"), 2, "--operator"),
        (
            "short\n",
            ("user", "create", ANN, "--name", "A", "--operator", "--password-stdin"),
            1,
            "at least 12",
        ),
        (
            f"{PASSWORD}\n",
            ("user", "create", "ann", "--name", "A", "--operator", "--password-stdin"),
            1,
            "e-mail",
        ),
        (
            f"{PASSWORD}\n",
            ("user", "create", ANN, "--name", "A", "--tenant", "org-none", "--password-stdin"),
            1,
            "no tenant with the id",
        ),
        ("", ("user", "disable", ANN), 1, f"no user with the e-mail address '{ANN}'"),
        ("", ("user", "invite", ANN, "--tenant", "org-none"), 1, "no tenant with the id"),
        ("", ("user", "invite", ANN, "--tenant", "org-none", "--role", "operator"), 2, "--role"),
        ("", ("user", "invite", ANN, "--tenant", "o", "--project", "p=chief"), 1, "no role 'chief'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    typed: Typed, text: str, arguments: tuple[str, ...], status: int, said: str
) -> None:
    """Guards against a traceback for a mistyped word, and half a user where the tenant was wrong."""
    done = typed(text, *arguments)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr


def test_half_a_user_is_none(cli: Cli, typed: Typed) -> None:
    """Guards against a user without a tenant who stays behind when the tenant was mistyped."""
    order = ("user", "create", ANN, "--name", "A", "--tenant", "org-none", "--password-stdin")
    assert typed(f"{PASSWORD}\n", *order).returncode == 1
    assert cli("user", "list") == []
