"""The floor programs against the real engine: a yardstick that loses bytes measures nothing."""

from __future__ import annotations

import http.client

import pytest

from bench import wire
from bench.edges import floors
from bench.engine_process import Engine
from bench.processes import choose_cores
from bench.running import running
from bench.subjects import Subject

FLOORS = [make for make in floors.SUBJECTS if make.__module__ == floors.__name__]


@pytest.mark.parametrize("make", FLOORS)
def test_a_floor_passes_answers_and_streams_on_whole(make: type[Subject]) -> None:
    """On one connection, so that an answer that runs into the next is noticed."""
    cores = choose_cores()
    engine = Engine(cores.engine)
    try:
        with running(make, engine, cores) as (subject, _):
            connection = http.client.HTTPConnection(subject.url.removeprefix("http://"), timeout=20)
            for want in (wire.Wanted("unary", 24), wire.Wanted("burst", 50), wire.Wanted("unary", 24)):
                connection.request("POST", wire.CHAT_PATH, wire.request_body(want))
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200
                if want.kind == "burst":
                    assert body.count(b"\n\n") == wire.events_of(50, usage_event=True)
                    assert body.endswith(b"data: [DONE]\n\n")
                else:
                    assert wire.unary_response().endswith(b"\r\n\r\n" + body)
            connection.close()
    finally:
        engine.stop()
