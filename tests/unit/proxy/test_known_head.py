"""A head that was read once: whatever is known again means what the parser would have read."""

from typing import Any

import httptools
from hypothesis import given
from hypothesis import strategies as st

from proxy.headers import secret_in
from proxy.known_head import Head, KnownHead

FIRST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-1\r\n"
    b"Content-Length: 2\r\nX-More: y\r\n\r\n{}"
)


class Parsed:
    """What the parser makes of the bytes of some requests."""

    def __init__(self, data: bytes) -> None:
        self.requests: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]] = []
        self.is_broken = False
        self.is_between = True
        self._parser: Any = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.is_broken = True

    def on_message_begin(self) -> None:
        self.is_between = False
        self._target, self._headers, self._body = b"", list[tuple[bytes, bytes]](), b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.is_between = True
        told = [header for header in self._headers if header[0] != b"content-length"]
        self.requests.append((self._parser.get_method(), self._target, told, self._body))


def learned(data: bytes) -> KnownHead | None:
    """As a connection learns: of one whole request that the parser has read."""
    parsed = Parsed(data)
    if parsed.is_broken or len(parsed.requests) != 1 or not parsed.is_between:
        return None
    method, target, headers, body = parsed.requests[0]
    head = Head(method.decode(), target.decode("latin-1"), headers, secret_in(headers))
    return KnownHead.learn(head, data, len(body))


def test_the_same_head_with_another_body_is_known() -> None:
    """Every request parsed anew: a tenth of its cost."""
    known = learned(FIRST)
    assert known is not None and known.head.secret == b"sk-1" and "sk-1" not in repr(known)
    again = FIRST.replace(b"Length: 2", b"Length: 12").replace(b"{}", b'{"a": "b c"}')
    assert known.body_of(again) == b'{"a": "b c"}'
    assert known.body_of(FIRST) == b"{}"


def test_what_is_not_exactly_that_is_the_parsers() -> None:
    """A request read with another's key, or a body cut where the parser would not cut it."""
    known = learned(FIRST)
    assert known is not None
    for other in (
        FIRST[:-1],  # not whole
        FIRST + b"P",  # more than one
        FIRST.replace(b"sk-1", b"sk-2"),
        FIRST.replace(b"sk-1", b"sk-12"),
        FIRST.replace(b"Length: 2", b"Length: +2"),
        FIRST.replace(b"Length: 2", b"Length: 2 "),
        FIRST.replace(b"Length: 2", b"Length:  2"),
        FIRST.replace(b"Length: 2", "Length: ²".encode()),
        FIRST.replace(b"Length: 2", b"Length: "),
        FIRST.replace(b"Length: 2", b"Length: 0000000002"),
        FIRST.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
        FIRST.replace(b"y\r\n\r\n", b"y\r\n \r\n"),
        FIRST.replace(b"\r\n", b"\n"),
        FIRST.lower(),
        b"",
    ):
        assert known.body_of(other) is None, other


def test_what_is_framed_otherwise_is_not_learned() -> None:
    """A second way to say where a body ends is how requests are smuggled."""
    for other in (
        FIRST.replace(b"Content-Length: 2\r\n", b"").replace(b"\r\n{}", b"\r\n"),
        FIRST.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked").replace(
            b"{}", b"2\r\n{}\r\n0\r\n\r\n"
        ),
        FIRST.replace(b"Content-Length: 2", b"Content-Length: 02"),
        FIRST.replace(b"X-More: y", b"X-More: " + b"y" * 5000),
    ):
        assert not Parsed(other).is_broken
        assert learned(other) is None, other


LINE = st.sampled_from(
    (
        b"Host: x",
        b"Content-Length: 2",
        b"content-length:2",
        b"Content-Length: 12",
        b"Content-length : 2",
        b"Transfer-Encoding: chunked",
        b"Authorization: Bearer sk-1",
        b"api-key: sk-2",
        b"X: content-length: 2",
        b"X: a\r\n b",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b"",
    )
)


def request(lines: list[bytes], body: bytes) -> bytes:
    return b"\r\n".join((b"POST /v1/embeddings HTTP/1.1", *lines, b"", body))


BODY = st.sampled_from((b"", b"{}", b'{"a":"b c"}\n', b"2\r\n{}\r\n0\r\n\r\n", b"{}GET / HTTP/1.1\r\n\r\n"))
LINES = st.lists(LINE, max_size=5)


@given(LINES, BODY, LINES, BODY, st.data())
def test_what_is_known_again_is_what_the_parser_reads(
    lines: list[bytes], body: bytes, others: list[bytes], other_body: bytes, data: st.DataObject
) -> None:
    """Guards against any pair of requests where the second means something else to the parser."""
    first = request(lines, body)
    known = learned(first)
    second = request(lines if data.draw(st.booleans()) else others, other_body)
    if data.draw(st.booleans()):
        second = second.replace(b"2", b"%d" % len(other_body), 1)
    if known is None or (taken := known.body_of(second)) is None:
        return
    parsed = Parsed(first + second)
    assert not parsed.is_broken and parsed.is_between and len(parsed.requests) == 2
    method, target, headers, parsed_body = parsed.requests[1]
    assert parsed_body == taken
    told = [header for header in known.head.headers if header[0] != b"content-length"]
    assert (method.decode(), target.decode(), headers) == (known.head.method, known.head.path, told)
    assert known.head.secret == secret_in(headers)
