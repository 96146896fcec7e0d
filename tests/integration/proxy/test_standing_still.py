"""A worker that gets no processor for a while: when it goes on, all that has happened is there at once."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.engines import Engine
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import Gate, stream_body
from tests.integration.proxy.wire import events

GAP_S = 1.0


@pytest.fixture
def impatient_gate(new_gate: NewGate, calm_engine: Engine) -> Gate:
    return new_gate(calm_engine.url, gap_timeout_seconds=str(GAP_S))


@contextmanager
def standing_still(gate: Gate) -> Iterator[None]:
    """The worker stands still meanwhile."""
    gate.worker.popen.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        gate.worker.popen.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("leaves", [False, True])
def test_what_waits_is_read_before_an_engine_is_given_up(
    impatient_gate: Gate, calm_engine: Engine, leaves: bool
) -> None:
    """Guards against an answer that is broken off, and tokens that nobody pays, because a worker looked at
    the clock before it read what had come.
    """
    with impatient_gate.wire() as wire:
        wire.send(impatient_gate.request(stream_body(max_tokens=60)))
        assert wire.answer_head() == 200
        wire.chunk()
        with standing_still(impatient_gate):
            calm_engine.settled_totals()
            time.sleep(1.5 * GAP_S)
            if leaves:
                wire.close()
        if not leaves:
            assert events(wire.rest())[-1] == "[DONE]"
    row = impatient_gate.row(wire.request_id)
    assert row["ending"] in ("finished", "client_left" if leaves else "finished")
    assert row["usage_source"] == "final" and row["completion_tokens"] == 60


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_in_the_moment_its_answer_begins_pays_all_of_it(
    impatient_gate: Gate, calm_engine: Engine, reset: bool
) -> None:
    """Guards against an answer that begins on a connection that has just broken, and then is not to be
    continued: a traceback that any client can cause, and tokens that nobody pays.
    """
    calm_engine.set_faults({"first_token_delay_ms": 200})
    with impatient_gate.wire() as wire:
        known = {call["id"] for call in calm_engine.calls()}
        wire.send(impatient_gate.request(stream_body()))

        def begun(tokens: int) -> str | None:
            """The call's request id, once the engine has made so many tokens of it."""
            calls = [call for call in calm_engine.calls() if call["id"] not in known]
            return calls[0]["request_id"] if calls and calls[0]["generated_tokens"] >= tokens else None

        calm_engine.wait_for(lambda: begun(0), "the call to reach the engine")
        with standing_still(impatient_gate):
            request_id = calm_engine.wait_for(lambda: begun(5), "the first tokens")
            wire.reset() if reset else wire.close()
    row, account = impatient_gate.row(request_id), calm_engine.call(request_id)
    assert (row["ending"], row["usage_source"]) == ("client_left", "running")
    assert row["completion_tokens"] == account["generated_tokens"]
