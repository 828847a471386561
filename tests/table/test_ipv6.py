"""UEs with an IPv6 prefix, alone or beside an IPv4 address, in one tunnel pair."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from ofgtp.core.flows.flow import CookieKind, Port, make_cookie
from ofgtp.core.flows.pipeline import CORE, ROUTER_METERS, DropReason, Report
from ofgtp.core.model import Pfcp
from ofgtp.core.sessions.detail import Rates
from tests.support.lab import gateway
from tests.support.sample import LINKS, PREFIX, all_flows, bearer, detailed, relay
from tests.table.simulator import Switch
from tests.table.world import (
    ENB,
    HOP_MAC,
    PN,
    E,
    S,
    from_core,
    gtpu,
    inner,
    only,
    switch,
    tunnelled,
    why,
)

UE, SERVER = "2001:db8:a:1::7", "2001:db8:ffff::1"
HOP6_MAC = "52:54:00:00:00:06"
LINKS6 = replace(LINKS, peer_mac6=HOP6_MAC)
OF_IPV6: dict[str, Any] = {
    "ue_pools6": (IPv6Network("2001:db8:a::/48"),),
    "core_ip6": IPv6Interface("2001:db8:c::1/64"),
    "next_hop6": IPv6Address("2001:db8:c::2"),
}
BOTH = detailed(ue_ipv6=PREFIX)
ALONE = detailed(2, ue_ipv6=IPv6Network("2001:db8:a:2::/64"), ue_ip=None)


def made(*sessions: Any, links: Any = LINKS6, **changes: Any) -> Switch:
    return switch(*sessions, links=links, **OF_IPV6, **changes)


def packet(src: str = UE, dst: str = SERVER, *, hops: int = 64, size: int = 40) -> bytes:
    return bytes(IPv6(src=src, dst=dst, hlim=hops) / UDP(sport=4000, dport=5000) / bytes(size))


def from_hop(payload: bytes) -> bytes:
    return bytes(Ether(src=HOP_MAC, dst=LINKS.core_mac, type=0x86DD)) + payload


@pytest.mark.parametrize("flags", (0, S, PN, S | PN, E, E | S))
@pytest.mark.parametrize("hops", (1, 63, 64, 100, 255))
def test_both_versions_leave_by_one_tunnel(flags: int, hops: int) -> None:
    gw = made(BOTH)
    left = only(gw.receive(LINKS.access, gtpu(packet(hops=hops), flags=flags)), LINKS.core)
    assert left[14:] == packet(hops=hops)
    assert (left[:6].hex(":"), left[6:12].hex(":")) == (HOP6_MAC, LINKS.core_mac)
    assert left[12:14] == b"\x86\xdd"
    left = only(gw.receive(LINKS.access, gtpu(inner(), flags=flags)), LINKS.core)
    assert (left[14:], left[:6].hex(":")) == (inner(), HOP_MAC)


def test_downlink() -> None:
    gw = made(BOTH, ALONE)
    for to, teid in ((UE, 0x2001), ("2001:db8:a:1:ffff::", 0x2001), ("2001:db8:a:2::9", 0x2002)):
        sent = only(gw.receive(LINKS.core, from_hop(packet(SERVER, to))), LINKS.access)
        assert tunnelled(sent) == (ENB, teid, packet(SERVER, to))
    sent = only(gw.receive(LINKS.core, from_core(inner(SERVER4, "10.45.0.2"))), LINKS.access)
    assert tunnelled(sent) == (ENB, 0x2001, inner(SERVER4, "10.45.0.2"))


SERVER4 = "198.51.100.7"


def test_the_longest_that_fits_downlink() -> None:
    gw = made(BOTH)
    fits, longer = (packet(SERVER, UE, size=1464 - 48 + more) for more in (0, 1))
    assert tunnelled(only(gw.receive(LINKS.core, from_hop(fits)), LINKS.access))[2] == fits
    assert gw.receive(LINKS.core, from_hop(longer)).sent == []


@pytest.mark.parametrize("source", ("2001:db8:a:2::7", "2001:db8:b::1", "fe80::1", "::"))
def test_a_source_outside_the_prefix(source: str) -> None:
    trace = made(BOTH).receive(LINKS.access, gtpu(packet(source)))
    assert why(trace) is DropReason.NO_UPLINK_SESSION


def test_a_ue_that_has_the_other_version_only() -> None:
    gw = made(ALONE)
    assert why(gw.receive(LINKS.access, gtpu(inner("10.45.0.3"), 0x1002))) is (
        DropReason.NO_UPLINK_SESSION
    )
    assert only(gw.receive(LINKS.access, gtpu(packet("2001:db8:a:2::1"), 0x1002)), LINKS.core)


@pytest.mark.parametrize("to", ("fe80::1", "ff02::1", "::1", "::ffff:10.2.0.2", "2001:db8:c::1"))
def test_where_no_ue_may_send(to: str) -> None:
    trace = made(BOTH).receive(LINKS.access, gtpu(packet(dst=to)))
    assert why(trace) is DropReason.PROTECTED_DESTINATION


ASKS_FOR_ROUTER, ROUTERS_WORD = ICMPv6ND_RS(), ICMPv6ND_RA()
ASKS_ROUTER = ICMPv6ND_NS(tgt="fe80::1")
SOURCES = ("fe80::7", "::", UE)


def spoken(
    message: Packet, source: str = "fe80::7", dst: str = "ff02::2", hops: int = 255
) -> bytes:
    return gtpu(bytes(IPv6(src=source, dst=dst, hlim=hops) / message))


def shown(trace: Any) -> bool:
    """Whether the controller gets it as what a UE asks its router, and nobody else anything."""
    *_, last = trace.flows
    assert [port for port, _ in trace.sent if port != Port.CONTROLLER] == []
    return bool(last.cookie == make_cookie(CookieKind.REPORT, Report.ROUTER_SOLICITATION))


@pytest.mark.parametrize("source", SOURCES)
def test_what_ues_ask_their_router(source: str) -> None:
    gw = made(BOTH)
    for asked in (ASKS_FOR_ROUTER, ASKS_ROUTER):
        trace = gw.receive(LINKS.access, spoken(asked, source))
        assert shown(trace)
        assert trace.flows[-1].meter == ROUTER_METERS[0x1001 % 16].number
    other = gw.receive(LINKS.access, spoken(ICMPv6ND_NS(tgt=UE), source))
    assert why(other) is DropReason.NEIGHBOUR_DISCOVERY
    near = gw.receive(LINKS.access, spoken(ASKS_FOR_ROUTER, source, hops=254))
    assert why(near) is DropReason.NEIGHBOUR_DISCOVERY


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("to", ("ff02::1", "fe80::1", "2001:db8:a:2::9", SERVER))
def test_no_ue_is_a_router(source: str, to: str) -> None:
    gw = made(BOTH, ALONE, links=replace(LINKS6, ue_to_ue=True), ue_to_ue="route")
    told = ROUTERS_WORD, ICMPv6ND_NA(tgt=UE), ICMPv6ND_Redirect(tgt=UE, dst=SERVER)
    for word in told:
        trace = gw.receive(LINKS.access, spoken(word, source, to))
        assert why(trace) is DropReason.NEIGHBOUR_DISCOVERY


def test_without_advertisements() -> None:
    """Nobody is asked, but a control plane may want to be."""
    for pfcp in (None, Pfcp(IPv4Address("10.3.0.1"), (), "upf")):
        gw = made(BOTH, router_advertisement=False, pfcp=pfcp)
        for source in SOURCES:
            trace = gw.receive(LINKS.access, spoken(ASKS_FOR_ROUTER, source))
            assert shown(trace) if pfcp else why(trace) is DropReason.NEIGHBOUR_DISCOVERY
            trace = gw.receive(LINKS.access, spoken(ASKS_ROUTER, source))
            assert why(trace) is DropReason.NEIGHBOUR_DISCOVERY


def test_a_relay_looks_at_nothing() -> None:
    trace = made(relay(3)).receive(LINKS.access, gtpu(bytes(IPv6() / ROUTERS_WORD), 0x1003))
    assert tunnelled(only(trace, LINKS.access))[1] == 0x6003


def test_between_ues() -> None:
    to = packet(dst="2001:db8:a:2::9")
    assert why(made(BOTH, ALONE).receive(LINKS.access, gtpu(to))) is DropReason.UE_TO_UE
    gw = made(BOTH, ALONE, links=replace(LINKS6, ue_to_ue=True), ue_to_ue="route")
    assert tunnelled(only(gw.receive(LINKS.access, gtpu(to)), LINKS.access)) == (ENB, 0x2002, to)
    nobody = packet(dst="2001:db8:a:99::1")
    assert why(gw.receive(LINKS.access, gtpu(nobody))) is DropReason.UNKNOWN_UE


def test_without_a_next_hop() -> None:
    gw = made(BOTH, links=replace(LINKS6, peer_mac6=None))
    assert why(gw.receive(LINKS.access, gtpu(packet()))) is DropReason.NEXT_HOP_UNRESOLVED
    assert only(gw.receive(LINKS.access, gtpu(inner())), LINKS.core)


def test_hops_are_counted() -> None:
    gw = made(BOTH, links=replace(LINKS6, decrement_ttl=True), decrement_ttl=True)
    left = only(gw.receive(LINKS.access, gtpu(packet(hops=9))), LINKS.core)
    assert left[14:] == packet(hops=8)
    sent = only(gw.receive(LINKS.core, from_hop(packet(SERVER, UE, hops=9))), LINKS.access)
    assert tunnelled(sent)[2] == packet(SERVER, UE, hops=8)
    for trace in (
        gw.receive(LINKS.access, gtpu(packet(hops=1))),
        gw.receive(LINKS.core, from_hop(packet(SERVER, UE, hops=1))),
    ):
        assert trace.drop_number == DropReason.TTL_EXPIRED
        assert [port for port, _ in trace.sent] == []


def test_filters_of_both_versions() -> None:
    """One without addresses is for both; one with a prefix for its version."""
    voice = bearer("voice", 10, "permit out udp from any 5000 to assigned", mbr=Rates(64, 64))
    web = bearer("web", 20, "permit out ip from 2001:db8:ffff::/48 to assigned")
    gw = made(detailed(ue_ipv6=PREFIX, bearers=[voice, web]))
    for frame in (gtpu(packet()), gtpu(inner())):
        trace = gw.receive(LINKS.access, frame)
        assert only(trace, LINKS.core)
        assert any(flow.table == 31 and flow.meter for flow in trace.flows), "voice's rate"
    other = bytes(IPv6(src=UE, dst=SERVER) / ICMPv6EchoRequest())
    [flow] = [f for f in gw.receive(LINKS.access, gtpu(other)).flows if f.table == 31]
    assert flow.meter is None
    assert flow.priority > 1, "web's filter"


def test_without_pools_it_is_said_that_there_is_no_ipv6() -> None:
    trace = switch(detailed()).receive(LINKS.access, gtpu(packet()))
    assert why(trace) is DropReason.INNER_IPV6


ROUTED, BEHIND = IPv6Network("2001:db8:f::/48"), "2001:db8:f:1::9"


@pytest.mark.parametrize("one", ("alone", "both"))
@pytest.mark.parametrize("way", (1, 2))
def test_framed_routes(one: str, way: int) -> None:
    """Packets of an IPv6 network behind a UE are as its own, both ways, to filters too."""
    session = detailed(
        bearers=[bearer("1", 1, "permit out tcp from any to assigned")],
        ue_ipv6=PREFIX,
        framed_routes=(ROUTED, IPv4Network("192.168.7.0/24")),
        way=way,
        **({"ue_ip": None} if one == "alone" else {}),
    )
    gw = made(session, ALONE)
    for inside in (UE, BEHIND):
        sent = only(gw.receive(LINKS.core, from_hop(packet(SERVER, inside))), LINKS.access)
        assert tunnelled(sent) == (ENB, 0x2001, packet(SERVER, inside))
        left = only(gw.receive(LINKS.access, gtpu(packet(inside))), LINKS.core)
        assert left[14:] == packet(inside)
    behind4 = inner(SERVER4, "192.168.7.9")
    sent = only(gw.receive(LINKS.core, from_core(behind4)), LINKS.access)
    assert tunnelled(sent) == (ENB, 0x2001, behind4)
    outside = gw.receive(LINKS.core, from_hop(packet(SERVER, "2001:db8:e::1")))
    assert why(outside) is DropReason.CORE_OTHER
    for source in ("2001:db8:e::1", "2001:db8:a:2::7"):
        trace = gw.receive(LINKS.access, gtpu(packet(source)))
        assert why(trace) is DropReason.NO_UPLINK_SESSION


def test_what_is_for_ues_is_told_before_neighbour_discovery() -> None:
    """Else each megaflow would know the whole source address: one for each remote host."""
    one = detailed(ue_ipv6=PREFIX, framed_routes=(ROUTED,))
    flows = all_flows(gateway(**OF_IPV6), one, links=LINKS6)
    asked = {
        flow: {each.field for each in flow.match} for flow in flows if flow.table == CORE.number
    }
    neighbours = [flow.priority for flow, fields in asked.items() if "nd_target" in fields]
    to_ues = [
        flow.priority
        for flow, fields in asked.items()
        if "ipv6_dst" in fields and not fields & {"icmpv6_type", "nd_target"}
    ]
    assert len(to_ues) >= 2 and neighbours
    assert min(to_ues) > max(neighbours)


def test_from_another_ue_to_a_framed_route() -> None:
    session = detailed(ue_ipv6=PREFIX, framed_routes=(ROUTED,))
    to = packet("2001:db8:a:2::7", BEHIND)
    trace = made(session, ALONE).receive(LINKS.access, gtpu(to, 0x1002))
    assert why(trace) is DropReason.UE_TO_UE
    gw = made(session, ALONE, links=replace(LINKS6, ue_to_ue=True), ue_to_ue="route")
    sent = only(gw.receive(LINKS.access, gtpu(to, 0x1002)), LINKS.access)
    assert tunnelled(sent) == (ENB, 0x2001, to)


def test_hops_to_a_framed_route_are_counted() -> None:
    session = detailed(ue_ipv6=PREFIX, framed_routes=(ROUTED,))
    gw = made(session, links=replace(LINKS6, decrement_ttl=True), decrement_ttl=True)
    sent = only(gw.receive(LINKS.core, from_hop(packet(SERVER, BEHIND, hops=9))), LINKS.access)
    assert tunnelled(sent)[2] == packet(SERVER, BEHIND, hops=8)
    trace = gw.receive(LINKS.core, from_hop(packet(SERVER, BEHIND, hops=1)))
    assert why(trace) is DropReason.TTL_EXPIRED
    fits, longer = (packet(SERVER, BEHIND, size=1464 - 48 + more) for more in (0, 1))
    assert only(gw.receive(LINKS.core, from_hop(fits)), LINKS.access)
    assert gw.receive(LINKS.core, from_hop(longer)).sent == []
