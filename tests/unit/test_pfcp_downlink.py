"""Which rule of a session holds a packet for an idle UE, and what its control plane is told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.packet import Packet as Layer
from scapy.packet import Raw

from ofgtp.core.buffer.queue import Bounds
from ofgtp.core.buffer.rules import Inner, read_packet, rule_for
from ofgtp.core.pfcp.downlink import (
    DownlinkFlow,
    Waiting,
    bounds_of,
    delay_of,
    held_by,
    held_flows,
    told_anew,
    waiting,
)
from ofgtp.core.pfcp.rules import rules_of
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, ReportType
from ofgtp.core.sessions.rule import Rule
from tests.support import smf

UE, HOST = "10.45.0.2", "10.2.0.2"
VOICE = f"permit out udp from {HOST} 5004 to assigned"
IDLE, GONE = Action.BUFF | Action.NOCP, Action.DROP | Action.NOCP


def session(default: Action = IDLE, voice: Action = IDLE) -> PfcpSession:
    """PDR 2 and FAR 2 with QFI 9; before it, for voice, PDR 3 and FAR 3 with QFI 5. Voice has had
    a tunnel."""
    of_voice = smf.downlink(UE, pdr_id=3, precedence=10, far_id=3, qer_ids=(2,))
    pdi = of_voice.pdi._replace(sdf_filters=(v.SdfFilter(VOICE),))
    pdrs = smf.uplink(), smf.downlink(UE, qer_ids=(1,)), of_voice._replace(pdi=pdi)
    fars = (
        smf.to_core(),
        smf.to_tunnel(1, "10.1.0.2")._replace(apply_action=default),
        smf.to_tunnel(1, "10.1.0.2", 3)._replace(apply_action=voice),
    )
    qers = smf.qer(9), smf.qer(5, 2)
    fseid = v.FSeid(1, IPv4Address(smf.SMF))
    return PfcpSession(
        IPv4Address(smf.SMF),
        fseid,
        2,
        pdrs={each.pdr_id: each._replace(pdi=_with_teid(each)) for each in pdrs},
        fars={each.far_id: each for each in fars},
        qers={each.qer_id: each for each in qers},
    )


def _with_teid(pdr: g.CreatePdr) -> g.Pdi:
    if not isinstance(pdr.pdi.local_fteid, v.ChooseFTeid):
        return pdr.pdi
    return pdr.pdi._replace(local_fteid=v.FTeid(0x8000_0001, IPv4Address("10.1.0.1")))


def packet(above: Layer, head: Layer | None = None, **changes: object) -> Inner:
    read = read_packet(bytes((head or IP(src=HOST, dst=UE, **changes)) / above))
    assert read is not None
    return read


def of(made: PfcpSession, above: Layer, teid: int = 0, head: Layer | None = None) -> Waiting | None:
    """What a packet's control plane is told of it, which came by a TEID."""
    frame = bytes(14) + bytes((head or IP(src=HOST, dst=UE)) / above)
    rules = [rule for rule in rules_of(made, ipv6=True).rules if not rule.uplink]
    rule = rule_for(rules, teid, frame)
    return None if rule is None else waiting(made, rule)


def test_the_first_rule_that_matches_holds_it() -> None:
    speech = of(session(), UDP(sport=5004, dport=6) / Raw(bytes(9)))
    assert speech is not None
    assert speech == (DownlinkFlow(3, 5), 3)
    report = speech.report()
    assert report.report_type == ReportType.DLDR
    assert report.downlink_data == ((3,), v.DownlinkDataService(qfi=5))
    for other in (UDP(sport=5005, dport=6), TCP(sport=5004, dport=6), ICMP()):
        assert of(session(), other) == (DownlinkFlow(2, 9), 2)
    assert of(session(), ICMP(), 0x8000_0002) == (DownlinkFlow(2, 9), 2), "from another UE"


def test_what_is_not_held_is_not_reported() -> None:
    active = session(default=Action.FORW)
    assert of(active, ICMP()) is None
    assert of(active, UDP(sport=5004)) is not None
    assert of(session(default=Action.BUFF), ICMP()) is None, "without NOCP"
    assert of(session(default=GONE), ICMP()) == (DownlinkFlow(2, 9), 2)


def of_bar(action: Action = IDLE, **bar: Any) -> tuple[PfcpSession, Rule]:
    """A session with a BAR, and its rule that holds packets."""
    made = session(default=action)
    fars = {**made.fars, 2: made.fars[2]._replace(bar_id=1)}
    made = replace(made, fars=fars, bars={1: g.CreateBar(1, **bar)})
    return made, next(rule for rule in rules_of(made).rules if rule.id == "2")


def test_what_a_bar_says() -> None:
    assert held_by(*of_bar()) == Bounds()
    assert held_by(*of_bar(suggested_buffering_packets_count=9)) == Bounds(9)
    assert held_by(*of_bar(GONE)) is None, "told of alone"
    assert held_by(*of_bar(Action.FORW)) is None
    assert delay_of(*of_bar()) == 0
    assert delay_of(*of_bar(downlink_data_notification_delay=40)) == 2


@pytest.mark.parametrize(
    ("octet", "seconds"), [(0x01, 2), (0x21, 60), (0x45, 600), (0x1F, 62), (0xFF, 600), (0xA1, 60)]
)
def test_how_long_an_answer_asks_for(octet: int, seconds: float) -> None:
    """No longer than ten minutes."""
    answer = g.UpdateBarInReportResponse(1, dl_buffering_duration=octet)
    assert bounds_of(answer) == Bounds(1024, seconds)
    few = answer._replace(dl_buffering_suggested_packet_count=7)
    assert bounds_of(few) == Bounds(7, seconds)
    assert bounds_of(g.UpdateBarInReportResponse(1)) is None


