"""The addresses that metergate listens on: who answers there, and which settings say where.

One table: for who binds them (admin/cli/listening.py) and for who looks at them (admin/doctor/). Pure.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Address:
    """`name` is the socket's. `host` and `port` are names of settings of the role (`proxy`, `admin`). `page`
    answers 200; `ready`, where there is one, tells whether calls can be served.
    """

    name: str
    role: str
    purpose: str
    host: str
    port: str
    page: str
    ready: str = ""

    @property
    def setting(self) -> str:
        """What moves it to another port."""
        return f"METERGATE_{self.port.upper()}"

    @property
    def option(self) -> str:
        """The same on the command line."""
        return f"--{self.port.replace('_', '-')}"

    def of(self, settings: object) -> tuple[str, int]:
        """Host and port, as the role's settings say."""
        host, port = getattr(settings, self.host), getattr(settings, self.port)
        assert isinstance(host, str) and isinstance(port, int)
        return host, port


ADDRESSES: Final = (
    Address("proxy", "proxy", "the data plane", "host", "port", "/healthz", "/readyz"),
    Address("admin", "admin", "the control plane", "admin_host", "admin_port", "/healthz", "/readyz"),
    Address("metrics", "proxy", "the metrics page", "metrics_host", "metrics_port", "/metrics"),
)
