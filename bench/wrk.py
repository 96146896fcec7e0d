"""The load for unstreamed calls: wrk, closed loop on keep-alive connections; here are its script and how its
answer is read.

Must not know which subject answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import wire

_SCRIPT = """\
wrk.method = "POST"
wrk.body = %(body)s
wrk.headers["Content-Type"] = "application/json"
%(headers)s
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n@{"calls":%%d,"wall_us":%%d,"failed":%%d,"p50_us":%%d,"p99_us":%%d}\\n',
  summary.requests,
    summary.duration, e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50),
    latency:percentile(99)))
end
"""

BODY = wire.request_body(wire.Wanted("unary", wire.UNARY_TOKENS))


class CallsFailed(Exception):
    """wrk saw answers other than 200, or connections that broke."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What wrk saw; latencies are those under this load."""

    calls: int
    wall_us: int
    p50_us: int
    p99_us: int

    @property
    def per_s(self) -> float:
        """Calls a second."""
        return self.calls / self.wall_us * 1e6


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def drive(
    url: str,
    *,
    headers: Mapping[str, str],
    connections: int,
    duration_s: float,
    folder: Path,
    pause_ms: int = 0,
    body: bytes = BODY,
) -> Driven:
    """Runs wrk with one thread against the chat endpoint.

    A connection pauses before each of its calls for `pause_ms` on average, evenly between nothing and twice
    that: connections that all pause alike would call together.
    """
    script = folder / "call.lua"
    pause = f"function delay() return math.random(0, {2 * pause_ms}) end\n" if pause_ms else ""
    further = "\n".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(headers[name])}" for name in headers)
    sent = json.dumps(body.decode(), ensure_ascii=False)
    script.write_text(pause + _SCRIPT % {"body": sent, "headers": further})
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(duration_s))}s",
        "-s",
        str(script),
        url + wire.CHAT_PATH,
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    said = json.loads(next(line[1:] for line in output.splitlines() if line.startswith("@{")))
    if not said["calls"]:
        raise CallsFailed(f"not one call was answered within {duration_s:.0f} s")
    if said["failed"]:
        raise CallsFailed(f"{said['failed']} of {said['calls']} calls failed:\n{output}")
    return Driven(said["calls"], said["wall_us"], said["p50_us"], said["p99_us"])
