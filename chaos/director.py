"""Lets things break as the schedule says, each at its time, and mend again.

Owns what is broken now. An incident that cannot happen yet (no worker serves, the database is away already)
is put off, not left out, so that a run has as many of each as its seed says. Must not know what is judged
afterwards."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable
from functools import partial

from chaos.disk import MIB, Disk
from chaos.engines import Engine, Fleet, faults_of
from chaos.outage import Outage
from chaos.schedule import Incident, Kind
from chaos.service import POSTER, Service, kill
from race.processes import now_us

_AGAIN_S = 0.3
_TICK_S = 0.05
_LATE_S_MAX = 900.0
_KILLED_IN_A_START = 0.02
"""Asked each time that a kill is put off, which is three times a second."""

_FULL_BYTES = (0, 64 * MIB)
"""Left free: nothing at all, or less than metergate wants before it takes another call."""


class Director:
    """One run's. `recovers` False: flight recorders are taken away before each kill: calls must be lost."""

    def __init__(
        self,
        service: Service,
        fleet: Fleet,
        outage: Outage,
        disk: Disk,
        *,
        seed: int,
        recovers: bool = True,
    ) -> None:
        self._service = service
        self._fleet = fleet
        self._outage = outage
        self._disk = disk
        self._recovers = recovers
        self._dice = random.Random(f"{seed}/director")
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._began_s = 0.0
        self.away_us: list[tuple[int, int]] = []
        """When the ledger's database did not take what it was told."""

        self.struck: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self.in_flight_at_kills = 0

    def run(self, incidents: list[Incident], seconds: float) -> None:
        """Until the time is over and everything has struck and mended, however slow the machine is."""
        self._began_s = time.monotonic()
        for incident in incidents:
            self._at(incident.at_s, partial(self._strike, incident))
        while self._elapsed_s < seconds or self._waiting:
            late_s = self._elapsed_s - seconds
            assert late_s < _LATE_S_MAX, f"the chaos does not come to its end: {self.struck}"
            while self._waiting and self._waiting[0][0] <= self._elapsed_s:
                heapq.heappop(self._waiting)[2]()
            self._disk.press()
            time.sleep(_TICK_S)

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def _at(self, at_s: float, then: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._waiting, (at_s, self._count, then))

    def _strike(self, incident: Incident) -> None:
        mend = self._begin(incident)
        if mend is None:
            self._at(self._elapsed_s + _AGAIN_S, partial(self._strike, incident))
            return
        self.struck[incident.kind] += 1
        if incident.lasts_s:
            self._at(self._elapsed_s + incident.lasts_s, partial(self._mend, incident.kind, now_us(), mend))

    def _mend(self, kind: Kind, began_us: int, mend: Callable[[], None]) -> None:
        mend()
        if kind in (Kind.STOP_DATABASE, Kind.FILL_DISK):
            self.away_us.append((began_us, now_us()))

    def _begin(self, incident: Incident) -> Callable[[], None] | None:
        """What mends it; None where it could not happen."""
        service, pick = self._service, incident.pick
        match incident.kind:
            case Kind.KILL_WORKER:
                return _done if self._kill_worker(pick) else None
            case Kind.KILL_POSTER:
                return _done if sum(kill(pid) for pid in service.pids(POSTER).values()) > 0 else None
            case Kind.KILL_SUPERVISOR:
                return _done if service.is_ready and service.kill_supervisor() else None
            case Kind.KILL_ALL:
                return _done if service.is_ready and self._kill_all() else None
            case Kind.DRAIN:
                return _done if service.drain() else None
            case Kind.STOP_DATABASE:
                taken = not self._outage.is_away and self._outage.begin(pick)
                return self._outage.end if taken else None
            case Kind.FILL_DISK:
                return self._fill(pick)
            case Kind.KILL_ENGINE | Kind.FREEZE_ENGINE | Kind.FAULT_ENGINE:
                return self._break_engine(incident.kind, pick)

    def _kill_worker(self, pick: float) -> bool:
        """One that is busy; seldom while others are still starting, for that ends the whole start."""
        if not self._service.is_ready and self._dice.random() > _KILLED_IN_A_START:
            return False
        busy = self._service.busy_workers()
        if not busy:
            return False
        number = sorted(busy)[int(pick * len(busy))]
        pid, in_flight = busy[number]
        self._forget(number)
        if not kill(pid):
            return False
        self.in_flight_at_kills += in_flight
        return True

    def _kill_all(self) -> bool:
        busy = self._service.busy_workers()
        if not busy:
            return False
        self.in_flight_at_kills += sum(in_flight for _, in_flight in busy.values())
        for number in busy:
            self._forget(number)
        return self._service.kill_all()

    def _forget(self, number: int) -> None:
        if not self._recovers:
            self._service.flight_path(number).unlink(missing_ok=True)

    def _fill(self, pick: float) -> Callable[[], None] | None:
        if self._disk.is_full:
            return None
        self._disk.fill(_FULL_BYTES[int(pick * len(_FULL_BYTES))])
        return self._disk.free

    def _break_engine(self, kind: Kind, pick: float) -> Callable[[], None] | None:
        up = self._fleet.up()
        if len(up) < (1 if kind is Kind.FAULT_ENGINE else 2):
            return None
        engine = up[int(self._dice.random() * len(up))]
        if kind is Kind.FAULT_ENGINE:
            engine.fail(faults_of(pick))
            return _done
        if kind is Kind.KILL_ENGINE:
            engine.kill()
            return engine.start
        engine.freeze()
        return engine.thaw

    def make_peace(self) -> None:
        """Mends whatever is broken, and lets nothing break any more."""
        self._waiting.clear()
        if self._outage.is_away:
            self._outage.end()
        if self._disk.is_full:
            self._disk.free()
        for engine in self._fleet.engines:
            _mend(engine)


def _mend(engine: Engine) -> None:
    if engine.is_dead:
        engine.start()
    elif not engine.is_up:
        engine.thaw()
    engine.fail(())


def _done() -> None:
    """Nothing is to be mended."""
