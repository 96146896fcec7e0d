"""What the audit log calls things: OpenAI's names where OpenAI has one, ours where it has none. Pure."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


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
    API_KEY_ROTATED = "api_key.rotated"
    ORGANIZATION_CREATED = "organization.created"
    LIMIT_UPDATED = "limit.updated"  # of every other kind
    LIMIT_DELETED = "limit.deleted"
    SPEND_ALERT_CREATED = "spend_alert.created"
    SPEND_ALERT_UPDATED = "spend_alert.updated"
    SPEND_ALERT_DELETED = "spend_alert.deleted"
    PRICE_CREATED = "price.created"
    PASSWORD_CHANGED = "user.password_changed"  # noqa: S105 - the name of an event, like the next two
    PASSWORD_RESET_CREATED = "user.password_reset_created"  # noqa: S105
    SECRET_ADOPTED = "secret.adopted"  # noqa: S105 - the name of an event


NEAREST: Final[Mapping[Event, Event]] = {
    Event.API_KEY_ROTATED: Event.API_KEY_UPDATED,
    Event.ORGANIZATION_CREATED: Event.ORGANIZATION_UPDATED,
    Event.LIMIT_UPDATED: Event.RATE_LIMIT_UPDATED,
    Event.LIMIT_DELETED: Event.RATE_LIMIT_DELETED,
    Event.SPEND_ALERT_CREATED: Event.ORGANIZATION_UPDATED,
    Event.SPEND_ALERT_UPDATED: Event.ORGANIZATION_UPDATED,
    Event.SPEND_ALERT_DELETED: Event.ORGANIZATION_UPDATED,
    Event.PRICE_CREATED: Event.ORGANIZATION_UPDATED,
    Event.PASSWORD_CHANGED: Event.USER_UPDATED,
    Event.PASSWORD_RESET_CREATED: Event.USER_UPDATED,
    Event.SECRET_ADOPTED: Event.ORGANIZATION_UPDATED,
}
"""What OpenAI's clients are told of events that are ours: they know a closed list of names."""


def openais(event: str) -> str:
    """The name in OpenAI's list."""
    return NEAREST.get(Event(event), Event(event))


def told_as(names: Iterable[str]) -> list[str]:
    """The events that a client means by these names: ours, or those that it is told under them."""
    wanted = set(names)
    return [event for event in Event if event in wanted or openais(event) in wanted]
