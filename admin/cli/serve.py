"""The composition root: which processes make a metergate, and how each is told of the others.

It has the settings of both planes resolved (settings.py), the sockets bound before anything starts
(listening.py) and the ledger made ready (readying.py), claims the data folder, and hands the programs to the
supervisor. Programs are named by module; none is imported here.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from admin import announcements, data_folder, kept_settings
from admin.child import Program, StartFailed
from admin.cli.chosen import Chosen
from admin.cli.command import Fault
from admin.cli.engine_news import EngineNews
from admin.cli.listening import Listening
from admin.cli.programs import SIMULATOR, free_workers, import_path, places, programs
from admin.cli.readying import Ledger, Readying
from admin.cli.settings import resolve
from admin.config import AdminSettings
from admin.data_folder import FolderUnusable
from admin.first_run_file import FILE_NAME, read
from admin.forked import ForkFailed, Refusal
from admin.processes import ReloadRefused, Supervisor
from admin.sockets import AddressUnusable
from ledger.errors import SettingsRefused
from proxy import capacity
from proxy.config import ProxySettings, UnpricedModels

SIMULATED_MODELS = ("simulated", "simulated-embedding")
FOR_A_RESTART = (
    "data_dir",
    "database_url",
    "host",
    "port",
    "workers",
    "metrics_host",
    "metrics_port",
    "admin_host",
    "admin_port",
)
"""Settings that a reload cannot change: sockets are bound, folders claimed, and one ledger is everybody's."""


def serve(chosen: Chosen, roles: tuple[str, ...]) -> int:
    """Runs the processes of these roles until they are stopped; the exit status. Raises Fault,
    SettingsRefused.
    """
    try:
        os.umask(os.umask(0o077) | 0o077)  # the data folder may have been made by others, and for all to read
        start = _Start.of(chosen, roles)
        return asyncio.run(start.supervise(start.ready_ledger()))
    except (AddressUnusable, FolderUnusable, Refusal, StartFailed) as fault:
        raise Fault(str(fault)) from None
    except ForkFailed as fault:
        warn(str(fault))
        raise Fault("the ledger could not be made ready; what happened is above") from None


