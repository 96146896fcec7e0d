"""A chat call with a prompt of 400 KB: what it costs nginx and metergate, and what the JSON in it costs.

metergate reads every body and writes it anew, so that engine and meter can never read two requests out of
one: it cannot be cheaper than one decode and one encode of the body, which are measured in the same rounds on
the same core. nginx is measured as it comes, where it writes a body to a file before it passes it on, and
with `proxy_request_buffering off`, where it does not: the aim is twice the latter and the decode and encode.

    python -m bench.edges prompts
"""

from __future__ import annotations

import json
import time
from statistics import median
from typing import Final

import msgspec

from bench import wire
from bench.edges.calls import Calls
from bench.edges.lines import Line
from bench.engine_process import Engine
from bench.meter import Meter, Pids
from bench.processes import Cores, choose_cores, on_core, pin
from bench.running import every_call_recorded, running
from bench.subjects import Subject
from bench.subjects.metergate import Metergate
from bench.subjects.nginx import Nginx

PROMPT_BYTES: Final = 400_000
ROUNDS: Final = 3
CONNECTIONS: Final = 8
DURATION_S: Final = 4.0
_CODINGS: Final = 200
_LINE: Final = 'The tide table of the harbour at "Kullavik" – page 7, März – says when the water is high.\n'


class _Unbuffered(Nginx):
    """nginx that passes a body on as it comes."""

    name = "nginx, request buffering off"
    more = "proxy_request_buffering off;"


SUBJECTS: Final[tuple[type[Subject], ...]] = (Nginx, _Unbuffered, Metergate)


def body() -> bytes:
    """The call: an everyday one, but for its prompt; its marker is at the front, where the engine looks."""
    call = json.loads(wire.request_body(wire.Wanted("unary", wire.UNARY_TOKENS)))
    line_bytes = len(json.dumps(_LINE, ensure_ascii=False).encode()) - 2
    call["messages"][1]["content"] += "\n" + _LINE * (PROMPT_BYTES // line_bytes)
    return json.dumps(call, separators=(",", ":"), ensure_ascii=False).encode()


def measure(*, rounds: int = ROUNDS) -> list[Line]:
    """CPU a call of each subject, and of a decode and an encode of its body."""
    cores = choose_cores()
    pin(cores.load)
    sent = body()
    found: dict[str, list[float]] = {}
    engine = Engine(cores.engine)
    try:
        for _ in range(rounds):
            found.setdefault("coding", []).append(_coding_us(sent, cores))
            for make in SUBJECTS:
                found.setdefault(make.name, []).append(_call_us(make, engine, cores, sent))
    finally:
        engine.stop()
    return _lines({name: tuple(values) for name, values in found.items()}, len(sent))


def _call_us(make: type[Subject], engine: Engine, cores: Cores, sent: bytes) -> float:
    with running(make, engine, cores) as (subject, folder), every_call_recorded(subject, engine):
        calls = Calls(subject, folder, connections=CONNECTIONS, body=sent)
        calls.warm_up()
        return calls.cpu_us(Meter(Pids(subject.pid, engine.pid), cores), DURATION_S)


def _coding_us(sent: bytes, cores: Cores) -> float:
    """One decode and one encode, on the subject's core, with the parts that metergate has."""
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    with on_core(cores.subject):
        began_s = time.process_time()
        for _ in range(_CODINGS):
            encode(decode(sent))
        return (time.process_time() - began_s) / _CODINGS * 1e6


def _lines(found: dict[str, tuple[float, ...]], sent_bytes: int) -> list[Line]:
    bound_us = 2 * median(found[_Unbuffered.name]) + median(found["coding"])
    lines = [
        Line("prompts", "bytes", "bytes of a call", (float(sent_bytes),)),
        Line("prompts", "coding_us", "one decode and one encode of them, us", found["coding"]),
    ]
    for make in SUBJECTS:
        at_most = bound_us if make is Metergate else None
        lines.append(
            Line(
                "prompts",
                f"{make.name}_us",
                f"{make.name}: CPU a call, us",
                found[make.name],
                at_most=at_most,
            )
        )
    return lines
