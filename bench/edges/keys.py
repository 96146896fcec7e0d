"""A million API keys in the ledger, and a worker that has been called with more of them than it keeps.

Asks whether what a worker remembers of keys stays within the bound of its cache (`proxy.auth.CACHED_MAX`),
whether a call with a known key costs more afterwards, and how long the first call with a key waits longer
than the next. The keys are spread over tenants; the one that CPU is measured with has the limits of the
comparison.

    python -m bench.edges keys
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bench import wire
from bench.edges.calls import Calls
from bench.edges.lines import Line
from bench.engine_process import Engine
from bench.figures import percentile
from bench.meter import Meter, Pids
from bench.processes import Cores, choose_cores, memory_bytes, pin, tree
from bench.running import every_call_recorded, running
from bench.subjects.metergate import Metergate
from bench.wrk import CallsFailed
from ledger import tenancy
from ledger.keys import digest, mint
from ledger.secret_key import pepper
from ledger.settings import LedgerSettings
from ledger.states import KeyState
from ledger.tables.tenancy import ApiKey
from proxy.auth import CACHED_MAX
from race.owner import in_ledger

KEYS: Final = 1_000_000
SEEN: Final = CACHED_MAX * 3 // 2
"""So many of them are called with: the bound is reached, and passed by half."""
TENANTS: Final = 100
FIRST_CALLS: Final = 1_000
MEMORY_GROWTH_MAX: Final = 0.05
"""Past the bound, of what was kept up to it: the allocator's own unrest, and no more."""
_BATCH: Final = 20_000
_CONNECTIONS: Final = 8
_SLICE_S: Final = 10
_LIMIT_S: Final = 400.0
_DURATION_S: Final = 3.0

_SCRIPT: Final = """\
local keys = {}
for key in io.lines(%(path)s) do keys[#keys + 1] = key end
local body, at = %(body)s, %(skip)d
request = function()
  at = at %% #keys + 1
  return wrk.format("POST", nil, {["Content-Type"] = "application/json",
    ["Authorization"] = "Bearer " .. keys[at]}, body)
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n@{"calls":%%d,"failed":%%d}\\n', summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
_BODY: Final = wire.request_body(wire.Wanted("unary", wire.UNARY_TOKENS))


class _Metergate(Metergate):
    """The subject, and where its ledger is."""

    @property
    def ledger(self) -> LedgerSettings:
        return LedgerSettings(data_dir=self._data_dir)


def measure(*, keys: int = KEYS, seen: int = SEEN, first_calls: int = FIRST_CALLS) -> list[Line]:
    """One round: it is the millionth key that is asked about, not the tenth of a microsecond."""
    cores = choose_cores()
    pin(cores.load)
    engine = Engine(cores.engine)
    try:
        with (
            running(_Metergate, engine, cores) as (subject, folder),
            every_call_recorded(subject, engine),
        ):
            began_s = time.monotonic()
            secrets = _fill(subject.ledger, keys, seen + first_calls)
            filled_s = time.monotonic() - began_s
            return _measure(subject, engine, cores, folder, secrets, first_calls, keys, filled_s)
    finally:
        engine.stop()


def _measure(
    subject: _Metergate,
    engine: Engine,
    cores: Cores,
    folder: Path,
    secrets: list[str],
    first_calls: int,
    keys: int,
    filled_s: float,
) -> list[Line]:
    met, unmet = secrets[first_calls:], secrets[:first_calls]
    worker = _worker(subject.pid)
    before_us = _call_us(subject, engine, cores, folder)
    known_ms = _waits_ms(subject, [subject.key] * first_calls)
    first_ms = _waits_ms(subject, unmet)
    memory = [memory_bytes((worker,))]
    bound = CACHED_MAX - first_calls
    _call_with(subject, folder, met[:bound])
    memory.append(memory_bytes((worker,)))
    _call_with(subject, folder, met[bound:])
    memory.append(memory_bytes((worker,)))
    after_us = _call_us(subject, engine, cores, folder)
    mib = [value / 2**20 for value in memory]
    grown_at_most = MEMORY_GROWTH_MAX * (mib[1] - mib[0])

    def line(name: str, title: str, value: float, decimals: int = 0, at_most: float | None = None) -> Line:
        return Line("keys", name, title, (value,), decimals, at_most=at_most)

    return [
        line("keys", f"keys in the ledger (made in {filled_s:.0f} s)", keys),
        line("bound", "keys that a worker keeps at the most", CACHED_MAX),
        line("seen", "keys that it was called with", len(secrets)),
        line("before_mib", "the worker's memory before, MiB", mib[0], 1),
        line("bound_mib", "the same, as many keys later as it keeps", mib[1], 1),
        line("after_mib", "the same, after all of them", mib[2], 1),
        line("grown_mib", "grown past the bound, MiB", mib[2] - mib[1], 1, grown_at_most),
        line("before_us", "CPU a call with a known key before, us", before_us),
        line("after_us", "the same after", after_us),
        line("known_p50_ms", "a call with a known key p50, ms", percentile(known_ms, 0.5), 2),
        line("first_p50_ms", "the first call with a key p50, ms", percentile(first_ms, 0.5), 2),
        line("first_p99_ms", "the same p99, ms", percentile(first_ms, 0.99), 2),
    ]


def _call_us(subject: Metergate, engine: Engine, cores: Cores, folder: Path) -> float:
    """CPU of the whole tree for a call with the subject's own key, at full load."""
    subject.recorded()
    calls = Calls(subject, folder, connections=32)
    return calls.cpu_us(Meter(Pids(subject.pid, engine.pid), cores), _DURATION_S)


