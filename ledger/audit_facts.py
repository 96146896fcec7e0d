"""What the audit log tells of a row: its columns that mean something to people.

Never a digest, and no secret: of a key there is the redacted form that lists show, too.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from ledger.tables.base import Table
from ledger.tables.limits import UsageLimit
from ledger.tables.people import Invite, Membership, ProjectMembership, User
from ledger.tables.prices import PriceVersion
from ledger.tables.service_accounts import ServiceAccount
from ledger.tables.tenancy import AdminKey, ApiKey, Project, Tenant

SHOWN: Final[Mapping[type[Table], tuple[str, ...]]] = {
    Tenant: ("name", "state", "outage_policy"),
    Project: ("name", "state", "model_permissions"),
    ApiKey: (
        "name", "state", "redacted", "expires_us", "model_permissions", "scopes", "networks", "tags",
        "service_account_id", "user_id",
    ),
    ServiceAccount: ("name", "role"),
    AdminKey: ("name", "state", "redacted", "expires_us", "role", "tenant_id", "project_id"),
    UsageLimit: (
        "tenant_id", "project_id", "api_key_id", "model", "end_user", "kind", "window",
        "max_value", "burst", "soft", "by_tenant",
    ),
    PriceVersion: (
        "model", "tenant_id", "currency", "input_micros_per_mtok", "cached_input_micros_per_mtok",
        "output_micros_per_mtok", "request_micros", "effective_from_us",
    ),
    User: ("email", "name", "state", "is_operator"),
    Membership: ("role",),
    ProjectMembership: ("role",),
    Invite: ("email", "role", "projects", "expires_us"),
}  # fmt: skip


def facts_of(row: Table) -> dict[str, Any]:
    """The row's facts as JSON values, as they are now."""
    return {name: _json(getattr(row, name)) for name in SHOWN[type(row)]}


def _json(value: Any) -> Any:
    kept = getattr(value, "to_json", None)
    return value if kept is None else json.loads(kept())
