"""From tunnel to tunnel, through the model of the tables; and what breaks out of a relay."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP

from ofgtp.core.filters import PacketFilter
from ofgtp.core.flows.flow import CookieKind, cookie_kind, make_cookie
from ofgtp.core.flows.pipeline import (
    NORMALISE,
    RELAY,
    RELAY_FORM,
    TOO_BIG_RELAYED_METER,
    UPLINK,
    DropReason,
    Report,
)
from ofgtp.core.model import FTeid, Qos, Session, Uplink
from ofgtp.core.sessions.detail import Relay
from ofgtp.core.sessions.rule import Held, Rule, Source, Tunnel
from tests.support.sample import ENB, FAR, LINKS, OTHER_ENB, detailed, relay, session
from tests.table.simulator import Switch, Trace
from tests.table.test_bearers import sent
from tests.table.test_cache import Way, first_pass
from tests.table.world import (
    GTP,
    PN,
    SERVER,
    E,
    S,
    contained,
    echo,
    from_core,
    gtpu,
    inner,
    inner_ipv6,
    only,
    switch,
    why,
)

UE = IPv4Address("10.45.0.2")
WAYS = pytest.mark.parametrize("way", [1, 2])

UP, DOWN = (0x1001, FTeid(0x6001, FAR)), (0x5001, FTeid(0x2001, ENB))
"""Of each direction: the TEID by which T-PDUs come, and the tunnel by which they leave."""
DIRECTIONS = pytest.mark.parametrize("direction", [UP, DOWN], ids=["uplink", "downlink"])

CONTENT: dict[str, list[bytes]] = {
    "IPv4": [inner(ttl=ttl, size=ttl) for ttl in (1, 63, 64, 79, 80, 95, 96, 111, 112, 255)],
    "IPv6": [
        inner_ipv6(source) for source in ("2001:db8::2", "fe80::1", "4001::1", "6001::1", "::")
    ],
    "no IP": [bytes([first]) * 60 for first in range(0, 256, 5)],
    "nothing": [b"", b"\x45", bytes(7)],
    "MPLS": [bytes(12) + eth_type + bytes(40) for eth_type in (b"\x88\x47", b"\x88\x48")],
    "a frame": [bytes.fromhex(LINKS.local_mac.replace(":", "")) + bytes(60)],
    "a message": [gtpu(b"", 0, kind=1)[14:], gtpu(inner())],
}
EXTENSIONS: dict[str, dict[str, Any]] = {
    "uplink": {"container": bytes.fromhex("01100900")},
    "downlink": {"container": bytes.fromhex("01000900")},
    "two units": {"container": bytes.fromhex("0210090011223300")},
    "17 units": {"container": bytes([17, 0x18, 9]) + bytes(17 * 4 - 4) + b"\0"},
    "two headers": {"container": bytes.fromhex("0110098501000500")},
    "PDCP": {"extension": 0xC0, "container": bytes.fromhex("01123400")},
    "bad": {"container": bytes.fromhex("ff")},
}


def forwarded(trace: Trace) -> bytes:
    """The frame that left for the access side."""
    return contained(only(trace, LINKS.access))


def as_it_came(frame: bytes, to: FTeid) -> bytes:
    """A frame's message with another TEID."""
    return frame[42:46] + to.teid.to_bytes(4, "big") + frame[50:]


def tables(trace: Trace) -> set[int]:
    return {flow.table for flow in trace.flows}


@DIRECTIONS
@WAYS
@pytest.mark.parametrize("content", CONTENT)
@pytest.mark.parametrize("flags", [0, PN])
def test_any_content_goes_on_as_it_came(
    content: str, direction: tuple[int, FTeid], way: int, flags: int
) -> None:
    """In the first pass: nothing of it is parsed, and no octet of the message changes but TEID."""
    gw, (teid, to) = switch(relay(way=way)), direction
    for packet in CONTENT[content]:
        frame = gtpu(packet, teid, flags=flags, src=OTHER_ENB)
        trace = gw.receive(LINKS.access, frame)
        out = forwarded(trace)
        assert out[42:] == as_it_came(frame, to)
        assert IPv4Address(out[30:34]) == to.ip
        assert NORMALISE.number not in tables(trace)


