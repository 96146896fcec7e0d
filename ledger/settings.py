"""Settings: arguments before the environment, the environment before metergate.toml, that before the
defaults.

Every package declares its settings as a subclass of `Settings`; whoever starts a process hands all of them to
`check_names` (or `load`), so that a name nobody knows refuses to start. Messages never hold a value: it may
be a secret.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

from ledger.errors import SettingsRefused
from ledger.setting import Secret, Setting, setting, settings_of

PREFIX = "METERGATE_"
TOML_FILE = "metergate.toml"
CONFIG_NAME = "METERGATE_CONFIG"  # where metergate.toml is, when it is not in the working directory
SECRET_CHARS_MIN = 16

# Said from one of our processes to another, by the supervisor; no user sets them.
INTERNAL_NAMES = frozenset({"METERGATE_READY_FD", "METERGATE_LIFE_FD"})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting,))
class Settings:
    """The base of every package's settings: each field is a `setting`. Made by `load`, which looks at the
    environment; made by hand, it holds what it is given.
    """

    def __init_subclass__(cls) -> None:
        """A subclass is a frozen dataclass."""
        dataclass(frozen=True, kw_only=True, repr=False)(cls)

    def __repr__(self) -> str:
        """No values: one may be a secret."""
        return f"{type(self).__name__}(...)"

    @classmethod
    @cache
    def declared(cls) -> Mapping[str, Setting]:
        """The settings of this class, those it inherits first."""
        return settings_of(cls)

    @classmethod
    def names(cls) -> list[str]:
        """The METERGATE_* names of this class."""
        return [_full_name(name) for name in cls.declared()]


def _is_long_enough(secret: Secret) -> Secret:
    if len(secret.get_secret_value()) < SECRET_CHARS_MIN:
        raise ValueError(f"must have at least {SECRET_CHARS_MIN} characters")
    return secret


class LedgerSettings(Settings):
    """Where the book is, and the key to its digests."""

    data_dir: Path = setting(
        default=Path("data"), description="The data folder: the SQLite file, the journals, secret.key."
    )
    database_url: str = setting(
        default="",
        description="`sqlite:///path` or `postgresql://...`; metergate.db in the data folder, unless set.",
    )
    database_pool_size: int = setting(
        default=3,
        ge=2,
        le=100,
        description="Most connections to the database of each worker and of the control plane.",
    )
    secret_key: Secret | None = setting(
        default=None,
        check=_is_long_enough,
        description="What API keys are hashed with; secret.key in the data folder, unless set.",
    )
    currency: str = setting(
        default="USD",
        pattern="[A-Z]{3}",
        description="The currency of prices that name none, and of unpriced rows (ISO 4217).",
    )

    journal_keep_hours: float = setting(
        default=48.0,
        ge=0.0,
        le=8760.0,
        description="How long journals are kept once they are posted, for a restored ledger: longer than the"
        " time between two backups. They go earlier where the disk gets short. 0 keeps none.",
    )

    def __post_init__(self) -> None:
        """The embedded database, where none is named."""
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite:///{self.data_dir / 'metergate.db'}")


S = TypeVar("S", bound=Settings)


def pepper(settings: LedgerSettings) -> bytes:
    """The 32 bytes that API keys are hashed with: see ledger/secret_key.py."""
    from ledger import secret_key  # noqa: PLC0415 (it needs the settings above)

    return secret_key.pepper(settings)


def load(settings_class: type[S], **arguments: Any) -> S:
    """The settings of one class; an argument that is None counts as not given.

    Raises SettingsRefused, one line for each bad value. Does not look for unknown names: see check_names.
    """
    given = {_setting_name(key): value for key, value in read_toml().items()}
    given |= os.environ
    given |= {_full_name(name): value for name, value in arguments.items() if value is not None}
    lines: list[str] = []
    values = _read_all(settings_class, given, lines)
    if lines:
        raise SettingsRefused(lines)
    return settings_class(**values)


def check_names(
    classes: Iterable[type[Settings]],
    environ: Mapping[str, str] | None = None,
    toml: Mapping[str, Any] | None = None,
) -> None:
    """Raises SettingsRefused, one line for each unknown METERGATE_* name and each bad value, the nearest name
    beside it.

    `environ` and `toml` default to the process's own.
    """
    environ = os.environ if environ is None else environ
    toml = read_toml() if toml is None else toml
    classes = list(classes)
    known = {name for settings_class in classes for name in settings_class.names()}
    lines = []
    given: dict[str, Any] = {}
    for key, value in toml.items():
        name = _setting_name(key)
        if name not in known:
            lines.append(_unknown(key, f" in {TOML_FILE}", name, known))
        given[name] = value
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in INTERNAL_NAMES or name == CONFIG_NAME:
            continue
        if name not in known:
            lines.append(_unknown(name, " in the environment", name, known))
        given[name] = text
    for settings_class in classes:
        _read_all(settings_class, given, lines)
    if lines:
        raise SettingsRefused(list(dict.fromkeys(lines)))


def _read_all(settings_class: type[Settings], given: Mapping[str, Any], lines: list[str]) -> dict[str, Any]:
    """The values of what is given, by full name, of this class; a line for each bad one."""
    values = {}
    for name, declared in settings_class.declared().items():
        full_name = _full_name(name)
        if full_name in given:
            try:
                values[name] = declared.read(given[full_name])
            except ValueError as fault:
                lines.append(f"{full_name}: {fault}")
    return values


def toml_path() -> Path:
    """Where settings are read from, whether there is such a file or not."""
    return Path(os.environ.get(CONFIG_NAME) or TOML_FILE)


def read_toml() -> dict[str, Any]:
    """metergate.toml of the working directory, or the file METERGATE_CONFIG names; empty when there is none.

    Raises SettingsRefused for a file that is named and missing, cannot be read, or is no TOML.
    """
    named, path = os.environ.get(CONFIG_NAME), toml_path()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise SettingsRefused([f"{CONFIG_NAME}: there is no file {path}"]) from None
        return {}
    except OSError as error:
        raise SettingsRefused([f"cannot read {path}: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsRefused([f"{path} is no TOML: {error}"]) from None
    tables = [
        f"{key} in {path} is a table: write settings at the top level"
        for key, v in values.items()
        if isinstance(v, dict)
    ]
    if tables:
        raise SettingsRefused(tables)
    return values


def _full_name(name: str) -> str:
    return PREFIX + name.upper()


def _setting_name(key: str) -> str:
    """METERGATE_PORT, metergate_port and port in the file are one name."""
    name = key.upper().replace("-", "_")
    return name if name.startswith(PREFIX) else PREFIX + name


def _unknown(shown: str, where: str, name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{shown}{where} is no setting of metergate{hint}"
