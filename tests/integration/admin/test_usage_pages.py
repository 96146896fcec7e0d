"""OpenAI's usage and costs through the official client, against a real control plane on both databases."""

import asyncio
import importlib
import itertools
import json
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import openai
import pytest
from jsonschema import Draft202012Validator
from openai import AsyncOpenAI
from pydantic import BaseModel
from sqlalchemy import text

from admin.config import AdminSettings
from ledger import admin_keys, prices, tenancy
from ledger.database import Database
from ledger.ids import id_at
from ledger.money import PICOS_PER_UNIT, Rates, rate_counts
from ledger.periods import DAY_US, HOUR_US
from ledger.posting import post
from ledger.record import CallRecord
from ledger.roles import Role
from ledger.settings import pepper
from ledger.tables import KeyOwnership
from ledger.terms import Terms
from ledger.usage import UsageSource
from tests.acceptance.running import clean_environment
from tests.environments import cached
from tests.integration.admin import usage_tour
from tests.integration.admin.control_planes import serve
from tests.integration.admin.test_organization import NEXT_VERSION
from tests.records import a_record

PUBLISHED = json.loads((Path(__file__).parents[2] / "vectors/openai/usage.json").read_text())
RESULTS = {
    "completions": "UsageCompletionsResult",
    "embeddings": "UsageEmbeddingsResult",
    "costs": "CostsResult",
}
SECOND_US = 1_000_000
RATES = {
    "tiny": (Rates(150_000, 75_000, 600_000, 7), "USD"),
    "euro": (Rates(3, 1, 2), "EUR"),
    "vectors": (Rates(20_000, 10_000, 0), "USD"),
}
USAGE_GROUPS = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier")
PRODUCTS = {
    "completions": "UsageCompletionsResponse",
    "embeddings": "UsageEmbeddingsResponse",
    "moderations": "UsageModerationsResponse",
    "images": "UsageImagesResponse",
    "audio_speeches": "UsageAudioSpeechesResponse",
    "audio_transcriptions": "UsageAudioTranscriptionsResponse",
    "vector_stores": "UsageVectorStoresResponse",
    "code_interpreter_sessions": "UsageCodeInterpreterSessionsResponse",
    "file_search_calls": "UsageFileSearchCallsResponse",
    "web_search_calls": "UsageWebSearchCallsResponse",
    "costs": "UsageCostsResponse",
}


@dataclass(frozen=True)
class Accounts:
    """A tenant with calls of 40 days, and the clients that may read them."""

    owner: AsyncOpenAI
    of_project: AsyncOpenAI
    stranger: AsyncOpenAI
    operator: AsyncOpenAI
    tenant_id: str
    project_ids: list[str]
    key_ids: list[str]
    records: list[CallRecord]
    now_us: int
    url: str
    given_away_us: int

    def start(self, days: int) -> int:
        """The beginning of the UTC day so many days ago, in seconds."""
        return (self.now_us - self.now_us % DAY_US - days * DAY_US) // SECOND_US


@pytest.fixture
async def accounts(database_url: str, tmp_path: Path) -> AsyncIterator[Accounts]:
    async with accounts_on(database_url, tmp_path) as made:
        yield made


@pytest.fixture
async def sqlite_accounts(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Accounts]:
    async with accounts_on(sqlite_url, tmp_path) as made:
        yield made


