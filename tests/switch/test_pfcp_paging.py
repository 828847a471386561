"""Data for idle UEs: each control plane is told once of each QoS flow, with real packets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, Gate, Interface
from ofgtp.core.pfcp.wire.messages import SessionReportResponse, read, write
from tests.support import gtpu, smf
from tests.support.site import ENB_IP, PDN_IP, Site, until
from tests.support.smf import ControlPlane, PfcpSession

pytestmark = pytest.mark.switch

ENB, DOWN = ENB_IP["enb"], 0x2001
QUIET_S = 3.0
"""Longer than T1: what has not come by then does not come."""
IDLE = g.UpdateFar(2, Action.BUFF | Action.NOCP)
VOICE = "permit out udp from 10.2.0.2 5004 to assigned"

_ues = (f"10.45.9.{number}" for number in itertools.count(2))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with smf.site() as site:
        yield site


@pytest.fixture(scope="module")
def cp(site: Site) -> Iterator[ControlPlane]:
    with smf.associated(site.lab) as cp:
        yield cp


@pytest.fixture
def ue() -> str:
    return next(_ues)


def idle(cp: ControlPlane, ue: str, far: g.CreateFar | None = None) -> PfcpSession:
    pdrs = smf.uplink(9, qer_ids=(1,)), smf.downlink(ue, qer_ids=(1,))
    fars = smf.to_core(), far or smf.idle()
    return cp.establish(pdrs, fars, create_qers=(smf.qer(9),), create_bars=(g.CreateBar(1),))


def send(site: Site, ue: str, times: int = 1, sport: int = 4001) -> None:
    """Packets to a UE, each of which is held."""
    packet = bytes(IP(src=PDN_IP, dst=ue) / UDP(sport=sport, dport=6000) / bytes(60))
    before = site.gateway()["buffer"]["held"]
    assert site.downlink(*[site.to_ue(packet)] * times) == []
    until(lambda: site.gateway()["buffer"]["held"] == before + times, "all are held")


def told(cp: ControlPlane, session: PfcpSession, answer: bool = True) -> tuple[int, int | None]:
    """PDR and QFI of the next report, which is answered."""
    data = cp.receive(10)
    assert data is not None, "a report comes"
    header, report = read(data)
    assert (header.type, header.seid) == (56, session.cp_seid)
    shown: Any = report
    assert (shown.report_type, shown.usage_reports) == (1, ())
    if answer:
        cp.send(write(SessionReportResponse(1), header.sequence, session.up_seid))
    [pdr] = shown.downlink_data.pdr_ids
    service = shown.downlink_data.service
    assert service is None or service.ppi is None
    return pdr, None if service is None else service.qfi


def test_once_each_idle_period(site: Site, cp: ControlPlane, ue: str) -> None:
    session = idle(cp, ue)
    send(site, ue, 5)
    assert told(cp, session) == (2, 9)
    send(site, ue, 5)
    shut = g.UpdateQer(1, v.GateStatus(Gate.CLOSED, Gate.OPEN))
    assert session.modify(update_qers=(shut,)).cause == 1, "which wakes nobody"
    send(site, ue)
    assert cp.receive(QUIET_S) is None
    for _ in range(2):
        assert session.modify(update_fars=(smf.moved(DOWN, ENB),)).cause == 1
        assert session.modify(update_fars=(IDLE,)).cause == 1
        send(site, ue)
        assert told(cp, session) == (2, 9)
    assert session.delete().cause == 1
    assert cp.receive(QUIET_S) is None


def test_until_it_is_answered(site: Site, cp: ControlPlane, ue: str) -> None:
    session = idle(cp, ue)
    send(site, ue)
    assert told(cp, session, answer=False) == (2, 9)
    assert told(cp, session, answer=False) == (2, 9), "the same again"
    assert session.delete().cause == 1
    assert cp.receive(QUIET_S) is None, "it ends with the session"


def test_each_qos_flow(site: Site, cp: ControlPlane, ue: str) -> None:
    session = idle(cp, ue)
    pdi = g.Pdi(Interface.CORE, sdf_filters=(v.SdfFilter(VOICE),))
    waiting = smf.to_tunnel(DOWN, ENB, 3)._replace(apply_action=Action.BUFF | Action.NOCP)
    added = session.modify(
        create_pdrs=(g.CreatePdr(3, 10, pdi, None, 3, (), (2,)),),
        create_fars=(waiting,),
        create_qers=(smf.qer(1, 2),),
    )
    assert added.cause == 1
    send(site, ue)
    assert told(cp, session) == (2, 9)
    send(site, ue, sport=5004)
    assert told(cp, session) == (3, 1)
    send(site, ue, 3)
    send(site, ue, 3, sport=5004)
    assert cp.receive(QUIET_S) is None
    # One of them wakes up and falls asleep again: it alone is told anew.
    assert session.modify(update_fars=(g.UpdateFar(3, Action.FORW),)).cause == 1
    assert session.modify(update_fars=(g.UpdateFar(3, Action.BUFF | Action.NOCP),)).cause == 1
    send(site, ue, 3)
    send(site, ue, 3, sport=5004)
    assert told(cp, session) == (3, 1)
    assert cp.receive(QUIET_S) is None
    session.delete()


def test_a_relay(site: Site, cp: ControlPlane) -> None:
    """S5 to S1-U, as an SGW-C has it: what comes in a tunnel from the core side."""
    pdrs = (
        g.CreatePdr(1, None, g.Pdi(Interface.CORE, v.ChooseFTeid()), None, 1),
        g.CreatePdr(2, None, g.Pdi(Interface.ACCESS, v.ChooseFTeid()), None, 2),
    )
    session = cp.establish(pdrs, (smf.idle(1), smf.idle(2)))
    inner = gtpu.ipv4("198.51.100.7", "10.45.9.9")
    from_core = site.from_enb(gtpu.t_pdu(session.teids[1], inner), enb="enb2")
    before = site.gateway()["buffer"]["held"]
    assert site.uplink(*[from_core] * 3, enb="enb2") == []
    until(lambda: site.gateway()["buffer"]["held"] == before + 3, "they are held")
    assert told(cp, session) == (1, None)
    from_access = site.from_enb(gtpu.t_pdu(session.teids[2], inner))
    with site.counted(idle_ue=2):
        assert site.uplink(*[from_access] * 2) == []
    assert cp.receive(QUIET_S) is None, "uplink nobody is to be paged"
    session.delete()


@pytest.mark.parametrize(
    ("action", "reason", "tells"),
    [
        (Action.BUFF, None, False),
        (Action.DROP, "far_drop", False),
        (Action.DROP | Action.NOCP, "idle_ue", True),
    ],
    ids=str,
)
def test_what_asks_for_it(
    site: Site, cp: ControlPlane, ue: str, action: Action, reason: str | None, tells: bool
) -> None:
    session = idle(cp, ue, g.CreateFar(2, action))
    with site.counted(**({} if reason is None else {reason: 2})):
        assert site.downlink(*[site.to_ue(gtpu.ipv4(PDN_IP, ue))] * 2) == []
    if tells:
        assert told(cp, session) == (2, 9)
    assert cp.receive(QUIET_S) is None
    session.delete()


def ends(site: Site) -> int:
    """Packets that are held, or were too many, or came faster than the switch has read them."""
    counters, buffer = site.counters(), site.gateway()["buffer"]
    return int(counters["buffer_full"] + counters["core_overrun"] + buffer["held"])


def test_a_flood_for_one_ue(site: Site, cp: ControlPlane, ue: str) -> None:
    """It is counted whole, told once, and keeps the controller from nothing."""
    session = idle(cp, ue)
    packet = site.to_ue(gtpu.ipv4(PDN_IP, ue))
    before = ends(site)
    for _ in range(30):
        site.pdn.send(*[packet] * 100)
        assert session.smf.heartbeat()
    until(lambda: ends(site) == before + 3000, "each has its end")
    assert told(cp, session) == (2, 9)
    assert cp.receive(QUIET_S) is None
    session.delete()
