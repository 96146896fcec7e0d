"""Every fault that tests of the proxy rely on: it strikes as told, and the account says so."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.simulator import Fault, SimulatorConfig
from proxy.simulator.account_file import read_accounts
from race.processes import ROOT
from tests.engines import Engine, engine, engine_process, engine_thread, fast_engine
from tests.integration.simulator.test_simulator_streams import ENDLESS, HI, STREAM, connected

__all__ = ["engine", "fast_engine"]

TEN: dict[str, Any] = {**STREAM, "max_tokens": 10, "ignore_eos": True}


@pytest.mark.parametrize("pace", [0, 500])
@pytest.mark.parametrize("chunks", [0, 1, 4])
def test_dies_with_a_fin_after_so_many_chunks(pace: float, chunks: int) -> None:
    """An engine's death mid-stream: EOF without the last chunk."""
    fault = Fault(die_after_chunks=chunks)
    with (
        engine_thread(SimulatorConfig(tokens_per_second=pace, faults=(fault,))) as engine,
        connected(engine, TEN) as client,
    ):
        client.drain()
        assert len(client.chunks()) == chunks
        assert not client.raw.endswith(b"0\r\n\r\n")
        call = engine.call("one")
        assert (call["ended"], call["chunks_sent"]) == ("died", chunks)


def test_dies_with_a_rst(engine: Engine) -> None:
    """A host that is gone: the connection is reset, what was sent has arrived."""
    engine.set_faults(Fault(die_after_chunks=3, reset=True))
    with connected(engine, TEN) as client:
        with pytest.raises(ConnectionResetError):
            client.drain()
        assert len(client.chunks()) == 3
    assert engine.call("one")["ended"] == "died"


def test_dies_before_the_headers_so_many_times(fast_engine: Engine) -> None:
    """What a proxy retries elsewhere; `count` makes the next call succeed."""
    fast_engine.set_faults(Fault(die_before_headers=True, count=2))
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            fast_engine.client.post("/v1/chat/completions", json={"messages": HI})
    assert fast_engine.client.post("/v1/chat/completions", json={"messages": HI}).status_code == 200
    assert fast_engine.faults() == []


def test_hangs_until_the_client_leaves(fast_engine: Engine) -> None:
    """vLLM on SIGTERM: no bytes, no FIN; only a gap timeout helps."""
    fast_engine.set_faults(Fault(hang_after_chunks=3))
    with connected(fast_engine, TEN) as client:
        client.read_until(b'"completion_tokens":2,')
        client.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.drain()
        assert len(client.chunks()) == 3
        assert fast_engine.calls("one")[0]["ended"] == "hung"
    assert fast_engine.settled_totals()["ended"]["hung"] == 1


@pytest.mark.parametrize("pace", [0, 500])
@pytest.mark.parametrize("chunks", [1, 2])
def test_stalls_and_goes_on_without_loss(pace: float, chunks: int) -> None:
    """A stall is no death: every chunk comes, once."""
    fault = Fault(stall_after_chunks=chunks, stall_ms=50)
    with (
        engine_thread(SimulatorConfig(tokens_per_second=pace, faults=(fault,))) as engine,
        connected(engine, TEN) as client,
    ):
        client.read_until(b"[DONE]")
        counts = [event["usage"]["completion_tokens"] for event in client.events()]
        assert counts == [*range(11), 10]
        assert engine.call("one")["ended"] == "finished"


@pytest.mark.parametrize(
    "fault", [Fault(split_at_byte=1), Fault(split_seed=7), Fault(coalesce_events=4), Fault(split_at_byte=40)]
)
def test_cut_and_joined_writes_change_no_byte(fast_engine: Engine, fault: Fault) -> None:
    """Events come in any pieces; their bytes are the same but for id and time."""
    fast_engine.set_faults(fault)
    with connected(fast_engine, TEN) as client:
        client.read_until(b"0\r\n\r\n")
    fast_engine.set_faults()
    with connected(fast_engine, TEN) as plain:
        plain.read_until(b"0\r\n\r\n")
    for event in (*client.events(), *plain.events()):
        event.pop("created")
    assert client.events()[1]["choices"] == plain.events()[1]["choices"]
    assert [event["choices"] for event in client.events()] == [event["choices"] for event in plain.events()]
    assert client.chunks()[-1] == b"data: [DONE]\n\n"


