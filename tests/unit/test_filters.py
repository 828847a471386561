"""Packet filters as text and as values: what is read, what is refused and why."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.filters import (
    ASSIGNED,
    WITH_PORTS,
    FilterError,
    PacketFilter,
    parse_ports,
    parse_prefix,
    parse_protocol,
    ports_text,
)

NET = IPv4Network("192.0.2.0/24")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("permit out ip from any to assigned", PacketFilter()),
        ("permit out ip from any to any", PacketFilter(local=None)),
        (
            "permit out udp from 192.0.2.0/24 5004-5060 to assigned",
            PacketFilter(17, NET, ((5004, 5060),)),
        ),
        (
            "permit out tcp from 192.0.2.0/24 80,443 to 198.51.100.2 1024-2048,8080",
            PacketFilter(
                6,
                NET,
                ((80, 80), (443, 443)),
                IPv4Network("198.51.100.2"),
                ((1024, 2048), (8080,) * 2),
            ),
        ),
        (
            "permit out icmpv6 from ff02::2 to assigned",
            PacketFilter(58, IPv6Network("ff02::2/128")),
        ),
        ("permit out 50 from 0.0.0.0/0 to assigned", PacketFilter(50, IPv4Network("0.0.0.0/0"))),
    ],
)
def test_read_and_written(text: str, value: PacketFilter) -> None:
    assert PacketFilter.parse(text) == value
    assert str(value) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        # as Open5GS sends it in every establishment
        (
            "permit out 58 from ff02::2/128 to assigned",
            "permit out icmpv6 from ff02::2 to assigned",
        ),
        ("permit out 17 from any to any", "permit out udp from any to any"),
        # host bits count for nothing (RFC 6733, 4.3.1)
        ("permit out ip from 192.0.2.7/24 to any", "permit out ip from 192.0.2.0/24 to any"),
        ("permit  out\tip from any to   any ", "permit out ip from any to any"),
        (
            "permit out tcp from any 90-99,80,81,95-100 to any",
            "permit out tcp from any 80-81,90-100 to any",
        ),
        ("permit out tcp from any 0-65535 to any", "permit out tcp from any to any"),
        # the port stays where it was written, though the sender may have meant the other end
        ("permit out udp from any to assigned 53", "permit out udp from any to assigned 53"),
    ],
)
def test_other_ways_to_write_it(text: str, canonical: str) -> None:
    assert str(PacketFilter.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "permit"),
        ("deny out ip from any to any", "'deny'"),
        ("permit", "out"),
        ("permit in ip from any to any", "'in'"),
        ("permit out", "protocol"),
        ("permit out ip4 from any to any", "'ip4'"),
        ("permit out 256 from any to any", "'256'"),
        ("permit out -1 from any to any", "'-1'"),
        ("permit out \u0661\u0667 from any to any", "no protocol"),
        ("permit out UDP from any to any", "'UDP'"),
        ("permit out ip", "from"),
        ("permit out ip from", "address of from"),
        ("permit out ip from any", "to should stand"),
        ("permit out ip from any to", "address of to"),
        ("permit out ip from assigned to any", "never assigned"),
        ("permit out ip from !192.0.2.1 to any", "'!192.0.2.1'"),
        ("permit out ip from host.example to any", "'host.example'"),
        ("permit out ip from 192.0.2.1/33 to any", "'192.0.2.1/33'"),
        ("permit out ip from 192.0.2/24 to any", "'192.0.2/24'"),
        ("permit out ip from 192.0.2.0/255.255.255.0 to any", "255.255.255.0'"),
        ("permit out ip from 2001:db8::/129 to any", "'2001:db8::/129'"),
        ("permit out ip from fe80::1%eth0 to any", "'fe80::1%eth0'"),
        ("permit out ip from any to assigned\0", r"'assigned\\x00'"),
        ("permit out ip from 192.0.2.1 to 2001:db8::1", "different IP versions"),
        ("permit out udp from any 65536 to any", "65536"),
        ("permit out udp from any 9-8 to any", "9-8"),
        ("permit out udp from any 80, to any", "'80,'"),
        ("permit out udp from any 80- to any", "'80-'"),
        ("permit out udp from any 1-2-3 to any", "'1-2-3'"),
        ("permit out udp from any ftp to any", "'ftp'"),
        ("permit out ip from any 80 to any", "ports need"),
        ("permit out icmp from any to any 8", "ports need"),
        ("permit out tcp from any to any established", "'established'"),
        ("permit out tcp from any to any 80 frag", "'frag'"),
        ("permit out tcp from any tcpflags to any", "'tcpflags'"),
    ],
)
def test_refused_with_the_reason(text: str, word: str) -> None:
    with pytest.raises(FilterError, match=word):
        PacketFilter.parse(text)


def test_a_reason_is_short() -> None:
    with pytest.raises(FilterError) as error:
        PacketFilter.parse("permit out ip from " + "a" * 60_000 + " to any")
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    "fields",
    [
        {"protocol": 256},
        {"protocol": -1},
        {"dscp": 64},
        {"dscp": -1},
        {"protocol": 17, "remote_ports": ((5, 4),)},
        {"protocol": 17, "local_ports": ((-1, 4),)},
        {"protocol": 17, "local_ports": ((0, 65536),)},
        {"remote_ports": ((1, 1),)},
        {"protocol": 1, "local_ports": ((1, 1),)},
        {"remote": NET, "local": IPv6Network("2001:db8::/32")},
    ],
)
def test_a_value_is_checked_too(fields: dict[str, object]) -> None:
    with pytest.raises(FilterError):
        PacketFilter(**fields)  # type: ignore[arg-type]


def test_the_parts_alone() -> None:
    assert parse_protocol("ip") is None and parse_protocol("sctp") == 132
    assert parse_prefix("any") is None and parse_prefix("192.0.2.0/24") == NET
    assert parse_ports("5,1-3") == ((1, 3), (5, 5)) and ports_text(((1, 3), (5, 5))) == "1-3,5"
    assert parse_ports("0-65535") == ()


ports = st.lists(
    st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda pair: tuple(sorted(pair))),
    max_size=5,
).map(tuple)
prefixes = st.one_of(
    st.none(),
    st.builds(
        lambda bits, length: IPv4Network((bits, length), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(0, 32),
    ),
)
filters = st.builds(
    lambda protocol, remote, remote_ports, local, local_ports: PacketFilter(
        protocol,
        remote,
        remote_ports if protocol in WITH_PORTS else (),
        local,
        local_ports if protocol in WITH_PORTS else (),
    ),
    st.one_of(st.none(), st.sampled_from(sorted(WITH_PORTS)), st.integers(0, 255)),
    prefixes,
    ports,
    st.one_of(st.just(ASSIGNED), prefixes),
    ports,
)


@given(filters)
def test_what_is_written_is_read_back(value: PacketFilter) -> None:
    assert PacketFilter.parse(str(value)) == value


@given(ports)
def test_merged_ranges_hold_the_same_ports(ranges: tuple[tuple[int, int], ...]) -> None:
    merged = PacketFilter(17, remote_ports=ranges).remote_ports
    asked = {edge + by for pair in ranges for edge in pair for by in (-1, 0, 1)}
    for port in (asked & set(range(65536))) if merged else ():
        assert any(a <= port <= b for a, b in merged) == any(a <= port <= b for a, b in ranges)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(merged))


words = "permit out in ip tcp udp from to any assigned , - 17 80 1-2 192.0.2.1 192.0.2.0/24 ::/0 !"


@given(st.lists(st.sampled_from(words.split())))
def test_any_words_are_read_or_refused(chosen: list[str]) -> None:
    try:
        value = PacketFilter.parse(" ".join(["permit", "out", *chosen]))
    except FilterError:
        return
    assert PacketFilter.parse(str(value)) == value
