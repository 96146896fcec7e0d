"""Addresses and networks of IP: which addresses a list of networks holds.

Pure. An IPv4 address that came as an IPv6 one (`::ffff:192.0.2.1`) is the IPv4 address, and a network of such
is a network of IPv4, so one machine cannot be two. `::/0` therefore holds every IPv6 address and no IPv4 one.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self

from ledger.errors import Refused

NETWORKS_MAX: Final = 100
"""In one list: every call with a key that has a list goes through it."""

_TEXT_CHARS_MAX: Final = 64  # the longest IPv6 address has 45, and a prefix 4
_MAPPED_BITS: Final = 96  # what `::ffff:` stands for
_WITH_PREFIX: Final = re.compile(r"[0-9a-fA-F.:]+(/[0-9]{1,3})?")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Networks:
    """Networks of IPv4 and IPv6. `cidrs`: as they were written, and then in their one form, in order.

    Raises Refused for what is no address and no network, and for more than NETWORKS_MAX.
    """

    cidrs: tuple[str, ...]
    _masked: tuple[tuple[int, int, int], ...] = field(init=False, repr=False, compare=False)
    """(version, mask, network), as integers."""

    def __post_init__(self) -> None:
        """Parses, once."""
        if len(self.cidrs) > NETWORKS_MAX:
            raise Refused(f"a list has {NETWORKS_MAX} networks at most, not {len(self.cidrs)}")
        networks = tuple(dict.fromkeys(_network(text) for text in self.cidrs))
        object.__setattr__(self, "cidrs", tuple(map(str, networks)))
        masked = tuple((one.version, int(one.netmask), int(one.network_address)) for one in networks)
        object.__setattr__(self, "_masked", masked)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Of `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32` and the like. Raises Refused."""
        return cls(tuple(texts))

    @classmethod
    def of_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        return cls(tuple(json.loads(text)))

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(self.cidrs)

    def hold(self, address: Address) -> bool:
        """Whether one of them holds the address, which `parse_address` made."""
        version, bits = address.version, int(address)
        for of_version, mask, network in self._masked:
            if version == of_version and bits & mask == network:
                return True
        return False


def parse_address(text: str) -> Address | None:
    """An address in its one form, without a zone; None for what is none."""
    if len(text) > _TEXT_CHARS_MAX:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


def _network(text: str) -> IPv4Network | IPv6Network:
    text = text.strip()
    shown = repr(text[:_TEXT_CHARS_MAX])
    if not _WITH_PREFIX.fullmatch(text):
        raise Refused(f"{shown} is no address and no network such as 192.0.2.0/24 or 2001:db8::/32")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise Refused(f"{shown} is no address and no network such as 192.0.2.0/24 or 2001:db8::/32") from None
    if "/" in text and ip_address(text.partition("/")[0]) != network.network_address:
        raise Refused(f"{shown} has bits set behind its prefix: write {network}")
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network
