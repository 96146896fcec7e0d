"""docs/control-plane.md against the code: roles, routes, events, error codes."""

from ledger.audit_events import Event
from ledger.roles import IN_A_PROJECT, Permission, Role, allows
from tests.integration.admin.routes import routes
from tests.integration.docs.test_documents import rows, section

PAGE = "docs/control-plane.md"


def test_the_table_of_permissions_is_the_codes() -> None:
    """Guards against a table that was true once."""
    shown = {row[0]: row[1:] for row in rows(section(PAGE, "## Roles")) if len(row) == 7}
    assert shown == {
        f"`{permission}`": [
            *("yes" if allows(role, permission) else "" for role in Role),
            "kept" if permission in IN_A_PROJECT else "",
        ]
        for permission in Permission
    }


def test_every_route_is_there_with_its_permission() -> None:
    """Guards against a route that asks for another permission than was meant: the page is the other place
    where it is said.
    """
    shown = [(row[0], row[1]) for row in rows(section(PAGE, "## Routes"))]
    assert sorted(shown) == sorted((f"`{route}`", f"`{route.permission}`") for route in routes())


def test_every_event_is_there() -> None:
    """Guards against a word in the audit log that is explained nowhere."""
    assert [row[0] for row in rows(section(PAGE, "## The audit log"))] == [f"`{event}`" for event in Event]
