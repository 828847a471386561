"""A control plane drives a real switch by PFCP: associations, sessions, handover, restarts."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, Gate, Interface, ModificationFlags, RuleKind
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.messages import (
    HeartbeatRequest,
    NodeReportResponse,
    SessionDeletionRequest,
    SessionEstablishmentRequest,
    SessionModificationRequest,
    SessionReportResponse,
    read,
    write,
)
from ofgtp.core.sessions.rules import METERS_FROM
from tests.support import gtpu, paging, smf
from tests.support import ownership as own
from tests.support.answers import said
from tests.support.gtpu import END_MARKER
from tests.support.lab import Lab
from tests.support.peer import pong
from tests.support.pfcp import procedures, rewritten
from tests.support.pfcp_damage import damaged
from tests.support.site import ACCESS_IP, BRIDGE, ENB_IP, PDN_IP, Site, is_echo, is_gtpu, until
from tests.support.smf import ControlPlane, PfcpSession
from tests.support.stream import SESSION, Stream

pytestmark = pytest.mark.switch

ENB, ENB2 = ENB_IP["enb"], ENB_IP["enb2"]
DOWN, OTHER_DOWN = 0x2001, 0x2002
VOICE = "permit out udp from 10.2.0.2 5004 to assigned"

_ues = (f"10.45.7.{number}" for number in itertools.count(2))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        smf.n4(lab)
        site = Site(lab, lab.config(controller=own.SWITCH, gateway=smf.CONFIG))
        site.ready()
        yield site
        site.alive()
        site.check_sent()


@pytest.fixture(scope="module")
def cp(site: Site) -> Iterator[ControlPlane]:
    with ControlPlane(site.lab) as cp:
        associated = cp.associate()
        assert (associated.cause, associated.node_id) == (1, IPv4Address(smf.UPF))
        assert associated.recovery_time_stamp == cp.heartbeat()
        yield cp
        assert smf.judge(cp)


@pytest.fixture
def ue() -> str:
    return next(_ues)


def plain(cp: ControlPlane, ue: str, teid: int = DOWN, **more: Any) -> PfcpSession:
    """A session with the tunnel of a base station, without containers."""
    pdrs = smf.uplink(), smf.downlink(ue)
    return cp.establish(pdrs, (smf.to_core(), smf.to_tunnel(teid, ENB)), **more)


def name(session: PfcpSession) -> str:
    return f"pfcp-{session.up_seid:016x}"


def udp(source: str, target: str, port: int, to: int, payload: bytes = bytes(60)) -> bytes:
    return bytes(IP(src=source, dst=target) / UDP(sport=port, dport=to) / Raw(payload))


def up(
    site: Site,
    teid: int,
    ue: str,
    *,
    qfi: int | None = None,
    enb: str = "enb",
    inner: bytes | None = None,
) -> list[bytes]:
    """What comes out at the core host of a packet of a UE's."""
    inner = inner or gtpu.ipv4(ue, PDN_IP)
    gtp = gtpu.t_pdu(teid, inner)
    if qfi is not None:
        container = bytes((1, 0x10, qfi, 0))
        gtp = gtpu.message(gtpu.T_PDU, teid, container + inner, flags=0x34, extension=0x85)
    return [frame[14:] for frame in site.uplink(site.from_enb(gtp, enb=enb), enb=enb)]


def down(site: Site, ue: str, teid: int, enb: str = "enb", packet: bytes | None = None) -> bytes:
    """What a base station gets, behind the GTP-U header, of a packet to a UE; the first may only
    have the switch ask for the base station's MAC address."""
    packet = packet or gtpu.ipv4(PDN_IP, ue)
    got: list[bytes] = []

    def arrived() -> bool:
        site.pdn.send(site.to_ue(packet))
        got.extend(each for each in site.enbs[enb].all(0.05) if is_gtpu(each, teid))
        return bool(got)

    until(arrived, f"packets to {ue} reach {enb}")
    read = gtpu.decode(got[-1])
    assert read.teid == teid
    assert read.inner.endswith(packet)
    return read.inner[: -len(packet)]


def told_what_fits(site: Site, ue: str, most: int) -> None:
    """A packet's sender, whether a container makes it too long or it is so without."""
    for size in (most + 8, 1500):
        site.pdn.all()
        site.pdn.send(site.to_ue(gtpu.ipv4(PDN_IP, ue, size=size, flags="DF")))
        told: list[IP] = []
        until(
            lambda told=told: told.extend(map(icmp, site.pdn.all(0.05))) or any(told),  # type: ignore[misc]
            "Fragmentation Needed",
        )
        [notice] = filter(None, told)
        assert (notice[ICMP].type, notice[ICMP].code, notice[ICMP].nexthopmtu) == (3, 4, most)


def icmp(frame: bytes) -> Packet | None:
    read = Ether(frame)
    return read[IP] if ICMP in read else None


# --- a session's life


def test_packets_flow_both_ways(site: Site, cp: ControlPlane, ue: str) -> None:
    pdrs = smf.uplink(9, qer_ids=(1,)), smf.downlink(ue, qer_ids=(1,))
    fars = smf.to_core(), smf.idle()
    session = cp.establish(pdrs, fars, create_qers=(smf.qer(9),), create_bars=(g.CreateBar(1),))
    assert set(session.teids) == {1}
    teid = session.teids[1]
    assert teid >= 1 << 31
    paging.hold(site, gtpu.ipv4(PDN_IP, ue))
    assert session.modify(update_fars=(smf.moved(DOWN, ENB),)).cause == 1
    assert up(site, teid, ue, qfi=9) == [gtpu.ipv4(ue, PDN_IP)]
    assert down(site, ue, DOWN) == bytes((1, 0, 9, 0)), "a container with the QFI"
    told_what_fits(site, ue, 1500 - 36 - 8)
    with site.counted(wrong_bearer=1):
        assert up(site, teid, ue, qfi=8) == []
    with site.counted(no_uplink_session=1, seen_spoofed_source=1):
        assert up(site, teid, "10.45.7.250", qfi=9) == []
    # idle, and back by the stored parameters
    assert session.modify(update_fars=(g.UpdateFar(2, Action.BUFF | Action.NOCP),)).cause == 1
    paging.hold(site, gtpu.ipv4(PDN_IP, ue))
    assert session.modify(update_fars=(g.UpdateFar(2, Action.FORW),)).cause == 1
    assert down(site, ue, DOWN)
    assert session.delete().cause == 1
    until(lambda: not up(site, teid, ue, qfi=9), "the session ends")
    with site.counted(no_uplink_session=1, unknown_ue=1, seen_unknown_teid=1):
        assert up(site, teid, ue, qfi=9) == []
        assert site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, ue))) == []
    assert session.delete().cause == 65


