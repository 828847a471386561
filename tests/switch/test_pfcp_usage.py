"""What URRs measure, with real packets: each octet once, over all that becomes of a session."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import (
    Action,
    Gate,
    Interface,
    Measurement,
    Method,
    ModificationFlags,
    UsageTrigger,
)
from tests.support import gtpu, smf
from tests.support import ownership as own
from tests.support.gtpu import E as EXTENDED
from tests.support.gtpu import S
from tests.support.paging import hold
from tests.support.site import ENB_IP, PDN_IP, Site, is_gtpu, until
from tests.support.smf import ControlPlane, PfcpSession

pytestmark = pytest.mark.switch

ENB, ENB2 = ENB_IP["enb"], ENB_IP["enb2"]
DOWN, OTHER_DOWN = 0x2001, 0x2002
SIZE = 100
VOICE = "permit out udp from 10.2.0.2 5004 to assigned"
BOTH = Method.VOLUME | Method.DURATION
IMMER, TERMR = UsageTrigger.IMMER, UsageTrigger.TERMR
BUFF = Action.BUFF | Action.NOCP

_ues = (f"10.45.8.{number}" for number in itertools.count(2))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with smf.site() as site:
        yield site


@pytest.fixture(scope="module")
def cp(site: Site) -> Iterator[ControlPlane]:
    with smf.associated(site.lab) as cp:
        # Both base stations' MAC addresses are known: from now on no packet waits for one.
        for teid, name in ((DOWN, "enb"), (OTHER_DOWN, "enb2")):
            ue = next(_ues)
            session = measured(cp, ue, smf.to_tunnel(teid, ENB_IP[name]))
            until(lambda ue=ue, name=name: down(site, ue, 1, name), "packets arrive")  # type: ignore[misc]
            session.delete()
        yield cp


@pytest.fixture
def ue() -> str:
    return next(_ues)


def urr(urr_id: int = 1, **changes: Any) -> g.CreateUrr:
    wanted = g.CreateUrr(urr_id, BOTH, 0, measurement_information=Measurement.MNOP)
    return wanted._replace(**changes)


def measured(
    cp: ControlPlane, ue: str, far: g.CreateFar | None = None, **changes: Any
) -> PfcpSession:
    """A session with URR 1 for both directions, and URR 2 for the downlink alone."""
    pdrs = smf.uplink(urr_ids=(1,)), smf.downlink(ue, urr_ids=(1, 2))
    members: dict[str, Any] = {"create_urrs": (urr(), urr(2))}
    members |= changes
    return cp.establish(pdrs, (smf.to_core(), far or smf.to_tunnel(DOWN, ENB)), **members)


def udp(source: str, target: str, port: int, to: int) -> bytes:
    payload = Raw(bytes(SIZE - 28))
    return bytes(IP(src=source, dst=target) / UDP(sport=port, dport=to) / payload)


def name(session: PfcpSession) -> str:
    return f"pfcp-{session.up_seid:016x}"


def up(site: Site, session: PfcpSession, ue: str, times: int, packet: bytes | None = None) -> int:
    """How many packets of the UE's come out at the core host."""
    frame = site.t_pdu(session.teids[1], packet or gtpu.ipv4(ue, PDN_IP, size=SIZE))
    return len(site.uplink(*[frame] * times))


def down(site: Site, ue: str, times: int, enb: str = "enb", packet: bytes | None = None) -> int:
    """How many packets to the UE a base station gets."""
    frame = site.to_ue(packet or gtpu.ipv4(PDN_IP, ue, size=SIZE))
    got = site.downlink(*[frame] * times)
    if enb != "enb":
        got = site.enbs[enb].all(0.1)
    return len([each for each in got if is_gtpu(each, DOWN) or is_gtpu(each, OTHER_DOWN)])