@asynccontextmanager
async def accounts_on(database_url: str, tmp_path: Path) -> AsyncIterator[Accounts]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path)
    database = Database(database_url)
    secret, now_us = pepper(settings), time.time_ns() // 1000
    async with database.write() as session:
        for model, (rates, currency) in RATES.items():
            await prices.set_price(session, model, rates, 1, currency=currency)
        tenants = [await tenancy.create_tenant(session, name, 1) for name in ("Acme", "Other")]
        projects = [await tenancy.create_project(session, tenants[0].id, name, 1) for name in "ab"]
        keys = [
            (await tenancy.create_api_key(session, secret, projects[number % 2].id, "k", 1))[0]
            for number in range(3)
        ]
        makes = (
            {"role": Role.OWNER, "tenant_id": tenants[0].id},
            {"role": Role.BILLING, "tenant_id": tenants[0].id, "project_id": projects[0].id},
            {"role": Role.READER, "tenant_id": tenants[1].id},
            {"role": Role.OPERATOR},
        )
        secrets = [(await admin_keys.create_admin_key(session, secret, "k", 1, **make))[1] for make in makes]
        # The second key is ann's, by the ledger itself; the third was bob's until ten days ago.
        await session.execute(
            text("UPDATE api_key SET user_id = 'user-ann' WHERE id = :id"), {"id": keys[1].id}
        )
        await session.execute(text("UPDATE key_ownership SET from_us = 0"))
        given_away_us = now_us - 10 * DAY_US
        session.add(
            KeyOwnership(
                api_key_id=keys[2].id,
                tenant_id=tenants[0].id,
                user_id="user-bob",
                from_us=0,
                until_us=given_away_us,
            )
        )
    records = [_call(number, keys, now_us) for number in range(300)]
    async with database.write() as session:
        await post(await session.connection(), records, Terms(), now_us)
    async with serve(settings) as url:
        clients = [
            AsyncOpenAI(
                base_url=f"{url}/v1", api_key="none", admin_api_key=one, max_retries=0, timeout=30,
                http_client=openai.DefaultAsyncHttpxClient(verify=False),
            )
            for one in secrets
        ]  # fmt: skip
        yield Accounts(
            *clients,
            tenants[0].id,
            [project.id for project in projects],
            [key.id for key in keys],
            records,
            now_us,
            f"{url}/v1",
            given_away_us,
        )
        for client in clients:
            await client.close()
    await database.close()


def _call(number: int, keys: Sequence[Any], now_us: int) -> CallRecord:
    """Some on each of 40 days, three or four days apart from the next quiet one."""
    key = keys[number % 3]
    model = ("tiny", "euro", "vectors", "free")[number % 4]
    days_ago = number % 40 if number % 40 % 9 else 0
    started_us = now_us - days_ago * DAY_US - number % 7 * HOUR_US - number * SECOND_US
    is_lost = number % 29 == 0
    return a_record(
        request_id=f"{id_at(started_us)}{number:018x}",
        started_us=started_us,
        ended_us=started_us + 1,
        tenant_id=key.tenant_id,
        project_id=key.project_id,
        api_key_id=key.id,
        model=model,
        endpoint="embeddings" if model == "vectors" else "chat.completions",
        usage_source=UsageSource.UNRESOLVED if is_lost else UsageSource.FINAL,
        prompt_tokens=0 if is_lost else 1000 + number,
        cached_prompt_tokens=0 if is_lost else number,
        completion_tokens=0 if is_lost or model == "vectors" else 3 * number,
    )


async def walk(client: AsyncOpenAI, product: str, **asked: Any) -> list[dict[str, Any]]:
    """Every bucket of all pages; each page is what the published schema says, to the type."""
    resource = client.admin.organization.usage.with_raw_response
    types = importlib.import_module("openai.types.admin.organization")
    shape: type[BaseModel] = getattr(types, PRODUCTS[product])
    buckets: list[dict[str, Any]] = []
    for _ in range(100):
        raw = await getattr(resource, product)(**asked)
        page = raw.parse()
        assert type(page) is shape
        shape.model_validate_json(raw.text, strict=True)
        hold_to_published(product, json.loads(raw.text))
        told = json.loads(raw.text, parse_float=Decimal)
        limit = asked.get("limit", 7)
        assert len(told["data"]) <= limit
        assert told["has_more"] is (told["next_page"] is not None)
        buckets += told["data"]
        if not page.has_more:
            return buckets
        asked["page"] = page.next_page
    raise AssertionError("the pages have no end")


