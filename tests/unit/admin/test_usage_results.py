"""Results as they are written, against what the document says of them."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typing_extensions import get_type_hints

from admin import usage_results, usage_schemas
from ledger.bucket_reports import BucketGroup
from ledger.cost_lines import Counts, PricedVersion
from ledger.money import AMOUNT_PICOS_MAX, Rates

GROUPS = [
    BucketGroup(0, ("m", "user-a", "p"), Counts(2, 30, 10, 7)),
    BucketGroup(0, ("m", None, "p"), Counts(1, 3, 0, 2**60)),
]


def written(results: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(results))


@pytest.mark.parametrize(
    ("struct", "told"),
    [
        (usage_results.Completions, usage_schemas.CompletionsResult),
        (usage_results.Embeddings, usage_schemas.EmbeddingsResult),
        (usage_results.Costs, usage_schemas.CostsResult),
        (usage_results.Money, usage_schemas.Amount),
    ],
)
def test_the_document_tells_the_members_that_are_written(struct: Any, told: Any) -> None:
    """Guards against a document of other answers than are given: they are written down twice, for speed."""
    tag = [] if struct.__struct_config__.tag is None else ["object"]
    assert [*tag, *struct.__struct_fields__] == list(get_type_hints(told))


def test_names_stand_where_they_belong_whatever_the_order_of_the_groupings() -> None:
    """Guards against a user told for a model."""
    by = ("model", "user_id", "project_id")
    first, second = written(usage_results.completions_results(GROUPS, by, {*by, "batch"}))["0"]
    assert first == {
        "object": "organization.usage.completions.result",
        "input_tokens": 30, "input_cached_tokens": 10, "input_uncached_tokens": 20, "output_tokens": 7,
        "num_model_requests": 2, "project_id": "p", "user_id": "user-a", "api_key_id": None, "model": "m",
        "batch": False, "service_tier": None,
    }  # fmt: skip
    assert (second["user_id"], second["output_tokens"]) == (None, 2**60)
    (alone, _) = written(usage_results.embeddings_results(GROUPS, by))["0"]
    assert alone == {
        "object": "organization.usage.embeddings.result", "input_tokens": 30, "num_model_requests": 2,
        "project_id": "p", "user_id": "user-a", "api_key_id": None, "model": "m",
    }  # fmt: skip


def test_two_prices_of_a_day_are_one_line_item() -> None:
    """Guards against an item told twice, and against kinds of two versions that are not added up."""
    versions = {
        "a": PricedVersion("m", "USD", Rates(2, 1, 3)),
        "b": PricedVersion("m", "USD", Rates(4, 1, 3, 5)),
    }
    groups = [
        BucketGroup(0, ("k", "a"), Counts(1, 10, 0, 1)),
        BucketGroup(0, ("k", "b"), Counts(1, 10, 4, 1)),
    ]
    items = written(usage_results.costs_results(groups, versions, ("api_key_id",), {"line_item"}))["0"]
    assert {(item["line_item"], item["quantity"], item["quantity_unit"]) for item in items} == {
        ("m, input", 16, "tokens"), ("m, cached input", 4, "tokens"), ("m, output", 2, "tokens"),
        ("m, requests", 1, None),
    }  # fmt: skip
    (whole,) = written(usage_results.costs_results(groups, versions, ("api_key_id",), set()))["0"]
    assert whole["amount"]["value"] == pytest.approx(sum(item["amount"]["value"] for item in items))
    assert {item["api_key_id"] for item in [*items, whole]} == {"k"} and len(items) == 4


@given(picos=st.integers(1, 10**21))
@example(picos=1)
@example(picos=10**15 - 1)
@example(picos=10**15)
@example(picos=123_456_789_012_345)
@example(picos=AMOUNT_PICOS_MAX)
def test_amounts_are_written_to_the_last_pico(picos: int) -> None:
    """Guards against an amount that a float has rounded: what reads decimals finds the book's own."""
    version = PricedVersion("m", "USD", Rates(1, 0, 0))
    groups = [BucketGroup(0, ("p",), Counts(1, picos, 0, 0))]
    for asked in ({"line_item"}, set()):
        text = msgspec.json.encode(usage_results.costs_results(groups, {"p": version}, (), asked)[0])
        (found,) = json.loads(text, parse_float=Decimal)
        assert found["amount"]["value"] * 10**12 == picos