def followed(site: Site, session: PfcpSession, uplink: int, downlink: int) -> None:
    """Wait until the switch's flows have counted so many packets, those of before included."""

    def stands() -> bool:
        seen = site.lab.http("GET", f"/v1/sessions/{name(session)}").json()["counters"]
        return (seen["uplink"]["packets"], seen["downlink"]["packets"]) == (uplink, downlink)

    until(stands, f"{uplink} packets uplink and {downlink} downlink are counted")


def volume(up: int, down: int, size: int = SIZE) -> v.VolumeMeasurement:
    octets = size * (up + down), size * up, size * down
    return v.VolumeMeasurement(*octets, up + down, up, down)


def reported(body: Any, trigger: UsageTrigger) -> dict[int, v.VolumeMeasurement]:
    assert body.cause == 1, body
    for each in body.usage_reports:
        assert each.trigger == trigger
        # Time begins with the first packet.
        assert 0 <= each.duration <= each.end_time - each.start_time
    return {each.urr_id: each.volume for each in body.usage_reports}


def test_a_deletion_reports_all(site: Site, cp: ControlPlane, ue: str) -> None:
    session = measured(cp, ue)
    assert (up(site, session, ue, 3), down(site, ue, 5)) == (3, 5)
    followed(site, session, 3, 5)
    last = session.delete()
    assert reported(last, TERMR) == {1: volume(3, 5), 2: volume(0, 5)}
    assert [each.sequence for each in last.usage_reports] == [0, 0]


def test_a_query_reports_and_begins_anew(site: Site, cp: ControlPlane, ue: str) -> None:
    session = measured(cp, ue)
    assert up(site, session, ue, 2) == 2
    followed(site, session, 2, 0)
    asked = session.modify(query_urrs=(g.QueryUrr(1),), query_urr_reference=77)
    assert reported(asked, IMMER) == {1: volume(2, 0)}
    assert asked.usage_reports[0].query_urr_reference == 77
    assert down(site, ue, 4) == 4
    followed(site, session, 2, 4)
    asked = session.modify(flags=ModificationFlags.QAURR)
    assert reported(asked, IMMER) == {1: volume(0, 4), 2: volume(0, 4)}
    assert [each.sequence for each in asked.usage_reports] == [1, 0]
    asked = session.modify(flags=ModificationFlags.QAURR)
    assert reported(asked, IMMER) == {1: volume(0, 0), 2: volume(0, 0)}
    refused = session.modify(query_urrs=(g.QueryUrr(9),))
    assert (refused.cause, refused.failed_rule.id) == (73, 9)
    assert [each.sequence for each in session.delete().usage_reports] == [3, 2]


def test_counts_go_on_over_changes(site: Site, cp: ControlPlane, ue: str) -> None:
    """A handover, idle and back, a gate; and packets that go nowhere are not measured."""
    session = measured(cp, ue, create_qers=(smf.qer(),))
    both = (g.UpdatePdr(1, qer_ids=(1,)), g.UpdatePdr(2, qer_ids=(1,)))
    assert session.modify(update_pdrs=both).cause == 1
    assert (up(site, session, ue, 2), down(site, ue, 3)) == (2, 3)
    followed(site, session, 2, 3)
    assert session.modify(update_fars=(smf.moved(OTHER_DOWN, ENB2),)).cause == 1
    site.empty_cache()
    assert (up(site, session, ue, 1), down(site, ue, 2, "enb2")) == (1, 2)
    followed(site, session, 3, 5)
    idle = g.UpdateFar(2, BUFF)
    assert session.modify(update_fars=(idle,)).cause == 1
    with site.counted():  # which brings the switch's counts up to date
        assert down(site, ue, 4, "enb2") == 0, "they are held, and not measured yet"
    followed(site, session, 3, 5)
    assert session.modify(update_fars=(g.UpdateFar(2, Action.FORW),)).cause == 1
    assert down(site, ue, 1, "enb2"), "it is back, and has what was held"
    followed(site, session, 3, 10)
    shut, opened = (g.UpdateQer(1, v.GateStatus(each, each)) for each in (Gate.CLOSED, Gate.OPEN))
    assert session.modify(update_qers=(shut,)).cause == 1
    with site.counted(gate_closed=5):
        assert (up(site, session, ue, 2), down(site, ue, 3, "enb2")) == (0, 0)
    assert session.modify(update_qers=(opened,)).cause == 1
    until(lambda: up(site, session, ue, 1), "the gate is open")

    until(lambda: _seen(site, session) == (4, 10), "all is counted")
    assert reported(session.delete(), TERMR) == {1: volume(4, 10), 2: volume(0, 10)}


