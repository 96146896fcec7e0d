"""What the metergate that runs on a data folder was told: its settings, left in `run/` for commands.

A service has its settings from a unit, a command line and a folder that an operator's shell knows nothing of.
Secrets are not kept, only that they are set; a database's URL is kept with its password hidden. Standard
library only: a start waits for it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from admin import data_folder
from ledger import database_url, embedded
from ledger.errors import DatabaseUnusable
from ledger.setting import Secret
from ledger.settings import LedgerSettings

HIDDEN = "***"
"""What stands in a URL in place of its password."""

S = TypeVar("S", bound=LedgerSettings)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one role runs with: `values` by the settings' names, and the names of the secrets that are set."""

    values: Mapping[str, Any]
    secrets: frozenset[str] = frozenset()

    def known_to(self, settings: S, *, but: frozenset[str] = frozenset()) -> S:
        """These settings, with the values that it runs with wherever those are known, `but` for some."""
        declared = type(settings).declared()
        found = {}
        for name in declared.keys() & self.values.keys() - but:
            if self.hides(name):
                continue
            try:
                found[name] = declared[name].read(self.values[name])
            except ValueError:  # of another version
                continue
        return replace(settings, **found)

    def hides(self, name: str) -> bool:
        """Whether a value was kept without the password in it."""
        return HIDDEN in str(self.values.get(name, ""))

    def differing(self, settings: LedgerSettings) -> list[str]:
        """The names of the settings that are others here, and of the secrets that are set there alone."""
        here = kept_of(settings)
        names = here.values.keys() & self.values.keys()
        others = [name for name in names if here.values[name] != self.values[name]]
        return sorted([*others, *(self.secrets & type(settings).declared().keys() - here.secrets)])


def kept_of(settings: LedgerSettings) -> Kept:
    """What of these settings may be told."""
    declared = type(settings).declared()
    values: dict[str, Any] = {}
    secrets = set()
    for name, setting in declared.items():
        value = getattr(settings, name)
        if setting.kind is Secret:
            secrets |= {name} if value is not None else set()
        elif name != "data_dir":
            values[name] = _told(name, value)
    return Kept(values, frozenset(secrets))


def keep(data_dir: Path, role: str, settings: LedgerSettings) -> None:
    """Leaves what a role runs with."""
    kept = kept_of(settings)
    told = json.dumps({"values": kept.values, "secrets": sorted(kept.secrets)})
    data_folder.leave(_path(data_dir, role), [told])


def read(data_dir: Path, role: str) -> Kept | None:
    """What a role runs with, or ran with last; None where nobody left it."""
    try:
        content = json.loads(_path(data_dir, role).read_bytes())
        return Kept(dict(content["values"]), frozenset(map(str, content["secrets"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(data_dir: Path, role: str) -> Path:
    return data_dir / "run" / f"{role}.settings"


def _told(name: str, value: Any) -> Any:
    """As JSON, and the same from any working directory."""
    if name == "database_url":
        if (path := embedded.database_path(value)) is not None:
            return f"sqlite:///{path.absolute()}"
        try:
            return database_url.parse(value).shown
        except DatabaseUnusable:
            return HIDDEN
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value
