"""`GET /v1/key` through a real worker: what a key is told of itself, and what that costs the database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest

from ledger import limit_settings, tenancy
from ledger.database import Database
from ledger.direct_database import T, Work
from ledger.keys import digest
from ledger.limit_settings import LimitScope
from ledger.limits import EACH_USER, Limit, LimitKind, LimitWindow
from ledger.principals import find_principal
from proxy.errors import KeyIncorrect
from proxy.key_page import KEPT_US, KeyPage
from tests.engines import Engine
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import Gate, now_us, wait_for

KEY = "/v1/key"


def set_limit(
    gate: Gate, scope: LimitScope, kind: LimitKind, window: LimitWindow | None, size: int, **more: Any
) -> Limit:
    return gate.change(
        lambda session: limit_settings.set_limit(session, scope, kind, window, size, now_us(), **more)
    )


def data_of(gate: Gate, secret: str) -> dict[str, Any]:
    with gate.new_client(secret) as client:
        answer = client.get(KEY)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    data: dict[str, Any] = answer.json(parse_float=Decimal)["data"]
    return data


def test_a_key_is_told_what_it_is_and_may_call(gate: Gate) -> None:
    key_id, secret = gate.new_key(expires_us=now_us() + 3_600_000_000)
    data = data_of(gate, secret)
    assert (data["key_id"], data["tenant_id"]) == (key_id, gate.tenant_id)
    assert data["label"].startswith("sk-mg-") and secret not in str(data)
    assert "simulated" in data["models"]
    assert data["expires_at"].endswith("Z")
    assert (data["limit"], data["limits"]) == (None, [])


def test_a_key_is_told_its_limits_and_nobody_elses(gate: Gate) -> None:
    """Guards against a neighbour's limit on the page, and against a missing one of the project."""
    project_id = gate.new_project()
    key_id, secret = gate.new_key(project_id)
    _, other = gate.new_key(project_id)
    budget = set_limit(
        gate, LimitScope(api_key_id=key_id), LimitKind.SPEND, LimitWindow.MONTH, 1_250_000_000_001
    )
    rate = set_limit(
        gate, LimitScope(project_id=project_id), LimitKind.REQUESTS, LimitWindow.MINUTE, 600, burst=7
    )
    slots = set_limit(gate, LimitScope(project_id=project_id), LimitKind.CONCURRENT, None, 8)
    users = set_limit(
        gate, LimitScope(project_id=project_id), LimitKind.TOKENS, LimitWindow.DAY, 1000, end_user=EACH_USER
    )
    data = data_of(gate, secret)
    assert data["limit"] == data["limit_remaining"] == Decimal("1.250000000001")
    assert (data["usage"], data["limit_reset"], data["currency"]) == (0, "month", "USD")
    assert data["rate_limit"] == {"requests": 600, "interval": "60s"}
    shown = {limit["id"]: limit for limit in data["limits"]}
    assert shown.keys() == {budget.id, rate.id, slots.id, users.id}
    assert (shown[slots.id]["used"], shown[slots.id]["remaining"]) == (0, 8)
    assert shown[slots.id]["window"] is None
    assert (shown[rate.id]["used"], shown[rate.id]["resets_at"]) == (None, None)
    assert 1 <= shown[rate.id]["remaining"] <= 7
    assert (shown[users.id]["end_user"], shown[users.id]["used"]) == ("*", None)
    assert {limit["id"] for limit in data_of(gate, other)["limits"]} == {rate.id, slots.id, users.id}


def test_what_a_call_used_is_told_once_it_is_posted(gate: Gate) -> None:
    """The page is a second old at most: it must not be kept for longer."""
    key_id, secret = gate.new_key()
    set_limit(gate, LimitScope(api_key_id=key_id), LimitKind.REQUESTS, LimitWindow.DAY, 10)
    assert data_of(gate, secret)["limits"][0]["remaining"] == 10
    with gate.new_client(secret) as client:
        body = {"model": "simulated", "messages": [{"role": "user", "content": "Hi."}], "max_tokens": 1}
        assert client.post("/v1/chat/completions", json=body).status_code == 200
    wait_for(lambda: data_of(gate, secret)["limits"][0]["used"] == 1 or None, "the call on the page")
    assert data_of(gate, secret)["limits"][0]["remaining"] <= 9


@pytest.mark.parametrize("secret", ["", "sk-mg-nonsense"])
def test_without_a_key_there_is_no_page(gate: Gate, secret: str) -> None:
    with gate.new_client(secret) as client:
        assert client.get(KEY).status_code == 401


def test_the_page_takes_no_other_method_and_is_found_under_openrouters_path(gate: Gate) -> None:
    assert gate.client.post(KEY, json={}).status_code == 405
    assert gate.client.head(KEY).status_code == 200
    wrong = gate.client.get("/api/v1/key")
    assert wrong.status_code == 404
    assert "Did you mean /v1/key?" in wrong.json()["error"]["message"]


def test_without_the_ledger_the_page_is_away_and_comes_back(new_gate: NewGate, shared_engine: Engine) -> None:
    """Guards against a 500 in no shape, and against a page of an hour ago."""
    gate = new_gate(shared_engine.url)
    assert data_of(gate, gate.secret)["limits"] == []
    gate.sql("ALTER TABLE usage_limit RENAME TO usage_limit_away")

    def answer(status: int) -> httpx.Response | None:
        found = gate.client.get(KEY)
        return found if found.status_code == status else None

    refused = wait_for(lambda: answer(503), "a page that is away")
    assert refused.json()["error"]["code"] == "ledger_unavailable"
    assert int(refused.headers["retry-after-ms"]) > 0
    gate.sql("ALTER TABLE usage_limit_away RENAME TO usage_limit")
    wait_for(lambda: answer(200), "the page again")


class CountedDatabase(Database):
    """Counts the transactions that read."""

    reads = 0

    async def look(self, work: Work[T]) -> T:
        self.reads += 1
        return await super().look(work)


@pytest.fixture
async def counted(sqlite_url: str) -> AsyncIterator[CountedDatabase]:
    """Closed whatever becomes of the test: else a later one is blamed for the connection."""
    database = CountedDatabase(sqlite_url)
    yield database
    await database.close()


async def test_polling_costs_one_transaction_a_second(counted: CountedDatabase) -> None:
    """Guards against a dashboard with a hundred tabs that keeps the ledger busy."""
    database = counted
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "t", 1)
        project = await tenancy.create_project(session, tenant.id, "p", 1)
        _, secret = await tenancy.create_api_key(session, b"p" * 32, project.id, "k", 1)
    stored_as = digest(b"p" * 32, secret.encode())
    principal = await database.look(lambda connection: find_principal(connection, stored_as))
    assert principal is not None
    database.reads = 0
    clock = [1_795_000_000_000_000]
    page = KeyPage(database, models_of=lambda _: ["m"], currency="USD", now_us=lambda: clock[0])
    bodies = await asyncio.gather(*(page.body(principal) for _ in range(100)))
    assert (len(set(bodies)), database.reads) == (1, 1)
    clock[0] += KEPT_US - 1
    assert await page.body(principal) == bodies[0]
    assert database.reads == 1
    clock[0] += 1
    await page.body(principal)
    assert database.reads == 2
    with pytest.raises(KeyIncorrect):
        await page.body(replace(principal, secret_id=-1))
