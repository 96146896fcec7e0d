"""Networks of IP: what they hold, against the definition by bits; and what is refused."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Refused
from ledger.networks import NETWORKS_MAX, Networks, parse_address

BITS = {4: 32, 6: 128}


def address_of(version: int, bits: str) -> str:
    value = int(bits, 2)
    return str(IPv4Address(value) if version == 4 else IPv6Address(value))


@st.composite
def networks(draw: st.DrawFn) -> tuple[int, str]:
    """(version, the leading bits)."""
    version = draw(st.sampled_from([4, 6]))
    length = draw(st.integers(0, BITS[version]))
    return version, draw(st.text("01", min_size=length, max_size=length))


def written(network: tuple[int, str]) -> str:
    version, bits = network
    return f"{address_of(version, bits.ljust(BITS[version], '0'))}/{len(bits)}"


def unmapped(version: int, bits: str) -> tuple[int, str]:
    """The same as IPv4 where it is an IPv4-mapped IPv6 address or network."""
    mapped = "0" * 80 + "1" * 16
    return (4, bits[96:]) if version == 6 and bits.startswith(mapped) else (version, bits)


@given(st.lists(networks(), max_size=4), st.data())
def test_an_address_is_held_if_its_bits_begin_as_a_networks(
    listed: list[tuple[int, str]], data: st.DataObject
) -> None:
    """Guards against a mask of the wrong width, and IPv4 compared with IPv6."""
    version, begin = data.draw(st.sampled_from([*listed, (4, ""), (6, ""), (6, "0" * 80 + "1" * 16)]))
    rest = BITS[version] - len(begin)
    bits = begin + data.draw(st.text("01", min_size=rest, max_size=rest))
    address = parse_address(address_of(version, bits))
    assert address is not None
    of, wanted = unmapped(version, bits)
    expected = any(
        of_version == of and wanted.startswith(prefix)
        for of_version, prefix in (unmapped(*network) for network in listed)
    )
    assert Networks.parse(map(written, listed)).hold(address) is expected


@pytest.mark.parametrize(
    ("cidr", "address", "held"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("::ffff:192.0.2.0/120", "192.0.2.7", True),
        ("::/0", "192.0.2.7", False),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8:ffff::1%eth0", True),
        ("fe80::/10", "fe80::1%2", True),
    ],
)
def test_one_machine_is_not_two(cidr: str, address: str, held: bool) -> None:
    """Guards against an IPv4 client that a dual-stack socket shows as IPv6, refused for that."""
    parsed = parse_address(address)
    assert parsed is not None
    assert Networks.parse([cidr]).hold(parsed) is held


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.0.2.1/24", "has bits set behind its prefix: write 192.0.2.0/24"),
        ("2001:db8::1/64", "write 2001:db8::/64"),
        ("192.0.2.0/33", "is no address and no network"),
        ("192.0.2.0/255.255.255.0", "is no address and no network"),
        ("192.0.2", "is no address and no network"),
        ("192.0.2.01", "is no address and no network"),
        ("fe80::1%eth0", "is no address and no network"),
        ("", "'' is no address and no network"),
        ("example.com", "'example.com' is no address"),
        ("1" * 1000, "is no address and no network"),
    ],
)
def test_what_is_no_network_is_refused_with_the_way_to_write_it(text: str, said: str) -> None:
    """Guards against 192.0.2.1/24 meant as one machine and taken as 256."""
    with pytest.raises(Refused) as caught:
        Networks.parse([text])
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_list_of_networks_is_bounded_and_kept_in_one_form() -> None:
    """Guards against a list that every call of a key pays for, and one that grows by writing it anew."""
    kept = Networks.parse([" 192.0.2.1", "192.0.2.1/32", "2001:0DB8::/32", "::ffff:192.0.2.0/120"])
    assert kept.cidrs == ("192.0.2.1/32", "2001:db8::/32", "192.0.2.0/24")
    assert Networks.of_json(kept.to_json()) == kept == Networks(kept.cidrs)
    with pytest.raises(Refused, match="100 networks at most"):
        Networks.parse(f"192.0.2.{n}" for n in range(NETWORKS_MAX + 1))


@pytest.mark.parametrize("text", ["", "unix", "1.2.3", "1.2.3.4.5", "1.2.3.4/32", "[::1]", "1" * 100, "½"])
def test_what_is_no_address_is_none(text: str) -> None:
    """Guards against an exception on the way of a request."""
    assert parse_address(text) is None