def hold_to_published(product: str, answer: dict[str, Any]) -> None:
    """The page, and each result by its own product's schema: to try all eleven takes long."""
    path = "/organization/costs" if product == "costs" else f"/organization/usage/{product}"
    page_schema = json.dumps(PUBLISHED["answers"][f"GET {path}"])
    bare = {**answer, "data": [{**bucket, "results": []} for bucket in answer["data"]]}
    faults = list(validator(page_schema).iter_errors(bare))
    result_schema = json.dumps({"$ref": f"#/components/schemas/{RESULTS.get(product)}"})
    for bucket in answer["data"]:
        for result in bucket["results"]:
            faults += validator(result_schema).iter_errors(result)
    assert not faults, (product, [fault.message for fault in faults])


@lru_cache
def validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": PUBLISHED["components"]})


def user_of(accounts: Accounts, record: CallRecord) -> str | None:
    """Who had the call's key at the end of its day."""
    ends_us = record.started_us - record.started_us % DAY_US + DAY_US
    place = accounts.key_ids.index(record.api_key_id)
    return (None, "user-ann", "user-bob" if ends_us <= accounts.given_away_us else None)[place]


def groups_of(buckets: list[dict[str, Any]], dimensions: Sequence[str]) -> dict[Any, Counter[str]]:
    sums: dict[Any, Counter[str]] = {}
    for bucket in buckets:
        for result in bucket["results"]:
            key = (bucket["start_time"], *(result[name] for name in dimensions))
            assert key not in sums
            sums[key] = Counter({name: value for name, value in result.items() if type(value) is int})
    return sums


@pytest.mark.parametrize("width", ["1d", "1h"])
async def test_completions_tie_with_the_calls_in_every_grouping(accounts: Accounts, width: str) -> None:
    """Guards against a sum that depends on how it is asked for."""
    seconds = {"1d": 86_400, "1h": 3_600}[width]
    days = 12 if width == "1d" else 1
    start = accounts.start(days)
    calls = [
        record
        for record in accounts.records
        if record.endpoint != "embeddings" and record.started_us >= start * SECOND_US
    ]
    groupings = [by for size in range(7) for by in itertools.combinations(USAGE_GROUPS, size)]
    for group_by in groupings if width == "1d" else groupings[1:7]:
        buckets = await walk(
            accounts.owner,
            "completions",
            start_time=start,
            bucket_width=width,
            group_by=list(group_by),
            limit=31,
        )
        expected: dict[Any, Counter[str]] = {}
        for record in calls:
            at = record.started_us // SECOND_US
            told = {"project_id": record.project_id, "api_key_id": record.api_key_id, "model": record.model,
                    "user_id": user_of(accounts, record), "batch": False}  # fmt: skip
            key = (
                at - at % seconds,
                *(told.get(name) if name in group_by else None for name in USAGE_GROUPS),
            )
            prompt, cached = record.prompt_tokens, record.cached_prompt_tokens
            expected.setdefault(key, Counter()).update(
                input_tokens=prompt,
                input_cached_tokens=cached,
                input_uncached_tokens=prompt - cached,
                output_tokens=record.completion_tokens,
                num_model_requests=1,
            )
        assert groups_of(buckets, USAGE_GROUPS) == expected, group_by
        assert [bucket["start_time"] for bucket in buckets] == list(
            range(start, buckets[-1]["end_time"], seconds)
        )


