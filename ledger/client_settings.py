"""Who stands between clients and metergate: a setting of both planes.

The data plane goes by it where keys are bound to addresses, the control plane for the audit log.
"""

from ledger.engine_settings import EngineSettings
from ledger.errors import Refused
from ledger.networks import Networks
from ledger.setting import setting


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    """In the one form of each."""
    try:
        return Networks.parse(texts).cidrs
    except Refused as fault:
        raise ValueError(str(fault)) from None


class ClientSettings(EngineSettings):
    """Settings of a server that clients reach; each is METERGATE_<NAME> in the environment or
    metergate.toml.
    """

    trusted_proxies: tuple[str, ...] = setting(
        default=(),
        check=_networks,
        description=(
            "Addresses and networks (CIDR) of the proxies before metergate whose X-Forwarded-For is "
            "believed, separated by commas. Name proxies only, never a network that clients are in."
        ),
    )
