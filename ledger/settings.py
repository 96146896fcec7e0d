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
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ledger.errors import SettingsRefused

PREFIX = "METERGATE_"
TOML_FILE = "metergate.toml"
CONFIG_NAME = "METERGATE_CONFIG"  # where metergate.toml is, when it is not in the working directory

# Said from one of our processes to another, by the supervisor; no user sets them.
INTERNAL_NAMES = frozenset({"METERGATE_READY_FD", "METERGATE_LIFE_FD"})


class Settings(BaseSettings):
    """The base of every package's settings. Values from the environment reach the fields as text, never as
    JSON.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX, enable_decoding=False, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then metergate.toml. No .env file: two files would be one too
        many.
        """
        return init_settings, env_settings, _TomlSource(settings_cls)

    @classmethod
    def names(cls) -> list[str]:
        """The METERGATE_* names of this class."""
        return [PREFIX + field.upper() for field in cls.model_fields]


class LedgerSettings(Settings):
    """Where the book is, and the key to its digests."""

    data_dir: Path = Field(
        default=Path("data"), description="The data folder: the SQLite file, the journals, secret.key."
    )
    database_url: str = Field(
        default="",
        repr=False,
        description="`sqlite:///path` or `postgresql://...`; metergate.db in the data folder, unless set.",
    )
    database_pool_size: int = Field(
        default=3,
        ge=2,
        le=100,
        description="Most connections to the database of each worker and of the control plane.",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="What API keys are hashed with; secret.key in the data folder, unless set.",
    )
    currency: str = Field(
        default="USD",
        pattern="^[A-Z]{3}$",
        description="The currency of prices that name none, and of unpriced rows (ISO 4217).",
    )

    journal_keep_hours: float = Field(
        default=48.0,
        ge=0.0,
        le=8760.0,
        description="How long journals are kept once they are posted, for a restored ledger: longer than the"
        " time between two backups. They go earlier where the disk gets short. 0 keeps none.",
    )

    @model_validator(mode="after")
    def _default_database(self) -> Self:
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite:///{self.data_dir / 'metergate.db'}")
        return self


class _TomlSource(PydanticBaseSettingsSource):
    """metergate.toml's values for the fields of one class."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Asked for by the base class; __call__ gives all of them at once."""
        raise NotImplementedError

    def __call__(self) -> dict[str, Any]:
        """Field name to value."""
        values = {_setting_name(key): value for key, value in read_toml().items()}
        names = {PREFIX + field.upper(): field for field in self.settings_cls.model_fields}
        return {field: values[name] for name, field in names.items() if name in values}


S = TypeVar("S", bound=Settings)


def pepper(settings: LedgerSettings) -> bytes:
    """The 32 bytes that API keys are hashed with: see ledger/secret_key.py."""
    from ledger import secret_key  # noqa: PLC0415 (it needs the settings above)

    return secret_key.pepper(settings)


def load(settings_class: type[S], **arguments: Any) -> S:
    """The settings of one class; an argument that is None counts as not given.

    Raises SettingsRefused, one line for each bad value. Does not look for unknown names: see check_names.
    """
    try:
        return settings_class(**{name: value for name, value in arguments.items() if value is not None})
    except ValidationError as error:
        raise SettingsRefused(_lines(error)) from None


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
        fields = {
            field: given[PREFIX + field.upper()]
            for field in settings_class.model_fields
            if PREFIX + field.upper() in given
        }
        try:
            settings_class(**fields)
        except ValidationError as error:
            lines.extend(_lines(error))
    if lines:
        raise SettingsRefused(list(dict.fromkeys(lines)))


def read_toml() -> dict[str, Any]:
    """metergate.toml of the working directory, or the file METERGATE_CONFIG names; empty when there is none.

    Raises SettingsRefused for a file that is named and missing, cannot be read, or is no TOML.
    """
    named = os.environ.get(CONFIG_NAME)
    path = Path(named or TOML_FILE)
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


def _setting_name(key: str) -> str:
    """METERGATE_PORT, metergate_port and port in the file are one name."""
    name = key.upper().replace("-", "_")
    return name if name.startswith(PREFIX) else PREFIX + name


def _unknown(shown: str, where: str, name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{shown}{where} is no setting of metergate{hint}"


def _lines(error: ValidationError) -> list[str]:
    """One line for each bad value, without the value."""
    lines = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        field = str(fault["loc"][0]) if fault["loc"] else ""
        said = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{PREFIX}{field.upper()}: {said}" if field else said)
    return lines
