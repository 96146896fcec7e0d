"""What the audit log calls things: OpenAI's names where OpenAI has one, ours where it has none. Pure."""

from enum import StrEnum


class Event(StrEnum):
    """What was done."""

    # OpenAI's. An organization is a tenant; what one key or limit is told, is its update.
    API_KEY_CREATED = "api_key.created"
    API_KEY_UPDATED = "api_key.updated"
    API_KEY_DELETED = "api_key.deleted"  # revoked, for good
    ADMIN_KEY_CREATED = "tenant.admin_api_key.created"
    ADMIN_KEY_DELETED = "tenant.admin_api_key.deleted"
    INVITE_SENT = "invite.sent"
    INVITE_ACCEPTED = "invite.accepted"
    INVITE_DELETED = "invite.deleted"
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    LOGOUT_SUCCEEDED = "logout.succeeded"
    ORGANIZATION_UPDATED = "organization.updated"
    PROJECT_CREATED = "project.created"
    PROJECT_UPDATED = "project.updated"
    PROJECT_ARCHIVED = "project.archived"
    RATE_LIMIT_UPDATED = "rate_limit.updated"  # of requests or tokens by the minute
    RATE_LIMIT_DELETED = "rate_limit.deleted"
    SERVICE_ACCOUNT_CREATED = "service_account.created"
    SERVICE_ACCOUNT_UPDATED = "service_account.updated"
    SERVICE_ACCOUNT_DELETED = "service_account.deleted"
    USER_ADDED = "user.added"
    USER_UPDATED = "user.updated"
    USER_DELETED = "user.deleted"

    # Ours.
    ORGANIZATION_CREATED = "organization.created"
    LIMIT_UPDATED = "limit.updated"  # of every other kind
    LIMIT_DELETED = "limit.deleted"
    PRICE_CREATED = "price.created"
    SECRET_ADOPTED = "secret.adopted"  # noqa: S105 - the name of an event