def test_a_handover_and_its_end_marker(site: Site, cp: ControlPlane, ue: str) -> None:
    session = plain(cp, ue)
    down(site, ue, DOWN)
    for wire in site.enbs.values():
        wire.all()
    update = smf.moved(OTHER_DOWN, ENB2, flags=ModificationFlags.SNDEM)
    assert session.modify(update_fars=(update,)).cause == 1
    down(site, ue, OTHER_DOWN, "enb2")
    assert up(site, session.teids[1], ue, enb="enb2")
    heard: list[Any] = []

    def told() -> bool:
        heard.extend(said(site.enb.all(0.05), [END_MARKER]))
        return bool(heard)

    until(told, "the End Marker comes")
    # The flag may stay set: no tunnel changes, and nobody is told.
    assert session.modify(update_fars=(update,)).cause == 1
    assert session.modify(update_fars=(smf.moved(DOWN, ENB),)).cause == 1, "without the flag"
    down(site, ue, DOWN)
    time.sleep(1)
    heard += [each for wire in site.enbs.values() for each in said(wire.all(), [END_MARKER])]
    assert [(each.to, each.teid) for each in heard] == [(ENB, DOWN)]
    session.delete()


def test_an_error_indication_is_reported(site: Site, cp: ControlPlane, ue: str) -> None:
    session = plain(cp, ue)
    down(site, ue, DOWN)
    body = b"\x10" + DOWN.to_bytes(4, "big") + b"\x85\x00\x04" + IPv4Address(ENB).packed
    frame = site.from_enb(gtpu.message(gtpu.ERROR_INDICATION, 0, body, flags=0x32))
    site.enb.send(frame)
    data = cp.receive(5)
    assert data is not None
    header, report = read(data)
    assert (header.type, header.seid) == (56, session.cp_seid)
    told: Any = report
    assert told.report_type == 4
    assert told.error_indication.remote_fteids == (v.FTeid(DOWN, IPv4Address(ENB)),)
    cp.send(write(SessionReportResponse(1), header.sequence, session.up_seid))
    site.enb.send(frame)
    assert cp.receive(3) is None, "told once"
    shown = site.lab.http("GET", f"/v1/sessions/{name(session)}").json()
    assert shown["state"] == "active"
    assert session.modify(update_fars=(g.UpdateFar(2, Action.BUFF | Action.NOCP),)).cause == 1
    assert session.modify(update_fars=(g.UpdateFar(2, Action.FORW),)).cause == 1
    site.enb.send(frame)
    again = cp.receive(5)
    assert again is not None, "after a change it is told again"
    header, _ = read(again)
    assert header.type == 56
    # not answered it comes again, and ends with the session
    assert cp.receive(5) == again
    assert session.delete().cause == 1
    assert cp.receive(3) is None


def reported(cp: ControlPlane, session: PfcpSession) -> tuple[int, int | None]:
    """PDR and QFI of a Downlink Data Report, which is accepted."""
    data = cp.receive(10)
    assert data is not None
    header, report = read(data)
    assert (header.type, header.seid) == (56, session.cp_seid)
    told: Any = report
    assert told.report_type == 1
    cp.send(write(SessionReportResponse(1), header.sequence, session.up_seid))
    [pdr], service = told.downlink_data
    return pdr, None if service is None else service.qfi


def test_packets_for_an_idle_ue_are_reported_once(site: Site, cp: ControlPlane, ue: str) -> None:
    """For each QoS flow, until the control plane says anew what becomes of them."""
    voice = smf.downlink(ue, pdr_id=3, precedence=10, qer_ids=(2,))
    voice = voice._replace(pdi=voice.pdi._replace(sdf_filters=(v.SdfFilter(VOICE),)))
    pdrs = smf.uplink(), smf.downlink(ue, qer_ids=(1,)), voice
    fars = smf.to_core(), smf.to_tunnel(DOWN, ENB)
    session = cp.establish(pdrs, fars, create_qers=(smf.qer(9), smf.qer(1, 2)))
    assert down(site, ue, DOWN)
    idle = g.UpdateFar(2, Action.BUFF | Action.NOCP)
    assert session.modify(update_fars=(idle,)).cause == 1
    site.empty_cache()
    ping, speech = (site.to_ue(each) for each in (gtpu.ipv4(PDN_IP, ue), udp(PDN_IP, ue, 5004, 6)))
    assert site.downlink(ping) == site.downlink(ping) == []
    assert reported(cp, session) == (2, 9)
    assert site.downlink(speech) == site.downlink(speech) == []
    assert reported(cp, session) == (3, 1)
    assert session.modify(update_qers=(g.UpdateQer(1, mbr=v.Bitrates(900, 900)),)).cause == 1
    site.downlink(ping)
    site.downlink(speech)
    assert cp.receive(3) is None, "nothing new was said of them"
    assert session.modify(update_fars=(idle,)).cause == 1
    site.downlink(speech)
    assert reported(cp, session) == (3, 1)
    assert session.modify(update_fars=(g.UpdateFar(2, Action.FORW),)).cause == 1
    site.empty_cache()
    assert down(site, ue, DOWN)
    assert session.modify(update_fars=(idle,)).cause == 1
    site.empty_cache()
    site.downlink(ping)
    first = cp.receive(10)
    assert first is not None
    assert cp.receive(10) == first, "what is not answered comes again"
    other = cp.establish((smf.uplink(), smf.downlink(ue)), (smf.to_core(), smf.idle()))
    assert session.modify().cause == 65, "another has taken its place"
    assert cp.receive(3) is None, "and it ends with the session"
    other.delete()


