"""Kept segments: what is posted already, kept for a while, so that a restored ledger can be given it again.

A backup is older than the ledger that it replaces. What was posted in between is in no journal any more,
unless its segments were kept: they lie in `journal/kept/worker-K/`, where nobody counts them as waiting.

They are the first to go: after their time, and as soon as the disk has less than FREE_BYTES_MIN. A segment's
age is that of its last record. Reading them again is `ledger.repost`'s.
"""

import logging
import os
import time
from pathlib import Path
from typing import Final

from ledger.journal.segments import FOLDER_PREFIX, journal_root, segment_numbers, segment_path

logger = logging.getLogger(__name__)

FREE_BYTES_MIN: Final = 1024 * 1024 * 1024
"""Well above what the journals themselves need to take calls (writer.FREE_BYTES_MIN)."""


def kept_root(data_dir: Path) -> Path:
    """Where kept segments are."""
    return journal_root(data_dir) / "kept"


def kept_folders(data_dir: Path) -> list[Path]:
    """The folders that have some."""
    try:
        return sorted(path for path in kept_root(data_dir).iterdir() if path.name.startswith(FOLDER_PREFIX))
    except FileNotFoundError:
        return []


def keep(data_dir: Path, folder: Path, number: int) -> None:
    """Keep a segment that is wholly posted; nothing where it is gone."""
    place = kept_root(data_dir) / folder.name
    if segment_path(place, number).exists():  # numbers began anew: a journal folder was removed by hand
        place = place.with_name(f"{folder.name}-{time.time_ns()}")
    place.mkdir(parents=True, exist_ok=True)
    try:
        segment_path(folder, number).rename(segment_path(place, number))
    except FileNotFoundError:
        return


def thin(data_dir: Path, keep_s: float, now_s: float, free_bytes_min: int = FREE_BYTES_MIN) -> int:
    """Delete what is older than `keep_s`, and the oldest while the disk lacks room; how many segments."""
    found = []
    for folder in kept_folders(data_dir):
        for number in segment_numbers(folder):
            path = segment_path(folder, number)
            found.append((path.stat().st_mtime, path))
    found.sort()
    removed = short = 0
    for written_s, path in found:
        is_old = written_s < now_s - keep_s
        if not is_old and _free_bytes(path) >= free_bytes_min:
            break
        path.unlink()
        removed += 1
        short += not is_old
    if short:
        logger.warning("deleted %d kept segments before their time: the disk has little room", short)
    return removed


def _free_bytes(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize
