"""How an engine's counters and the ledger stand to each other between two moments. Pure.

An engine counts tokens when it makes them, the ledger has a call's tokens when the call has ended. So the
two are compared as bounds. A call belongs to the span that it started in; it is *across* a moment if it
started before and ended after it, give or take MARGIN_US. With

    counted = prompts, each once for each of its n choices (that is how vLLM counts), and completions

the engine's counter must have grown by no less than `low` and no more than `high`:

    low  = counted - prompts of choices that may never have begun      high = counted + tokens told to nobody
           - calls of the span that are across its end                        + calls from before its start
           - calls of the span that are across its start                      + calls from after its end

Nothing in flight at both moments makes low = high but for streams that broke off. Spans that meet add up, and
what is across the moment between them cancels out: only the outer moments widen the bounds.

What no bound holds for is named: a call whose count is unknown may have cost anything. It must not know where
the numbers come from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.record import Ending
from ledger.usage import UsageSource

MARGIN_US: Final = 1_000_000
"""How far the clocks of the proxies and of who samples may differ, and how late an engine may count."""

UNTOLD_OF_DRAINED: Final = 2
"""Of a choice whose stream was half-closed and read to its end, vLLM 0.32 counted no more that it did not
tell (0 in 25 single streams; 0 to 16 over batches of 30 on a starved CPU).
"""
UNTOLD_OF_CUT: Final = 160
"""Of one whose connection was closed at once: 145 at the most in 79 runs, most often none."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What counters tell: prompt tokens as the engine counts them, and generated ones."""

    prompt: int = 0
    generation: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        """Both together."""
        return Tokens(self.prompt + other.prompt, self.generation + other.generation)

    def __sub__(self, other: "Tokens") -> "Tokens":
        """What is left; may be below zero."""
        return Tokens(self.prompt - other.prompt, self.generation - other.generation)

    @property
    def total(self) -> int:
        """Of both kinds."""
        return self.prompt + self.generation


NO_TOKENS: Final = Tokens()


@dataclass(frozen=True, slots=True)
class Alike:
    """Calls that ended alike, added up. `folded_prompt_tokens`: each prompt once for each of its choices."""

    source: UsageSource
    ending: Ending
    encrypted: bool
    calls: int
    choices: int
    prompt_tokens: int
    folded_prompt_tokens: int
    completion_tokens: int

    @property
    def untold_tokens(self) -> int:
        """The most that the engine can have made of them without telling."""
        if self.source in (UsageSource.FINAL, UsageSource.UNRESOLVED):
            return 0
        # No half-close over TLS; a hung engine is hung up on, a killed worker's connections just close.
        cut = self.encrypted or self.source is UsageSource.RECOVERED or self.ending is Ending.ENGINE_HUNG
        return self.choices * (UNTOLD_OF_CUT if cut else UNTOLD_OF_DRAINED)


@dataclass(frozen=True, slots=True)
class Sums:
    """The ledger's calls of a span. `unknown_calls`: those without a count; `unsure_prompt_tokens`: of the
    folded ones, what was perhaps never read; `untold_tokens`: see Alike.
    """

    calls: int = 0
    unknown_calls: int = 0
    prompt_tokens: int = 0
    folded_prompt_tokens: int = 0
    completion_tokens: int = 0
    unsure_prompt_tokens: int = 0
    untold_tokens: int = 0

    @classmethod
    def of(cls, groups: Iterable[Alike]) -> "Sums":
        """All of them together."""
        total = cls()
        for group in groups:
            is_final = group.source is UsageSource.FINAL
            total += cls(
                group.calls,
                group.calls if group.source is UsageSource.UNRESOLVED else 0,
                group.prompt_tokens,
                group.folded_prompt_tokens,
                group.completion_tokens,
                0 if is_final else group.folded_prompt_tokens - group.prompt_tokens,
                group.untold_tokens,
            )
        return total

    def __add__(self, other: "Sums") -> "Sums":
        """Two spans' calls."""
        return Sums(
            self.calls + other.calls,
            self.unknown_calls + other.unknown_calls,
            self.prompt_tokens + other.prompt_tokens,
            self.folded_prompt_tokens + other.folded_prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.unsure_prompt_tokens + other.unsure_prompt_tokens,
            self.untold_tokens + other.untold_tokens,
        )

    @property
    def counted(self) -> Tokens:
        """What the engine should have counted."""
        return Tokens(self.folded_prompt_tokens, self.completion_tokens)

    @property
    def most(self) -> Tokens:
        """The most that it can have counted for them."""
        return Tokens(self.folded_prompt_tokens, self.completion_tokens + self.untold_tokens)


