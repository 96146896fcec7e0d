"""Every route of the control plane, asked by every role, about its own tenant and about another's.

The routes are the app's own: one that declares no permission fails, and so does one that this test was not
told how to ask. On SQLite alone, since all of it is in front of the ledger.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from admin.app import create_app
from admin.config import AdminSettings
from ledger import limit_settings
from ledger.database import Database
from ledger.limit_settings import LimitScope
from ledger.limits import LimitKind, LimitWindow
from ledger.roles import Role, allows
from ledger.settings import pepper
from tests.inline_sqlite import inline_sqlite
from tests.integration.admin.asking import NOBODYS, Asker, Ids, Undone, World, filled, make_world
from tests.integration.admin.routes import Route, routes


@dataclass(frozen=True)
class Stage:
    """A control plane in which nothing stays, and who asks it for what."""

    client: httpx.AsyncClient
    writing: Database
    database: Undone
    world: World

    async def ask(
        self, route: Route, asker: Asker, ids: Ids, organization: str | None = None
    ) -> httpx.Response:
        """The answer. The operator names the tenant, where one has to."""
        headers = {"Authorization": f"Bearer {asker.secret}"}
        if organization is None and route.is_organizations and asker.role is Role.OPERATOR:
            organization = ids["tenant_id"]
        if organization is not None:
            headers["OpenAI-Organization"] = organization
        self.database.actors.clear()
        way = route.way
        return await self.client.request(
            route.method, filled(route.path, ids), headers=headers,
            params=filled(way.query, ids), json=filled(way.body, ids),
        )  # fmt: skip


@pytest.fixture
async def stage(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    settings = AdminSettings(database_url=sqlite_url, data_dir=tmp_path)
    app = create_app(settings)
    with inline_sqlite():
        async with app.router.lifespan_context(app):
            plane = app.state.plane
            world = await make_world(plane.database, pepper(settings))
            database = Undone(plane.database)
            app.state.plane = replace(plane, database=database)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://plane") as client:
                yield Stage(client, plane.database, database, world)
            app.state.plane = plane
            await database.close()


async def test_every_role_may_what_its_table_says_and_only_with_its_own(stage: Stage) -> None:
    """Guards against a route that forgot to ask, and against a tenant that reads another's book."""
    wrong = []
    for route in routes():
        for asker in stage.world.askers:
            wrong += [f"{asker}: {route}: {fault}" async for fault in faults(stage, route, asker)]
    assert not wrong, "\n".join(wrong)


async def faults(stage: Stage, route: Route, asker: Asker) -> AsyncIterator[str]:
    """What is wrong with what this asker gets of this route."""
    world = stage.world
    answer = await stage.ask(route, asker, world.own)
    may = allows(asker.role, route.permission, in_project=asker.is_limited)
    missing = f" {route.permission}."
    if may and route.way.is_tenants and asker.is_limited:
        may, missing = False, f" {route.permission} on the whole tenant."
    if not may:
        for refusal in (answer, await stage.ask(route, asker, world.others)):
            said = refusal.text
            if refusal.status_code != 403 or missing not in said:
                yield f"{refusal.status_code} instead of 403 naming {route.permission}: {said}"
        return
    if answer.status_code != route.way.status:
        yield f"{answer.status_code} for its own: {answer.text}"
    actors = stage.database.actors
    if set(actors) != (set() if route.method == "GET" or route.way.quiet else {asker.id}):
        yield f"the audit log names {actors}"
    if asker.role is Role.OPERATOR:
        answer = await stage.ask(route, asker, world.others)
        if answer.status_code != route.way.status:
            yield f"{answer.status_code} for another tenant's: {answer.text}"
        return
    hidden = [*world.others.values(), *(set(world.beside.values()) - set(world.own.values()))]
    for unseen in hidden[: len(hidden) if asker.is_limited else len(world.others)]:
        if unseen in answer.text:
            yield f"it shows {unseen}"
    if route.names:
        async for fault in unseen_faults(stage, route, asker):
            yield fault
    if route.is_organizations:
        answer = await stage.ask(route, asker, world.own, organization=world.others["tenant_id"])
        if answer.status_code != 404:
            yield f"{answer.status_code} for another organization: {answer.text}"


