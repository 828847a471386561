"""From a base station to the packet data network."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from ofgtp.core.flows.flow import CheckBigger, CookieKind, Flow, Output, Port, make_cookie
from ofgtp.core.flows.pipeline import (
    BARE,
    EPOCH,
    GUARD,
    ROUTE,
    TOO_BIG_UPLINK_METER,
    UPLINK,
    DropReason,
    Report,
)
from ofgtp.core.model import AccessRoute, Uplink
from ofgtp.core.rules.terms import HEADER_SAMPLE
from tests.support.lab import gateway
from tests.support.sample import ENB, LINKS, OTHER_ENB, all_flows, session
from tests.table.simulator import IPV4, IPV6, TUNNEL, values
from tests.table.world import (
    ACCESS_IP,
    CORE_IP,
    ENB_MAC,
    HOP_MAC,
    PN,
    SERVER,
    E,
    S,
    arp,
    echo,
    gtpu,
    inner,
    inner_ipv6,
    only,
    switch,
    tunnelled,
    why,
)

EDGES = (0, 1, 0x0FFF, 0x1000, 0xFFFFF, 0x100000, 0x80000000, 0xDEADBEEF, 0xFFFFFFFF)
"""32-bit numbers that show it if a bit were lost between label, tag and mark."""

FLAGS = pytest.mark.parametrize("flags", [0, S, S | PN], ids=["plain", "S", "S+PN"])


@FLAGS
def test_every_ttl_arrives_with_its_bytes(flags: int) -> None:
    gw = switch(session())
    for ttl in range(1, 256):
        frame = only(gw.receive(LINKS.access, gtpu(inner(ttl=ttl), flags=flags)), LINKS.core)
        assert frame[:6].hex(":") == HOP_MAC
        assert frame[6:12].hex(":") == LINKS.core_mac
        assert frame[12:] == b"\x08\x00" + inner(ttl=ttl), f"TTL {ttl}"


@pytest.mark.parametrize("size", [0, 1, 4, 5, 8, 9, 1400])
def test_every_size_arrives(size: int) -> None:
    gw = switch(session())
    for ttl in (63, 64, 96):
        packet = inner(ttl=ttl, size=size)
        assert only(gw.receive(LINKS.access, gtpu(packet)), LINKS.core)[14:] == packet


@pytest.mark.parametrize("ttl", [63, 64, 96, 128])
def test_inner_fragments_arrive(ttl: int) -> None:
    gw = switch(session())
    for change in ({"flags": "MF"}, {"frag": 100}, {"flags": "DF"}):
        packet = inner(ttl=ttl, **change)
        assert only(gw.receive(LINKS.access, gtpu(packet)), LINKS.core)[14:] == packet


@FLAGS
def test_ipv6_is_typed_rightly_and_dropped(flags: int) -> None:
    gw = switch(session())
    for source in ("2001:db8::2", "fe80::1", "fd00::1", "::", "ff02::1"):
        trace = gw.receive(LINKS.access, gtpu(inner_ipv6(source), flags=flags))
        assert why(trace) is DropReason.INNER_IPV6
        [packet] = trace.at(UPLINK.number)
        assert values(packet)["dl_type"] == IPV6
        assert packet.data[14:] == inner_ipv6(source)


@pytest.mark.parametrize("source", ["4001::1", "6001::1"])
def test_ipv6_of_unassigned_prefixes_is_taken_for_bad_ipv4(source: str) -> None:
    trace = switch(session()).receive(LINKS.access, gtpu(inner_ipv6(source)))
    assert why(trace) is DropReason.BAD_INNER


@pytest.mark.parametrize("ttl", [1, 63, 64, 79, 96, 111, 128, 255])
def test_what_is_of_no_session(ttl: int) -> None:
    gw = switch(session(), session(2, uplink=Uplink(0x1002, OTHER_ENB)))
    for frame in (
        gtpu(inner(ttl=ttl), 0x1003),
        gtpu(inner(ttl=ttl), 0),
        gtpu(inner("10.45.0.3", ttl=ttl)),
        gtpu(inner("192.0.2.1", ttl=ttl)),
        gtpu(inner("10.45.0.3", ttl=ttl), 0x1002, src=ENB),
        gtpu(inner("10.45.0.2", ttl=ttl), 0x1002, src=OTHER_ENB),
    ):
        trace = gw.receive(LINKS.access, frame)
        assert why(trace) is DropReason.NO_UPLINK_SESSION
        # The controller is shown enough to tell which it was.
        [(cookie, packet)] = trace.reported
        assert cookie == trace.flows[-1].cookie
        teid, peer = frame[46:50], frame[26:30]
        assert packet.reg0.to_bytes(4, "big") == teid
        assert packet.reg1.to_bytes(4, "big") == peer
        assert packet.data[14:] == frame[50 : 50 + HEADER_SAMPLE - 14]


@pytest.mark.parametrize("ttl", [63, 64, 96, 255])
@FLAGS
def test_teid_and_peer_come_round_whole(ttl: int, flags: int) -> None:
    """No tunnel metadata is left in the second pass; what it said is in the registers."""
    gw = switch(session())
    for teid in EDGES:
        for peer in EDGES:
            frame = gtpu(inner(ttl=ttl), teid, src=IPv4Address(peer), flags=flags)
            [packet] = gw.receive(LINKS.access, frame).at(UPLINK.number)
            assert (packet.reg0, packet.reg1) == (teid, peer)
            assert packet.in_port == LINKS.loop_in
            assert [getattr(packet, name) for name in (*TUNNEL, "pkt_mark")] == [0] * 6
            assert packet.data[12:] == b"\x08\x00" + inner(ttl=ttl)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(1, 255))
def test_any_teid_and_peer_come_round_whole(teid: int, peer: int, ttl: int) -> None:
    frame = gtpu(inner(ttl=ttl), teid, src=IPv4Address(peer))
    [packet] = WITHOUT_SESSIONS.receive(LINKS.access, frame).at(UPLINK.number)
    assert (packet.reg0, packet.reg1) == (teid, peer)


WITHOUT_SESSIONS = switch()


def test_what_fits_the_core_mtu() -> None:
    """To the octet. Nothing of what does not fit leaves, and the controller is shown enough."""
    for mtu in (576, 1280, 1400, 1463):
        gw = switch(session(), links=replace(LINKS, core_mtu=mtu))
        largest = mtu - (20 + 8)
        for ttl in (63, 64, 96):
            fits = inner(ttl=ttl, size=largest)
            assert only(gw.receive(LINKS.access, gtpu(fits)), LINKS.core)[14:] == fits
            longer = inner(ttl=ttl, size=largest + 1)
            too_big = gw.receive(LINKS.access, gtpu(longer))
            assert too_big.sent == [] and too_big.flows[-2].meter == TOO_BIG_UPLINK_METER.number
            ((cookie, shown),) = too_big.reported
            assert cookie == make_cookie(CookieKind.REPORT, Report.TOO_BIG_UPLINK)
            assert shown.data[14:] == longer[: HEADER_SAMPLE - 14]


@pytest.mark.parametrize(
    ("access", "core", "compared"),
    [
        (1500, 1500, False),
        (1500, 1468, False),  # a frame may be longer than its port's MTU by a VLAN tag
        (1500, 1467, True),
        (1544, 1500, True),
        (9000, 1500, True),
        (9000, 8968, False),
        (1500, None, False),
        (65535, 65535, False),
        (65535, 65502, True),
    ],
)
def test_sizes_are_compared_where_they_may_not_fit(
    access: int, core: int | None, compared: bool
) -> None:
    links = replace(LINKS, access_mtu=access, core_mtu=core)
    flows = all_flows(gateway(), session(), links=links)
    asked = [f for f in flows if f.table == GUARD.number and _compares(f)]
    assert len(asked) == compared
    sends = [f for f in flows if f.table == ROUTE.number and f.actions]
    [out] = [action for flow in sends for action in flow.actions if isinstance(action, Output)]
    assert out.max_len == ((core or 0) + 14 if compared else 0)


def test_no_size_is_compared_without_a_next_hop() -> None:
    """Both ways would lead to the flow that drops, which would count each packet twice."""
    flows = all_flows(gateway(), links=replace(LINKS, core_mtu=1400, peer_mac=None))
    assert not any(_compares(f) for f in flows if f.table == GUARD.number)


def _compares(flow: Flow) -> bool:
    return any(isinstance(action, CheckBigger) for action in flow.actions)


@pytest.mark.parametrize(("flags", "relayable"), [(0, (15, 16)), (S, (15,)), (S | PN, (15,))])
def test_no_t_pdu_takes_a_short_cut(flags: int, relayable: tuple[int, ...]) -> None:
    """What were typed by chance before the patch would be cached with the tunnel's metadata."""
    gw = switch(session())
    for ttl in range(1, 256):
        trace = gw.receive(LINKS.access, gtpu(inner(ttl=ttl), flags=flags))
        tables = [flow.table for flow in trace.flows]
        access, first = (0, 10, 12, 25), (0, *relayable, 20)
        labelled = (BARE.number,) if flags & S or ttl not in range(64, 80) else ()
        second = (0, 22, *labelled, 28, 29, 30, 40, 50)
        assert tables == [*access, *first, *second], f"TTL {ttl}"


