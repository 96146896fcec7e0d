"""Rates: the generic cell rate algorithm over leased units, in one integer of time.

Pure. `tat_us` (theoretical arrival time) is when the bucket will be full again. A grant of units moves it on,
units that were not used move it back.

The promise is about when units are *used*: at most N + burst pass in any 60 seconds. Units are granted in
blocks and may be used up to `life_us` after their grant, so what passes in 60 s was granted within
60 s + life_us, and the tolerance leaves room for that: with costs rounded up, the units n of a span satisfy
n * 60e6/N <= 60e6 + life_us + tolerance_us < (N + burst + 1) * 60e6/N.

Source: ITU-T I.371 (GCRA).
"""

from dataclasses import dataclass, field
from typing import Final

MINUTE_US: Final = 60_000_000
LIFE_US_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_minute` units refill in a minute; `burst` of them may pass at once after a pause. Both >= 1."""

    per_minute: int
    burst: int
    life_us: int = field(init=False, compare=False, repr=False)
    """How long granted units may wait for their use."""
    tolerance_us: int = field(init=False, compare=False, repr=False)
    """How far `tat_us` may be ahead of the clock; at least the cost of one unit."""
    capacity: int = field(init=False, compare=False, repr=False)
    """The most units that one grant can have."""

    def __post_init__(self) -> None:
        """What every call asks for is worked out once."""
        life_us = min(LIFE_US_MAX, max(1, self.burst * MINUTE_US // self.per_minute))
        bound = ((self.burst + 1) * MINUTE_US - 1) // self.per_minute - life_us
        tolerance_us = max(self.cost_us(1), min(self.cost_us(self.burst), bound))
        object.__setattr__(self, "life_us", life_us)
        object.__setattr__(self, "tolerance_us", tolerance_us)
        object.__setattr__(self, "capacity", max(1, tolerance_us * self.per_minute // MINUTE_US))

    def cost_us(self, units: int) -> int:
        """The time in which so many units refill, rounded up: never faster than the rate."""
        return -(-units * MINUTE_US // self.per_minute)

    def free(self, tat_us: int, now_us: int) -> int:
        """How many units can be granted now."""
        if tat_us <= now_us:
            return self.capacity
        room_us = self.tolerance_us - (tat_us - now_us)
        return 0 if room_us <= 0 else min(self.capacity, room_us * self.per_minute // MINUTE_US)

    def granted(self, tat_us: int, now_us: int, least: int, most: int) -> tuple[int, int]:
        """Grants between `least` and `most` units, or none: (units, the new tat_us).

        A need beyond the bucket's whole capacity counts as met by a full bucket; what is used beyond it is
        a debt (`charged`).
        """
        free = self.free(tat_us, now_us)
        if free < min(least, self.capacity):
            return 0, tat_us
        units = min(most, free)
        return units, max(tat_us, now_us) + self.cost_us(units)

    def charged(self, tat_us: int, now_us: int, units: int) -> int:
        """The new tat_us when units were used that nobody had granted: paid back before the next grant."""
        return max(tat_us, now_us) + self.cost_us(units)

    def given_back(self, tat_us: int, units: int) -> int:
        """The new tat_us when granted units were not used."""
        return tat_us - units * MINUTE_US // self.per_minute

    def free_at(self, tat_us: int, now_us: int, units: int) -> int:
        """When so many units (at most the capacity) can be granted, if nobody else takes them."""
        return max(now_us, tat_us + self.cost_us(min(units, self.capacity)) - self.tolerance_us)
