"""X-Forwarded-For: whose word is believed, and how far back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.networks import parse_address
from proxy.client_address import HOPS_MAX, TrustedProxies

TRUSTED = TrustedProxies.parse(["10.0.0.0/8", "2001:db8:aaaa::/48"])
PROXY = "10.0.0.1"

PROXIES = st.sampled_from(["10.0.0.1", "10.9.9.9", "::ffff:10.1.1.1", "2001:db8:aaaa::5"])
CLIENTS = st.sampled_from(["203.0.113.7", "192.168.1.1", "2001:db8:bbbb::1", "::ffff:203.0.113.7"])
SPOOFED = st.lists(
    st.one_of(
        PROXIES, CLIENTS, st.sampled_from(["127.0.0.1", "", "unknown", "1.2.3", ",", "a" * 50, "\xff"])
    ),
    max_size=8,
)


def client_of(peer: str | None, *lines: str) -> str | None:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    address = TRUSTED.client_of(peer, [(b"host", b"x"), *headers, (b"forwarded", b"for=198.51.100.9")])
    return None if address is None else str(address)


def plain(address: str) -> str:
    return str(parse_address(address))


@given(SPOOFED, CLIENTS, st.lists(PROXIES, min_size=1, max_size=5), st.data())
def test_nothing_a_client_writes_changes_who_it_is(
    spoofed: list[str], client: str, chain: list[str], data: st.DataObject
) -> None:
    """Guards against a client that sends X-Forwarded-For through a trusted proxy, which adds to it.

    The chain's first proxy adds the client's address, each further one that of the proxy before it; the last
    one is the peer. Lines are joined in their order wherever a proxy began a new one.
    """
    added = [client, *chain[:-1]]
    entries = [*spoofed, *added]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(entries)), max_size=3)))
    lines = [
        ", ".join(entries[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(entries)], strict=True)
    ]
    assert client_of(chain[-1], *[line for line in lines if line]) == plain(client)


@given(SPOOFED, CLIENTS)
def test_a_peer_that_is_no_proxy_is_the_client(spoofed: list[str], peer: str) -> None:
    """Guards against X-Forwarded-For believed from anybody."""
    assert client_of(peer, ", ".join(spoofed)) == plain(peer)


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], PROXY),
        ([""], PROXY),
        (["203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.0.0.2, 10.0.0.3"], "203.0.113.7"),
        (["203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["2001:db8::7"], "2001:db8::7"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["\t203.0.113.7 "], "203.0.113.7"),
        (["203.0.113.7, unknown"], PROXY),
        (["203.0.113.7, "], PROXY),
        (["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.7:x"], PROXY),
        (["203.0.113.7:4711:4712"], PROXY),
        (["[203.0.113.7]"], PROXY),
        (["[2001:db8::7"], PROXY),
        (["[2001:db8::7]4711"], PROXY),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ],
)
def test_the_walk_from_the_right(lines: list[str], client: str) -> None:
    """Guards against an entry that cannot be read taken for anybody but the proxy that passed it on."""
    assert client_of(PROXY, *lines) == client


def test_an_endless_list_of_proxies_ends() -> None:
    """Guards against a header of 32 KiB that is parsed to its begin for every call."""
    assert client_of(PROXY, ", ".join(["203.0.113.7", *["10.0.0.2"] * (HOPS_MAX - 1)])) == "203.0.113.7"
    assert client_of(PROXY, ", ".join(["203.0.113.7", *["10.0.0.2"] * HOPS_MAX])) == "10.0.0.2"


def test_a_peer_without_an_address_is_nobody() -> None:
    """Guards against a header believed because nobody can be asked who sent it."""
    assert client_of(None, "203.0.113.7") is None
    assert client_of("", "203.0.113.7") is None


def test_without_trusted_proxies_there_is_no_walk() -> None:
    """Guards against a default that trusts loopback."""
    nobody = TrustedProxies.parse([])
    assert str(nobody.client_of("127.0.0.1", [(b"x-forwarded-for", b"203.0.113.7")])) == "127.0.0.1"
