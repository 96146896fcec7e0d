"""Logging in over HTTP: cookies, the CSRF token, who acts, and what is told to whom."""

from collections.abc import AsyncIterator
from http.cookies import Morsel, SimpleCookie
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from admin.config import AdminSettings
from admin.cookies import SecureCookies
from ledger.roles import Role
from tests.integration.admin.serving import CSRF, Served, serving
from tests.people import MEMORY_MIB, OTHER_PASSWORD, PASSWORD, a_tenant, a_user, hashed

ANN = "ann@example.com"
SESSION = "metergate_session"


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path, password_memory_mib=MEMORY_MIB)
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def ann(served: Served) -> str:
    """A reader of a tenant; its id."""
    tenant, _ = await a_tenant(served.database)
    await a_user(served.database, ANN, (tenant.id, Role.READER), credential_hash=await hashed(ANN))
    return tenant.id


def cookies_of(answer: httpx.Response) -> dict[str, Morsel[str]]:
    """The cookies that an answer sets."""
    jar: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        jar.load(line)
    return dict(jar)


async def test_a_person_logs_in_looks_around_and_logs_out(served: Served, ann: str) -> None:
    """Guards against a cookie that a script can read or another site can send, a logout that ends nothing."""
    browser = served.browser()
    assert (await browser("GET", "/admin/v1/session")).status_code == 401
    answer = await browser.log_in("Ann@Example.com", PASSWORD)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["user"]["email"] == ANN
    assert told["memberships"] == [{"tenant_id": ann, "tenant_name": "Acme", "role": "reader"}]
    assert PASSWORD not in answer.text
    cookie = cookies_of(answer)[SESSION]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (
        True,
        "lax",
        "/",
        "",
    )
    assert cookie["max-age"] == cookie["expires"] == ""
    assert cookie.value not in answer.text
    assert (await browser("GET", "/admin/v1/session")).json() == told
    listed = (await browser("GET", "/admin/v1/tenants")).json()["data"]
    assert [tenant["id"] for tenant in listed] == [ann]
    users = (await browser("GET", "/v1/organization/users")).json()["data"]
    assert [user["email"] for user in users] == [ANN]

    other = served.browser()
    await other.log_in(ANN, PASSWORD)
    gone = await browser("DELETE", "/admin/v1/session")
    assert gone.json() == {"ended": 1}
    assert cookies_of(gone)[SESSION]["max-age"] == "0"
    stale = {"Cookie": f"{SESSION}={cookie.value}"}
    assert (await browser("GET", "/admin/v1/session", headers=stale)).status_code == 401
    third = served.browser()
    await third.log_in(ANN, PASSWORD)
    assert (await other("DELETE", "/admin/v1/sessions")).json() == {"ended": 2}
    assert (await third("GET", "/admin/v1/session")).status_code == 401


async def test_a_person_sees_where_they_are_logged_in_and_logs_out_there(served: Served, ann: str) -> None:
    """Guards against a list of everybody's sessions, or of those that are over, and against a session that
    somebody else ends.
    """
    await a_user(served.database, "bob@example.com", (ann, Role.OWNER), credential_hash=await hashed("bob@"))
    browsers = [served.browser(**{"user-agent": f"browser {number}"}) for number in range(3)]
    for browser in browsers:
        assert (await browser.log_in(ANN, PASSWORD)).status_code == 200
    stranger = served.browser()
    assert (await stranger.log_in("bob@example.com", PASSWORD)).status_code == 200
    here = browsers[1]
    first = (await here("GET", "/admin/v1/sessions", params={"limit": "2"})).json()
    assert [one["user_agent"] for one in first["data"]] == ["browser 0", "browser 1"] and first["has_more"]
    assert [one["is_this"] for one in first["data"]] == [False, True]
    rest = (await here("GET", "/admin/v1/sessions", params={"after": first["next_after"]})).json()
    assert [one["user_agent"] for one in rest["data"]] == ["browser 2"] and not rest["has_more"]

    path = f"/admin/v1/sessions/{first['data'][0]['id']}"
    refused = await stranger("DELETE", path)
    assert refused.status_code == 404
    assert (await browsers[0]("GET", "/admin/v1/session")).status_code == 200
    assert (await here("DELETE", path)).json() == {"ended": 1}
    assert (await here("DELETE", path)).status_code == 404
    assert (await browsers[0]("GET", "/admin/v1/session")).status_code == 401
    over = "UPDATE user_session SET expires_us = 1 WHERE user_agent = 'browser 2'"
    async with served.database.write() as session:
        await session.execute(text(over))
    left = (await here("GET", "/admin/v1/sessions")).json()["data"]
    assert [one["user_agent"] for one in left] == ["browser 1"]
    gone = await here("DELETE", f"/admin/v1/sessions/{left[0]['id']}")
    assert gone.json() == {"ended": 1} and cookies_of(gone)[SESSION]["max-age"] == "0"
    assert (await served.client.get("/admin/v1/sessions")).status_code == 401


