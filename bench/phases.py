"""What is done to a running subject, and the figures that come of it: one method a step.

Rules: CPU time is read around the load and nothing else; where a subject keeps a ledger, after it has caught
up, so that posting is in the figure. Must not know which subject it is, only its protocol.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from bench import wire, wrk
from bench.client import Arrived, BrokenStream, hold_streams, run_streams
from bench.closed_loop import Caller, latencies_us
from bench.engine import STEP_S
from bench.engine_process import Engine, Tally
from bench.figures import Recorded, percentile
from bench.meter import Meter, Pids
from bench.processes import Cores, cpu_s, memory_bytes, tree
from bench.rows import memory_streams
from bench.scale import Scale
from bench.subjects import Subject

Figures = dict[str, float]

_UNARY = wire.Wanted("unary", wire.UNARY_TOKENS)
_UNMEASURED_CALLS = 50
_RESTS_WITHIN_S = 15.0
_LOOK_AGAIN_S = 0.5
_RESTING_SHARE = 0.05
"""Of a core: less than that is no work left over. The kernel counts in hundredths of a second."""
_STARTED_STILL_S = 1.0
"""A part of a subject that begins its own work late must not do so within a step."""
_PACED_CHUNKS_MAX = 3000
"""A minute's: no step holds its streams that long."""


