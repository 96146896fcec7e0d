"""The commands on a ledger, as a script uses them: --json in, one document out."""

import asyncio
import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import keys
from ledger.database import Database
from ledger.permissions import Scope
from ledger.posting import post
from ledger.terms import Terms
from tests.records import a_record

from .conftest import Cli, environment


def test_a_key_is_made_shown_once_listed_blocked_and_revoked(cli: Cli) -> None:
    tenant = cli("tenant", "create", "Acme")
    project = cli("project", "create", "--tenant", tenant["id"], "--name", "Chat")
    made = cli("key", "create", "--project", project["id"], "--name", "CI", "--expires", "30d")
    assert keys.is_well_formed(made["key"].encode())
    assert (made["project_id"], made["tenant_id"], made["name"]) == (project["id"], tenant["id"], "CI")
    (listed,) = cli("key", "list", "--project", project["id"])
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert cli("key", "block", made["id"])["state"] == "blocked"
    assert cli("key", "unblock", made["id"])["state"] == "active"
    assert cli("key", "revoke", made["id"])["state"] == "revoked"
    assert cli("key", "show", made["id"])["state"] == "revoked"


def test_a_tenant_is_blocked_and_let_in_again(cli: Cli) -> None:
    tenant = cli("tenant", "create", "--name", "Acme")
    assert cli("tenant", "block", tenant["id"])["state"] == "blocked"
    assert cli("tenant", "unblock", tenant["id"]) == tenant
    assert cli("tenant", "list") == [tenant]
    assert cli("tenant", "show", tenant["id"]) == tenant


def test_what_a_tenant_does_in_an_outage_is_set_and_changed(cli: Cli) -> None:
    """Guards against a policy that is taken and not kept, and against tenants that fail open unasked."""
    assert cli("tenant", "create", "Acme")["outage_policy"] == "fail_closed"
    tenant = cli("tenant", "create", "Open", "--outage-policy", "fail-open")
    assert tenant["outage_policy"] == "fail_open"
    changed = cli("tenant", "update", tenant["id"], "--outage-policy", "fail-closed")
    assert changed == {**tenant, "outage_policy": "fail_closed"}
    assert cli("tenant", "show", tenant["id"]) == changed


def test_a_key_is_rotated_renamed_and_tagged(cli: Cli) -> None:
    """Guards against a command that rotates and does not show what it made."""
    tenant = cli("tenant", "create", "Acme")
    project = cli("project", "create", "Chat", "--tenant", tenant["id"])
    made = cli("key", "create", "--project", project["id"], "--expires", "30d", "--tag", "team=search")
    assert made["tags"] == {"team": "search"}
    rotated = cli("key", "rotate", made["id"], "--grace", "2h")
    assert keys.is_well_formed(rotated["key"].encode()) and rotated["key"] != made["key"]
    assert [one["redacted"] for one in rotated["secrets"]] == [rotated["redacted"], made["redacted"]]
    shown = cli("key", "show", made["id"])
    assert shown == {name: value for name, value in rotated.items() if name != "key"}
    changed = cli("key", "update", made["id"], "--name", "CD", "--never-expires", "--no-tags")
    assert changed == {**shown, "name": "CD", "expires_at": None, "tags": {}}
    assert len(cli("key", "rotate", made["id"], "--grace", "0")["secrets"]) == 1