def test_the_mark_is_clean_before_the_epoch_is_asked_for() -> None:
    """A TEID that was left in the mark would make some packets miss table epoch."""
    for bit in range(32):
        gw = switch(session(uplink=Uplink(1 << bit)))
        trace = gw.receive(LINKS.access, gtpu(inner(), 1 << bit))
        only(trace, LINKS.core)
        [packet] = trace.at(EPOCH.number)
        assert (packet.pkt_mark, packet.reg0) == (0, 1 << bit)


def test_another_epoch_lets_the_same_pass() -> None:
    for epoch in (0x0000FFFF, 0xFFFF0000, 0x55555555, 0xA5A5A5A5):
        gw = switch(session(), links=replace(LINKS, epoch=epoch))
        for ttl in (63, 64, 96):
            only(gw.receive(LINKS.access, gtpu(inner(ttl=ttl))), LINKS.core)


def test_whose_session_counts() -> None:
    mine, other = session(), session(2, uplink=Uplink(0x1002, OTHER_ENB))
    gw = switch(mine, other)
    for frame, expected in (
        (gtpu(inner()), 1),
        (gtpu(inner(), src=OTHER_ENB), 1),
        (gtpu(inner("10.45.0.3"), 0x1002, src=OTHER_ENB), 2),
    ):
        trace = gw.receive(LINKS.access, frame)
        only(trace, LINKS.core)
        [flow] = [flow for flow in trace.flows if flow.table == UPLINK.number]
        assert flow.cookie & 0xFF_FFFF_FFFF == expected


