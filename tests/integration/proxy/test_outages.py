"""A real PostgreSQL that goes away under a running data plane: stopped, crashed, frozen, made read-only."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger import limit_settings, tenancy
from ledger.keys import mint
from ledger.limit_settings import LimitScope
from ledger.limits import LimitKind, LimitWindow
from ledger.schema import revisions
from ledger.states import OutagePolicy
from race.postgresql import Server, copy_of, drop, make_template
from race.postgresql import server as a_server
from tests.engines import Engine
from tests.integration.proxy.gate import Gate, chat_body, gate, now_us, wait_for
from tests.integration.proxy.test_killed_worker import begin, seen_by_client

pytestmark = pytest.mark.postgres

NewPlane = Callable[..., Gate]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with a_server() as running:
        make_template(running.url, "template_outage")
        yield running


@pytest.fixture
def new_plane(server: Server, calm_engine: Engine, tmp_path: Path) -> Iterator[NewPlane]:
    """A data plane on a ledger of its own; what is left of the fault ends before it does."""
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> Gate:
            name = f"outage_{time.monotonic_ns()}"
            url = copy_of(server.url, "template_outage", name)
            stack.callback(drop, server.url, name)
            running = stack.enter_context(
                gate(Path(), tmp_path, [calm_engine.url], database_url=url, **settings)
            )
            stack.callback(bring_back, server)
            return running

        yield start


def bring_back(server: Server) -> None:
    server.thaw()
    if not server.is_running:
        server.start()


def problems(plane: Gate) -> str:
    """What /readyz complains of; empty while it does not. Known keys are served all the while."""
    response = plane.client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["status"] == ("degraded" if "problems" in response.json() else "ready")
    return "; ".join(response.json().get("problems", ()))


def until_away(plane: Gate) -> str:
    return wait_for(lambda: problems(plane) or None, "the outage to be noticed")


def until_ready(plane: Gate) -> None:
    wait_for(
        lambda: "problems" not in plane.client.get("/readyz").json() or None, "the worker to be well again"
    )


def ask(plane: Gate, **headers: str) -> httpx.Response:
    return plane.client.post("/v1/chat/completions", json=chat_body(max_tokens=3), headers=headers)


def refused(response: httpx.Response) -> None:
    """With what an SDK needs to come again."""
    assert (response.status_code, response.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert int(response.headers["retry-after"]) >= 1


def unknown_key() -> dict[str, str]:
    return {"authorization": f"Bearer {mint()}"}


def limit_to(plane: Gate, kind: LimitKind, max_value: int, policy: OutagePolicy) -> None:
    window = None if kind is LimitKind.CONCURRENT else LimitWindow.LIFETIME
    scope = LimitScope(tenant_id=plane.tenant_id)
    plane.change(lambda s: limit_settings.set_limit(s, scope, kind, window, max_value, now_us()))
    plane.change(lambda s: tenancy.set_outage_policy(s, plane.tenant_id, policy, now_us()))
    time.sleep(1.0)  # the promise: in force within a second


def test_calls_go_on_through_a_database_that_flaps(new_plane: NewPlane, server: Server) -> None:
    """Guards against an outage that is ours, too; against connections to the server that was, after a
    crash and a failover; and against calls that are lost, doubled or out of order in the ledger.
    """
    plane = new_plane()
    ids = [ask(plane).headers["x-request-id"]]
    for how in ("fast", "immediate", "immediate"):
        server.stop(how)
        assert "does not answer since 20" in until_away(plane)
        for _ in range(3):
            response = ask(plane)
            assert response.status_code == 200
            ids.append(response.headers["x-request-id"])
        refused(ask(plane, **unknown_key()))
        server.start()
        until_ready(plane)
        assert ask(plane, **unknown_key()).status_code == 401
    assert plane.totals(len(ids))["calls"] == len(ids)
    rows = plane.sql("SELECT request_id FROM usage ORDER BY posted_us, started_us")
    assert [row["request_id"] for row in rows] == ids


def test_a_frozen_database_stops_nobody_who_is_known(new_plane: NewPlane, server: Server) -> None:
    """Guards against waits without an end, and against an event loop that waits with them: a server that
    takes connections and never answers is worse than one that is gone.
    """
    plane = new_plane()
    limit_to(plane, LimitKind.TOKENS, 10_000_000, OutagePolicy.FAIL_OPEN)
    assert ask(plane).status_code == 200
    wire, _ = begin(plane, 3)
    server.freeze()
    assert [ask(plane).status_code for _ in range(20)] == [200] * 20
    assert "does not answer since" in until_away(plane)
    refused(ask(plane, **unknown_key()))
    refused(plane.client.get("/v1/key"))
    assert [ask(plane).status_code for _ in range(20)] == [200] * 20
    assert wire.chunk()
    wire.close()
    server.thaw()
    until_ready(plane)
    assert plane.totals(42)["calls"] == 42
    (balance,) = plane.sql("SELECT used FROM limit_balance")
    (sums,) = plane.sql("SELECT sum(prompt_tokens + completion_tokens) AS tokens FROM usage")
    assert balance["used"] == sums["tokens"]


def test_past_its_leases_each_tenant_gets_what_it_chose(new_plane: NewPlane, server: Server) -> None:
    """Guards against a prepaid tenant that an outage lets pass its limit, and against overage that is not
    billed.
    """
    plane = new_plane()
    limit_to(plane, LimitKind.REQUESTS, 5, OutagePolicy.FAIL_CLOSED)
    answers = [ask(plane)]
    server.stop()
    until_away(plane)
    answers += [ask(plane) for _ in range(6)]
    assert sum(response.status_code == 200 for response in answers) <= 5
    refused(answers[-1])
    server.start()
    until_ready(plane)
    plane.change(lambda s: tenancy.set_outage_policy(s, plane.tenant_id, OutagePolicy.FAIL_OPEN, now_us()))
    time.sleep(1.0)  # the promise: in force within a second
    answers.append(ask(plane))  # its principal is read again
    server.stop("immediate")
    until_away(plane)
    beyond = [ask(plane) for _ in range(10)]
    assert [response.status_code for response in beyond] == [200] * 10
    server.start()
    until_ready(plane)
    calls = sum(response.status_code == 200 for response in (*answers, *beyond))
    assert plane.totals(calls)["calls"] == calls
    late = [ask(plane)]  # until its leases are granted again, the worker still goes on without them
    wait_for(lambda: late[-1].status_code == 429 or late.append(ask(plane)), "the limit")
    assert late[-1].json()["error"]["code"] == "insufficient_quota"
    calls += sum(response.status_code == 200 for response in late)
    balance = {"used": calls, "leased": 0}
    wait_for(lambda: plane.sql("SELECT used, leased FROM limit_balance") == [balance] or None, str(balance))


def test_a_read_only_database_takes_nothing_and_loses_nothing(new_plane: NewPlane, server: Server) -> None:
    """Guards against a standby that came up as the primary, or a disk that its host made read-only."""
    plane = new_plane()
    limit_to(plane, LimitKind.REQUESTS, 1000, OutagePolicy.FAIL_CLOSED)
    answers = [ask(plane).status_code]
    server.set_read_only(is_read_only=True)

    def is_refused() -> bool | None:
        answers.append(ask(plane).status_code)
        return answers[-1] == 503 or None

    try:
        wait_for(is_refused, "leases to be used up")
        wait_for(lambda: "grants no leases since" in problems(plane) or None, "the reason")
    finally:
        server.set_read_only(is_read_only=False)
    until_ready(plane)
    assert ask(plane).status_code == 200
    calls = answers.count(200) + 1
    assert plane.totals(calls)["calls"] == calls


def test_a_worker_that_restarts_in_an_outage_comes_up_and_begins_by_itself(
    new_plane: NewPlane, server: Server
) -> None:
    """Guards against one crash in an outage that takes the worker away for as long as it lasts, with the
    calls that it had in flight.
    """
    plane = new_plane()
    wire, begun = begin(plane, 10)
    server.stop()
    plane.kill_worker()
    prompt, completion = seen_by_client(wire, begun)
    wire.close()
    assert plane.client.get("/healthz").status_code == 200
    unready = plane.client.get("/readyz")  # it knows no key: nobody is served here
    assert unready.status_code == 503 and "does not answer since" in unready.text
    refused(ask(plane))
    server.start()
    until_ready(plane)
    assert ask(plane).status_code == 200
    row = plane.row(wire.request_id)
    assert (row["ending"], row["usage_source"], row["prompt_tokens"]) == ("killed", "recovered", prompt)
    assert row["completion_tokens"] >= completion
    plane.totals(2)
    words = plane.words.read_text()
    assert "starting without the ledger" in words
    assert "the ledger is there" in words


def test_what_is_wrong_is_found_out_when_the_database_is_back(new_plane: NewPlane, server: Server) -> None:
    """Guards against a worker that was let start unchecked, and answers 401 to every key, or writes into a
    schema that it does not know.
    """
    plane = new_plane()

    def ends_with(line: str) -> None:
        server.stop()
        plane.kill_worker()
        refused(ask(plane))
        server.start()
        assert plane.worker.popen.wait(30) == 1
        assert (
            line in [said for said in plane.words.read_text().splitlines() if "metergate: the " in said][-1]
        )

    settings = plane._env
    plane._env = {**settings, "METERGATE_SECRET_KEY": "another secret of an operator"}
    ends_with("the secret key is not the one")
    plane._env = settings
    plane.sql("UPDATE alembic_version SET version_num = '9999' RETURNING 1 AS one")
    ends_with("the database is at schema 9999")
    plane.sql(f"UPDATE alembic_version SET version_num = '{revisions()[-1]}' RETURNING 1 AS one")
    plane.kill_worker()
    until_ready(plane)
    assert ask(plane).status_code == 200
