"""Listening sockets, bound by the supervisor before anything is started, so that a taken port is found first.

Must not know what listens on them.
"""

import errno
import os
import socket

BACKLOG = 2048
"""Connections that wait while a worker starts again; uvicorn's default."""


class AddressUnusable(Exception):
    """The address cannot be listened on; the message names it and the way to choose another."""

    is_taken = False
    """Whether somebody else listens there."""


class _Taken(AddressUnusable):
    is_taken = True


def listen(host: str, port: int, *, purpose: str, choose_with: str) -> socket.socket:
    """A listening TCP socket, inheritable by number. Raises AddressUnusable.

    `purpose` is who will answer there, `choose_with` the setting that moves it.
    """
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as fault:
        raise AddressUnusable(
            f"{purpose}: {host!r} is no address of this machine ({fault.strerror})"
        ) from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as fault:
        listener.close()
        if fault.errno == errno.EADDRINUSE:
            raise _Taken(f"{purpose}: port {port} is taken; choose another with {choose_with}") from None
        reason = os.strerror(fault.errno) if fault.errno else str(fault)
        raise AddressUnusable(f"{purpose}: cannot listen on {where} ({reason}); see {choose_with}") from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL that reaches a socket from this machine: a wildcard address is reached over loopback."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
