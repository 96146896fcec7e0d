"""What is read of a client's headers, and which headers an answer has."""

import pytest

from proxy import headers


@pytest.mark.parametrize(
    ("sent", "secret"),
    [
        ([(b"authorization", b"Bearer k")], b"k"),
        ([(b"authorization", b"bearer k")], b"k"),
        ([(b"authorization", b"BEARER   k  ")], b"k"),
        ([(b"api-key", b"k")], b"k"),
        ([(b"x-api-key", b" k ")], b"k"),
        ([(b"x-api-key", b"other"), (b"authorization", b"Bearer k")], b"k"),
        ([(b"api-key", b"first"), (b"x-api-key", b"second")], b"first"),
        ([(b"authorization", b"Basic dXNlcjpwYXNz"), (b"x-api-key", b"k")], b"k"),
        ([(b"authorization", b"Bearer "), (b"api-key", b"k")], b"k"),
        ([(b"authorization", b"Bearer")], None),
        ([(b"authorization", b"Bearer    ")], None),
        ([(b"authorization", b"k")], None),
        ([(b"authorization", b"Basic k")], None),
        ([(b"authorization", b"")], None),
        ([(b"api-key", b"  ")], None),
        ([(b"cookie", b"api-key=k")], None),
        ([], None),
    ],
)
def test_the_secret_is_found(sent: headers.Headers, secret: bytes | None) -> None:
    """OpenAI's, Azure's and Anthropic's clients each have their own header."""
    assert headers.secret_in(sent) == secret


@pytest.mark.parametrize(
    ("value", "length"),
    [(b"0", 0), (b"17", 17), (b"", None), (b"-1", None), (b"1e3", None), (b"+5", None), (b"\xb2", None)],
)
def test_the_announced_length_is_read(value: bytes, length: int | None) -> None:
    """A length that is no number announces nothing."""
    assert headers.content_length([(b"host", b"x"), (b"content-length", value)]) == length


def sent_as(lines: bytes) -> dict[bytes, bytes]:
    """Header lines by name; each has its end."""
    assert lines.endswith(b"\r\n")
    return {name: value for name, _, value in (line.partition(b": ") for line in lines.split(b"\r\n")[:-1])}


def test_an_answer_has_the_sdks_headers() -> None:
    """The SDK shows x-request-id in its errors; a support ticket begins with it."""
    sent = sent_as(headers.answer("req_1", "org-1", 12, headers.JSON, 5))
    assert sent == {
        b"content-type": b"application/json",
        b"x-request-id": b"req_1",
        b"openai-processing-ms": b"12",
        b"openai-version": b"2020-10-01",
        b"openai-organization": b"org-1",
        b"content-length": b"5",
    }
    assert b"openai-organization" not in sent_as(headers.answer("req_1", None, 12, headers.JSON, 5))


def test_a_stream_is_not_to_be_buffered() -> None:
    """nginx holds a response back unless told not to."""
    sent = sent_as(headers.answer("req_1", None, 0, headers.EVENT_STREAM, None))
    assert sent[b"x-accel-buffering"] == b"no" and sent[b"cache-control"] == b"no-cache"
    assert b"content-length" not in sent
