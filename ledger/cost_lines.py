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


def cost_lines(counts: Counts, rates: Rates) -> list[tuple[CostKind, int, int]]:
    """Each kind that there was some of: its quantity (tokens; calls, where requests have a price), and what
    it cost in picos. Together they are the amount.
    """
    calls, prompt, cached, completion = counts
    requests = calls if rates.request_micros else 0
    kinds = (
        (CostKind.INPUT, prompt - cached, rates.input_micros_per_mtok),
        (CostKind.CACHED_INPUT, cached, rates.cached_input_micros_per_mtok),
        (CostKind.OUTPUT, completion, rates.output_micros_per_mtok),
        (CostKind.REQUESTS, requests, rates.request_micros * PICOS_PER_MICRO),
    )
    return [(kind, quantity, quantity * price) for kind, quantity, price in kinds if quantity]
