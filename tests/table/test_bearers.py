"""Bearers, through the model of the tables: which takes a packet, and what becomes of it then."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.sctp import SCTP

from ofgtp.core.filters import ASSIGNED, PacketFilter
from ofgtp.core.flows.pipeline import CHOOSE, OTHER_RULES, RULES, DropReason
from ofgtp.core.model import FTeid, Qos, Session, Uplink
from ofgtp.core.rules import ruleset
from ofgtp.core.rules.filters import port_masks
from ofgtp.core.rules.session import session_flows, tunnel_pair_flows
from ofgtp.core.rules.terms import PRIORITY_MAX
from ofgtp.core.sessions.detail import Bearer, Detail, Gate, Rates
from ofgtp.core.sessions.rule import LOWEST_PRECEDENCE, Rule, Source, ToCore
from ofgtp.core.sessions.rules import meter_number
from tests.support.sample import ENB, LINKS, OTHER_ENB, bearer, detailed, relay, session
from tests.table.simulator import Switch, Trace
from tests.table.world import (
    GTP,
    HOP_MAC,
    SERVER,
    E,
    S,
    contained,
    from_core,
    gtpu,
    inner,
    only,
    switch,
    why,
)

UE = IPv4Address("10.45.0.2")
REMOTE = IPv4Address("10.2.0.9")
WAYS = pytest.mark.parametrize("way", [1, 2])


class Sent(NamedTuple):
    """A T-PDU that left for the access side."""

    peer: IPv4Address
    teid: int
    octet: int | None
    """RQI and QFI of the downlink container; None: it has none."""
    packet: bytes


def sent(trace: Trace) -> Sent:
    frame = contained(only(trace, LINKS.access))
    flags, kind, length, teid = GTP.unpack_from(frame, 42)
    assert (flags & ~E, kind, length) == (0x30, 255, len(frame) - 50)
    octet, packet = None, frame[50:]
    if flags & E:
        assert packet[:6] == bytes.fromhex("000000850100")
        assert packet[7] == 0
        octet, packet = packet[6], packet[8:]
    return Sent(IPv4Address(frame[30:34]), teid, octet, packet)


def arrived(trace: Trace) -> bytes:
    """A packet that left by the core port."""
    frame = only(trace, LINKS.core)
    assert (frame[:6].hex(":"), frame[6:12].hex(":")) == (HOP_MAC, LINKS.core_mac)
    return frame[14:]


def down(gw: Switch, packet: bytes) -> Trace:
    return gw.receive(LINKS.core, from_core(packet))


def up(gw: Switch, packet: bytes, teid: int = 0x1001, **of_gtpu: Any) -> Trace:
    return gw.receive(LINKS.access, gtpu(packet, teid, **of_gtpu))


def both(layer: Any, src: IPv4Address = REMOTE, dst: IPv4Address = UE, **ip: Any) -> bytes:
    """A packet to the UE, or of it."""
    return bytes(IP(src=str(src), dst=str(dst), **ip) / layer / bytes(20))


FIRST, SECOND, OWN = FTeid(0x4101, OTHER_ENB), FTeid(0x4102, ENB), FTeid(0x2001, ENB)


def two(first: str | PacketFilter, second: str | PacketFilter, **changes: Any) -> Session:
    """A session with two bearers; the one that is to be asked first stands behind."""
    return detailed(
        bearers=[
            bearer("second", 200, second, downlink=SECOND, shares_downlink=False),
            bearer("first", 100, first, downlink=FIRST, shares_downlink=False),
        ],
        **changes,
    )


# --- which bearer

ALL = "permit out ip from any to assigned"
KINDS: dict[str, tuple[str | PacketFilter, list[bytes], list[bytes]]] = {
    "protocol": (
        "permit out 47 from any to assigned",
        [both(b"", proto=47)],
        [both(UDP()), both(TCP()), both(b"", proto=46)],
    ),
    "UDP": ("permit out udp from any to assigned", [both(UDP())], [both(TCP()), both(SCTP())]),
    "ICMP": (
        "permit out icmp from any to assigned",
        [both(ICMP(type=8)), both(ICMP(type=0)), both(ICMP(type=3, code=4))],
        [both(UDP()), both(b"", proto=58)],
    ),
    "remote host": (
        "permit out ip from 10.2.0.9 to assigned",
        [both(UDP()), both(ICMP())],
        [both(UDP(), src=IPv4Address("10.2.0.8"))],
    ),
    "remote prefix": (
        "permit out ip from 10.2.0.0/23 to assigned",
        [both(UDP(), src=IPv4Address(ip)) for ip in ("10.2.0.0", "10.2.0.255", "10.2.1.255")],
        [both(UDP(), src=IPv4Address(ip)) for ip in ("10.1.255.255", "10.2.2.0", "198.51.100.7")],
    ),
    "remote port": (
        "permit out udp from any 5060 to assigned",
        [both(UDP(sport=5060, dport=9))],
        [
            both(UDP(sport=5061, dport=5060)),
            both(UDP(sport=9, dport=5060)),
            both(TCP(sport=5060)),
            both(UDP(sport=5060), frag=3),
        ],
    ),
    "range of remote ports": (
        "permit out tcp from any 5004-5060 to assigned",
        [both(TCP(sport=port)) for port in (5004, 5005, 5023, 5024, 5059, 5060)],
        [both(TCP(sport=port)) for port in (5003, 5061, 80)],
    ),
    "list of remote ports": (
        "permit out sctp from any 80,443,8000-8080 to assigned",
        [both(SCTP(sport=port)) for port in (80, 443, 8000, 8063, 8064, 8080)],
        [both(SCTP(sport=port)) for port in (79, 81, 442, 444, 7999, 8081)],
    ),
    "local ports": (
        "permit out udp from any to assigned 1000-1001",
        [both(UDP(sport=7, dport=port)) for port in (1000, 1001)],
        [both(UDP(sport=1000, dport=port)) for port in (999, 1002)],
    ),
    "both ends": (
        "permit out udp from 10.2.0.0/24 53 to assigned 1000-1003",
        [both(UDP(sport=53, dport=1003))],
        [
            both(UDP(sport=53, dport=1004)),
            both(UDP(sport=54, dport=1003)),
            both(UDP(sport=53, dport=1003), src=SERVER),
        ],
    ),
    "DSCP": (
        PacketFilter(dscp=46),
        [both(UDP(), tos=tos) for tos in (0xB8, 0xB9, 0xBB)],
        [both(UDP(), tos=tos) for tos in (0, 0x28, 0xB4, 0xBC)],
    ),
    "all at once": (
        PacketFilter(17, IPv4Network("10.2.0.0/24"), ((53, 53),), ASSIGNED, ((9, 9),), 10),
        [both(UDP(sport=53, dport=9), tos=0x28)],
        [
            both(UDP(sport=53, dport=9)),
            both(UDP(sport=53, dport=8), tos=0x28),
            both(TCP(sport=53, dport=9), tos=0x28),
        ],
    ),
}


def swapped(packet: bytes) -> bytes:
    """The answer to a packet, as far as filters see: addresses and ports the other way round."""
    ip = IP(packet)
    header, protocol, payload = ip.ihl * 4, ip.proto, packet[ip.ihl * 4 :]
    if protocol in (6, 17, 132) and not ip.frag:
        payload = payload[2:4] + payload[:2] + payload[4:]
    return (
        packet[: header - 8]
        + packet[header - 4 : header]
        + packet[header - 8 : header - 4]
        + payload
    )


kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_downlink_the_first_that_matches_takes_it(kind: str) -> None:
    asked, taken, left = KINDS[kind]
    everything = switch(two(asked, ALL))
    behind = switch(two(ALL, asked))
    alone = switch(two(asked, "permit out 253 from any to assigned"))
    for packet in taken:
        assert sent(down(everything, packet)) == (FIRST.ip, FIRST.teid, None, packet)
        assert sent(down(behind, packet)) == (FIRST.ip, FIRST.teid, None, packet)
    for packet in left:
        assert sent(down(everything, packet)) == (SECOND.ip, SECOND.teid, None, packet)
        assert sent(down(alone, packet)) == (OWN.ip, OWN.teid, None, packet)


@kinds
@WAYS
def test_uplink_in_its_own_tunnel_all_else_is_of_a_wrong_bearer(kind: str, way: int) -> None:
    asked, taken, left = KINDS[kind]
    gw = switch(detailed(bearers=[bearer("1", 1, asked, uplink=Uplink(0x4001))], way=way))
    for packet in map(swapped, taken):
        for flags in (0, S, E, E | S):
            assert arrived(up(gw, packet, 0x4001, flags=flags)) == packet
    for packet in map(swapped, left):
        assert why(up(gw, packet, 0x4001)) is DropReason.WRONG_BEARER
        # In the session's tunnel anything may come.
        assert arrived(up(gw, packet)) == packet


@kinds
@WAYS
def test_uplink_in_the_sessions_tunnel(kind: str, way: int) -> None:
    """Which bearer takes it shows where that one's gate is closed."""
    asked, taken, left = KINDS[kind]
    barred = bearer("1", 1, asked, gate=Gate.DOWNLINK)
    gw = switch(detailed(bearers=[barred], way=way))
    for packet in map(swapped, taken):
        assert why(up(gw, packet)) is DropReason.GATE_CLOSED
    for packet in map(swapped, left):
        assert arrived(up(gw, packet)) == packet
    above = bearer("0", 0, ALL)
    gw = switch(detailed(bearers=[barred, above], way=way))
    for packet in map(swapped, (*taken, *left)):
        assert arrived(up(gw, packet)) == packet


