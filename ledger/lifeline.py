"""A process's two lines to its supervisor: `ready`, and the supervisor's life.

The supervisor hands each child two pipes by number: the child writes to METERGATE_READY_FD once it answers,
and METERGATE_LIFE_FD reaches its end when the supervisor is gone, however it went. Without the variables both
are nobody's, and nothing happens.
"""

import asyncio
import os
from collections.abc import Callable

READY_NAME = "METERGATE_READY_FD"
LIFE_NAME = "METERGATE_LIFE_FD"


def say_ready() -> None:
    """Tells the supervisor that this process answers. Says it once; later calls do nothing."""
    descriptor = os.environ.pop(READY_NAME, None)
    if descriptor is not None:
        os.write(int(descriptor), b"ready\n")
        os.close(int(descriptor))


def on_end_of_supervisor(stop: Callable[[], None]) -> None:
    """Calls `stop`, in the running loop, when the supervisor is gone."""
    descriptor = os.environ.get(LIFE_NAME)
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    life = int(descriptor)

    def gone() -> None:
        loop.remove_reader(life)
        stop()

    loop.add_reader(life, gone)
