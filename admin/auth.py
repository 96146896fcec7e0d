"""Who asks: admin keys, `Authorization: Bearer sk-admin-...`.

Rules: a key that is malformed or has a wrong checksum never reaches the database; nothing here says whether
a key that does not work ever did.
"""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from admin.config import AdminSettings
from admin.cookies import SecureCookies
from admin.errors import Unauthenticated
from admin.last_use import LastUse
from admin.letters import Letters, NoLetters
from admin.login_watch import LoginWatch
from admin.served_models import ServedModels
from ledger import admin_keys, keys
from ledger.database import Database
from ledger.session_terms import SessionTerms
from ledger.settings import pepper
from ledger.tables.tenancy import AdminKey

if TYPE_CHECKING:
    from ledger.logins import Door


class Secrets:
    """What stands on the secret key, which is made where there is none: whoever needs neither, such as a
    command that lists something, leaves no file behind.
    """

    def __init__(self, database: Database, settings: AdminSettings, watch: LoginWatch) -> None:
        """Reads nothing yet."""
        self._database = database
        self._settings = settings
        self._watch = watch

    @cached_property
    def pepper(self) -> bytes:
        """What keys are hashed with."""
        return pepper(self._settings)

    @cached_property
    def door(self) -> "Door":
        """What logins stand on."""
        from ledger.logins import Door  # noqa: PLC0415 (commands do without)
        from ledger.passwords import Passwords  # noqa: PLC0415

        passwords = Passwords(self._settings.password_memory_mib)
        return Door(self._database, self.pepper, passwords, self.session_terms, self._watch.heard)

    @property
    def session_terms(self) -> SessionTerms:
        """How long sessions last."""
        return self._settings.session_terms()


@dataclass(frozen=True, slots=True)
class Plane:
    """What the endpoints stand on; made with the app, closed with it."""

    database: Database
    currency: str
    secrets: "Secrets"
    secure_cookies: SecureCookies
    letters: Letters
    served: ServedModels
    last_use: LastUse
    login_watch: LoginWatch
    has_mail: bool
    """Whether there is a server to hand mail to."""
    private_webhooks: bool
    """Whether webhooks may be anywhere, and without TLS."""

    @property
    def pepper(self) -> bytes:
        """What keys are hashed with."""
        return self.secrets.pepper

    @property
    def door(self) -> "Door":
        """What logins stand on."""
        return self.secrets.door

    @property
    def session_terms(self) -> SessionTerms:
        """How long sessions last: no secret is needed to know."""
        return self.secrets.session_terms

    def now_us(self) -> int:
        """The control plane's clock."""
        return _now_us()


async def plane_of(request: Request) -> Plane:
    """The app's own plane, or what stands for it in this request (admin/conditional.py)."""
    plane: Plane = getattr(request.state, "plane", None) or request.app.state.plane
    return plane


def make_plane(settings: AdminSettings) -> Plane:
    """The plane of an app with these settings; it connects to the ledger on first use."""
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    letters: Letters = NoLetters()
    if settings.smtp is not None:
        from admin.mailed_letters import MailedLetters  # noqa: PLC0415 (the mail client, where mail is sent)

        letters = MailedLetters(settings.smtp, settings.smtp_from)
    watch = LoginWatch(database, _now_us)
    return Plane(
        database,
        settings.currency,
        Secrets(database, settings, watch),
        settings.secure_cookies,
        letters,
        ServedModels(settings),
        LastUse(database),
        watch,
        has_mail=settings.smtp_url is not None,
        private_webhooks=settings.webhook_private_addresses,
    )


async def close_plane(plane: Plane) -> None:
    """Lets go of what it took, the database last."""
    await plane.letters.close()
    await plane.last_use.close()
    await plane.login_watch.close()
    await plane.served.close()
    await plane.database.close()


def _now_us() -> int:
    return time.time_ns() // 1000


Here = Annotated[Plane, Depends(plane_of)]

bearer = HTTPBearer(auto_error=False, scheme_name="AdminKey", description="An admin key, sk-admin-...")


Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def admin_key(plane: Plane, credentials: HTTPAuthorizationCredentials | None) -> AdminKey:
    """The admin key of this request. Raises Unauthenticated."""
    if credentials is None:
        raise Unauthenticated(
            "You didn't provide an admin key. Provide it in an Authorization header: Bearer sk-admin-..."
        )
    secret = credentials.credentials.encode()
    if not keys.is_well_formed(secret, keys.ADMIN_PREFIX):
        if secret.startswith(keys.API_PREFIX.encode()):
            raise Unauthenticated(
                "That is a key of the data plane; the control plane takes admin keys, sk-admin-..."
            )
        raise Unauthenticated("Incorrect admin key provided.")
    digest = keys.digest(plane.pepper, secret)
    async with plane.database.read() as session:
        found = await admin_keys.find_admin_key(session, digest, plane.now_us())
    if found is None:
        raise Unauthenticated("Incorrect admin key provided.")
    plane.last_use.note(found, plane.now_us())
    return found
