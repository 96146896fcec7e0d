"""What an export can be, as its API and its command both name it. Pure."""

from enum import StrEnum


class Format(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    JSONL = "jsonl"


class Detail(StrEnum):
    """How much an export tells."""

    ROWS = "rows"
    DAILY = "daily"
