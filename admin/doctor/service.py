"""The service that is looked at: the metergate that runs on the data folder, else one as a start would make
it; and the looks that follow from its settings.

Where one runs, what it was told counts before what this shell says, as far as that is known
(admin/kept_settings.py): an operator looks at the service, not at a shell. What was asked for by name
(`explicit`) counts before both.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from admin import data_folder
from admin.addresses import ADDRESSES
from admin.config import AdminSettings
from admin.doctor import folder, journal, machine, ports, post_office, told
from admin.doctor.book import Book
from admin.doctor.engines import Engines
from admin.doctor.finding import Check, Look, Tell, note, wrong
from admin.doctor.ports import Port
from admin.doctor.told import Role
from ledger import embedded, secret_key
from ledger.errors import SettingsRefused
from proxy import capacity
from proxy.config import ProxySettings, UnpricedModels

UNKNOWN_DATABASE: Final = "the metergate that runs here has a database whose password is not known here"


class Service:
    """The settings that count, and the looks that need them."""

    def __init__(
        self,
        proxy: ProxySettings,
        admin: AdminSettings,
        roles: Mapping[str, Role],
        unknown: frozenset[str],
    ) -> None:
        """`unknown`: names of the secrets that what runs has and this shell has not."""
        self._proxy = proxy
        self._admin = admin
        self._roles = roles
        self._unknown = unknown
        self._data_dir = proxy.data_dir

    def of_folder(self) -> list[Look]:
        """Those of files; where there is no folder, that alone."""
        data_dir = self._data_dir
        found: list[Look] = [Look(Check.DATA_FOLDER, partial(folder.look_at_folder, data_dir))]
        if data_dir.is_dir():
            database = embedded.database_path(self._proxy.database_url)
            space = partial(folder.look_at_space, data_dir, self._proxy.disk_free_bytes_min)
            found += [
                Look(Check.DISK_SPACE, space),
                Look(Check.FILE_MODES, partial(folder.look_at_modes, data_dir, database)),
                Look(Check.FILE_OWNERS, partial(folder.look_at_owners, data_dir)),
                Look(Check.SECRET_KEY, self._look_at_secret),
            ]
        return found

    def of_ports(self) -> list[Look]:
        """Where it is reached, or would be."""
        settings = {"proxy": self._proxy, "admin": self._admin}
        wanted = [Port(each, *each.of(settings[each.role])) for each in ADDRESSES]
        places = {name: data_folder.kept_places(self._data_dir, name) for name in self._roles}
        return ports.looks(wanted, places)

    def of_journals(self, now_us: int) -> list[Look]:
        """Those of journals."""
        data_dir, is_serving = self._data_dir, "proxy" in self._roles
        most = self._proxy.journal_bytes_max

        def look(tell: Tell) -> None:
            journal.look_at_journals(data_dir, most, now_us, is_serving=is_serving, tell=tell)

        return [
            Look(Check.JOURNAL, look),
            Look(Check.ORPHANS, partial(journal.look_at_orphans, data_dir)),
            Look(Check.QUARANTINE, partial(journal.look_at_quarantine, data_dir)),
        ]

    @property
    def refuses_unpriced(self) -> bool:
        """What becomes of a model without a price."""
        return self._proxy.unpriced_models is UnpricedModels.REFUSE

    def of_running(self, differing: list[str]) -> list[Look]:
        """Who runs, and with what."""
        return [Look(Check.RUNNING, partial(told.look_at_running, self._roles, differing))]

    def book(self, is_named: bool, now_us: int) -> Book | None:
        """The ledger's database; None where the one in use cannot be reached from here."""
        kept = [role.kept for role in self._roles.values() if role.kept]
        hidden = [each for each in kept if each.hides("database_url")]
        if not is_named and any("database_url" in each.differing(self._proxy) for each in hidden):
            return None
        is_known = "secret_key" not in self._unknown
        try:
            pepper = secret_key.existing_pepper(self._proxy) if is_known else None
        except SettingsRefused:  # the look at the file says so
            pepper, is_known = None, False
        compares = bool(self._admin.reconcile_seconds and self._engines)
        is_made = (self._data_dir / secret_key.FILE_NAME).exists()
        return Book(self._proxy.database_url, pepper, is_known, is_made, compares, now_us)

    def engines(self) -> Engines:
        """Those that are served, or would be."""
        key, is_told = self._proxy.engine_api_key, "engine_api_key" not in self._unknown
        return Engines(self._engines, key, self._proxy.engine_ca_file, is_told)

    @property
    def _engines(self) -> tuple[str, ...]:
        if self._proxy.engines or "proxy" not in self._roles:
            return self._proxy.engines
        return data_folder.kept_engines(self._data_dir)  # the simulator's

    def look_at_files(self, tell: Tell) -> None:
        """The limit of what runs; else this shell's, which a start from it has."""
        role = self._roles.get("proxy")
        pid = role.pid if role else None
        files = machine.hard_limit_of(pid) if pid else capacity.files_max()
        whose = f"process {pid}" if pid else "a start from this shell"
        known = capacity.FILES_ENOUGH if files is None else files
        machine.look_at_open_files(known, capacity.shortage(known), whose, tell)

    def look_at_mail(self, tell: Tell) -> None:
        """The mail server."""
        is_there = "smtp_url" in self._unknown
        post_office.look_at_mail(self._admin.smtp, is_set_there=is_there, tell=tell)

    def _look_at_secret(self, tell: Tell) -> None:
        """Whether it can be read; what it should be is the ledger's to say."""
        if "secret_key" in self._unknown:
            do = "set METERGATE_SECRET_KEY here, too, to have it compared with the ledger's keys"
            tell(note(Check.SECRET_KEY, "the metergate that runs has one that is not known here", do))
            return
        try:
            secret_key.existing_pepper(self._proxy)
        except SettingsRefused as fault:
            fact, _, do = str(fault).partition(": ")
            tell(wrong(Check.SECRET_KEY, fact, do or "restore it from a backup"))


def find(proxy: ProxySettings, admin: AdminSettings, explicit: frozenset[str]) -> tuple[Service, list[str]]:
    """The service, and the settings that it was told otherwise than this shell."""
    proxy = replace(proxy, data_dir=proxy.data_dir.absolute())
    roles = told.running(proxy.data_dir)
    kept = {name: role.kept for name, role in roles.items() if role.kept}
    differing = {
        name
        for role, each in kept.items()
        for name in each.differing(proxy if role == "proxy" else admin)
        if name not in explicit
    }
    secrets = {name for each in kept.values() for name in each.secrets}
    for role, each in reversed(kept.items()):  # the first one's word counts
        if role == "proxy":
            proxy = each.known_to(proxy, but=explicit)
        else:
            admin = each.known_to(admin, but=explicit)
    unknown = frozenset(name for name in secrets if not _is_set(proxy, admin, name))
    return Service(proxy, admin, roles, unknown), sorted(differing)


def _is_set(proxy: ProxySettings, admin: AdminSettings, name: str) -> bool:
    return getattr(proxy, name, None) is not None or getattr(admin, name, None) is not None


def look_at_nothing(tell: Tell) -> None:
    """For a database that cannot be reached from here."""
    tell(note(Check.DATABASE, UNKNOWN_DATABASE, "set METERGATE_DATABASE_URL here as the running one has it"))
