"""Every reason to drop a packet has a packet that is dropped for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_Redirect, IPv6
from scapy.layers.l2 import Dot1Q, Ether

from ofgtp.core.filters import PacketFilter
from ofgtp.core.flows.flow import CookieKind, Port, cookie_kind
from ofgtp.core.flows.pipeline import CHOOSE, DropReason
from ofgtp.core.model import Qos
from ofgtp.core.rules.downlink import closed as closed_way
from ofgtp.core.sessions.detail import Gate
from ofgtp.core.sessions.rule import Refused, Rule, Source
from tests.support.lab import gateway
from tests.support.sample import ALL_KINDS, ENB, LINKS, all_flows, bearer, detailed, relay, session
from tests.table.simulator import Trace
from tests.table.world import (
    ACCESS_IP,
    CORE_IP,
    ENB_MAC,
    HOP_MAC,
    SERVER,
    E,
    S,
    arp,
    echo,
    from_core,
    gtpu,
    inner,
    inner_ipv6,
    made,
    only,
    switch,
    why,
)


def access(frame: bytes, **changes: object) -> Trace:
    return switch(session(), **changes).receive(LINKS.access, frame)  # type: ignore[arg-type]


def n3(frame: bytes, **of_qos: bool) -> Trace:
    return switch(session(qos=Qos(9, **of_qos))).receive(LINKS.access, frame)


def core(packet: bytes) -> Trace:
    gw = switch(session(), session(2, downlink=None))
    return gw.receive(LINKS.core, from_core(packet))


def tagged(port: int) -> Trace:
    frame = Ether(gtpu(inner()) if port == LINKS.access else from_core(inner(SERVER, "10.45.0.2")))
    frame.payload = Dot1Q(vlan=5) / frame.payload
    frame.type = 0x8100
    return switch(session()).receive(port, bytes(frame))


R = DropReason
UE = "10.45.0.2"
FRAMED = (IPv4Network("192.168.7.0/24"),)


def bearers(port: int, frame: bytes) -> Trace:
    return switch(ALL_KINDS["bearers"]).receive(port, frame)


def relayed(kind: str, frame: bytes) -> Trace:
    return switch(ALL_KINDS[kind]).receive(LINKS.access, frame)


def closed(port: int, frame: bytes) -> Trace:
    every = bearer("all", 1, PacketFilter(), gate=Gate.CLOSED)
    return switch(detailed(bearers=[every])).receive(port, frame)


def without_default(frame: bytes) -> Trace:
    """To a session all of whose rules have filters: the last one's flow is taken away."""
    one = detailed(bearers=[bearer("ping", 1, PacketFilter(protocol=1))], downlink=None)
    flows = all_flows(gateway(), one)
    kept = [flow for flow in flows if (flow.table, flow.priority) != (CHOOSE.number, 1)]
    assert len(kept) == len(flows) - 1
    return made(kept).receive(LINKS.core, frame)


def refused(reason: DropReason) -> list[Trace]:
    """By a session whose rules refuse all packets, uplink ones with and without a look at them."""
    to, ue = Refused(reason), (IPv4Network(UE),)
    up = Rule("1", Source.ACCESS, 1, to, 0x1001, ue=ue), Rule("1", Source.ACCESS, 1, to, 0x1001)
    return [
        *(
            ruled(LINKS.access, gtpu(inner(), flags=flags), rule)
            for rule in up
            for flags in (0, S, E)
        ),
        ruled(LINKS.core, from_core(inner(SERVER, UE)), Rule("2", Source.CORE, 1, to, ue=ue)),
    ]


def full(frame: bytes) -> Trace:
    """To a session that is idle, and has as many packets waiting as may be."""
    one = detailed(buffer=8, downlink=None)
    assert one.detail is not None
    flows = [*all_flows(gateway(), one), closed_way(one.detail.slot, 30)]
    return made(flows).receive(LINKS.core, frame)


def ruled(port: int, frame: bytes, *rules: Rule) -> Trace:
    """To a session that a control plane has made."""
    one = detailed(rules=rules, uplink=None, downlink=None, ue_ip=None)
    return switch(one).receive(port, frame)


def routed(port: int, frame: bytes) -> Trace:
    """Through a gateway that takes 1 off the TTL."""
    one = detailed(framed_routes=FRAMED)
    return switch(one, links=replace(LINKS, decrement_ttl=True)).receive(port, frame)


def tcp(src: object, dst: object, **ports: int) -> bytes:
    return bytes(IP(src=str(src), dst=str(dst)) / TCP(**ports))


