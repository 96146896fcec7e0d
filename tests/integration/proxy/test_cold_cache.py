"""A worker that has just started, and everybody at once: the database is asked little, and nobody fails."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from ledger import changes, keys, tenancy
from ledger.database import Database
from ledger.principals import find_principal
from ledger.states import KeyState
from ledger.tables import ApiKey
from proxy import auth
from proxy.auth import Authenticator
from proxy.errors import KeyIncorrect

PEPPER = b"pepper"
POOL = 3
KNOWN, UNKNOWN, CALLS = 450, 50, 2000


async def make_keys(database: Database) -> list[bytes]:
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "A", 1)
        await session.flush()
        project = await tenancy.create_project(session, tenant.id, "p", 1)
        await session.flush()
        secrets = [keys.mint() for _ in range(KNOWN)]
        for number, secret in enumerate(secrets):
            digest = keys.digest(PEPPER, secret)
            session.add(
                ApiKey(
                    id=f"key_{number}", project_id=project.id, tenant_id=tenant.id, name="k", digest=digest,
                    redacted="", state=KeyState.ACTIVE, created_us=1,
                )
            )  # fmt: skip
    return [secret.encode() for secret in secrets]


async def test_a_cold_cache_does_not_stampede_the_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a restart under load that asks for each call, takes all connections, and answers 503."""
    database = Database(database_url, pool_size=POOL)
    secrets = await make_keys(database) + [keys.mint().encode() for _ in range(UNKNOWN)]
    asked: Counter[bytes] = Counter()
    at_once, most, follows = 0, 0, 0

    async def counted(session: Any, digest: bytes) -> Any:
        nonlocal at_once, most
        asked[digest] += 1
        at_once += 1
        most = max(most, at_once)
        try:
            return await find_principal(session, digest)
        finally:
            at_once -= 1

    monkeypatch.setattr(auth, "find_principal", counted)
    authenticator = Authenticator(database, PEPPER, lambda: 1_000)
    await authenticator.start()

    async def call(secret: bytes) -> bool:
        try:
            return (authenticator.cached(secret) or await authenticator.find(secret)).api_key_id != ""
        except KeyIncorrect:
            return False

    async def follow() -> None:
        """What else a worker does with its database meanwhile."""
        nonlocal follows
        while True:
            await database.look(changes.latest)
            follows += 1

    following = asyncio.create_task(follow())
    answers = await asyncio.gather(*(call(secrets[number % len(secrets)]) for number in range(CALLS)))
    following.cancel()
    await authenticator.stop()
    await database.close()
    assert answers.count(True) == CALLS * KNOWN // (KNOWN + UNKNOWN)
    assert set(asked.values()) == {1} and len(asked) == len(secrets)
    assert most == (1 if database.is_sqlite else POOL - 1), "a connection is left to the rest of the worker"
    assert follows > KNOWN / POOL, "and it is not behind all of them"
