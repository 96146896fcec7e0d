"""Kept segments: where they go, and when they go away."""

import os
from pathlib import Path

from ledger.journal import kept
from ledger.journal.segments import journal_root, segment_path, worker_folder

NOW_S = 1_800_000_000.0


def segment(folder: Path, number: int, text: str, age_s: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = segment_path(folder, number)
    path.write_text(text)
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    return path


def all_kept(data: Path) -> list[str]:
    return sorted(path.read_text() for folder in kept.kept_folders(data) for path in folder.iterdir())


def test_a_kept_segment_is_no_waiting_one(tmp_path: Path) -> None:
    folder = worker_folder(tmp_path, 0)
    path = segment(folder, 7, "seven", age_s=100)
    kept.keep(tmp_path, folder, 7)
    kept.keep(tmp_path, folder, 8)  # gone already: nothing
    assert not path.exists() and all_kept(tmp_path) == ["seven"]
    assert segment_path(journal_root(tmp_path) / "kept" / "worker-0", 7).stat().st_mtime == NOW_S - 100


def test_no_kept_segment_takes_the_place_of_another(tmp_path: Path) -> None:
    """Guards against records lost where a journal folder was removed by hand, so that numbers begin anew."""
    folder = worker_folder(tmp_path, 0)
    for text in ("first", "second", "third"):
        segment(folder, 1, text)
        kept.keep(tmp_path, folder, 1)
    assert all_kept(tmp_path) == ["first", "second", "third"]


def test_old_ones_go_and_the_oldest_go_first_where_the_disk_is_short(tmp_path: Path) -> None:
    """Guards against a disk that fills up with what is posted, until calls are refused."""
    for age_s in (10, 50, 30, 70):
        folder = worker_folder(tmp_path, age_s)
        segment(folder, 1, f"{age_s}", age_s)
        kept.keep(tmp_path, folder, 1)
    assert kept.thin(tmp_path, 60, NOW_S, free_bytes_min=0) == 1
    assert all_kept(tmp_path) == ["10", "30", "50"]
    assert kept.thin(tmp_path, 60, NOW_S, free_bytes_min=0) == 0
    assert kept.thin(tmp_path, 60, NOW_S, free_bytes_min=2**62) == 3
    assert all_kept(tmp_path) == [] and kept.thin(tmp_path, 60, NOW_S) == 0
