"""Who acts: from a request's credentials to an Actor, and what each route asks of it.

Every route of the control plane declares a permission: `actor: Annotated[Actor, may(Permission.KEYS_READ)]`.
Who has it not gets 403 with its name, before anything is looked up; whose it is not gets 404 from
admin/within.py, as if it did not exist. tests/integration/admin/test_permissions.py walks all routes.
"""

from typing import Annotated, Any

from fastapi import Depends, Request, Response

from admin.auth import Credentials, Here, admin_key
from admin.signed_in import Cookie, find_signed_in
from ledger import memberships
from ledger.actors import Actor, ActorKind
from ledger.errors import Denied
from ledger.roles import Permission

__all__ = ["Acting", "Actor", "May", "acting", "may"]


async def acting(
    request: Request, response: Response, plane: Here, credentials: Credentials, _: Cookie
) -> Actor:
    """Who acts in this request: an admin key, or the user of a session. Raises Unauthenticated; CsrfFailed;
    for a user, NotFound, Refused and Denied as `memberships.acting`.
    """
    known: Actor | None = getattr(request.state, "actor", None)
    if known is not None:  # metergate asks itself, in the name of who asked it
        return known
    if credentials is None:
        person = await find_signed_in(request, response, plane)
        if person is not None:
            async with plane.database.read() as session:
                return await memberships.acting(
                    session,
                    person.user,
                    request.headers.get("openai-organization"),
                    request.headers.get("openai-project"),
                    person.origin,
                )
    key = await admin_key(plane, credentials)
    return Actor(
        kind=ActorKind.ADMIN_KEY,
        id=key.id,
        name=key.name,
        role=key.role,
        tenant_id=key.tenant_id,
        project_id=key.project_id,
        address=None if request.client is None else request.client.host,
        user_agent=request.headers.get("user-agent"),
    )


Acting = Annotated[Actor, Depends(acting)]


class May:
    """The dependency of a route that asks for a permission."""

    def __init__(self, permission: Permission) -> None:
        """`permission` is what it asks for."""
        self.permission = permission

    async def __call__(self, request: Request, actor: Acting) -> Actor:
        """The actor. Raises Unauthenticated, and Denied where its role has not the permission."""
        if not actor.may(self.permission):
            raise Denied(self.permission)
        request.state.actor = actor  # from here on it is known who asks: admin/request_transaction.py
        return actor


def may(permission: Permission) -> Any:
    """As a route's parameter: the actor, which has this permission."""
    return Depends(May(permission))