def test_packets_for_a_relays_idle_ue_are_reported(site: Site, cp: ControlPlane) -> None:
    """An SGW-C's, which come in a tunnel; what it has of the other direction is not."""
    pdrs = (
        g.CreatePdr(1, None, g.Pdi(Interface.CORE, v.ChooseFTeid()), None, 1),
        g.CreatePdr(2, None, g.Pdi(Interface.ACCESS, v.ChooseFTeid()), None, 2),
    )
    session = cp.establish(pdrs, (smf.idle(1), smf.idle(2)))
    inner = gtpu.ipv4("198.51.100.7", "10.45.9.9")
    with site.counted(idle_ue=1):
        for pdr in (2, 1, 1):
            site.enb.send(site.from_enb(gtpu.t_pdu(session.teids[pdr], inner)))
        assert reported(cp, session) == (1, None)
    assert cp.receive(1) is None
    session.delete()


def test_a_flow_of_its_own_qfi_and_rate(site: Site, cp: ControlPlane, ue: str) -> None:
    """As an SMF adds a QoS flow: filters, one of them by its number alone, and no keys downlink."""
    pdrs = smf.uplink(9, qer_ids=(1,)), smf.downlink(ue, qer_ids=(1,))
    fars = smf.to_core(), smf.to_tunnel(DOWN, ENB)
    session = cp.establish(pdrs, fars, create_qers=(smf.qer(9),))
    by_text, by_id = v.SdfFilter(VOICE, filter_id=7), v.SdfFilter(filter_id=7)
    choose = v.ChooseFTeid(choose_id=5)
    added = session.modify(
        create_pdrs=(
            g.CreatePdr(3, 10, g.Pdi(Interface.CORE, sdf_filters=(by_text,)), None, 2, (), (2,)),
            g.CreatePdr(
                4,
                10,
                g.Pdi(Interface.ACCESS, choose, sdf_filters=(by_id,), qfis=(1,)),
                v.OuterHeaderRemoval(6),
                1,
                (),
                (2,),
            ),
        ),
        create_qers=(smf.qer(1, 2),),
    )
    assert added.cause == 1
    assert session.teids[4] == session.teids[1]
    assert down(site, ue, DOWN) == bytes((1, 0, 9, 0))
    voice = udp(PDN_IP, ue, 5004, 6000)
    assert down(site, ue, DOWN, packet=voice) == bytes((1, 0, 1, 0))
    assert down(site, ue, DOWN, packet=udp(PDN_IP, ue, 5005, 6000)) == bytes((1, 0, 9, 0))
    back = udp(ue, PDN_IP, 6000, 5004)
    assert up(site, session.teids[4], ue, qfi=1, inner=back) == [back]
    with site.counted(wrong_bearer=1):
        assert up(site, session.teids[4], ue, qfi=1) == [], "not what its filter takes"
    flows = site.lab.http("GET", f"/v1/sessions/{name(session)}/flows").json()["items"]
    assert {each["bearer"] for each in flows} >= {"3", "4"}
    assert session.modify(remove_pdrs=(g.RemovePdr(3), g.RemovePdr(4))).cause == 1
    flows = site.lab.http("GET", f"/v1/sessions/{name(session)}/flows").json()["items"]
    assert {each["bearer"] for each in flows}.isdisjoint({"3", "4"})
    session.delete()


def test_gates(site: Site, cp: ControlPlane, ue: str) -> None:
    pdrs = smf.uplink(qer_ids=(1,)), smf.downlink(ue, qer_ids=(1,))
    fars = smf.to_core(), smf.to_tunnel(DOWN, ENB)
    session = cp.establish(pdrs, fars, create_qers=(smf.qer(),))
    assert down(site, ue, DOWN) == b""
    shut = g.UpdateQer(1, v.GateStatus(Gate.CLOSED, Gate.CLOSED))
    assert session.modify(update_qers=(shut,)).cause == 1
    until(lambda: not up(site, session.teids[1], ue), "the gate is closed")
    with site.counted(gate_closed=2):
        assert up(site, session.teids[1], ue) == []
        assert site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, ue))) == []
    session.delete()


def test_a_relay(site: Site, cp: ControlPlane) -> None:
    """As an SGW-C makes one: idle first, the tunnels by modifications."""
    pdrs = (
        g.CreatePdr(1, None, g.Pdi(Interface.CORE, v.ChooseFTeid()), None, 1),
        g.CreatePdr(2, None, g.Pdi(Interface.ACCESS, v.ChooseFTeid()), None, 2),
    )
    session = cp.establish(pdrs, (smf.idle(1), smf.idle(2)))
    from_core, from_access = session.teids[1], session.teids[2]
    assert from_core != from_access
    assert session.modify(update_fars=(smf.moved(0x6001, ENB2, 2),)).cause == 1
    assert session.modify(update_fars=(smf.moved(DOWN, ENB, 1),)).cause == 1
    inner = gtpu.ipv4("10.45.9.9", "198.51.100.7")
    for teid, enb, to, out in (
        (from_access, "enb", "enb2", 0x6001),
        (from_core, "enb2", "enb", DOWN),
    ):
        got: list[bytes] = []

        def arrived(teid: int = teid, enb: str = enb, to: str = to, out: int = out) -> bool:
            site.enbs[enb].send(site.from_enb(gtpu.t_pdu(teid, inner), enb=enb))
            got.extend(each for each in site.enbs[to].all(0.05) if is_gtpu(each, out))  # noqa: B023
            return bool(got)  # noqa: B023

        until(arrived, f"from {enb} to {to}")
        assert gtpu.decode(got[-1]).inner == inner
    traced = " ".join(ofgtp(site, "trace", name(session)).split())
    assert traced.count("DELIVERED") == 2, traced
    assert f"for {ENB2}, in tunnel 0x6001" in traced, traced
    assert f"for {ENB}, in tunnel {DOWN:#x}" in traced, traced
    session.delete()


