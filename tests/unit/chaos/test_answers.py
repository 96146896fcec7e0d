"""What a client counts of an answer, however its bytes come."""

from __future__ import annotations

import json

import pytest

from chaos.answer import Received

HEAD = b"HTTP/1.1 200 OK\r\nx-request-id: req-1\r\ntransfer-encoding: chunked\r\n\r\n"


def event(*choices: tuple[int, str], usage: int | None = None) -> bytes:
    told = {} if usage is None else {"usage": {"completion_tokens": usage}}
    listed = [{"index": at, "delta": {"content": words}} for at, words in choices]
    return b"data: " + json.dumps({"choices": listed, **told}).encode() + b"\n\n"


def opening(index: int) -> bytes:
    delta = {"role": "assistant", "content": ""}
    return b"data: " + json.dumps({"choices": [{"index": index, "delta": delta}]}).encode() + b"\n\n"


def chunked(*parts: bytes) -> bytes:
    return HEAD + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


STREAM = chunked(
    opening(0) + opening(1), event((0, "a")), event((1, "b")) + event((0, "c")), b"data: [DONE]\n\n"
)


def received(data: bytes, size: int) -> Received:
    answer = Received()
    for at in range(0, len(data), size):
        answer.feed(data[at : at + size])
    return answer


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_a_stream_is_counted_at_every_split(size: int) -> None:
    """Guards against a client that misses tokens where a read ended: they would be lost unseen."""
    answer = received(STREAM, size)
    assert (answer.status, answer.request_id, answer.tokens, answer.whole) == (200, "req-1", 3, True)


def test_a_stream_that_is_cut_has_what_came_whole() -> None:
    """Guards against half an event that is counted, at every byte, and against an answer taken for whole."""
    counts = [received(STREAM[:cut], 10_000).tokens for cut in range(len(STREAM))]
    assert counts == sorted(counts)
    assert counts[0] == 0 and counts[-1] == 3
    assert not any(received(STREAM[:cut], 10_000).whole for cut in range(len(STREAM) - 4))


def test_what_is_told_counts_where_it_is_more() -> None:
    """Guards against tokens without an event of their own."""
    running = chunked(event((0, "ab"), usage=2), event((1, ""), usage=1), event((0, "c"), usage=5))
    assert received(running, 9).tokens == 6
    last = chunked(event((0, "a")), b'data: {"choices":[],"usage":{"completion_tokens":7}}\n\n')
    assert received(last, 9).tokens == 7


def test_a_stream_without_its_done_is_not_whole() -> None:
    """Guards against an engine's death that looks like an end."""
    assert not received(chunked(event((0, "a"))), 50).whole


def test_a_whole_answer_and_a_refusal() -> None:
    """Guards against an unstreamed answer that counts before it is whole, and a refusal without its code."""
    body = b'{"choices":[{"index":0,"message":{"content":"x"}}],"usage":{"completion_tokens":4}}'
    data = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    assert received(data, 5).tokens == 4
    assert received(data[:-1], 5).tokens == 0
    body = b'{"error":{"message":"no","type":"server_error","code":"ledger_unavailable"}}'
    refused = received(b"HTTP/1.1 503 No\r\ncontent-length: %d\r\n\r\n" % len(body) + body, 5)
    assert (refused.status, refused.code, refused.tokens) == (503, "ledger_unavailable", 0)
