"""A process's lines to its supervisor."""

import os
import threading

import pytest

from ledger import lifeline


def test_a_thread_sees_the_supervisor_end_on_a_pipe_that_another_process_made_non_blocking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restarted metrics page read such a pipe: a traceback, and nobody left to notice the end."""
    life, supervisor = os.pipe()
    os.set_blocking(life, False)
    monkeypatch.setenv(lifeline.LIFE_NAME, str(life))
    ended = threading.Event()
    lifeline.on_end_of_supervisor_in_thread(ended.set)
    assert not ended.wait(0.05)
    os.close(supervisor)
    assert ended.wait(10)
    os.close(life)


def test_a_supervisor_that_was_killed_meanwhile_is_no_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was just starting fell over it: it had calls already, and tore down under them."""
    supervisor, ready = os.pipe()
    os.close(supervisor)
    monkeypatch.setenv(lifeline.READY_NAME, str(ready))
    lifeline.say_ready()
    with pytest.raises(OSError):
        os.fstat(ready)  # closed all the same
