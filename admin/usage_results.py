"""Groups of the book as results of OpenAI's usage and costs. Pure.

A dimension that is not grouped by is null. metergate has no batch jobs and no service tiers: grouped by, the
first is false and the second null.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from admin.usage_schemas import CompletionsResult, CostsResult, EmbeddingsResult
from ledger.bucket_reports import BucketGroup
from ledger.cost_lines import CostKind, PricedVersion, cost_lines
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
    sums: dict[tuple[int, tuple[str, ...], str, str, CostKind | None], list[int]] = {}
    for bucket_us, (*group, version_id), counts in groups:
        version = versions[version_id]
        for kind, quantity, picos in cost_lines(counts, version.rates):
            if kind is CostKind.REQUESTS and not version.rates.request_micros:
                continue  # requests are not charged for
            if LINE_ITEM in asked and not quantity:
                continue
            item = (version.model, kind) if LINE_ITEM in asked else ("", None)
            total = sums.setdefault((bucket_us, tuple(group), version.currency, *item), [0, 0])
            total[0] += picos
            total[1] += quantity
    for (bucket_us, names, currency, model, told), (picos, quantity) in sums.items():
        result: Any = {
            "object": "organization.costs.result",
            "amount": {"value": msgspec.Raw(format_picos(picos).encode()), "currency": currency.lower()},
            "line_item": None if told is None else f"{model}, {told}",
            "project_id": None,
            "api_key_id": None,
            "quantity": None if told is None else quantity,
            "quantity_unit": "tokens" if told not in (None, CostKind.REQUESTS) else None,
            **dict(zip(by, names, strict=True)),
        }
        yield bucket_us, result
