"""How many calls a worker can have in flight, and whether the system lets it open the files that takes.

Owns the numbers and what is said of them. Must not know what a call is. Standard library only: a start asks.
"""

import resource
from typing import Final

CALLS_MAX: Final = 16_384
"""Of one worker: more calls at once than a core can carry. Each has a place in the flight recorder."""

_FILES_OF_A_CALL: Final = 2
"""The client's connection and the engine's."""

_FILES_BESIDE: Final = 512
"""The database, the journal, and connections that wait for their next call."""

FILES_ENOUGH: Final = CALLS_MAX * _FILES_OF_A_CALL + _FILES_BESIDE


def files_max() -> int:
    """How many files a worker may have open: it raises its own limit as far as the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FILES_ENOUGH if hard == resource.RLIM_INFINITY else hard


def shortage(files: int) -> str | None:
    """What to say where a worker may have `files` open; None where more would be of no use to it."""
    if files >= FILES_ENOUGH:
        return None
    calls = max(0, files - _FILES_BESIDE) // _FILES_OF_A_CALL
    return (
        f"a process may have {files:,} files open, which is {calls:,} calls at once in each worker, not "
        f"{CALLS_MAX:,}: raise the hard limit to {FILES_ENOUGH:,} (ulimit -Hn, or LimitNOFILE=)"
    )
