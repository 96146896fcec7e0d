"""An examination: which looks there are, one round of them, and what they tell together."""

from functools import partial

from admin.cli.settings import SETTINGS
from admin.config import AdminSettings
from admin.doctor import machine, told
from admin.doctor.engines import of_prices
from admin.doctor.finding import Check, Finding, Look, Tell, ok, wrong
from admin.doctor.rounds import SECONDS, Round, go_round
from admin.doctor.service import Service, find, look_at_nothing
from ledger.errors import SettingsRefused
from proxy.config import ProxySettings


def examine(
    proxy: ProxySettings,
    admin: AdminSettings,
    *,
    explicit: frozenset[str] = frozenset(),
    now_us: int,
    seconds: float = SECONDS,
) -> Round:
    """Every finding, each look within `seconds`. `explicit`: names of settings that were given by name."""
    found: list[tuple[Service, list[str]]] = []

    def look(_: Tell) -> None:
        found.append(find(proxy, admin, explicit))

    # Finding the service reads the data folder already, on whatever disk that is.
    first = go_round([Look(Check.DATA_FOLDER, look, str(proxy.data_dir))], seconds=seconds)
    read = ok(Check.SETTINGS, "every name is known, every value fits")
    if not found:
        return Round([read, *first.findings], first.is_left)
    ((service, differing),) = found
    book, engines = service.book("database_url" in explicit, now_us), service.engines()
    looks = [
        Look(Check.SETTINGS_FILE, partial(told.look_at_file, SETTINGS)),
        *service.of_running(differing),
        *service.of_folder(),
        Look(Check.CLOCK, partial(machine.look_at_clock, now_us)),
        Look(Check.OPEN_FILES, service.look_at_files),
        *service.of_ports(),
        *([Look(Check.DATABASE, look_at_nothing)] if book is None else book.looks()),
        *engines.looks(),
        *service.of_journals(now_us),
        Look(Check.MAIL, service.look_at_mail),
    ]
    done = go_round(looks, seconds=seconds)
    findings = [read, *done.findings]
    if book is not None and book.priced_models is not None and engines.models:
        findings.append(of_prices(engines.models, book.priced_models, refused=service.refuses_unpriced))
    return Round(findings, done.is_left)


def refused(fault: SettingsRefused) -> list[Finding]:
    """Settings that cannot be read: nothing else can be looked at."""
    do = "put it right in the environment or metergate.toml: until then nothing starts, nor is looked at"
    return [wrong(Check.SETTINGS, line, do) for line in fault.lines]
