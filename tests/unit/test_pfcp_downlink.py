"""Which rule of a session holds a packet for an idle UE, and what its control plane is told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Packet as Layer
from scapy.packet import Raw

from ofgtp.core.buffer.queue import Bounds
from ofgtp.core.buffer.rules import read_packet, rule_for
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
from ofgtp.core.trace.probe import Packet
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


def packet(above: Layer, **changes: object) -> Packet:
    read = read_packet(bytes(IP(src=HOST, dst=UE, **changes) / above))
    assert read is not None
    return read


def of(made: PfcpSession, above: Layer, teid: int = 0) -> Waiting | None:
    """What a packet's control plane is told of it, which came by a TEID."""
    frame = bytes(14) + bytes(IP(src=HOST, dst=UE) / above)
    rules = [rule for rule in rules_of(made).rules if not rule.uplink]
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


def test_later_fragments_have_no_ports() -> None:
    fragment = packet(Raw(b"\x13\x8c\x00\x06" + bytes(20)), proto=17, frag=3)
    assert (fragment.ports, fragment.dscp) == ((0, 0), 0)
    first = packet(UDP(sport=5004, dport=6), tos=0xB8, options=b"\x01" * 4)
    assert (first.ports, first.dscp, first.number) == ((5004, 6), 46, 17)


@pytest.mark.parametrize("octets", [b"", bytes(20), bytes(IP())[:19], b"\x60" + bytes(40)])
def test_what_is_no_ipv4_packet(octets: bytes) -> None:
    assert read_packet(octets) is None
