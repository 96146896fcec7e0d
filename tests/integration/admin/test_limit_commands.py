"""`metergate limit` as an operator uses it: set, listed, shown with what is left, removed."""

import json

import pytest

from .conftest import Cli


@pytest.fixture
def ids(cli: Cli) -> dict[str, str]:
    """A tenant with a project and a key."""
    tenant = cli("tenant", "create", "Acme")
    project = cli("project", "create", "Chat", "--tenant", tenant["id"])
    key = cli("key", "create", "--project", project["id"])
    return {"tenant": tenant["id"], "project": project["id"], "key": key["id"]}


def test_a_budget_is_set_shown_and_removed(cli: Cli, ids: dict[str, str]) -> None:
    limit = cli("limit", "set", "--key", ids["key"], "--kind", "spend", "--max", "1.00")
    assert (limit["scope"], limit["scope_id"], limit["window"]) == ("key", ids["key"], "month")
    assert (limit["max"], limit["currency"], limit["soft"]) == ("1.00", "USD", False)
    assert cli("limit", "list") == [limit]
    shown = cli("limit", "show", limit["id"])
    (standing,) = shown.pop("standings")
    assert shown == limit
    assert (standing["used"], standing["leased"], standing["remaining"]) == ("0.00", "0.00", "1.00")
    assert standing["resets_at"].endswith("-01T00:00:00Z")
    assert cli("limit", "remove", limit["id"]) == limit
    assert cli("limit", "list") == []
    done = cli.run("limit", "show", limit["id"])
    assert done.returncode == 1 and limit["id"] in done.stderr


def test_a_limit_set_again_is_the_same_one(cli: Cli, ids: dict[str, str]) -> None:
    """Guards against two limits where an operator wanted a higher one."""
    options = ("limit", "set", "--project", ids["project"], "--kind", "tokens", "--window", "day")
    first = cli(*options, "--max", "1000")
    second = cli(*options, "--max", "2000", "--soft")
    assert second == {**first, "max": 2000, "soft": True}
    assert cli("limit", "list", "--project", ids["project"]) == [second]


def test_every_kind_has_its_usual_window(cli: Cli, ids: dict[str, str]) -> None:
    windows = {
        kind: cli("limit", "set", "--tenant", ids["tenant"], "--kind", kind, "--max", "60")["window"]
        for kind in ("spend", "tokens", "requests", "concurrent")
    }
    assert windows == {"spend": "month", "tokens": "minute", "requests": "minute", "concurrent": None}
    limits = {limit["kind"]: limit for limit in cli("limit", "list", "--tenant", ids["tenant"])}
    assert limits["requests"]["burst"] == 10
    (rate,) = cli("limit", "show", limits["requests"]["id"])["standings"]
    assert rate["used"] is None and 1 <= rate["remaining"] <= 10
    (slots,) = cli("limit", "show", limits["concurrent"]["id"])["standings"]
    assert (slots["used"], slots["remaining"], slots["resets_at"]) == (0, 60, None)


def test_a_limit_can_be_of_a_model_and_of_end_users(cli: Cli, ids: dict[str, str]) -> None:
    options = ("limit", "set", "--project", ids["project"], "--kind", "spend", "--max", "0.000000000001")
    each = cli(*options, "--window", "day", "--each-user", "--model", "m")
    one = cli(*options, "--window", "day", "--user", "ann")
    assert (each["each_user"], each["end_user"], each["model"]) == (True, None, "m")
    assert (one["each_user"], one["end_user"], one["model"]) == (False, "ann", None)
    assert each["max"] == "0.000000000001"
    assert cli("limit", "show", each["id"])["standings"] == []