def test_what_was_held_is_measured_once_it_is_delivered(
    site: Site, cp: ControlPlane, ue: str
) -> None:
    """However soon that is, by all URRs of the PDR that held it, and stored with what it measured:
    half of it is told by the switch."""
    session = measured(cp, ue, g.CreateFar(2, BUFF))
    sent = 0
    for period in range(3):
        for _ in range(5):
            hold(site, gtpu.ipv4(PDN_IP, ue, size=SIZE))
        assert reported(session.modify(flags=ModificationFlags.QAURR), IMMER) == {
            1: volume(0, 0),
            2: volume(0, 0),
        }
        assert session.modify(update_fars=(smf.moved(DOWN, ENB),)).cause == 1
        site.pdn.send(*[site.to_ue(gtpu.ipv4(PDN_IP, ue, size=SIZE))] * 2)
        sent += 7
        followed(site, session, 0, sent)
        until(lambda: _seen(site, session) == (0, 7), "all is counted")
        if period == 2:
            break
        asked = session.modify(flags=ModificationFlags.QAURR)
        assert reported(asked, IMMER) == {1: volume(0, 7), 2: volume(0, 7)}
        assert session.modify(update_fars=(g.UpdateFar(2, BUFF),)).cause == 1
    time.sleep(1.2)  # whatever the switch has still to tell
    assert reported(session.delete(), TERMR) == {1: volume(0, 7), 2: volume(0, 7)}


def test_each_flow_has_its_own(site: Site, cp: ControlPlane, ue: str) -> None:
    """A QoS flow with filters and a URR of its own, which goes again, and is reported then."""
    session = measured(cp, ue)
    assert down(site, ue, 2) == 2
    followed(site, session, 0, 2)
    voice, rest = v.SdfFilter(VOICE), g.Pdi(Interface.CORE, sdf_filters=())
    pdrs = (
        g.CreatePdr(3, 10, rest._replace(sdf_filters=(voice,)), None, 2, (3,)),
        g.CreatePdr(
            4,
            10,
            g.Pdi(Interface.ACCESS, v.ChooseFTeid(choose_id=5), sdf_filters=(voice,)),
            v.OuterHeaderRemoval(6),
            1,
            (3,),
        ),
    )
    assert session.modify(create_pdrs=pdrs, create_urrs=(urr(3),)).cause == 1
    site.empty_cache()
    to_ue = udp(PDN_IP, ue, 5004, 6000)
    from_ue = udp(ue, PDN_IP, 6000, 5004)
    assert down(site, ue, 3, packet=to_ue) == 3
    assert up(site, session, ue, 4, packet=from_ue) == 4
    assert (up(site, session, ue, 1), down(site, ue, 1)) == (1, 1)
    followed(site, session, 5, 6)
    gone = session.modify(
        remove_pdrs=(g.RemovePdr(3), g.RemovePdr(4)), remove_urrs=(g.RemoveUrr(3),)
    )
    assert reported(gone, TERMR) == {3: volume(4, 3)}
    site.empty_cache()
    assert down(site, ue, 2, packet=to_ue) == 2
    until(lambda: _seen(site, session)[1] >= 5, "counted")
    assert reported(session.delete(), TERMR) == {1: volume(1, 5), 2: volume(0, 5)}