async def test_costs_are_exact_each_currency_and_line_item_by_itself(accounts: Accounts) -> None:
    """Guards against a float, against dollars added to euros, and against line items that do not add up."""
    start = accounts.start(40)
    for by in ([], ["project_id"], ["api_key_id"], ["api_key_id", "project_id"]):
        for items in ([], ["line_item"]):
            buckets = await walk(accounts.owner, "costs", start_time=start, group_by=[*by, *items], limit=180)
            found: Counter[Any] = Counter()
            for bucket in buckets:
                seen = set()
                for result in bucket["results"]:
                    amount, item = result["amount"], result["line_item"]
                    assert (item is None) is (not items) and (result["quantity"] is None) is (not items)
                    assert type(amount["value"]) in (Decimal, int)
                    names = tuple(result[name] for name in ("project_id", "api_key_id"))
                    assert (*names, amount["currency"], item) not in seen
                    seen.add((*names, amount["currency"], item))
                    picos = amount["value"] * PICOS_PER_UNIT
                    assert picos == int(picos)
                    found[bucket["start_time"], *names, amount["currency"]] += int(picos)
            expected: Counter[Any] = Counter()
            for record in accounts.records:
                if record.model not in RATES or record.usage_source is UsageSource.UNRESOLVED:
                    continue
                rates, currency = RATES[record.model]
                names = tuple(
                    getattr(record, name) if name in by else None for name in ("project_id", "api_key_id")
                )
                day = record.started_us // DAY_US * DAY_US // SECOND_US
                counts = (record.prompt_tokens, record.cached_prompt_tokens, record.completion_tokens)
                expected[day, *names, currency.lower()] += rate_counts(*counts, rates)
            assert found == expected, (by, items)


async def test_line_items_name_the_model_and_what_was_paid_for(accounts: Accounts) -> None:
    buckets = await walk(
        accounts.owner, "costs", start_time=accounts.start(40), group_by=["line_item"], limit=180
    )
    results = [result for bucket in buckets for result in bucket["results"]]
    units = {result["line_item"]: result["quantity_unit"] for result in results}
    assert units == {
        "tiny, input": "tokens", "tiny, cached input": "tokens", "tiny, output": "tokens",
        "tiny, requests": None, "euro, input": "tokens", "euro, cached input": "tokens",
        "euro, output": "tokens", "vectors, input": "tokens", "vectors, cached input": "tokens",
    }  # fmt: skip
    charged = [
        record
        for record in accounts.records
        if record.model == "tiny" and record.usage_source is not UsageSource.UNRESOLVED
    ]
    quantities: Counter[str] = Counter()
    for result in results:
        quantities[result["line_item"]] += result["quantity"]
    assert quantities["tiny, requests"] == len(charged)
    assert quantities["tiny, output"] == sum(record.completion_tokens for record in charged)


async def test_a_walk_by_small_pages_is_the_walk_by_large_ones(accounts: Accounts) -> None:
    """Guards against a bucket on two pages or on none; quiet days are there, and empty."""
    asked: dict[str, Any] = {"start_time": accounts.start(30) + 40_000, "end_time": accounts.start(1) + 7}
    for product in ("completions", "embeddings", "costs"):
        whole = await walk(accounts.owner, product, **asked, limit=31)
        for limit in (3, 7) if product == "completions" else (11,):
            assert await walk(accounts.owner, product, **asked, limit=limit) == whole
        assert any(not bucket["results"] for bucket in whole)
        assert all(first["end_time"] == second["start_time"] for first, second in itertools.pairwise(whole))
        if product == "costs":  # whole days
            assert whole[0]["start_time"] == accounts.start(30)
            assert whole[-1]["end_time"] == accounts.start(0)
        else:
            assert whole[0]["start_time"] == asked["start_time"] - asked["start_time"] % 60
            assert whole[-1]["end_time"] == asked["end_time"]


async def test_parts_of_buckets_hold_what_started_in_them(accounts: Accounts) -> None:
    """Guards against a whole day told for a part of it."""
    for width, limit in (("1d", 31), ("1h", 168), ("1m", 1440)):
        for back_s in (5, 4_000, 12_345):
            start = accounts.now_us // SECOND_US - DAY_US // SECOND_US
            end = accounts.now_us // SECOND_US - back_s
            buckets = await walk(
                accounts.owner,
                "completions",
                start_time=start,
                end_time=end,
                bucket_width=width,
                limit=limit,
            )
            begin_us = (start - start % 60) * SECOND_US
            expected = sum(
                begin_us <= record.started_us < end * SECOND_US and record.endpoint != "embeddings"
                for record in accounts.records
            )
            sums = groups_of(buckets, ())
            assert sum(sum_["num_model_requests"] for sum_ in sums.values()) == expected
            assert expected