def test_several_filters_of_one_bearer() -> None:
    several = (
        "permit out udp from any 53 to assigned",
        "permit out udp from 10.2.0.0/24 50-60 to assigned",
        PacketFilter(protocol=1),
    )
    one = detailed(bearers=[bearer("1", 1, *several, downlink=FIRST, shares_downlink=False)])
    gw = switch(one)
    for layer, taken in (
        (UDP(sport=53), True),  # of two filters at once
        (UDP(sport=55), True),
        (ICMP(), True),
        (UDP(sport=61), False),
        (TCP(sport=53), False),
    ):
        assert sent(down(gw, both(layer)))[:2] == (
            (FIRST if taken else OWN).ip,
            (FIRST if taken else OWN).teid,
        )


# --- its tunnel


@WAYS
def test_only_its_own_peer_where_it_is_pinned(way: int) -> None:
    pinned = bearer("1", 1, ALL, uplink=Uplink(0x4001, OTHER_ENB))
    gw = switch(detailed(bearers=[pinned], way=way))
    assert arrived(up(gw, inner(), 0x4001, src=OTHER_ENB)) == inner()
    assert why(up(gw, inner(), 0x4001, src=ENB)) is DropReason.NO_UPLINK_SESSION
    assert arrived(up(gw, inner(), src=ENB)) == inner()


