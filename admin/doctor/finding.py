"""What a look found: which check, how it stands, one sentence of fact, one of what to do. Pure.

The names of the checks are for scripts and stay; docs/operations.md has each of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad it is: nothing, worth knowing, or something does not work, or soon will not."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


class Check(StrEnum):
    """What is looked at, by subject."""

    SETTINGS = "settings"
    SETTINGS_FILE = "settings_file"
    RUNNING = "running"
    DATA_FOLDER = "data_folder"
    DISK_SPACE = "disk_space"
    FILE_MODES = "file_modes"
    FILE_OWNERS = "file_owners"
    SECRET_KEY = "secret_key"  # noqa: S105 - a name
    CLOCK = "clock"
    OPEN_FILES = "open_files"
    PORT = "port"
    READY = "ready"
    DATABASE = "database"
    SCHEMA = "schema"
    DATABASE_WRITES = "database_writes"
    DATABASE_CLOCK = "database_clock"
    DATABASE_CONNECTIONS = "database_connections"
    ADMIN_KEYS = "admin_keys"
    POSTINGS = "postings"
    UNRESOLVED = "unresolved"
    LEASES = "leases"
    RECONCILIATION = "reconciliation"
    OUTBOX = "outbox"
    VERIFICATION = "verification"
    ENGINES = "engines"
    ENGINE = "engine"
    ENGINE_KEY = "engine_key"
    ENGINE_CLOCK = "engine_clock"
    PRICES = "prices"
    POSTER = "poster"
    JOURNAL = "journal"
    ORPHANS = "orphans"
    QUARANTINE = "quarantine"
    MAIL = "mail"


@dataclass(frozen=True, slots=True)
class Finding:
    """`about`: which one, where a check is made of several things: an engine's URL, a file, a port. `do` is
    empty where there is nothing to do.
    """

    check: Check
    state: State
    fact: str
    do: str = ""
    about: str = ""


Tell = Callable[[Finding], None]


@dataclass(frozen=True, slots=True)
class Look:
    """One look: `run` tells its findings as it comes to them. `check` and `about` are for what is said where
    it does not come to its end.
    """

    check: Check
    run: Callable[[Tell], None]
    about: str = ""


def ok(check: Check, fact: str, do: str = "", *, about: str = "") -> Finding:
    """As it should be."""
    return Finding(check, State.OK, fact, do, about)


def note(check: Check, fact: str, do: str = "", *, about: str = "") -> Finding:
    """It works, and somebody should know."""
    return Finding(check, State.NOTE, fact, do, about)


def wrong(check: Check, fact: str, do: str, *, about: str = "") -> Finding:
    """It does not work, or will not for long."""
    return Finding(check, State.WRONG, fact, do, about)


def worst(findings: Iterable[Finding]) -> State:
    """The state of the whole."""
    states = {finding.state for finding in findings}
    return next((state for state in (State.WRONG, State.NOTE) if state in states), State.OK)
