"""Letters to people: invites and password resets by e-mail.

Sending is behind one function, which does nothing where no way to send is set up: whoever made an invite
or a reset has its token in their answer, and passes it on. A letter that cannot be sent fails no request.
"""

from typing import Protocol


class Letters(Protocol):
    """A way to send e-mail."""

    async def send(self, to: str, subject: str, body: str) -> None:
        """Send a letter, or say in the log why not. Raises nothing."""

    async def close(self) -> None:
        """Let go of what sending takes."""


class NoLetters:
    """No way to send is set up."""

    async def send(self, to: str, subject: str, body: str) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""


async def send_invite(letters: Letters, email: str, tenant_name: str, token: str) -> None:
    """Tell somebody that they are invited."""
    body = (
        f"You are invited to {tenant_name} on metergate.\n\n"
        "To accept, give this token, your name and a password to whoever sent you the console's address:\n\n"
        f"{token}\n\nIt works once, for a week."
    )
    await letters.send(email, f"Invitation to {tenant_name}", body)


async def send_password_reset(letters: Letters, email: str, token: str) -> None:
    """Tell somebody how to set a new password."""
    body = (
        "Somebody who administers your organization has asked for a new password of yours.\n\n"
        f"This token sets it, once, within a day:\n\n{token}\n\n"
        "If you did not ask for it, do nothing: your password stays as it is."
    )
    await letters.send(email, "A new password", body)