def test_a_key_and_a_project_are_restricted_and_set_free(cli: Cli) -> None:
    """Guards against an update that takes away what it did not name."""
    tenant = cli("tenant", "create", "Acme")
    deny = ("--deny-model", "*-large", "--deny-model", "x")
    project = cli("project", "create", "P", "--tenant", tenant["id"], *deny)
    denied = {"mode": "deny_list", "model_ids": ["*-large", "x"]}
    assert project["model_permissions"] == denied
    key = cli(
        "key", "create", "--project", project["id"], "--allow-model", "gpt-*", "--scope", "models",
        "--scope", "chat.completions", "--cidr", "192.0.2.0/24", "--cidr", "::1",
    )  # fmt: skip
    assert key["model_permissions"] == {"mode": "allow_list", "model_ids": ["gpt-*"]}
    assert (key["scopes"], key["cidrs"]) == (["chat.completions", "models"], ["192.0.2.0/24", "::1/128"])
    changed = cli("key", "update", key["id"], "--cidr", "10.0.0.0/8")
    assert {**changed, "key": key["key"]} == {**key, "cidrs": ["10.0.0.0/8"]}
    freed = cli("key", "update", key["id"], "--any-model", "--any-scope", "--any-address")
    assert (freed["model_permissions"], freed["scopes"], freed["cidrs"]) == (None, None, None)
    assert cli("key", "show", key["id"]) == freed
    allowed = cli("project", "update", project["id"], "--allow-model", "m")["model_permissions"]
    assert allowed == {"mode": "allow_list", "model_ids": ["m"]}
    assert "mode allow_list; model_ids m" in cli.run("project", "show", project["id"]).stdout
    assert cli("project", "update", project["id"], "--any-model")["model_permissions"] is None


def test_the_help_names_every_scope(cli: Cli) -> None:
    """Guards against a new endpoint whose scope nobody finds."""
    said = " ".join(cli.run("key", "create", "--help").stdout.replace("│", " ").split())
    assert f"Only for this: {', '.join(Scope)}." in said


