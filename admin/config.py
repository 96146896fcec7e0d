"""The control plane's settings: where it listens, how long people stay logged in, and what its background
worker does.

Rules as in the data plane's: a unit in the name, a default that is safe on loopback, a description from which
docs/configuration.md is made. It must not know the data plane.
"""

from admin.alerts.smtp_server import SmtpServer, is_sender
from admin.cookies import SecureCookies
from ledger.client_settings import ClientSettings
from ledger.errors import SettingsRefused
from ledger.session_terms import SessionTerms
from ledger.setting import Secret, setting


def _read_once(url: Secret) -> Secret:
    """Read here once; the message holds nothing of it."""
    SmtpServer.parse(url.get_secret_value())
    return url


def _one_address(text: str) -> str:
    """One address, with a name or without; none."""
    if text and not is_sender(text):
        raise ValueError("is an address such as alerts@example.com")
    return text


class AdminSettings(ClientSettings):
    """Settings of the control plane; each is METERGATE_<NAME> in the environment or metergate.toml."""

    admin_host: str = setting(default="127.0.0.1", description="Address the control plane listens on.")
    admin_port: int = setting(
        default=8081, ge=0, le=65535, description="Port of the control plane; 0 takes any free one."
    )
    reconcile_seconds: float = setting(
        default=60.0,
        ge=0,
        le=3600,
        description=(
            "How often the background worker asks each engine for its own counts and compares the ledger "
            "with them; 0: never."
        ),
    )
    session_idle_minutes: int = setting(
        default=60, ge=5, le=10_080, description="After so long without a call a console session is over."
    )
    session_hours: int = setting(
        default=12,
        ge=1,
        le=720,
        description="After so long a console session is over, however much it is used.",
    )
    session_turn_minutes: int = setting(
        default=15, ge=1, le=1440, description="How often a console session gets another token."
    )
    secure_cookies: SecureCookies = setting(
        default=SecureCookies.AUTO,
        description=(
            "Whether cookies are marked Secure, so that browsers send them over https alone: `always`,"
            " `never` or `auto`: where the request came by https (nginx tells by `X-Forwarded-Proto`)."
        ),
    )
    password_memory_mib: int = setting(
        default=64,
        ge=19,
        le=1024,
        description=(
            "What checking a password takes of memory, and with it of time (argon2id, three passes); two are"
            " checked at a time. Passwords are hashed anew with another value when their users log in."
        ),
    )

    alert_seconds: float = setting(
        default=30.0,
        ge=0,
        le=3600,
        description=(
            "How often the background worker looks whether an alert on spend has to go off, and sends what "
            "is on its way out; 0: never."
        ),
    )
    smtp_url: Secret | None = setting(
        default=None,
        check=_read_once,
        description=(
            "The server that mail is handed to: `smtp://user:password@host:587` (STARTTLS where it is "
            "offered) or `smtps://...:465`. Without one no alert takes a mail address."
        ),
    )
    smtp_from: str = setting(
        default="",
        check=_one_address,
        description="Who mail is from: `alerts@example.com` or `Alerts <alerts@example.com>`.",
    )
    webhook_private_addresses: bool = setting(
        default=False,
        description=(
            "Let webhooks be called over plain http and at loopback, private and link-local addresses. Only "
            "where every tenant may reach what metergate reaches."
        ),
    )

    def __post_init__(self) -> None:
        """Mail needs both of its settings."""
        super().__post_init__()
        if self.smtp_url is not None and not self.smtp_from:
            raise SettingsRefused(["METERGATE_SMTP_URL is set: set METERGATE_SMTP_FROM, too"])

    @property
    def smtp(self) -> SmtpServer | None:
        """Where mail is handed in."""
        return None if self.smtp_url is None else SmtpServer.parse(self.smtp_url.get_secret_value())

    def session_terms(self) -> SessionTerms:
        """How long sessions last."""
        minute_us = 60_000_000
        return SessionTerms(
            idle_us=self.session_idle_minutes * minute_us,
            absolute_us=self.session_hours * 60 * minute_us,
            turn_us=self.session_turn_minutes * minute_us,
        )
