"""Groups of the book as results of OpenAI's usage and costs, as they are written; no I/O.

Thousands of them are a page, so each is one object that the encoder takes as it is (admin/usage_schemas.py
says the same to readers; a test holds the two together). A dimension that is not grouped by is null. There
are no batch jobs and no service tiers: grouped by, the first is false and the second null.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import add, itemgetter
from typing import Any, Final

from msgspec import Raw, Struct

from ledger.bucket_reports import BucketGroup
from ledger.cost_lines import CostKind, PricedVersion, amount_picos, cost_lines
from ledger.money import PICOS_PER_UNIT, format_picos

LINE_ITEM: Final = "line_item"
_KINDS: Final = len(CostKind)
_FLOAT_IS_EXACT: Final = 10**15

Name = str | None
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

    value: float | Raw
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
    priced = {id_: (version.currency.lower(), version.rates) for id_, version in versions.items()}
    sums: dict[tuple[int, tuple[Name, ...], str], int] = {}
    for bucket_us, group, counts in groups:
        currency, rates = priced[str(group[-1])]
        key = (bucket_us, group[:-1], currency)
        sums[key] = sums.get(key, 0) + amount_picos(counts, rates)
    results: dict[int, list[Any]] = {}
    for (bucket_us, names, currency), picos in sums.items():
        project_id, api_key_id = named(names)
        result = Costs(Money(_number(picos), currency), None, project_id, api_key_id, None, None)
        results.setdefault(bucket_us, []).append(result)
    return results


def _line_items(
    groups: Iterable[BucketGroup], versions: Mapping[str, PricedVersion], by: Sequence[str]
) -> Results:
    named = _placed(by, ("project_id", "api_key_id"))
    priced = {
        id_: (version.model, version.currency.lower(), version.rates) for id_, version in versions.items()
    }
    items = {
        model: [(place, f"{model}, {kind}", _unit(kind)) for place, kind in enumerate(CostKind)]
        for model, _, _ in priced.values()
    }
    sums: dict[tuple[int, tuple[Name, ...], str, str], tuple[int, ...]] = {}
    for bucket_us, group, counts in groups:
        model, currency, rates = priced[str(group[-1])]
        lines = cost_lines(counts, rates)
        key = (bucket_us, group[:-1], model, currency)
        before = sums.get(key)  # another version of the same day
        sums[key] = lines if before is None else tuple(map(add, before, lines))
    results: dict[int, list[Any]] = {}
    for (bucket_us, names, model, currency), lines in sums.items():
        of_bucket = results.setdefault(bucket_us, [])
        project_id, api_key_id = named(names)
        for place, item, unit in items[model]:
            if quantity := lines[place]:
                money = Money(_number(lines[place + _KINDS]), currency)
                of_bucket.append(Costs(money, item, project_id, api_key_id, quantity, unit))
    return results


def _unit(kind: CostKind) -> str | None:
    return None if kind is CostKind.REQUESTS else "tokens"


def _number(picos: int) -> float | Raw:
    """What is written as the exact amount. Up to 15 digits a float is: its shortest text is the decimal that
    it was made of (and is made five times as fast).
    """
    if -_FLOAT_IS_EXACT < picos < _FLOAT_IS_EXACT:
        return picos / PICOS_PER_UNIT
    return Raw(format_picos(picos).encode())


def _placed(by: Sequence[str], names: Sequence[str]) -> Callable[[tuple[Name, ...]], tuple[Name, ...]]:
    """What puts a group's values in the order of `names`, null for what is not grouped by."""
    pick = itemgetter(*(by.index(name) if name in by else -1 for name in names))

    def place(group: tuple[Name, ...]) -> tuple[Name, ...]:
        placed: tuple[Name, ...] = pick((*group, None))
        return placed

    return place
