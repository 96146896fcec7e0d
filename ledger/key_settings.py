"""What a key is told at its making, changed later: its name, its end, what it may do, its tags, its
owner.

One change of any number of settings is one transaction of the caller's, one line to the workers and one event
of the audit log. Its state is ledger/tenancy.py's, its secrets are ledger/key_secrets.py's.
"""

from typing import TypedDict

from sqlalchemy.ext.asyncio import AsyncSession

from ledger import audit, changes, tenancy
from ledger.actors import PROGRAM, Actor
from ledger.audit import Subject
from ledger.audit_events import Event
from ledger.audit_facts import facts_of
from ledger.errors import Refused
from ledger.key_owners import KeyOwner
from ledger.names import checked_name
from ledger.networks import Networks
from ledger.permissions import KeyScopes, ModelPermissions
from ledger.tables.tenancy import ApiKey
from ledger.tags import Tags


class KeySettings(TypedDict, total=False):
    """What is to be changed: what is left out stays. None takes an end, a restriction or the tags away."""

    name: str
    expires_us: int | None
    model_permissions: ModelPermissions | None
    scopes: KeyScopes | None
    networks: Networks | None
    tags: Tags | None
    owner: KeyOwner


async def change_api_key(
    session: AsyncSession, key_id: str, settings: KeySettings, now_us: int, *, by: Actor = PROGRAM
) -> ApiKey:
    """In force within a second on every worker. Raises NotFound, and Refused for the name, and for an end
    that has passed.
    """
    key = await tenancy.get_api_key(session, key_id)
    if "name" in settings:
        settings = {**settings, "name": checked_name(settings["name"])}
    expires_us = settings.get("expires_us")
    if expires_us is not None and expires_us <= now_us:
        raise Refused("the key would be expired at once: block it, or revoke it for good")
    before = facts_of(key)
    told: dict[str, object] = {**settings}
    if "owner" in settings:
        owner = settings["owner"]
        del told["owner"]
        told.update(service_account_id=owner.service_account_id, user_id=owner.user_id)
    for name, value in told.items():
        if getattr(key, name) != value:
            setattr(key, name, value)
    if facts_of(key) != before:
        await changes.append(session, "key.changed", key.id, now_us)
        subject = Subject(key.id, key.tenant_id, key.project_id)
        await audit.record(session, by, Event.API_KEY_UPDATED, subject, before, facts_of(key), now_us)
    return key
