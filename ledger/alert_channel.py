"""How an alert is told: by e-mail, by webhook, or by both.

Pure. What it holds is checked when it is made, so that nothing that is kept can break a mail's head or a
request line.
"""

import json
import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from ledger.errors import Refused

RECIPIENTS_MAX: Final = 25
"""Each gets a mail of their own."""
ADDRESS_CHARS_MAX: Final = 254  # RFC 5321 lets no path be longer
PREFIX_CHARS_MAX: Final = 100
URL_CHARS_MAX: Final = 2048

_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
"""What HTML takes for an e-mail address; nothing that is quoted."""


@dataclass(frozen=True, slots=True)
class AlertChannel:
    """Whom to tell. Raises Refused for what is no address, and for nobody at all."""

    recipients: tuple[str, ...]
    subject_prefix: str | None = None
    webhook_url: str | None = None

    def __post_init__(self) -> None:
        """Checks."""
        param = "notification_channel"
        object.__setattr__(self, "recipients", tuple(dict.fromkeys(self.recipients)))
        if len(self.recipients) > RECIPIENTS_MAX:
            raise Refused(f"an alert has {RECIPIENTS_MAX} recipients at most", param=f"{param}.recipients")
        for address in self.recipients:
            if len(address) > ADDRESS_CHARS_MAX or not _ADDRESS.fullmatch(address):
                raise Refused(f"{address[:80]!r} is no e-mail address", param=f"{param}.recipients")
        prefix = self.subject_prefix
        if prefix is not None and not (len(prefix) <= PREFIX_CHARS_MAX and prefix.isprintable()):
            raise Refused(
                f"a subject prefix has {PREFIX_CHARS_MAX} printable characters at most",
                param=f"{param}.subject_prefix",
            )
        if self.webhook_url is not None:
            _check_url(self.webhook_url, f"{param}.webhook_url")
        if not self.recipients and self.webhook_url is None:
            raise Refused("an alert needs a recipient or a webhook_url", param=f"{param}.recipients")

    @classmethod
    def of_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        kept = json.loads(text)
        return cls(tuple(kept["recipients"]), kept["subject_prefix"], kept["webhook_url"])

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(
            {
                "recipients": self.recipients,
                "subject_prefix": self.subject_prefix,
                "webhook_url": self.webhook_url,
            }
        )


def _check_url(url: str, param: str) -> None:
    """Raises Refused for what is no plain http(s) URL. Where it leads is looked at when it is called."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if len(url) > URL_CHARS_MAX or not url.isascii() or not url.isprintable() or " " in url or not host:
        raise Refused("a webhook_url is an https:// URL", param=param)
    if parts.scheme not in ("http", "https") or port == 0:
        raise Refused("a webhook_url is an https:// URL", param=param)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Refused("a webhook_url holds no user, password or fragment", param=param)
