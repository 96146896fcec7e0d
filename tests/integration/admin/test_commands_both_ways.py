"""Every command about a resource, on the database and at a URL: the same documents.

TOUR is the whole life of a tenant, each line a command; what a command makes gives later ones its id. It is
gone through twice, on a ledger each, and what came out is compared, without what no two runs have in common.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from admin.cli.entry import GROUPS, tree
from ledger.database import Database
from ledger.posting import post
from ledger.terms import Terms
from tests.integration.admin.served_cli import made_key, same, served, settings_of
from tests.people import PASSWORD
from tests.records import NOON_US, a_record

from .conftest import Cli

LOCAL = {"ledger", "journal", "db", "engine"}
"""Commands of the server itself."""

TOUR = """
tenant: tenant create Acme --outage-policy fail-open
- tenant list
- tenant update {tenant} --name Bcme --outage-policy fail-closed
- tenant show {tenant}
- tenant block {tenant}
- tenant unblock {tenant}
project: project create Chat --tenant {tenant} --deny-model x
- project create Other --tenant {tenant}
- project list --tenant {tenant}
- project update {project} --name Talk --any-model
- project show {project}
- project block {project}
- project unblock {project}
key: key create --project {project} --tag a=b --expires 30d --scope models --cidr 192.0.2.1 --allow-model m*
- key list --project {project}
- key list --tenant {tenant}
- key show {key}
- key update {key} --name K --no-tags --never-expires
- key rotate {key} --grace 2h
- key block {key}
- key unblock {key}
account: service-account create Bot --project {project}
- service-account list --project {project}
- service-account show {account} --project {project}
- service-account update {account} --project {project} --name Robot --role owner
- service-account key {account} --project {project} --scope models
- service-account delete {account} --project {project}
admin_key: admin-key create --tenant {tenant} --role billing --expires 2d
- admin-key list
- admin-key show {admin_key}
- admin-key revoke {admin_key}
limit: limit set --key {key} --kind spend --max 1.50
- limit set --project {project} --kind tokens --window day --max 5 --each-user
- limit set --tenant {tenant} --kind requests --max 60 --burst 5 --soft
- limit list --tenant {tenant}
- limit list --key {key}
- limit show {limit}
- limit remove {limit}
- price set m --input 0.15 --output 0.6 --from 2030-01-01
- price set m --input 0.1 --output 0.1 --tenant {tenant}
- price list --model m
- spend-limit set --tenant {tenant} --max 100.00
- spend-limit show --tenant {tenant}
- spend-limit remove --tenant {tenant}
- spend-limit set --project {project} --max 7.50
- spend-limit show --project {project}
alert: alert create --tenant {tenant} --amount 80.00 --webhook-url https://a.example/
- alert list --tenant {tenant}
- alert show {alert} --tenant {tenant}
- alert update {alert} --tenant {tenant} --amount 90
- alert remove {alert} --tenant {tenant}
- alert create --project {project} --amount 1.50 --webhook-url https://a.example/
- alert list --project {project}
user: user create ann@example.com --name Ann --tenant {tenant} --password-stdin
- user set-password ann@example.com --password-stdin
- user show ann@example.com
- user list --tenant {tenant}
- user set-role ann@example.com --tenant {tenant} --role billing
- project-member list --project {project}
- project-member add ann@example.com --project {project}
- project-member show {user} --project {project}
- project-member set-role {user} --project {project} --role owner
- project-member list --project {project}
- project-member remove ann@example.com --project {project}
- session list --user ann@example.com
- session end --user {user} --all
- user reset-password ann@example.com
- user disable {user}
- user enable {user}
invite: user invite bob@example.com --tenant {tenant} --role admin --project {project}=owner
- invite list --tenant {tenant}
- invite show {invite} --tenant {tenant}
- invite remove {invite} --tenant {tenant}
- user remove {user} --tenant {tenant}
- reservation list
- backend list
- usage show --month 2026-10
- usage show --month 2026-10 --by model --by tenant
- usage export --month 2026-10
- usage export --month 2026-10 --detail daily
- project archive {project}
- key revoke {key}
- audit list --tenant {tenant} --event project.archived --since 1h
- audit list --subject {key} --limit 3
"""


def steps() -> Iterator[tuple[str, list[str]]]:
    """The tour's lines: what the thing that is made is called, if anything, and the command."""
    for line in TOUR.strip().splitlines():
        name, _, command = line.partition(": ") if not line.startswith("- ") else ("", "", line[2:])
        yield name, command.split()


def tour(run: Callable[..., Any]) -> list[tuple[str, Any]]:
    """Each command, and what it said."""
    ids: dict[str, str] = {}
    told = []
    for name, words in steps():
        document = run(*(word.format(**ids) for word in words))
        if name:
            ids[name] = document["id"]
        told.append((" ".join(words), same(document)))
    return told


async def _post_two_calls(url: str) -> None:
    database, book = Database(url), Terms()
    async with database.write() as session:
        await book.refresh(await session.connection())
        # One after the other: ids of one instant are in any order, and so are the lines of an export.
        calls = [a_record(model="=1+1"), a_record(model="m", started_us=NOON_US + 1)]
        await post(await session.connection(), calls, book, 1)
    await database.close()


@pytest.mark.postgres
def test_a_tour_says_the_same_on_the_database_and_at_a_url(
    cli: Cli, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a command that works one way alone, or tells something else the other way: on a
    PostgreSQL here, and with a SQLite behind the URL.
    """
    there = settings_of("data")
    for url in (postgresql_url, there.database_url):
        asyncio.run(_post_two_calls(url))
    monkeypatch.setattr("sys.stdin.readline", lambda: f"{PASSWORD}\n", raising=False)
    operator = made_key(there)
    with monkeypatch.context() as patch:
        patch.setenv("METERGATE_DATABASE_URL", postgresql_url)
        made_key(settings_of("data", postgresql_url))
        on_database = tour(cli)
    with served(there) as url, monkeypatch.context() as patch:
        patch.setenv("METERGATE_ADMIN_URL", url)
        patch.setenv("METERGATE_ADMIN_KEY", operator)
        at_url = tour(cli)
    assert len(on_database) == len(at_url) > 80
    for one, other in zip(on_database, at_url, strict=True):
        assert one == other


def test_every_command_about_a_resource_is_in_the_tour() -> None:
    """Guards against a command that nobody has tried at a URL."""
    command = typer.main.get_command(tree())
    assert isinstance(command, TyperGroup)
    known = {
        (group, name)
        for group in GROUPS.keys() - LOCAL
        for name in command.commands[group].commands  # type: ignore[attr-defined]
    }
    assert known == {(words[0], words[1]) for _, words in steps()}
