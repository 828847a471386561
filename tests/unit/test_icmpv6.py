"""ICMPv6 messages: made ones are judged by scapy, and read ones come from it."""

from __future__ import annotations

import contextlib
from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ofgtp.core.packets import frames, icmpv6
from ofgtp.core.packets.frames import checksum
from ofgtp.core.packets.icmpv6 import Neighbour, NoMessage, Type
from tests.support import tshark

OURS, HOP = IPv6Address("2001:db8:c::1"), IPv6Address("2001:db8:c::abc:2")
OUR_MAC, HOP_MAC = "06:00:00:00:00:02", "52:54:00:00:00:06"
LINK_LOCAL, UE = IPv6Address("fe80::1"), IPv6Address("fe80::7")


def judged(packet: bytes, layer: type[Packet]) -> Packet:
    """By scapy, which makes it anew with a checksum of its own."""
    read = IPv6(packet)
    again = IPv6(bytes(read))
    for each in (again, again[layer]):
        for name in ("plen", "cksum"):
            if name in each.fields:
                delattr(each, name)
    assert bytes(again) == packet
    return read


def test_a_solicitation() -> None:
    octets = icmpv6.solicitation(OUR_MAC, OURS, HOP)
    ether = Ether(octets)
    assert (ether.src, ether.dst, ether.type) == (OUR_MAC, "33:33:ff:bc:00:02", 0x86DD)
    read = judged(octets[14:], ICMPv6ND_NS)
    assert (read.src, read.dst, read.hlim) == (str(OURS), "ff02::1:ffbc:2", 255)
    assert (read[ICMPv6ND_NS].tgt, read[ICMPv6NDOptSrcLLAddr].lladdr) == (str(HOP), OUR_MAC)
    found = icmpv6.read_neighbour(octets, Type.NEIGHBOUR_SOLICITATION)
    assert found == Neighbour(OURS, HOP, OUR_MAC)


@pytest.mark.parametrize("source", (str(HOP), "::"))
def test_an_advertisement(source: str) -> None:
    """Who only looks whether somebody has the address has none to be answered at."""
    asked = Neighbour(IPv6Address(source), OURS, HOP_MAC if source != "::" else None)
    octets = icmpv6.advertisement(OUR_MAC, OURS, asked, HOP_MAC)
    read = judged(octets[14:], ICMPv6ND_NA)
    told = read[ICMPv6ND_NA]
    probe = source == "::"
    assert (told.R, told.S, told.O, told.tgt) == (1, not probe, 1, str(OURS))
    assert read[ICMPv6NDOptDstLLAddr].lladdr == OUR_MAC
    assert (Ether(octets).dst, read.dst) == (
        ("33:33:00:00:00:01", "ff02::1") if probe else (HOP_MAC, str(HOP))
    )


def na(**changes: object) -> bytes:
    fields: dict[str, object] = {"tgt": str(HOP), "R": 1, "S": 1, "O": 1, **changes}
    hops, to = fields.pop("hlim", 255), fields.pop("dst", str(OURS))
    head = Ether(src=HOP_MAC, dst=OUR_MAC) / IPv6(src=str(HOP), dst=to, hlim=hops)
    return bytes(head / ICMPv6ND_NA(**fields) / ICMPv6NDOptDstLLAddr(lladdr=HOP_MAC))


def test_a_neighbour_is_read() -> None:
    found = icmpv6.read_neighbour(na(), Type.NEIGHBOUR_ADVERTISEMENT)
    assert found == Neighbour(HOP, HOP, HOP_MAC, solicited=True)
    gratuitous = icmpv6.read_neighbour(na(S=0, dst="ff02::1"), Type.NEIGHBOUR_ADVERTISEMENT)
    assert not gratuitous.solicited


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (na(hlim=254), "hop limit"),
        (na(dst="ff02::1"), "answer to a group"),
        (na(tgt="ff02::7"), "a group's"),
        (na()[:-1], "no whole"),
        (na()[:60], "no whole"),
        (na(cksum=1), "checksum"),
        (na(type=135), "type 135"),
        (b"", "no whole"),
    ],
)
def test_what_is_no_neighbour(octets: bytes, why: str) -> None:
    with pytest.raises(NoMessage, match=why):
        icmpv6.read_neighbour(octets, Type.NEIGHBOUR_ADVERTISEMENT)