@WAYS
def test_no_tunnel_of_a_session_takes_anothers_packets(way: int) -> None:
    gw = switch(detailed(bearers=[bearer("1", 1, ALL, uplink=Uplink(0x4001))], way=way), session(2))
    for teid in (0x1001, 0x4001):
        spoofed = up(gw, inner("10.45.0.3"), teid)
        assert why(spoofed) is DropReason.NO_UPLINK_SESSION
    assert why(up(gw, inner(), 0x1002)) is DropReason.NO_UPLINK_SESSION
    assert arrived(up(gw, inner("10.45.0.3"), 0x1002)) == inner("10.45.0.3")


def test_an_idle_bearer_beside_others() -> None:
    idle = bearer("1", 1, "permit out udp from any to assigned", shares_downlink=False)
    gw = switch(detailed(bearers=[idle, bearer("2", 2, "permit out tcp from any to assigned")]))
    assert why(down(gw, both(UDP()))) is DropReason.IDLE_UE
    for layer in (TCP(), ICMP()):
        assert sent(down(gw, both(layer)))[:2] == (OWN.ip, OWN.teid)
    # It is idle downlink alone.
    assert arrived(up(gw, inner())) == inner()


def test_a_bearer_beside_an_idle_session() -> None:
    active = bearer(
        "1", 1, "permit out udp from any to assigned", downlink=FIRST, shares_downlink=False
    )
    shared = bearer("2", 2, "permit out tcp from any to assigned")
    gw = switch(detailed(bearers=[active, shared], downlink=None))
    assert sent(down(gw, both(UDP()))) == (FIRST.ip, FIRST.teid, None, both(UDP()))
    for layer in (TCP(), ICMP()):
        assert why(down(gw, both(layer))) is DropReason.IDLE_UE


def test_errors_indicated_of_a_bearer_and_of_the_session() -> None:
    own = bearer(
        "1", 1, "permit out udp from any to assigned", downlink=FIRST, shares_downlink=False
    )
    shared = bearer("2", 2, "permit out tcp from any to assigned")
    gw = switch(detailed(bearers=[replace(own, error_indicated=True), shared]))
    assert why(down(gw, both(UDP()))) is DropReason.ERROR_INDICATED
    assert sent(down(gw, both(TCP())))[:2] == (OWN.ip, OWN.teid)
    gw = switch(detailed(bearers=[own, shared], error_indicated=True))
    assert sent(down(gw, both(UDP())))[:2] == (FIRST.ip, FIRST.teid)
    for layer in (TCP(), ICMP()):
        assert why(down(gw, both(layer))) is DropReason.ERROR_INDICATED


@WAYS
@pytest.mark.parametrize("gate", Gate)
@pytest.mark.parametrize("own", [True, False])
def test_gates(gate: Gate, own: bool, way: int) -> None:
    tunnels: dict[str, Any] = {
        "uplink": Uplink(0x4001),
        "downlink": FIRST,
        "shares_downlink": False,
    }
    one = bearer(
        "1", 1, "permit out udp from any to assigned", gate=gate, **(tunnels if own else {})
    )
    gw = switch(detailed(bearers=[one], way=way))
    teid = 0x4001 if own else 0x1001
    if gate in (Gate.OPEN, Gate.UPLINK):
        assert arrived(up(gw, inner(), teid)) == inner()
    else:
        assert why(up(gw, inner(), teid)) is DropReason.GATE_CLOSED
    if gate in (Gate.OPEN, Gate.DOWNLINK):
        assert sent(down(gw, both(UDP()))).packet == both(UDP())
    else:
        assert why(down(gw, both(UDP()))) is DropReason.GATE_CLOSED
    # The others' gates are open.
    packet = both(TCP(), src=UE, dst=REMOTE)
    assert arrived(up(gw, packet)) == packet
    assert sent(down(gw, both(TCP())))[:2] == (OWN.ip, OWN.teid)
    if own and gate is not Gate.OPEN:
        # What is no packet of the bearer is one of a wrong one, whatever its gate.
        reason = DropReason.WRONG_BEARER
        assert why(up(gw, packet, 0x4001)) is reason


# --- its QFI


def test_each_bearers_qfi_downlink() -> None:
    """In one tunnel or in several; odd and even, with the session's RQI or without."""
    for rqi in (True, False):
        for session_qfi, first, second in ((9, 1, 2), (8, 63, 62), (5, 5, 6)):
            one = detailed(
                qos=Qos(session_qfi, rqi),
                bearers=[
                    bearer("1", 1, "permit out udp from any to assigned", qos=Qos(first, rqi)),
                    bearer(
                        "2",
                        2,
                        "permit out tcp from any to assigned",
                        qos=Qos(second, rqi),
                        downlink=SECOND,
                        shares_downlink=False,
                    ),
                    bearer("3", 3, "permit out icmp from any to assigned"),
                ],
            )
            gw = switch(one)
            for layer, tunnel, qfi in (
                (UDP(), OWN, first),
                (TCP(), SECOND, second),
                (ICMP(), OWN, session_qfi),
                (SCTP(), OWN, session_qfi),
            ):
                packet = both(layer)
                wanted = (tunnel.ip, tunnel.teid, rqi << 6 | qfi, packet)
                assert sent(down(gw, packet)) == wanted


