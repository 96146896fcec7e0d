"""How long sessions last, and how often their token changes. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """`idle_us`: without a call; `absolute_us`: at the most; `turn_us`: from one token to the next."""

    idle_us: int
    absolute_us: int
    turn_us: int
