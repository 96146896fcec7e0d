"""The benchmark's bytes: what is asked is what the engine reads, and what it sends is well-formed and counted
right.
"""

from __future__ import annotations

import json

import pytest

from bench import wire


@pytest.mark.parametrize(
    "want", [wire.Wanted("unary", 24), wire.Wanted("burst", 100), wire.Wanted("paced", 375)]
)
def test_a_request_says_what_it_wants_even_re_encoded(want: wire.Wanted) -> None:
    """A proxy that decodes and re-encodes bodies must not turn a paced stream into something else."""
    body = wire.request_body(want)
    again = json.dumps(json.loads(body), indent=1).encode()
    assert wire.wanted(body) == wire.wanted(again) == want


def test_a_body_of_someone_else_wants_nothing() -> None:
    assert wire.wanted(b'{"model":"bench","messages":[]}') is None


def test_a_request_announces_its_body_exactly() -> None:
    """A wrong Content-Length would leave bytes that spoil the next call on the connection."""
    head, _, body = wire.request(wire.Wanted("unary", 24), host="h:1", headers={"X-Y": "z"}).partition(
        b"\r\n\r\n"
    )
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"\r\nX-Y: z" in head


def test_every_event_carries_running_usage() -> None:
    """Subjects that ask for usage and those that do not must read the same bytes."""
    *events, tail = wire.stream_chunks(5)
    usages = [json.loads(event.split(b"data: ")[1].split(b"\n\n")[0])["usage"] for event in events]
    assert [usage["completion_tokens"] for usage in usages] == [0, 1, 2, 3, 4]
    assert b'"choices":[],"usage":{"prompt_tokens":96,"total_tokens":100' in tail
    assert tail.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_the_finish_is_on_the_last_chunk_only() -> None:
    *events, _ = wire.stream_chunks(5)
    assert [b'"finish_reason":"length"' in event for event in events] == [False] * 4 + [True]


def test_a_stream_told_to_finish_ends_as_one_that_was_that_long() -> None:
    """A finish with other usage than its chunks had would be billed wrongly, and blamed on the subject."""
    assert wire.stream_end(4) == b"".join(wire.stream_chunks(5)[-2:])
