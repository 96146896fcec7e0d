"""`metergate proxy` while its PostgreSQL is away: it serves what it can, and says what it cannot."""

import signal
import subprocess
from pathlib import Path

import httpx

from .conftest import METERGATE, environment, run

AWAY = "postgresql://metergate@127.0.0.1:9/ledger"
"""Nobody listens on the port of `discard`."""
SECRET = "a secret of the operator"


def test_the_data_plane_starts_without_its_database(tmp_path: Path) -> None:
    """Guards against a host that reboots in an outage and stays away when the database is back."""
    settings = {"METERGATE_DATABASE_URL": AWAY, "METERGATE_SECRET_KEY": SECRET}
    words = tmp_path / "words"
    with words.open("w") as stderr:
        process = subprocess.Popen(
            [*METERGATE, "proxy", "--port", "0", "--metrics-port", "0"],
            cwd=tmp_path, env=environment(**settings), text=True, stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        said: dict[str, str] = {}
        while (line := process.stdout.readline()) not in ("ready\n", ""):
            name, _, value = line.strip().partition("  ")
            said[name] = value.strip()
        assert line == "ready\n", words.read_text()
        url = said["data plane"].removesuffix("/v1")
        assert httpx.get(f"{url}/healthz").status_code == 200
        ready = httpx.get(f"{url}/readyz")
        assert ready.status_code == 503
        assert "the ledger's database does not answer since" in ready.json()["problems"][0]
        key = {"authorization": "Bearer sk-mg-" + "a" * 49}
        assert httpx.get(f"{url}/v1/models", headers=key).status_code == 401, "malformed is malformed"
        assert 'metergate_ledger_up{worker="0"} 0.0' in httpx.get(said["metrics"]).text
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        process.stdout.close()
    assert "STARTING WITHOUT THE LEDGER" in words.read_text()
    assert SECRET not in words.read_text()


def test_what_cannot_start_without_it_says_so(tmp_path: Path) -> None:
    """Guards against first keys that are made twice, and a new secret beside keys that it does not fit."""
    for command, settings in (("up", {"METERGATE_SECRET_KEY": SECRET}), ("proxy", {})):
        done = run(
            command,
            "--port",
            "0",
            "--metrics-port",
            "0",
            cwd=tmp_path,
            METERGATE_DATABASE_URL=AWAY,
            **settings,
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert ("127.0.0.1:9" if command == "up" else "secret.key is gone") in done.stderr
    assert not (tmp_path / "data" / "secret.key").exists()
