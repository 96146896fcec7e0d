"""Importing much for one short command: without what only costs time.

What is imported stays. To look for garbage in it, meanwhile, later and once more when Python ends, is a third
of the time that such a command takes: it is frozen. FastAPI asks of each parameter whether it is a model
of pydantic's version 1, and imports that to know; there are none here, and where it cannot be imported the
answer is no, too.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_OLD_MODELS: Final = "pydantic.v1"


@contextmanager
def quickly() -> Iterator[None]:
    """For the imports and the first calls inside."""
    was_enabled, is_needed = gc.isenabled(), _OLD_MODELS in sys.modules
    gc.disable()
    if not is_needed:
        sys.modules[_OLD_MODELS] = None  # type: ignore[assignment]  # Python's own way to say: not there
    try:
        yield
    finally:
        if not is_needed:
            del sys.modules[_OLD_MODELS]
        gc.freeze()
        if was_enabled:
            gc.enable()
