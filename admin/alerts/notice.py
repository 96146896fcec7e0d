"""What an alert says: the event that a webhook carries, and the mail.

Pure. Both are made of the notice that the ledger wrote when the alert went off (ledger/spend_alerts.py).
"""

import json
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any, Final

from ledger.money import format_picos, minor_unit_picos
from ledger.periods import from_us

EVENT: Final = "spend_alert.reached"
US_PER_SECOND: Final = 1_000_000
_MAILS_ALONE: Final = frozenset({"subject_prefix"})


@dataclass(frozen=True, slots=True)
class Notice:
    """One that goes out. `told` is what the ledger wrote."""

    id: str
    created_us: int
    told: dict[str, Any]

    def event(self) -> bytes:
        """The body of a webhook, in the shape of OpenAI's webhook events."""
        return json.dumps(
            {
                "id": self.id,
                "object": "event",
                "type": EVENT,
                "created_at": self.created_us // US_PER_SECOND,
                "data": {name: value for name, value in self.told.items() if name not in _MAILS_ALONE},
            }
        ).encode()

    def mail(self, sender: str, recipient: str) -> EmailMessage:
        """A mail to one recipient. Its id is the notice's, so that a mailbox can tell a second copy."""
        whose = f"organization {self.told['organization_name']}"
        if self.told["project_id"] is not None:
            whose = f"project {self.told['project_name']}"
        month = from_us(self.told["interval_start"] * US_PER_SECOND).strftime("%Y-%m")
        threshold, spent = self._money("threshold_amount"), self._money("spend_amount")
        subject = f"Spend of {whose} has reached {threshold}"
        prefix = self.told["subject_prefix"]
        message = EmailMessage()
        message["Subject"] = f"{prefix} {subject}" if prefix else subject
        message["From"] = sender
        message["To"] = recipient
        message["Date"] = format_datetime(from_us(self.created_us))
        message["Message-ID"] = f"<{self.id}@{parseaddr(sender)[1].rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        project = self.told["project_id"]
        message.set_content(
            f"The spend of {whose} has reached {threshold} in {month} (UTC).\n\n"
            f"Spent so far: {spent}\n"
            f"Organization: {self.told['organization_name']} ({self.told['organization_id']})\n"
            + (f"Project: {self.told['project_name']} ({project})\n" if project is not None else "")
            + f"Alert: {self.told['alert_id']}\n\n"
            "This is told once a month for each threshold. It stops no calls: a spend limit does.\n"
        )
        return message

    def _money(self, name: str) -> str:
        currency = self.told["currency"]
        return f"{format_picos(self.told[name] * minor_unit_picos(currency))} {currency}"
