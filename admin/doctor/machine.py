"""The machine: what time it has, and how many files a process may open."""

import re
from pathlib import Path
from typing import Final

from admin.doctor.finding import Check, Tell, note, ok, wrong
from admin.times import format_instant

EARLIEST_CLOCK_US: Final = 1_735_689_600_000_000
"""2025-01-01: a clock before the software was written is wrong, and would date usage into the past."""
_LIMIT: Final = re.compile(r"^Max open files\s+\S+\s+(\d+|unlimited)", re.MULTILINE)


def look_at_clock(now_us: int, tell: Tell) -> None:
    """Whether the clock can be right at all; others' are compared with it where they are asked."""
    told = f"it says {format_instant(now_us)[:19]}Z"
    if now_us < EARLIEST_CLOCK_US:
        tell(wrong(Check.CLOCK, told, "set it (`timedatectl set-ntp true`): usage is dated by it"))
    else:
        tell(ok(Check.CLOCK, told))


def hard_limit_of(pid: int | None) -> int | None:
    """How many files a process may open at most; None where that cannot be told."""
    try:
        found = _LIMIT.search(Path(f"/proc/{pid}/limits").read_text())
    except OSError:
        return None
    return int(found[1]) if found and found[1] != "unlimited" else None


def look_at_open_files(files: int, shortage: str | None, whose: str, tell: Tell) -> None:
    """Whether they are enough for the calls that a worker can carry; `shortage` says for how many."""
    if shortage is None:
        tell(ok(Check.OPEN_FILES, f"{files:,} are enough ({whose})"))
        return
    fact, _, do = shortage.partition(": ")
    tell(note(Check.OPEN_FILES, f"{fact} ({whose})", do))
