"""Usage and costs by bucket: what is asked for ties with a plain sum over the calls, on both databases."""

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import prices
from ledger.bucket_reports import BucketRead, CallFilter, cost_days, priced_versions, usage_buckets
from ledger.buckets import BucketWidth
from ledger.cost_lines import CostKind, Counts, amount_picos, cost_lines
from ledger.database import Database
from ledger.ids import id_at
from ledger.money import Rates, rate_counts
from ledger.periods import DAY_US, HOUR_US
from ledger.posting import post
from ledger.record import CallRecord
from ledger.terms import Terms
from ledger.usage import UsageSource
from tests.records import NOON_US, a_record

SECOND_US = 1_000_000
DIMENSIONS = ("project_id", "api_key_id", "model")
GROUPINGS = [by for size in range(4) for by in itertools.combinations(DIMENSIONS, size)]
MODELS = ("tiny", "free", "vectors")
FROM_US = NOON_US - NOON_US % DAY_US
RATES = (Rates(150_000, 75_000, 600_000, 7), Rates(140_001, 70_000, 590_000), Rates(3, 2, 1, 1))
"""Of `tiny` from the beginning, from the middle of an hour on, and for one tenant alone."""
CHANGED_US = NOON_US + 10 * 60 * SECOND_US + 1

_tenants = (f"org-{number}" for number in itertools.count())
_numbers = itertools.count()


@st.composite
def call(draw: st.DrawFn) -> dict[str, Any]:
    """A call of one of a few keys, at and around every kind of boundary within three days."""
    day, hour = draw(st.integers(0, 2)), draw(st.sampled_from([0, 1, 11, 12, 13, 23]))
    into_us = draw(st.sampled_from([0, 1, 59_999_999, 60_000_000, 600_000_000, 600_000_001, HOUR_US - 1]))
    key = draw(st.integers(0, 4))
    model = draw(st.sampled_from(MODELS))
    is_lost = draw(st.integers(0, 9)) == 0
    prompt = 0 if is_lost else draw(st.integers(0, 2**40))
    return {
        "started_us": FROM_US + day * DAY_US + hour * HOUR_US + into_us,
        "project_id": f"proj_{key % 2}",
        "api_key_id": f"key_{key}",
        "model": model,
        "endpoint": "embeddings" if model == "vectors" else "chat.completions",
        "usage_source": UsageSource.UNRESOLVED if is_lost else UsageSource.FINAL,
        "prompt_tokens": prompt,
        "cached_prompt_tokens": draw(st.integers(0, prompt)),
        "completion_tokens": 0 if is_lost else draw(st.integers(0, 2**40)),
    }


instants = st.one_of(
    st.integers(-1, 3 * 24 * 60).map(lambda minutes: FROM_US + minutes * 60 * SECOND_US),
    st.integers(0, 3 * 86_400).map(lambda seconds: FROM_US + seconds * SECOND_US),
    st.integers(0, 3).map(lambda days: FROM_US + days * DAY_US),
)
questions = st.tuples(
    instants,
    instants,
    st.sampled_from(BucketWidth),
    st.sampled_from([tuple(order) for by in GROUPINGS for order in itertools.permutations(by)]),
    st.one_of(st.none(), st.sets(st.sampled_from(["proj_0", "proj_1", "proj_9"]))),
    st.one_of(st.none(), st.sets(st.sampled_from([f"key_{number}" for number in range(5)]))),
    st.one_of(st.none(), st.sets(st.sampled_from(MODELS))),
    st.sampled_from([None, True, False]),
)


def matches(record: CallRecord, wanted: CallFilter) -> bool:
    return (
        wanted.from_us <= record.started_us < wanted.until_us
        and (wanted.project_ids is None or record.project_id in wanted.project_ids)
        and (wanted.api_key_ids is None or record.api_key_id in wanted.api_key_ids)
        and (wanted.models is None or record.model in wanted.models)
        and (wanted.embeddings is None or (record.endpoint == "embeddings") == wanted.embeddings)
    )


def added_up(
    records: Sequence[CallRecord], wanted: CallFilter, width_us: int, by: Sequence[str]
) -> dict[Any, Counter[str]]:
    """What a person would add up."""
    sums: dict[Any, Counter[str]] = {}
    for record in records:
        if matches(record, wanted):
            bucket_us = record.started_us - record.started_us % width_us
            key = (bucket_us, *(getattr(record, name) for name in by))
            counted = {"calls": 1} | {name: getattr(record, name) for name in Counts._fields[1:]}
            sums.setdefault(key, Counter()).update(counted)
    return sums


def as_sums(read: BucketRead) -> dict[Any, Counter[str]]:
    found = {(group.bucket_us, *group.group): Counter(group.counts._asdict()) for group in read.groups}
    assert len(found) == len(read.groups), "a group is there twice"
    assert [group.bucket_us for group in read.groups] == sorted(group.bucket_us for group in read.groups)
    return found