@DIRECTIONS
@WAYS
@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("flags", [E, E | PN])
def test_any_extension_header_goes_on_as_it_came(
    extension: str, direction: tuple[int, FTeid], way: int, flags: int
) -> None:
    gw, (teid, to) = switch(relay(way=way)), direction
    for content in CONTENT.values():
        for packet in content:
            frame = gtpu(packet, teid, flags=flags, sequence=0x1234, **EXTENSIONS[extension])
            out = forwarded(gw.receive(LINKS.access, frame))
            assert out[42:] == as_it_came(frame, to)
            assert IPv4Address(out[30:34]) == to.ip


@given(st.binary(max_size=80), st.sampled_from([0, PN, E, E | PN]), st.sampled_from([UP, DOWN]))
def test_any_octets_go_on_as_they_came(
    octets: bytes, flags: int, direction: tuple[int, FTeid]
) -> None:
    teid, to = direction
    frame = gtpu(octets, teid, flags=flags)
    out = forwarded(BOTH.receive(LINKS.access, frame))
    assert out[42:] == as_it_came(frame, to)


BOTH = switch(relay(), session(2))


@DIRECTIONS
@WAYS
@pytest.mark.parametrize("flags", [S, S | PN])
def test_with_a_sequence_number_the_long_way(
    direction: tuple[int, FTeid], way: int, flags: int
) -> None:
    """By the patch: out goes a T-PDU without the number, right in all else."""
    gw, (teid, to) = switch(relay(way=way)), direction
    for packet in (*CONTENT["IPv4"], *CONTENT["IPv6"]):
        frame = gtpu(packet, teid, flags=flags)
        trace = gw.receive(LINKS.access, frame)
        out = forwarded(trace)
        assert out[42:] == GTP.pack(0x30, 255, len(packet), to.teid) + packet
        assert IPv4Address(out[30:34]) == to.ip
        assert RELAY.number not in tables(trace)
    for packet in CONTENT["no IP"]:
        if packet[0] >> 4 not in (4, 6):
            trace = gw.receive(LINKS.access, gtpu(packet, teid, flags=flags))
            assert why(trace) is DropReason.NOT_IP


@DIRECTIONS
@WAYS
@pytest.mark.parametrize("flags", [E | S, E | S | PN])
def test_with_a_number_and_a_container_the_long_way(
    direction: tuple[int, FTeid], way: int, flags: int
) -> None:
    """The QFI stays; a container of one unit goes out, of the type that came uplink."""
    gw, (teid, to) = switch(relay(way=way)), direction
    for qfi in (0, 1, 2, 9, 10, 62, 63):
        for units in (1, 2, 5):
            container = bytes([units, 0x10, qfi]) + bytes(4 * units - 3)
            for packet in (inner(), inner(ttl=64), inner_ipv6()):
                frame = gtpu(packet, teid, flags=flags, container=container)
                out = forwarded(gw.receive(LINKS.access, frame))
                optional = bytes.fromhex("00000085") + bytes([1, 0x10, qfi, 0])
                head = GTP.pack(0x34, 255, len(optional + packet), to.teid)
                assert out[42:] == head + optional + packet


@DIRECTIONS
def test_what_of_them_the_switch_cannot_send_on_is_counted(direction: tuple[int, FTeid]) -> None:
    """A sequence number, and an extension header that is no uplink container."""
    gw, (teid, _) = switch(relay()), direction
    for name in ("downlink", "two headers", "PDCP", "bad"):
        frame = gtpu(inner(), teid, flags=E | S, **EXTENSIONS[name])
        assert why(gw.receive(LINKS.access, frame)) in (
            DropReason.EXTENSION_HEADER,
            DropReason.EXTENSION_CHAIN,
            DropReason.BAD_CONTAINER,
        )


@DIRECTIONS
@pytest.mark.parametrize("tos", [0, 2, 1, 3])
@pytest.mark.parametrize("pdu_type", [0x10, 0x00])
def test_marked_packets_of_relays(direction: tuple[int, FTeid], tos: int, pdu_type: int) -> None:
    """ECT(1) and CE of the outer header take the long way, since they go into the inner packet."""
    gw, (teid, to) = switch(relay()), direction
    capable, container = inner(tos=2), bytes([1, pdu_type, 9, 0])
    frame = gtpu(capable, teid, tos=tos, flags=E, container=container, sequence=0)
    out = forwarded(gw.receive(LINKS.access, frame))
    assert out[50:58] == bytes.fromhex("00000085" if tos & 1 else "00000985") + container
    ip = IP(out[58:])
    assert ip.tos & 3 == (tos if tos & 1 else 2)
    assert bytes(ip)[20:] == capable[20:]
    assert out[46:50] == to.teid.to_bytes(4, "big")