PROTECTED = [
    ACCESS_IP,
    CORE_IP,
    ENB,
    "10.1.0.255",
    "127.0.0.1",
    "169.254.1.1",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "240.0.0.1",
    "0.0.0.0",
]


@pytest.mark.parametrize("destination", PROTECTED, ids=str)
@pytest.mark.parametrize("ue_to_ue", ["deny", "route"])
def test_where_no_ue_may_send(destination: object, ue_to_ue: str) -> None:
    gw = switch(session(), ue_to_ue=ue_to_ue)
    for ttl in (63, 64, 96):
        trace = gw.receive(LINKS.access, gtpu(inner(dst=destination, ttl=ttl)))
        assert why(trace) is DropReason.PROTECTED_DESTINATION


def test_gtp_in_gtp_is_not_decapsulated_twice() -> None:
    """A UE that writes GTP-U to the gateway would choose its TEID."""
    nested = gtpu(inner("10.45.0.3"), 0x1002, src="10.45.0.2")[14:]
    trace = switch(session(), session(2)).receive(LINKS.access, gtpu(nested))
    assert why(trace) is DropReason.PROTECTED_DESTINATION
    assert [packet.in_port for packet in trace.at(0)] == [
        LINKS.access,
        LINKS.gtpu,
        LINKS.loop_in,
    ]


