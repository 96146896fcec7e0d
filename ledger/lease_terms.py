"""What holders and the ledger say to each other about leases: wishes, returns and grants.

Pure. ledger/leases.py makes the exchange; who wishes is none of its business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ledger.balance import Balance


class BalanceKey(NamedTuple):
    """Which balance: `end_user` is "" where users have none of their own, `window_us` 0 where there is no
    window.
    """

    limit_id: str
    end_user: str
    window_us: int


class Wish(NamedTuple):
    """What a holder asks for: at least `least` or nothing, and no more than `most`.

    `need`: what of it calls wait for; beyond that it is a block ahead, which shrinks near the limit.
    """

    key: BalanceKey
    least: int
    most: int
    need: int = 0


class Return(NamedTuple):
    """What a holder gives back. Of a rate it may be negative: units that were used without a grant."""

    key: BalanceKey
    amount: int


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to one wish.

    `balance` is after the grant, of a consumable or slots; of a rate, `tat_us` is; neither of a limit that
    is there no more.
    """

    granted: int
    balance: Balance | None = None
    tat_us: int | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the limit has been removed."""
        return self.balance is None and self.tat_us is None


@dataclass(frozen=True, slots=True)
class Exchanged:
    """The answers in the order of the wishes; `now_us` is the ledger's clock, `tat_us` is by it.

    `is_repeated`: this exchange had been made before and its answer was lost: what it returned had gone back
    then, and nothing is granted now. `granted_before` is what it granted then and is on lease still; units of
    a rate are not among it.
    """

    grants: tuple[Grant, ...]
    now_us: int
    is_repeated: bool = False
    granted_before: Mapping[BalanceKey, int] = field(default_factory=dict)