def test_only_t_pdus_are_relayed() -> None:
    """An End Marker, say, is the controller's to send on."""
    gw = switch(relay())
    for kind in (1, 2, 26, 31, 254):
        for flags in (0, S, E, PN):
            frame = gtpu(b"", 0x5001, kind=kind, flags=flags)
            trace = gw.receive(LINKS.access, frame)
            assert trace.sent == []
            [(cookie, shown)] = trace.reported
            assert cookie_kind(cookie) is CookieKind.REPORT
            assert shown.data == frame


@pytest.mark.parametrize("first", [0x20, 0x24, 0x50, 0x70, 0x90, 0xB4, 0x00, 0x10])
def test_no_other_protocol_is_relayed(first: int) -> None:
    """Versions but 1, and GTP'."""
    gw = switch(relay())
    for packet in (inner(), inner(ttl=64), inner(ttl=96)):
        trace = gw.receive(LINKS.access, gtpu(packet, 0x1001, first=first))
        assert why(trace) in (DropReason.WRONG_VERSION, DropReason.GTP_PRIME)


@WAYS
@pytest.mark.parametrize("flags", [0, PN, E, E | PN, S, E | S])
def test_only_its_own_peer_where_it_is_pinned(flags: int, way: int) -> None:
    gw = switch(relay(uplink=Uplink(0x1001, ENB), way=way))
    frame = gtpu(inner(), flags=flags, src=ENB)
    assert IPv4Address(forwarded(gw.receive(LINKS.access, frame))[30:34]) == FAR
    trace = gw.receive(LINKS.access, gtpu(inner(), flags=flags & ~PN, src=OTHER_ENB))
    assert why(trace) is DropReason.NO_UPLINK_SESSION
    # The core side is not pinned.
    trace = gw.receive(LINKS.access, gtpu(inner(), 0x5001, flags=flags, src=OTHER_ENB))
    assert IPv4Address(forwarded(trace)[30:34]) == ENB


@WAYS
@pytest.mark.parametrize("flags", [0, PN, E, E | PN, S, E | S])
@pytest.mark.parametrize("content", ["IPv4", "IPv6"])
def test_each_direction_may_be_stopped(flags: int, content: str, way: int) -> None:
    idle, deaf = relay(downlink=None, way=way), relay(error_indicated=True, way=way)
    lost = replace(relay(way=way), error_indicated=True)
    for packet in CONTENT[content]:
        for one, teid, reason in (
            (idle, 0x5001, DropReason.IDLE_UE),
            (lost, 0x5001, DropReason.ERROR_INDICATED),
            (deaf, 0x1001, DropReason.ERROR_INDICATED),
        ):
            gw = switch(one)
            assert why(gw.receive(LINKS.access, gtpu(packet, teid, flags=flags))) is reason
            other = 0x1001 if teid == 0x5001 else 0x5001
            forwarded(gw.receive(LINKS.access, gtpu(packet, other, flags=flags)))
    # What is not even unwrapped is counted as well.
    if not flags & S:
        for packet in CONTENT["no IP"]:
            trace = switch(idle).receive(LINKS.access, gtpu(packet, 0x5001, flags=flags))
            assert why(trace) is DropReason.IDLE_UE


LONGEST = 14 + LINKS.access_mtu
FORMS = {0: (0, 0), PN: (4, 0), E: (8, 0), E | PN: (8, 0), S: (4, 4), S | PN: (4, 4), E | S: (8, 0)}
"""By the flags, with a container if they have E: octets in front of the packet, and how many fewer
are in front of what leaves."""


def long(size: int, teid: int, flags: int, src: object = "10.45.0.2", **ip: int) -> bytes:
    """A T-PDU in a frame of that size."""
    in_front, _ = FORMS[flags]
    packet = inner(src, size=size - (14 + 20 + 8 + 8 + in_front) - 28, tos=2)
    frame = gtpu(packet, teid, flags=flags, **ip)
    assert len(frame) == size
    return frame


