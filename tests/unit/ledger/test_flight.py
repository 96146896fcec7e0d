"""The flight recorder's file, byte by byte: what is read is what was written, or nothing."""

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import JournalCorrupt
from ledger.journal.flight import (
    FRAME_AT,
    MAGIC,
    NAME_BYTES_MAX,
    RECORD_BYTES_MAX,
    SEEN_AT,
    SLOT_BYTES,
    TOKENS_MAX,
    US_MAX,
    RecordTooLong,
    encode_header,
    encode_record,
    file_bytes,
    read_flight,
    state_of,
)
from ledger.record import END_USER_CHARS_MAX, CallRecord, Charge, Ending
from ledger.usage import UsageSource
from tests.records import NOON_US, a_record

SLOTS = 3
COUNTS = st.integers(min_value=0, max_value=TOKENS_MAX)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)  # NUL is taken out before


def records() -> st.SearchStrategy[CallRecord]:
    """Calls as they are known when they are sent."""
    return st.builds(
        a_record,
        started_us=st.integers(min_value=0, max_value=US_MAX),
        tenant_id=NAMES,
        model=NAMES,
        backend=NAMES,
        end_user=NAMES,
        holder_id=NAMES,
        streamed=st.booleans(),
        charges=st.just((Charge("limit_a", "", 0, 5),)),
    )


def a_file(slots: dict[int, tuple[CallRecord, int, int, int]], seen_us: int = 0) -> bytearray:
    """A file of SLOTS slots; each (record, prompt tokens, completion tokens, first byte) at its number."""
    data = bytearray(file_bytes(SLOTS))
    header = encode_header(SLOTS, "holder_a")
    data[: len(header)] = header
    struct.pack_into("=Q", data, SEEN_AT, seen_us)
    for number, (record, *counts) in slots.items():
        frame = encode_record(record)
        begin = number * SLOT_BYTES
        struct.pack_into("=4Q", data, begin, state_of(frame), *counts)
        data[begin + FRAME_AT : begin + FRAME_AT + len(frame)] = frame
    return data


def as_killed(record: CallRecord, prompt: int, completion: int, first_us: int, seen_us: int) -> CallRecord:
    """What the book says of a call in flight."""
    fields: dict[str, Any] = {
        "ended_us": max(record.started_us, first_us, seen_us),
        "ending": Ending.KILLED,
        "http_status": 200 if first_us else 0,
        "usage_source": UsageSource.RECOVERED if prompt or completion else UsageSource.UNRESOLVED,
        "prompt_tokens": prompt,
        "cached_prompt_tokens": 0,
        "completion_tokens": completion,
        "first_byte_us": first_us,
        "charges": (),
    }
    return msgspec.structs.replace(record, **fields)


@settings(deadline=None)
@given(
    calls=st.dictionaries(
        st.integers(min_value=1, max_value=SLOTS),
        st.tuples(records(), COUNTS, COUNTS, st.integers(min_value=0, max_value=US_MAX)),
    ),
    seen_us=st.integers(min_value=0, max_value=US_MAX),
)
def test_any_call_is_read_as_it_was_written(
    calls: dict[int, tuple[CallRecord, int, int, int]], seen_us: int
) -> None:
    """Guards against a count, a name or a tenant that another call's takes the place of."""
    flight = read_flight(bytes(a_file(calls, seen_us)))
    assert flight.holder_id == "holder_a" and not flight.damaged and not flight.missing
    expected = [as_killed(*calls[number], seen_us=seen_us) for number in sorted(calls)]
    assert flight.records == expected


KNOWN = {
    1: (a_record(tenant_id="org-one"), 11, 22, NOON_US + 5),
    3: (a_record(tenant_id="org-two", streamed=False), 0, 0, 0),
}
TRUE = [as_killed(*KNOWN[number], seen_us=NOON_US) for number in (1, 3)]


def is_count(offset: int) -> bool:
    """Whether the byte is one of a slot's three words, which change with every chunk and have no checksum."""
    return 8 <= offset % SLOT_BYTES < FRAME_AT and offset >= SLOT_BYTES


def is_seen(offset: int) -> bool:
    return SEEN_AT <= offset < SEEN_AT + 8