def test_indirect_forwarding(site: Site, cp: ControlPlane, ue: str) -> None:
    """In a handover, as Open5GS's SMF asks for it: by QFI, and with the QER of the flow. Packets
    to the UE go from base station to base station as they are, PDCP numbers and all."""
    limited = smf.qer(1, mbr=v.Bitrates(5_000, 5_000))
    pdrs = smf.uplink(1, qer_ids=(1,)), smf.downlink(ue, qer_ids=(1,))
    fars = smf.to_core(), smf.to_tunnel(DOWN, ENB)
    session = cp.establish(pdrs, fars, create_qers=(limited,))
    forwards = smf.uplink(1, 10, pdr_id=3, precedence=4096, far_id=3, qer_ids=(1,))
    answer = session.modify(
        create_pdrs=(forwards,), create_fars=(smf.to_tunnel(OTHER_DOWN, ENB2, 3),)
    )
    assert (answer.cause, set(session.teids)) == (1, {1, 3})
    inner = gtpu.ipv4(PDN_IP, ue)
    container, number = bytes((1, 0x00, 1)), bytes((1, 0x45, 0x67))
    for content in (
        container + b"\0" + inner,
        bytes((1, 0x10, 1)) + b"\0" + inner,
        container + b"\xc0" + number + b"\0" + inner,
    ):
        sent = gtpu.message(gtpu.T_PDU, session.teids[3], content, flags=0x34, extension=0x85)
        got: list[bytes] = []

        def arrived(sent: bytes = sent) -> bool:
            site.enbs["enb"].send(site.from_enb(sent, enb="enb"))
            got.extend(each for each in site.enbs["enb2"].all(0.05) if is_gtpu(each, OTHER_DOWN))  # noqa: B023
            return bool(got)  # noqa: B023

        until(arrived, "what enb forwards to enb2")
        assert gtpu.decode(got[-1]).inner == content
    assert up(site, session.teids[1], ue, qfi=1), "and uplink goes on"
    # Once it is over, an SGW-C may ask for the same tunnel by its number, beside new ones.
    gone = session.modify(remove_pdrs=(g.RemovePdr(3),), remove_fars=(g.RemoveFar(3),))
    assert gone.cause == 1
    known = v.FTeid(session.teids[3], IPv4Address(ACCESS_IP))
    again = forwards._replace(pdi=forwards.pdi._replace(local_fteid=known))
    back = smf.uplink(1, 11, pdr_id=4, precedence=4096, far_id=4)
    answer = session.modify(
        create_pdrs=(again, back),
        create_fars=(smf.to_tunnel(OTHER_DOWN, ENB2, 3), smf.to_tunnel(DOWN, ENB, 4)),
    )
    assert answer.cause == 1
    assert [each.pdr_id for each in answer.created_pdrs] == [4]
    session.delete()


def test_a_relay_with_a_rate(site: Site, cp: ControlPlane) -> None:
    """Both tunnels of it are policed; a rate more leaves the meters that are there."""
    rates = v.Bitrates(800, 400)
    pdrs = (
        g.CreatePdr(1, None, g.Pdi(Interface.CORE, v.ChooseFTeid()), None, 1, (), (5,)),
        g.CreatePdr(2, None, g.Pdi(Interface.ACCESS, v.ChooseFTeid()), None, 2, (), (5,)),
    )
    onward = g.ForwardingParameters(Interface.CORE, "internet", smf.outer(0x6001, ENB2))
    fars = smf.to_tunnel(DOWN, ENB, 1), g.CreateFar(2, Action.FORW, onward)
    session = cp.establish(pdrs, fars, create_qers=(smf.qer(qer_id=5, mbr=rates),))
    inner = gtpu.ipv4("10.45.9.9", "198.51.100.7") + bytes(1000)
    for teid, enb, to, out in (
        (session.teids[2], "enb", "enb2", 0x6001),
        (session.teids[1], "enb2", "enb", DOWN),
    ):
        wires = site.enbs[enb], site.enbs[to]
        frames = [site.from_enb(gtpu.t_pdu(teid, inner), enb=enb)] * 200

        def policed(wires: Any = wires, frames: Any = frames, out: int = out) -> bool:
            for frame in frames:
                wires[0].send(frame)
            passed = sum(is_gtpu(each, out) for each in wires[1].all(0.5))
            return 0 < passed < len(frames)

        until(policed, f"some of what {enb} sends at once, and not all, reaches {to}")
    before = session_meters(site)
    assert len(before) == 2
    slower = v.Bitrates(100, 100)
    more = session.modify(
        create_qers=(smf.qer(qer_id=1, mbr=slower),),
        update_pdrs=(g.UpdatePdr(1, qer_ids=(1, 5)),),
    )
    assert more.cause == 1
    after = session_meters(site)
    assert len(after) == 2 and len(before & after) == 1, "of the other tunnel it is the same one"
    session.delete()
    until(lambda: not session_meters(site), "the meters go with the session")


def test_a_rate_more_does_not_begin_the_others_anew(site: Site, cp: ControlPlane, ue: str) -> None:
    """A meter that is made anew has a full bucket, and lets a burst pass."""
    rates = v.Bitrates(50_000, 50_000)
    pdrs = smf.uplink(qer_ids=(5,)), smf.downlink(ue, qer_ids=(5,))
    fars = smf.to_core(), smf.to_tunnel(DOWN, ENB)
    session = cp.establish(pdrs, fars, create_qers=(smf.qer(qer_id=5, mbr=rates),))
    down(site, ue, DOWN)
    assert up(site, session.teids[1], ue)
    passed = meter_packets(site)
    assert len(passed) == 2 and all(passed.values())
    added = session.modify(
        create_pdrs=(
            g.CreatePdr(
                3, 10, g.Pdi(Interface.CORE, sdf_filters=(v.SdfFilter(VOICE),)), None, 2, (), (5, 2)
            ),
        ),
        create_qers=(smf.qer(qer_id=2, mbr=v.Bitrates(0, 9_000)),),
    )
    assert added.cause == 1
    now = meter_packets(site)
    assert len(now) == 3
    assert all(now[number] >= count for number, count in passed.items()), (passed, now)
    gone = {"remove_pdrs": (g.RemovePdr(3),), "remove_qers": (g.RemoveQer(2),)}
    assert session.modify(**gone).cause == 1
    after = meter_packets(site)
    assert after.keys() == passed.keys()
    assert all(after[number] >= count for number, count in now.items() if number in after)
    session.delete()


def meter_packets(site: Site) -> dict[int, int]:
    """Number -> packets of the meters that are sessions'."""
    shown = site.lab.ofctl("meter-stats", BRIDGE)
    found = re.findall(r"meter:(\d+) flow_count:\d+ packet_in_count:(\d+)", shown)
    return {int(number): int(count) for number, count in found if int(number) >= METERS_FROM}


