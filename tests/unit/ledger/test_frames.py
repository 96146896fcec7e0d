"""Frames: whole, byte by byte, torn at each byte, and with flipped bits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.journal.frames import (
    FRAME_HEAD_BYTES,
    PAYLOAD_BYTES_MAX,
    Fault,
    decode_frame,
    encode_frame,
    is_torn_tail,
    whole_frames,
)

PAYLOADS = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5)


@given(PAYLOADS)
def test_what_goes_in_comes_out(payloads: list[bytes]) -> None:
    """Guards against a frame read as something else."""
    data = b"".join(map(encode_frame, payloads))
    assert whole_frames(data) == (payloads, len(data), None)


@given(PAYLOADS)
def test_torn_at_each_byte_gives_the_whole_frames_before_it(payloads: list[bytes]) -> None:
    """Guards against a crash at any byte that loses a whole frame, or makes one up."""
    frames = list(map(encode_frame, payloads))
    data = b"".join(frames)
    ends = [0]
    for frame in frames:
        ends.append(ends[-1] + len(frame))
    for cut in range(len(data) + 1):
        whole = sum(1 for end in ends[1:] if end <= cut)
        torn = None if cut in ends else Fault.SHORT
        assert whole_frames(data[:cut]) == (payloads[:whole], ends[whole], torn)
        assert torn is None or is_torn_tail(data[:cut], ends[whole])


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_flipped_bit_is_never_a_frame(payload: bytes, data: st.DataObject) -> None:
    """Guards against a disk's lie that is billed."""
    frame = bytearray(encode_frame(payload))
    bit = data.draw(st.integers(min_value=0, max_value=len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    assert isinstance(decode_frame(bytes(frame), 0), Fault)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 4096])
def test_zeros_are_no_frames_but_a_torn_tail(length: int) -> None:
    """Guards against a tail of zeros, as a power cut leaves it, read as empty frames."""
    data = encode_frame(b"x") + bytes(length)
    payloads, end, fault = whole_frames(data)
    assert (payloads, end, fault is not None) == ([b"x"], FRAME_HEAD_BYTES + 1, True)
    assert is_torn_tail(data, end)


def test_wrong_bytes_before_a_good_frame_are_no_torn_tail() -> None:
    """Guards against cutting records that a crash did not write."""
    bad = bytearray(encode_frame(b"payload"))
    bad[-1] ^= 1
    assert is_torn_tail(bytes(bad), 0)
    assert not is_torn_tail(bytes(bad) + encode_frame(b"good"), 0)


def test_an_impossible_length_is_corrupt_not_short() -> None:
    """Guards against waiting for ever for bytes that will never come."""
    for length in (0, PAYLOAD_BYTES_MAX + 1, 2**32 - 1):
        assert decode_frame(length.to_bytes(4, "little") + bytes(4), 0) is Fault.CORRUPT


def test_the_largest_payload_fits() -> None:
    """Guards against an off by one at the limit."""
    payload = bytes(PAYLOAD_BYTES_MAX)
    assert decode_frame(encode_frame(payload), 0) == payload