def test_other_gateways_networks_are_protected_too() -> None:
    other = gateway(
        name="gw2",
        access_ip=IPv4Interface("10.3.0.1/24"),
        core_ip=IPv4Interface("10.4.0.1/24"),
        next_hop=IPv4Address("10.4.0.2"),
        ue_pools=(IPv4Network("10.46.0.0/16"),),
        access_routes=(
            AccessRoute(IPv4Network("10.9.0.0/16"), IPv4Address("10.3.0.254")),
            AccessRoute(IPv4Network("0.0.0.0/0"), IPv4Address("10.3.0.254")),
        ),
    )
    beside, alone = switch(session(), others=(other,)), switch(session())
    for destination in ("10.3.0.7", "10.4.0.1", "10.9.8.7"):
        frame = gtpu(inner(dst=destination))
        assert why(beside.receive(LINKS.access, frame)) is DropReason.PROTECTED_DESTINATION
        only(alone.receive(LINKS.access, frame), LINKS.core)
    # Neither the default route nor the core's subnet may forbid the world.
    for destination in (SERVER, "10.4.0.2", "10.46.0.9"):
        only(beside.receive(LINKS.access, gtpu(inner(dst=destination))), LINKS.core)


def test_own_access_routes_are_protected() -> None:
    route = AccessRoute(IPv4Network("10.9.0.0/16"), IPv4Address("10.1.0.254"))
    gw = switch(session(), access_routes=(route,))
    trace = gw.receive(LINKS.access, gtpu(inner(dst="10.9.8.7")))
    assert why(trace) is DropReason.PROTECTED_DESTINATION


POOLS = (IPv4Network("10.45.0.0/16"), IPv4Network("10.47.0.0/16"))


@pytest.mark.parametrize("ttl", [1, 63, 64, 96, 255])
def test_ue_to_ue(ttl: int) -> None:
    far = session(2, ue_ip=IPv4Address("10.47.0.9"))
    packet = inner(dst=far.ue_ip, ttl=ttl)
    denied = switch(session(), far, ue_pools=POOLS)
    assert why(denied.receive(LINKS.access, gtpu(packet))) is DropReason.UE_TO_UE
    routed = switch(session(), far, ue_pools=POOLS, ue_to_ue="route")
    frame = only(routed.receive(LINKS.access, gtpu(packet)), LINKS.access)
    assert tunnelled(frame) == (ENB, 0x2002, packet)
    absent = routed.receive(LINKS.access, gtpu(inner(dst="10.47.0.10", ttl=ttl)))
    assert why(absent) is DropReason.UNKNOWN_UE


def test_no_next_hop_yet() -> None:
    links = replace(LINKS, peer_mac=None)
    gw = switch(session(), links=links)
    trace = gw.receive(LINKS.access, gtpu(inner()))
    assert why(trace) is DropReason.NEXT_HOP_UNRESOLVED
    assert trace.at(GUARD.number) and trace.at(ROUTE.number)


def test_host_core_gets_packets_for_its_own_mac() -> None:
    links = replace(LINKS, peer_mac="0e:00:00:00:00:09")
    gw = switch(session(), links=links, core_port="host", next_hop=None)
    frame = only(gw.receive(LINKS.access, gtpu(inner())), LINKS.core)
    assert Ether(frame).dst == "0e:00:00:00:00:09"
    assert bytes(Ether(frame)[IP]) == inner()


