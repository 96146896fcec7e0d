"""Counting events of a chunked stream: neither read borders nor HTTP chunk borders may change the count."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.eventcount import EventCount
from bench.wire import events_of, frame, stream_chunks, stream_head

_CHUNKS = 7
_EVENTS = events_of(_CHUNKS, usage_event=True)


def _payload() -> bytes:
    """The event stream without its HTTP framing."""
    wire = b"".join(stream_chunks(_CHUNKS))
    payload = b""
    while not wire.startswith(b"0\r\n"):
        size, _, rest = wire.partition(b"\r\n")
        payload += rest[: int(size, 16)]
        wire = rest[int(size, 16) + 2 :]
    return payload


def _pieces(whole: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted({cut for cut in cuts if 0 < cut < len(whole)}), len(whole)]
    return [whole[start:stop] for start, stop in pairwise(borders)]


_CUTS = st.lists(st.integers(1, 4000), max_size=60)


@given(framing=_CUTS, reads=_CUTS)
def test_any_framing_and_any_reads_count_the_same(framing: list[int], reads: list[int]) -> None:
    """A proxy that cuts its HTTP chunks between an event's two line feeds was counted one event short."""
    framed = b"".join(frame(piece) for piece in _pieces(_payload(), framing)) + b"0\r\n\r\n"
    count = EventCount()
    for data in _pieces(stream_head() + framed, reads):
        assert not count.ended
        count.feed(data)
    assert (count.events, count.ended, count.done) == (_EVENTS, True, True)


@pytest.mark.parametrize("cut", range(370, 380))
def test_a_border_around_an_events_end_counts_it_once(cut: int) -> None:
    """Borders before, between and after the two line feeds."""
    payload = _payload()
    assert 370 < payload.index(b"\n\n") + 1 < 380
    count = EventCount()
    count.feed(stream_head() + frame(payload[:cut]) + frame(payload[cut:]) + b"0\r\n\r\n")
    assert (count.events, count.ended, count.done) == (_EVENTS, True, True)


def test_byte_by_byte_counts_the_same() -> None:
    """The slowest of readers."""
    count = EventCount()
    fed = sum(count.feed(bytes([byte])) for byte in stream_head() + b"".join(stream_chunks(_CHUNKS)))
    assert (fed, count.ended, count.done) == (_EVENTS, True, True)


def test_an_end_without_done_is_told_apart() -> None:
    """A proxy that ends a broken stream tidily must not pass for one that delivered it."""
    count = EventCount()
    count.feed(stream_head() + stream_chunks(_CHUNKS)[0] + b"0\r\n\r\n")
    assert (count.events, count.ended, count.done) == (1, True, False)
