"""`metergate alert`: who is told once a month's spend reaches an amount. In OpenAI's shapes."""

from typing import Annotated, Any

import typer

from admin.cli.amounts import CurrencyOption, currency_of, in_units, smallest_units
from admin.cli.api import Api, given
from admin.cli.command import Request, resource

app = typer.Typer(help="Alerts: who is told once a month's spend reaches an amount.", no_args_is_help=True)

ONCE = "Keep webhook_secret now: what the webhook is called with is signed with it."
AlertId = Annotated[str, typer.Argument(metavar="ALERT_ID", show_default=False)]
OfTenant = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        metavar="ID",
        help="On this tenant's spend (your own, or the only one).",
        show_default=False,
    ),
]
OfProject = Annotated[
    str | None,
    typer.Option("--project", metavar="ID", help="On this project's spend.", show_default=False),
]
Emails = Annotated[
    list[str] | None,
    typer.Option("--email", metavar="ADDRESS", help="Who gets a mail. Repeatable.", show_default=False),
]
Webhook = Annotated[
    str | None,
    typer.Option("--webhook-url", metavar="URL", help="An https:// URL that is called.", show_default=False),
]
Prefix = Annotated[
    str | None, typer.Option("--subject-prefix", help="Begins the subjects of mails.", show_default=False)
]


@app.command()
@resource
def create(
    request: Request,
    amount: Annotated[
        str, typer.Option("--amount", metavar="VALUE", help="Units of currency: 80.00.", show_default=False)
    ],
    tenant: OfTenant = None,
    project: OfProject = None,
    emails: Emails = None,
    webhook_url: Webhook = None,
    subject_prefix: Prefix = None,
    currency: CurrencyOption = None,
) -> None:
    """Make an alert on the spend of a tenant or a project, by month."""
    if not emails and webhook_url is None:
        raise typer.BadParameter("say who is told: --email, --webhook-url")
    counted = currency_of(request, currency)
    order = {
        "threshold_amount": smallest_units(amount, counted),
        "currency": counted,
        "interval": "month",
        "notification_channel": {
            "type": "email",
            "recipients": emails or [],
            **given(webhook_url=webhook_url, subject_prefix=subject_prefix),
        },
    }
    api, words = _alerts(request, tenant, project)
    _show(request, api.post(*words, body=order))


@app.command("list")
@resource
def list_(request: Request, tenant: OfTenant = None, project: OfProject = None) -> None:
    """List the alerts on a tenant's spend, or on a project's, the oldest first."""
    api, words = _alerts(request, tenant, project)
    request.show_all(
        [_told(request, alert) for alert in api.every(*words)],
        ("id", "threshold_amount", "interval", "recipients", "webhook_url"),
        none="no alerts: make one with `metergate alert create --amount 80.00 --email ADDRESS`",
    )


@app.command()
@resource
def show(request: Request, alert_id: AlertId, tenant: OfTenant = None, project: OfProject = None) -> None:
    """Show an alert."""
    api, words = _alerts(request, tenant, project)
    _show(request, api.get(*words, alert_id))


@app.command()
@resource
def update(
    request: Request,
    alert_id: AlertId,
    tenant: OfTenant = None,
    project: OfProject = None,
    amount: Annotated[
        str | None, typer.Option("--amount", metavar="VALUE", help="Units of currency.", show_default=False)
    ] = None,
    emails: Emails = None,
    no_email: Annotated[bool, typer.Option("--no-email", help="Nobody gets a mail any more.")] = False,
    webhook_url: Webhook = None,
    no_webhook: Annotated[bool, typer.Option("--no-webhook", help="No URL is called any more.")] = False,
    subject_prefix: Prefix = None,
) -> None:
    """Change an alert: what is given takes the place of what was, the rest stays."""
    if (emails and no_email) or (webhook_url and no_webhook):
        raise typer.BadParameter("give an option, or the one that takes it away, not both")
    if not (amount or emails or no_email or webhook_url or no_webhook or subject_prefix is not None):
        raise typer.BadParameter("say what to change: see --help")
    api, words = _alerts(request, tenant, project)
    alert = api.get(*words, alert_id)
    if amount is not None:
        alert["threshold_amount"] = smallest_units(amount, alert["currency"])
    channel = alert["notification_channel"]
    if emails or no_email:
        channel["recipients"] = emails or []
    if webhook_url or no_webhook:
        channel["webhook_url"] = webhook_url
    if subject_prefix is not None:
        channel["subject_prefix"] = subject_prefix or None
    told = ("threshold_amount", "currency", "interval", "notification_channel")
    _show(request, api.post(*words, alert_id, body={name: alert[name] for name in told}))


@app.command()
@resource
def remove(request: Request, alert_id: AlertId, tenant: OfTenant = None, project: OfProject = None) -> None:
    """Take an alert away."""
    api, words = _alerts(request, tenant, project)
    request.show(api.delete(*words, alert_id))


def _alerts(request: Request, tenant: str | None, project: str | None) -> tuple[Api, tuple[str, ...]]:
    """The API about the tenant that is meant, and the words for these alerts."""
    words = ("spend_alerts",) if project is None else ("projects", project, "spend_alerts")
    return request.api.organization(tenant), words


def _show(request: Request, alert: dict[str, Any]) -> None:
    request.show(_told(request, alert), note=ONCE if alert["webhook_secret"] else "")


def _told(request: Request, alert: dict[str, Any]) -> dict[str, Any]:
    """As it is asked for: OpenAI tells amounts in cents."""
    if request.as_json:
        return alert
    told = {**alert, "threshold_amount": in_units(alert["threshold_amount"], alert["currency"])}
    del told["currency"]
    channel = told.pop("notification_channel")
    return told | {name: channel[name] for name in ("recipients", "subject_prefix", "webhook_url")}