class Phases:
    """One started subject, and the load that is put on it."""

    def __init__(self, subject: Subject, engine: Engine, cores: Cores, scale: Scale, folder: Path) -> None:
        self._subject = subject
        self._engine = engine
        self._meter = Meter(Pids(subject.pid, engine.pid, subject.database_pid), cores)
        self._scale = scale
        self._folder = folder
        self._address = _address(subject.url)
        self._full_load_per_s = 0.0
        self._idle_bytes = 0
        self._started_s = time.monotonic()
        self.direct = Recorded(0, 0)
        self.keeps_ledger = False

    def run(self, step: str) -> Figures:
        """Runs one step by its name (scale.phase_steps)."""
        if step.startswith("paced_"):
            return self._paced(int(step.partition("_")[2]))
        steps: dict[str, Callable[[], Figures]] = {
            "unary": self._unary,
            "steady": self._steady,
            "half": self._half,
            "burst": self._burst,
            "latency": self._latency,
        }
        return steps[step]()

    def warm_up(self) -> None:
        """Caches, connections and code paths are what they are after a first second of work, and what goes
        on after a start has come to its end.
        """
        first = Caller(*self._address, self._request(_UNARY))
        try:
            first.call_us()  # some import what a call takes when it comes
        finally:
            first.close()
        self._drive(1)
        self._run_bursts(0.3)
        self.keeps_ledger = self._subject.recorded() is not None
        time.sleep(max(0.0, self._started_s + self._subject.starts_late_s - time.monotonic()))
        self.rest(_STARTED_STILL_S)
        self._idle_bytes = memory_bytes(tree(self._subject.pid))

    def _unary(self) -> Figures:
        meter = self._meter
        meter.begin()
        driven = self._drive(self._scale.unary_s)
        self._end(meter)
        self._full_load_per_s = driven.per_s
        return {
            "cpu_us_per_request": meter.cpu_us / driven.calls,
            **self._database("request", driven.calls),
            "requests_per_s": driven.per_s,
            "unary_core_share": meter.core_share,
            "unary_engine_share": meter.engine_share,
            "unary_load_share": meter.load_share,
            "unary_others_share": meter.others_share,
        }

    def _steady(self) -> Figures:
        """The same calls at one rate for every subject that can.

        At full load a fast subject's peers are always awake, and a slower one pays for waking them: at 50,000
        calls a second nginx needs half of what it needs for a call at 1,000.
        """
        meter = self._meter
        meter.begin()
        driven = self._drive(self._scale.unary_s, pause_ms=self._scale.steady_pause_ms)
        self._end(meter)
        return {
            "cpu_us_per_steady_request": meter.cpu_us / driven.calls,
            **self._database("steady_request", driven.calls),
            "steady_requests_per_s": driven.per_s,
            "steady_core_share": meter.core_share,
        }

    def _half(self) -> Figures:
        """Latency at half of what the subject carries, beside the same load put on the engine itself."""
        scale = self._scale
        if not self._full_load_per_s:
            self._full_load_per_s = self._drive(1).per_s
        pause_ms = max(1, round(scale.half_connections / (self._full_load_per_s / 2) * 1000))
        connections = scale.half_connections
        through = self._drive(scale.half_s, connections=connections, pause_ms=pause_ms)
        before = self._engine.settled()
        direct = self._drive(scale.half_s, url=self._engine.url, connections=connections, pause_ms=pause_ms)
        self._note_direct(before)
        return {
            "half_requests_per_s": through.per_s,
            "half_direct_p50_us": direct.p50_us,
            "half_direct_p99_us": direct.p99_us,
            "half_added_p50_us": through.p50_us - direct.p50_us,
            "half_added_p99_us": through.p99_us - direct.p99_us,
        }

    def _burst(self) -> Figures:
        meter = self._meter
        meter.begin()
        arrived = self._run_bursts(self._scale.burst_s)
        self._end(meter)
        return {
            "cpu_us_per_burst_stream": meter.cpu_us / arrived.streams,
            **self._database("burst_stream", arrived.streams),
            "bursts_per_s": arrived.streams / arrived.wall_s,
            "burst_core_share": meter.core_share,
            "burst_others_share": meter.others_share,
        }

    def _paced(self, streams: int) -> Figures:
        scale, meter, engine = self._scale, self._meter, self._engine
        tallies: list[Tally] = [engine.tally()]
        open_bytes = 0

        def at_window_start() -> None:
            tallies.append(engine.tally())
            meter.begin()

        def at_window_end() -> None:
            nonlocal open_bytes
            meter.load_ended()
            tallies.append(engine.tally())
            open_bytes = memory_bytes(tree(self._subject.pid))

        arrived = uvloop.run(
            hold_streams(
                *self._address,
                self._request(wire.Wanted("paced", _PACED_CHUNKS_MAX)),
                streams=streams,
                window_s=scale.paced_window_s,
                opens_within_s=scale.paced_opens_within_s,
                ends_within_s=scale.paced_ends_within_s,
                finish=engine.finish,
                at_window_start=at_window_start,
                at_window_end=at_window_end,
            )
        )
        self._check_whole(arrived, tallies[0])
        if arrived.cut:
            self.rest()
        steps = arrived.wall_s / STEP_S
        figures = {
            "cpu_us_per_chunk": meter.cpu_us / arrived.chunks,
            "chunks_per_s": arrived.chunks / arrived.wall_s,
            "core_share": meter.core_share,
            "engine_share": meter.engine_share,
            "load_share": meter.load_share,
            "others_share": meter.others_share,
            "kept_share": arrived.chunks / (steps * streams),
            "engine_kept_share": min(1.0, (tallies[2].steps - tallies[1].steps) / steps),
            "events_per_read": arrived.chunks / arrived.reads,
            "bytes_per_chunk": arrived.received_bytes / arrived.chunks,
            "cut_streams": arrived.cut,
        }
        named = {f"paced_{streams}_{name}": value for name, value in figures.items()}
        if streams == memory_streams(scale.paced_streams):
            named["memory_kib_per_stream"] = (open_bytes - self._idle_bytes) / streams / 1024
            named["idle_memory_mib"] = self._idle_bytes / 1024**2
        return named

    def rest(self, still_s: float = 0.5) -> None:
        """Lets a subject that is still at work come to rest, so that the next step is not charged for that:
        returns once it has been still for so long, or at the latest in a quarter of a minute.
        """
        until_s = time.monotonic() + _RESTS_WITHIN_S
        still_since_s, before_s = time.monotonic(), cpu_s(tree(self._subject.pid))
        while time.monotonic() < min(until_s, still_since_s + still_s):
            time.sleep(_LOOK_AGAIN_S)
            used_s = cpu_s(tree(self._subject.pid))
            if used_s - before_s > _RESTING_SHARE * _LOOK_AGAIN_S:
                still_since_s = time.monotonic()
            before_s = used_s

    def _check_whole(self, arrived: Arrived, before: Tally) -> None:
        """Nothing of what the engine sent may be lost on the way, or come twice."""
        if arrived.cut:
            return
        sent = self._engine.tally().chunks - before.chunks
        expected = sent + arrived.streams * wire.events_of(0, usage_event=self._subject.usage_event)
        if arrived.events != expected:
            raise BrokenStream(f"{arrived.events} events arrived, not {expected}")

    def _latency(self) -> Figures:
        scale = self._scale
        direct = Caller(*self._engine.address, self._request(_UNARY))
        through = Caller(*self._address, self._request(_UNARY))
        try:
            direct_us, through_us = latencies_us(
                direct,
                through,
                calls=scale.latency_calls,
                unmeasured=_UNMEASURED_CALLS,
                limit_s=scale.latency_s,
            )
        finally:
            direct.close()
            through.close()
        calls = len(direct_us) + _UNMEASURED_CALLS
        self.direct = self.direct.plus(Recorded(calls, calls * wire.UNARY_TOKENS))
        return {
            "direct_p50_us": percentile(direct_us, 0.50),
            "direct_p99_us": percentile(direct_us, 0.99),
            "added_p50_us": percentile(through_us, 0.50) - percentile(direct_us, 0.50),
            "added_p99_us": percentile(through_us, 0.99) - percentile(direct_us, 0.99),
        }

    def _end(self, meter: Meter) -> None:
        meter.load_ended()
        self._subject.recorded()
        meter.end()

    def _database(self, what: str, count: int) -> Figures:
        used_us = self._meter.database_cpu_us
        return {} if used_us is None else {f"database_cpu_us_per_{what}": used_us / count}

    def _note_direct(self, before: Tally) -> None:
        self.direct = self.direct.plus(self._engine.settled().passed.minus(before.passed))

    def _drive(
        self, duration_s: float, *, url: str = "", connections: int = 0, pause_ms: int = 0
    ) -> wrk.Driven:
        return wrk.drive(
            url or self._subject.url,
            headers=self._headers,
            connections=connections or self._scale.unary_connections,
            duration_s=duration_s,
            pause_ms=pause_ms,
            folder=self._folder,
        )

    def _run_bursts(self, duration_s: float) -> Arrived:
        chunks = self._scale.burst_chunks
        return uvloop.run(
            run_streams(
                *self._address,
                self._request(wire.Wanted("burst", chunks)),
                streams=1_000_000,
                connections=self._scale.burst_connections,
                events_per_stream=wire.events_of(chunks, usage_event=self._subject.usage_event),
                limit_s=self._scale.limit_s,
                duration_s=duration_s,
            )
        )

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._subject.key}", **self._subject.headers}

    def _request(self, want: wire.Wanted) -> bytes:
        host, port = self._address
        return wire.request(want, host=f"{host}:{port}", headers=self._headers)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port
