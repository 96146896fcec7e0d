"""Who runs a command: the user of the operating system, for the audit log.

Whoever reaches the database may do everything: the command line is the operator. Under sudo the user who
called it is named too.
"""

import getpass
import os
import socket

from ledger.actors import Actor, ActorKind
from ledger.roles import Role


def command_line() -> Actor:
    """The user who runs this process, at this host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        user = f"uid {os.getuid()}"
    through = os.environ.get("SUDO_USER")
    name = f"{through} as {user}" if through and through != user else user
    return Actor(ActorKind.COMMAND_LINE, user, f"{name} at {socket.gethostname()}", Role.OPERATOR)
