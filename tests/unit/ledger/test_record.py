"""The record's wire form, which old segments hold."""

import msgspec
import pytest

from ledger.record import CallRecord
from ledger.usage import Usage
from tests.records import a_record

# The order is the format. Append to this list; never change a line of it.
FIELDS = (
    "request_id",
    "started_us",
    "ended_us",
    "tenant_id",
    "project_id",
    "api_key_id",
    "model",
    "backend",
    "endpoint",
    "streamed",
    "ending",
    "http_status",
    "usage_source",
    "prompt_tokens",
    "cached_prompt_tokens",
    "completion_tokens",
    "first_byte_us",
    "end_user",
    "holder_id",
    "charges",
    "choices_per_prompt",
)


def test_the_order_of_the_fields_only_grows() -> None:
    """Guards against a reordered field, which would read every old record wrongly and in silence."""
    assert CallRecord.__struct_fields__[: len(FIELDS)] == FIELDS


def test_records_of_older_and_newer_versions_are_read() -> None:
    """Guards against an upgrade, or its undoing, that cannot read what lies in the journal."""
    record = a_record()
    values = list(msgspec.to_builtins(record))
    decode = msgspec.msgpack.Decoder(CallRecord).decode
    older = msgspec.msgpack.encode(values[:16])
    newer = msgspec.msgpack.encode([*values, "a field of tomorrow"])
    assert decode(older) == msgspec.structs.replace(record, first_byte_us=0)
    assert decode(newer) == record


def test_a_record_of_an_older_version_has_one_choice() -> None:
    """Guards against old journals whose prompts would then count no time, or not be read at all."""
    values = list(msgspec.to_builtins(a_record(choices_per_prompt=7)))
    decode = msgspec.msgpack.Decoder(CallRecord).decode
    assert decode(msgspec.msgpack.encode(values)).choices_per_prompt == 7
    assert decode(msgspec.msgpack.encode(values[:-1])).choices_per_prompt == 1


def test_usage_is_the_three_counts() -> None:
    """Guards against a mixed-up order."""
    assert a_record().usage == Usage(prompt_tokens=10, cached_prompt_tokens=4, completion_tokens=5)


def test_impossible_usage_is_our_own_mistake() -> None:
    """Guards against more cached than read, which would rate below zero."""
    with pytest.raises(AssertionError):
        Usage(prompt_tokens=1, cached_prompt_tokens=2)
