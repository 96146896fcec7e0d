"""The control plane's routes, as the app itself has them, and the permission that each asks for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from admin.actors import May
from admin.app import create_app
from admin.config import AdminSettings
from ledger.roles import Permission
from tests.integration.admin.asking import PLAIN, SHARED, WAYS, Way

KEYLESS = {
    *("/healthz", "/readyz", "/", "/docs"),
    # For who brings a password or a token, or is logged in and does what concerns themselves alone.
    *(
        "/admin/v1/session",
        "/admin/v1/sessions",
        "/admin/v1/sessions/{session_id}",
        "/admin/v1/session/password",
    ),
    *("/admin/v1/invites/accept", "/admin/v1/password-resets/accept"),
}


@dataclass(frozen=True)
class Route:
    """A way into the control plane, and what it asks for."""

    method: str
    path: str
    permission: Permission

    def __str__(self) -> str:
        """As failures show it."""
        return f"{self.method} {self.path}"

    @property
    def way(self) -> Way:
        """How it is asked."""
        return WAYS.get((self.method, self.path), PLAIN)

    @property
    def names(self) -> set[str]:
        """What it is asked about: the names of ids in its path, query and body."""
        return set(re.findall(r"{(\w+)}", f"{self.path} {self.way.query} {self.way.body}")) - SHARED.keys()

    @property
    def is_organizations(self) -> bool:
        """Whether the operator names the tenant in a header."""
        return self.path.startswith("/v1/organization")


def asked_for(dependant: Dependant) -> Iterator[Permission]:
    """The permissions that a route declares, however deep."""
    if isinstance(dependant.call, May):
        yield dependant.call.permission
    for inner in dependant.dependencies:
        yield from asked_for(inner)


def routes() -> list[Route]:
    """All of the app's, in their order: at the least those of its OpenAPI document."""
    app, found = create_app(AdminSettings()), []
    for route in iter_route_contexts(app.routes):
        if not isinstance(route.original_route, APIRoute) or route.path in KEYLESS:
            continue
        permissions = list(asked_for(route.dependant))
        assert len(permissions) == 1, f"{route.path} declares {permissions or 'no permission'}"
        found += [Route(method, str(route.path), permissions[0]) for method in sorted(route.methods or ())]
    documented = {
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if path not in KEYLESS
    }
    assert len(documented) > 30 and documented <= {(route.method, route.path) for route in found}
    return found