def test_events_are_read_in_pieces_when_cut(engine: Engine) -> None:
    """The fault must really reach the wire: some read ends inside an event."""
    engine.set_faults(Fault(split_at_byte=40))
    with connected(engine, TEN) as client:
        ends = []
        while b"[DONE]" not in client.raw:
            client.raw += client.socket.recv(65536)
            if b"data: " in client.raw:
                ends.append(client.raw.endswith(b"\n\n\r\n"))
    assert not all(ends[:-1])


def test_an_engine_that_dies_behind_its_server_says_so_and_done(fast_engine: Engine) -> None:
    """[DONE] does not mean success: the error event comes before it, and no final usage."""
    fast_engine.set_faults(Fault(error_after_chunks=4))
    with connected(fast_engine, TEN) as client:
        client.read_until(b"0\r\n\r\n")
    *_, error, done = client.chunks()
    assert json.loads(error[6:])["error"]["code"] == 500
    assert error.startswith(b'data: {"error": {"message": "EngineCore encountered an issue.')
    assert done == b"data: [DONE]\n\n"
    assert client.events()[-2]["usage"]["completion_tokens"] == 3
    assert fast_engine.call("one")["ended"] == "errored"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(omit_done=True), [True, True, False]),
        (Fault(omit_usage=True), [False, False, True]),
        (Fault(omit_running_usage=True), [False, True, True]),
    ],
)
def test_leaves_out_what_it_is_told_to(fast_engine: Engine, fault: Fault, expected: list[bool]) -> None:
    """Engines without running counts, without usage, without [DONE] exist."""
    fast_engine.set_faults(fault)
    with connected(fast_engine, TEN) as client:
        client.read_until(b"0\r\n\r\n")
    running = any("usage" in event for event in client.events() if event["choices"])
    final = any("usage" in event for event in client.events() if not event["choices"])
    assert [running, final, b"[DONE]" in client.raw] == expected


def test_answers_with_the_status_and_body_it_is_told(fast_engine: Engine) -> None:
    """Any error of any engine or of something before it."""
    raw = json.dumps(
        {"status": 429, "body": {"oops": 1}, "headers": {"Retry-After": "3"}, "model": "simulated"}
    )
    fast_engine.client.put("/simulator/faults", content=raw).raise_for_status()
    other = fast_engine.client.post("/v1/chat/completions", json={"messages": HI, "max_tokens": 1})
    assert other.status_code == 200, "the body names no model: the fault is for one"
    hit = fast_engine.client.post("/v1/chat/completions", json={"messages": HI, "model": "simulated"})
    assert (hit.status_code, hit.json(), hit.headers["retry-after"]) == (429, {"oops": 1}, "3")
    fast_engine.set_faults(Fault(content_type="text/html", path="/v1/chat/completions"))
    wrong = fast_engine.client.post("/v1/chat/completions", json={"messages": HI, "max_tokens": 1})
    assert wrong.headers["content-type"] == "text/html"


def test_an_unknown_fault_is_refused(fast_engine: Engine) -> None:
    """A misspelled fault that does nothing would make a test pass for nothing."""
    refused = fast_engine.client.put("/simulator/faults", content=b'{"dies_after_chunks": 1}')
    assert refused.status_code == 400
    assert "dies_after_chunks" in refused.text


def test_delays_read_and_answer_no_sooner_than_told(fast_engine: Engine) -> None:
    """A slow reader of bodies and a slow answerer: what connect and first-byte timeouts are for."""
    fast_engine.set_faults(Fault(read_delay_ms=30, headers_delay_ms=30, count=1))
    begun = time.monotonic()
    assert fast_engine.client.post("/v1/chat/completions", json={"messages": HI}).status_code == 200
    assert time.monotonic() - begun >= 0.06


def test_stops_accepting_and_accepts_again(fast_engine: Engine) -> None:
    """A hung process: connections are made, and wait, until it accepts again on the same port."""
    fast_engine.stop_accepting()
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{fast_engine.url}/health", timeout=0.2)
    fast_engine.accept_again()
    assert httpx.get(f"{fast_engine.url}/health").status_code == 200
    fast_engine.stop_accepting(for_ms=50)
    assert httpx.get(f"{fast_engine.url}/health", timeout=20).status_code == 200