async def test_every_unsafe_method_by_cookie_needs_the_csrf_token(served: Served, ann: str) -> None:
    """Guards against another site's form that acts for its visitor; the list comes from the document."""
    browser = served.browser()
    await browser.log_in(ANN, PASSWORD)
    right = browser.client.headers[CSRF]
    document = (await served.client.get("/openapi.json")).json()
    public = {"/admin/v1/session", "/admin/v1/invites/accept", "/admin/v1/password-resets/accept"}
    asked = 0
    for path, operations in document["paths"].items():
        for method in operations:
            if method == "get" or (method == "post" and path in public):
                continue
            for wrong in ({}, {CSRF: ""}, {CSRF: right[:-1] + "x"}, {CSRF: "\xe9"}):
                del browser.client.headers[CSRF]
                refused = await browser(
                    method,
                    path,
                    json={},
                    headers=[(name, value.encode("latin-1")) for name, value in wrong.items()],
                )
                browser.client.headers[CSRF] = right
                assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf_failed"), path
                asked += 1
                if asked > 8:  # one wrong way each is enough after that
                    break
    assert asked > 30
    assert (await browser("DELETE", "/admin/v1/session")).status_code == 200


async def test_a_key_needs_no_csrf_token_and_goes_before_the_cookie(served: Served, ann: str) -> None:
    """Guards against a script with a key that is refused because its client keeps cookies."""
    browser = served.browser()
    await browser.log_in(ANN, PASSWORD)
    headers = {"Authorization": served.client.headers["Authorization"], CSRF: ""}
    assert (
        await browser("POST", "/admin/v1/tenants", json={"name": "B"}, headers=headers)
    ).status_code == 201
    wrong = {"Authorization": "Bearer sk-admin-nothing"}
    assert (await browser("GET", "/admin/v1/tenants", headers=wrong)).status_code == 401


async def test_a_session_has_its_users_role_and_no_more(served: Served, ann: str) -> None:
    """Guards against a cookie that may more than its user, or acts in a tenant they left or never were in."""
    other, _ = await a_tenant(served.database, "Other")
    browser = served.browser()
    await browser.log_in(ANN, PASSWORD)
    path = f"/admin/v1/tenants/{ann}"
    assert (await browser("GET", path)).status_code == 200
    denied = await browser("POST", f"{path}/projects", json={"name": "P"})
    assert (denied.status_code, denied.json()["error"]["code"]) == (403, "insufficient_permissions")
    assert "projects.write" in denied.json()["error"]["message"]
    assert (await browser("GET", f"/admin/v1/tenants/{other.id}")).status_code == 404
    there = {"OpenAI-Organization": other.id}
    assert (await browser("GET", "/v1/organization/users", headers=there)).status_code == 404
    user_id = (await browser("GET", "/admin/v1/session")).json()["user"]["id"]
    organization = {"OpenAI-Organization": ann}
    raised = await served.client.post(
        f"/v1/organization/users/{user_id}", json={"role": "admin"}, headers=organization
    )
    assert raised.status_code == 200
    assert (await browser("POST", f"{path}/projects", json={"name": "P"})).status_code == 201
    gone = await served.client.delete(f"/v1/organization/users/{user_id}", headers=organization)
    assert gone.json()["deleted"]
    assert (await browser("GET", path)).status_code == 403
    assert (await browser("GET", "/admin/v1/session")).json()["memberships"] == []


async def test_of_several_tenants_the_header_chooses_one(served: Served, ann: str) -> None:
    """Guards against a page that shows one tenant's data under another's name."""
    other, _ = await a_tenant(served.database, "Other")
    roles = ((ann, Role.READER), (other.id, Role.OWNER))
    await a_user(served.database, "bob@example.com", *roles, credential_hash=await hashed("bob@example.com"))
    browser = served.browser()
    await browser.log_in("bob@example.com", PASSWORD)
    assert (await browser("GET", "/v1/organization/projects")).status_code == 400
    for tenant_id, status in ((ann, 403), (other.id, 200)):
        made = await browser(
            "POST",
            "/v1/organization/projects",
            json={"name": "P"},
            headers={"OpenAI-Organization": tenant_id},
        )
        assert made.status_code == status


