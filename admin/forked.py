"""Work in a forked child: what it imports and allocates is gone with it, so that the supervisor stays
small.
"""

import json
import os
import traceback
from collections.abc import Callable
from typing import Any


class ForkFailed(Exception):
    """The work raised something nobody expected; the message is its traceback."""


def in_fork(work: Callable[[], Any], *, expected: Callable[[Exception], str | None]) -> Any:
    """Runs `work` in a fork and returns its (JSON) result.

    `expected` gives the operator's words for a fault it knows, which is raised here as a Refusal; any other
    fault is a ForkFailed. Call it before there are threads.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _answer(writing, work, expected)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not answer:
        raise ForkFailed(f"the process ended with status {os.waitstatus_to_exitcode(status)}")
    outcome = json.loads(answer)
    if "refusal" in outcome:
        raise Refusal(outcome["refusal"])
    if "failure" in outcome:
        raise ForkFailed(outcome["failure"])
    return outcome["result"]


class Refusal(Exception):
    """An expected fault of the work, in the operator's words."""


def _answer(writing: int, work: Callable[[], Any], expected: Callable[[Exception], str | None]) -> None:
    """The child's whole life; never returns."""
    outcome: dict[str, Any]
    try:
        outcome = {"result": work()}
    except Exception as fault:
        words = expected(fault)
        outcome = {"failure": traceback.format_exc()} if words is None else {"refusal": words}
    except BaseException:  # Ctrl-C reaches the parent too
        os._exit(130)
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(outcome).encode())
    os._exit(0)