@settings(max_examples=300, deadline=None)
@given(
    flips=st.dictionaries(
        st.one_of(
            st.integers(min_value=0, max_value=file_bytes(SLOTS) - 1),
            st.sampled_from(
                [SLOT_BYTES * slot + at for slot in range(4) for at in (*range(8), *range(32, 300))]
            ),
        ).filter(lambda offset: not is_count(offset) and not is_seen(offset)),
        st.integers(min_value=1, max_value=255),
        min_size=1,
        max_size=6,
    )
)
def test_wrong_bytes_never_give_a_wrong_call(flips: dict[int, int]) -> None:
    """Guards against a bill made of noise: a call is read as it was, or its slot is reported."""
    data = a_file(KNOWN, NOON_US)
    for offset, flip in flips.items():
        data[offset] ^= flip
    try:
        flight = read_flight(bytes(data))
    except JournalCorrupt:
        return
    assert all(record in TRUE for record in flight.records)
    lost = [record for record in TRUE if record not in flight.records]
    freed = [  # eight bytes that all became 0 are a free slot: nothing tells it from one
        number for number in KNOWN if not any(data[number * SLOT_BYTES : number * SLOT_BYTES + 8])
    ]
    assert len(lost) <= len(flight.damaged) + len(freed)


@given(size=st.integers(min_value=0, max_value=file_bytes(SLOTS) - 1))
def test_a_file_that_is_cut_short_gives_what_is_whole_and_says_so(size: int) -> None:
    """Guards against half a record, and against a loss that nobody hears of."""
    try:
        flight = read_flight(bytes(a_file(KNOWN, NOON_US)[:size]))
    except JournalCorrupt:
        assert size < SLOT_BYTES
        return
    whole = min(SLOTS, max(0, size // SLOT_BYTES - 1))
    assert flight.records == TRUE[: (whole + 1) // 2]
    assert flight.missing == SLOTS - whole and not flight.damaged


@pytest.mark.parametrize("words", [(TOKENS_MAX + 1, 0, 0), (0, TOKENS_MAX + 1, 0), (0, 0, US_MAX + 1)])
def test_a_count_that_no_call_has_is_none(words: tuple[int, int, int]) -> None:
    """Guards against one wrong high bit that makes a bill of a million dollars."""
    flight = read_flight(bytes(a_file({2: (a_record(), *words)})))
    assert flight.records == [] and flight.damaged == [2]


@pytest.mark.parametrize("magic", [b"", b"mgflgt\x02\n", b"mgjrnl\x01\n", bytes(8)])
def test_a_file_of_another_version_is_refused(magic: bytes) -> None:
    """Guards against misreading what another version wrote, and a page that never reached the disk."""
    with pytest.raises(JournalCorrupt, match="not written by this version"):
        read_flight(magic + bytes(a_file(KNOWN))[len(MAGIC) :] if magic else b"")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"mgflgt\x02\n" + bytes(5000), "its format is 2, and this one reads format 1"),
        (b"mgflgt\x00\n" + bytes(5000), "its format is 0, and this one reads format 1"),
        (b"mgflgtxxx" + bytes(5000), "begins with b'mgflgtxx'"),
        (b"mgflgt", "begins with b'mgflgt'"),
        (b"", "begins with b''"),
    ],
)
def test_what_is_said_of_a_file_that_is_not_ours(data: bytes, said: str) -> None:
    """Guards against an operator who cannot tell a newer version's file from a broken one."""
    with pytest.raises(JournalCorrupt) as fault:
        read_flight(data)
    assert said in str(fault.value)


@pytest.mark.parametrize("at", range(len(MAGIC), len(encode_header(SLOTS, "holder_a"))))
def test_a_damaged_header_costs_no_call(at: int) -> None:
    """Guards against one wrong byte that takes every call in flight out of the book."""
    data = a_file(KNOWN, NOON_US)
    data[at] ^= 0x10
    flight = read_flight(bytes(data))
    assert flight.is_header_damaged and flight.records == TRUE and not flight.damaged
    for wrong in (data[:-1], data + b"\0", data[: 2 * SLOT_BYTES]):
        with pytest.raises(JournalCorrupt, match="its header is damaged"):
            read_flight(bytes(wrong))


def test_long_names_fit() -> None:
    """Guards against a call that is refused, or that kill -9 would lose, for its names."""
    record = a_record(
        model="m" * NAME_BYTES_MAX,
        end_user="\U0001f600" * END_USER_CHARS_MAX,
        backend="h" * NAME_BYTES_MAX,
        tenant_id="org-" + "t" * 24,
        project_id="proj_" + "p" * 24,
        api_key_id="key_" + "k" * 24,
        holder_id="holder_" + "h" * 24,
    )
    assert len(encode_record(record)) < RECORD_BYTES_MAX


def test_names_that_do_not_fit_are_refused() -> None:
    """Guards against a record cut short, or one that runs into the next call's slot."""
    room = RECORD_BYTES_MAX - len(msgspec.msgpack.encode(a_record(model="m" * 300)))
    assert len(encode_record(a_record(model="m" * (300 + room)))) + FRAME_AT == SLOT_BYTES
    with pytest.raises(RecordTooLong):
        encode_record(a_record(model="m" * (301 + room)))