def test_a_router_is_asked_for_and_answers() -> None:
    asked = bytes(IPv6(src=str(UE), dst="ff02::2", hlim=255) / ICMPv6ND_RS())
    assert icmpv6.read_solicitation(asked) == UE
    prefix, dns = IPv6Network("2001:db8:a:1::/64"), [IPv6Address("2001:db8::53")]
    told = icmpv6.router_advertisement(LINK_LOCAL, UE, prefix, mtu=1456, lifetime_s=1800, dns=dns)
    read = judged(told, ICMPv6ND_RA)
    router, of_prefix = read[ICMPv6ND_RA], read[ICMPv6NDOptPrefixInfo]
    assert (read.src, read.dst, read.hlim) == (str(LINK_LOCAL), str(UE), 255)
    assert (router.chlim, router.routerlifetime, router.M, router.O) == (64, 1800, 0, 0)
    assert (of_prefix.prefix, of_prefix.prefixlen) == ("2001:db8:a:1::", 64)
    assert (of_prefix.A, of_prefix.L, of_prefix.validlifetime) == (1, 0, icmpv6.INFINITE_S)
    assert read[ICMPv6NDOptMTU].mtu == 1456
    assert read[ICMPv6NDOptRDNSS].dns == ["2001:db8::53"]


@pytest.mark.parametrize(
    ("prefix", "told"),
    [
        ("2001:db8:a:1::/64", "2001:db8:a:1::"),
        ("2001:db8:a:100::/56", "2001:db8:a:100::"),
        ("2001:db8:a:1::/65", None),
        ("2001:db8:a:1::7/128", None),
    ],
)
def test_addresses_are_made_from_a_64_alone(prefix: str, told: str | None) -> None:
    """RFC 4862, 5.5.3 (d)."""
    packet = icmpv6.router_advertisement(
        LINK_LOCAL, UE, IPv6Network(prefix), mtu=1456, lifetime_s=64_800
    )
    read = judged(packet, ICMPv6ND_RA)
    assert read[ICMPv6ND_RA].routerlifetime == 64_800
    assert ICMPv6NDOptRDNSS not in read
    if told is None:
        assert ICMPv6NDOptPrefixInfo not in read
    else:
        option = read[ICMPv6NDOptPrefixInfo]
        assert (option.prefix, option.prefixlen, option.A, option.L) == (told, 64, 1, 0)


@pytest.mark.parametrize("resolvers", (1, 3, 8))
def test_resolvers_by_tshark(resolvers: int) -> None:
    dns = [IPv6Address(f"2001:db8:53::{n + 1}") for n in range(resolvers)]
    packet = icmpv6.router_advertisement(
        LINK_LOCAL, UE, IPv6Network("2001:db8:a:1::/64"), mtu=1464, lifetime_s=64_800, dns=dns
    )
    octets = frames.ip_frame(OUR_MAC, HOP_MAC, packet)
    assert tshark.complaints([octets]) == []
    names = ("icmpv6.checksum.status", "icmpv6.opt.rdnss", "icmpv6.opt.rdnss.lifetime")
    assert tshark.rows([octets], names, every=True) == [["1", ",".join(map(str, dns)), "64800"]]


def test_a_ue_sees_that_its_router_is_there() -> None:
    asked = Neighbour(UE, LINK_LOCAL, None)
    read = judged(icmpv6.reachable(LINK_LOCAL, asked), ICMPv6ND_NA)
    told = read[ICMPv6ND_NA]
    assert (read.src, read.dst, read.hlim) == (str(LINK_LOCAL), str(UE), 255)
    assert (told.tgt, told.R, told.S, told.O) == (str(LINK_LOCAL), 1, 1, 1)
    assert not told.payload


def rs(*options: Packet, source: str = str(UE), hops: int = 255, **fields: object) -> bytes:
    made = IPv6(src=source, dst="ff02::2", hlim=hops) / ICMPv6ND_RS(**fields)
    for option in options:
        made /= option
    return bytes(made)


OF_LINK = ICMPv6NDOptSrcLLAddr(lladdr=HOP_MAC)


def test_solicitations_that_are_read() -> None:
    for octets in (rs(), rs(OF_LINK), rs(OF_LINK, OF_LINK), rs() + b"behind"):
        assert icmpv6.read_solicitation(octets) == UE
        assert icmpv6.type_of(octets) == Type.ROUTER_SOLICITATION
    assert icmpv6.read_solicitation(rs(source="::")).is_unspecified
    assert icmpv6.type_of(rs()[:40]) == icmpv6.type_of(b"") == icmpv6.type_of(sent(100)) == 0


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (rs(hops=254), "hop limit"),
        (rs(cksum=1), "checksum"),
        (rs(code=1), "code 1"),
        (rs(source="ff02::7"), "a group's"),
        (rs(OF_LINK, source="::"), "from nobody"),
        (rs(Raw(b"\x01\x00" + bytes(6))), "of no octets"),
        (rs(Raw(b"\x01\x02" + bytes(6))), "cut off"),
        (rs(Raw(b"\x01")), "cut off"),
        (rs()[:-1], "no whole"),
        (rs()[:40], "no whole"),
        (na()[14:], "type 136"),
    ],
)
def test_solicitations_that_are_dropped(octets: bytes, why: str) -> None:
    """RFC 4861, 6.1.1."""
    with pytest.raises(NoMessage, match=why):
        icmpv6.read_solicitation(octets)


