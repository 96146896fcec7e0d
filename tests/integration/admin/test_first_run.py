"""The first start's keys: made once, never lost, whatever crashes between the ledger and the file."""

import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from admin import first_run
from admin.first_run_file import FILE_NAME, FirstRun, draft_of, read, write
from ledger import admin_keys, keys, tenancy
from ledger.database import Database
from ledger.places import Cut

PEPPER = b"p" * 32
URLS = {"base_url": "http://127.0.0.1:8080/v1", "admin_url": "http://127.0.0.1:8081"}


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    opened = Database(sqlite_url)
    yield opened
    await opened.close()


async def ensure(database: Database, folder: Path, **urls: str) -> FirstRun | None:
    return await first_run.ensure(database, PEPPER, folder, now_us=1, **(URLS | urls))


async def test_a_new_ledger_gets_keys_that_work(database: Database, tmp_path: Path) -> None:
    made = await ensure(database, tmp_path)
    assert made is not None
    assert read(tmp_path / FILE_NAME) == made
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    async with database.read() as session:
        assert await admin_keys.find_admin_key(session, keys.digest(PEPPER, made.admin_key), 1) is not None
        (key,) = (await tenancy.page_api_keys(session, Cut(10))).rows
    assert key.digest == keys.digest(PEPPER, made.api_key)
    assert (key.tenant_id, key.project_id) == (made.tenant_id, made.project_id)


async def test_the_second_time_nothing_is_made_and_the_urls_follow(
    database: Database, tmp_path: Path
) -> None:
    made = await ensure(database, tmp_path)
    assert await ensure(database, tmp_path, base_url="http://127.0.0.1:9090/v1") is None
    kept = read(tmp_path / FILE_NAME)
    assert made is not None
    assert kept is not None
    assert (kept.api_key, kept.base_url) == (made.api_key, "http://127.0.0.1:9090/v1")


async def test_a_crash_before_the_commit_leaves_nothing_that_counts(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a file with keys that the ledger has never heard of."""

    def crash(path: Path, content: FirstRun) -> None:
        write(path, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(first_run, "write", crash)
        await ensure(database, tmp_path)
    lost = read(draft_of(tmp_path / FILE_NAME))
    made = await ensure(database, tmp_path)
    assert made is not None
    assert lost is not None
    assert made.admin_key != lost.admin_key
    assert read(tmp_path / FILE_NAME) == made
    async with database.read() as session:
        assert len(await tenancy.list_tenants(session)) == 1


async def test_a_crash_after_the_commit_does_not_lose_the_keys(database: Database, tmp_path: Path) -> None:
    """Guards against a ledger whose only admin key nobody was told."""
    made = await ensure(database, tmp_path)
    path = tmp_path / FILE_NAME
    path.rename(draft_of(path))  # what a crash before the rename leaves
    assert await ensure(database, tmp_path) == made
    assert read(path) == made
    assert not draft_of(path).exists()


async def test_a_ledger_in_use_gets_no_new_keys_when_the_file_is_gone(
    database: Database, tmp_path: Path
) -> None:
    await ensure(database, tmp_path)
    (tmp_path / FILE_NAME).unlink()
    assert await ensure(database, tmp_path) is None
    assert not (tmp_path / FILE_NAME).exists()


async def test_a_file_that_somebody_made_his_own_is_left_alone(database: Database, tmp_path: Path) -> None:
    await ensure(database, tmp_path)
    (tmp_path / FILE_NAME).write_text(json.dumps({"note": "moved to the vault"}))
    assert await ensure(database, tmp_path) is None
    assert json.loads((tmp_path / FILE_NAME).read_text()) == {"note": "moved to the vault"}