def test_a_qfi_of_a_bearer_alone() -> None:
    """The session's own packets carry no container then."""
    gw = switch(
        detailed(bearers=[bearer("1", 1, "permit out udp from any to assigned", qos=Qos(7))])
    )
    assert sent(down(gw, both(UDP()))) == (OWN.ip, OWN.teid, 7, both(UDP()))
    assert sent(down(gw, both(TCP()))) == (OWN.ip, OWN.teid, None, both(TCP()))
    packet = both(TCP(), src=UE, dst=REMOTE)
    assert arrived(up(gw, packet)) == packet
    assert arrived(up(gw, inner(), flags=E)) == inner()
    assert why(up(gw, inner())) is DropReason.CONTAINER_MISSING


@WAYS
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("check", [True, False])
def test_what_is_asked_of_the_container(own: bool, required: bool, check: bool, way: int) -> None:
    """Of a bearer its own, of the rest the session's."""
    of_session = Qos(9, required=not required, check=check)
    of_bearer = Qos(6, required=required, check=check)
    teid = 0x4001 if own else 0x1001
    tunnel = {"uplink": Uplink(teid)} if own else {}
    one = bearer("1", 1, "permit out udp from any to assigned", qos=of_bearer, **tunnel)
    gw = switch(detailed(bearers=[one], qos=of_session, way=way))
    for packet, qos, by in (
        (inner(), of_bearer, teid),
        (both(TCP(), src=UE, dst=REMOTE), of_session, 0x1001),
    ):
        for qfi in (0, 5, 6, 7, 9, 63):
            trace = up(gw, packet, by, flags=E, container=bytes([1, 0x10, qfi, 0]))
            if check and qfi != qos.qfi:
                assert why(trace) is DropReason.WRONG_QFI
            else:
                assert arrived(trace) == packet
        for flags in (0, S):
            trace = up(gw, packet, by, flags=flags)
            if qos.required:
                assert why(trace) is DropReason.CONTAINER_MISSING
            else:
                assert arrived(trace) == packet


def sized(packet: bytes, size: int) -> bytes:
    """A packet made longer."""
    return packet[:2] + size.to_bytes(2, "big") + packet[4:] + bytes(size - len(packet))


def test_what_fits_beside_a_container() -> None:
    """Eight octets less for a bearer with a QFI than for one without."""
    gw = switch(
        detailed(bearers=[bearer("1", 1, "permit out tcp from any to assigned", qos=Qos(7))])
    )
    largest = 1500 - 36
    for layer, most in ((TCP(), largest - 8), (UDP(), largest)):
        for size, fits in ((most, True), (most + 1, False)):
            packet = sized(both(layer), size)
            trace = down(gw, packet)
            assert len(trace.sent) == fits, (size, layer)
            assert len(trace.reported) == (not fits)


# --- rates


def met(trace: Trace) -> list[int]:
    """Numbers of the sessions' meters that a packet passed, in order."""
    return [flow.meter - (1 << 16) - 128 for flow in trace.flows if (flow.meter or 0) >= 1 << 16]


@WAYS
def test_which_meters_a_packet_passes(way: int) -> None:
    """The session's first, and then the bearer's: one a flow, as OpenFlow has it."""
    one = detailed(
        bearers=[
            bearer("0", 1, "permit out udp from any to assigned", mbr=Rates(128, 64)),
            bearer("1", 2, "permit out tcp from any to assigned", mbr=Rates(downlink=32)),
            bearer("2", 3, "permit out icmp from any to assigned"),
            bearer(
                "3", 4, "permit out sctp from any to assigned", uplink=Uplink(0x4001), mbr=Rates(8)
            ),
        ],
        ambr=Rates(50_000, 100_000),
        way=way,
    )
    gw = switch(one)
    for layer, teid, uplink, downlink in (
        (UDP(), 0x1001, [0, 2], [1, 3]),
        (TCP(), 0x1001, [0], [1, 5]),
        (ICMP(), 0x1001, [0], [1]),
        (SCTP(), 0x4001, [0, 8], [1]),
        (b"", 0x1001, [0], [1]),
    ):
        proto = {} if layer else {"proto": 50}
        packet = both(layer, src=UE, dst=REMOTE, **proto)
        trace = up(gw, packet, teid)
        assert arrived(trace) == packet
        assert met(trace) == uplink
        trace = down(gw, both(layer, **proto))
        assert sent(trace)[:2] == (OWN.ip, OWN.teid)
        assert met(trace) == downlink


@WAYS
def test_rates_of_bearers_alone(way: int) -> None:
    one = detailed(
        bearers=[
            bearer("0", 1, "permit out udp from any to assigned", mbr=Rates(128, 64)),
            bearer(
                "1", 2, "permit out tcp from any to assigned", uplink=Uplink(0x4001), mbr=Rates(8)
            ),
        ],
        way=way,
    )
    gw = switch(one)
    assert met(up(gw, inner())) == [2]
    assert met(up(gw, both(TCP(), src=UE, dst=REMOTE), 0x4001)) == [4]
    assert met(up(gw, both(TCP(), src=UE, dst=REMOTE))) == []
    assert (met(down(gw, both(UDP()))), met(down(gw, both(TCP())))) == ([3], [])


def test_the_numbers_of_meters_are_the_sessions_own() -> None:
    slots, places = (1, 2, 3, 1000), range(128)
    numbers = [meter_number(slot, place) for slot in slots for place in places]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) > 1 << 16


