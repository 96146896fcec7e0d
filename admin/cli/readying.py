"""The ledger of a start, made ready: migrated where it is embedded, checked where it is not, and with first
keys where it has none.

A quick look first, which settles most starts; what is heavy to import runs in a fork. Must not know which
processes start.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admin.cli.command import now_us
from admin.first_run_file import FILE_NAME, FirstRun, draft_of, keep_urls, read
from admin.forked import in_fork
from ledger import embedded, secret_key
from ledger.errors import DatabaseUnavailable, LedgerError, SecretChanged
from ledger.settings import LedgerSettings


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the start learned of the ledger."""

    made: FirstRun | None
    """The first keys, where they have not been said yet."""
    priced_models: set[str] | None
    """None where the ledger was away."""
    away: str = ""
    """Why, where it was."""


@dataclass(frozen=True, slots=True)
class Readying:
    """`base_url` and `admin_url`: where both planes will be, where both start. `may_be_away`: whether what
    starts can do without the database at first.
    """

    settings: LedgerSettings
    data_dir: Path
    base_url: str | None
    admin_url: str | None
    may_be_away: bool

    def make(self) -> Ledger:
        """Migrates the embedded database, checks any other, and makes the first keys where there are none.

        Raises Refusal with the ledger's words.
        """
        path = embedded.database_path(self.settings.database_url)
        if path and embedded.has_tenant(path):
            secret_key.refuse_new(self.settings)
            known = embedded.check_digest(path)
            if known is not None and known != secret_key.check_digest(secret_key.pepper(self.settings)):
                raise SecretChanged
        if path and embedded.is_current(path) and self._has_first_keys(path):
            return Ledger(None, embedded.priced_models(path))
        answer = in_fork(
            self._prepare, expected=lambda fault: str(fault) if isinstance(fault, LedgerError) else None
        )
        if away := answer.get("away"):
            return Ledger(None, None, away)
        return Ledger(answer["made"] and FirstRun(**answer["made"]), set(answer["priced"]))

    def _has_first_keys(self, path: Path) -> bool:
        """Whether nothing has to be made (only `up` makes); then brings first-run.json's URLs up to date."""
        if not self.base_url or not self.admin_url:
            return True
        first_run = self.data_dir / FILE_NAME
        if read(first_run) is None or draft_of(first_run).exists() or not embedded.has_tenant(path):
            return False
        keep_urls(first_run, base_url=self.base_url, admin_url=self.admin_url)
        return True

    def _prepare(self) -> dict[str, Any]:
        """The heavy part, in a process of its own."""
        from admin.preparation import prepare

        work = prepare(
            self.settings, self.data_dir, base_url=self.base_url, admin_url=self.admin_url, now_us=now_us()
        )
        try:
            return asyncio.run(work)
        except DatabaseUnavailable as fault:
            if not self.may_be_away or embedded.database_path(self.settings.database_url):
                raise
            secret_key.refuse_new(self.settings)  # there may be keys
            return {"away": str(fault)}
