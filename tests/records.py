"""Call records for tests: whole by default, any field to order."""

from typing import Any

from ledger.ids import new_request_id
from ledger.record import CallRecord, Ending
from ledger.usage import UsageSource

NOON_US = 1_793_361_600_000_000  # 2026-10-30T12:00:00Z


def a_record(**fields: Any) -> CallRecord:
    """A finished, streamed chat call at NOON_US."""
    values: dict[str, Any] = {
        "request_id": new_request_id(fields.get("started_us", NOON_US)),
        "started_us": NOON_US,
        "ended_us": NOON_US + 1_500_000,
        "tenant_id": "org-a",
        "project_id": "proj_a",
        "api_key_id": "key_a",
        "model": "tiny",
        "backend": "http://127.0.0.1:8000",
        "endpoint": "chat.completions",
        "streamed": True,
        "ending": Ending.FINISHED,
        "http_status": 200,
        "usage_source": UsageSource.FINAL,
        "prompt_tokens": 10,
        "cached_prompt_tokens": 4,
        "completion_tokens": 5,
        "first_byte_us": NOON_US + 200_000,
    }
    return CallRecord(**(values | fields))
