"""Idempotency-Key, ETag and If-Match from a browser: with a cookie, its CSRF token, and a token that turns
over on the way; on both databases.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from admin.config import AdminSettings
from ledger import users
from ledger.actors import PROGRAM
from ledger.roles import Role
from ledger.states import UserState
from tests.integration.admin.serving import CSRF, Browser, Served, serving
from tests.people import MEMORY_MIB, PASSWORD, a_tenant, a_user, hashed

ANN, BOB = "ann@example.com", "bob@example.com"


@dataclass(frozen=True)
class Desk:
    """Two admins of a tenant in their browsers."""

    served: Served
    tenant_id: str
    keys: str
    ann: Browser
    ann_id: str
    bob: Browser

    async def sql(self, statement: str) -> int:
        """What a statement finds, or does."""
        async with self.served.database.write() as session:
            found = await session.execute(text(statement))
            return int(found.scalar_one()) if found.returns_rows else 0


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path, password_memory_mib=MEMORY_MIB)
    async with serving(settings) as served:
        tenant, project = await a_tenant(served.database)
        people, browsers = [], []
        for email in (ANN, BOB):
            secret = await hashed(email)
            people.append(
                await a_user(served.database, email, (tenant.id, Role.ADMIN), credential_hash=secret)
            )
            browsers.append(served.browser())
            assert (await browsers[-1].log_in(email, PASSWORD)).status_code == 200
        keys = f"/admin/v1/projects/{project.id}/keys"
        yield Desk(served, tenant.id, keys, browsers[0], people[0].id, browsers[1])


async def test_a_form_that_is_sent_twice_makes_one_key(desk: Desk) -> None:
    """Guards against a double click that makes two keys, an answer that comes without the CSRF token or to
    somebody else, and one that a session's next token cannot open.
    """
    once = {"Idempotency-Key": "a-form"}
    made = await desk.ann("POST", desk.keys, json={}, headers=once)
    assert made.status_code == 201 and made.json()["user_id"] == desk.ann_id
    again = await desk.ann("POST", desk.keys, json={}, headers=once)
    assert again.content == made.content and again.headers["idempotent-replayed"] == "true"

    for wrong in ("", "x"):
        refused = await desk.ann("POST", desk.keys, json={}, headers={**once, CSRF: wrong})
        assert refused.json()["error"]["code"] == "csrf_failed" and made.json()["key"] not in refused.text
    bobs = await desk.bob("POST", desk.keys, json={}, headers=once)
    assert bobs.status_code == 201 and bobs.json()["id"] != made.json()["id"]
    reused = await desk.ann("POST", desk.keys, json={"name": "Other"}, headers=once)
    assert reused.status_code == 422

    await desk.sql("UPDATE user_session SET turned_us = turned_us - 3600000000")
    turned = await desk.ann("POST", desk.keys, json={}, headers={"Idempotency-Key": "another-form"})
    assert turned.status_code == 201 and "set-cookie" in turned.headers
    for key, first in (("a-form", made), ("another-form", turned)):
        replayed = await desk.ann("POST", desk.keys, json={}, headers={"Idempotency-Key": key})
        assert replayed.json() == first.json()
    assert await desk.sql("SELECT count(*) FROM api_key") == 3

    async with desk.served.database.write() as session:
        await users.set_state(session, desk.ann_id, UserState.DISABLED, 9, by=PROGRAM)
    gone = await desk.ann("POST", desk.keys, json={}, headers=once)
    assert gone.status_code == 401 and made.json()["key"] not in gone.text


async def test_a_replay_in_which_the_token_is_turned_over_logs_nobody_out(desk: Desk) -> None:
    """Guards against a new token that goes with an answer which is thrown away."""
    once = {"Idempotency-Key": "a-form"}
    made = await desk.ann("POST", desk.keys, json={}, headers=once)
    await desk.sql("UPDATE user_session SET turned_us = turned_us - 3600000000")
    assert (await desk.ann("POST", desk.keys, json={}, headers=once)).json() == made.json()
    for _ in range(2):
        assert (await desk.ann("GET", "/admin/v1/session")).status_code == 200
    await desk.sql("UPDATE user_session SET next_us = next_us - 3600000000")
    offered = await desk.ann("GET", "/admin/v1/session")
    assert offered.status_code == 200 and "set-cookie" in offered.headers
    assert (await desk.ann("GET", "/admin/v1/session")).status_code == 200


async def test_a_login_that_is_sent_twice_begins_two_sessions(desk: Desk) -> None:
    """Guards against a cookie that is kept to be given again, and against a login that is answered with none:
    whoever knew the key would be in.
    """
    browsers = [desk.served.browser(**{"Idempotency-Key": "a-login"}) for _ in range(2)]
    answers = [await browser.log_in(ANN, PASSWORD) for browser in browsers]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert not any("idempotent-replayed" in answer.headers for answer in answers)
    tokens = {
        value
        for browser in browsers
        for name, value in browser.client.cookies.items()
        if "device" not in name
    }
    assert len(tokens) == 2
    wrong = desk.served.browser(**{"Idempotency-Key": "a-login"})
    assert (await wrong.log_in(ANN, "not hers at all")).status_code == 401
    assert await desk.sql("SELECT count(*) FROM kept_answer") == 0


async def test_two_people_who_change_one_thing_do_not_undo_each_other(desk: Desk) -> None:
    """Guards against a page that saves over what a colleague saved meanwhile, and against tags that differ
    by who asks: a key's program and a browser speak of the same thing.
    """
    made = (await desk.ann("POST", desk.keys, json={})).json()
    path = f"/admin/v1/keys/{made['id']}"
    anns, bobs = [await browser("GET", path) for browser in (desk.ann, desk.bob)]
    assert anns.headers["etag"] == bobs.headers["etag"]
    assert (await desk.served.client.get(path)).headers["etag"] == anns.headers["etag"]
    fits = {"If-Match": anns.headers["etag"]}
    without = await desk.ann("PATCH", path, json={"name": "A"}, headers={**fits, CSRF: ""})
    assert without.json()["error"]["code"] == "csrf_failed"
    assert (await desk.ann("PATCH", path, json={"name": "A"}, headers=fits)).status_code == 200
    late = await desk.bob("PATCH", path, json={"name": "B"}, headers=fits)
    assert (late.status_code, late.json()["error"]["code"]) == (412, "precondition_failed")
    both = {"If-Match": (await desk.bob("GET", path)).headers["etag"], "Idempotency-Key": "b"}
    for _ in range(2):
        blocked = await desk.bob("POST", f"{path}/block", headers=both)
        assert (blocked.status_code, blocked.json()["state"]) == (200, "blocked")
    assert (await desk.bob("GET", path)).json()["name"] == "A"
    assert (await desk.bob("GET", path, headers={"If-None-Match": both["If-Match"]})).status_code == 200
    shown = (await desk.bob("GET", path)).headers["etag"]
    assert (await desk.ann("GET", path, headers={"If-None-Match": shown})).status_code == 304