async def test_wrong_logins_are_told_alike_and_held_back(served: Served, ann: str) -> None:
    """Guards against an answer that tells who has an account, and guesses without end."""
    said = []
    for email in (ANN, "nobody@example.com"):
        refused = await served.browser().log_in(email, "a wrong one of mine")
        assert refused.headers["www-authenticate"]
        said.append((refused.status_code, refused.json(), "set-cookie" in refused.headers))
    assert said[0] == said[1]
    assert (said[0][0], said[0][1]["error"]["code"], said[0][2]) == (401, "invalid_credentials", False)
    for _ in range(4):
        await served.browser().log_in(ANN, "a wrong one of mine")
    held = await served.browser().log_in(ANN, PASSWORD)
    error = held.json()["error"]
    assert (held.status_code, error["type"], error["code"]) == (429, "requests", "rate_limit_exceeded")
    assert error.keys() == {"message", "type", "param", "code"}
    assert 50 <= int(held.headers["retry-after"]) <= 60


async def test_a_browser_that_was_here_before_is_not_held_back_by_strangers(served: Served, ann: str) -> None:
    """Guards against a lock-out as a weapon, over HTTP: the mark of the browser comes along by itself."""
    browser = served.browser()
    device = cookies_of(await browser.log_in(ANN, PASSWORD))["metergate_device"]
    assert (device["httponly"], int(device["max-age"]) > 30 * 86_400) == (True, True)
    await browser("DELETE", "/admin/v1/session")
    for _ in range(6):
        stranger = await served.browser().log_in(ANN, "a wrong one of mine")
    assert stranger.status_code == 429
    assert (await browser.log_in(ANN, PASSWORD)).status_code == 200


async def test_a_changed_password_ends_the_others_and_turns_this_one_over(served: Served, ann: str) -> None:
    """Guards against a thief who stays, and against a user who is logged out by being careful."""
    browser, stolen = served.browser(), served.browser()
    await browser.log_in(ANN, PASSWORD)
    await stolen.log_in(ANN, PASSWORD)
    before = browser.client.cookies[SESSION]
    body = {"old_password": PASSWORD, "new_password": OTHER_PASSWORD}
    wrong = await browser("POST", "/admin/v1/session/password", json={**body, "old_password": OTHER_PASSWORD})
    assert wrong.json()["error"]["code"] == "invalid_credentials"
    weak = await browser("POST", "/admin/v1/session/password", json={**body, "new_password": "Password1234"})
    assert (weak.status_code, weak.json()["error"]["code"]) == (400, "refused")
    assert "Password1234" not in weak.text
    changed = await browser("POST", "/admin/v1/session/password", json=body)
    assert (changed.status_code, changed.json()) == (200, {"ended": 1})
    assert browser.client.cookies[SESSION] != before
    assert (await browser("GET", "/admin/v1/session")).status_code == 200
    assert (await stolen("GET", "/admin/v1/session")).status_code == 401
    assert (await served.browser().log_in(ANN, PASSWORD)).status_code == 401
    assert (await served.browser().log_in(ANN, OTHER_PASSWORD)).status_code == 200


async def test_an_invite_and_a_reset_from_the_owner_to_the_page(served: Served, ann: str) -> None:
    """Guards against a token that is shown twice, stored, or works twice, along the way that people go."""
    owner = {"Authorization": f"Bearer {await served.key(Role.OWNER, ann)}"}
    order = {"email": "bob@example.com", "role": "admin"}
    made = await served.client.post("/v1/organization/invites", json=order, headers=owner)
    assert made.status_code == 200, made.text
    token = made.json()["token"]
    listed = await served.client.get("/v1/organization/invites", headers=owner)
    assert token not in listed.text
    browser = served.browser()
    assert (await browser.accept(token[:-1] + "!", "Bob", PASSWORD)).json()["error"][
        "code"
    ] == "token_refused"
    accepted = await browser.accept(token, "Bob", PASSWORD)
    assert accepted.status_code == 200, accepted.text
    assert accepted.json()["memberships"][0]["role"] == "admin"
    assert (await browser("GET", "/admin/v1/session")).json()["user"]["name"] == "Bob"
    again = await served.browser().accept(token, "Eve", OTHER_PASSWORD)
    assert (again.status_code, again.json()["error"]["code"]) == (400, "token_refused")

    user_id = accepted.json()["user"]["id"]
    reset = await served.client.post(f"/admin/v1/users/{user_id}/password-resets", headers=owner)
    assert reset.status_code == 201, reset.text
    body = {"token": reset.json()["token"], "password": OTHER_PASSWORD}
    done = await served.browser()("POST", "/admin/v1/password-resets/accept", json=body)
    assert (done.status_code, done.json()["id"]) == (200, user_id)
    assert (await browser("GET", "/admin/v1/session")).status_code == 401
    assert (await served.browser().log_in("bob@example.com", OTHER_PASSWORD)).status_code == 200
    used = await served.browser()("POST", "/admin/v1/password-resets/accept", json=body)
    assert used.json()["error"]["code"] == "token_refused"