async def test_filters_hold(accounts: Accounts) -> None:
    start = accounts.start(40)

    async def calls(**asked: Any) -> int:
        buckets = await walk(accounts.owner, "completions", start_time=start, limit=31, **asked)
        return sum(result["num_model_requests"] for bucket in buckets for result in bucket["results"])

    def expected(**wanted: Sequence[str]) -> int:
        return sum(
            record.endpoint != "embeddings"
            and all(getattr(record, name) in of for name, of in wanted.items())
            for record in accounts.records
        )

    first, second = accounts.project_ids
    assert await calls() == await calls(batch=False) == expected()
    assert await calls(batch=True) == await calls(user_ids=["user-none"]) == 0
    for users in (["user-ann"], ["user-bob", "user-none"], ["user-ann", "user-bob"]):
        of_users = [record for record in accounts.records if user_of(accounts, record) in users]
        assert await calls(user_ids=users) == sum(one.endpoint != "embeddings" for one in of_users) > 0
    assert await calls(project_ids=[first]) == expected(project_id=[first])
    assert await calls(project_ids=[first, second, "proj_none"]) == expected()
    assert await calls(models=["tiny", "free"]) == expected(model=["tiny", "free"])
    one = accounts.key_ids[0]
    assert await calls(api_key_ids=[one]) == expected(api_key_id=[one])
    both = {"api_key_ids": [one], "models": ["euro"]}
    assert await calls(**both) == expected(api_key_id=[one], model=["euro"])


async def test_arrays_are_read_in_both_styles(accounts: Accounts) -> None:
    """Guards against a filter that is silently none: OpenAI's clients write brackets, its examples do not."""
    first, second = accounts.project_ids
    plain = f"project_ids={first}&project_ids={second}&group_by=project_id&group_by=model"
    plain += f"&end_time={accounts.now_us // SECOND_US}"
    answers = []
    for query in (plain, plain.replace("ids=", "ids[]=").replace("by=", "by%5B%5D=")):
        answer = await accounts.owner.get(
            f"/organization/usage/completions?start_time={accounts.start(3)}&{query}",
            cast_to=object,
            options={"headers": {"Authorization": f"Bearer {accounts.owner.admin_api_key}"}},
        )
        answers.append(answer["data"])  # type: ignore[index]
    assert answers[0] == answers[1]
    assert {result["project_id"] for bucket in answers[0] for result in bucket["results"]} == {first, second}


async def test_products_that_there_are_none_of_are_empty_and_walk(accounts: Accounts) -> None:
    """Guards against a tool that adds up all products and dies of one."""
    for product in PRODUCTS.keys() - {"completions", "embeddings", "costs"}:
        for group_by in ((), usage_tour.DIMENSIONS[product]):
            asked: dict[str, Any] = {"start_time": accounts.start(9), "group_by": list(group_by)}
            buckets = await walk(accounts.owner, product, **asked)
            assert len(buckets) == 10
            assert not any(bucket["results"] for bucket in buckets)