def session_meters(site: Site) -> set[int]:
    """Numbers of the meters that are sessions'."""
    shown = site.lab.ofctl("dump-meters", BRIDGE)
    return {int(number) for number in re.findall(r"meter=(\d+) kbps", shown)}


# --- what REST sees


def test_rest_reads_and_does_not_change(site: Site, cp: ControlPlane, ue: str) -> None:
    session = plain(cp, ue)
    path = f"/v1/sessions/{name(session)}"
    shown = site.lab.http("GET", path).json()
    assert shown["owner"] == {
        "kind": "pfcp",
        "node_id": smf.SMF,
        "cp_seid": f"{session.cp_seid:#x}",
        "up_seid": f"{session.up_seid:#x}",
    }
    assert (shown["ue_ip"], shown["state"]) == (ue, "active")
    assert shown["uplink"]["teid"] == session.teids[1]
    assert shown["downlink"] == {"teid": DOWN, "remote_ip": ENB}
    listed = site.lab.http("GET", f"/v1/sessions?ue_ip={ue}").json()["items"]
    assert [each["id"] for each in listed] == [name(session)]
    body = {"id": name(session), "ue_ip": ue, "uplink": {"teid": 5}, "downlink": None}
    for method, asked in (("DELETE", None), ("PATCH", {"downlink": None}), ("PUT", body)):
        answer = site.lab.http(method, path, asked)
        assert answer.status == 409, answer.body
        assert smf.SMF in answer.body.decode()
    rules = site.lab.http("GET", f"{path}/rules").json()
    assert [each["teid"] for each in rules["pdrs"]] == [session.teids[1], None]
    assert rules["fars"][1]["tunnel"] == {"teid": DOWN, "remote_ip": ENB}
    other = {"id": "rest", "ue_ip": ue, "uplink": {"teid": 5}, "downlink": None}
    assert site.lab.http("PUT", "/v1/sessions/rest", other).status == 409
    other |= {"ue_ip": next(_ues), "uplink": {"teid": session.teids[1]}}
    assert site.lab.http("PUT", "/v1/sessions/rest", other).status == 409
    assert down(site, ue, DOWN) == b""
    session.delete()
    assert site.lab.http("GET", path).status == 404


def test_rest_shows_the_control_planes(site: Site, cp: ControlPlane, ue: str) -> None:
    session = plain(cp, ue)
    assert session.modify(update_fars=(g.UpdateFar(9, Action.DROP),)).cause == 73
    [node] = site.lab.http("GET", "/v1/pfcp").json()["items"]
    assert (node["gateway"], node["node_id"], node["listen"]) == ("gw1", smf.UPF, smf.UPF)
    assert node["problem"] is None
    [shown] = [each for each in node["associations"] if each["node_id"] == smf.SMF]
    assert (shown["ip"], shown["state"]) == (smf.SMF, "up")
    assert shown["sessions"] == 1
    began = datetime.fromisoformat(shown["recovery_time"]).timestamp()
    assert began == cp.stamp - 2_208_988_800
    counts = {(each["message"], each["cause"]): each["count"] for each in shown["answers"]}
    assert counts["Session Modification Request", 73] >= 1
    assert counts["Session Establishment Request", 1] >= 1
    assert "FAR 9" in shown["errors"][-1]["reason"]
    metrics = site.lab.http("GET", "/metrics").body.decode()
    assert f'ofgtp_pfcp_sessions{{gateway="gw1",node_id="{smf.SMF}"}} 1.0' in metrics
    asked = 'cause="73",gateway="gw1",message="Session Modification Request"'
    assert f"ofgtp_pfcp_requests_total{{{asked}}}" in metrics
    session.delete()


def test_the_command_knows_it(site: Site, cp: ControlPlane, ue: str) -> None:
    qer = smf.qer(9)
    pdrs = smf.uplink(qer_ids=(1,)), smf.downlink(ue, qer_ids=(1,))
    fars = smf.to_core(), smf.to_tunnel(DOWN, ENB)
    session = cp.establish(pdrs, fars, create_qers=(qer,))
    bare = cp.establish((smf.uplink(),), (smf.to_core(),))
    down(site, ue, DOWN)

    def command(*words: str, check: bool = True) -> str:
        return ofgtp(site, *words, check=check)

    listed = command("session", "list")
    line = next(each for each in listed.splitlines() if name(session) in each)
    assert f"{session.teids[1]:#x}" in line
    assert f"{DOWN:#x} to {ENB}, QFI 9" in line
    assert f"{name(bare)} " in listed
    shown = command("session", "show", name(session))
    assert f"{smf.SMF} by PFCP" in shown
    assert "none" in command("session", "show", name(bare))
    exported = command("session", "export")
    assert name(session) not in exported
    assert "ue-" in exported, "those of REST are there"
    assert ue not in command("route", "show")
    traced = command("trace", ue)
    assert f"uplink {session.teids[1]:#x}" in traced
    idle = g.UpdateFar(2, Action.BUFF | Action.NOCP)
    assert session.modify(update_fars=(idle,)).cause == 1
    traced = " ".join(command("trace", ue, check=False).split())
    assert f"HELD: session {name(session)} is idle" in traced
    assert "its control plane is told once (Downlink Data Report)" in traced
    session.delete()
    bare.delete()


def ofgtp(site: Site, *words: str, check: bool = True) -> str:
    """What the command says, on the gateway's host."""
    program = Path(sys.executable).parent / "ofgtp"
    argv = ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", str(program), *words]
    return site.lab.exec("gw", argv, check=check, timeout=120).stdout


