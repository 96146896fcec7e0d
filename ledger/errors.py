"""What can go wrong in the book. No HTTP status here: who speaks HTTP maps them.

    LedgerError
    ├── NotFound             the id names nothing
    ├── AlreadyExists        the name or id is taken
    ├── Refused              an argument or a state does not allow it
    ├── Denied               who asks may not, and is told which permission is missing
    ├── WrongCredentials     the e-mail address or the password is wrong: nobody says which
    ├── TokenRefused         a token of an invite or a password reset does not work, or not any more
    ├── TooManyAttempts      logins come too fast
    ├── SettingsRefused      settings that cannot be started with, one line for each
    ├── SecretChanged        the secret is not the one that the ledger's keys were made with
    ├── DatabaseFault
    │   ├── DatabaseUnavailable   it may come back: try again later
    │   ├── DatabaseUnusable      it will not get better by itself: a wrong file, no permission, an old SQLite
    │   ├── SchemaBehind          run `metergate db upgrade`
    │   └── SchemaAhead           a newer metergate has upgraded it
    ├── JournalFault
    │   ├── JournalFull      no room for new calls
    │   ├── JournalOwned     another live process writes this folder
    │   └── JournalCorrupt   bytes that no crash of ours explains
    └── PostingLate          what was settled is not posted in time

A message is one line, says what to do where there is something to do, and never holds a secret.
Pure.
"""


class LedgerError(Exception):
    """The root of the tree above."""


class NotFound(LedgerError):
    """The id names nothing."""

    def __init__(self, kind: str, subject_id: str) -> None:
        """`kind` in users' words ("tenant"), `subject_id` as it was asked for."""
        super().__init__(f"no {kind} with the id {subject_id!r}")
        self.kind = kind
        self.subject_id = subject_id


class AlreadyExists(LedgerError):
    """The name or id is taken."""


class Refused(LedgerError):
    """An argument or a state does not allow it; the message says which."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        """`param`: the argument's name, as who gave it knows it."""
        super().__init__(message)
        self.param = param


class Denied(LedgerError):
    """Who asks may not; the permission that is missing is named."""

    def __init__(self, permission: str, reach: str = "") -> None:
        """`permission` such as "keys.write"; `reach`: for what, where one may have it for less."""
        missing = f"{permission} {reach}".strip()
        super().__init__(
            f"You have insufficient permissions for this operation. Missing permission: {missing}."
        )
        self.permission = permission


class WrongCredentials(LedgerError):
    """The e-mail address or the password is wrong."""

    def __init__(self) -> None:
        """One line, the same whichever it is."""
        super().__init__("the e-mail address or the password is wrong")


class TokenRefused(LedgerError):
    """The token does not work: it was mistyped, used, taken back, or has expired."""

    def __init__(self, kind: str) -> None:
        """`kind` in users' words ("invite")."""
        super().__init__(
            f"this {kind} does not work: it was used, taken back or has expired; ask for another"
        )


class TooManyAttempts(LedgerError):
    """Logins come too fast."""

    def __init__(self, wait_us: int) -> None:
        """`wait_us`: when to try again."""
        seconds = -(-wait_us // 1_000_000)
        super().__init__(f"too many attempts to log in: try again in {seconds} s")
        self.wait_seconds = seconds


class SettingsRefused(LedgerError):
    """Settings that cannot be started with."""

    def __init__(self, lines: list[str]) -> None:
        """One line for each name or value that is wrong."""
        super().__init__("\n".join(lines))
        self.lines = lines


class SecretChanged(LedgerError):
    """The secret is not the one that the ledger's keys were made with: with it, no key is known."""

    def __init__(self) -> None:
        """One line, the same everywhere."""
        super().__init__(
            "the secret key is not the one that the keys of this ledger were made with: restore "
            "METERGATE_SECRET_KEY or secret.key; to give up all keys, run `metergate db adopt-secret`"
        )


class DatabaseFault(LedgerError):
    """The ledger database cannot serve."""


class DatabaseUnavailable(DatabaseFault):
    """The database does not answer now; it may later."""


class DatabaseUnusable(DatabaseFault):
    """The database will not serve until somebody changes something; the message says what."""


class SchemaBehind(DatabaseFault):
    """The database is older than this code: run `metergate db upgrade`."""


class SchemaAhead(DatabaseFault):
    """The database is newer than this code: run a newer metergate."""


class JournalFault(LedgerError):
    """The journal cannot take or give records."""


class JournalFull(JournalFault):
    """There is no room for the records of new calls."""


class JournalOwned(JournalFault):
    """Another live process writes this folder."""


class JournalCorrupt(JournalFault):
    """A frame's checksum or length is wrong where no torn write explains it."""


class PostingLate(LedgerError):
    """What was settled is not posted in time."""
