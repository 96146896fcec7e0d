"""What reports are asked for and what they answer.

Pure. ledger/reports.py reads them from the tables.
"""

from dataclasses import dataclass
from typing import Literal

from ledger.tags import Tags

Grouping = Literal["tenant_id", "project_id", "api_key_id", "model", "endpoint", "usage_source"]


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Calls that started in [from_us, until_us) and match every id given; None matches everything."""

    from_us: int | None = None
    until_us: int | None = None
    tenant_id: str | None = None
    project_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """Sums in one currency. `group` has a value for each grouping asked for; `day_us` is None unless by
    day.
    """

    currency: str
    calls: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    amount_picos: int
    group: tuple[str, ...] = ()
    day_us: int | None = None
    key: "KeyLabel | None" = None
    """Of the key, where days are grouped by it."""


@dataclass(frozen=True, slots=True)
class KeyLabel:
    """What people call a key now, and its tags."""

    name: str
    tags: Tags | None
