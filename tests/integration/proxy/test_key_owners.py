"""A user's key on a running worker, while its owner is shut out and let in again."""

from sqlalchemy.ext.asyncio import AsyncSession

from ledger import key_owners, key_settings, memberships, tenancy, users
from ledger.actors import PROGRAM
from ledger.roles import Role
from ledger.secret_key import pepper
from ledger.settings import LedgerSettings, load
from ledger.states import UserState
from ledger.tables.people import User
from ledger.tables.tenancy import ApiKey
from tests.engines import Engine
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import chat_body, now_us, wait_for


def test_a_users_key_stops_and_goes_on_with_its_user(
    new_gate_on_both: NewGate, shared_engine: Engine
) -> None:
    """Guards against a worker that lets somebody in who was shut out, or out who is back; times are those of
    the calls' own beginnings.
    """
    gate = new_gate_on_both(shared_engine.url)
    secret_key = pepper(load(LedgerSettings, data_dir=gate.data, database_url=gate.database_url))

    async def make(session: AsyncSession) -> tuple[User, ApiKey, str]:
        user = await users.create_user(session, "ann@example.com", "Ann", 1, by=PROGRAM)
        await memberships.join(session, user, gate.tenant_id, Role.ADMIN, 1, by=PROGRAM)
        project = await tenancy.get_project(session, gate.project_id)
        owner = await key_owners.chosen(session, project, user.id, 1)
        return user, *await tenancy.create_api_key(session, secret_key, project.id, "K", 1, owner=owner)

    user, key, secret = gate.change(make)
    gate.secrets.append(secret)
    client = gate.new_client(secret)

    def becomes(status: int, told_us: int) -> None:
        """Until a call is answered so; and so is each that begins a second after the change."""

        def ask() -> bool | None:
            begun = now_us()
            answer = client.post("/v1/chat/completions", json=chat_body(max_tokens=1))
            assert answer.status_code == status or begun < told_us + 1_000_000, answer.text
            assert answer.status_code in (200, 403), answer.text
            return answer.status_code == status or None

        wait_for(ask, f"status {status}")

    becomes(200, now_us())
    for state, status in ((UserState.DISABLED, 403), (UserState.ACTIVE, 200)):
        gate.change(lambda session, to=state: users.set_state(session, user.id, to, 2, by=PROGRAM))
        becomes(status, now_us())
    gate.change(lambda session: memberships.leave(session, gate.tenant_id, user.id, 3, by=PROGRAM))
    becomes(403, now_us())

    async def give_on(session: AsyncSession) -> ApiKey:
        project = await tenancy.get_project(session, gate.project_id)
        owner = await key_owners.chosen(session, project, None, 4)
        return await key_settings.change_api_key(session, key.id, {"owner": owner}, 4)

    gate.change(give_on)
    becomes(200, now_us())
    client.close()