@DIRECTIONS
@WAYS
@pytest.mark.parametrize("flags", FORMS)
@pytest.mark.parametrize("tos", [0, 1, 3])
def test_what_does_not_fit_does_not_leave(
    direction: tuple[int, FTeid], way: int, flags: int, tos: int
) -> None:
    """A frame that is longer than the MTU may come, and would take others along if it left."""
    gw, (teid, _) = switch(relay(way=way)), direction
    less = FORMS[flags][1] if not tos else FORMS[flags][0] - (8 if flags & E else 0)
    for size in range(LONGEST - 1, LONGEST + 9):
        trace = gw.receive(LINKS.access, long(size, teid, flags, tos=tos))
        if size - less <= LONGEST:
            assert len(forwarded(trace)) == size - less
        else:
            assert why(trace) is DropReason.TOO_BIG
            assert trace.flows[-1].meter == TOO_BIG_RELAYED_METER.number
            assert trace.reported == []


@WAYS
def test_what_does_not_fit_of_a_ues_packets(way: int) -> None:
    gw = switch(broken_out(way=way))
    for flags, (in_front, _) in FORMS.items():
        less = in_front - (8 if flags & E else 0)
        for size in range(LONGEST - 1, LONGEST + 9):
            trace = gw.receive(LINKS.access, long(size, 0x1001, flags))
            if size - less <= LONGEST:
                assert len(forwarded(trace)) == size - less
            else:
                assert why(trace) is DropReason.TOO_BIG


def test_what_does_not_fit_with_a_container_in_front() -> None:
    """Its sender is told nothing: who sent what is in a tunnel is not known."""
    gw = ruled(Rule("1", Source.CORE, 1, Tunnel(DOWN[1], 9), 0x5001))
    for flags, (in_front, _) in FORMS.items():
        for size in range(LONGEST - 9, LONGEST + 5):
            left = size - in_front + 8
            trace = gw.receive(LINKS.access, long(size, 0x5001, flags))
            if left <= LONGEST:
                assert len(forwarded(trace)) == left
            else:
                assert why(trace) is DropReason.TOO_BIG
                assert trace.flows[-1].meter == TOO_BIG_RELAYED_METER.number
                assert trace.reported == []


def test_two_relays_and_a_session_beside_each_other() -> None:
    other = relay(
        2,
        downlink=FTeid(0x2002, OTHER_ENB),
        relay=Relay(0x5002, FTeid(0x6001, OTHER_ENB)),  # the TEID of the first, elsewhere
        way=2,
    )
    gw = switch(relay(), other, session(3))
    for flags in (0, E, S):
        for teid, to in (
            UP,
            DOWN,
            (0x1002, FTeid(0x6001, OTHER_ENB)),
            (0x5002, FTeid(0x2002, OTHER_ENB)),
        ):
            out = forwarded(gw.receive(LINKS.access, gtpu(inner(), teid, flags=flags)))
            assert (out[46:50], out[30:34]) == (to.teid.to_bytes(4, "big"), to.ip.packed)
        packet = inner("10.45.0.4")
        assert only(gw.receive(LINKS.access, gtpu(packet, 0x1003, flags=flags)), LINKS.core)
        trace = gw.receive(LINKS.access, gtpu(packet, 0x1004, flags=flags))
        assert why(trace) is DropReason.NO_UPLINK_SESSION


def test_a_relay_of_any_content_has_no_way_from_the_core_port() -> None:
    gw = switch(relay())
    assert why(gw.receive(LINKS.core, from_core(inner(SERVER, UE)))) is DropReason.UNKNOWN_UE


# --- as a control plane makes them


def ruled(*rules: Rule) -> Switch:
    return switch(detailed(rules=rules, uplink=None, downlink=None, ue_ip=None))


@pytest.mark.parametrize("flags", [0, S, PN, E, E | S])
@pytest.mark.parametrize("octet", [1, 2, 9, 0x49, 63])
def test_a_relay_that_puts_a_container_in_front(flags: int, octet: int) -> None:
    """As from S5 to N3: what came with one gets the new one in its place."""
    gw = ruled(Rule("1", Source.CORE, 1, Tunnel(DOWN[1], octet), 0x5001))
    for packet in (inner(), inner(ttl=64), inner(ttl=96)):
        trace = gw.receive(LINKS.access, gtpu(packet, 0x5001, flags=flags))
        assert sent(trace) == (*(DOWN[1].ip, DOWN[1].teid), octet, packet)