def test_access_allow() -> None:
    allow = (IPv4Network("10.1.0.2/32"), IPv4Network("10.9.0.0/16"))
    gw = switch(session(), access_allow=allow)
    for peer in (ENB, IPv4Address("10.9.1.1")):
        only(gw.receive(LINKS.access, gtpu(inner(), src=peer)), LINKS.core)
    for peer in (OTHER_ENB, IPv4Address("10.10.0.1")):
        trace = gw.receive(LINKS.access, gtpu(inner(), src=peer))
        assert why(trace) is DropReason.ACCESS_DENIED
    anyone = switch(session(), access_allow=(*allow, IPv4Network("0.0.0.0/0")))
    only(anyone.receive(LINKS.access, gtpu(inner(), src=OTHER_ENB)), LINKS.core)


@pytest.mark.parametrize("sequence", [0, 7, 0x4500, 0x6000])
@pytest.mark.parametrize("ident", [1, 0x4001, 0x6001, 0xFFFF])
def test_extension_headers_go_no_further(sequence: int, ident: int) -> None:
    """The switch takes off too little of these, so their inner packet is out of place.

    What it takes for addresses and type is the sequence number's and the packet's identification.
    """
    gw = switch(session())
    for ttl in (1, 64, 70, 96, 128, 255):
        packet = inner(ttl=ttl, id=ident)
        for flags in (E, E | S, E | PN, E | S | PN):
            frame = gtpu(
                packet,
                0x89ABCDEF,
                flags=flags,
                sequence=sequence,
                extension=0xC0,
                container=bytes.fromhex("01080900"),
            )
            trace = gw.receive(LINKS.access, frame)
            assert why(trace) is DropReason.EXTENSION_HEADER, (ttl, flags)
            # The controller sees whose it is and, unless S is set, the header's type.
            ((_, shown),) = trace.reported
            assert (shown.reg0, shown.reg1) == (0x89ABCDEF, int(ENB))
            numbers = b"" if flags & S else struct.pack("!HBB", sequence, 9, 0xC0)
            assert shown.reg5 == (2 if flags & S else 1)
            assert shown.data[38:].startswith(numbers + bytes.fromhex("01080900") + packet[:20])


@pytest.mark.parametrize("sequence", [0, 7, 0x4500, 0x6000, 0xFFFF])
@pytest.mark.parametrize("ident", [1, 0x4001, 0x6001, 0xFFFF])
@pytest.mark.parametrize("flags", [E, E | PN, E | S, E | S | PN, PN])
def test_room_for_an_extension_header_that_is_not_there(
    sequence: int, ident: int, flags: int
) -> None:
    """E set, and "no more extension headers" (TS 29.281, 5.2.1); or PN alone. It is taken off."""
    gw = switch(session())
    for ttl in (1, 64, 70, 96, 128, 255):
        packet = inner(ttl=ttl, id=ident)
        for size in (len(packet), 24, 20):
            head = packet[:2] + size.to_bytes(2, "big") + packet[4:size]
            frame = gtpu(head, flags=flags, sequence=sequence, extension=0, container=b"")
            trace = gw.receive(LINKS.access, frame)
            if size == 20 and flags & E and flags & S:
                # Too short to be read as IPv6 behind what is put in front.
                assert why(trace) is DropReason.BAD_INNER
                continue
            assert only(trace, LINKS.core)[14:] == head
            [seen] = trace.at(UPLINK.number)
            assert seen.reg3 == 0, "it had no container"


@pytest.mark.parametrize("extension", [0x00, 0x85, 0xFF])
def test_without_e_the_type_means_nothing(extension: int) -> None:
    """In front of it there is room for one all the same (5.1)."""
    frame = bytearray(gtpu(inner(), flags=PN))
    frame[53] = extension
    assert only(switch(session()).receive(LINKS.access, bytes(frame)), LINKS.core)[14:] == inner()


@pytest.mark.parametrize("flags", [E, E | PN, E | S, E | S | PN, PN])
def test_no_ip_packet_and_no_extension_header(flags: int) -> None:
    gw = switch(session())
    for first in (*range(9, 0x40), *range(0x50, 0x60), *range(0x70, 0x100)):
        payload = bytes([first]) + bytes(59)
        trace = gw.receive(LINKS.access, gtpu(payload, flags=flags, extension=0, container=b""))
        hidden = flags & E and flags & S
        assert why(trace) is (DropReason.EXTENSION_HEADER if hidden else DropReason.NOT_IP)


