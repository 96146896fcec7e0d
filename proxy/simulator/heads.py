"""What every event and answer of one call begins with (pure)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Head:
    """`id` with its family's prefix; `created` in seconds; the model's served name."""

    id: str
    created: int
    model: str
    fingerprint: str
