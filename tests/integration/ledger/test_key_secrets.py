"""Secrets of keys: rotation, grace, what is left of them, and when they were last used; on both databases."""

import asyncio
import json
from functools import partial

import pytest
from sqlalchemy import text

from ledger import changes, key_secrets, keys, principals, schema, secret_use, tenancy
from ledger.database import Database
from ledger.errors import NotFound, Refused, SecretChanged
from ledger.key_secrets import GRACE_US_MAX
from ledger.key_settings import change_api_key
from ledger.permissions import KeyScopes
from ledger.principals import Principal, find_principal
from ledger.states import ProjectState
from ledger.tags import Tags

PEPPER = b"p" * 32
END_US = 1_000


@pytest.fixture
async def made(database: Database) -> tuple[str, str, str]:
    """(project, key, secret): the key has everything that a key can have."""
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "search", 1)
        key, secret = await tenancy.create_api_key(
            session,
            PEPPER,
            project.id,
            "ci",
            2,
            END_US,
            scopes=KeyScopes.parse(["models"]),
            tags=Tags.parse(["team=search"]),
        )
    return project.id, key.id, secret


async def principal_of(database: Database, secret: str) -> Principal | None:
    return await database.look(partial(find_principal, digest=keys.digest(PEPPER, secret)))


async def rotate(database: Database, key_id: str, grace_us: int, now_us: int) -> str:
    async with database.write() as session:
        _, secret = await key_secrets.rotate(session, PEPPER, key_id, grace_us, now_us)
    return secret


async def live(database: Database, secrets: list[str], now_us: int) -> list[bool]:
    """Which of these secrets let a call in."""
    found = [await principal_of(database, secret) for secret in secrets]
    return [one is not None and one.is_active(now_us) for one in found]


async def test_a_rotated_key_is_the_same_key(database: Database, made: tuple[str, str, str]) -> None:
    """Guards against a rotation that loses a restriction or an end, or bills calls to somebody else; and
    against a grace that outlives its key.
    """
    _, key_id, old = made
    before = await principal_of(database, old)
    new = await rotate(database, key_id, 100, 10)
    assert new != old and keys.is_well_formed(new.encode())
    former, current = await principal_of(database, old), await principal_of(database, new)
    assert before is not None and former is not None and current == before
    assert current.secret_id > former.secret_id == before.secret_id
    assert (former.expires_us, former.is_replaced) == (110, True)
    assert (former.scopes, former.api_key_id) == (before.scopes, key_id)
    await rotate(database, key_id, 10 * END_US, 11)
    outlived = await principal_of(database, new)
    assert outlived is not None and outlived.expires_us == END_US
    shown = await database.look(partial(principals.show_key, principal=outlived))
    assert (shown.redacted, shown.expires_us) == (keys.redact(new), END_US)


async def test_at_most_two_secrets_live(database: Database, made: tuple[str, str, str]) -> None:
    """Guards against a leaked secret that a second rotation brings back, or that lives as the third."""
    _, key_id, first = made
    second = await rotate(database, key_id, 100, 10)
    assert await live(database, [first, second], 109) == [True, True]
    assert await live(database, [first, second], 110) == [False, True]
    third = await rotate(database, key_id, 100, 20)
    assert await live(database, [first, second, third], 30) == [False, True, True]
    fourth = await rotate(database, key_id, 0, 30)
    assert await live(database, [first, second, third, fourth], 31) == [False, False, False, True]
    async with database.read() as session:
        rows = (await session.execute(text("SELECT digest FROM api_key_secret"))).all()
        assert [row.digest for row in rows] == [keys.digest(PEPPER, fourth)]
        news = await changes.since(await session.connection(), 0)
        assert [one.kind for one in news if one.subject_id == key_id] == ["key.created"] + ["key.rotated"] * 3


async def test_what_ends_a_key_ends_both_secrets(database: Database, made: tuple[str, str, str]) -> None:
    """Guards against a revoked key that goes on with its other secret."""
    _, key_id, old = made
    both = [old, await rotate(database, key_id, 500, 10)]
    async with database.write() as session:
        await tenancy.block_api_key(session, key_id, 20)
    assert await live(database, both, 21) == [False, False]
    async with database.write() as session:
        await tenancy.unblock_api_key(session, key_id, 30)
    assert await live(database, both, 31) == [True, True]
    async with database.write() as session:
        await tenancy.revoke_api_key(session, key_id, 40)
    assert await live(database, both, 41) == [False, False]
    with pytest.raises(Refused, match="revoked"):
        await rotate(database, key_id, 0, 50)


async def test_what_cannot_be_rotated_is_refused(database: Database, made: tuple[str, str, str]) -> None:
    """Guards against a secret that works nowhere, and against a grace for ever."""
    project_id, key_id, old = made
    for grace_us in (-1, GRACE_US_MAX + 1):
        with pytest.raises(Refused, match="90 days"):
            await rotate(database, key_id, grace_us, 10)
    with pytest.raises(NotFound):
        await rotate(database, "key_nobody", 0, 10)
    with pytest.raises(Refused, match="expired"):
        await rotate(database, key_id, 0, END_US)
    with pytest.raises(SecretChanged):
        async with database.write() as session:
            await key_secrets.rotate(session, b"q" * 32, key_id, 0, 10)
    async with database.write() as session:
        await tenancy.set_project_state(session, project_id, ProjectState.BLOCKED, 10)
    await rotate(database, key_id, 100, 10)  # blocked is no end
    async with database.write() as session:
        await tenancy.set_project_state(session, project_id, ProjectState.ARCHIVED, 11)
    with pytest.raises(Refused, match="archived"):
        await rotate(database, key_id, 0, 12)
    assert await principal_of(database, old) is not None, "what was refused changed nothing"


