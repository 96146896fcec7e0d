"""How fast tokens come (pure)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """`tokens_per_second` of each sequence, 0: as fast as possible; a delay before the first."""

    tokens_per_second: float
    first_token_delay_ms: float

    @property
    def interval_s(self) -> float:
        return 1 / self.tokens_per_second if self.tokens_per_second > 0 else 0.0

    @property
    def first_delay_s(self) -> float:
        return self.first_token_delay_ms / 1000

    def overridden(self, tokens_per_second: float | None, first_token_delay_ms: float | None) -> "Pace":
        return Pace(
            self.tokens_per_second if tokens_per_second is None else tokens_per_second,
            self.first_token_delay_ms if first_token_delay_ms is None else first_token_delay_ms,
        )
