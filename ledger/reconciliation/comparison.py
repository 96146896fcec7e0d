"""What comes of comparing an engine with the ledger: a window, or the reason why there is none. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from ledger.reconciliation.arithmetic import Sums, Window


class Unjudged(StrEnum):
    """Why calls could not be compared."""

    RESTARTED = "restarted"  # after the last sample of an engine that is gone
    NO_SAMPLE = "no_sample"  # nobody has asked the engine
    ONE_SAMPLE = "one_sample"  # nothing to compare it with yet
    SEVERAL_ENGINES = "several_engines"  # one address, several engines


@dataclass(frozen=True, slots=True)
class Comparison:
    """One life of an engine with one model, or calls that could not be compared: then `window` is None and
    `unjudged` says why; `sums` are the ledger's.
    """

    backend: str
    model: str
    from_us: int
    until_us: int
    sums: Sums
    window: Window | None = None
    unjudged: Unjudged | None = None