def expired(port: int, frame: bytes) -> Trace:
    """After a lease has run out: the flows that had a timeout are gone."""
    flows = all_flows(gateway(), session(), lease_seconds=10)
    return made(flow for flow in flows if not flow.hard_timeout).receive(port, frame)


LOCAL_MAC = bytes.fromhex(LINKS.local_mac.replace(":", ""))
"""UDP payload of the largest packet that fits: below the tunnel's headers and its own."""

PACKETS: dict[DropReason, Callable[[], list[Trace]]] = {
    R.UNKNOWN_PORT: lambda: [switch().receive(9, from_core(inner()))],
    R.VLAN: lambda: [tagged(LINKS.access), tagged(LINKS.core)],
    R.OUTER_FRAGMENT: lambda: [access(gtpu(inner(), frag=100)), access(_first_fragment())],
    R.ACCESS_DENIED: lambda: [access(gtpu(inner()), access_allow=(IPv4Network("10.9.0.0/16"),))],
    R.ACCESS_OTHER: lambda: [
        access(gtpu(inner(), dst="10.1.0.9")),
        access(gtpu(inner(), mac="ff:ff:ff:ff:ff:ff")),
        access(from_core(inner(ENB, ACCESS_IP), mac=LINKS.local_mac)),
    ],
    R.LOCAL_OTHER: lambda: [switch().receive(Port.LOCAL, from_core(inner("10.1.0.1")))],
    R.EXTENSION_HEADER: lambda: [
        *(access(gtpu(inner(), flags=E, extension=kind)) for kind in (1, 0x40, 0x84, 0xC0)),
        access(gtpu(inner(), flags=E | S, container=b"\x01\x08\x68\x00")),
    ],
    R.LONG_CONTAINER: lambda: [
        access(gtpu(inner(), flags=E, container=bytes([units, 0x18, 9, *bytes(4 * units - 3)])))
        for units in (8, 17)
    ],
    R.BAD_CONTAINER: lambda: [
        n3(gtpu(inner(), flags=E, container=bytes(container)))
        for container in (
            *((0, 0x10, 9, 0), (1, 0x18, 9, 0), (1, 0x10, 0x49, 0), (1, 0, 0x89, 0)),
            *((0, 0, 9, 0), (1, 1, 9, 0), (1, 8, 9, 0), (1, 0x20, 9, 0), (1, 0, 9, 0)),
        )
    ],
    R.EXTENSION_CHAIN: lambda: [
        access(gtpu(inner(), flags=flags, container=bytes([units, 0x10, 9, *last, 0x85])))
        for flags in (E, E | S)
        for units in range(1, 8)
        for last in (bytes(4 * units - 4),)
    ],
    R.WRONG_QFI: lambda: [n3(gtpu(inner(), flags=E, container=b"\x01\x10\x08\x00"), check=True)],
    R.CONTAINER_MISSING: lambda: [n3(gtpu(inner())), n3(gtpu(inner(), flags=S), check=True)],
    R.NOT_ECN_CAPABLE: lambda: [
        access(gtpu(packet, flags=flags, tos=3))
        for flags in (0, S, E, E | S)
        for packet in (inner(ttl=64), inner(ttl=100), inner(ttl=128), inner_ipv6())
    ],
    R.INNER_MPLS: lambda: [
        access(gtpu(inner("136.71.0.1", ttl=63))),
        access(gtpu(inner("136.72.0.1", ttl=63))),
    ],
    R.FORGED_SIGNALLING: lambda: [access(gtpu(LOCAL_MAC + bytes(40)))],
    R.WRONG_VERSION: lambda: [
        access(gtpu(payload, kind=kind, first=first))
        for first in (*range(0x20), *range(0x40, 0x100))
        for kind, payload in ((1, b""), (255, inner()), (255, inner(ttl=63)), (255, inner(ttl=96)))
    ],
    R.GTP_PRIME: lambda: [
        access(gtpu(payload, kind=kind, first=first))
        for first in range(0x20, 0x30)
        for kind, payload in ((1, b""), (255, inner()), (255, inner(ttl=63)), (255, inner(ttl=96)))
    ],
    R.NOT_IP: lambda: [
        access(gtpu(bytes(60))),
        access(gtpu(b"\xff" * 60)),
        *(access(gtpu(b"\x55" * 60, flags=flags)) for flags in (E, E | S)),
    ],
    R.ICMP_ERROR: lambda: [
        access(icmp_error(kind, code)) for kind in (3, 11, 12) for code in (0, 3)
    ],
    R.BAD_INNER: lambda: (
        [
            access(gtpu(packet, teid=teid, flags=flags))
            for packet in contradictory()
            for teid in (0x1001, 0x9999)
            for flags in (0, S, E)
        ]
        + [access(gtpu(bytes(size), flags=E, container=b"\x01\x10\x09\x00")) for size in range(16)]
        + [
            access(gtpu(bytes(size), flags=E, container=bytes([7, 0x18, 9, *bytes(25)])))
            for size in range(4)
        ]
    ),
    R.NO_UPLINK_SESSION: lambda: [access(gtpu(inner(), 5)), access(gtpu(inner("10.45.0.9")))],
    R.INNER_IPV6: lambda: [access(gtpu(inner_ipv6()))],
    R.NEIGHBOUR_DISCOVERY: lambda: [
        access(
            gtpu(bytes(IPv6(src="fe80::7", dst="ff02::1", hlim=255) / message)),
            ue_pools6=(IPv6Network("2001:db8:a::/48"),),
        )
        for message in (ICMPv6ND_RA(), ICMPv6ND_NA(), ICMPv6ND_Redirect(), ICMPv6ND_NS())
    ],
    R.PROTECTED_DESTINATION: lambda: [access(gtpu(inner(dst=ACCESS_IP)))],
    R.UE_TO_UE: lambda: [
        access(gtpu(inner(dst="10.45.0.3"))),
        switch(session(), detailed(2, framed_routes=FRAMED)).receive(
            LINKS.access, gtpu(inner(dst="192.168.7.1"))
        ),
    ],
    R.NEXT_HOP_UNRESOLVED: lambda: [access(gtpu(inner()), links=replace(LINKS, peer_mac=None))],
    R.CORE_OTHER: lambda: [core(inner(SERVER, "10.46.0.1"))],
    R.UNKNOWN_UE: lambda: [core(inner(SERVER, "10.45.7.7"))],
    R.IDLE_UE: lambda: [
        core(inner(SERVER, "10.45.0.3")),
        switch(ALL_KINDS["framed"]).receive(LINKS.core, from_core(inner(SERVER, "192.168.7.1"))),
        bearers(LINKS.core, from_core(bytes(IP(src=str(SERVER), dst=UE, proto=47) / bytes(40)))),
    ],
    R.ERROR_INDICATED: lambda: [
        switch(session(error_indicated=True)).receive(LINKS.core, from_core(inner(SERVER, UE))),
        switch(detailed(error_indicated=True)).receive(LINKS.core, from_core(inner(SERVER, UE))),
        *(relayed("pinned relay", gtpu(inner(), flags=flags)) for flags in (0, S, E, E | S)),
    ],
    R.TOO_BIG: lambda: [
        switch(relay()).receive(LINKS.access, gtpu(inner(size=1450), teid, flags=flags))
        for teid in (0x1001, 0x5001)
        for flags in (0, S, E, E | S)
    ],
    R.WRONG_BEARER: lambda: [
        *(
            bearers(LINKS.access, gtpu(packet, 0x4001, flags=E))
            for packet in (inner(), echo(UE, "10.2.0.9"))
        ),
        bearers(LINKS.access, gtpu(inner(), 0x4002, flags=E)),
    ],
    R.GATE_CLOSED: lambda: [
        bearers(LINKS.access, gtpu(tcp(UE, SERVER, dport=443), flags=E)),
        closed(LINKS.access, gtpu(inner())),
        closed(LINKS.core, from_core(inner(SERVER, UE))),
    ],
    R.FAR_DROP: lambda: refused(R.FAR_DROP),
    R.QUOTA_EXHAUSTED: lambda: [
        *refused(R.QUOTA_EXHAUSTED),
        *(
            switch(ALL_KINDS[kind]).receive(port, frame)
            for kind in ("used up", "used up bearer")
            for port, frame in (
                (LINKS.access, gtpu(inner())),
                (LINKS.access, gtpu(inner(), flags=E)),
                (LINKS.core, from_core(inner(SERVER, UE))),
            )
        ),
        *(relayed("used up relay", gtpu(inner(), teid)) for teid in (0x1001, 0x5001)),
    ],
    R.TTL_EXPIRED: lambda: [
        routed(port, frame)
        for ttl in (0, 1)
        for port, frame in (
            (LINKS.access, gtpu(inner(ttl=ttl))),
            (LINKS.access, gtpu(inner(ttl=ttl), flags=E)),
            (LINKS.core, from_core(inner(SERVER, UE, ttl=ttl))),
            (LINKS.core, from_core(inner(SERVER, "192.168.7.1", ttl=ttl))),
        )
    ],
    R.BUFFER_FULL: lambda: [full(from_core(inner(SERVER, UE)))],
    R.NO_RULE: lambda: [without_default(from_core(inner(SERVER, UE)))],
    R.LEASE_EXPIRED: lambda: [
        expired(LINKS.access, gtpu(inner())),
        expired(LINKS.access, gtpu(b"", 0, kind=1)),
        expired(LINKS.core, from_core(inner(SERVER, "10.45.0.2"))),
    ],
}