# --- prefixes behind a UE

ROUTED = IPv4Network("192.168.7.0/24")
BEHIND = IPv4Address("192.168.7.77")


@WAYS
def test_framed_routes_both_ways(way: int) -> None:
    one = detailed(
        bearers=[
            bearer(
                "1",
                1,
                "permit out tcp from any to assigned",
                uplink=Uplink(0x4001),
                downlink=FIRST,
                shares_downlink=False,
            )
        ],
        framed_routes=(ROUTED, IPv4Network("192.168.9.0/30")),
        way=way,
    )
    gw = switch(one)
    for inside in (BEHIND, IPv4Address("192.168.9.3"), UE):
        packet = both(UDP(), dst=inside)
        assert sent(down(gw, packet)) == (OWN.ip, OWN.teid, None, packet)
        packet = both(TCP(), dst=inside)
        assert sent(down(gw, packet)) == (FIRST.ip, FIRST.teid, None, packet)
        for teid, layer in ((0x1001, UDP()), (0x4001, TCP())):
            packet = both(layer, src=inside, dst=REMOTE)
            assert arrived(up(gw, packet, teid)) == packet
    outside = both(UDP(), dst=IPv4Address("192.168.8.1"))
    assert why(down(gw, outside)) is DropReason.CORE_OTHER
    spoofed = both(UDP(), src=IPv4Address("192.168.9.4"), dst=REMOTE)
    assert why(up(gw, spoofed)) is DropReason.NO_UPLINK_SESSION


def test_what_is_too_big_for_a_framed_route() -> None:
    gw = switch(detailed(framed_routes=(ROUTED,)))
    for size, fits in ((1500 - 36, True), (1500 - 35, False)):
        trace = down(gw, sized(both(UDP(), dst=BEHIND), size))
        assert (len(trace.sent), len(trace.reported)) == (fits, not fits)


@pytest.mark.parametrize("ue_to_ue", ["deny", "route"])
@pytest.mark.parametrize("flags", [0, E])
def test_from_ue_to_ue_with_rules(ue_to_ue: str, flags: int) -> None:
    """The one's uplink rules and the other's downlink ones, in one way through the tables."""
    links = replace(LINKS, ue_to_ue=ue_to_ue == "route")
    one = detailed(
        bearers=[
            bearer("1", 1, "permit out tcp from any to assigned", gate=Gate.DOWNLINK),
            bearer("2", 2, "permit out icmp from any to assigned"),
        ],
        qos=Qos(9, required=False),
    )
    other = detailed(
        2,
        bearers=[
            bearer(
                "1",
                1,
                "permit out udp from 10.45.0.2 to assigned",
                qos=Qos(4, required=False),
                downlink=FIRST,
                shares_downlink=False,
            )
        ],
        framed_routes=(ROUTED,),
        way=2,
    )
    plain = session(3)
    gw = switch(one, other, plain, ue_to_ue=ue_to_ue, links=links)
    for target, layer, wanted in (
        (other.ue_ip, UDP(), (FIRST.ip, FIRST.teid, 4)),
        (BEHIND, UDP(), (FIRST.ip, FIRST.teid, 4)),
        (other.ue_ip, ICMP(), (ENB, 0x2002, None)),
        (BEHIND, ICMP(), (ENB, 0x2002, None)),
        (plain.ue_ip, UDP(), (ENB, 0x2003, None)),
        (UE, UDP(), (ENB, 0x2001, 9)),
    ):
        assert target is not None
        packet = both(layer, src=UE, dst=target)
        trace = up(gw, packet, flags=flags)
        if ue_to_ue == "deny":
            assert why(trace) is DropReason.UE_TO_UE
        else:
            assert sent(trace) == (*wanted, packet)
    barred = both(TCP(), src=UE, dst=BEHIND)
    assert why(up(gw, barred, flags=flags)) is DropReason.GATE_CLOSED
    # A plain UE, and one behind the prefix, to the one with rules.
    for source, teid in (("10.45.0.4", 0x1003), (str(BEHIND), 0x1002)):
        packet = both(UDP(), src=IPv4Address(source), dst=UE)
        trace = up(gw, packet, teid)
        if ue_to_ue == "deny":
            assert why(trace) is DropReason.UE_TO_UE
        else:
            assert sent(trace) == (ENB, 0x2001, 9, packet)


def test_where_no_ue_may_send_no_bearer_may() -> None:
    gw = switch(
        detailed(bearers=[bearer("1", 1, ALL, uplink=Uplink(0x4001))], framed_routes=(ROUTED,))
    )
    for target in ("10.1.0.1", "10.1.0.2", "10.2.0.1", "127.0.0.1", "224.0.0.1"):
        for source in (UE, BEHIND):
            for teid in (0x1001, 0x4001):
                packet = both(UDP(), src=source, dst=IPv4Address(target))
                assert why(up(gw, packet, teid)) is DropReason.PROTECTED_DESTINATION


# --- a router


