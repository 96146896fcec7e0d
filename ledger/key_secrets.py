"""The secrets of a key: which there are, and rotation with a grace.

A rotation gives a key a new secret and leaves the rest of it as it is. The secret of before goes on until the
grace ends; every worker sees that by its own clock, so nothing has to happen then. Rules:

- At most two secrets live: a rotation during a grace ends the older one at once.
- A grace of 0 ends every secret of before.
- What ends a key, or blocks it, ends or blocks both: workers ask its row, whichever secret comes.
- Rows are locked in the order of their ids, the key first. New rows come before old ones go, so that no id is
  ever given twice.
- A secret whose grace is over stays listed until the next rotation: when it was last used is worth knowing.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger import audit, changes, keys, secret_check
from ledger.actors import PROGRAM, Actor
from ledger.audit import Subject
from ledger.audit_events import Event
from ledger.errors import NotFound, Refused
from ledger.states import KeyState, ProjectState
from ledger.tables.tenancy import ApiKey, ApiKeySecret, Project

GRACE_US_MAX: Final = 90 * 24 * 3_600_000_000
"""A quarter, the usual time between rotations: what needs longer is a second key."""

AT_ONCE_MAX: Final = 1_000
"""Ids in one question: SQLite takes 32,766 parameters, PostgreSQL 32,767."""


def checked_grace(grace_us: int) -> int:
    """The grace. Raises Refused for one out of bounds."""
    if not 0 <= grace_us <= GRACE_US_MAX:
        raise Refused(f"a grace is {GRACE_US_MAX // 86_400_000_000} days at most")
    return grace_us


async def rotate(
    session: AsyncSession, pepper: bytes, key_id: str, grace_us: int, now_us: int, *, by: Actor = PROGRAM
) -> tuple[ApiKey, str]:
    """The key with a new secret, which is shown once and kept nowhere.

    Raises NotFound; Refused for a grace out of bounds, for a key that is revoked or expired, and in an
    archived project; SecretChanged for another pepper than the first key's.
    """
    checked_grace(grace_us)
    await secret_check.hold_to(await session.connection(), pepper, now_us)
    key = await session.get(ApiKey, key_id, with_for_update=True, populate_existing=True)
    if key is None:
        raise NotFound("key", key_id)
    await _check(session, key, now_us)
    query = select(ApiKeySecret).where(col(ApiKeySecret.api_key_id) == key.id).order_by(col(ApiKeySecret.id))
    former = list((await session.execute(query.with_for_update())).scalars())
    before = _facts(key, former)
    secret = keys.mint(keys.API_PREFIX)
    new = ApiKeySecret(
        api_key_id=key.id,
        digest=keys.digest(pepper, secret),
        redacted=keys.redact(secret),
        created_us=now_us,
    )
    key.digest, key.redacted = new.digest, new.redacted
    session.add(new)
    await session.flush()
    kept = [former.pop()] if grace_us else []
    for one in former:
        await session.delete(one)
    for one in kept:
        one.expires_us = now_us + grace_us
    await changes.append(session, "key.rotated", key.id, now_us)
    await audit.record(
        session,
        by,
        Event.API_KEY_ROTATED,
        Subject(key.id, key.tenant_id, key.project_id),
        before,
        _facts(key, [*kept, new]),
        now_us,
    )
    return key, secret


async def secrets_of(session: AsyncSession, key_ids: Iterable[str]) -> Mapping[str, Sequence[ApiKeySecret]]:
    """The secrets of each of these keys, the newest first."""
    found: dict[str, list[ApiKeySecret]] = {key_id: [] for key_id in key_ids}
    ids = iter(found)
    while portion := list(islice(ids, AT_ONCE_MAX)):
        query = select(ApiKeySecret).where(col(ApiKeySecret.api_key_id).in_(portion))
        for one in (await session.execute(query.order_by(col(ApiKeySecret.id).desc()))).scalars():
            found[one.api_key_id].append(one)
    return found


async def _check(session: AsyncSession, key: ApiKey, now_us: int) -> None:
    if key.state == KeyState.REVOKED:
        raise Refused(f"key {key.id} is revoked, and stays revoked")
    if key.expires_us is not None and key.expires_us <= now_us:
        raise Refused(f"key {key.id} has expired: give it another end first")
    project = await session.get(Project, key.project_id)
    if project is not None and project.state == ProjectState.ARCHIVED:
        raise Refused(f"project {project.id} is archived: its keys are not rotated")


def _facts(key: ApiKey, secrets: Sequence[ApiKeySecret]) -> dict[str, Any]:
    return {
        "redacted": key.redacted,
        "secrets": [{"redacted": one.redacted, "expires_us": one.expires_us} for one in secrets],
    }