@pytest.mark.parametrize("flags", [0, S, PN, E, E | S])
def test_what_is_held_is_shown_to_the_controller(flags: int) -> None:
    gw = ruled(Rule("1", Source.CORE, 1, Held(), 0x5001))
    for packet in (inner(), inner_ipv6()):
        trace = gw.receive(LINKS.access, gtpu(packet, 0x5001, flags=flags))
        assert trace.sent == []
        [(cookie, shown)] = trace.reported
        assert cookie == make_cookie(CookieKind.REPORT, Report.HELD)
        assert shown.data[14:] == packet
        assert shown.reg6 >> 7 & 0xF == 1, "the session's slot says whose it is"


def test_what_is_held_from_the_core_port() -> None:
    held = Rule("1", Source.CORE, 2, Held(), ue=(IPv4Network(UE),))
    passes = Rule(
        "2", Source.CORE, 1, Tunnel(DOWN[1]), ue=held.ue, filters=(PacketFilter(protocol=1),)
    )
    for gw in (ruled(held), ruled(passes, held)):
        trace = gw.receive(LINKS.core, from_core(inner(SERVER, UE)))
        assert trace.sent == []
        [(cookie, shown)] = trace.reported
        assert cookie == make_cookie(CookieKind.REPORT, Report.HELD)
        assert shown.data[14:] == inner(SERVER, UE)
    ping = echo(SERVER, UE)
    assert sent(gw.receive(LINKS.core, from_core(ping))).packet == ping


# --- the cache


FLAGS_SENT = 0x30 | E | S | PN
"""Those of the octet that say what follows; with the version's other bits all that are defined."""


@pytest.mark.parametrize("flags", [0, PN, E, E | PN])
@pytest.mark.parametrize("ttl", [63, 64, 96])
def test_packets_with_other_flags_are_never_of_one_class(flags: int, ttl: int) -> None:
    """The flags of the first packet of a cached class go out on all of it: each must be asked for.

    Reckoned as in test_cache: tables of flows that must have been looked through before a match.
    """
    trace = BOTH.receive(LINKS.access, gtpu(inner(ttl=ttl), flags=flags))
    way = Way(BOTH, first_pass(trace))
    asked = 0
    for met in way.flows:
        if met.table != RELAY_FORM.number:
            continue
        typed = {c.value for c in met.match if c.field == "packet_type"}
        for priority, flows in BOTH.tables[met.table].items():
            for flow in flows:
                same = {c.value for c in flow.match if c.field == "packet_type"} == typed
                if same and (-priority > met.priority or flow is met):
                    asked |= sum(c.value for c in flow.match if c.field == "tun_gtpu_flags")
    assert asked & FLAGS_SENT == FLAGS_SENT
    assert asked & 0xC0 == 0xC0, "versions"


# --- breakout

EDGE = IPv4Network("10.3.0.0/16")
INSIDE, OUTSIDE = IPv4Address("10.3.4.5"), SERVER


def broken_out(**changes: Any) -> Session:
    return relay(**{"ue_ip": UE, "breakout": (EDGE, IPv4Network("203.0.113.7")), **changes})


@WAYS
@pytest.mark.parametrize("flags", [0, S, S | PN, E, E | PN, E | S])
def test_what_breaks_out_and_what_does_not(flags: int, way: int) -> None:
    gw = switch(broken_out(way=way))
    for ttl in (1, 63, 64, 79, 96, 128, 255):
        for target, local in (
            (INSIDE, True),
            ("203.0.113.7", True),
            (OUTSIDE, False),
            ("203.0.113.8", False),
            ("10.4.0.1", False),
        ):
            packet = inner(dst=target, ttl=ttl)
            if flags == E | PN or flags == E:
                frame = gtpu(packet, flags=flags, container=bytes.fromhex("01100900"))
            else:
                frame = gtpu(packet, flags=flags)
            trace = gw.receive(LINKS.access, frame)
            if local:
                assert only(trace, LINKS.core)[14:] == packet
                continue
            out = forwarded(trace)
            assert IPv4Address(out[30:34]) == FAR
            optional = bytes.fromhex("0000008501100900") if flags & E else b""
            head = GTP.pack(0x34 if flags & E else 0x30, 255, len(optional + packet), 0x6001)
            assert out[42:] == head + optional + packet


@WAYS
def test_each_qfi_is_kept_for_what_does_not_break_out(way: int) -> None:
    gw = switch(broken_out(way=way))
    packet = inner(dst=OUTSIDE)
    for qfi in range(64):
        for flags in (E, E | S):
            frame = gtpu(packet, flags=flags, container=bytes([1, 0x10, qfi, 0]))
            out = forwarded(gw.receive(LINKS.access, frame))
            assert out[50:58] == bytes.fromhex("000000850110") + bytes([qfi, 0])
            assert out[58:] == packet


