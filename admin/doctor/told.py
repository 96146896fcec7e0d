"""Settings: read, kept from others, and those of the metergate that runs here beside those of this shell."""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from admin import data_folder, kept_settings
from admin.doctor.finding import Check, Tell, note, ok, wrong
from admin.kept_settings import HIDDEN, Kept
from ledger.database_url import parse
from ledger.errors import DatabaseUnusable
from ledger.setting import Secret
from ledger.settings import PREFIX, Settings, read_toml, toml_path

OTHERS: Final = 0o077
ROLES: Final = ("proxy", "admin", "worker")


@dataclass(frozen=True, slots=True)
class Role:
    """A role that a process holds on the data folder now."""

    name: str
    pid: int | None
    kept: Kept | None


def running(data_dir: Path) -> dict[str, Role]:
    """The roles that are held, by name."""
    return {
        name: Role(name, data_folder.holder(data_dir, name), kept_settings.read(data_dir, name))
        for name in ROLES
        if data_folder.is_claimed(data_dir, name)
    }


def look_at_running(roles: Mapping[str, Role], differing: list[str], tell: Tell) -> None:
    """Who runs here, and what it was told otherwise than this shell."""
    if not roles:
        tell(ok(Check.RUNNING, "no metergate runs on this data folder: it is looked at as a start would"))
        return
    pids = sorted({role.pid for role in roles.values() if role.pid is not None})
    who = f"{', '.join(roles)} (process {', '.join(map(str, pids)) or 'unknown'})"
    urls = {role.kept.values.get("database_url") for role in roles.values() if role.kept}
    if len(urls) > 1:
        do = "give them the same METERGATE_DATABASE_URL, and start them again"
        tell(wrong(Check.RUNNING, f"{who} have not one ledger but {len(urls)}", do))
    elif differing:
        names = ", ".join(PREFIX + name.upper() for name in differing)
        do = "run commands with the same settings; what is known of them counts here"
        tell(note(Check.RUNNING, f"{who} runs with another {names} than this shell has", do))
    else:
        tell(ok(Check.RUNNING, f"{who} runs with the settings that this shell has"))


def look_at_file(classes: Sequence[type[Settings]], tell: Tell) -> None:
    """Whether others can read a metergate.toml that holds a secret."""
    path = toml_path()
    secrets = _secrets_in(read_toml(), classes)
    if not path.exists():
        tell(ok(Check.SETTINGS_FILE, f"there is no {path}: settings come from the environment"))
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if secrets and mode & OTHERS:
        do = f"chmod 600 {path}, or keep them in the environment"
        tell(wrong(Check.SETTINGS_FILE, f"others can read {', '.join(secrets)} in {path}", do))
    else:
        what = "holds secrets and only its owner can read it" if secrets else "holds no secret"
        tell(ok(Check.SETTINGS_FILE, f"{path.absolute()} {what}"))


def _secrets_in(values: Mapping[str, Any], classes: Sequence[type[Settings]]) -> list[str]:
    kinds = {name: setting.kind for each in classes for name, setting in each.declared().items()}
    found = []
    for key, value in values.items():
        name = key.upper().replace("-", "_").removeprefix(PREFIX)
        if kinds.get(name.lower()) is Secret or (name == "DATABASE_URL" and _has_password(str(value))):
            found.append(PREFIX + name)
    return found


def _has_password(url: str) -> bool:
    try:
        return HIDDEN in parse(url).shown
    except DatabaseUnusable:
        return False