def test_all_flows_that_are_held() -> None:
    both = {DownlinkFlow(2, 9), DownlinkFlow(3, 5)}
    assert held_flows(session()) == both
    assert held_flows(session(voice=Action.FORW)) == both - {DownlinkFlow(3, 5)}
    assert held_flows(session(Action.FORW, Action.BUFF)) == frozenset()


def test_a_far_that_is_said_anew() -> None:
    updates = g.UpdateFar(2, IDLE), g.UpdateFar(3, None), smf.moved(1, "10.1.0.2", 4)
    assert told_anew(updates) == {2, 4}


def test_fragments_have_no_ports() -> None:
    """As the switch has it: no flow with ports takes one."""
    speech = bytes(UDP(sport=5004, dport=6) / bytes(20))
    for changes in ({"frag": 3}, {"flags": "MF"}, {"frag": 3, "flags": "MF"}):
        fragment = packet(Raw(speech), proto=17, **changes)
        assert (fragment.host_port, fragment.ue_port, fragment.dscp) == (-1, -1, 0)
    whole = packet(UDP(sport=5004, dport=6), tos=0xB8, options=b"\x01" * 4)
    assert whole == (17, 46, IPv4Address(HOST), IPv4Address(UE), 5004, 6)
    cut = packet(Raw(speech[:3]), proto=17)
    assert (cut.host_port, cut.ue_port) == (0, 0)


HOST6, UE6 = "2001:db8:ffff::1", "2001:db8:a:1::7"
HEAD6 = IPv6(src=HOST6, dst=UE6, tc=0xB9)
SPEECH = UDP(sport=5004, dport=6) / Raw(bytes(20))


@pytest.mark.parametrize(
    ("above", "expected"),
    [
        (SPEECH, (17, 5004, 6)),
        (TCP(sport=80, dport=7), (6, 80, 7)),
        (ICMPv6EchoRequest(), (58, None, None)),
        (IPv6ExtHdrHopByHop() / SPEECH, (17, 5004, 6)),
        (IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(12))]) / SPEECH, (17, 5004, 6)),
        (IPv6ExtHdrRouting(addresses=[HOST6]) / SPEECH, (17, 5004, 6)),
        (AH(payloadlen=4, icv=bytes(12), nh=17) / SPEECH, (17, 5004, 6)),
        (IPv6ExtHdrFragment(nh=17) / SPEECH, (17, 5004, 6)),  # an atomic one (RFC 6946)
        (IPv6ExtHdrFragment(m=1, nh=17) / SPEECH, (17, -1, -1)),
        (IPv6ExtHdrFragment(offset=6, nh=17) / SPEECH, (44, -1, -1)),
        (IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(m=1, nh=17) / SPEECH, (17, -1, -1)),
    ],
)
def test_ipv6_packets(above: Layer, expected: tuple[int, int | None, int | None]) -> None:
    protocol, host_port, ue_port = expected
    read = packet(above, HEAD6.copy())
    assert read[:4] == (protocol, 46, IPv6Address(HOST6), IPv6Address(UE6))
    if host_port is not None:
        assert (read.host_port, read.ue_port) == (host_port, ue_port)


def test_ipv6_packets_whose_headers_have_no_end() -> None:
    whole = bytes(HEAD6.copy() / IPv6ExtHdrHopByHop() / SPEECH)
    for end in range(len(whole)):
        assert (read_packet(whole[:end]) is None) == (end < 40)


def test_rules_for_ipv6() -> None:
    """Both PDRs have the UE's address and prefix; voice is told by a filter of IPv6."""
    made = session()
    ue = v.UeIpAddress(IPv4Address(UE), IPv6Address("2001:db8:a:1::"), destination=True)
    filters = v.SdfFilter(VOICE), v.SdfFilter(f"permit out udp from {HOST6} 5004 to assigned")
    for number in (2, 3):
        pdi = made.pdrs[number].pdi._replace(ue_ip_address=ue)
        if number == 3:
            pdi = pdi._replace(sdf_filters=filters)
        made.pdrs[number] = made.pdrs[number]._replace(pdi=pdi)
    assert of(made, SPEECH, head=HEAD6.copy()) == (DownlinkFlow(3, 5), 3)
    assert of(made, SPEECH) == (DownlinkFlow(3, 5), 3)
    assert of(made, UDP(sport=5005), head=HEAD6.copy()) == (DownlinkFlow(2, 9), 2)
    other = IPv6(src="2001:db8:ffff::2", dst=UE6)
    assert of(made, SPEECH, head=other) == (DownlinkFlow(2, 9), 2)
    assert held_flows(made) == {DownlinkFlow(2, 9), DownlinkFlow(3, 5)}


def test_all_flows_that_are_held_for_a_ue_with_ipv6_alone() -> None:
    made = session()
    ue = v.UeIpAddress(None, IPv6Address("2001:db8:a:1::"), destination=True)
    for number in (2, 3):
        pdi = made.pdrs[number].pdi._replace(ue_ip_address=ue, sdf_filters=())
        made.pdrs[number] = made.pdrs[number]._replace(pdi=pdi)
    assert held_flows(made) == {DownlinkFlow(2, 9), DownlinkFlow(3, 5)}


@pytest.mark.parametrize(
    "octets",
    [b"", bytes(20), bytes(IP())[:19], b"\x60" + bytes(38), b"\x70" + bytes(60), b"\x44" * 40],
)
def test_what_is_no_ip_packet(octets: bytes) -> None:
    assert read_packet(octets) is None