async def test_the_clients_next_major_version_walks_them_too(sqlite_accounts: Accounts) -> None:
    """Guards against a parameter or a member that the two versions write or read otherwise."""
    accounts = sqlite_accounts
    environment = cached(f"openai-{NEXT_VERSION}", lambda made: made.install(f"openai=={NEXT_VERSION}"))
    key = str(accounts.owner.admin_api_key)
    start = str(accounts.start(8))
    done = await asyncio.to_thread(
        subprocess.run,
        [environment.python, usage_tour.__file__, accounts.url, key, start],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    came_home = json.loads(done.stdout)
    assert came_home["version"] == NEXT_VERSION
    walks: dict[tuple[str, str], int] = {}
    for product, by, answer in came_home["seen"]:
        hold_to_published(product, answer)
        calls = (
            result.get("num_model_requests", 0) for bucket in answer["data"] for result in bucket["results"]
        )
        walks[product, by] = walks.get((product, by), 0) + sum(calls)
    assert {product for product, _ in walks} == PRODUCTS.keys()
    for product in ("completions", "embeddings"):
        (total,) = {calls for (of, _), calls in walks.items() if of == product}
        assert total == sum(
            (record.endpoint == "embeddings") == (product == "embeddings")
            and record.started_us >= int(start) * SECOND_US
            for record in accounts.records
        )


async def test_who_is_limited_to_a_project_sees_that_project_alone(accounts: Accounts) -> None:
    """Guards against a bill of one department read by another, and against a tenant's by another."""
    mine, other = accounts.project_ids
    asked: dict[str, Any] = {"start_time": accounts.start(30), "end_time": accounts.start(0), "limit": 31}
    for product in ("completions", "embeddings", "costs"):
        owner = await walk(accounts.owner, product, **asked, project_ids=[mine])
        assert await walk(accounts.of_project, product, **asked) == owner
        assert await walk(accounts.of_project, product, **asked, project_ids=[mine, other]) == owner
        for client, more in ((accounts.of_project, {"project_ids": [other]}), (accounts.stranger, {})):
            none = await walk(client, product, **asked, **more)
            assert not any(bucket["results"] for bucket in none)
    named = {"extra_headers": {"OpenAI-Organization": accounts.tenant_id}}
    whole = await walk(accounts.owner, "completions", **asked)
    assert await walk(accounts.operator, "completions", **asked, **named) == whole
    with pytest.raises(openai.NotFoundError):
        await walk(accounts.stranger, "completions", **asked, **named)
    with pytest.raises(openai.BadRequestError, match="OpenAI-Organization"):
        await walk(accounts.operator, "completions", **asked)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"end_time": 1_700_000_000}, "end_time"),
    ({"limit": 32}, "limit"),
    ({"limit": 0}, "limit"),
    ({"bucket_width": "1h", "limit": 169}, "limit"),
    ({"bucket_width": "1m", "limit": 1441}, "limit"),
    ({"bucket_width": "1w"}, "bucket_width"),
    ({"group_by": ["line_item"]}, "group_by.0"),
    ({"start_time": -1}, "start_time"),
    ({"project_ids": ["a\0"]}, "project_ids"),
    ({"page": "page_AAAA"}, "page"),
    ({"page": "page_" + "A" * 32}, "page"),
]


async def test_a_wrong_question_is_told_which_part(accounts: Accounts) -> None:
    for asked, param in WRONG:
        with pytest.raises(openai.BadRequestError) as refused:
            await accounts.owner.admin.organization.usage.completions(
                **{"start_time": 1_700_000_000, **asked}
            )
        assert refused.value.param == param


async def test_a_cursor_is_of_its_own_question(accounts: Accounts) -> None:
    """Guards against a cursor that was bent to another time, or carried into another question or tenant."""
    usage = accounts.owner.admin.organization.usage
    start = accounts.start(20)
    first = await usage.completions(start_time=start, limit=3)
    assert first.next_page is not None
    again = await usage.completions(start_time=start, limit=5, page=first.next_page)
    assert again.data[0].start_time == first.data[-1].end_time
    bent = first.next_page[:20] + ("A" if first.next_page[20] != "A" else "B") + first.next_page[21:]
    for page, asked in (
        (bent, {}),
        (first.next_page, {"group_by": ["model"]}),
        (first.next_page, {"start_time": start + 60}),
    ):
        with pytest.raises(openai.BadRequestError):
            await usage.completions(**{"start_time": start, "page": page, **asked})
    for resource in (
        usage.embeddings,
        accounts.stranger.admin.organization.usage.completions,
    ):
        with pytest.raises(openai.BadRequestError):
            await resource(start_time=start, page=first.next_page)