def icmp_error(kind: int, code: int) -> bytes:
    """About a T-PDU of the gateway's."""
    about = IP(src=str(ACCESS_IP), dst=str(ENB)) / UDP(sport=5, dport=2152) / bytes(8)
    said = IP(src=str(ENB), dst=str(ACCESS_IP)) / ICMP(type=kind, code=code) / about
    return bytes(Ether(src=ENB_MAC, dst=LINKS.local_mac) / said)


def contradictory() -> list[bytes]:
    """A session's packet with a header that says what is not so, or cut off."""
    whole = inner(ttl=63)
    lying = [
        whole[:2] + length.to_bytes(2, "big") + whole[4:] for length in (0, 19, len(whole) + 1)
    ]
    lying += [bytes([0x40 | words]) + whole[1:] for words in range(5)]
    return [*lying, whole[:-1], whole[:20], whole[:19], whole[:15]]


def _first_fragment() -> bytes:
    frame = Ether(gtpu(inner()))
    frame.payload.flags = "MF"
    del frame.payload.chksum
    return bytes(frame)


@pytest.mark.parametrize("reason", list(DropReason), ids=lambda reason: reason.label)
def test_reason(reason: DropReason) -> None:
    traces = PACKETS[reason]()
    assert traces
    for trace in traces:
        assert why(trace) is reason