def test_prices_are_decimals_per_million_tokens(cli: Cli) -> None:
    price = cli("price", "set", "m", "--input", "0.15", "--output", "0.6", "--from", "2030-01-01")
    assert (price["input"], price["cached_input"], price["output"]) == ("0.15", "0.15", "0.60")
    assert price["effective_from"] == "2030-01-01T00:00:00Z"
    assert cli("price", "list") == [price]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("key", "create", "--project", "proj_none"), 1, "no project with the id 'proj_none'"),
        (("key", "create"), 2, "--project"),
        (("tenant", "create"), 2, "NAME"),
        (("tenant", "create", ""), 1, "a name has 1 to"),
        (("tenant", "update", "org-none"), 2, "say what to change"),
        (("tenant", "update", "org-none", "--outage-policy", "fail-open"), 1, "no tenant with the id"),
        (("price", "set", "m", "--input", "free", "--output", "1"), 1, "'free' is not a price"),
        (("usage", "show", "--month", "november"), 1, "2026-11"),
        (("usage", "export", "--format", "xlsx"), 2, "xlsx"),
        (("usage", "export", "--out", "no/such/folder.csv"), 1, "cannot write no/such/folder.csv"),
        (("key", "update", "key_none", "--any-model"), 1, "no key with the id 'key_none'"),
        (("key", "update", "key_none"), 2, "say what to change"),
        (("key", "update", "key_none", "--scope", "models", "--any-scope"), 2, "only one of --scope"),
        (("key", "update", "key_none", "--expires", "1d", "--never-expires"), 2, "only one of --expires"),
        (("key", "update", "key_none", "--tag", "team"), 1, "name=value"),
        (("key", "rotate", "key_none"), 1, "no key with the id 'key_none'"),
        (("key", "rotate", "key_none", "--grace", "soon"), 1, "no grace"),
        (("key", "rotate", "key_none", "--grace", "100d"), 1, "90 days"),
        (("key", "create", "--project", "p", "--scope", "chat"), 1, "the scopes are chat.completions,"),
        (("key", "create", "--project", "p", "--cidr", "10.0.0.1/8"), 1, "write 10.0.0.0/8"),
        (("project", "update", "p", "--allow-model", "a", "--deny-model", "b"), 2, "only one of"),
        (("sing",), 2, "sing"),
    ],
)
def test_a_mistake_is_told_on_stderr_with_its_status(
    cli: Cli, arguments: tuple[str, ...], status: int, said: str
) -> None:
    """1 for what cannot be done, 2 for a miswritten command; never a traceback, never half a document."""
    done = cli.run(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert status == 2 or done.stderr.count("\n") == 1


def test_a_folder_without_a_ledger_says_how_to_get_one(cli: Cli, tmp_path: Path) -> None:
    done = cli.run("tenant", "list", "--data-dir", "elsewhere")
    assert done.returncode == 1
    assert "metergate db upgrade" in done.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_a_ledger_that_is_made_by_hand_is_nobody_elses_to_read(cli: Cli, tmp_path: Path) -> None:
    """Guards against a ledger that every user of the machine can read, for want of a server that made it."""
    before = os.umask(0o022)
    try:
        assert cli.run("db", "upgrade", "--data-dir", "made").returncode == 0
    finally:
        os.umask(before)
    assert (tmp_path / "made" / "metergate.db").stat().st_mode & 0o077 == 0
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0


async def _post_two_calls(url: str) -> None:
    database = Database(url)
    book = Terms()
    async with database.write() as session:
        await book.refresh(await session.connection())
        await post(await session.connection(), [a_record(model="=1+1"), a_record(model="m")], book, 1)
    await database.close()


def test_an_export_has_the_columns_of_the_contract_and_no_formulas(cli: Cli, tmp_path: Path) -> None:
    """A model's name is an engine's or a tenant's word: a spreadsheet must not run it."""
    asyncio.run(_post_two_calls(f"sqlite:///{tmp_path}/data/metergate.db"))
    month = "2026-10"
    done = cli.run("usage", "export", "--format", "csv", "--month", month, "--out", "november.csv")
    assert (done.returncode, done.stdout) == (0, "")
    text = (tmp_path / "november.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.splitlines()[0].startswith(
        "request_id,started_at,tenant_id,project_id,api_key_id,model,backend,endpoint,streamed,status,usage_source,"
        "prompt_tokens,cached_prompt_tokens,completion_tokens,amount_picos,currency,price_version_id"
    )
    assert sorted(row["model"] for row in rows) == ["'=1+1", "m"]
    totals = cli("usage", "show", "--month", month, "--by", "model")
    assert totals["calls"] == len(rows) == 2
    assert totals["prompt_tokens"] == sum(int(row["prompt_tokens"]) for row in rows)
    assert {total["group"]["model"] for total in totals["totals"]} == {"=1+1", "m"}
    days = cli("usage", "export", "--detail", "daily", "--month", month)
    assert sum(day["calls"] for day in days) == 2


def test_an_admin_key_is_made_listed_and_revoked_without_up(cli: Cli) -> None:
    """On PostgreSQL nothing makes the operator's first key but this command."""
    made = cli("admin-key", "create", "--name", "ops")
    assert made["key"].startswith("sk-admin-") and made["state"] == "active"
    listed = cli("admin-key", "list")
    assert [key["id"] for key in listed if key["name"] == "ops"] == [made["id"]]
    assert made["key"] not in str(listed)
    refused = cli.run("admin-key", "revoke", made["id"])
    assert refused.returncode != 0 and "make another one first" in refused.stderr
    cli("admin-key", "create", "--name", "next")
    assert cli("admin-key", "revoke", made["id"])["state"] == "revoked"


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """--help is asked for at a terminal: what takes a second to import may not be imported for it."""
    script = (
        "import sys\nfrom admin.cli.entry import tree\ntree()\n"
        "heavy = {'sqlalchemy', 'pydantic', 'fastapi', 'httpx', 'uvicorn', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_ledger_is_verified_with_a_status_and_a_document(cli: Cli) -> None:
    """Guards against a verification that finds faults and exits as if there were none."""
    assert cli("ledger", "verify", "--month", "2026-11")["state"] == "clean"
    with sqlite3.connect("data/metergate.db") as connection:
        connection.execute(
            "INSERT INTO usage_hour VALUES (0, 'org-a', 'p', 'k', 'm', 'e', 'USD', 'final', 1, 2, 0, 3, 0)"
        )
    done = cli.run("ledger", "verify", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["state"]) == (1, "faults")
    (red,) = [check for check in document["checks"] if check["faults"]]
    assert (red["check"], red["looked_at"], red["faults"]) == ("rollups", 1, 1)
    assert "1970-01-01T00:00Z / org-a" in red["shown"][0]["id"] and red["advice"]
    done = cli.run("ledger", "verify")
    assert done.returncode == 1 and "there is no row" in done.stdout and "do: " in done.stdout
    assert cli.run("ledger", "verify", "--month", "2026-11").returncode == 0
    assert "no month" in cli.run("ledger", "verify", "--month", "last").stderr