def test_trace_names_pdr_and_far(site: Site, cp: ControlPlane, ue: str) -> None:
    pdrs = (
        smf.uplink(9, qer_ids=(1,)),
        smf.downlink(ue, qer_ids=(1,)),
        g.CreatePdr(
            3, 10, g.Pdi(Interface.CORE, sdf_filters=(v.SdfFilter(VOICE),)), None, 2, (), (2,)
        ),
    )
    fars = smf.to_core(), smf.to_tunnel(DOWN, ENB)
    session = cp.establish(pdrs, fars, create_qers=(smf.qer(9), smf.qer(1, 2)))
    down(site, ue, DOWN)
    out = ofgtp(site, "trace", ue, "--uplink")
    assert "DELIVERED" in out and f"of control plane {smf.SMF}" in " ".join(out.split()), out
    assert "PDR 1 (FAR 1, QER 1)" in out, out
    voice = "--downlink", "--proto", "udp", "--dport", "5004"
    out = " ".join(ofgtp(site, "trace", ue, *voice).split())
    assert "DELIVERED" in out and "PDR 3 (FAR 2, QER 2)" in out and VOICE in out, out
    shut = g.UpdateQer(2, v.GateStatus(Gate.CLOSED, Gate.CLOSED))
    assert session.modify(update_qers=(shut,)).cause == 1
    out = " ".join(ofgtp(site, "trace", ue, *voice, check=False).split())
    assert "the gate of PDR 3 (FAR 2, QER 2)" in out and "--rules" in out, out
    assert "gate closed uplink" in ofgtp(site, "session", "show", name(session), "--rules")
    assert session.modify(update_fars=(g.UpdateFar(2, Action.DROP),)).cause == 1
    out = " ".join(ofgtp(site, "trace", ue, "--downlink", check=False).split())
    assert "PDR 2 (FAR 2, QER 1)" in out and "so its FAR says (DROP)" in out, out
    session.delete()


# --- refusals


def test_all_or_nothing(site: Site, cp: ControlPlane, ue: str) -> None:
    session = plain(cp, ue)
    flows = own.our_flows(site.lab)
    bad = (smf.moved(OTHER_DOWN, ENB2), g.UpdateFar(9, Action.DROP))
    refused = session.modify(update_fars=bad)
    assert (refused.cause, refused.failed_rule) == (73, (RuleKind.FAR, 9))
    refused = session.modify(update_fars=(smf.moved(OTHER_DOWN, "10.1.0.1"),))
    assert (refused.cause, refused.offending_ie) == (73, Ie.OUTER_HEADER_CREATION)
    assert own.our_flows(site.lab) == flows
    assert down(site, ue, DOWN) == b""
    taken = PfcpSession(cp, 0x9999)
    header, body = taken.establish((smf.uplink(),), (smf.to_core(7),))
    assert (header.seid, body.cause, body.node_id) == (0x9999, 73, IPv4Address(smf.UPF))
    assert body.up_fseid is None
    assert own.our_flows(site.lab) == flows
    session.delete()


def test_what_cannot_be_read_is_refused_and_known_again(
    site: Site, cp: ControlPlane, ue: str
) -> None:
    session = plain(cp, ue)
    data = bytearray(write(SessionModificationRequest(), 0x7001, session.up_seid))
    short = b"\x00\x0a\x00\x0a" + b"\x00\x6c\x00\x04\x00\x00\x00\x02" + b"\x00\x2c"
    data += short
    data[2:4] = (len(data) - 4).to_bytes(2, "big")
    cp.send(bytes(data))
    first = cp.receive(5)
    assert first is not None
    header, body = read(first)
    refusal: Any = body
    assert (header.seid, refusal.cause) == (session.cp_seid, 68)
    cp.send(bytes(data))
    assert cp.receive(5) == first
    # a foreign SEID looks like an unknown one
    data[4:12] = (session.up_seid ^ 1).to_bytes(8, "big")
    cp.send(bytes(data))
    answer = cp.receive(5)
    assert answer is not None
    header, body = read(answer)
    refusal = body
    assert (header.seid, refusal.cause) == (0, 65)
    session.delete()


def test_the_same_request_makes_one_session(site: Site, cp: ControlPlane, ue: str) -> None:
    pdrs, fars = (smf.uplink(), smf.downlink(ue)), (smf.to_core(), smf.idle())
    request = SessionEstablishmentRequest(cp.address, v.FSeid(0x77, cp.address), pdrs, fars)
    data = write(request, 0x7002, 0)
    for _ in range(3):
        cp.send(data)
    first = cp.receive(5)
    cp.send(data)
    assert cp.receive(5) == first
    assert first is not None
    _, body = read(first)
    made: Any = body
    listed = site.lab.http("GET", f"/v1/sessions?ue_ip={ue}").json()["items"]
    assert [each["owner"]["up_seid"] for each in listed] == [f"{made.up_fseid.seid:#x}"]
    session = PfcpSession(cp, 0x77)
    session.up_seid = made.up_fseid.seid
    assert session.delete().cause == 1


def test_sessions_are_those_of_their_control_plane(site: Site, cp: ControlPlane, ue: str) -> None:
    session = plain(cp, ue)
    with ControlPlane(site.lab, smf.OTHER_SMF) as other:
        theirs = PfcpSession(other, 0x1)
        _, body = theirs.establish((smf.uplink(),), (smf.to_core(),))
        assert body.cause == 72, "before an association"
        assert other.associate().cause == 1
        theirs.up_seid = session.up_seid
        assert theirs.modify(update_fars=(g.UpdateFar(2, Action.DROP),)).cause == 65
        assert theirs.delete().cause == 65
        fars = smf.to_core(), smf.idle()
        _, body = theirs.establish((smf.uplink(), smf.downlink(ue)), fars)
        assert body.cause == 64, "the UE address is the first one's"
        assert down(site, ue, DOWN) == b""
        # released, it has none any more, and the first one still has
        _, body = theirs.establish((smf.uplink(), smf.downlink(next(_ues))), fars)
        assert body.cause == 1
        assert other.release().cause == 1
        assert site.lab.http("GET", f"/v1/sessions/{name(theirs)}").status == 404
        assert down(site, ue, DOWN) == b""
        assert smf.judge(other)
    session.delete()


def test_an_association_anew_ends_its_sessions(site: Site, cp: ControlPlane, ue: str) -> None:
    session = plain(cp, ue)
    assert cp.associate().cause == 1
    assert session.modify().cause == 65
    assert site.lab.http("GET", f"/v1/sessions/{name(session)}").status == 404


def test_who_is_no_peer_is_not_answered(site: Site, cp: ControlPlane) -> None:
    with ControlPlane(site.lab, "10.3.9.9") as stranger:
        stranger.send(write(HeartbeatRequest(stranger.stamp), 1))
        assert stranger.receive(1) is None


def test_pfcp_out_of_a_tunnel_goes_nowhere(site: Site, cp: ControlPlane, ue: str) -> None:
    session = plain(cp, ue)
    request = write(HeartbeatRequest(cp.stamp), 1)
    with site.counted(protected_destination=1):
        inner = udp(ue, smf.UPF, smf.PORT, smf.PORT, request)
        assert up(site, session.teids[1], ue, inner=inner) == []
    session.delete()