@WAYS
@pytest.mark.parametrize("flags", [0, S, E])
def test_as_a_router_it_takes_one_off_the_ttl(way: int, flags: int) -> None:
    """Once in each direction, for plain sessions and for those with rules."""
    links = replace(LINKS, decrement_ttl=True)
    udp = bearer("1", 1, "permit out udp from any to assigned", uplink=Uplink(0x4001))
    one = detailed(bearers=[udp], framed_routes=(ROUTED,), way=way)
    breaks_out = relay(4, ue_ip=IPv4Address("10.45.0.5"), breakout=(IPv4Network("10.3.0.0/16"),))
    gw = switch(one, session(3), breaks_out, links=links)
    for ttl in (2, 63, 64, 80, 96, 128, 255):
        for source, target, teid in (
            (UE, REMOTE, 0x1001),
            (UE, REMOTE, 0x4001),
            (BEHIND, REMOTE, 0x1001),
            (IPv4Address("10.45.0.4"), REMOTE, 0x1003),
            (IPv4Address("10.45.0.5"), IPv4Address("10.3.0.1"), 0x1004),
        ):
            packet, less = (both(UDP(), src=source, dst=target, ttl=n) for n in (ttl, ttl - 1))
            assert arrived(up(gw, packet, teid, flags=flags)) == less
            back, less = (both(UDP(), src=target, dst=source, ttl=n) for n in (ttl, ttl - 1))
            assert sent(down(gw, back)).packet == less
    # What stays in tunnels is not routed here.
    packet = both(UDP(), src=IPv4Address("10.45.0.5"), dst=REMOTE, ttl=1)
    assert sent(up(gw, packet, 0x1004)).packet == packet


# --- as the filters say

PORTS = (0, 1, 2, 53, 79, 80, 81, 1023, 1024, 5003, 5004, 5060, 5061, 32767, 32768, 65534, 65535)
HOSTS = ("10.2.0.0", "10.2.0.9", "10.2.0.255", "10.2.1.0", "198.51.100.7", "255.255.255.1")
LOCALS = ("10.45.0.2", "192.168.7.0", "192.168.7.77", "192.168.7.255")
PROTOCOLS = (1, 6, 17, 47, 132)


class Packet(NamedTuple):
    """What a filter may ask of one, from the UE's point of view."""

    protocol: int
    remote: IPv4Address
    local: IPv4Address
    remote_port: int
    local_port: int
    dscp: int
    ecn: int = 0
    fragment: int = 0
    """IPv4's flags and offset."""
    cut: int = 32
    """Octets behind the IPv4 header."""

    def port(self, of_end: int) -> int | None:
        """As the switch sees one: none in fragments, 0 where the packet is cut off."""
        least = {6: 20, 17: 8, 132: 12}.get(self.protocol)
        if least is None or self.fragment & 0x3FFF:
            return None
        return of_end if self.cut >= least else 0

    def octets(self, *, uplink: bool) -> bytes:
        ends = [(self.remote, self.remote_port), (self.local, self.local_port)]
        (src, sport), (dst, dport) = reversed(ends) if uplink else ends
        header = IP(
            src=str(src),
            dst=str(dst),
            proto=self.protocol,
            tos=self.dscp << 2 | self.ecn,
            flags=self.fragment >> 13,
            frag=self.fragment & 0x1FFF,
        )
        payload = sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + b"\x50" * 28
        return bytes(header / payload[: self.cut])


def says(asked: PacketFilter, packet: Packet) -> bool:
    """Whether a filter takes a packet, read off its fields one by one."""
    if asked.protocol is not None and packet.protocol != asked.protocol:
        return False
    if asked.dscp is not None and packet.dscp != asked.dscp:
        return False
    for network, address in ((asked.remote, packet.remote), (asked.local, packet.local)):
        if isinstance(network, IPv4Network) and address not in network:
            return False
    for ranges, port in (
        (asked.remote_ports, packet.remote_port),
        (asked.local_ports, packet.local_port),
    ):
        seen = packet.port(port)
        if ranges and (seen is None or not any(first <= seen <= last for first, last in ranges)):
            return False
    return True


def chosen(bearers: list[Bearer], packet: Packet) -> str:
    """The bearer that takes a packet; "" if none does."""
    by_precedence = sorted(bearers, key=lambda each: each.precedence)
    taking = (each.id for each in by_precedence if any(says(f, packet) for f in each.filters))
    return next(taking, "")


@st.composite
def ranges(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    some = draw(st.lists(st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)), max_size=2))
    return tuple((min(pair), max(pair)) for pair in some)


@st.composite
def filters(draw: st.DrawFn) -> PacketFilter:
    protocol = draw(st.none() | st.sampled_from(PROTOCOLS))
    with_ports = protocol in (6, 17, 132)
    ends = [draw(ranges()) if with_ports and draw(st.booleans()) else () for _ in range(2)]
    if all(ends):  # the product of both would be too many flows
        ends = [each[:1] for each in ends]
        assume(len(list(_product(ends))) <= 256)
    lengths = st.integers(0, 32)
    remote = draw(st.none() | st.builds(_network, st.sampled_from(HOSTS), lengths))
    local = draw(
        st.just(ASSIGNED) | st.none() | st.builds(_network, st.sampled_from(LOCALS), lengths)
    )
    dscp = draw(st.none() | st.sampled_from([0, 10, 46, 63]))
    return PacketFilter(protocol, remote, ends[0], local, ends[1], dscp)


def _product(ends: list[tuple[tuple[int, int], ...]]) -> list[tuple[int, int]]:
    one, other = ([m for r in end for m in port_masks(*r)] for end in ends)
    return [(0, 0)] * (len(one) * len(other))


def _network(address: str, length: int) -> IPv4Network:
    return IPv4Network((address, length), strict=False)