@WAYS
def test_what_comes_back(way: int) -> None:
    """From the core port into the UE's tunnel, with the session's QFI; from the core's as it is."""
    for qos, octet in ((None, None), (Qos(9, rqi=True), 0x49)):
        gw = switch(broken_out(way=way, qos=qos))
        packet = inner(INSIDE, UE)
        assert sent(gw.receive(LINKS.core, from_core(packet))) == (ENB, 0x2001, octet, packet)
        for content in ("IPv4", "IPv6", "no IP"):
            for each in CONTENT[content]:
                frame = gtpu(each, 0x5001, flags=E, container=bytes.fromhex("01000500"))
                out = forwarded(gw.receive(LINKS.access, frame))
                assert out[42:] == as_it_came(frame, DOWN[1])


@WAYS
def test_only_packets_of_the_ue_are_relayed_then(way: int) -> None:
    gw = switch(broken_out(way=way))
    for packet in (inner("10.45.0.3", OUTSIDE), inner("10.45.0.3", INSIDE)):
        assert why(gw.receive(LINKS.access, gtpu(packet))) is DropReason.NO_UPLINK_SESSION
    assert why(gw.receive(LINKS.access, gtpu(inner_ipv6()))) is DropReason.INNER_IPV6


@WAYS
def test_what_breaks_out_is_asked_for_its_container(way: int) -> None:
    gw = switch(broken_out(way=way, qos=Qos(9, check=True)))
    packet = inner(dst=INSIDE)
    assert only(gw.receive(LINKS.access, gtpu(packet, flags=E)), LINKS.core)[14:] == packet
    assert why(gw.receive(LINKS.access, gtpu(packet))) is DropReason.CONTAINER_MISSING
    other = gtpu(packet, flags=E, container=bytes.fromhex("01100a00"))
    assert why(gw.receive(LINKS.access, other)) is DropReason.WRONG_QFI


@WAYS
def test_a_stopped_core_side_stops_the_rest_alone(way: int) -> None:
    gw = switch(broken_out(way=way, error_indicated=True))
    assert only(gw.receive(LINKS.access, gtpu(inner(dst=INSIDE))), LINKS.core)
    stopped = gw.receive(LINKS.access, gtpu(inner(dst=OUTSIDE)))
    assert why(stopped) is DropReason.ERROR_INDICATED
    idle = switch(broken_out(way=way, downlink=None))
    for trace in (
        idle.receive(LINKS.core, from_core(inner(INSIDE, UE))),
        idle.receive(LINKS.access, gtpu(inner(), 0x5001)),
    ):
        assert why(trace) is DropReason.IDLE_UE
    assert (
        IPv4Address(forwarded(idle.receive(LINKS.access, gtpu(inner(dst=OUTSIDE))))[30:34]) == FAR
    )


@WAYS
def test_where_no_ue_may_send_nothing_breaks_out(way: int) -> None:
    """A prefix around a protected network does not open it."""
    around = (IPv4Network("10.0.0.0/8"),)
    gw = switch(broken_out(way=way, breakout=around))
    for target in ("10.1.0.1", "10.1.0.2", "10.2.0.1"):
        for packet in (inner(dst=target), echo(UE, target)):
            trace = gw.receive(LINKS.access, gtpu(packet))
            assert why(trace) is DropReason.PROTECTED_DESTINATION
    assert why(gw.receive(LINKS.access, gtpu(inner(dst="10.45.0.3")))) is DropReason.UE_TO_UE


def test_every_flow_of_a_relay_is_met_by_a_packet() -> None:
    """Each is there for something: by flags, type of packet and direction."""
    one = relay()
    gw: Switch = switch(one)
    met = {
        flow
        for teid in (0x1001, 0x5001)
        for flags in (0, PN, E, S)
        for ttl in (63, 64, 96)
        for flow in gw.receive(LINKS.access, gtpu(inner(ttl=ttl), teid, flags=flags)).flows
        if cookie_kind(flow.cookie) is CookieKind.SESSION
    }
    every = {
        flow
        for table in (RELAY, UPLINK)
        for flows in gw.tables[table.number].values()
        for flow in flows
        if cookie_kind(flow.cookie) is CookieKind.SESSION
    }
    assert met == every
    assert len(every) == 4