async def test_rotations_at_once_leave_two_secrets(database: Database, made: tuple[str, str, str]) -> None:
    """Guards against two admins who read the same secrets, and leave three."""
    _, key_id, old = made
    made_secrets = await asyncio.gather(*(rotate(database, key_id, 100, 10) for _ in range(4)))
    assert sum(await live(database, [old, *made_secrets], 11)) == 2
    async with database.read() as session:
        (digest,) = (await session.execute(text("SELECT digest FROM api_key"))).scalars()
        (newest,) = (
            await session.execute(text("SELECT digest FROM api_key_secret WHERE expires_us IS NULL"))
        ).scalars()
    assert digest == newest


async def test_the_audit_log_tells_of_a_rotation_without_secrets(
    database: Database, made: tuple[str, str, str]
) -> None:
    """Guards against a log that says nothing of the grace, or too much of the secret."""
    _, key_id, old = made
    new = await rotate(database, key_id, 100, 10)
    async with database.read() as session:
        found = (
            await session.execute(text("SELECT * FROM audit_event WHERE event = 'api_key.rotated'"))
        ).one()
    assert json.loads(found.before)["secrets"] == [{"redacted": keys.redact(old), "expires_us": None}]
    assert json.loads(found.after) == {
        "redacted": keys.redact(new),
        "secrets": [
            {"redacted": keys.redact(old), "expires_us": 110},
            {"redacted": keys.redact(new), "expires_us": None},
        ],
    }
    for hidden in (old, new, keys.digest(PEPPER, new).hex()):
        assert hidden not in str(found)


async def test_last_use_is_of_each_secret_and_only_grows(
    database: Database, made: tuple[str, str, str]
) -> None:
    """Guards against an old secret that looks unused, because a worker that heard of it late wrote last."""
    _, key_id, old = made
    new = await rotate(database, key_id, 100, 10)
    former, current = await principal_of(database, old), await principal_of(database, new)
    assert former is not None and current is not None

    async def used() -> list[int | None]:
        async with database.read() as session:
            return [one.last_used_us for one in (await key_secrets.secrets_of(session, [key_id]))[key_id]]

    assert await used() == [None, None]
    await database.transact(partial(secret_use.note, used={former.secret_id: 50, 999_999: 50}))
    assert await used() == [None, 50]
    await database.transact(partial(secret_use.note, used={current.secret_id: 60, former.secret_id: 40}))
    assert await used() == [60, 50]


async def test_a_key_of_before_gets_its_secret(empty_database_url: str) -> None:
    """Guards against an upgrade after which no key works, and against keys that never will: those which a
    control plane makes that is still to be restarted.
    """
    database = Database(empty_database_url)
    insert = text(
        "INSERT INTO api_key"
        " (id, project_id, tenant_id, name, digest, redacted, state, created_us, last_used_us)"
        " VALUES (:id, 'proj_1', 'org-1', 'k', :digest, 'sk-mg-...', 'active', 1, 7)"
    )
    known = schema.revisions()
    await database.upgrade()
    await database.downgrade(known[known.index("0013") - 1])
    try:
        async with database.write() as session:
            for statement in (
                "INSERT INTO tenant (id, name, state, created_us) VALUES ('org-1', 'A', 'active', 1)",
                "INSERT INTO project (id, tenant_id, name, state, created_us)"
                " VALUES ('proj_1', 'org-1', 'p', 'active', 1)",
            ):
                await session.execute(text(statement))
            await session.execute(insert, {"id": "key_1", "digest": keys.digest(PEPPER, "one")})
        await database.upgrade()
        async with database.write() as session:
            await session.execute(insert, {"id": "key_2", "digest": keys.digest(PEPPER, "two")})
        for secret, key_id in (("one", "key_1"), ("two", "key_2")):
            principal = await principal_of(database, secret)
            assert principal is not None and (principal.api_key_id, principal.is_active(5)) == (key_id, True)
        async with database.read() as session:
            ((one,), (two,)) = (await key_secrets.secrets_of(session, ["key_1", "key_2"])).values()
        assert (one.last_used_us, two.last_used_us) == (7, None)
    finally:
        await database.close()


async def test_all_that_a_key_is_told_can_change(database: Database, made: tuple[str, str, str]) -> None:
    """Guards against an end that cannot be taken away, and against a line to the workers for each setting."""
    _, key_id, secret = made
    async with database.write() as session:
        seen = await changes.latest(await session.connection())
        tags = Tags.parse(["team=ads"])
        await change_api_key(
            session, key_id, {"name": " new ", "expires_us": None, "tags": tags, "scopes": None}, 5
        )
        await change_api_key(session, key_id, {"name": "new"}, 6)
        for refused in ({"name": " "}, {"expires_us": 7}):
            with pytest.raises(Refused):
                await change_api_key(session, key_id, refused, 7)  # type: ignore[arg-type]
    principal = await principal_of(database, secret)
    assert principal is not None and (principal.expires_us, principal.scopes) == (None, None)
    async with database.read() as session:
        key = await tenancy.get_api_key(session, key_id)
        assert (key.name, key.tags) == ("new", tags)
        assert len(await changes.since(await session.connection(), seen)) == 1