def _seen(site: Site, session: PfcpSession) -> tuple[int, int]:
    """Packets uplink and downlink that URR 1 has measured so far."""
    shown = site.lab.http("GET", f"/v1/sessions/{name(session)}/rules").json()["urrs"][0]
    return shown["uplink"]["packets"], shown["downlink"]["packets"]


@pytest.mark.parametrize("way", ["uplink", "downlink"])
def test_what_a_rate_drops_is_not_measured(site: Site, cp: ControlPlane, ue: str, way: str) -> None:
    rate = smf.qer(mbr=v.Bitrates(64, 64))
    session = measured(cp, ue, create_qers=(rate,))
    both = (g.UpdatePdr(1, qer_ids=(1,)), g.UpdatePdr(2, qer_ids=(1,)))
    assert session.modify(update_pdrs=both).cause == 1
    if way == "uplink":
        got = up(site, session, ue, 400)
        followed(site, session, got, 0)
        wanted = {1: volume(got, 0), 2: volume(0, 0)}
    else:
        got = down(site, ue, 400)
        followed(site, session, 0, got)
        wanted = {1: volume(0, got), 2: volume(0, got)}
    assert 0 < got < 400
    assert reported(session.delete(), TERMR) == wanted


@pytest.mark.parametrize("flags", [0, S, EXTENDED])
def test_a_relay(site: Site, cp: ControlPlane, flags: int) -> None:
    """By its flags a T-PDU goes the short way or the long one: each is measured once."""
    pdrs = (
        g.CreatePdr(1, None, g.Pdi(Interface.CORE, v.ChooseFTeid()), None, 1, (1,)),
        g.CreatePdr(2, None, g.Pdi(Interface.ACCESS, v.ChooseFTeid()), None, 2, (1,)),
    )
    fars = smf.to_tunnel(DOWN, ENB, 1), smf.to_tunnel(0x6001, ENB2, 2)
    session = cp.establish(pdrs, fars, create_urrs=(urr(),))
    container = b"\x01\x10\x09\x00" if flags == EXTENDED else b""
    inner = gtpu.ipv4("10.45.9.9", "198.51.100.7", size=SIZE)
    message = gtpu.t_pdu(session.teids[2], container + inner, flags=0x30 | flags, extension=0x85)
    for _ in range(6):
        site.enb.send(site.from_enb(message))
    until(lambda: _seen(site, session)[0] >= 6, "they are counted")
    [report] = session.delete().usage_reports
    assert report.volume.uplink_packets == 6
    assert report.volume.downlink_packets == 0
    assert 6 * SIZE <= report.volume.uplink <= 6 * (SIZE + 12)


def test_a_restart_keeps_what_is_measured() -> None:
    """`ownership = "switch"`, kill -9: the counts and the sequence go on."""
    with smf.site() as site, smf.associated(site.lab) as cp:
        session = measured(cp, "10.45.8.2")
        until(lambda: down(site, "10.45.8.2", 1), "packets arrive")
        until(lambda: _seen(site, session)[1] >= 1, "counted")
        first = reported(session.modify(flags=ModificationFlags.QAURR), IMMER)
        assert first[1].downlink_packets >= 1
        assert (up(site, session, "10.45.8.2", 2), down(site, "10.45.8.2", 3)) == (2, 3)
        site.lab.stop_controller(signal.SIGKILL)
        assert down(site, "10.45.8.2", 4) == 4
        site.lab.start_controller(site.lab.dir.joinpath("ofgtp.toml").read_text(), status=None)
        until(lambda: own.in_sync(site.lab), "in sync")
        until(lambda: _seen(site, session)[1] == 7, "all is counted")
        last = session.delete()
        assert reported(last, TERMR) == {1: volume(2, 7), 2: volume(0, 7)}
        assert [each.sequence for each in last.usage_reports] == [1, 1]
