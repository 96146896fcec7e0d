"""/v1/organization/spend_alerts and .../projects/{id}/spend_alerts: who is told once a month's spend reaches
an amount, in OpenAI's shapes.

A channel is OpenAI's `email`, and has beside it a `webhook_url`, which OpenAI has not: recipients may then be
none. The secret that its calls are signed with is shown whenever the URL is set.
"""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from admin.actors import Actor, may
from admin.alerts import signing
from admin.alerts.addresses import is_address, is_public
from admin.api.object_lists import Before, Listed, ObjectList, OrderedListQuery
from admin.api.spend_limits import Currency, check_currency
from admin.auth import Here, Plane
from admin.within import Organization, hold_to_whole_tenant, organization_of, project_in
from ledger import spend_alerts
from ledger.alert_channel import RECIPIENTS_MAX, URL_CHARS_MAX, AlertChannel
from ledger.errors import Refused
from ledger.object_pages import PageWish
from ledger.roles import Permission
from ledger.spend_alerts import AlertScope
from ledger.spend_limits import amount_of, picos_of
from ledger.tables.alerts import SpendAlert

router = APIRouter(tags=["organization: spend alerts"])

Reading = Annotated[Actor, may(Permission.SPEND_READ)]
Writing = Annotated[Actor, may(Permission.SPEND_WRITE)]


class NotificationChannel(BaseModel):
    """Whom to tell."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["email"]
    recipients: Annotated[
        list[str], Field(strict=True, max_length=RECIPIENTS_MAX, description="Each gets a mail of their own")
    ]
    subject_prefix: Annotated[str | None, Field(strict=True)] = None
    webhook_url: Annotated[
        str | None,
        Field(strict=True, max_length=URL_CHARS_MAX, description="An https:// URL that is called as well"),
    ] = None

    @classmethod
    def of(cls, channel: AlertChannel) -> Self:
        """The view of a channel."""
        return cls(
            type="email",
            recipients=list(channel.recipients),
            subject_prefix=channel.subject_prefix,
            webhook_url=channel.webhook_url,
        )


class SpendAlertOrder(BaseModel):
    """What an alert is told, all of it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "threshold_amount": 80_000,
                "currency": "USD",
                "interval": "month",
                "notification_channel": {"type": "email", "recipients": ["finance@example.com"]},
            }
        },
    )

    threshold_amount: Annotated[int, Field(strict=True, ge=0)]
    currency: Currency
    interval: Literal["month"]
    notification_channel: NotificationChannel


class SpendAlertView(Listed):
    """What both have."""

    threshold_amount: Annotated[int, Field(description="In the currency's smallest unit")]
    currency: str
    interval: Literal["month"] = "month"
    notification_channel: NotificationChannel
    webhook_secret: Annotated[
        str | None, Field(description="What calls of the webhook are signed with, where its URL was set")
    ] = None

    @classmethod
    def of(cls, alert: SpendAlert, webhook_secret: str | None = None) -> Self:
        """The view of a row."""
        return cls(
            id=alert.id,
            threshold_amount=amount_of(alert.threshold_picos, alert.currency),
            currency=alert.currency,
            notification_channel=NotificationChannel.of(alert.channel),
            webhook_secret=webhook_secret,
        )


class OrganizationSpendAlert(SpendAlertView):
    """OpenAI's `organization.spend_alert`."""

    object: Literal["organization.spend_alert"] = "organization.spend_alert"


class ProjectSpendAlert(SpendAlertView):
    """OpenAI's `project.spend_alert`."""

    object: Literal["project.spend_alert"] = "project.spend_alert"


class DeletedOrganizationSpendAlert(BaseModel):
    """That an alert is gone."""

    id: str
    object: Literal["organization.spend_alert.deleted"] = "organization.spend_alert.deleted"
    deleted: Literal[True] = True


class DeletedProjectSpendAlert(BaseModel):
    """That an alert is gone."""

    id: str
    object: Literal["project.spend_alert.deleted"] = "project.spend_alert.deleted"
    deleted: Literal[True] = True


