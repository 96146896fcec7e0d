"""Lists of the control plane, walked to their end a page at a time, on both databases."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from ledger import admin_keys, tenancy
from ledger.database import Database
from ledger.ids import new_id
from ledger.limits import LimitKind, LimitWindow
from ledger.settings import pepper
from ledger.states import KeyState, ProjectState, TenantState, UserState
from ledger.tables.limits import UsageLimit
from ledger.tables.people import User
from ledger.tables.prices import PriceVersion
from ledger.tables.tenancy import AdminKey, ApiKey, Project, Tenant
from tests.integration.admin.control_planes import ControlPlane
from tests.rows import put

OBJECTS = 1000
TENANT, PROJECT = "org-all", "proj_all"


def tenant(number: int) -> Tenant:
    return Tenant(id=new_id("org-"), name=f"T{number}", state=TenantState.ACTIVE, created_us=number // 3)


def project(number: int) -> Project:
    return Project(
        id=new_id("proj_"), tenant_id=TENANT, name="P", state=ProjectState.ACTIVE, created_us=number // 3
    )


def key(number: int) -> ApiKey:
    return ApiKey(
        id=new_id("key_"), project_id=PROJECT, tenant_id=TENANT, name="K", digest=b"%d" % number,
        redacted="", state=KeyState.ACTIVE, created_us=number // 3,
    )  # fmt: skip


def admin_key(number: int) -> AdminKey:
    return AdminKey(
        id=new_id("adminkey_"), name="K", digest=b"%d" % number, redacted="", state=KeyState.REVOKED,
        created_us=number // 3,
    )  # fmt: skip


def limit(number: int) -> UsageLimit:
    return UsageLimit(
        id=new_id("limit_"), tenant_id=TENANT, model=f"m{number}", kind=LimitKind.REQUESTS,
        window=LimitWindow.DAY, max_value=1, created_us=number // 3, changed_us=1,
    )  # fmt: skip


def price(number: int) -> PriceVersion:
    return PriceVersion(
        id=new_id("price_"), model="mM-_é"[number % 5], tenant_id=TENANT if number % 2 else None,
        currency="USD", input_micros_per_mtok=1, cached_input_micros_per_mtok=1, output_micros_per_mtok=1,
        request_micros=0, effective_from_us=number, created_us=number,
    )  # fmt: skip


def user(number: int) -> User:
    return User(
        id=new_id("user-"), email=f"{number}@example.com", name="U", state=UserState.ACTIVE,
        is_operator=False, created_us=number // 3,
    )  # fmt: skip


LISTS: dict[str, Callable[[int], Any]] = {
    "/admin/v1/tenants": tenant,
    f"/admin/v1/tenants/{TENANT}/projects": project,
    f"/admin/v1/projects/{PROJECT}/keys": key,
    "/admin/v1/admin_keys": admin_key,
    "/admin/v1/limits": limit,
    "/admin/v1/prices": price,
    "/admin/v1/users": user,
}


async def fill(database: Database, make: Callable[[int], Any], count: int = OBJECTS) -> list[str]:
    async with database.write() as session:
        rows = [make(number) for number in range(count)]
        await put(session, rows)
    return [row.id for row in rows]


async def make_parents(database: Database) -> None:
    async with database.write() as session:
        session.add(Tenant(id=TENANT, name="A", state=TenantState.ACTIVE, created_us=0))
        await session.flush()
        session.add(Project(id=PROJECT, tenant_id=TENANT, name="P", state=ProjectState.ACTIVE, created_us=0))


async def walk(client: httpx.AsyncClient, path: str, size: int) -> AsyncIterator[list[dict[str, Any]]]:
    after: dict[str, str] = {}
    while True:
        answer = await client.get(path, params={"limit": str(size), **after})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["data"]) <= size and page["has_more"] == (page["next_after"] is not None)
        yield page["data"]
        if not page["has_more"]:
            return
        assert len(page["data"]) == size
        after = {"after": page["next_after"]}


async def test_a_thousand_are_walked_each_once_and_in_their_order(plane: ControlPlane) -> None:
    """Guards against rows of one instant that a page's edge cuts apart, and against a sort that the database
    and its pages understand differently.
    """
    await make_parents(plane.database)
    for path, make in LISTS.items():
        made = set(await fill(plane.database, make))
        whole = [one["id"] async for page in walk(plane.client, path, 1000) for one in page]
        walked = [one["id"] async for page in walk(plane.client, path, 130) for one in page]
        assert made <= set(whole) and len(set(whole)) == len(whole), path
        assert walked == whole, path
        usual = (await plane.client.get(path)).json()
        assert len(usual["data"]) == 100 and usual["has_more"], path


async def test_what_is_made_and_removed_meanwhile_moves_nothing_else(plane: ControlPlane) -> None:
    """Guards against pages that count rows: one put in before would come twice, one removed hide another."""
    await make_parents(plane.database)
    made = await fill(plane.database, limit, 30)
    walked = []
    async for page in walk(plane.client, "/admin/v1/limits", 7):
        walked += [one["id"] for one in page]
        gone = await plane.client.delete(f"/admin/v1/limits/{page[-1]['id']}")  # the very place
        assert gone.status_code == 200
        await fill(plane.database, lambda number: limit(0), 3)
    assert [one for one in walked if one in made] == made or sorted(set(walked) & set(made)) == sorted(made)
    assert len(set(walked)) == len(walked)


NO_PLACES = [
    "x", "", "limit_none", "[1]", *(
        base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
        for values in ([], [1], ["1", "x"], [1, 2], [1, "x", 3], [True, "x"], [2**70, "x"], {"a": 1},
                       [1, "\x00"], [1, "\ud800"], [1.5, "x"], [None, "x"])
    ),
]  # fmt: skip


async def test_a_place_that_is_none_is_refused(plane: ControlPlane) -> None:
    """Guards against a mistyped place that begins anew, or ends in the database's own error."""
    for after in NO_PLACES:
        answer = await plane.client.get("/admin/v1/limits", params={"after": after})
        assert answer.status_code == 400, (after, answer.text)
    for size in ("0", "-1", "1001", "x"):
        assert (await plane.client.get("/admin/v1/tenants", params={"limit": size})).status_code == 400


async def test_a_tenants_key_pages_through_its_own(plane: ControlPlane) -> None:
    """Guards against a page that is filtered after it is cut: full of others', and hence empty."""
    await make_parents(plane.database)
    await fill(plane.database, tenant, 20)
    async with plane.database.write() as session:
        other = await tenancy.create_tenant(session, "Other", 9)
        await session.flush()
        _, secret = await admin_keys.create_admin_key(
            session, pepper(plane.settings), "K", 1, role="owner", tenant_id=other.id
        )
    mine = {"Authorization": f"Bearer {secret}"}
    page = (await plane.client.get("/admin/v1/tenants", params={"limit": "1"}, headers=mine)).json()
    assert [one["id"] for one in page["data"]] == [other.id] and not page["has_more"]