def test_numbers_out_of_range() -> None:
    prefix = IPv6Network("2001:db8:a:1::/64")
    for mtu, lifetime in ((1279, 1800), (65536, 1800), (1500, 65536), (1500, -1)):
        with pytest.raises(ValueError, match="MTU"):
            icmpv6.router_advertisement(LINK_LOCAL, UE, prefix, mtu=mtu, lifetime_s=lifetime)
    with pytest.raises(ValueError, match="1279"):
        icmpv6.too_big(OURS, 1279, bytes(2000))


def sent(size: int, *layers: Packet, src: str = "2001:db8::9", dst: str = "2001:db8::5") -> bytes:
    packet = IPv6(src=src, dst=dst)
    for layer in layers or (UDP(sport=1, dport=2),):
        packet /= layer
    return bytes(packet / bytes(size - len(packet)))


@pytest.mark.parametrize("size", (1457, 9000))
def test_its_sender_is_told(size: int) -> None:
    packet = sent(size)
    told = icmpv6.too_big(OURS, 1456, packet)
    assert told is not None
    assert len(told) == 1280
    read = IPv6(told)
    assert (read.src, read.dst, read.tc >> 2) == (str(OURS), "2001:db8::9", 48)
    assert read[ICMPv6PacketTooBig].mtu == 1456
    assert told[48:] == packet[:1232]
    assert checksum(told[8:40] + (1240).to_bytes(4, "big") + bytes((0, 0, 0, 58)) + told[40:]) == 0
    assert icmpv6.too_big(OURS, 1456, sent(1456)) is None, "it fits"


def test_hops_at_their_end() -> None:
    told = icmpv6.time_exceeded(OURS, sent(100))
    assert told is not None
    assert IPv6(told)[ICMPv6TimeExceeded].code == 0
    assert told[48:] == sent(100)


SILENT = {
    "an error": sent(2000, ICMPv6DestUnreach()),
    "an error behind options": sent(2000, IPv6ExtHdrDestOpt(), ICMPv6DestUnreach()),
    "from nobody": sent(2000, src="::"),
    "from a group": sent(2000, src="ff02::1"),
    "from loopback": sent(2000, src="::1"),
    "no IPv6": b"\x45" + sent(2000)[1:],
    "cut off": sent(2000)[:39],
    "cut off in its options": sent(2000, IPv6ExtHdrDestOpt(), ICMPv6DestUnreach())[:44],
}


@pytest.mark.parametrize("packet", SILENT.values(), ids=SILENT)
def test_whom_nobody_tells(packet: bytes) -> None:
    assert icmpv6.too_big(OURS, 1280, packet) is None
    assert icmpv6.time_exceeded(OURS, packet) is None


def test_who_is_told_all_the_same() -> None:
    ping = sent(2000, ICMPv6EchoRequest())
    later = sent(2000, IPv6ExtHdrFragment(offset=100, nh=58))
    group = sent(2000, dst="ff0e::1")
    assert icmpv6.too_big(OURS, 1280, ping) and icmpv6.too_big(OURS, 1280, later)
    assert icmpv6.too_big(OURS, 1280, group) and icmpv6.time_exceeded(OURS, group) is None


@given(st.binary(max_size=120), st.sampled_from(Type))
def test_nothing_else_is_raised(octets: bytes, kind: Type) -> None:
    with contextlib.suppress(NoMessage):
        icmpv6.read_neighbour(octets, kind)
    with contextlib.suppress(NoMessage):
        icmpv6.read_solicitation(octets)
    icmpv6.type_of(octets)
    icmpv6.time_exceeded(OURS, octets)
    icmpv6.too_big(OURS, 1280, octets)


@given(st.data())
def test_damaged_ones_are_refused_or_read(data: st.DataObject) -> None:
    octets = bytearray(na())
    place = data.draw(st.integers(14, len(octets) - 1))
    octets[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = icmpv6.read_neighbour(bytes(octets), Type.NEIGHBOUR_ADVERTISEMENT)
    except NoMessage:
        return
    # The checksum covers neither the traffic class nor the flow label.
    assert place in range(14, 18)
    assert found == Neighbour(HOP, HOP, HOP_MAC, solicited=True)
