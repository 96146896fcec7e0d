"""The command line against a control plane that is really served: a server in a thread, commands in this one.

What a command says is compared between both ways with `same`: what is different each time, such as ids,
times and secrets, is replaced by what kind of thing it is.
"""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from admin.config import AdminSettings
from ledger import admin_keys
from ledger.database import Database
from ledger.roles import Role
from ledger.settings import pepper
from tests.integration.admin.control_planes import serve

_WHO = {"actor_kind", "actor_id", "actor_name", "address", "user_agent", "position", "hash"}
"""Of an event in the audit log: who did it, which way."""
_CHANGING = (
    (re.compile(r"\.[0-9A-Za-z_-]{43}$"), ".TOKEN"),
    (re.compile(r"sk-(mg|admin)-[0-9A-Za-z]{49}"), r"sk-\1-SECRET"),
    (re.compile(r"sk-(mg|admin)-\w{3}\.\.\.\w{4}"), r"sk-\1-REDACTED"),
    (re.compile(r"whsec_[0-9A-Za-z+/=]+"), "whsec_SECRET"),
    (re.compile(r"\b([a-z]+(?:_[a-z]+)*[-_])[0-9A-Za-z]{20,32}\b"), r"\1ID"),
    (re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
)
SECOND_MIN = 1_700_000_000


def same(value: Any) -> Any:
    """The value, without what no two runs have in common."""
    if isinstance(value, dict):
        return {name: same(inner) for name, inner in value.items() if name not in _WHO}
    if isinstance(value, list):
        return [same(inner) for inner in value]
    if isinstance(value, str):
        for pattern, kind in _CHANGING:
            value = pattern.sub(kind, value)
    if isinstance(value, int) and not isinstance(value, bool) and value > SECOND_MIN:
        return "SECOND"
    return value


@contextmanager
def served(settings: AdminSettings) -> Iterator[str]:
    """A control plane, by its URL, until the end."""
    ready, end = threading.Event(), threading.Event()
    urls: list[str] = []

    async def run() -> None:
        async with serve(settings) as url:
            urls.append(url)
            ready.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield urls[0]
    finally:
        end.set()
        thread.join(30)


def made_key(settings: AdminSettings, role: Role = Role.OPERATOR, tenant_id: str | None = None) -> str:
    """An admin key of this role."""

    async def make() -> str:
        database = Database(settings.database_url)
        async with database.write() as session:
            _, secret = await admin_keys.create_admin_key(
                session, pepper(settings), "Key", 1, role=role, tenant_id=tenant_id
            )
        await database.close()
        return secret

    return asyncio.run(make())


def settings_of(folder: Path | str, database_url: str | None = None) -> AdminSettings:
    """Those that commands find with this data folder."""
    if database_url is None:
        return AdminSettings(data_dir=Path(folder))
    return AdminSettings(data_dir=Path(folder), database_url=database_url)
