"""Framing: however a stream is cut on its way, its events come out whole, in order, and at once."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy import sse
from proxy.sse import Event, EventTooLarge, Splitter
from tests.unit.proxy.reference import events_of, pieces

VECTOR = (
    b'data: {"a":1}\n\n: keep-alive\n\nevent: message_delta\ndata: {"b":2}\n\n'
    b"data: one\ndata: two\n\ndata:no space\n\ndata\n\ndata: [DONE]\n\n"
)
EVENTS = [
    Event(b"", b'{"a":1}'),
    Event(b"", None),
    Event(b"message_delta", b'{"b":2}'),
    Event(b"", b"one\ntwo"),
    Event(b"", b"no space"),
    Event(b"", b""),
    Event(b"", b"[DONE]"),
]
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXTS = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_characters="\r\n"), st.sampled_from("\u2028\u2029\x85\x0b\x0c: ")
    )
)


def read(parts: list[bytes]) -> list[Event]:
    splitter = Splitter()
    return [sse.parse(raw) for part in parts for raw in sse.split(splitter.feed(part))]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_is_read_whole(line_end: bytes) -> None:
    """A framing that knows LF only would hold a CRLF stream of a gateway back for ever."""
    # A lone CR at the very end could be half of a CRLF: what comes next shows that it is not.
    assert read([VECTOR.replace(b"\n", line_end) + b":"]) == EVENTS


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_is_read_byte_by_byte(line_end: bytes) -> None:
    """An ending cut in two was missed, or an event came twice."""
    stream = VECTOR.replace(b"\n", line_end) + b":"
    assert read([stream[at : at + 1] for at in range(len(stream))]) == EVENTS


def test_an_event_is_handed_on_with_its_last_byte() -> None:
    """An event that waits for the next one to begin delays every token by one."""
    splitter = Splitter()
    for event in VECTOR.split(b"\n\n")[:-1]:
        assert splitter.feed(event + b"\n") == b""
        assert splitter.feed(b"\n") == event + b"\n\n"
    assert splitter.rest() == b""


def test_bytes_behind_the_last_event_wait() -> None:
    """A torn event passed on would reach the client as half a JSON text."""
    splitter = Splitter()
    assert splitter.feed(b"data: 1\n\ndata: 2") == b"data: 1\n\n"
    assert splitter.rest() == b"data: 2"
    assert splitter.feed(b"\n\ndata: 3") == b"data: 2\n\n"
    assert splitter.rest() == b"data: 3"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_cr_and_lf_end_lines(separator: str) -> None:
    """str.splitlines would cut a model's text at these and lose the rest of the event."""
    data = f'{{"content":"a{separator}b"}}'.encode()
    assert read([b"data: " + data + b"\n\n"]) == [Event(b"", data)]


def test_an_oversized_event_is_refused() -> None:
    """An engine that never ends an event would fill the memory."""
    splitter = Splitter()
    with pytest.raises(EventTooLarge):
        for _ in range(sse.MAX_EVENT_BYTES // (1 << 20) + 1):
            splitter.feed(b"x" * (1 << 20))


def test_a_large_event_below_the_bound_passes() -> None:
    """prompt_logprobs of a long prompt come in one event of several MiB."""
    event = b"data: " + b"x" * (sse.MAX_EVENT_BYTES - 100) + b"\n\n"
    splitter = Splitter()
    out = b"".join(splitter.feed(event[at : at + 262_144]) for at in range(0, len(event), 262_144))
    assert out == event


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Events of any lines with any line ends, mixed, and a torn event behind them."""
    whole = b""
    for _ in range(draw(st.integers(0, 5))):
        for _ in range(draw(st.integers(0, 3))):
            field = draw(st.sampled_from(["data: ", "data:", "event: ", ": ", "id: ", "", "data"]))
            whole += (field + draw(TEXTS)).encode() + draw(LINE_ENDS)
        whole += draw(LINE_ENDS)
    return whole + draw(TEXTS).encode()


@given(streams(), st.randoms(use_true_random=False))
@example(b"data: a\r\n\r\ndata: b\n\r\n", None)
@example(b"data: a\n\n\n\ndata: b\r\r\n", None)
@settings(max_examples=300, deadline=None)
def test_any_split_of_any_stream_gives_the_standards_events(stream: bytes, random: object) -> None:
    """The events depended on where the network cut the stream."""
    stream += b"."  # shows what a CR at the end is
    wanted = [event for event in events_of(stream) if event.data is not None]
    for parts in ([stream], pieces(stream, random), [stream[at : at + 1] for at in range(len(stream))]):
        assert [event for event in read(parts) if event.data is not None] == wanted
        splitter = Splitter()
        handed_on = b"".join(splitter.feed(part) for part in parts)
        assert handed_on + splitter.rest() == stream


def test_render_is_read_back() -> None:
    """Our own error event has to be an event."""
    assert read([sse.render(b'{"error":{}}')]) == [Event(b"", b'{"error":{}}')]
