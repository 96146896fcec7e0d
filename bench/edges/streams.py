"""10,000 open streams on one core, a chunk a second each: are all there, how late are their chunks, and what
does one of them keep.

A chunk's delay is from the engine's write to the load's read. Engine and load share the other core, so the
same streams are also held without anybody between them, and with nginx: what is more than that is the
subject's. A stream needs two descriptors in one process: where that may not have 20,000, there are fewer.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uvloop

from bench.client import BrokenStream
from bench.edges.lines import Line
from bench.edges.slow_client import Seen, SlowLoad, hold_slow_streams
from bench.edges.slow_engine import FINISH, raise_descriptor_limit, request
from bench.figures import percentile
from bench.meter import Meter, Pids
from bench.processes import Cores, choose_cores, memory_bytes, on_core, pin, prefer_sessions, tree
from bench.subjects import Subject
from bench.subjects.metergate import Metergate
from bench.subjects.nginx import Nginx

SUBJECTS: Final[tuple[type[Subject], ...]] = (Nginx, Metergate)
STREAMS: Final = 10_000
WINDOW_S: Final = 15.0
ROUNDS: Final = 2
DELAY_P99_MS_MAX: Final = 100
MEMORY_KIB_MAX: Final = 16
_LIMIT_S: Final = 180.0
Note = Callable[[str, float], None]

_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_KEPT_BACK: Final = 200
"""Descriptors that are not streams'."""


def measure(*, rounds: int = ROUNDS, streams: int = STREAMS, window_s: float = WINDOW_S) -> list[Line]:
    """Raises BrokenStream where one was refused, cut, or lacked a chunk."""
    streams = min(streams, (raise_descriptor_limit() - _KEPT_BACK) // 2)
    cores = choose_cores()
    pin(cores.load)
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    with slow_engine(cores.engine) as (url, engine_pid):
        for _ in range(rounds):
            direct = _hold(url, "", url, Meter(Pids(engine_pid, engine_pid), cores), streams, window_s)
            _note_delays(note, "direct", direct)
            for make in SUBJECTS:
                measure_subject(note, make, url, engine_pid, cores, streams, window_s)
    return _lines(found, streams)


def measure_subject(
    note: Note, make: type[Subject], url: str, engine_pid: int, cores: Cores, streams: int, window_s: float
) -> None:
    """Holds the streams through one subject, and notes what was found under its name."""
    with tempfile.TemporaryDirectory(prefix="metergate-bench-") as folder:
        subject = make(url, Path(folder), cores.subject)
        try:
            subject.start()
            prefer_sessions(tree(subject.pid))
            pids = Pids(subject.pid, engine_pid)
            _hold(url, subject.key, subject.url, Meter(pids, cores), 64, 0.1)
            meter = Meter(pids, cores)
            idle_bytes = memory_bytes(tree(subject.pid))
            held: list[int] = []
            before = subject.recorded()
            seen = _hold(
                url,
                subject.key,
                subject.url,
                meter,
                streams,
                window_s,
                at_end=lambda: held.append(memory_bytes(tree(subject.pid))),
            )
            after = subject.recorded()
            if before is not None and after is not None and after.calls - before.calls != streams:
                raise BrokenStream(f"{after.calls - before.calls} rows in the ledger for {streams} streams")
        finally:
            subject.stop()
    name = make.name
    _note_delays(note, name, seen)
    note(f"{name}_cpu_us", meter.cpu_us / len(seen.delays_ns))
    note(f"{name}_core", meter.core_share)
    note(f"{name}_memory_kib", (held[0] - idle_bytes) / streams / 1024)
    note(f"{name}_opened_per_s", streams / seen.opening_s)


def _note_delays(note: Note, name: str, seen: Seen) -> None:
    delays_ms = [delay_ns / 1e6 for delay_ns in seen.delays_ns]
    note(f"{name}_p50_ms", percentile(delays_ms, 0.50))
    note(f"{name}_p99_ms", percentile(delays_ms, 0.99))
    note(f"{name}_max_ms", max(delays_ms))


def _hold(
    engine_url: str,
    key: str,
    url: str,
    meter: Meter,
    streams: int,
    window_s: float,
    *,
    at_end: Callable[[], None] = lambda: None,
) -> Seen:
    where = urlsplit(url)
    assert where.hostname and where.port

    def at_window_end() -> None:
        meter.load_ended()
        at_end()

    def finish() -> None:
        path = FINISH.decode().partition(" ")[2]
        urllib.request.urlopen(urllib.request.Request(engine_url + path, method="POST"), timeout=10).close()

    return uvloop.run(
        hold_slow_streams(
            where.hostname,
            where.port,
            SlowLoad(request(key=key or "none", host=where.netloc), streams),
            window_s=window_s,
            limit_s=_LIMIT_S,
            at_window_start=meter.begin,
            at_window_end=at_window_end,
            finish=finish,
        )
    )


@contextmanager
def slow_engine(core: int) -> Iterator[tuple[str, int]]:
    """The engine of slow streams: its URL and its process."""
    command = [sys.executable, "-m", "bench.edges.slow_engine"]
    with on_core(core):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY)
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().split()[1]}", process.pid
    finally:
        process.terminate()
        process.wait()


def _lines(found: dict[str, list[float]], streams: int) -> list[Line]:
    def line(name: str, title: str, decimals: int = 1, at_most: float | None = None) -> Line:
        return Line("streams", name, title, tuple(found[name]), decimals, at_most=at_most)

    all_open = Line("streams", "open", "open at once, each to its end", (float(streams),), at_least=STREAMS)
    lines = [all_open]
    for who in ("direct", *(make.name for make in SUBJECTS)):
        is_ours = who == Metergate.name
        lines += [
            line(f"{who}_p50_ms", f"{who}: delay of a chunk p50, ms"),
            line(f"{who}_p99_ms", f"{who}: p99, ms", at_most=DELAY_P99_MS_MAX if is_ours else None),
            line(f"{who}_max_ms", f"{who}: the longest, ms"),
        ]
        if who == "direct":
            continue
        lines += [
            line(f"{who}_cpu_us", f"{who}: CPU a chunk, us"),
            line(f"{who}_core", f"{who}: share of its core", 2),
            line(
                f"{who}_memory_kib",
                f"{who}: memory a stream, KiB",
                at_most=MEMORY_KIB_MAX if is_ours else None,
            ),
            line(f"{who}_opened_per_s", f"{who}: opened a second", 0),
        ]
    return lines