async def rated_book(database: Database, tenant_id: str, calls: list[dict[str, Any]]) -> list[CallRecord]:
    """The calls, posted; priced by two versions of everybody's."""
    async with database.write() as session:
        if not await prices.list_prices(session):
            await prices.set_price(session, "tiny", RATES[0], 1)
            await prices.set_price(session, "tiny", RATES[1], 1, from_us=CHANGED_US, currency="EUR")
            await prices.set_price(session, "vectors", RATES[2], 1)
    records = [
        a_record(
            tenant_id=tenant_id,
            request_id=f"{id_at(fields['started_us'])}{next(_numbers):018x}",
            ended_us=fields["started_us"] + 1,
            **fields,
        )
        for fields in calls
    ]
    for begin in range(0, len(records), 7):  # several postings add to the same sums
        batch = records[begin : begin + 7]
        await database.transact(lambda connection, batch=batch: post(connection, batch, Terms(), NOON_US))
    return records


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(calls=st.lists(call(), max_size=40), asked=st.lists(questions, min_size=8, max_size=25))
async def test_every_grouping_filter_and_width_ties_with_the_calls(
    database: Database, calls: list[dict[str, Any]], asked: list[Any]
) -> None:
    """Guards against a call in two parts of a span or in none, a part read from a rollup that cannot answer,
    and a group told twice.
    """
    tenant_id = next(_tenants)
    records = await rated_book(database, tenant_id, calls)
    async with database.read() as session:
        for begin_us, end_us, width, by, projects, keys, models, embeddings in asked:
            wanted = CallFilter(tenant_id, begin_us, end_us, projects, keys, models, embeddings)
            read = await usage_buckets(session, wanted, width, by)
            assert read.until_us == end_us
            assert as_sums(read) == added_up(records, wanted, width.us, by)


@lru_cache
def rates_at(model: str, started_us: int) -> tuple[Rates, str] | None:
    if model == "free":
        return None
    if model == "vectors":
        return RATES[2], "USD"
    return (RATES[0], "USD") if started_us < CHANGED_US else (RATES[1], "EUR")


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(calls=st.lists(call(), max_size=40))
async def test_costs_tie_with_the_calls_to_the_pico(database: Database, calls: list[dict[str, Any]]) -> None:
    """Guards against a day of two prices, currencies added up, and a charge for what is unresolved."""
    tenant_id = next(_tenants)
    records = await rated_book(database, tenant_id, calls)
    wanted = CallFilter(tenant_id, FROM_US, FROM_US + 3 * DAY_US)
    for by in ((), ("project_id",), ("api_key_id",), ("api_key_id", "project_id")):
        expected: Counter[Any] = Counter()
        for record in records:
            rated = rates_at(record.model, record.started_us)
            if rated is not None and record.usage_source is not UsageSource.UNRESOLVED:
                day_us = record.started_us - record.started_us % DAY_US
                group = (day_us, *(getattr(record, name) for name in by), record.model, rated[1])
                counts = (record.prompt_tokens, record.cached_prompt_tokens, record.completion_tokens)
                expected[group] += rate_counts(*counts, rated[0])
        found: Counter[Any] = Counter()
        async with database.read() as session:
            read = await cost_days(session, wanted, by)
            versions = await priced_versions(session, {group.group[-1] for group in read.groups})
        for group in read.groups:
            version = versions[group.group[-1]]
            picos = amount_picos(group.counts, version.rates)
            assert picos == sum(cost_lines(group.counts, version.rates)[len(CostKind) :])
            found[group.bucket_us, *group.group[:-1], version.model, version.currency] += picos
        assert found == expected


@pytest.mark.parametrize("width", BucketWidth)
async def test_a_read_ends_early_with_whole_buckets_and_goes_on(
    database: Database, width: BucketWidth
) -> None:
    """Guards against a bucket cut in two, a page that never ends, and calls lost between two reads."""
    calls: list[dict[str, Any]] = [
        {"started_us": FROM_US + number * HOUR_US * 7 // 3, "api_key_id": f"key_{number % 5}"}
        for number in range(30)
        for _ in range(1 + number % 4)
    ]
    records = await rated_book(database, "org-early", [{"model": "tiny", **call} for call in calls])
    whole = CallFilter("org-early", FROM_US + 90 * SECOND_US, FROM_US + 3 * DAY_US)
    for groups_max in (1, 3, 10):
        found: dict[Any, Counter[str]] = {}
        reads, from_us = 0, whole.from_us
        while from_us < whole.until_us:
            wanted = CallFilter("org-early", from_us, whole.until_us)
            async with database.read() as session:
                read = await usage_buckets(session, wanted, width, ("api_key_id",), groups_max)
            assert from_us < read.until_us <= whole.until_us
            assert read.until_us % width.us == 0
            buckets = {group.bucket_us for group in read.groups}
            assert len(read.groups) <= groups_max or len(buckets) == 1
            sums = as_sums(read)
            assert not sums.keys() & found.keys()
            found |= sums
            reads, from_us = reads + 1, read.until_us
        assert found == added_up(records, whole, width.us, ("api_key_id",))
        assert reads > 1
