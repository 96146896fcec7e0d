"""How large a block of leases should be: by recent demand, and by how much is left for everybody else. Pure.

Far from a limit blocks last for seconds, so that no call and no stream waits for the ledger; near it they
shrink, and nobody sits on the rest. Knows nothing of calls or exchanges. Amounts are in the limit's unit,
demand in units a second; `balance` is as the ledger last told it.
"""

from typing import Final

from ledger.balance import Balance

AHEAD_US: Final = 2_000_000
"""Near the limit a block is what recent demand takes in this time; it is renewed when a quarter is left."""

FAR_US: Final = 10_000_000
"""The same far from it. It is renewed when half is left: that lasts for as long as an answer of the ledger is
waited for (`proxy.leasing.PATIENCE_SECONDS`), so none comes too late for a running stream.
"""

PLENTY: Final = 16
"""Far from the limit: a block is at most this fraction of what was free when the ledger was last asked."""

LITTLE: Final = 64
"""An allowance of at most this fraction of what is free idles as long as a call runs: streams that began
together take their blocks together, and nothing for seconds in between.
"""

TOLD_US: Final = 5_000_000
"""What the ledger has told of the rest is believed so long, by who holds a block of that kind."""

SLOTS_AHEAD: Final = 8
"""So many slots are in hand where there is plenty, or a quarter of those in use: for calls that come while
others wait.
"""


def lasting(demand: float, span_us: int) -> int:
    """What a demand takes in a time."""
    return int(demand * span_us / 1_000_000)


def consumable(near: int, demand: float, balance: Balance) -> int:
    """The block of a consumable; `near`: the least that it should be."""
    return max(near, min(lasting(demand, FAR_US), balance.free // PLENTY))


def slots(in_use: int, balance: Balance) -> int:
    """The slots to have in hand beyond those in use: none where there are few."""
    return min(max(SLOTS_AHEAD, in_use // 4), balance.free // PLENTY)


def low(block: int, near: int) -> int:
    """When less is left of a block it is renewed."""
    return block // 2 if block > near else block // 4


def is_part(amount: int, of: int, balance: Balance | None) -> bool:
    """Whether an amount is more than such a fraction of what is left for everybody else."""
    return balance is None or amount * of > balance.free