class SpendAlertQuery(OrderedListQuery):
    """How alerts are asked for."""

    limit: Annotated[int, Field(ge=0, le=100)] = 20
    before: Before = None

    def wish(self) -> PageWish:
        """The page that is meant."""
        return PageWish(self.limit, self.after, self.before, newest_first=self.order == "desc")


Asked = Annotated[SpendAlertQuery, Query()]


@router.get("/spend_alerts")
async def list_organization_spend_alerts(
    plane: Here, actor: Reading, query: Asked, organization: Organization = None
) -> ObjectList[OrganizationSpendAlert]:
    """List the alerts on the organization's spend, without those on its projects'."""
    async with plane.database.read() as session:
        scope = await _organization(session, actor, Permission.SPEND_READ, organization)
        page = await spend_alerts.read(session, scope, query.wish())
    return ObjectList.of([OrganizationSpendAlert.of(row) for row in page.rows], has_more=page.has_more)


@router.post("/spend_alerts")
async def create_organization_spend_alert(
    plane: Here, actor: Writing, body: SpendAlertOrder, organization: Organization = None
) -> OrganizationSpendAlert:
    """Make an alert on the organization's spend."""
    async with plane.database.write() as session:
        scope = await _organization(session, actor, Permission.SPEND_WRITE, organization)
        return OrganizationSpendAlert.of(*await _create(session, plane, scope, body, actor))


@router.get("/spend_alerts/{alert_id}")
async def get_organization_spend_alert(
    plane: Here, actor: Reading, alert_id: str, organization: Organization = None
) -> OrganizationSpendAlert:
    """Show an alert."""
    async with plane.database.read() as session:
        scope = await _organization(session, actor, Permission.SPEND_READ, organization)
        return OrganizationSpendAlert.of(await spend_alerts.get(session, scope, alert_id))


@router.post("/spend_alerts/{alert_id}")
async def update_organization_spend_alert(
    plane: Here, actor: Writing, alert_id: str, body: SpendAlertOrder, organization: Organization = None
) -> OrganizationSpendAlert:
    """Replace all that an alert was told."""
    async with plane.database.write() as session:
        scope = await _organization(session, actor, Permission.SPEND_WRITE, organization)
        return OrganizationSpendAlert.of(*await _change(session, plane, scope, alert_id, body, actor))


@router.delete("/spend_alerts/{alert_id}")
async def delete_organization_spend_alert(
    plane: Here, actor: Writing, alert_id: str, organization: Organization = None
) -> DeletedOrganizationSpendAlert:
    """End an alert."""
    async with plane.database.write() as session:
        scope = await _organization(session, actor, Permission.SPEND_WRITE, organization)
        alert = await spend_alerts.get(session, scope, alert_id)
        await spend_alerts.delete(session, alert, plane.now_us(), by=actor)
    return DeletedOrganizationSpendAlert(id=alert_id)


@router.get("/projects/{project_id}/spend_alerts")
async def list_project_spend_alerts(
    plane: Here, actor: Reading, project_id: str, query: Asked, organization: Organization = None
) -> ObjectList[ProjectSpendAlert]:
    """List the alerts on a project's spend."""
    async with plane.database.read() as session:
        scope = await _project(session, actor, project_id, organization)
        page = await spend_alerts.read(session, scope, query.wish())
    return ObjectList.of([ProjectSpendAlert.of(row) for row in page.rows], has_more=page.has_more)


@router.post("/projects/{project_id}/spend_alerts")
async def create_project_spend_alert(
    plane: Here, actor: Writing, project_id: str, body: SpendAlertOrder, organization: Organization = None
) -> ProjectSpendAlert:
    """Make an alert on a project's spend."""
    async with plane.database.write() as session:
        scope = await _project(session, actor, project_id, organization)
        return ProjectSpendAlert.of(*await _create(session, plane, scope, body, actor))


