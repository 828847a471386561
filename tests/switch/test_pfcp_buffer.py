"""BUFF: packets for idle UEs are held, and come in order once there is a tunnel."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, Interface, ModificationFlags, ReportResponseFlags
from ofgtp.core.pfcp.wire.messages import SessionReportResponse, read, write
from tests.support import gtpu, paging, smf
from tests.support.paging import Arrived, hold, numbered
from tests.support.site import ENB_IP, Site, until
from tests.support.smf import ControlPlane, PfcpSession

pytestmark = pytest.mark.switch

ENB, DOWN = ENB_IP["enb"], 0x2001
QUIET_S = 3.0
"""Longer than T1: what has not come by then does not come."""
BUFF = Action.BUFF | Action.NOCP
IDLE = g.UpdateFar(2, BUFF)
VOICE = "permit out udp from 10.2.0.2 5004 to assigned"

_ues = (f"10.45.8.{number}" for number in itertools.count(2))


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


def idle(
    cp: ControlPlane, ue: str, action: Action = BUFF, bar: g.CreateBar | None = None
) -> PfcpSession:
    """A session with a QFI whose downlink FAR has a BAR."""
    far = g.CreateFar(2, action, bar_id=1)
    pdrs = smf.uplink(9, qer_ids=(1,)), smf.downlink(ue, qer_ids=(1,))
    return cp.establish(
        pdrs,
        (smf.to_core(), far),
        create_qers=(smf.qer(9),),
        create_bars=(bar or g.CreateBar(1),),
    )


def wake(session: PfcpSession, teid: int = DOWN, flags: Any = None) -> None:
    assert session.modify(update_fars=(smf.moved(teid, ENB),), flags=flags).cause == 1


def report(cp: ControlPlane, session: PfcpSession, **answer: Any) -> int:
    """The PDR of the next report, which is answered so."""
    data = cp.receive(10)
    assert data is not None, "a report comes"
    header, told = read(data)
    assert (header.type, header.seid) == (56, session.cp_seid)
    cp.send(write(SessionReportResponse(1, **answer), header.sequence, session.up_seid))
    shown: Any = told
    [pdr] = shown.downlink_data.pdr_ids
    return int(pdr)


def test_what_was_held_comes_first(site: Site, cp: ControlPlane, ue: str) -> None:
    """In order, in its container, of any size that fits, and as by the session's own flow."""
    session = idle(cp, ue)
    sizes = 28, 60, 1400, 1420
    packets = [p for n, size in enumerate(sizes) for p in numbered(ue, [n], size=size)]
    hold(site, *packets)
    assert report(cp, session) == 2
    arrived = Arrived(site)
    wake(session)
    arrived.until(DOWN, range(len(sizes)))
    by_flow = site.downlink(*map(site.to_ue, packets))
    assert len(by_flow) == len(packets)
    for frame, other in zip(arrived.frames, by_flow, strict=True):
        gtpu.check_frame(frame)
        assert paging.inside(frame) == paging.inside(other)
        assert paging.inside(frame)[0] == 9
        assert frame[15] == other[15] and frame[22] == other[22], "DSCP and TTL of the tunnel"
    session.delete()


def test_many_times_while_packets_come(site: Site, cp: ControlPlane, ue: str) -> None:
    """Each packet arrives once, in order, however often the UE falls asleep meanwhile."""
    session, arrived = idle(cp, ue), Arrived(site)
    number = itertools.count()
    for _ in range(10):
        hold(site, *numbered(ue, itertools.islice(number, 20)))
        wake(session)
        site.pdn.send(*map(site.to_ue, numbered(ue, itertools.islice(number, 10))))
        until(lambda: len(arrived.of(DOWN)) % 30 == 0 and arrived.frames, "all of them come")
        assert session.modify(update_fars=(IDLE,)).cause == 1
    assert arrived.of(DOWN) == list(range(next(number)))
    session.delete()