@dataclass(frozen=True, slots=True)
class Edge:
    """Calls across a moment: the most they can have cost on the side that they do not belong to.

    `before`: of those that started before it; `after`: of those that started after it, as far as the clocks
    may differ.
    """

    before: Tokens = NO_TOKENS
    after: Tokens = NO_TOKENS
    unknown_calls: int = 0


NO_EDGE: Final = Edge()


@dataclass(frozen=True, slots=True)
class Point:
    """Engine and ledger at one moment. `engine`: its counters, from its start; `sums`: of the calls that
    started between the point before and this one.
    """

    at_us: int
    engine: Tokens
    sums: Sums = Sums()
    edge: Edge = NO_EDGE


class Verdict(StrEnum):
    """How a window came out."""

    EXACT = "exact"  # to the token
    EXPLAINED = "explained"  # a difference, within what the calls themselves allow
    UNKNOWN_CALLS = "unknown_calls"  # the engine counted more; calls without a count may be all of it
    OPEN = "open"  # the engine counted more; it may be of calls that have not ended
    ENGINE_ABOVE = "engine_above"  # the engine counted more than any call of ours explains
    LEDGER_ABOVE = "ledger_above"  # the ledger has more than the engine counted: it should never be


@dataclass(frozen=True, slots=True)
class Window:
    """What came between two points of one life of an engine. `is_open`: calls may still be in flight at its
    end that have no row yet.
    """

    from_us: int
    until_us: int
    engine: Tokens
    sums: Sums
    start: Edge
    end: Edge
    is_open: bool = False

    @classmethod
    def over(cls, points: Sequence[Point], *, is_open: bool = False) -> "Window":
        """From the first point to the last. Takes two at least, in their order."""
        assert len(points) > 1, points
        first, last = points[0], points[-1]
        sums = Sums()
        for point in points[1:]:
            sums += point.sums
        return cls(first.at_us, last.at_us, last.engine - first.engine, sums, first.edge, last.edge, is_open)

    @property
    def low(self) -> Tokens:
        """The least that the engine can have counted."""
        begun = self.sums.counted - Tokens(self.sums.unsure_prompt_tokens)
        least = begun - self.start.after - self.end.before
        return Tokens(max(0, least.prompt), max(0, least.generation))

    @property
    def high(self) -> Tokens:
        """The most, but for calls without a count and those that have not ended."""
        return self.sums.most + self.start.before + self.end.after

    @property
    def unknown_calls(self) -> int:
        """Calls without a count that may have cost something here."""
        return self.sums.unknown_calls + self.start.unknown_calls + self.end.unknown_calls

    @property
    def difference(self) -> Tokens:
        """What the engine counted above the ledger."""
        return self.engine - self.sums.counted

    @property
    def beyond(self) -> Tokens:
        """How far the engine's count is above `high`, or (negative) below `low`."""
        low, high, engine = self.low, self.high, self.engine
        return Tokens(
            _beyond(engine.prompt, low.prompt, high.prompt),
            _beyond(engine.generation, low.generation, high.generation),
        )

    @property
    def unexplained(self) -> Tokens:
        """As `beyond`, without what calls of unknown count, or calls in flight, may be."""
        beyond = self.beyond
        if self.unknown_calls or self.is_open:
            return Tokens(min(0, beyond.prompt), min(0, beyond.generation))
        return beyond

    @property
    def capture_ratio(self) -> float | None:
        """Of all that the engine counted, what the ledger has; None where it counted nothing."""
        return self.sums.counted.total / self.engine.total if self.engine.total else None

    def verdict(self, tolerance: int = 0) -> Verdict:
        """How it came out; `tolerance`: tokens of either kind that are let go beyond the bounds."""
        beyond = self.beyond
        if min(beyond.prompt, beyond.generation) < -tolerance:
            return Verdict.LEDGER_ABOVE
        if max(beyond.prompt, beyond.generation) > tolerance:
            if self.is_open:
                return Verdict.OPEN
            return Verdict.UNKNOWN_CALLS if self.unknown_calls else Verdict.ENGINE_ABOVE
        is_exact = self.difference == NO_TOKENS and self.low == self.high
        return Verdict.EXACT if is_exact else Verdict.EXPLAINED


def _beyond(value: int, low: int, high: int) -> int:
    return value - high if value > high else min(0, value - low)
