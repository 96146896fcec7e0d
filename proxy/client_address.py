"""Which address a request comes from. pure.

Rules: the peer of the connection is the client, unless it is a configured proxy. Then X-Forwarded-For is read
from its right end, where each proxy adds the address it saw: the first one that is no configured proxy is the
client. What stands left of it the client may have written, and nobody reads it. `Forwarded` (RFC 7239) and
`X-Real-IP` are never read: two headers could tell of two clients.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from ledger.networks import Address, Networks, parse_address

HOPS_MAX: Final = 32
"""Entries of X-Forwarded-For that are looked at: no chain of proxies is longer, but a header of 32 KiB is."""

_Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies whose X-Forwarded-For is believed."""

    networks: Networks

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Of addresses and networks. Raises Refused."""
        return cls(Networks.parse(texts))

    def client_of(self, peer: str | None, headers: _Headers) -> Address | None:
        """The client of a request that came from `peer`; None where the peer has no address.

        An entry that is no address ends the walk: the client is then the last proxy before it, for that one
        is known to have sent this.
        """
        address = None if peer is None else parse_address(peer)
        if address is None or not self.networks.hold(address):
            return address
        for entry in _from_the_right(headers):
            told = _entry(entry)
            if told is None:
                return address
            address = told
            if not self.networks.hold(address):
                return address
        return address


def _from_the_right(headers: _Headers) -> list[bytes]:
    """The last HOPS_MAX entries, the last first. Several lines are one list, in order (RFC 9110, 5.3)."""
    lines = [value for name, value in headers if name == b"x-forwarded-for"]
    return b",".join(lines).rsplit(b",", HOPS_MAX)[::-1][:HOPS_MAX] if lines else []


def _entry(entry: bytes) -> Address | None:
    """An entry's address. Some proxies add a port: `192.0.2.1:4711`, `[2001:db8::1]:4711`."""
    text = entry.strip(b" \t").decode("latin-1")
    if text.startswith("["):
        inner, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in inner or (port and not _is_port(port)):
            return None
        return parse_address(inner)
    host, colon, port = text.partition(":")
    if colon and "." in host and _is_port(colon + port):
        return parse_address(host)
    return parse_address(text)


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text.startswith(":") and digits.isascii() and digits.isdigit() and len(digits) <= 5