def test_the_filters_take_what_they_name(cli: Cli, ids: dict[str, str]) -> None:
    """A tenant's list has those of its projects and keys; a project's has its own."""
    made = {
        scope: cli("limit", "set", f"--{scope}", ids[scope], "--kind", "spend", "--max", "1")["id"]
        for scope in ("tenant", "project", "key")
    }
    other = cli("tenant", "create", "Other")["id"]
    cli("limit", "set", "--tenant", other, "--kind", "spend", "--max", "1")
    listed = {
        scope: {limit["id"] for limit in cli("limit", "list", f"--{scope}", ids[scope])} for scope in ids
    }
    assert listed == {
        "tenant": set(made.values()), "project": {made["project"]}, "key": {made["key"]}
    }  # fmt: skip


def test_people_see_the_standing_beside_the_limit(cli: Cli, ids: dict[str, str]) -> None:
    """Without --json it is lines that read, and a table whose columns are there."""
    done = cli.run("limit", "set", "--key", ids["key"], "--kind", "requests", "--max", "600")
    assert done.returncode == 0 and "600" in done.stdout
    limit_id = cli("limit", "list")[0]["id"]
    shown = cli.run("limit", "show", limit_id).stdout
    assert "remaining:" in shown and "standings" not in shown
    listed = cli.run("limit", "list").stdout.rstrip("\n").split("\t")
    assert listed == [limit_id, "key", ids["key"], "-", "-", "requests", "minute", "600", "no"]
    each = cli("limit", "set", "--key", ids["key"], "--kind", "tokens", "--window", "day",
               "--max", "5", "--each-user")  # fmt: skip
    done = cli.run("limit", "show", each["id"])
    assert done.returncode == 0 and "nobody used it yet" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("--kind spend --max 1", 2, "exactly one of --tenant, --project and --key"),
        ("--kind spend --max 1 --key key_x --project proj_x", 2, "exactly one of"),
        ("--kind spend --max 1 --key key_x --user u --each-user", 2, "--user or --each-user"),
        ("--kind spend --max 1 --key key_x --window minute", 1, "spend has a window: day, month, lifetime"),
        ("--kind spend --max -1.00 --key KEY", 1, "'-1.00' is negative"),
        ("--kind spend --max 1.0000000000001 --key KEY", 1, "more than twelve decimals"),
        ("--kind spend --max 1e3 --key KEY", 1, "'1e3' is not an amount"),
        ("--kind requests --max 0 --key KEY", 1, "at least 1: to stop every call, block the key"),
        ("--kind requests --max 1.5 --key KEY", 1, "'1.5' is not a number of requests"),
        ("--kind requests --max 5 --burst 6 --key KEY", 1, "a burst is at least 1 and at most the limit"),
        (
            "--kind tokens --max 5 --window day --burst 2 --key KEY",
            1,
            "only a limit by the minute has a burst",
        ),
        ("--kind tokens --max 5 --each-user --key KEY", 1, "a limit of end users is one of a day"),
        ("--kind concurrent --max 5 --window day --key KEY", 1, "has no window"),
        ("--kind money --max 5 --key KEY", 2, "money"),
        ("--kind spend --max 1 --key key_none", 1, "no key with the id 'key_none'"),
        ("--kind spend --max 1 --project proj_none", 1, "no project with the id 'proj_none'"),
        ("--kind spend --max 1 --tenant org-none", 1, "no tenant with the id 'org-none'"),
    ],
)
def test_a_first_mistake_is_told_to_the_point(
    cli: Cli, ids: dict[str, str], arguments: str, status: int, said: str
) -> None:
    """Guards against a limit that is not what the operator meant, and against a riddle instead of it."""
    done = cli.run("limit", "set", *arguments.replace("KEY", ids["key"]).split())
    assert (done.returncode, done.stdout) == (status, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert json.loads(cli.run("limit", "list", "--json").stdout) == []


@pytest.mark.parametrize("command", ["show", "remove"])
def test_an_unknown_limit_is_said_so(cli: Cli, command: str) -> None:
    done = cli.run("limit", command, "lim_none")
    assert done.returncode == 1
    assert "no limit with the id 'lim_none'" in done.stderr
