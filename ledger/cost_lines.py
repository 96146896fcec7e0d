"""What counts that one price version rated come to, and how that divides into kinds. Pure.

A price is linear, so the sum of many calls' amounts is the amount of their summed counts, to the last pico;
and what was paid for input, for cached input, for output and for requests are its four terms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ledger.money import PICOS_PER_MICRO, Rates


class Counts(NamedTuple):
    """Calls and tokens added up; cached prompt tokens are among the prompt tokens."""

    calls: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int


class CostKind(StrEnum):
    """What was paid for."""

    INPUT = "input"
    CACHED_INPUT = "cached input"
    OUTPUT = "output"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class PricedVersion:
    """A price version as costs need it."""

    model: str
    currency: str
    rates: Rates


def amount_picos(counts: Counts, rates: Rates) -> int:
    """What the calls cost together, exact."""
    return sum(picos for _, _, picos in cost_lines(counts, rates))


def cost_lines(counts: Counts, rates: Rates) -> Iterator[tuple[CostKind, int, int]]:
    """Each kind, its quantity (tokens; calls for requests), and what it cost in picos."""
    calls, prompt, cached, completion = counts
    yield CostKind.INPUT, prompt - cached, (prompt - cached) * rates.input_micros_per_mtok
    yield CostKind.CACHED_INPUT, cached, cached * rates.cached_input_micros_per_mtok
    yield CostKind.OUTPUT, completion, completion * rates.output_micros_per_mtok
    yield CostKind.REQUESTS, calls, calls * rates.request_micros * PICOS_PER_MICRO
