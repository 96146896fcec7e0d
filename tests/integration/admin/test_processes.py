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

from admin import child, processes
from admin.child import Program, StartFailed
from admin.processes import ReloadRefused, Supervisor

ROOT = Path(__file__).parents[3]

CHILD = '''
"""A stand-in for a server: writes its pid, says ready, stops on SIGTERM or when its supervisor is gone."""
import os, signal, sys, threading

mode, diary = sys.argv[1], sys.argv[2]

def note(word):
    with open(diary, "a") as file:
        file.write(f"{word} {os.getpid()} {os.getsid(0)}\\n")

def stop(*_):
    note("told")
    if mode != "slow":
        os._exit(0)

signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "deaf" else stop)
signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))

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
    monkeypatch.setattr(child, "HURRY_SECONDS", 0.1)
    said: list[str] = []
    supervisor = Supervisor([program(folder, "deaf", grace_seconds=0.2)], say=said.append)
    async with running(supervisor) as task:
        supervisor.stop()
        assert await task == 1
    assert said == ["server did not stop in time and was killed"]


async def test_a_child_that_is_just_being_started_is_ended_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against an end that is told while there is no process yet, and one that ignores SIGTERM then: a
    stop would wait for it for ever.
    """
    monkeypatch.setattr(child, "HURRY_SECONDS", 0.1)
    reading, writing = os.pipe()
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a child inherits that
    try:
        one = child.Child(
            program(folder, "deaf", grace_seconds=0.1),
            life_fd=reading,
            hurry=asyncio.Event(),
            say=lambda _: None,
        )
        await asyncio.sleep(0)  # it begins to start
        assert not await asyncio.wait_for(one.end(), timeout=20), "it had to be killed"
        assert one.task.done()
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(reading)
        os.close(writing)


async def test_a_second_signal_does_not_wait_for_the_grace(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "HURRY_SECONDS", 0.1)
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
from admin.child import Program
from admin.processes import Supervisor
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
    assert [line[0] for line in diary(folder)] == ["started", "told"]


async def test_a_renewal_starts_the_successor_before_the_old_one_ends(folder: Path) -> None:
    """Guards against a moment without a server, and against renewing what must not run twice at a time."""
    said: list[str] = []
    ahead = program(folder, "good", "ahead", overlaps=True)
    behind = program(folder, "good", "behind")
    supervisor = Supervisor([ahead, behind], say=said.append, renew=lambda: [ahead, behind])
    async with running(supervisor) as task:
        before = [int(diary(folder, name)[0][1]) for name in ("ahead", "behind")]
        supervisor.reload()
        await until(lambda: "reloaded" in said)
        for old in before:
            with pytest.raises(ProcessLookupError):
                os.kill(old, 0)
        words = {name: [line[0] for line in diary(folder, name)] for name in ("ahead", "behind")}
        assert words == {"ahead": ["started", "started", "told"], "behind": ["started", "told", "started"]}
        supervisor.stop()
        assert await task == 0


async def test_a_successor_that_does_not_start_leaves_the_old_one_alone(folder: Path) -> None:
    """Guards against a mistake in the settings that takes the service down."""
    said: list[str] = []
    server = program(folder, "good", overlaps=True)
    broken = program(folder, "dies", overlaps=True)
    supervisor = Supervisor([server], say=said.append, renew=lambda: [broken])
    async with running(supervisor) as task:
        for _ in range(2):
            said.clear()
            supervisor.reload()
            await until(lambda: len(said) == 2)
            assert said[0] == "server: the new one did not start" and said[1].startswith("not reloaded")
        ((_, pid, _),) = diary(folder)
        os.kill(int(pid), 0)
        supervisor.stop()
        assert await task == 0


async def test_a_renewal_that_is_refused_changes_nothing(folder: Path) -> None:
    def refuse() -> list[Program]:
        raise ReloadRefused("METERGATE_PORT changed, which needs a restart")

    said: list[str] = []
    supervisor = Supervisor([program(folder, "good")], say=said.append, renew=refuse)
    async with running(supervisor) as task:
        supervisor.reload()
        await until(lambda: said)
        assert said == [
            "not reloaded, everything goes on as before: METERGATE_PORT changed, which needs a restart"
        ]
        assert len(diary(folder)) == 1
        supervisor.stop()
        assert await task == 0


async def test_a_stop_amid_a_renewal_stops_old_and_new(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a process that is left behind, or told twice to stop, which would cut its calls."""
    monkeypatch.setattr(child, "HURRY_SECONDS", 0.1)
    server = program(folder, "slow", overlaps=True, grace_seconds=20)
    supervisor = Supervisor([server], say=print, renew=lambda: [server])
    async with running(supervisor) as task:
        supervisor.reload()
        await until(lambda: [line[0] for line in diary(folder)].count("told") == 1)  # the old one drains
        supervisor.stop()
        await until(lambda: [line[0] for line in diary(folder)].count("told") == 2)  # and the new one
        for _, pid, _ in diary(folder)[:2]:
            os.kill(int(pid), signal.SIGUSR1)
        assert await task == 0
    assert sorted(line[0] for line in diary(folder)) == ["started", "started", "told", "told"]