@FLAGS
def test_what_is_no_ip_packet(flags: int) -> None:
    gw = switch(session())
    for first in (*range(0x40), *range(0x50, 0x60), *range(0x70, 0x100)):
        trace = gw.receive(LINKS.access, gtpu(bytes([first]) + bytes(59), flags=flags))
        assert why(trace) is DropReason.NOT_IP


def test_protection_is_stronger_than_a_pool_around_it() -> None:
    wide = (IPv4Network("10.0.0.0/8"),)
    for ue_to_ue in ("deny", "route"):
        gw = switch(session(), ue_pools=wide, ue_to_ue=ue_to_ue)
        for destination in (ACCESS_IP, CORE_IP, ENB):
            trace = gw.receive(LINKS.access, gtpu(inner(dst=destination)))
            assert why(trace) is DropReason.PROTECTED_DESTINATION


def test_a_t_pdu_cannot_pass_for_signalling() -> None:
    mac = bytes.fromhex(LINKS.local_mac.replace(":", ""))
    gw = switch(session())
    for flags in (0, S, S | PN):
        for imitation in (mac + bytes(60), gtpu(b"", 0, kind=1), gtpu(bytes(13), 0, kind=26)):
            trace = gw.receive(LINKS.access, gtpu(imitation, flags=flags))
            assert why(trace) is DropReason.FORGED_SIGNALLING
    for kind in (1, 2, 26, 31, 254):
        for flags in (0, S, E, PN):
            frame = gtpu(b"", 0, kind=kind, flags=flags)
            trace = gw.receive(LINKS.access, frame)
            assert trace.sent == []
            ((cookie, shown),) = trace.reported
            assert cookie == make_cookie(CookieKind.REPORT, Report.SIGNALLING)
            assert shown.data == frame, "the whole outer frame"


@pytest.mark.parametrize("eth_type", ["8847", "8848"])
@pytest.mark.parametrize("flags", [0, S, PN, E, E | S, E | S | PN])
def test_what_reads_as_mpls_gets_no_label(eth_type: str, flags: int) -> None:
    """The switch would abort: in the simulator that is an error of its own."""
    gw = switch(session())
    for first in range(256):
        body = bytearray(first if n == 0 else 0x11 for n in range(60))
        shift = 4 if flags & (E | PN) and not flags & S else 0
        shift += 4 if flags & E else 0
        body[12:14] = bytes.fromhex(eth_type)
        if shift:
            body[12 - shift : 14 - shift] = bytes.fromhex(eth_type)
        why(gw.receive(LINKS.access, gtpu(bytes(body), flags=flags)))


def test_arp_and_ping_for_the_access_address_reach_local() -> None:
    gw = switch()
    question = arp(1, ENB_MAC, ENB, ACCESS_IP)
    trace = gw.receive(LINKS.access, question)
    assert only(trace, Port.LOCAL) == question
    assert trace.reported == [], "who asks for us all the time tells the controller nothing new"
    for op, target in ((2, ACCESS_IP), (1, ENB), (2, ENB)):
        told = arp(op, ENB_MAC, ENB, target)
        trace = gw.receive(LINKS.access, told)
        assert only(trace, Port.LOCAL) == told
        ((cookie, shown),) = trace.reported
        assert cookie == make_cookie(CookieKind.REPORT, Report.ACCESS_ARP)
        assert shown.data == told
    for kind in (8, 0):
        head = bytes(Ether(src=ENB_MAC, dst=LINKS.local_mac, type=IPV4))
        ping = head + echo(ENB, ACCESS_IP, kind)
        assert only(gw.receive(LINKS.access, ping), Port.LOCAL) == ping
    for src, dst, kind in ((ENB, ACCESS_IP, 13), (ENB, CORE_IP, 8)):
        trace = gw.receive(LINKS.access, head + echo(src, dst, kind))
        assert why(trace) is DropReason.ACCESS_OTHER