def test_each_rule_to_its_own_tunnel(site: Site, cp: ControlPlane, ue: str) -> None:
    """What waits for a dedicated flow waits on while the default one is served."""
    session = idle(cp, ue)
    pdi = g.Pdi(Interface.CORE, sdf_filters=(v.SdfFilter(VOICE),))
    of_voice = smf.to_tunnel(DOWN + 1, ENB, 3)._replace(apply_action=BUFF)
    added = session.modify(
        create_pdrs=(g.CreatePdr(3, 10, pdi, None, 3, (), (2,)),),
        create_fars=(of_voice,),
        create_qers=(smf.qer(1, 2),),
    )
    assert added.cause == 1
    for n in range(6):
        hold(site, *numbered(ue, [n], sport=5004 if n % 2 else 4001))
    arrived = Arrived(site)
    wake(session)
    arrived.until(DOWN, [0, 2, 4])
    assert arrived.of(DOWN + 1) == []
    assert session.modify(update_fars=(g.UpdateFar(3, Action.FORW),)).cause == 1
    arrived.until(DOWN + 1, [1, 3, 5])
    assert {paging.inside(frame)[0] for frame in arrived.frames} == {9, 1}
    session.delete()


def test_a_relay(site: Site, cp: ControlPlane) -> None:
    """An SGW's: what came in a tunnel from S5 leaves in one to the base station."""
    pdrs = (
        g.CreatePdr(1, None, g.Pdi(Interface.CORE, v.ChooseFTeid()), None, 1),
        g.CreatePdr(2, None, g.Pdi(Interface.ACCESS, v.ChooseFTeid()), None, 2),
    )
    session = cp.establish(pdrs, (smf.idle(1), smf.idle(2)))
    packets = numbered("10.45.8.250", range(5), source="198.51.100.7")
    before = paging.buffer(site)["held"]
    frames = [site.from_enb(gtpu.t_pdu(session.teids[1], each), enb="enb2") for each in packets]
    assert site.uplink(*frames, enb="enb2") == []
    until(lambda: paging.buffer(site)["held"] == before + 5, "they are held")
    assert report(cp, session) == 1
    arrived = Arrived(site)
    session_id = f"pfcp-{session.up_seid:016x}"
    # Or else the switch counts them for two flows of the relay (docs/usage.md).
    until(lambda: paging.told(site, session_id) == 5, "the switch has told of them")
    assert session.modify(update_fars=(smf.moved(DOWN, ENB, 1),)).cause == 1
    arrived.until(DOWN, range(5))
    assert [paging.inside(frame) for frame in arrived.frames] == [(None, p) for p in packets]
    path = f"/v1/sessions/{session_id}/usage"
    wanted = {"packets": 5, "bytes": sum(map(len, packets))}
    until(lambda: site.lab.http("GET", path).json()["downlink"] == wanted, "they are counted")
    time.sleep(1.2)  # whatever the switch has still to tell
    assert site.lab.http("GET", path).json()["downlink"] == wanted
    session.delete()


@pytest.mark.parametrize("end", ["drop", "drobu", "deletion", "answer"])
def test_what_is_dropped(site: Site, cp: ControlPlane, ue: str, end: str) -> None:
    session = idle(cp, ue)
    hold(site, *numbered(ue, range(3)))
    arrived = Arrived(site)
    with site.counted(idle_ue=3):
        if end == "drop":
            assert session.modify(update_fars=(g.UpdateFar(2, Action.DROP),)).cause == 1
        elif end == "drobu":
            assert session.modify(flags=ModificationFlags.DROBU).cause == 1
        elif end == "deletion":
            assert session.delete().cause == 1
        else:
            assert report(cp, session, flags=ReportResponseFlags.DROBU) == 2
    assert paging.buffer(site)["packets"] == 0
    if end != "deletion":
        wake(session)
        assert site.downlink(*map(site.to_ue, numbered(ue, [7]))) != []
        assert arrived.of(DOWN) == []
        session.delete()


def test_to_the_next_of_the_same_address(site: Site, cp: ControlPlane, ue: str) -> None:
    """What waits for a UE never goes to another one that has its address later."""
    first = idle(cp, ue)
    hold(site, *numbered(ue, range(4)))
    assert first.delete().cause == 1
    second, arrived = idle(cp, ue), Arrived(site)
    hold(site, *numbered(ue, [10, 11]))
    wake(second)
    arrived.until(DOWN, [10, 11])
    second.delete()