def _call_with(subject: Metergate, folder: Path, secrets: list[str]) -> None:
    """Calls with each of them at least once; a few at the front may be called with again."""
    path, script = folder / "keys.txt", folder / "keys.lua"
    path.write_text("\n".join(secrets) + "\n")
    called, began_s = 0, time.monotonic()
    while called < len(secrets):
        if time.monotonic() > began_s + _LIMIT_S:
            raise CallsFailed(f"called with {called} of {len(secrets)} keys in {_LIMIT_S:.0f} s")
        named = {"path": json.dumps(str(path)), "body": json.dumps(_BODY.decode()), "skip": called}
        script.write_text(_SCRIPT % named)
        left_s = (len(secrets) - called) / max(1.0, called / (time.monotonic() - began_s))
        seconds = _SLICE_S if not called else max(1, min(_SLICE_S, round(left_s)))
        command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        output = subprocess.run(
            [*command, subject.url + wire.CHAT_PATH], check=True, capture_output=True, text=True
        ).stdout
        said = json.loads(next(line[1:] for line in output.splitlines() if line.startswith("@{")))
        if said["failed"]:
            raise CallsFailed(f"{said['failed']} of {said['calls']} calls failed:\n{output}")
        called += said["calls"]


def _waits_ms(subject: Metergate, secrets: list[str]) -> list[float]:
    """How long each call waits for its answer, one after another on one connection."""
    where = urlsplit(subject.url)
    assert where.hostname and where.port
    waits = []
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for secret in secrets:
            headers = {"Authorization": f"Bearer {secret}"}
            request = wire.request(
                wire.Wanted("unary", wire.UNARY_TOKENS), host=where.netloc, headers=headers
            )
            began_s = time.perf_counter()
            connection.sendall(request)
            answer = connection.recv(65_536)
            while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
                answer += connection.recv(65_536)
            waits.append((time.perf_counter() - began_s) * 1e3)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise CallsFailed(repr(answer[:300]))
    return waits


def _fill(ledger: LedgerSettings, keys: int, secrets: int) -> list[str]:
    """Makes the keys, in batches that others wait for no longer than for a posting; the first are returned.

    Only keys that are called with need a secret: a digest of one looks like any other 32 bytes.
    """
    now_us = time.time_ns() // 1000
    minted = [mint() for _ in range(secrets)]
    projects = in_ledger(ledger.database_url, lambda session: _projects(session, now_us))
    rows = _rows(projects, [digest(pepper(ledger), secret) for secret in minted], keys, now_us)
    while batch := list(islice(rows, _BATCH)):
        in_ledger(ledger.database_url, partial(_insert, rows=batch))
    return minted


async def _insert(session: AsyncSession, rows: list[dict[str, object]]) -> None:
    await session.execute(insert(ApiKey), rows)


async def _projects(session: AsyncSession, now_us: int) -> list[tuple[str, str]]:
    """(tenant, project) ids."""
    made = []
    for number in range(TENANTS):
        tenant = await tenancy.create_tenant(session, f"tenant {number}", now_us)
        project = await tenancy.create_project(session, tenant.id, "p", now_us)
        made.append((tenant.id, project.id))
    return made


def _rows(
    projects: list[tuple[str, str]], digests: list[bytes], keys: int, now_us: int
) -> Iterator[dict[str, object]]:
    for number in range(keys):
        tenant_id, project_id = projects[number % len(projects)]
        yield {
            "id": f"key_{number:024d}",
            "project_id": project_id,
            "tenant_id": tenant_id,
            "name": "k",
            "digest": digests[number] if number < len(digests) else os.urandom(32),
            "redacted": "sk-mg-...",
            "state": KeyState.ACTIVE,
            "created_us": now_us,
        }


def _worker(root_pid: int) -> int:
    """The data plane's process among a tree."""
    for pid in tree(root_pid):
        if b"proxy.worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    raise CallsFailed("the data plane has no worker")
