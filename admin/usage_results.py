"""Groups of the book as results of OpenAI's usage and costs, as they are written; no I/O.

Thousands of them are a page, so each is one object that the encoder takes as it is (admin/usage_schemas.py
says the same to readers; a test holds the two together). A dimension that is not grouped by is null. There
are no batch jobs and no service tiers: grouped by, the first is false and the second null.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from msgspec import Raw, Struct

from ledger.bucket_reports import BucketGroup
from ledger.cost_lines import CostKind, PricedVersion, amount_picos, cost_lines
from ledger.money import format_picos

LINE_ITEM: Final = "line_item"

Name = str | None
Line = tuple[CostKind, int, int]
Results = Mapping[int, list[Any]]
"""The results of each bucket, by when it begins in UTC."""


class Completions(Struct, gc=False, tag_field="object", tag="organization.usage.completions.result"):
    """CompletionsResult."""

    input_tokens: int
    input_cached_tokens: int
    input_uncached_tokens: int
    output_tokens: int
    num_model_requests: int
    project_id: Name
    user_id: Name
    api_key_id: Name
    model: Name
    batch: bool | None
    service_tier: str | None


class Embeddings(Struct, gc=False, tag_field="object", tag="organization.usage.embeddings.result"):
    """EmbeddingsResult."""

    input_tokens: int
    num_model_requests: int
    project_id: Name
    user_id: Name
    api_key_id: Name
    model: Name


class Money(Struct, gc=False):
    """Amount."""

    value: Raw
    currency: str


class Costs(Struct, gc=False, tag_field="object", tag="organization.costs.result"):
    """CostsResult."""

    amount: Money
    line_item: str | None
    project_id: Name
    api_key_id: Name
    quantity: int | None
    quantity_unit: str | None


def completions_results(groups: Iterable[BucketGroup], by: Sequence[str], asked: Collection[str]) -> Results:
    """The groups, grouped by `by`; `asked` are the request's own groupings."""
    named = _placed(by, ("project_id", "user_id", "api_key_id", "model"))
    batch = False if "batch" in asked else None
    results: dict[int, list[Any]] = {}
    for bucket_us, group, (calls, prompt, cached, completion) in groups:
        project_id, user_id, api_key_id, model = named(group)
        result = Completions(
            prompt,
            cached,
            prompt - cached,
            completion,
            calls,
            project_id,
            user_id,
            api_key_id,
            model,
            batch,
            None,
        )
        results.setdefault(bucket_us, []).append(result)
    return results


def embeddings_results(groups: Iterable[BucketGroup], by: Sequence[str]) -> Results:
    """As completions_results."""
    named = _placed(by, ("project_id", "user_id", "api_key_id", "model"))
    results: dict[int, list[Any]] = {}
    for bucket_us, group, counts in groups:
        result = Embeddings(counts.prompt_tokens, counts.calls, *named(group))
        results.setdefault(bucket_us, []).append(result)
    return results


def costs_results(
    groups: Iterable[BucketGroup],
    versions: Mapping[str, PricedVersion],
    by: Sequence[str],
    asked: Collection[str],
) -> Results:
    """Days' costs: each currency by itself, and where asked each line item: a model and what was paid for.

    `groups` are grouped by `by`, and by what rated them.
    """
    return _line_items(groups, versions, by) if LINE_ITEM in asked else _amounts(groups, versions, by)


def _amounts(
    groups: Iterable[BucketGroup], versions: Mapping[str, PricedVersion], by: Sequence[str]
) -> Results:
    named = _placed(by, ("project_id", "api_key_id"))
    sums: dict[tuple[int, tuple[Name, ...], str], int] = {}
    for bucket_us, group, counts in groups:
        version = versions[str(group[-1])]
        key = (bucket_us, group[:-1], version.currency.lower())
        sums[key] = sums.get(key, 0) + amount_picos(counts, version.rates)
    results: dict[int, list[Any]] = {}
    for (bucket_us, names, currency), picos in sums.items():
        project_id, api_key_id = named(names)
        amount = Money(Raw(format_picos(picos).encode()), currency)
        result = Costs(amount, None, project_id, api_key_id, None, None)
        results.setdefault(bucket_us, []).append(result)
    return results


def _line_items(
    groups: Iterable[BucketGroup], versions: Mapping[str, PricedVersion], by: Sequence[str]
) -> Results:
    named = _placed(by, ("project_id", "api_key_id"))
    items = {
        model: {kind: (f"{model}, {kind}", _unit(kind)) for kind in CostKind}
        for model in {version.model for version in versions.values()}
    }
    sums: dict[tuple[int, tuple[Name, ...], str, str], list[Line]] = {}
    for bucket_us, group, counts in groups:
        version = versions[str(group[-1])]
        lines = cost_lines(counts, version.rates)
        key = (bucket_us, group[:-1], version.model, version.currency.lower())
        before = sums.get(key)
        sums[key] = lines if before is None else _added(before, lines)  # another version of the same day
    results: dict[int, list[Any]] = {}
    for (bucket_us, names, model, currency), lines in sums.items():
        of_bucket, of_model = results.setdefault(bucket_us, []), items[model]
        project_id, api_key_id = named(names)
        for kind, quantity, picos in lines:
            item, unit = of_model[kind]
            amount = Money(Raw(format_picos(picos).encode()), currency)
            of_bucket.append(Costs(amount, item, project_id, api_key_id, quantity, unit))
    return results


def _added(before: list[Line], lines: list[Line]) -> list[Line]:
    sums = {kind: (quantity, picos) for kind, quantity, picos in before}
    for kind, quantity, picos in lines:
        there = sums.get(kind, (0, 0))
        sums[kind] = (there[0] + quantity, there[1] + picos)
    return [(kind, *sum_) for kind, sum_ in sums.items()]


def _unit(kind: CostKind) -> str | None:
    return None if kind is CostKind.REQUESTS else "tokens"


def _placed(by: Sequence[str], names: Sequence[str]) -> Callable[[tuple[Name, ...]], tuple[Name, ...]]:
    """What puts a group's values in the order of `names`, null for what is not grouped by."""
    pick = itemgetter(*(by.index(name) if name in by else -1 for name in names))

    def place(group: tuple[Name, ...]) -> tuple[Name, ...]:
        placed: tuple[Name, ...] = pick((*group, None))
        return placed

    return place
