"""The control plane's settings: where it listens, and what its background worker does.

Rules as in the data plane's: a unit in the name, a default that is safe on loopback, a description from which
docs/configuration.md is made. It must not know the data plane.
"""

from ledger.client_settings import ClientSettings
from ledger.setting import setting


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
