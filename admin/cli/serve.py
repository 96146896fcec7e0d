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
from functools import partial
from pathlib import Path
from typing import IO

from admin import announcements, data_folder, kept_settings
from admin.child import Program, StartFailed
from admin.cli.chosen import Chosen
from admin.cli.command import Fault
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
PROBE_SECONDS = 2.0
"""Longest wait for an engine's list of models: for warnings only, an engine may come later."""
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
        listing = asyncio.create_task(self._list_models())

        async def announce() -> None:
            self._announce(ledger, await listing)

        try:
            return await supervisor.run(announce)
        finally:
            listing.cancel()

    async def _list_models(self) -> list[str]:
        """The models of every engine that answers; says which do not."""
        if "proxy" not in self.roles:
            return []
        if self.listening.simulates:
            return list(SIMULATED_MODELS)
        from admin import probe

        key = self.proxy.engine_api_key
        ask = partial(
            probe.models,
            api_key=key.get_secret_value() if key else None,
            ca_file=self.proxy.engine_ca_file,
            timeout_seconds=PROBE_SECONDS,
        )
        answers = await asyncio.gather(
            *(asyncio.to_thread(ask, url) for url in self.engines), return_exceptions=True
        )
        models: list[str] = []
        for url, answer in zip(self.engines, answers, strict=True):
            if isinstance(answer, probe.EngineSilent):
                warn(announcements.silent_engine(url, str(answer)))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                models += answer
        return models

    def _announce(self, ledger: Ledger, models: list[str]) -> None:
        refused = self.proxy.unpriced_models is UnpricedModels.REFUSE
        if ledger.priced_models is not None:
            unpriced = announcements.unpriced(set(models) - ledger.priced_models, refused=refused)
            if unpriced:
                warn(unpriced)
        first_run = self.data_dir / FILE_NAME
        lines = announcements.places(
            base_url=self.listening.base_url,
            admin_url=self.listening.url("admin"),
            metrics_url=self.listening.url("metrics"),
            keys=first_run if read(first_run) and not ledger.made else None,
        )
        if ledger.made:
            lines += announcements.first_keys(ledger.made, first_run, models[0] if models else None)
        print("metergate is up", *lines, "ready", sep="\n", flush=True)


def warn(line: str) -> None:
    """A line for the operator."""
    print(line, file=sys.stderr, flush=True)