anything = st.builds(
    Packet,
    protocol=st.sampled_from(PROTOCOLS),
    remote=st.sampled_from(HOSTS).map(IPv4Address),
    local=st.sampled_from(LOCALS).map(IPv4Address),
    remote_port=st.sampled_from(PORTS),
    local_port=st.sampled_from(PORTS),
    dscp=st.sampled_from([0, 9, 10, 45, 46, 62, 63]),
    ecn=st.integers(0, 3),
    fragment=st.sampled_from([0, 0, 0, 0x4000, 0x2000, 0x2003, 3]),
    cut=st.sampled_from([32, 32, 32, 20, 12, 8, 7, 4, 0]),
)


@st.composite
def packets(draw: st.DrawFn, bearers: list[Bearer]) -> Packet:
    """One that some filter takes, or would but for one thing; or any."""
    packet = draw(anything)
    if draw(st.integers(0, 9)) == 0:
        return packet
    asked = draw(st.sampled_from([each for one in bearers for each in one.filters]))
    taken = packet._replace(fragment=draw(st.sampled_from([0, 0x4000])), cut=32)
    if asked.protocol is not None:
        taken = taken._replace(protocol=asked.protocol)
    if asked.dscp is not None:
        taken = taken._replace(dscp=asked.dscp)
    for name, network, known in (
        ("remote", asked.remote, HOSTS),
        ("local", asked.local, LOCALS),
    ):
        inside = [IPv4Address(ip) for ip in known]
        if isinstance(network, IPv4Network):
            inside = [ip for ip in inside if ip in network]
        taken = taken._replace(**{name: draw(st.sampled_from(inside))})
    for name, some in (("remote_port", asked.remote_ports), ("local_port", asked.local_ports)):
        if some:
            first, last = draw(st.sampled_from(some))
            edges = [port for port in (first - 1, first, last, last + 1) if 0 <= port <= 65535]
            port = draw(st.sampled_from([first, last, (first + last) // 2, *edges]))
            taken = taken._replace(**{name: port})
    if draw(st.booleans()):
        other = draw(st.sampled_from(Packet._fields))
        taken = taken._replace(**{other: getattr(packet, other)})
    return taken


@st.composite
def rule_sets(draw: st.DrawFn) -> list[Bearer]:
    """Up to five bearers whose downlink tunnel and whose uplink gate tell them apart."""
    precedences = draw(st.lists(st.integers(0, 65535), min_size=1, max_size=5, unique=True))
    return [
        Bearer(
            f"b{place}",
            precedence,
            tuple(draw(st.lists(filters(), min_size=1, max_size=3))),
            downlink=FTeid(0x4000 + place, OTHER_ENB),
            index=place,
        )
        for place, precedence in enumerate(precedences)
    ]


@st.composite
def rules_and_packets(draw: st.DrawFn) -> tuple[list[Bearer], list[Packet]]:
    bearers = draw(rule_sets())
    return bearers, draw(st.lists(packets(bearers), min_size=1, max_size=12))


UDP_PORTS = [
    bearer(
        "b0",
        0,
        "permit out udp from any 0-1023 to assigned",
        downlink=FTeid(0x4000, OTHER_ENB),
        shares_downlink=False,
    )
]


@given(rules_and_packets(), st.sampled_from([1, 2]))
@example(
    (
        UDP_PORTS,
        [
            Packet(17, REMOTE, UE, 53, 9, 0),
            Packet(17, REMOTE, UE, 9, 2000, 0),
            Packet(17, REMOTE, UE, 53, 9, 0, fragment=3),
            Packet(17, REMOTE, UE, 53, 9, 0, fragment=0x2000),
        ],
    ),
    1,
)
def test_the_flows_choose_what_the_filters_say(
    both_: tuple[list[Bearer], list[Packet]], way: int
) -> None:
    """Downlink by the tunnel, uplink by the rate that it passes; in its own tunnel, or dropped."""
    bearers, some = both_
    rated = [replace(each, mbr=Rates(uplink=100)) for each in bearers]
    one = detailed(bearers=rated, framed_routes=(ROUTED,), way=way)
    own = [replace(each, uplink=Uplink(0x4000 + each.index), mbr=Rates()) for each in bearers]
    gw = switch(one, PLAIN)
    apart = switch(replace(one, detail=replace(one.detail, bearers=tuple(own))), PLAIN)
    for packet in some:
        name = chosen(bearers, packet)
        expected = FTeid(0x4000 + int(name[1:]), OTHER_ENB) if name else OWN
        octets = packet.octets(uplink=False)
        assert sent(down(gw, octets)) == (expected.ip, expected.teid, None, octets)
        octets = packet.octets(uplink=True)
        trace = up(gw, octets)
        assert_routed(trace, octets)
        assert met(trace) == ([2 + 2 * int(name[1:])] if name else []), packet
        for each in own:
            trace = up(apart, octets, 0x4000 + each.index)
            if any(says(f, packet) for f in each.filters):
                assert_routed(trace, octets)
            else:
                assert why(trace) is DropReason.WRONG_BEARER


PLAIN = session(2)


def assert_routed(trace: Trace, packet: bytes) -> None:
    """Out by the core port, or barred there: some of the destinations are no UE's to reach."""
    if packet[16:20] == IPv4Address("255.255.255.1").packed:
        assert why(trace) is DropReason.PROTECTED_DESTINATION
    else:
        assert arrived(trace) == packet


@WAYS
@pytest.mark.parametrize("ports", ["0-1023", "0", "53"])
def test_a_filter_with_ports_takes_no_fragment(ports: str, way: int) -> None:
    """The switch reads port 0 in each of them, the first included."""
    asked = f"permit out udp from any {ports} to assigned"
    own = {"downlink": FIRST, "shares_downlink": False, "uplink": Uplink(0x4001)}
    gw = switch(detailed(bearers=[bearer("1", 1, asked, **own)], way=way))
    whole = Packet(17, REMOTE, UE, 53 if ports == "53" else 0, 9, 0)
    assert sent(down(gw, whole.octets(uplink=False)))[:2] == (FIRST.ip, FIRST.teid)
    for fragment in (0x2000, 0x2003, 3):
        part = whole._replace(fragment=fragment)
        assert sent(down(gw, part.octets(uplink=False)))[:2] == (OWN.ip, OWN.teid)
        assert why(up(gw, part.octets(uplink=True), 0x4001)) is DropReason.WRONG_BEARER


# --- what flows are made of


@given(st.integers(0, 65535), st.integers(0, 65535))
@example(0, 65535)
@example(0, 0)
@example(65535, 65535)
@example(1, 65534)
def test_port_masks_cover_a_range_and_nothing_else(one: int, other: int) -> None:
    first, last = min(one, other), max(one, other)
    masks = list(port_masks(first, last))
    assert len(masks) <= 30
    covered: list[int] = []
    for value, mask in masks:
        free = 0xFFFF & ~mask
        assert value & free == 0
        assert free & (free + 1) == 0, "a mask of leading bits"
        covered += range(value, value + free + 1)
    assert covered == list(range(first, last + 1))


precedences = st.integers(0, 65535) | st.sampled_from(
    [0, 1, 65534, 65535, 65536, 2**32 - 1, LOWEST_PRECEDENCE]
)


@given(st.lists(precedences, min_size=1, max_size=70))
@example([0] * 70)
@example([2**32 - 1] * 70)
@example([0, 0, 65535, 65535, 65536, 2**32 - 1, LOWEST_PRECEDENCE])
def test_priorities_keep_the_order(some: list[int]) -> None:
    rules = [Rule("", Source.ACCESS, each, ToCore()) for each in sorted(some)]
    made = ruleset.priorities(rules)
    assert all(one > other for one, other in pairwise(made))
    assert all(1 <= each <= PRIORITY_MAX for each in made)


@given(st.lists(st.integers(70, 65000), min_size=1, max_size=20, unique=True))
def test_a_priority_depends_on_the_precedence_alone_where_it_can(some: list[int]) -> None:
    """So that bearers that come and go leave the others' flows where they are."""
    rules = [Rule("", Source.ACCESS, each, ToCore()) for each in sorted(some)]
    assert ruleset.priorities(rules) == [PRIORITY_MAX - each for each in sorted(some)]


QOS = st.none() | st.builds(
    Qos, st.integers(1, 63), rqi=st.booleans(), required=st.booleans(), check=st.booleans()
)
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
TEIDS = st.integers(1, 2**32 - 1)


@given(
    ADDRESSES,
    st.builds(Uplink, TEIDS, st.none() | ADDRESSES),
    st.builds(FTeid, TEIDS, ADDRESSES),
    QOS,
    st.sampled_from([1, 2]),
)
def test_a_plain_sessions_flows_are_those_of_its_rules(
    ue_ip: IPv4Address, uplink: Uplink, downlink: FTeid, qos: Qos | None, way: int
) -> None:
    """Of one that is nothing else, but for a register and the table that asks it."""
    plain = session(ue_ip=ue_ip, uplink=uplink, downlink=downlink, qos=qos)
    up_, down_ = tunnel_pair_flows(plain, LINKS)
    same = replace(plain, detail=Detail(slot=5, way=way))
    ruled_up, ruled_down = session_flows(same, LINKS)
    assert ruled_down == down_
    table = {1: RULES, 2: OTHER_RULES}[way]
    assert ruled_up.goto == table.number
    steps = [action for action in ruled_up.actions if action.field != "reg6"]  # type: ignore[union-attr]
    assert len(steps) == len(ruled_up.actions) - 1
    assert replace(ruled_up, goto=up_.goto, actions=tuple(steps)) == up_


@given(rule_sets())
def test_the_order_in_which_bearers_are_named_does_not_matter(bearers: list[Bearer]) -> None:
    shuffled = bearers.copy()
    random.Random(1).shuffle(shuffled)
    one, other = (
        session(detail=Detail(slot=1, bearers=tuple(each))) for each in (bearers, shuffled)
    )
    assert set(session_flows(one, LINKS)) == set(session_flows(other, LINKS))


def test_each_flow_of_a_rule_has_its_owner() -> None:
    one = detailed(
        bearers=[
            bearer("1", 1, "permit out udp from any to assigned", uplink=Uplink(0x4001)),
            bearer("2", 2, "permit out tcp from any 1-4 to assigned"),
        ]
    )
    assert one.detail is not None
    owned = list(ruleset.flows(one, one.detail, LINKS))
    assert {each.rule for each in owned} == {"", "1", "2"}
    for each in owned:
        in_rules = each.flow.table in (RULES.number, OTHER_RULES.number, CHOOSE.number)
        assert each.first != in_rules
        assert (each.direction == "downlink") == (each.flow.table >= 60)