async def test_another_site_logs_nobody_in(served: Served, ann: str) -> None:
    """Guards against a victim who works, unknowing, in the attacker's account, and a form for JSON."""
    browser = served.browser(**{"Sec-Fetch-Site": "cross-site"})
    assert (await browser.log_in(ANN, PASSWORD)).json()["error"]["code"] == "csrf_failed"
    form = await served.browser()("POST", "/admin/v1/session", data={"email": ANN, "password": PASSWORD})
    assert form.status_code == 400
    text = f'{{"email": "{ANN}", "password": "{PASSWORD}"}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        sent = await served.browser()(
            "POST", "/admin/v1/session", content=text, headers={"Content-Type": kind}
        )
        assert (sent.status_code, PASSWORD in sent.text) == (400, False)
    same = served.browser(**{"Sec-Fetch-Site": "same-origin"})
    assert (await same.log_in(ANN, PASSWORD)).status_code == 200


@pytest.mark.parametrize(
    ("secure", "scheme", "is_secure"),
    [("auto", "https", True), ("auto", "http", False), ("always", "http", True), ("never", "https", False)],
)
async def test_cookies_are_secure_where_https_is(
    sqlite_url: str, tmp_path: Path, secure: str, scheme: str, is_secure: bool
) -> None:
    """Guards against a session that travels in the clear behind a proxy that speaks https."""
    settings = AdminSettings(
        database_url=sqlite_url,
        data_dir=tmp_path,
        password_memory_mib=MEMORY_MIB,
        secure_cookies=SecureCookies(secure),
    )
    async with serving(settings) as served:
        tenant, _ = await a_tenant(served.database)
        await a_user(served.database, ANN, (tenant.id, Role.READER), credential_hash=await hashed(ANN))
        headers = {"X-Forwarded-Proto": scheme}
        answer = await served.browser(**headers).log_in(ANN, PASSWORD)
        name = f"__Host-{SESSION}" if is_secure else SESSION
        cookie = cookies_of(answer)[name]
        assert bool(cookie["secure"]) is is_secure
        assert (cookie["path"], cookie["domain"]) == ("/", "")
        with_it = {**headers, "Cookie": f"{name}={cookie.value}"}
        assert (await served.browser()("GET", "/admin/v1/session", headers=with_it)).status_code == 200


async def test_the_token_turns_over_along_the_way(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a rotation that never reaches the browser."""
    settings = AdminSettings(
        database_url=sqlite_url, data_dir=tmp_path, password_memory_mib=MEMORY_MIB, session_turn_minutes=1
    )
    async with serving(settings) as served:
        tenant, _ = await a_tenant(served.database)
        await a_user(served.database, ANN, (tenant.id, Role.READER), credential_hash=await hashed(ANN))
        browser = served.browser()
        await browser.log_in(ANN, PASSWORD)
        first = browser.client.cookies[SESSION]
        async with served.database.write() as session:
            connection = await session.connection()
            await connection.exec_driver_sql("UPDATE user_session SET turned_us = turned_us - 60000000")
        assert (await browser("GET", "/admin/v1/tenants")).status_code == 200
        second = browser.client.cookies[SESSION]
        assert second != first
        token = browser.client.headers[CSRF]
        assert (await browser("GET", "/admin/v1/session")).json()["csrf_token"] == token
        async with served.database.write() as session:
            connection = await session.connection()
            await connection.exec_driver_sql("UPDATE user_session SET turned_us = turned_us - 60000000")
        stale = {"Cookie": f"{SESSION}={first}"}
        assert (await served.browser()("GET", "/admin/v1/session", headers=stale)).status_code == 401
