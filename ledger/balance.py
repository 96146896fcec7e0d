"""The arithmetic of leases: what of a limit is used, what is leased, and what can still be granted.

Pure. One balance is one limit over one window (and one end user, where each has their own). A hard limit
holds because every step keeps `used + leased <= max`:

- a grant adds to `leased` no more than what is free;
- a return takes from `leased`;
- a posting moves from `leased` to `used` what the call was charged, out of what its holder has on lease.

Only what was used without a lease can pass the limit; who uses says so (`actual` above `charged`).
"""

from dataclasses import dataclass, replace
from typing import Final

SHARE: Final = 8
"""A block beyond the need is at most this fraction of what is free: many workers come to rest near the limit
with little in each one's hands."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Units of one limit. `max_value` may have been lowered below what is used and leased."""

    max_value: int
    used: int = 0
    leased: int = 0

    @property
    def free(self) -> int:
        """What can be granted now."""
        return max(0, self.max_value - self.used - self.leased)

    @property
    def unspent(self) -> int:
        """What is not used for good: the free and the leased."""
        return max(0, self.max_value - self.used)

    def grant(self, least: int, most: int, need: int = 0) -> int:
        """How much of a wish to grant: nothing, or from `least` to `most`, and of `need` all there is."""
        assert 0 <= least <= most, (least, most)
        if self.free < least:
            return 0
        return max(least, min(need, most, self.free), min(most, self.free // SHARE))

    def granted(self, amount: int) -> "Balance":
        """After a grant."""
        assert 0 <= amount <= self.free, (self, amount)
        return replace(self, leased=self.leased + amount)

    def given_back(self, amount: int) -> "Balance":
        """After a return of leased units."""
        assert 0 <= amount <= self.leased, (self, amount)
        return replace(self, leased=self.leased - amount)

    def posted(self, *, held: int, charged: int, actual: int) -> tuple["Balance", int]:
        """After a posting: `charged` is what the holder took from its lease of `held`, `actual` the use.

        Returns the balance and what the holder has left. A lease that has expired meanwhile has nothing
        left to take from, and the use counts all the same.
        """
        assert 0 <= held <= self.leased, (self, held)
        assert charged >= 0 and actual >= 0, (charged, actual)
        taken = min(held, charged)
        return replace(self, used=self.used + actual, leased=self.leased - taken), held - taken
