"""The composition root: which processes make a metergate, and how each is told of the others.

The one module that knows both planes. It resolves the settings, binds the sockets before anything starts,
claims the data folder, makes the ledger ready, and hands the programs to the supervisor. Programs are named
by module; none is imported here.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from admin import announcements, data_folder, kept_settings
from admin.child import Program, StartFailed
from admin.cli.chosen import Chosen
from admin.cli.command import Fault, now_us
from admin.cli.programs import SIMULATOR, free_workers, places, programs
from admin.cli.settings import resolve
from admin.config import AdminSettings
from admin.data_folder import FolderUnusable
from admin.first_run_file import FILE_NAME, FirstRun, draft_of, keep_urls, read
from admin.forked import ForkFailed, Refusal, in_fork
from admin.processes import ReloadRefused, Supervisor
from admin.sockets import AddressUnusable, listen, url_of
from ledger import embedded, secret_key
from ledger.errors import DatabaseUnavailable, LedgerError, SecretChanged, SettingsRefused
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
        return asyncio.run(start.supervise(start.prepare_ledger()))
    except (AddressUnusable, FolderUnusable, Refusal, StartFailed) as fault:
        raise Fault(str(fault)) from None
    except ForkFailed as fault:
        warn(str(fault))
        raise Fault("the ledger could not be made ready; what happened is above") from None


def simulate_engine(arguments: Sequence[str]) -> None:
    """Becomes the engine simulator; never returns."""
    command = [sys.executable, "-P", "-m", "proxy.simulator", *arguments]
    os.execve(command[0], command, {**os.environ, **_import_path()})  # noqa: S606 - our own module


def _import_path() -> dict[str, str]:
    """What lets a process find the packages beside this one, where metergate runs without being installed."""
    root = Path(__file__).parents[2]
    if "site-packages" in root.parts:
        return {}
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{root}{os.pathsep}{path}" if path else str(root)}


@dataclass(slots=True)
class _Start:
    """A start under way: what is bound and claimed so far."""

    chosen: Chosen
    roles: tuple[str, ...]
    proxy: ProxySettings
    admin: AdminSettings
    data_dir: Path
    sockets: dict[str, socket.socket] = field(default_factory=dict)
    claims: list[IO[str]] = field(default_factory=list)
    metrics_dir: Path | None = None

    @classmethod
    def of(cls, chosen: Chosen, roles: tuple[str, ...]) -> "_Start":
        """Settings, data folder and sockets, in this order. Raises what each of them raises."""
        proxy, admin = resolve(chosen)
        start = cls(chosen, roles, proxy, admin, proxy.data_dir.absolute())
        data_folder.prepare(start.data_dir)
        start.bind()
        start.claims = [data_folder.claim(start.data_dir, role) for role in roles]
        for role in roles:
            data_folder.keep_places(start.data_dir, role, places(role, start.sockets))
        return start

    def bind(self) -> None:
        """Binds what these roles listen on, so that a taken port is found before anything starts."""
        wanted: list[tuple[str, str, int, str, str]] = []
        if "proxy" in self.roles:
            wanted += [
                ("proxy", self.proxy.host, self.proxy.port, "the data plane", "--port or METERGATE_PORT"),
                (
                    "metrics",
                    self.proxy.metrics_host,
                    self.proxy.metrics_port,
                    "the metrics page",
                    "--metrics-port or METERGATE_METRICS_PORT",
                ),
            ]
            if not self.proxy.engines:
                wanted.append(("simulator", "127.0.0.1", 0, "the simulator", "--engine"))
        if "admin" in self.roles:
            wanted.append(
                (
                    "admin",
                    self.admin.admin_host,
                    self.admin.admin_port,
                    "the control plane",
                    "--admin-port or METERGATE_ADMIN_PORT",
                )
            )
        for name, host, port, purpose, choose_with in wanted:
            self.sockets[name] = listen(host, port, purpose=purpose, choose_with=choose_with)

    @property
    def base_url(self) -> str | None:
        """What an OpenAI client is pointed at."""
        return f"{url_of(self.sockets['proxy'])}/v1" if "proxy" in self.sockets else None

    @property
    def admin_url(self) -> str | None:
        """Where the control plane is."""
        return url_of(self.sockets["admin"]) if "admin" in self.sockets else None

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines, the simulator where none is given."""
        return (url_of(self.sockets["simulator"]),) if "simulator" in self.sockets else self.proxy.engines

    def prepare_ledger(self) -> "_Ledger":
        """Migrates the embedded database, checks any other, and makes the first keys where there are none.

        Raises Refusal with the ledger's words.
        """
        path = embedded.database_path(self.proxy.database_url)
        if path and embedded.has_tenant(path):
            secret_key.refuse_new(self.proxy)
            known = embedded.check_digest(path)
            if known is not None and known != secret_key.check_digest(secret_key.pepper(self.proxy)):
                raise SecretChanged
        if path and embedded.is_current(path) and self._has_first_keys(path):
            return _Ledger(None, embedded.priced_models(path))
        answer = in_fork(
            self._prepare, expected=lambda fault: str(fault) if isinstance(fault, LedgerError) else None
        )
        if away := answer.get("away"):
            warn(announcements.ledger_away(away))
            return _Ledger(None, None)
        return _Ledger(answer["made"] and FirstRun(**answer["made"]), set(answer["priced"]))

    def _has_first_keys(self, path: Path) -> bool:
        """Whether nothing has to be made (only `up` makes); then brings first-run.json's URLs up to date."""
        if not self.base_url or not self.admin_url:
            return True
        first_run = self.data_dir / FILE_NAME
        if read(first_run) is None or draft_of(first_run).exists() or not embedded.has_tenant(path):
            return False
        keep_urls(first_run, base_url=self.base_url, admin_url=self.admin_url)
        return True

    def _prepare(self) -> dict[str, Any]:
        """The heavy part, in a process of its own. The data plane alone starts without the database, too."""
        from admin.preparation import prepare

        work = prepare(
            self.proxy, self.data_dir, base_url=self.base_url, admin_url=self.admin_url, now_us=now_us()
        )
        try:
            return asyncio.run(work)
        except DatabaseUnavailable as fault:
            if self.roles != ("proxy",) or embedded.database_path(self.proxy.database_url):
                raise
            secret_key.refuse_new(self.proxy)  # there may be keys
            return {"away": str(fault)}

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
            {name: listener.fileno() for name, listener in self.sockets.items()},
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
        return {**os.environ, **_import_path(), **self.chosen.environment(), **decided}

    async def supervise(self, ledger: "_Ledger") -> int:
        """Starts everything, says where it is, and stays until it is stopped."""
        if "simulator" in self.sockets:
            warn(announcements.SIMULATOR)
        if "proxy" in self.roles and (short := capacity.shortage(capacity.files_max())):
            warn(f"warning: {short}")
        supervisor = Supervisor(
            self.programs(),
            say=lambda line: warn(f"metergate: {line}"),
            renew=self.renewed_programs,
            on_stop=self.stop_listening,
        )
        listing = asyncio.create_task(self._list_models())

        async def announce() -> None:
            self._announce(ledger, await listing)

        try:
            return await supervisor.run(announce)
        finally:
            listing.cancel()

    def stop_listening(self) -> None:
        """From here on only the children hold the sockets: who connects once they have stopped accepting is
        refused, and goes elsewhere, in place of waiting for nobody.
        """
        for listener in self.sockets.values():
            listener.close()

    async def _list_models(self) -> list[str]:
        """The models of every engine that answers; says which do not."""
        if "proxy" not in self.roles:
            return []
        if "simulator" in self.sockets:
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

    def _announce(self, ledger: "_Ledger", models: list[str]) -> None:
        refused = self.proxy.unpriced_models is UnpricedModels.REFUSE
        if ledger.priced_models is not None:
            unpriced = announcements.unpriced(set(models) - ledger.priced_models, refused=refused)
            if unpriced:
                warn(unpriced)
        first_run = self.data_dir / FILE_NAME
        metrics = self.sockets.get("metrics")
        lines = announcements.places(
            base_url=self.base_url,
            admin_url=self.admin_url,
            metrics_url=url_of(metrics) if metrics else None,
            keys=first_run if read(first_run) and not ledger.made else None,
        )
        if ledger.made:
            lines += announcements.first_keys(ledger.made, first_run, models[0] if models else None)
        print("metergate is up", *lines, "ready", sep="\n", flush=True)


@dataclass(frozen=True, slots=True)
class _Ledger:
    """What the start learned of the ledger."""

    made: FirstRun | None
    """The first keys, where they have not been said yet."""
    priced_models: set[str] | None
    """None where the ledger was away."""


def warn(line: str) -> None:
    """A line for the operator."""
    print(line, file=sys.stderr, flush=True)
