"""What is done to a running subject, and the figures that come of it: one method a phase.

Rules: CPU time is read around the load and nothing else; where a subject keeps a ledger, after it has caught
up, so that posting is in the figure. Must not know which subject it is, only its protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from bench import wire, wrk
from bench.client import hold_streams, run_streams
from bench.closed_loop import Caller, latencies_us
from bench.engine import STEP_S
from bench.figures import percentile
from bench.meter import Meter
from bench.processes import memory_bytes, tree
from bench.scale import Scale
from bench.subjects import Subject

Figures = dict[str, float]

_UNARY = wire.Wanted("unary", wire.UNARY_TOKENS)
_UNMEASURED_CALLS = 100


class Phases:
    """One started subject, and the load that is put on it; `meter` reads its tree and the engine's
    process.
    """

    def __init__(self, subject: Subject, engine_url: str, meter: Meter, scale: Scale, folder: Path) -> None:
        self._subject = subject
        self._engine_url = engine_url
        self._meter = meter
        self._scale = scale
        self._folder = folder
        self._host, self._port = _address(subject.url)
        self.direct_calls = 0

    def run(self, phase: str) -> Figures:
        """Runs one phase by its name (scale.PHASES)."""
        phases: dict[str, Callable[[], Figures]] = {
            "unary": self._unary,
            "steady": self._steady,
            "burst": self._burst,
            "paced": self._paced,
            "latency": self._latency,
        }
        return phases[phase]()

    def warm_up(self) -> None:
        """Caches, connections and code paths are what they are after a first second of work."""
        self._drive(1)
        self._run_bursts(64)
        self._subject.recorded_calls()

    def _unary(self) -> Figures:
        meter = self._meter
        meter.begin()
        driven = self._drive(self._scale.unary_s)
        meter.load_ended()
        self._subject.recorded_calls()
        meter.end()
        return {
            "cpu_us_per_request": meter.cpu_us / driven.calls,
            "requests_per_s": driven.calls / driven.wall_us * 1e6,
            "full_load_p50_us": driven.p50_us,
            "full_load_p99_us": driven.p99_us,
            "unary_core_share": meter.core_share,
            "unary_engine_share": meter.engine_share,
            "unary_others_share": meter.others_share,
        }

    def _steady(self) -> Figures:
        """The same calls at one rate for every subject.

        At full load a fast subject's peers are always awake, and a slower one pays for waking them: at 50,000
        calls a second nginx needs 18 us for a call, at 5,000 about 30.
        """
        meter = self._meter
        meter.begin()
        driven = self._drive(self._scale.unary_s, pause_ms=self._scale.steady_pause_ms)
        meter.load_ended()
        self._subject.recorded_calls()
        meter.end()
        return {
            "cpu_us_per_steady_request": meter.cpu_us / driven.calls,
            "steady_requests_per_s": driven.calls / driven.wall_us * 1e6,
        }

    def _burst(self) -> Figures:
        meter = self._meter
        meter.begin()
        self._run_bursts(self._scale.burst_streams)
        meter.load_ended()
        self._subject.recorded_calls()
        meter.end()
        return {
            "cpu_us_per_burst_stream": meter.cpu_us / self._scale.burst_streams,
            "burst_others_share": meter.others_share,
        }

    def _paced(self) -> Figures:
        scale, meter = self._scale, self._meter
        chunks = round((scale.paced_window_s + scale.paced_opening_s) / STEP_S)
        idle_bytes = memory_bytes(tree(self._subject.pid))
        open_bytes = 0

        def at_window_end() -> None:
            nonlocal open_bytes
            meter.load_ended()
            open_bytes = memory_bytes(tree(self._subject.pid))

        arrived = uvloop.run(
            hold_streams(
                self._host,
                self._port,
                self._request(wire.Wanted("paced", chunks)),
                streams=scale.paced_streams,
                events_per_stream=wire.events_of(chunks, usage_event=self._subject.usage_event),
                window_s=scale.paced_window_s,
                limit_s=scale.limit_s,
                at_window_start=meter.begin,
                at_window_end=at_window_end,
            )
        )
        return {
            "cpu_us_per_paced_chunk": meter.cpu_us / arrived.chunks,
            "memory_kib_per_stream": (open_bytes - idle_bytes) / scale.paced_streams / 1024,
            "idle_memory_mib": idle_bytes / 1024**2,
            "paced_core_share": meter.core_share,
            "paced_engine_share": meter.engine_share,
            "paced_others_share": meter.others_share,
            "paced_pace_share": arrived.chunks / (arrived.wall_s / STEP_S * scale.paced_streams),
            "paced_events_per_read": arrived.chunks / arrived.reads,
            "paced_bytes_per_chunk": arrived.received_bytes / arrived.chunks,
        }

    def _latency(self) -> Figures:
        direct = Caller(*_address(self._engine_url), self._request(_UNARY))
        through = Caller(self._host, self._port, self._request(_UNARY))
        calls = self._scale.latency_calls
        direct_us, through_us = latencies_us(direct, through, calls=calls, unmeasured=_UNMEASURED_CALLS)
        direct.close()
        through.close()
        self.direct_calls += calls + _UNMEASURED_CALLS
        return {
            "direct_p50_us": percentile(direct_us, 0.50),
            "direct_p99_us": percentile(direct_us, 0.99),
            "added_p50_us": percentile(through_us, 0.50) - percentile(direct_us, 0.50),
            "added_p99_us": percentile(through_us, 0.99) - percentile(direct_us, 0.99),
        }

    def _drive(self, duration_s: float, *, pause_ms: int = 0) -> wrk.Driven:
        return wrk.drive(
            self._subject.url,
            key=self._subject.key,
            connections=self._scale.unary_connections,
            duration_s=duration_s,
            pause_ms=pause_ms,
            folder=self._folder,
        )

    def _run_bursts(self, streams: int) -> None:
        chunks = self._scale.burst_chunks
        uvloop.run(
            run_streams(
                self._host,
                self._port,
                self._request(wire.Wanted("burst", chunks)),
                streams=streams,
                connections=self._scale.burst_connections,
                events_per_stream=wire.events_of(chunks, usage_event=self._subject.usage_event),
                limit_s=self._scale.limit_s,
            )
        )

    def _request(self, want: wire.Wanted) -> bytes:
        return wire.request(want, key=self._subject.key, host=f"{self._host}:{self._port}")


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port
