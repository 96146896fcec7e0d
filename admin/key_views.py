"""API keys with their secrets, as JSON: told by the control plane and by the CLI."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from admin.schemas import KeyView, NewKey
from ledger.key_owners import owners_of
from ledger.key_secrets import secrets_of
from ledger.tables.tenancy import ApiKey


async def views_of(session: AsyncSession, keys: Sequence[ApiKey]) -> list[KeyView]:
    """Of each key in turn."""
    secrets = await secrets_of(session, [key.id for key in keys])
    owners = await owners_of(session, keys)
    return [KeyView.of(key, secrets[key.id], owners.get(key.id)) for key in keys]


async def view_of(session: AsyncSession, key: ApiKey) -> KeyView:
    """Of one key."""
    (view,) = await views_of(session, [key])
    return view


async def new_key(session: AsyncSession, key: ApiKey, secret: str) -> NewKey:
    """Of a key with its newest secret, which is shown this once."""
    secrets = await secrets_of(session, [key.id])
    owners = await owners_of(session, [key])
    return NewKey.made(key, secrets[key.id], owners.get(key.id), secret)
