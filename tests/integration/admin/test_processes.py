"""The supervisor with real processes: what it promises about starting, restarting and ending them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from admin import processes
from admin.processes import Program, StartFailed, Supervisor

ROOT = Path(__file__).parents[3]

CHILD = '''
"""A stand-in for a server: writes its pid, says ready, stops on SIGTERM or when its supervisor is gone."""
import os, signal, sys, threading

mode, diary = sys.argv[1], sys.argv[2]
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "deaf" else lambda *_: os._exit(0))

def note(word):
    with open(diary, "a") as file:
        file.write(f"{word} {os.getpid()} {os.getsid(0)}\\n")

if mode == "dies":
    sys.exit(3)
note("started")
if mode != "mute":
    os.write(int(os.environ["METERGATE_READY_FD"]), b"ready\\n")
os.read(int(os.environ["METERGATE_LIFE_FD"]), 1)
note("orphaned")
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stand_in.py").write_text(CHILD)
    return tmp_path


def program(folder: Path, mode: str, name: str = "server", **more: object) -> Program:
    environment = {**os.environ, "PYTHONPATH": f"{folder}"}
    return Program(name, "stand_in", (mode, str(folder / f"{name}.diary")), environment=environment, **more)  # type: ignore[arg-type]


def diary(folder: Path, name: str = "server") -> list[list[str]]:
    path = folder / f"{name}.diary"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[int]]:
    ready = asyncio.Event()

    async def set_ready() -> None:
        ready.set()

    task = asyncio.create_task(supervisor.run(set_ready))
    await asyncio.wait({asyncio.create_task(ready.wait()), task}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield task
    finally:
        supervisor.stop()
        supervisor.stop()
        await asyncio.wait({task})


async def until(found: object, timeout_seconds: float = 20) -> None:
    """Waits for a fact that another process makes true."""
    async with asyncio.timeout(timeout_seconds):
        while not found():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def never() -> None:
    pytest.fail("ready was announced")


async def test_an_announcement_that_fails_leaves_nothing_running(folder: Path) -> None:
    """Guards against children that outlive a supervisor whose stdout was closed."""

    async def announce() -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await Supervisor([program(folder, "good")], say=print).run(announce)
    with pytest.raises(ProcessLookupError):
        os.kill(int(diary(folder)[0][1]), 0)


async def test_stopping_lets_children_end_and_exits_clean(folder: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor([program(folder, "good")], say=said.append)
    async with running(supervisor) as task:
        supervisor.stop()
        assert await task == 0
    assert said == []


async def test_children_live_in_sessions_of_their_own(folder: Path) -> None:
    """Guards against Ctrl-C reaching a child twice: once from the terminal, once from the supervisor."""
    async with running(Supervisor([program(folder, "good")], say=print)):
        ((_, pid, session),) = diary(folder)
        assert pid == session != str(os.getsid(0))


async def test_a_killed_child_is_started_again(folder: Path) -> None:
    said: list[str] = []
    async with running(Supervisor([program(folder, "good")], say=said.append)):
        os.kill(int(diary(folder)[0][1]), signal.SIGKILL)
        await until(lambda: len(diary(folder)) == 2)
    assert said == ["server ended (killed by SIGKILL); starting it again now"]


async def test_a_child_that_dies_before_it_answers_ends_the_start(folder: Path) -> None:
    supervisor = Supervisor([program(folder, "good"), program(folder, "dies", "broken")], say=print)
    with pytest.raises(StartFailed, match=r"broken did not start \(exit status 3\)"):
        await supervisor.run(never)


async def test_a_silent_child_ends_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_SECONDS_MAX", 0.3)
    with pytest.raises(StartFailed, match="server: no answer within"):
        await Supervisor([program(folder, "mute")], say=print).run(never)


async def test_a_child_deaf_to_sigterm_is_killed_after_its_grace(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "HURRY_SECONDS", 0.1)
    said: list[str] = []
    supervisor = Supervisor([program(folder, "deaf", grace_seconds=0.2)], say=said.append)
    async with running(supervisor) as task:
        supervisor.stop()
        assert await task == 1
    assert said == ["server did not stop in time and was killed"]


async def test_a_second_signal_does_not_wait_for_the_grace(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "HURRY_SECONDS", 0.1)
    supervisor = Supervisor([program(folder, "deaf", grace_seconds=1000)], say=print)
    async with running(supervisor) as task:
        supervisor.stop()
        supervisor.stop()
        assert await task == 0


async def test_stages_stop_one_after_another(folder: Path) -> None:
    """Guards against the poster ending before the workers have written their last records."""
    workers = program(folder, "deaf", "worker", grace_seconds=0.2, stage=0)
    poster = program(folder, "good", "poster", stage=1)
    supervisor = Supervisor([poster, workers], say=print)
    async with running(supervisor) as task:
        supervisor.stop()
        worker = int(diary(folder, "worker")[0][1])
        poster_pid = int(diary(folder, "poster")[0][1])
        os.kill(poster_pid, 0)  # still there: raises otherwise
        os.kill(worker, 0)
        await asyncio.sleep(0)
        os.kill(worker, signal.SIGKILL)
        assert await task == 0


DRIVER = """
import asyncio, os, sys
from admin.processes import Program, Supervisor
from pathlib import Path
folder = sys.argv[1]
environment = {**os.environ, "PYTHONPATH": folder}
program = Program("server", "stand_in", ("good", f"{folder}/server.diary"), environment=environment)
print(os.getpid(), flush=True)
async def announce():
    print("ready", flush=True)
status = asyncio.run(Supervisor([program], say=print).run(announce))
sys.exit(status)
"""


def drive(folder: Path) -> subprocess.Popen[str]:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert driver.stdout is not None
    assert int(driver.stdout.readline()) == driver.pid
    assert driver.stdout.readline() == "ready\n"
    return driver


async def test_children_end_when_the_supervisor_is_killed(folder: Path) -> None:
    """Guards against orphans that keep the port after kill -9."""
    driver = drive(folder)
    driver.kill()
    driver.wait()
    driver.stdout.close()  # type: ignore[union-attr]
    await until(lambda: [line[0] for line in diary(folder)] == ["started", "orphaned"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_status_0(folder: Path, number: signal.Signals) -> None:
    driver = drive(folder)
    os.killpg(driver.pid, number)  # as a terminal does: to the whole group
    assert driver.wait(timeout=20) == 0
    driver.stdout.close()  # type: ignore[union-attr]
    assert [line[0] for line in diary(folder)] == ["started"]
