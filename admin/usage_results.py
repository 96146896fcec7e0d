"""Groups of the book as results of OpenAI's usage and costs; no I/O.

A dimension that is not grouped by is null. metergate has no batch jobs and no service tiers: grouped by, the
first is false and the second null.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from admin.usage_schemas import CompletionsResult, CostsResult, EmbeddingsResult
from ledger.bucket_reports import BucketGroup
from ledger.cost_lines import CostKind, PricedVersion, amount_picos, cost_lines
from ledger.money import format_picos

LINE_ITEM: Final = "line_item"

_NULLS: Final[dict[str, Any]] = dict.fromkeys(("project_id", "user_id", "api_key_id", "model"))


def completions_results(
    groups: Iterable[BucketGroup], by: Sequence[str], asked: Collection[str]
) -> Iterable[tuple[int, CompletionsResult]]:
    """Each group, grouped by `by`, with when its bucket begins; `asked` are the request's own groupings."""
    nulls = {**_NULLS, "batch": False if "batch" in asked else None, "service_tier": None}
    for bucket_us, group, (calls, prompt, cached, completion) in groups:
        result: Any = {
            "object": "organization.usage.completions.result",
            "input_tokens": prompt,
            "input_cached_tokens": cached,
            "input_uncached_tokens": prompt - cached,
            "output_tokens": completion,
            "num_model_requests": calls,
            **nulls,
            **dict(zip(by, group, strict=True)),
        }
        yield bucket_us, result


def embeddings_results(
    groups: Iterable[BucketGroup], by: Sequence[str]
) -> Iterable[tuple[int, EmbeddingsResult]]:
    """As completions_results."""
    for bucket_us, group, counts in groups:
        result: Any = {
            "object": "organization.usage.embeddings.result",
            "input_tokens": counts.prompt_tokens,
            "num_model_requests": counts.calls,
            **_NULLS,
            **dict(zip(by, group, strict=True)),
        }
        yield bucket_us, result


def costs_results(
    groups: Iterable[BucketGroup],
    versions: Mapping[str, PricedVersion],
    by: Sequence[str],
    asked: Collection[str],
) -> Iterable[tuple[int, CostsResult]]:
    """Days' costs: each currency by itself, and where asked each line item: a model and what was paid for.

    `groups` are grouped by `by`, and by what rated them.
    """
    sums: dict[tuple[Any, ...], tuple[int, int]] = {}
    for bucket_us, group, counts in groups:
        version = versions[group[-1]]
        lines: Sequence[tuple[CostKind | None, int, int]]
        if LINE_ITEM in asked:
            model, lines = version.model, cost_lines(counts, version.rates)
        else:
            model, lines = None, [(None, 0, amount_picos(counts, version.rates))]
        for kind, quantity, picos in lines:
            key = (bucket_us, group[:-1], version.currency, model, kind)
            before = sums.get(key)
            sums[key] = (quantity, picos) if before is None else (before[0] + quantity, before[1] + picos)
    for (bucket_us, names, currency, model, kind), (quantity, picos) in sums.items():
        is_item = kind is not None
        result: Any = {
            "object": "organization.costs.result",
            "amount": {"value": msgspec.Raw(format_picos(picos).encode()), "currency": currency.lower()},
            "line_item": f"{model}, {kind}" if is_item else None,
            "project_id": None,
            "api_key_id": None,
            "quantity": quantity if is_item else None,
            "quantity_unit": "tokens" if is_item and kind is not CostKind.REQUESTS else None,
            **dict(zip(by, names, strict=True)),
        }
        yield bucket_us, result