@router.get("/projects/{project_id}/spend_alerts/{project_alert_id}")
async def get_project_spend_alert(
    plane: Here, actor: Reading, project_id: str, project_alert_id: str, organization: Organization = None
) -> ProjectSpendAlert:
    """Show an alert."""
    async with plane.database.read() as session:
        scope = await _project(session, actor, project_id, organization)
        return ProjectSpendAlert.of(await spend_alerts.get(session, scope, project_alert_id))


@router.post("/projects/{project_id}/spend_alerts/{project_alert_id}")
async def update_project_spend_alert(
    plane: Here,
    actor: Writing,
    project_id: str,
    project_alert_id: str,
    body: SpendAlertOrder,
    organization: Organization = None,
) -> ProjectSpendAlert:
    """Replace all that an alert was told."""
    async with plane.database.write() as session:
        scope = await _project(session, actor, project_id, organization)
        return ProjectSpendAlert.of(*await _change(session, plane, scope, project_alert_id, body, actor))


@router.delete("/projects/{project_id}/spend_alerts/{project_alert_id}")
async def delete_project_spend_alert(
    plane: Here, actor: Writing, project_id: str, project_alert_id: str, organization: Organization = None
) -> DeletedProjectSpendAlert:
    """End an alert."""
    async with plane.database.write() as session:
        scope = await _project(session, actor, project_id, organization)
        alert = await spend_alerts.get(session, scope, project_alert_id)
        await spend_alerts.delete(session, alert, plane.now_us(), by=actor)
    return DeletedProjectSpendAlert(id=project_alert_id)


async def _organization(
    session: AsyncSession, actor: Actor, permission: Permission, organization: str | None
) -> AlertScope:
    hold_to_whole_tenant(actor, permission)
    return AlertScope(await organization_of(session, actor, organization))


async def _project(
    session: AsyncSession, actor: Actor, project_id: str, organization: str | None
) -> AlertScope:
    project = await project_in(session, actor, project_id, organization)
    return AlertScope(project.tenant_id, project.id)


async def _create(
    session: AsyncSession, plane: Plane, scope: AlertScope, body: SpendAlertOrder, actor: Actor
) -> tuple[SpendAlert, str | None]:
    """The alert, and the secret of its webhook where it has one."""
    check_currency(plane, body.currency)
    picos, channel = picos_of(body.threshold_amount, plane.currency), _channel(plane, body)
    alert = await spend_alerts.create(
        session, scope, picos, plane.currency, channel, plane.now_us(), by=actor
    )
    return alert, _secret(plane, alert)


async def _change(
    session: AsyncSession, plane: Plane, scope: AlertScope, alert_id: str, body: SpendAlertOrder, actor: Actor
) -> tuple[SpendAlert, str | None]:
    """As _create."""
    check_currency(plane, body.currency)
    picos, channel = picos_of(body.threshold_amount, plane.currency), _channel(plane, body)
    alert = await spend_alerts.get(session, scope, alert_id)
    await spend_alerts.change(session, alert, picos, plane.currency, channel, plane.now_us(), by=actor)
    return alert, _secret(plane, alert)


def _secret(plane: Plane, alert: SpendAlert) -> str | None:
    return None if alert.channel.webhook_url is None else signing.secret_of(plane.pepper, alert.id)


def _channel(plane: Plane, body: SpendAlertOrder) -> AlertChannel:
    """Raises Refused for a channel that cannot be served here. Where a name leads is looked at when it is
    called, each time: here only what will never do is turned away.
    """
    told = body.notification_channel
    channel = AlertChannel(tuple(told.recipients), told.subject_prefix, told.webhook_url)
    if channel.recipients and not plane.has_mail:
        raise Refused(
            "no mail is sent from here: the operator has set no METERGATE_SMTP_URL",
            param="notification_channel.recipients",
        )
    if channel.webhook_url is not None and not plane.private_webhooks:
        parts = urlsplit(channel.webhook_url)
        host = parts.hostname or ""
        if parts.scheme != "https":
            raise Refused("a webhook_url is an https:// URL", param="notification_channel.webhook_url")
        if is_address(host) and not is_public(host):
            raise Refused(
                "a webhook_url leads to the public internet", param="notification_channel.webhook_url"
            )
    return channel