async def unseen_faults(stage: Stage, route: Route, asker: Asker) -> AsyncIterator[str]:
    """What is wrong with its answers about what it does not see: they are those about nothing."""
    world = stage.world
    nothing = await stage.ask(route, asker, NOBODYS)
    if nothing.status_code != 404:
        yield f"{nothing.status_code} for what is not there: {nothing.text}"
    unseen = [world.others]
    if asker.is_limited and route.names != {"tenant_id"}:
        unseen.append(world.beside)
    for ids in unseen:
        answer = await stage.ask(route, asker, ids)
        told = answer.text
        for name, value in NOBODYS.items():
            told = told.replace(ids[name], value)
        if (answer.status_code, told) != (404, nothing.text):
            yield f"{answer.status_code} for what is not its own: {answer.text}"


async def test_nobody_moves_their_own_bounds(stage: Stage) -> None:
    """Guards against a tenant that raises what the operator has set for it, and a project's key that raises
    its project's.
    """
    world = stage.world
    askers = {(asker.role, asker.is_limited): asker for asker in world.askers}
    operator, owner = askers[Role.OPERATOR, False], askers[Role.OWNER, False]
    limited = askers[Role.OWNER, True]
    scopes = {
        "tenant": {"tenant_id": world.own["tenant_id"]},
        "project": {"project_id": world.own["project_id"]},
        "key": {"api_key_id": world.own["key_id"]},
    }
    async with stage.writing.write() as session:
        on = {
            name: (
                await limit_settings.set_limit(
                    session,
                    LimitScope(**scope),
                    LimitKind.SPEND,
                    LimitWindow.MONTH,
                    5,
                    1,
                )
            ).id
            for name, scope in scopes.items()
        }
    may = {
        (operator, "tenant"): 200, (operator, "project"): 200, (operator, "key"): 200,
        (owner, "tenant"): 403, (owner, "project"): 200, (owner, "key"): 200,
        (limited, "tenant"): 403, (limited, "project"): 403, (limited, "key"): 200,
    }  # fmt: skip
    for (asker, name), expected in may.items():
        headers = {"Authorization": f"Bearer {asker.secret}"}
        order = {**scopes[name], "kind": "spend", "max": "1.00"}
        put = await stage.client.post("/admin/v1/limits", json=order, headers=headers)
        assert put.status_code == expected, (str(asker), name, put.text)
        gone = await stage.client.delete(f"/admin/v1/limits/{on[name]}", headers=headers)
        # What lies above a project is not there for its key.
        above = asker is limited and name == "tenant"
        assert gone.status_code == (404 if above else expected), (str(asker), name, gone.text)
        if expected == 403:
            assert "limits.write on " in put.json()["error"]["message"]


@pytest.mark.parametrize(
    ("role", "is_limited", "order", "status", "said"),
    [
        (Role.OWNER, False, {"role": "owner"}, 201, None),
        (Role.OWNER, False, {"role": "operator"}, 403, "admin_keys.write for the role operator"),
        (Role.ADMIN, False, {"role": "owner"}, 403, "admin_keys.write for the role owner"),
        (Role.ADMIN, True, {"role": "admin"}, 201, None),
        (Role.OPERATOR, False, {"role": "owner"}, 400, "say of which"),
        (Role.OPERATOR, False, {"role": "operator", "expires": "1d"}, 201, None),
        (Role.OWNER, False, {"role": "emperor"}, 400, "role"),
    ],
)
async def test_an_admin_key_is_made_by_who_may_give_its_role(
    stage: Stage, role: Role, is_limited: bool, order: dict[str, str], status: int, said: str | None
) -> None:
    """Guards against a key that makes itself a mightier one."""
    asker = next(one for one in stage.world.askers if (one.role, one.is_limited) == (role, is_limited))
    answer = await stage.client.post(
        "/admin/v1/admin_keys", json=order, headers={"Authorization": f"Bearer {asker.secret}"}
    )
    assert answer.status_code == status, answer.text
    if said is None:
        own = stage.world.own
        made = answer.json()
        assert made["key"].startswith("sk-admin-") and made["role"] == order["role"]
        assert made["tenant_id"] == (None if role is Role.OPERATOR else own["tenant_id"])
        assert made["project_id"] == (own["project_id"] if is_limited else None)
        assert (made["expires_at"] is not None) == ("expires" in order)
    else:
        assert said in answer.json()["error"]["message"]
