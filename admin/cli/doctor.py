"""`metergate doctor`: looks at everything a start needs, says what is wrong and what to do."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from admin.cli.chosen import Chosen
from admin.cli.command import Request, common, print_json

if TYPE_CHECKING:
    from admin.config import AdminSettings
    from proxy.config import ProxySettings

EARLIEST_CLOCK_US = 1_735_689_600_000_000
"""2025-01-01: a clock before the software was written is wrong, and would date usage into the past."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found: `ok`, `warning` (it starts all the same) or `wrong`."""

    check: str
    state: str
    detail: str


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command()(doctor)


@common
def doctor(request: Request) -> None:
    """Look at settings, data folder, database, engines, ports, open files and clock. Exit status 1 if
    something is wrong.
    """
    findings = examine(Chosen(request.data_dir, request.database_url))
    if request.as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            typer.echo(f"{finding.state:<8} {finding.check:<14} {finding.detail}")
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


def examine(chosen: Chosen) -> list[Finding]:
    """Every finding. Settings that cannot be read end it: nothing else can be looked at."""
    from admin.cli.serve import resolve
    from ledger.errors import SettingsRefused

    try:
        proxy, admin = resolve(chosen)
    except SettingsRefused as fault:
        return [Finding("settings", "wrong", line) for line in fault.lines]
    looks: list[Callable[[], list[Finding]]] = [
        lambda: [Finding("settings", "ok", "every name is known, every value fits")],
        lambda: [_data_folder(proxy)],
        lambda: [_database(proxy)],
        lambda: _engines(proxy),
        lambda: _ports(proxy, admin),
        lambda: [_open_files()],
        lambda: [_clock()],
    ]
    return [finding for look in looks for finding in look()]


def _data_folder(proxy: "ProxySettings") -> Finding:
    from admin import data_folder

    try:
        data_folder.prepare(proxy.data_dir)
    except data_folder.FolderUnusable as fault:
        return Finding("data folder", "wrong", str(fault))
    return Finding("data folder", "ok", f"{proxy.data_dir} is writable")


def _database(proxy: "ProxySettings") -> Finding:
    from admin.cli.reach import with_database
    from ledger.database import Database
    from ledger.errors import LedgerError, SchemaBehind

    async def look(database: Database) -> str:
        return f"{database.shown_url} answers, its schema fits"

    try:
        return Finding("database", "ok", with_database(proxy, look))
    except SchemaBehind as fault:
        embedded = proxy.database_url.startswith("sqlite")
        hint = " (`metergate up` does it by itself)" if embedded else ""
        return Finding("database", "warning" if embedded else "wrong", f"{fault}{hint}")
    except LedgerError as fault:
        return Finding("database", "wrong", str(fault))


def _engines(proxy: "ProxySettings") -> list[Finding]:
    from admin import data_folder, probe

    urls = proxy.engines
    if not urls and data_folder.is_claimed(proxy.data_dir, "proxy"):  # named on its command line, then
        urls = data_folder.kept_engines(proxy.data_dir)
    if not urls:
        return [
            Finding("engines", "warning", "none is set: the simulator would answer; set METERGATE_ENGINES")
        ]
    key = proxy.engine_api_key
    findings = []
    for url in urls:
        try:
            models = probe.models(
                url,
                api_key=key.get_secret_value() if key else None,
                ca_file=proxy.engine_ca_file,
                timeout_seconds=5,
            )
        except probe.EngineSilent as fault:
            findings.append(Finding("engine", "wrong", f"{url} {fault}"))
        else:
            findings.append(Finding("engine", "ok", f"{url} serves {', '.join(models) or 'no model'}"))
    return findings


def _ports(proxy: "ProxySettings", admin: "AdminSettings") -> list[Finding]:
    """Those of a metergate that is up on this data folder, where it has them; else whether the settings' are
    free.
    """
    from admin import data_folder
    from admin.sockets import AddressUnusable, answers, listen

    wanted = (
        ("the data plane", "proxy", proxy.host, proxy.port, "METERGATE_PORT"),
        ("the control plane", "admin", admin.admin_host, admin.admin_port, "METERGATE_ADMIN_PORT"),
        ("the metrics page", "proxy", proxy.metrics_host, proxy.metrics_port, "METERGATE_METRICS_PORT"),
    )
    findings = []
    for purpose, role, host, port, name in wanted:
        if data_folder.is_claimed(proxy.data_dir, role):
            url = data_folder.kept_places(proxy.data_dir, role).get(purpose)
            if url is not None:
                is_up = answers(url)
                words = f"{purpose} is up at {url}" if is_up else f"{purpose} does not answer at {url}"
                findings.append(Finding("port", "ok" if is_up else "wrong", words))
                continue
        try:
            listen(host, port, purpose=purpose, choose_with=name).close()
        except AddressUnusable as fault:
            findings.append(Finding("port", "warning", f"{fault} (or metergate is up already)"))
        else:
            findings.append(Finding("port", "ok", f"{host}:{port} is free for {purpose}"))
    return findings


def _open_files() -> Finding:
    from proxy import capacity

    short = capacity.shortage(files := capacity.files_max())
    return Finding("open files", "warning" if short else "ok", short or f"{files:,} are enough")


def _clock() -> Finding:
    from admin.cli.command import now_us
    from admin.times import format_instant

    now = now_us()
    if now < EARLIEST_CLOCK_US:
        return Finding("clock", "wrong", f"it says {format_instant(now)}: set it, usage is dated by it")
    return Finding("clock", "ok", f"{format_instant(now)[:19]}Z")
