"""Who stands between clients and metergate: a setting of both planes.

The data plane goes by it where keys are bound to addresses, the control plane for the audit log.
"""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from ledger.engine_settings import EngineSettings, split_at_commas
from ledger.errors import Refused
from ledger.networks import Networks


class ClientSettings(EngineSettings):
    """Settings of a server that clients reach; each is METERGATE_<NAME> in the environment or
    metergate.toml.
    """

    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description=(
            "Addresses and networks (CIDR) of the proxies before metergate whose X-Forwarded-For is "
            "believed, separated by commas. Name proxies only, never a network that clients are in."
        ),
    )

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: object) -> object:
        """'a, b' -> ('a', 'b'); a list (from metergate.toml or Python) stays one."""
        return split_at_commas(value)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        """In the one form of each."""
        try:
            return Networks.parse(texts).cidrs
        except Refused as fault:
            raise ValueError(str(fault)) from None
