"""Which SMTP server mail is handed to, and from whom it is: what METERGATE_SMTP_URL and _FROM say.

Pure, and light: the settings of every process read it.
"""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

_PORTS: Final = {"smtp": 587, "smtps": 465}
_SENDER: Final = re.compile(r"[^@<>]+@[^@<>\s]+|[^@<>\"]*<[^@<>\s]+@[^@<>\s]+>")


def is_sender(text: str) -> bool:
    """Whether this is `alerts@example.com` or `Alerts <alerts@example.com>`."""
    return text.isprintable() and _SENDER.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed in."""

    host: str
    port: int
    tls_at_once: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> "SmtpServer":
        """Of `smtp://user:password@host:587` or `smtps://...`; what is not a plain letter in user and
        password is percent-encoded. Raises ValueError without what was in it.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("is no URL") from None
        if parts.scheme not in _PORTS or not parts.hostname or port == 0:
            raise ValueError("is smtp://user:password@host:port or smtps://user:password@host:port")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("has nothing behind the port")
        if (parts.username is None) != (parts.password is None):
            raise ValueError("has a user and a password, or neither")
        return cls(
            parts.hostname,
            port or _PORTS[parts.scheme],
            parts.scheme == "smtps",
            None if parts.username is None else unquote(parts.username),
            None if parts.password is None else unquote(parts.password),
        )
