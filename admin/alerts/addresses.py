"""Which addresses a tenant's URL may lead to: public ones, and none of the host's own networks.

Pure. A tenant chooses a webhook's URL, and metergate calls it from inside the operator's network: cloud
metadata, the database and the engines are all in reach from there. Names prove nothing, since they may lead
elsewhere a moment later: who calls resolves first, asks here, and connects to the very address it asked for.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

from ledger.networks import Address, parse_address

_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_LOW_32: Final = (1 << 32) - 1


def is_address(text: str) -> bool:
    """Whether this is an address and no name."""
    return parse_address(text) is not None


def is_public(text: str) -> bool:
    """Whether an address is one of the public internet; text that is none is not."""
    address = parse_address(text)
    return address is not None and _is_public(address)


def _is_public(address: Address) -> bool:
    """Of IPv6 only what is given out for the internet; where an IPv4 address is inside, that one counts."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    within = _inner(address)
    if within is not None:
        return _is_public(within)
    return address in _UNICAST and address.is_global


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one end up at: by NAT64 or 6to4."""
    if address in _NAT64:
        return IPv4Address(int(address) & _LOW_32)
    return address.sixtofour