@dataclass(slots=True)
class _Start:
    """A start under way: what is bound and claimed so far."""

    chosen: Chosen
    roles: tuple[str, ...]
    proxy: ProxySettings
    admin: AdminSettings
    data_dir: Path
    listening: Listening
    claims: list[IO[str]] = field(default_factory=list)
    metrics_dir: Path | None = None
    news: EngineNews | None = None

    @classmethod
    def of(cls, chosen: Chosen, roles: tuple[str, ...]) -> "_Start":
        """Settings, data folder and sockets, in this order. Raises what each of them raises."""
        proxy, admin = resolve(chosen)
        data_dir = proxy.data_dir.absolute()
        data_folder.prepare(data_dir)
        listening = Listening.of(roles, proxy, admin)
        start = cls(chosen, roles, proxy, admin, data_dir, listening)
        start.claims = [data_folder.claim(data_dir, role) for role in roles]
        for role in roles:
            data_folder.keep_places(data_dir, role, places(role, listening.sockets))
        return start

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines, the simulator where none is given."""
        simulator = self.listening.url("simulator")
        return self.proxy.engines if simulator is None else (simulator,)

    @property
    def _refuses_unpriced(self) -> bool:
        return self.proxy.unpriced_models is UnpricedModels.REFUSE

    def ready_ledger(self) -> Ledger:
        """Makes the ledger ready; the data plane alone starts without the database, too. Raises Refusal."""
        where = self.listening
        alone = self.roles == ("proxy",)
        ledger = Readying(self.proxy, self.data_dir, where.base_url, where.url("admin"), alone).make()
        if ledger.away:
            warn(announcements.ledger_away(ledger.away))
        return ledger

    def renewed_programs(self) -> list[Program]:
        """The processes as the settings of now make them. Raises ReloadRefused, and changes nothing then."""
        try:
            proxy, admin = resolve(self.chosen)
        except SettingsRefused as fault:
            raise ReloadRefused(str(fault)) from None
        before, now = ({**vars(self.proxy), **vars(self.admin)}, {**vars(proxy), **vars(admin)})
        changed = [f"METERGATE_{name.upper()}" for name in FOR_A_RESTART if before[name] != now[name]]
        if bool(self.proxy.engines) != bool(proxy.engines):
            changed.append("METERGATE_ENGINES (from or to the simulator)")
        if changed:
            raise ReloadRefused(f"{', '.join(changed)} changed, which needs a restart")
        self.proxy, self.admin = proxy, admin
        if self.news is not None:
            self.news.renew(proxy, self._refuses_unpriced)
        return [program for program in self.programs() if program.name != SIMULATOR]  # it holds all calls

    def programs(self) -> list[Program]:
        """The processes of these roles."""
        return programs(
            self.roles,
            self.listening.fds,
            self._environment(),
            data_dir=self.data_dir,
            workers=free_workers(self.data_dir, self.proxy.workers),
            drain_seconds=self.proxy.drain_seconds,
            simulated_models=SIMULATED_MODELS,
        )

    def _environment(self) -> Mapping[str, str]:
        """What every process is told: our own environment, what the command line said, and what was decided
        here.
        """
        decided = {"METERGATE_DATA_DIR": str(self.data_dir)}
        for role in self.roles:
            kept_settings.keep(self.data_dir, role, self.proxy if role == "proxy" else self.admin)
        if "proxy" in self.roles:
            decided["METERGATE_ENGINES"] = ",".join(self.engines)
            data_folder.keep_engines(self.data_dir, self.engines)
            self.metrics_dir = self.metrics_dir or data_folder.empty_metrics(self.data_dir)
            decided["PROMETHEUS_MULTIPROC_DIR"] = str(self.metrics_dir)
        return {**os.environ, **import_path(), **self.chosen.environment(), **decided}

    async def supervise(self, ledger: Ledger) -> int:
        """Starts everything, says where it is, and stays until it is stopped."""
        if self.listening.simulates:
            warn(announcements.SIMULATOR)
        if "proxy" in self.roles and (short := capacity.shortage(capacity.files_max())):
            warn(f"warning: {short}")
        supervisor = Supervisor(
            self.programs(),
            say=lambda line: warn(f"metergate: {line}"),
            renew=self.renewed_programs,
            on_stop=self.listening.close,
        )
        self.news = news = self._engine_news(ledger)
        hearing = asyncio.create_task(news.hear())

        async def announce() -> None:
            self._announce(ledger, news, await hearing)

        try:
            return await supervisor.run(announce)
        finally:
            hearing.cancel()
            news.close()

    def _engine_news(self, ledger: Ledger) -> EngineNews:
        where = self.listening
        return EngineNews(
            self.proxy,
            self._refuses_unpriced,
            ledger,
            engines=self.proxy.engines if "proxy" in self.roles else (),
            known=SIMULATED_MODELS if where.simulates else (),
            plane_url=where.url("proxy"),
            warn=warn,
        )

    def _announce(self, ledger: Ledger, news: EngineNews, models: list[str]) -> None:
        first_run = self.data_dir / FILE_NAME
        lines = announcements.places(
            base_url=self.listening.base_url,
            admin_url=self.listening.url("admin"),
            metrics_url=self.listening.url("metrics"),
            keys=first_run if read(first_run) and not ledger.made else None,
        )
        if ledger.made:
            lines += announcements.first_keys(ledger.made, first_run, models[0] if models else None)
        news.say_unpriced(models)
        print("metergate is up", *lines, sep="\n", flush=True)
        news.say_missing()  # where eyes are: below what is up
        print("ready", flush=True)
        news.wait(None if models else ledger.made)


def warn(line: str) -> None:
    """A line for the operator."""
    print(line, file=sys.stderr, flush=True)
