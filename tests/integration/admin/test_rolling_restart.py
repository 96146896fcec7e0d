"""Two `metergate proxy` on one PostgreSQL, behind the nginx that we ship: each is restarted under load, and
no client, none of which ever tries again, notices.
"""

import asyncio
import json
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.engines import Engine, engine_thread
from tests.integration.admin.conftest import METERGATE, environment, run
from tests.integration.admin.rolling import by_tls, calling, plainly
from tests.integration.admin.test_nginx import free_port, write_configuration

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(400),
    pytest.mark.nginx,
    pytest.mark.postgres,
    pytest.mark.skipif(
        not shutil.which("nginx") or not shutil.which("openssl"), reason="needs nginx and openssl"
    ),
]

PATIENCE_SECONDS = 120
CLIENTS = 6


class Proxy:
    """A `metergate proxy` on a port and a data folder of its own, that can be restarted."""

    def __init__(self, folder: Path, port: int, engine: Engine, env: dict[str, str]) -> None:
        folder.mkdir()
        self.port = port
        self._folder = folder
        self._env = environment(**env)
        self._command = [
            *METERGATE, "proxy", "--port", str(port), "--metrics-port", "0", "--engine", engine.url
        ]  # fmt: skip
        self._start()

    def _start(self) -> None:
        with (self._folder / "words").open("ab") as words:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._env, text=True,
                stdout=subprocess.PIPE, stderr=words,
            )  # fmt: skip
        assert self._process.stdout is not None
        assert "ready\n" in iter(self._process.stdout.readline, ""), self.words

    @property
    def words(self) -> str:
        return (self._folder / "words").read_text()

    def restart(self) -> None:
        """As `systemctl restart` does."""
        self.stop()
        self._start()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(PATIENCE_SECONDS) == 0, self.words
        assert self._process.stdout is not None
        self._process.stdout.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def nginx_before(folder: Path, proxies: list[Proxy], port: int) -> Iterator[ssl.SSLContext]:
    """The shipped configuration with both servers, and its bound on floods out of the way."""
    main = write_configuration(folder, proxies[0].port, port)
    shipped = main.read_text()
    one = f"server 127.0.0.1:{proxies[0].port} max_fails=0;\n"
    assert shipped.count(one) == 1 and "rate=100r/s" in shipped
    both = "".join(f"server 127.0.0.1:{proxy.port} max_fails=0;\n" for proxy in proxies)
    main.write_text(shipped.replace(one, both).replace("rate=100r/s", "rate=100000r/s"))
    process = subprocess.Popen(["nginx", "-c", main, "-p", folder, "-e", folder / "error.log"])
    try:
        trust = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
        trust.check_hostname = False
        connect = plainly(port)
        until(lambda: _connects(connect), "nginx")
        yield trust
    finally:
        process.terminate()
        process.wait()


def _connects(connect: Callable[[], object]) -> bool:
    connection = connect()
    try:
        connection.connect()  # type: ignore[attr-defined]
    except OSError:
        return False
    connection.close()  # type: ignore[attr-defined]
    return True


def until(found: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


async def rows(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row["request_id"] for row in await connection.fetch("SELECT request_id FROM usage")]
    finally:
        await connection.close()


def test_a_rolling_restart_behind_nginx_is_seen_by_nobody(postgresql_url: str, tmp_path: Path) -> None:
    """Guards against a deployment that breaks answers, or calls that are lost or billed twice by it."""
    env = {"METERGATE_DATABASE_URL": postgresql_url, "METERGATE_SECRET_KEY": "a secret of both hosts"}

    def made(*arguments: str) -> dict[str, str]:
        done = run(*arguments, "--json", cwd=tmp_path, **env)
        assert done.returncode == 0, done.stderr
        document: dict[str, str] = json.loads(done.stdout)
        return document

    tenant = made("tenant", "create", "Acme")
    project = made("project", "create", "Chat", "--tenant", tenant["id"])
    key = made("key", "create", "--project", project["id"])["key"]
    with engine_thread() as engine:
        proxies = [Proxy(tmp_path / name, free_port(), engine, env) for name in ("one", "two")]
        try:
            tls_port = free_port()
            with (
                nginx_before(tmp_path, proxies, tls_port) as trust,
                calling(by_tls(tls_port, trust), key, CLIENTS, may_retry=False) as seen,
            ):
                for proxy in proxies:
                    answered = len(seen.request_ids)
                    until(lambda least=answered + 30: len(seen.request_ids) >= least, "calls")  # type: ignore[misc]
                    proxy.restart()
                answered = len(seen.request_ids)
                until(lambda: len(seen.request_ids) >= answered + 30, "calls at the end")
            for proxy in proxies:
                proxy.stop()
        finally:
            for proxy in proxies:
                proxy.kill()
        assert seen.errors == [], (tmp_path / "error.log").read_text()[-2000:]
        found = asyncio.run(rows(postgresql_url))
        assert sorted(found) == sorted(seen.request_ids)
        made_by_engine = {call["request_id"] for call in engine.calls()}
        assert made_by_engine == set(found)
    assert made("ledger", "verify", "--no-wait")["state"] == "clean"