# --- restarts


@pytest.fixture(params=["switch", "controller"])
def started(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, str, ControlPlane]]:
    """A lab of its own with an association, and its configuration."""
    with Lab() as lab:
        smf.n4(lab)
        config = lab.config(controller=own.MODES[request.param], gateway=smf.CONFIG)
        lab.start_controller(config)
        until(lambda: own.in_sync(lab), "in sync")
        with ControlPlane(lab) as cp:
            assert cp.associate().cause == 1
            yield lab, config, cp
            assert smf.judge(cp)


def through_stream(cp: ControlPlane) -> tuple[PfcpSession, dict[str, Any]]:
    """The stream's session, made by PFCP."""
    pdrs = smf.uplink(), smf.downlink(SESSION["ue_ip"])
    session = cp.establish(pdrs, (smf.to_core(), smf.to_tunnel(8193, ENB)))
    return session, {**SESSION, "uplink": {"teid": session.teids[1]}}


@pytest.mark.parametrize("started", ["switch"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_restart_loses_nothing(
    started: tuple[Lab, str, ControlPlane], number: signal.Signals
) -> None:
    """No packet, no session, and the control plane notices nothing."""
    lab, config, cp = started
    stamp = cp.heartbeat()
    session, its = through_stream(cp)
    bare = cp.establish((smf.uplink(),), (smf.to_core(),))
    flows, before = own.our_flows(lab), own.sessions(lab)
    with Stream(lab, session=its) as stream:
        time.sleep(0.5)
        lab.stop_controller(number)
        time.sleep(1)
        lab.start_controller(config, status=None)
        changed = session.modify(update_fars=(smf.moved(8193, ENB),))
        assert changed.cause == 1, "before the switch was there, too"
        until(lambda: own.in_sync(lab), "in sync")
        assert cp.heartbeat() == stamp
        assert own.our_flows(lab) == flows
        assert own.sessions(lab).keys() == before.keys()
        assert session.modify(update_fars=(smf.moved(8193, ENB),)).cause == 1
        fars = smf.to_core(), smf.idle()
        added = cp.establish((smf.uplink(), smf.downlink("10.45.3.3")), fars)
        assert added.teids[1] != session.teids[1]
        time.sleep(0.5)
    assert stream.lost == 0, str(stream)
    assert session.delete().cause == 1
    assert added.delete().cause == 1
    more = smf.downlink("10.45.3.4"), smf.to_tunnel(0x79, ENB)
    assert bare.modify(create_pdrs=more[:1], create_fars=more[1:]).cause == 1
    assert lab.http("GET", f"/v1/sessions/{name(bare)}/flows").json()["items"]
    gone = {
        "remove_pdrs": (g.RemovePdr(1), g.RemovePdr(2)),
        "remove_fars": (g.RemoveFar(1), g.RemoveFar(2)),
    }
    assert bare.modify(**gone).cause == 1, "as OAI's SMF does when its UE is idle"
    assert bare.modify(**gone).cause == 1
    assert bare.delete().cause == 1
    assert own.sessions(lab) == {}


@pytest.mark.parametrize("started", ["switch"], indirect=True)
def test_an_answer_that_was_lost_comes_after_a_crash(
    started: tuple[Lab, str, ControlPlane],
) -> None:
    """The process is killed when the answers are sent, and each request comes again."""
    lab, config, cp = started
    changed, gone = plain(cp, "10.45.3.5"), plain(cp, "10.45.3.6", OTHER_DOWN)
    pdrs, fars = (smf.uplink(), smf.downlink("10.45.3.7")), (smf.to_core(), smf.idle())
    new = SessionEstablishmentRequest(cp.address, v.FSeid(0x78, cp.address), pdrs, fars)
    update = smf.moved(0x79, ENB, flags=ModificationFlags.SNDEM)
    added = g.CreatePdr(3, 10, g.Pdi(Interface.ACCESS, v.ChooseFTeid()), None, 1)
    asked = [
        write(new, 0x7101, 0),
        write(
            SessionModificationRequest(create_pdrs=(added,), update_fars=(update,)),
            0x7102,
            changed.up_seid,
        ),
        write(SessionDeletionRequest(), 0x7103, gone.up_seid),
    ]
    answers = [cp.ask_octets(each) for each in asked]
    lab.stop_controller(signal.SIGKILL)
    there = own.our_flows(lab)
    lab.start_controller(config, status=None)
    assert [cp.ask_octets(each) for each in asked] == answers
    bodies: list[Any] = [read(each)[1] for each in answers]
    assert [body.cause for body in bodies] == [1, 1, 1]
    until(lambda: own.in_sync(lab), "in sync")
    assert own.our_flows(lab) == there, "nothing is done twice"
    made = PfcpSession(cp, 0x78)
    made.up_seid = bodies[0].up_fseid.seid
    assert own.sessions(lab).keys() == {name(changed), name(made)}
    # another request of the same number is answered for itself
    assert gone.delete().cause == 65
    again = write(SessionDeletionRequest(), 0x7101, made.up_seid)
    _, body = read(cp.ask_octets(again))
    deleted: Any = body
    assert deleted.cause == 1
    assert changed.delete().cause == 1


@pytest.mark.parametrize("started", ["switch"], indirect=True)
def test_who_begins_anew_has_no_sessions(started: tuple[Lab, str, ControlPlane]) -> None:
    """A control plane, by its Recovery Time Stamp; and a gateway without PFCP."""
    lab, _, cp = started
    log = own.Log(lab)
    session, _ = through_stream(cp)
    cp.stamp += 100
    cp.heartbeat()
    until(lambda: own.sessions(lab) == {}, "its sessions go")
    assert session.modify().cause == 65
    session, _ = through_stream(cp)
    assert own.sessions(lab).keys() == {name(session)}
    assert log.has("pfcp_peer_restarted")
    lab.stop_controller()
    lab.start_controller(lab.config(controller=own.SWITCH))
    until(lambda: own.in_sync(lab), "in sync")
    assert own.sessions(lab) == {}
    assert not [each for each in own.our_flows(lab) if "cookie=0xf6703" in each]
    assert lab.http("GET", "/v1/pfcp").json()["items"] == []


@pytest.mark.parametrize("started", ["controller"], indirect=True)
def test_the_controllers_tunnels_end_with_it(started: tuple[Lab, str, ControlPlane]) -> None:
    """A new Recovery Time Stamp, no association and no session."""
    lab, config, cp = started
    stamp = cp.heartbeat()
    session, _ = through_stream(cp)
    lab.stop_controller(signal.SIGKILL)
    time.sleep(1)
    lab.start_controller(config)
    until(lambda: own.in_sync(lab), "in sync")
    assert cp.heartbeat() > stamp
    assert session.modify().cause == 72
    assert own.sessions(lab) == {}
    assert cp.associate().cause == 1
    assert session.modify().cause == 65


@pytest.mark.parametrize("started", ["switch"], indirect=True)
def test_without_the_switch(started: tuple[Lab, str, ControlPlane]) -> None:
    """What it does not confirm is refused, and not there when it is back; what is to go, goes."""
    lab, _, cp = started
    session, _ = through_stream(cp)
    stays = cp.establish(
        (smf.uplink(), smf.downlink("10.45.3.3")), (smf.to_core(), smf.to_tunnel(0x77, ENB))
    )
    lab.stop_vswitchd()
    until(lambda: lab.http("GET", "/v1/health").status == 503, "the switch is away")
    assert session.modify(update_fars=(smf.moved(9, ENB),)).cause == 77
    refused = PfcpSession(cp, 0x9999)
    fars = smf.to_core(), smf.idle()
    _, body = refused.establish((smf.uplink(), smf.downlink("10.45.3.4")), fars)
    assert body.cause == 77
    assert session.delete().cause == 1
    assert cp.heartbeat()
    lab.start_vswitchd()
    until(lambda: own.in_sync(lab), "in sync")
    assert own.sessions(lab).keys() == {name(stays)}
    there = [each for each in own.our_flows(lab) if "cookie=0xf6703" in each]
    shown = lab.http("GET", f"/v1/sessions/{name(stays)}/flows").json()["items"]
    assert len(there) == len(shown)
    assert stays.modify(update_fars=(smf.moved(0x78, ENB),)).cause == 1


TIMERS = """
echo_seconds = 3
t3_response_seconds = 1
n3_requests = 2
"""


def test_a_path_that_is_down_is_reported() -> None:
    with Lab() as lab:
        smf.n4(lab)
        lab.environment["OFGTP_TEST_ECHO_SECONDS_MIN"] = "1"
        site = Site(lab, lab.config(controller=own.SWITCH, gateway=TIMERS + smf.CONFIG))
        site.ready()
        with ControlPlane(lab) as cp, ControlPlane(lab, smf.OTHER_SMF) as other:
            assert cp.associate().cause == 1
            assert other.associate().cause == 1
            session = plain(cp, "10.45.7.7")

            def answered() -> bool:
                for frame in site.enb.all(0.05):
                    if is_echo(frame):
                        sequence = int.from_bytes(frame[50:52], "big")
                        site.enb.send(site.from_enb(pong(sequence)))
                        return True
                return False

            until(answered, "an Echo Request comes")
            data = cp.receive(20)
            assert data is not None
            header, report = read(data)
            told: Any = report
            assert header.type == 12
            assert told.path_failure.remote_peers == (v.Addresses(IPv4Address(ENB)),)
            cp.send(write(NodeReportResponse(cp.address, 1), header.sequence))
            assert session.modify().cause == 1, "its sessions stay"
            assert other.receive(0.5) is None, "it has none with that base station"
            assert smf.judge(cp)


# --- bad input


DAMAGED = 4_000
MANY_DAMAGED = int(os.environ.get("OFGTP_TEST_DAMAGED", "100_000"))
BURST = 32
"""Messages between two times that answers are read."""


@pytest.mark.parametrize("number", [DAMAGED, pytest.param(MANY_DAMAGED, marks=pytest.mark.long)])
def test_damaged_messages_harm_nobody(number: int) -> None:
    """From one control plane, while another one's session carries packets."""
    rng = random.Random(14)
    requests = [
        rewritten(seen.data, str(seen.target), None)
        for messages in procedures().values()
        for seen in messages
        if seen.from_control_plane
    ]
    with Lab() as lab:
        smf.n4(lab)
        lab.start_controller(lab.config(controller=own.SWITCH, gateway=smf.CONFIG))
        until(lambda: own.in_sync(lab), "in sync")
        log = own.Log(lab)
        with ControlPlane(lab) as cp, ControlPlane(lab, smf.OTHER_SMF) as other:
            assert cp.associate().cause == 1
            assert other.associate().cause == 1
            session, its = through_stream(cp)
            seids = [0]
            causes: Counter[tuple[int, int]] = Counter()
            with Stream(lab, session=its) as stream:
                for place in range(number):
                    data = rng.choice(requests).replace(cp.address.packed, other.address.packed)
                    if data[1] != 50:
                        data = data[:4] + rng.choice(seids).to_bytes(8, "big") + data[12:]
                    data = damaged(rng, data) if place % 4 else data
                    other.send(data[:65_000])
                    if place % BURST:
                        continue
                    while (answer := other.receive(0.01)) is not None:
                        header, body = read(answer)
                        told: Any = body
                        causes[header.type, getattr(told, "cause", 0)] += 1
                        if header.type == 51 and told.cause == 1:
                            seids = [*seids[-20:], told.up_fseid.seid]
                    other.frames = other.frames[-200:]
                assert cp.heartbeat()
                assert session.modify(update_fars=(smf.moved(8193, ENB),)).cause == 1
            assert stream.lost == 0, str(stream)
            assert {51, 53, 55} <= {kind for kind, _ in causes}
            assert {1, 65, 68} <= {cause for _, cause in causes}, causes
            assert 77 not in {cause for _, cause in causes}, causes
            assert smf.judge(other)
            print(f"{number} messages: {dict(causes)}")
            assert other.associate().cause == 1
            assert own.sessions(lab).keys() == {name(session)}
            there = [each for each in own.our_flows(lab) if "cookie=0xf6703" in each]
            shown = lab.http("GET", f"/v1/sessions/{name(session)}/flows").json()["items"]
            assert len(there) == len(shown)
            assert lab.http("GET", "/v1/health").status == 200
            assert "Traceback" not in log.text()