def test_a_refused_change_leaves_it(site: Site, cp: ControlPlane, ue: str) -> None:
    session = idle(cp, ue)
    hold(site, *numbered(ue, range(4)))
    refused = session.modify(update_fars=(smf.moved(DOWN, ENB), smf.moved(DOWN, ENB, 77)))
    assert refused.cause == 73
    assert paging.buffer(site)["packets"] == 4
    arrived = Arrived(site)
    wake(session)
    arrived.until(DOWN, range(4))
    session.delete()


def test_as_many_as_the_bar_says(site: Site, cp: ControlPlane, ue: str) -> None:
    """The first so many; the others are `buffer_full`, and the switch drops what comes behind."""
    bar = g.CreateBar(1, suggested_buffering_packets_count=5)
    session = idle(cp, ue, bar=bar)
    hold(site, *numbered(ue, range(5)))
    with site.counted(buffer_full=20):
        for n in range(5, 25):
            assert site.downlink(*map(site.to_ue, numbered(ue, [n]))) == []
    assert "priority=200" in site.lab.ofctl("dump-flows", "br-ofgtp", "table=85"), "it is closed"
    arrived = Arrived(site)
    wake(session)
    arrived.until(DOWN, range(5))
    assert session.modify(update_fars=(IDLE,)).cause == 1
    hold(site, *numbered(ue, range(30, 35)))
    assert session.modify(flags=ModificationFlags.DROBU).cause == 1
    hold(site, *numbered(ue, range(40, 45)))
    wake(session)
    arrived.until(DOWN, [*range(5), *range(40, 45)])
    session.delete()


def test_for_as_long_as_the_answer_says(site: Site, cp: ControlPlane, ue: str) -> None:
    """DL Buffering Duration: 6 s, and 3 packets."""
    session = idle(cp, ue)
    hold(site, *numbered(ue, [0]))
    update = g.UpdateBarInReportResponse(
        1, dl_buffering_duration=0x03, dl_buffering_suggested_packet_count=3
    )
    with site.counted(buffer_timeout=3, buffer_full=1):
        assert report(cp, session, update_bar=update) == 2
        assert cp.heartbeat()
        hold(site, *numbered(ue, [1, 2]))
        assert site.downlink(*map(site.to_ue, numbered(ue, [3]))) == []
    session.delete()


def test_the_report_is_delayed(site: Site, cp: ControlPlane, ue: str) -> None:
    """Downlink Data Notification Delay: 100 times 50 ms; who wakes up meanwhile is not paged."""
    session = idle(cp, ue, bar=g.CreateBar(1, downlink_data_notification_delay=100))
    hold(site, *numbered(ue, [0]))
    assert cp.receive(0.5) is None
    assert report(cp, session) == 2
    wake(session)
    assert session.modify(update_fars=(IDLE,)).cause == 1
    hold(site, *numbered(ue, [1]))
    wake(session)
    assert cp.receive(5 + QUIET_S) is None
    session.delete()


def test_without_notice_it_is_held_in_silence(site: Site, cp: ControlPlane, ue: str) -> None:
    session = idle(cp, ue, Action.BUFF)
    hold(site, *numbered(ue, range(3)))
    assert cp.receive(QUIET_S) is None
    arrived = Arrived(site)
    wake(session)
    arrived.until(DOWN, range(3))
    session.delete()


def test_nothing_counts_as_lost(site: Site, cp: ControlPlane, ue: str) -> None:
    """Held, replayed, dropped: each packet has its end, and no more than one."""
    session = idle(cp, ue)
    with site.counted(idle_ue=2, not_sent=0):
        before = site.settled()["not_sent"]
        hold(site, *numbered(ue, range(30)))
        wake(session)
        assert session.modify(update_fars=(IDLE,)).cause == 1
        hold(site, *numbered(ue, range(2)))
        session.delete()
        assert site.settled()["not_sent"] == before
