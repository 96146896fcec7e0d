"""The tables of the book, by noun. Only ledger/ writes SQL; importing this package makes all tables known."""

from ledger.tables.alerts import Outbound, SpendAlert, SpendAlertFiring
from ledger.tables.answers import KeptAnswer
from ledger.tables.audit import AuditEvent, AuditHead
from ledger.tables.base import Table
from ledger.tables.changes import Change
from ledger.tables.engines import EngineSample, ReconciliationPoint
from ledger.tables.limits import Lease, LeaseHolder, LimitBalance, LimitEvent, LimitRate, UsageLimit
from ledger.tables.ownership import KeyOwnership
from ledger.tables.people import (
    Invite,
    LoginCount,
    LoginRate,
    Membership,
    PasswordReset,
    ProjectMembership,
    User,
    UserSession,
)
from ledger.tables.prices import PriceVersion
from ledger.tables.secret import SecretCheck
from ledger.tables.service_accounts import ServiceAccount
from ledger.tables.tenancy import AdminKey, ApiKey, ApiKeySecret, Project, Tenant
from ledger.tables.usage import ProjectDay, ProjectHour, UsageDay, UsageHour, UsageRow

__all__ = [
    "AdminKey",
    "ApiKey",
    "ApiKeySecret",
    "AuditEvent",
    "AuditHead",
    "Change",
    "EngineSample",
    "Invite",
    "KeptAnswer",
    "KeyOwnership",
    "Lease",
    "LeaseHolder",
    "LimitBalance",
    "LimitEvent",
    "LimitRate",
    "LoginCount",
    "LoginRate",
    "Membership",
    "Outbound",
    "PasswordReset",
    "PriceVersion",
    "Project",
    "ProjectDay",
    "ProjectHour",
    "ProjectMembership",
    "ReconciliationPoint",
    "SecretCheck",
    "ServiceAccount",
    "SpendAlert",
    "SpendAlertFiring",
    "Table",
    "Tenant",
    "UsageDay",
    "UsageHour",
    "UsageLimit",
    "UsageRow",
    "User",
    "UserSession",
]
