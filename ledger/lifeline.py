"""A process's two lines to its supervisor: `ready`, and the supervisor's life.

The supervisor hands each child two pipes by number: the child writes to METERGATE_READY_FD once it answers,
and METERGATE_LIFE_FD reaches its end when the supervisor is gone, however it went. Without the variables both
are nobody's, and nothing happens. Standard library only: every process begins with it.
"""

import asyncio
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

READY_NAME = "METERGATE_READY_FD"
LIFE_NAME = "METERGATE_LIFE_FD"


def say_ready() -> None:
    """Tells the supervisor that this process answers. Says it once; later calls do nothing.

    A supervisor that was killed meanwhile hears nothing; its end is told by the other line.
    """
    descriptor = os.environ.pop(READY_NAME, None)
    if descriptor is not None:
        with suppress(BrokenPipeError):
            os.write(int(descriptor), b"ready\n")
        os.close(int(descriptor))


def on_end_of_supervisor(stop: Callable[[], None]) -> None:
    """Calls `stop`, in the running loop, when the supervisor is gone."""
    life = _life()
    if life is None:
        return
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(life)
        stop()

    loop.add_reader(life, gone)


def on_end_of_supervisor_in_thread(stop: Callable[[], None]) -> None:
    """The same for a process without an event loop: `stop` is called from a thread of its own."""
    life = _life()
    if life is None:
        return

    def watch() -> None:
        # Not read: uvloop, in another child, makes the pipe that all of them share non-blocking.
        select.select([life], [], [])  # nothing is ever written there: readable means ended
        stop()

    threading.Thread(target=watch, daemon=True).start()


def _life() -> int | None:
    descriptor = os.environ.get(LIFE_NAME)
    return None if descriptor is None else int(descriptor)
