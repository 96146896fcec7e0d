"""The sockets of a start: bound before anything else starts, so that a taken port is found first, and handed
to the children by number.
"""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from admin.addresses import ADDRESSES
from admin.config import AdminSettings
from admin.sockets import listen, url_of
from proxy.config import ProxySettings


@dataclass(frozen=True, slots=True)
class Listening:
    """Listening sockets, by what listens there: `proxy`, `metrics`, `admin`, `simulator`."""

    sockets: Mapping[str, socket.socket]

    @classmethod
    def of(cls, roles: Sequence[str], proxy: ProxySettings, admin: AdminSettings) -> "Listening":
        """What these roles listen on. Raises AddressUnusable."""
        found: dict[str, socket.socket] = {}
        for each in ADDRESSES:
            if each.role in roles:
                host, port = each.of(proxy if each.role == "proxy" else admin)
                choose_with = f"{each.option} or {each.setting}"
                found[each.name] = listen(host, port, purpose=each.purpose, choose_with=choose_with)
        if "proxy" in roles and not proxy.engines:
            found["simulator"] = listen("127.0.0.1", 0, purpose="the simulator", choose_with="--engine")
        return cls(found)

    @property
    def fds(self) -> dict[str, int]:
        """As the children get them."""
        return {name: listener.fileno() for name, listener in self.sockets.items()}

    @property
    def simulates(self) -> bool:
        """Whether the simulator is the engine."""
        return "simulator" in self.sockets

    def url(self, name: str) -> str | None:
        """Where it is reached; None where this start has no such thing."""
        return url_of(self.sockets[name]) if name in self.sockets else None

    @property
    def base_url(self) -> str | None:
        """What an OpenAI client is pointed at."""
        url = self.url("proxy")
        return None if url is None else f"{url}/v1"

    def close(self) -> None:
        """From here on only the children hold the sockets: who connects once they have stopped accepting is
        refused, and goes elsewhere, in place of waiting for nobody.
        """
        for listener in self.sockets.values():
            listener.close()