def test_keep_alive_comments_fill_a_silence() -> None:
    """--sse-keep-alive-interval: comments are events to no client, and bytes to every relay."""
    config = SimulatorConfig(
        tokens_per_second=0,
        sse_keep_alive_interval_ms=10,
        faults=(Fault(stall_after_chunks=2, stall_ms=100),),
    )
    with engine_thread(config) as engine, connected(engine, TEN) as client:
        client.read_until(b"[DONE]")
        assert b": keep-alive\n\n" in client.chunks()


def test_faults_of_the_command_line_and_a_graceful_stop() -> None:
    """`--fault` sets them from the start; SIGTERM lets a running stream end, then the process."""
    with engine_process(
        "--fault", '{"status": 500, "count": 1}', "--tokens-per-second", "200", "--model", "a", "--model", "b"
    ) as engine:
        assert engine.client.post("/v1/chat/completions", json={"messages": HI}).status_code == 500
        assert [model["id"] for model in engine.client.get("/v1/models").json()["data"]] == ["a", "b"]
        engine.client.close()
        with connected(engine, {**TEN, "max_tokens": 40}) as client:
            client.read_until(b"data: ")
            assert engine.process is not None
            engine.process.send_signal(signal.SIGTERM)
            client.read_until(b"[DONE]")
        assert engine.process.wait(20) == 0


def test_stops_when_the_process_that_started_it_is_gone() -> None:
    """An orphaned engine would keep its port and its memory: the life pipe's end stops it."""
    life, held = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy.simulator", "--port", "0"],
        cwd=ROOT,
        pass_fds=(life,),
        env={**os.environ, "METERGATE_LIFE_FD": str(life)},
        stdout=subprocess.PIPE,
    )
    os.close(life)
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline().startswith(b"simulated engine listening on http://127.0.0.1:")
        os.close(held)
        assert process.wait(20) == 0


def test_what_was_held_back_is_not_told(engine: Engine) -> None:
    """Guards against an account that calls sent what the client's leaving kept from going out."""
    engine.set_faults(Fault(coalesce_events=8))
    with connected(engine, TEN | {"max_tokens": 500}) as client:
        client.read_until(b'"completion_tokens":7,')
    account = engine.call("one")
    assert account["ended"] == "aborted"
    assert account["chunks_sent"] % 8 == 0  # the role and seven tokens, then eight tokens each
    assert account["chunks_sent"] - 1 <= account["generated_tokens"]


@pytest.mark.parametrize("fault", [Fault(split_seed=7), Fault(split_seed=7, coalesce_events=3)])
def test_half_an_event_is_not_told(engine: Engine, fault: Fault) -> None:
    """Guards against an account that calls sent an event whose second half came when nobody listened: the
    proxy in front would be short of a token that it never saw.
    """
    engine.set_faults(fault)
    names = [f"call-{number}" for number in range(60)]
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(engine, ENDLESS, name)) for name in names]
        for number, client in enumerate(clients):
            client.read_until(b'"completion_tokens":%d,' % (1 + number % 5))
            client.socket.shutdown(socket.SHUT_WR)
        for client in clients:
            client.drain()
    sent = [engine.call(name)["chunks_sent"] for name in names]
    assert [len(client.chunks()) for client in clients] == sent


@pytest.mark.parametrize("at_byte", [0, 40, 1 << 20])
def test_breaks_off_an_unstreamed_answer(fast_engine: Engine, at_byte: int) -> None:
    """A head that promises more bytes than come: at most all but one."""
    fast_engine.set_faults(Fault(break_answer_at_byte=at_byte))
    with pytest.raises(httpx.RemoteProtocolError):
        fast_engine.client.post("/v1/chat/completions", json={"messages": HI, "max_tokens": 5})
    (call,) = fast_engine.calls()
    assert (call["ended"], call["generated_tokens"]) == ("died", 5)


def test_kill_leaves_the_account(tmp_path: Path) -> None:
    """Guards against an engine whose death takes with it what it had sent."""
    path = tmp_path / "accounts"
    with engine_process("--tokens-per-second", "100", "--account-file", str(path)) as engine:
        with connected(engine, TEN | {"max_tokens": 500}) as client:
            client.read_until(b'"completion_tokens":7,')
            engine.kill()
        (account,) = read_accounts(path)
    assert account["ended"] == "running"
    assert account["generated_tokens"] == account["chunks_sent"] - 1 >= 7
