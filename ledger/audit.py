"""Writing the audit log: `record`, in the transaction of the change it tells of.

One chain for the whole database (docs/decisions/0018-one-audit-chain.md). Who appends holds the change log's
lock until the commit, so that two never follow the same row; on SQLite there is one writer anyway. Secrets
never get in: a value that looks like one, or is named like one, is replaced before it is hashed.

A row follows the head or the newest row, whichever is further. A head that somebody removed is not made anew,
and rows that somebody cut off leave a gap: changes go on, and `metergate ledger verify` stays red.
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import changes
from ledger.actors import Actor
from ledger.audit_chain import GENESIS, Head, hash_of
from ledger.audit_events import Event
from ledger.ids import new_id
from ledger.tables.audit import AuditEvent, AuditHead
from ledger.tables.base import Table

Facts = Mapping[str, Any]
"""What something was or became: JSON values by name."""

REDACTED: Final = "[redacted]"
USER_AGENT_CHARS_MAX: Final = 512  # a client may send 32 KiB

_SECRET_NAMES: Final = {"key", "secret", "digest", "password", "password_hash", "token", "hash", "cookie"}
_SECRET: Final = re.compile(r"sk-[A-Za-z0-9_-]{16,}")
_EVENTS: Final = Table.metadata.tables[AuditEvent.__tablename__]
_HEAD: Final = Table.metadata.tables[AuditHead.__tablename__]


class Subject(NamedTuple):
    """What was changed, and whose it is; no tenant: the operator's."""

    id: str
    tenant_id: str | None = None
    project_id: str | None = None


async def record(
    session: AsyncSession,
    actor: Actor,
    event: Event,
    subject: Subject,
    before: Facts | None,
    after: Facts | None,
    now_us: int,
    *,
    keep: Collection[str] = (),
) -> None:
    """Append one event. `before` is None of what was made, `after` of what is gone; of a change both are
    given, and what is the same in them is left out, but for what is named in `keep`.
    """
    if before is not None and after is not None:
        same = {name for name in before if name in after and before[name] == after[name]}
        same.difference_update(keep)
        before, after = _without(before, same), _without(after, same)
    await session.flush()
    await changes.lock(session)
    position, previous = await head(session)
    row: dict[str, Any] = {
        "position": position + 1,
        "id": new_id("audit_log-"),
        "at_us": now_us,
        "event": str(event),
        "tenant_id": subject.tenant_id,
        "project_id": subject.project_id,
        "subject_id": subject.id,
        "actor_kind": str(actor.kind),
        "actor_id": actor.id,
        "actor_name": actor.name,
        "actor_role": str(actor.role),
        "actor_email": actor.email,
        "address": actor.address,
        "user_agent": None if actor.user_agent is None else actor.user_agent[:USER_AGENT_CHARS_MAX],
        "before": _text(before),
        "after": _text(after),
    }
    row["hash"] = hash_of(previous, row)
    await session.execute(insert(_EVENTS).values(row))
    await session.execute(update(_HEAD).values(position=row["position"], hash=row["hash"]))


async def head(session: AsyncSession) -> Head:
    """Where the chain ends, by the head or the newest row, whichever is further."""
    newest = select(_EVENTS.c.position, _EVENTS.c.hash).order_by(_EVENTS.c.position.desc()).limit(1)
    found = [
        Head(int(position), bytes(digest))
        for query in (select(_HEAD.c.position, _HEAD.c.hash), newest)
        for position, digest in await session.execute(query)
    ]
    return max(found, default=Head(0, GENESIS), key=lambda one: one.position)


def _without(facts: Facts, names: set[str]) -> Facts:
    return {name: value for name, value in facts.items() if name not in names}


def _text(facts: Facts | None) -> str | None:
    return None if facts is None else json.dumps(redacted(facts), sort_keys=True, ensure_ascii=False)


def redacted(value: Any) -> Any:
    """The value without what is a secret, or is named like one."""
    if isinstance(value, Mapping):
        return {
            str(name): REDACTED
            if str(name).lower() in _SECRET_NAMES and inner is not None
            else redacted(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    if isinstance(value, str):
        return _SECRET.sub(REDACTED, str(value))
    return value
