"""An engine's lives, out of samples of its counters; and the moments that can be compared at. Pure.

A life begins with the engine's process and its counters at zero. Another life is seen by another start time,
or by a counter that fell. What it counted between its last sample and its end, nobody can know.

A sample is *closed* when what had been counted by then is in the ledger as far as it ever will be: the engine
had nothing in flight, or counted nothing for STILL_US, or the sample is older than a call lasts. Where the
same life is seen again after another one, several engines answer at one address, and nothing can be told.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.reconciliation.arithmetic import NO_TOKENS, Tokens

STILL_US: Final = 1_000_000
CALL_US: Final = 600_000_000
"""A call that runs for longer than ten minutes is counted in full only when it ends."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What an engine said of one model, asked at `asked_us` and answered at `at_us`, by our clock.

    `engine_started_us`: which life, by the engine's clock, 0 where it does not say; `counting_since_us`:
    since when it counts this model. `in_flight`: calls at work or waiting in it.
    """

    backend: str
    model: str
    at_us: int
    asked_us: int
    engine_started_us: int
    counting_since_us: int
    tokens: Tokens
    in_flight: int


@dataclass(frozen=True, slots=True)
class Moment:
    """The engine's counters at some instant from `asked_us` to `at_us`."""

    asked_us: int
    at_us: int
    tokens: Tokens

    @classmethod
    def of(cls, sample: Sample) -> "Moment":
        """When the sample was taken."""
        return cls(sample.asked_us, sample.at_us, sample.tokens)


@dataclass(frozen=True, slots=True)
class Life:
    """The samples of one life, the oldest first. `birth`: when its counters were at zero, None where a life
    that we did not see begin does not say; `is_witnessed`: there are samples of the life before; `is_over`:
    there are some of the next one; `is_mixed`: they are of several engines.
    """

    samples: tuple[Sample, ...]
    birth: Moment | None
    is_witnessed: bool
    is_over: bool
    is_mixed: bool

    def start(self, since_us: int) -> Moment | None:
        """Where to begin for a look back to `since_us`: at the last sample from before it.

        Where there is none, at the birth of a life that we saw begin, or have a single sample of; else at the
        first sample: what somebody did with the engine before we stood in front of it is not our matter.
        """
        earlier = [sample for sample in self.samples if sample.at_us <= since_us]
        if earlier:
            return Moment.of(earlier[-1])
        if self.birth is not None and (self.is_witnessed or len(self.samples) == 1):
            return self.birth
        return Moment.of(self.samples[0])

    def end(self, now_us: int) -> tuple[Moment, bool]:
        """The newest sample that is closed, or else the newest one; and whether it is closed."""
        for place in range(len(self.samples) - 1, -1, -1):
            if self.is_closed(place, now_us):
                return Moment.of(self.samples[place]), True
        return Moment.of(self.samples[-1]), False

    def is_closed(self, place: int, now_us: int) -> bool:
        """Whether the ledger has what was counted by then."""
        sample = self.samples[place]
        age_us = now_us - sample.at_us
        if (self.is_over and age_us >= STILL_US) or age_us >= CALL_US:
            return True
        if sample.in_flight == 0 and age_us >= STILL_US:
            return True
        return any(
            abs(other.at_us - sample.at_us) >= STILL_US and other.tokens == sample.tokens
            for other in self.samples[max(0, place - 2) : place + 3]
        )


def lives(samples: Iterable[Sample]) -> list[Life]:
    """The lives of one engine with one model, the oldest first."""
    runs: list[list[Sample]] = []
    for sample in sorted(samples, key=lambda each: each.at_us):
        if runs and _is_same_life(runs[-1][-1], sample):
            runs[-1].append(sample)
        else:
            runs.append([sample])
    seen = [run[0].engine_started_us for run in runs if run[0].engine_started_us]
    is_mixed = len(seen) != len(set(seen))
    return [
        Life(tuple(run), _birth(runs, number), number > 0, number + 1 < len(runs), is_mixed)
        for number, run in enumerate(runs)
    ]


def _is_same_life(before: Sample, after: Sample) -> bool:
    fell = after.tokens.prompt < before.tokens.prompt or after.tokens.generation < before.tokens.generation
    return before.engine_started_us == after.engine_started_us and not fell


def _birth(runs: Sequence[Sequence[Sample]], number: int) -> Moment | None:
    """When the counters were at zero: as the engine says, if that can be by our clock; else at some instant
    after the last sample of the life before.
    """
    first = runs[number][0]
    born_us = first.counting_since_us or first.engine_started_us
    earliest_us = runs[number - 1][-1].at_us if number else 0
    if born_us and earliest_us <= born_us <= first.asked_us:
        return Moment(born_us, born_us, NO_TOKENS)
    return Moment(earliest_us, first.asked_us, NO_TOKENS) if number else None
