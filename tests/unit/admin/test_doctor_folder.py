"""The data folder, broken in every way that a test can."""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from admin.data_folder import prepare
from admin.doctor import folder, told
from admin.doctor.finding import Check, Finding, State, Tell
from admin.forked import in_fork
from admin.kept_settings import Kept
from ledger.settings import LedgerSettings

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


def looked(look: Callable[[Tell], None]) -> list[Finding]:
    found: list[Finding] = []
    look(found.append)
    return found


def one(look: Callable[[Tell], None]) -> Finding:
    (finding,) = looked(look)
    return finding


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as a start leaves it."""
    path = tmp_path / "data"
    prepare(path)
    for name in ("secret.key", "first-run.json", "metergate.db", "metergate.db-wal"):
        (path / name).touch(0o600)
    (path / "journal" / "worker-0").mkdir(parents=True)
    return path


def test_a_folder_that_is_well_is_ok(data: Path) -> None:
    assert one(partial(folder.look_at_folder, data)).state is State.OK
    assert one(partial(folder.look_at_space, data, 1 << 20)).check is Check.DISK_SPACE
    assert one(partial(folder.look_at_modes, data, data / "metergate.db")).state is State.OK
    assert one(partial(folder.look_at_owners, data)).state is State.OK
    assert not [path for path in data.iterdir() if path.name.startswith(".doctor")]


def test_a_missing_folder_is_told_and_not_made(tmp_path: Path) -> None:
    """Guards against a doctor that makes a data folder in whatever directory it is called."""
    finding = one(partial(folder.look_at_folder, tmp_path / "none"))
    assert finding.state is State.NOTE and "METERGATE_DATA_DIR" in finding.do
    assert not (tmp_path / "none").exists()


def test_a_file_in_its_place_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert one(partial(folder.look_at_folder, tmp_path / "data")).state is State.WRONG


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_folder_that_others_can_write_in_is_wrong(data: Path, mode: int) -> None:
    """Guards against whoever can put a secret.key of their own there."""
    data.chmod(mode)
    finding = one(partial(folder.look_at_folder, data))
    assert finding.state is State.WRONG and f"chmod 700 {data}" in finding.do


def test_too_little_room_is_wrong_and_nearly_too_little_a_note(data: Path) -> None:
    """Guards against an operator who learns of a full disk by 503s."""
    disk = os.statvfs(data)
    free = disk.f_bavail * disk.f_frsize
    assert one(partial(folder.look_at_space, data, 2 * free)).state is State.WRONG
    assert one(partial(folder.look_at_space, data, free * 2 // 3)).state is State.NOTE


@pytest.mark.parametrize("name", ["secret.key", "first-run.json"])
def test_a_secret_that_others_can_read_is_wrong(data: Path, name: str) -> None:
    """Guards against keys that every user of the machine has had since somebody copied them with cp."""
    (data / name).chmod(0o640)
    finding = one(partial(folder.look_at_modes, data, data / "metergate.db"))
    assert finding.state is State.WRONG and f"chmod 600 {data / name}" in finding.do


@pytest.mark.parametrize("name", ["metergate.db", "metergate.db-wal", "journal"])
def test_a_ledger_that_others_can_reach_and_read_is_wrong(data: Path, name: str) -> None:
    """Guards against a book that every user can read; behind a closed folder nobody can."""
    look = partial(folder.look_at_modes, data, data / "metergate.db")
    (data / name).chmod(0o755)
    data.chmod(0o755)
    finding = one(look)
    assert finding.state is State.WRONG and f"chmod 700 {data}" in finding.do and name in finding.fact
    data.chmod(0o700)
    assert one(look).state is State.OK


@as_root
@pytest.mark.parametrize("name", ["metergate.db-wal", "journal/worker-0"])
def test_files_of_another_owner_are_wrong(data: Path, name: str) -> None:
    """Guards against the command that root ran, whose files the service cannot write."""
    os.chown(data / name, NOBODY, -1)
    finding = one(partial(folder.look_at_owners, data))
    assert finding.state is State.WRONG and name in finding.fact and "chown" in finding.do


@as_root
def test_a_folder_of_another_user_is_a_note_to_root(data: Path) -> None:
    os.chown(data, NOBODY, -1)
    assert one(partial(folder.look_at_folder, data)).state is State.NOTE


@as_root
def test_a_folder_that_cannot_be_written_is_wrong() -> None:
    """Guards against a look at modes, where only writing tells. Root writes everywhere, so nobody looks."""
    with tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o755)

        def look_as_nobody() -> dict[str, str]:
            os.setuid(NOBODY)
            finding = one(partial(folder.look_at_folder, Path(shared)))
            return {"state": finding.state, "fact": finding.fact}

        told_of = in_fork(look_as_nobody, expected=lambda _: None)
    assert told_of["state"] == "wrong" and "Permission denied" in told_of["fact"]


def test_secrets_in_a_file_that_others_can_read_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a password in a metergate.toml of mode 0644; which it is, is not said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METERGATE_CONFIG", raising=False)
    look = partial(told.look_at_file, (LedgerSettings,))
    assert one(look).state is State.OK
    file = tmp_path / "metergate.toml"
    for line, name in (
        ('secret_key = "correct horse battery"', "METERGATE_SECRET_KEY"),
        ('METERGATE_DATABASE_URL = "postgresql://me:correct@host/db"', "METERGATE_DATABASE_URL"),
    ):
        file.write_text(line)
        file.chmod(0o644)
        finding = one(look)
        assert finding.state is State.WRONG and name in finding.fact and "correct" not in str(finding)
        file.chmod(0o600)
        assert one(look).state is State.OK
    file.write_text('database_url = "postgresql://host/db"')
    file.chmod(0o644)
    assert one(look).state is State.OK


def test_roles_that_have_not_one_ledger_are_wrong() -> None:
    """Guards against a proxy that posts to one ledger while everybody looks at another."""
    roles = {
        name: told.Role(name, 1, Kept({"database_url": f"sqlite:///{name}.db"}))
        for name in ("proxy", "admin")
    }
    finding = one(partial(told.look_at_running, roles, []))
    assert finding.state is State.WRONG and "2" in finding.fact
