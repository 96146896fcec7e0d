"""What counts that one price version rated come to, and how that divides into kinds. Pure.

A price is linear, so the sum of many calls' amounts is the amount of their summed counts, to the last pico;
and what was paid for input, for cached input, for output and for requests are its four terms.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ledger.money import PICOS_PER_MICRO, Rates, rate_counts


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
    calls, prompt, cached, completion = counts
    of_requests = (calls - 1) * rates.request_micros * PICOS_PER_MICRO  # one call's are in the rate
    return rate_counts(prompt, cached, completion, rates) + of_requests


def cost_lines(counts: Counts, rates: Rates) -> tuple[int, ...]:
    """Of each kind how much there was (tokens; calls, where requests have a price), in the order of CostKind,
    and then in the same order what it cost in picos. Costs together are the amount, and lines add up.
    """
    calls, prompt, cached, completion = counts
    fresh = prompt - cached
    requests = calls if rates.request_micros else 0
    return (
        fresh,
        cached,
        completion,
        requests,
        fresh * rates.input_micros_per_mtok,
        cached * rates.cached_input_micros_per_mtok,
        completion * rates.output_micros_per_mtok,
        requests * rates.request_micros * PICOS_PER_MICRO,
    )