def test_a_lease_that_lasts_lets_pass_what_none_would_stop() -> None:
    gw = made(all_flows(gateway(), session(), lease_seconds=10))
    only(gw.receive(LINKS.access, gtpu(inner())), LINKS.core)
    only(gw.receive(LINKS.core, from_core(inner(SERVER, "10.45.0.2"))), LINKS.access)


def test_without_a_lease_the_access_side_still_answers() -> None:
    """ARP and ping of the access address are no user traffic; the core side is all silent."""
    head = bytes(Ether(src=ENB_MAC, dst=LINKS.local_mac, type=0x0800))
    for frame in (arp(1, ENB_MAC, ENB, ACCESS_IP), head + echo(ENB, ACCESS_IP)):
        assert only(expired(LINKS.access, frame), Port.LOCAL) == frame
    for frame in (arp(1, HOP_MAC, "10.2.0.2", CORE_IP), from_core(echo(SERVER, CORE_IP))):
        assert why(expired(LINKS.core, frame)) is DropReason.LEASE_EXPIRED


def test_without_a_lease_nothing_is_decapsulated() -> None:
    """Uplink is stopped while still in its tunnel, so that no cache of the second pass matters."""
    trace = expired(LINKS.access, gtpu(inner()))
    assert [packet.in_port for packet in trace.at(0)] == [LINKS.access]


@pytest.mark.parametrize("reason", list(DropReason), ids=lambda reason: reason.label)
def test_the_packets_of_a_reason_are_counted_once(reason: DropReason) -> None:
    for trace in PACKETS[reason]():
        drops = [f for f in trace.flows if cookie_kind(f.cookie) is CookieKind.DROP]
        assert len(drops) == 1


@pytest.mark.parametrize("port", [LINKS.loop_in, LINKS.loop_out])
def test_what_else_came_by_the_patch_would_go_no_further(port: int) -> None:
    """Only table normalise sends there; a frame of another form is not taken for a T-PDU."""
    gw = switch(session())
    expected = DropReason.NOT_IP if port == LINKS.loop_in else DropReason.UNKNOWN_PORT
    for frame in (from_core(inner()), arp(1, ENB_MAC, ENB, ACCESS_IP)):
        assert why(gw.receive(port, frame)) is expected


def test_nothing_is_dropped_without_a_reason() -> None:
    """Whatever one bit of a good frame becomes, it is delivered, reported or counted."""
    gw = switch(session())
    for port, frame in (
        (LINKS.access, gtpu(inner(ttl=64))),
        (LINKS.access, gtpu(inner(ttl=63), src=ENB)),
        (LINKS.core, from_core(inner(SERVER, "10.45.0.2"))),
        (Port.LOCAL, Ether(src=LINKS.local_mac, dst=ENB_MAC, type=0x0800).build() + inner()),
    ):
        for bit in range(8 * len(frame)):
            changed = bytearray(frame)
            changed[bit // 8] ^= 0x80 >> bit % 8
            trace = gw.receive(port, bytes(changed))
            known = trace.sent or trace.reported or trace.drop_number is not None
            assert known, f"bit {bit} of {frame.hex()}"
