"""A gateway's agent on a scripted switch: what it makes of answers that are late or do not come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import eventlet
import pytest
from eventlet.semaphore import Semaphore
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from ofgtp.control.flows.comparison import Comparison
from ofgtp.control.flows.lease import Lease
from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.report import report
from ofgtp.control.sessions.batch import SLICE
from ofgtp.control.sessions.service import SessionService
from ofgtp.control.turns import SLICE as TURN
from ofgtp.core.flows import faults
from ofgtp.core.flows.flow import CookieKind, make_cookie
from ofgtp.core.flows.pipeline import DropReason, Report
from ofgtp.core.model import BatchPut, FlowValues, FTeid, Session, Uplink
from ofgtp.core.observations import Observation, Seen
from ofgtp.core.packets.arp import announcement
from ofgtp.core.rules.session import session_flows
from ofgtp.core.sessions.rules import ue_prefixes
from ofgtp.northbound import schema
from ofgtp.northbound.events import EventLog
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel import Bundle, FlowsRefused
from ofgtp.southbound.ovsdb import BridgeFacts
from ofgtp.southbound.prepared import Prepared
from ofgtp.store import SessionStore
from tests.support.lab import gateway
from tests.support.sample import ENB, LINKS, OTHER_ENB, PREFIX, detailed, session
from tests.unit.test_channel import TABLE_FULL, Switch, stats

FACTS = BridgeFacts(
    datapath_id=1,
    local_mac=LINKS.local_mac,
    access_mac="02:00:00:00:00:aa",
    interfaces=(3, 4),
    controller_connected=True,
    core_mac=LINKS.core_mac,
    access_ofport=LINKS.access,
    core_ofport=LINKS.core,
    gtpu_ofport=LINKS.gtpu,
    ect_1_ofport=LINKS.gtpu_ect_1,
    ce_ofport=LINKS.gtpu_ce,
    loop_out_ofport=LINKS.loop_out,
    loop_in_ofport=LINKS.loop_in,
    ovs_version="3.1.0",
)


class World:
    """An agent in sync with a switch that takes everything."""

    def __init__(self, store: SessionStore, ue_to_ue: str = "deny") -> None:
        self.store, self.switch = store, Switch()
        self.agent = GatewayAgent(
            gateway(ue_to_ue=ue_to_ue), store, Semaphore(1), [], "nonce", None, EventLog()
        )
        self.agent.links.facts, self.agent.host.access_mtu = FACTS, LINKS.access_mtu
        self.agent.host.core_mtu = LINKS.core_mtu
        self.agent.sync.channel = self.switch.channel
        self.agent.core_side.next_hop.assume(str(LINKS.peer_mac))
        self.agent.sync.links = self.agent.links.get()
        self.agent.sync.synced = self.agent.sync.compared = True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SessionStore]:
    store = SessionStore(tmp_path / "sessions.db")
    yield store
    store.close()


@pytest.fixture
def world(store: SessionStore) -> World:
    return World(store)


@pytest.mark.parametrize("before", [[], [session(1, downlink=None)]])
def test_a_change_that_a_silent_switch_is_not_told_is_made_up_for(
    world: World, before: list[Session]
) -> None:
    world.switch.channel._requests.silent = True
    assert world.agent.carrier.change(before, [session(1)]) is False
    assert not world.agent.synced
    assert world.switch.got == []


def test_a_comparison_of_a_connection_that_is_gone_ends_nothing(world: World) -> None:
    agent, old = world.agent, world.switch.channel
    agent.detach(old)
    agent.sync.channel = Switch().channel
    links = agent.links.get()
    assert not agent._resync._conclude(old, agent.sync.generation, links, {})
    assert not agent.synced


def test_a_new_next_hop_is_not_lost_to_a_change_of_a_session(store: SessionStore) -> None:
    world = World(store, ue_to_ue="route")
    agent = world.agent
    assert agent.sync.links is not None
    agent.core_side.next_hop.assume("52:54:00:00:00:99")
    agent.core_side.next_hop.heard("52:54:00:00:00:99", 0.0)
    assert agent.carrier.change([], [session(1)])
    assert agent.sync.links.peer_mac == LINKS.peer_mac, "no flow has been sent for the new one"
    agent.carrier.update_route()
    assert agent.sync.links.peer_mac == "52:54:00:00:00:99"
    assert any(bytes.fromhex("525400000099") in body for _, _, body in world.switch.got)


def test_ports_opened_anew_end_what_is_cached(world: World) -> None:
    """It may name their numbers in the datapath, which others may have now; no session's flow."""
    agent = world.agent
    epoch = agent.links.epoch
    agent._learn(FACTS)
    eventlet.sleep(0)
    assert (agent.links.epoch, world.switch.got) == (epoch, [])
    agent.host._ovsdb.opened += 1
    agent._learn(FACTS)
    eventlet.sleep(0)
    assert agent.synced and agent.links.epoch != epoch and not agent.links.reopened
    cookies = [body[16:24] for kind, _, body in world.switch.got if kind == of.Type.BUNDLE_ADD]
    base = make_cookie(CookieKind.BASE).to_bytes(8, "big")
    assert cookies and set(cookies) == {base}


def test_ports_opened_during_a_comparison_have_another_follow(world: World) -> None:
    agent, channel = world.agent, world.switch.channel
    agent.sync.resync_soon("for the test")
    links = agent.links.get()
    agent.host._ovsdb.opened += 1
    agent._learn(FACTS)
    assert not agent._resync._conclude(channel, agent.sync.generation, links, {})
    prepared = Prepared(agent.links.ready())
    found = Comparison(prepared, [])
    found.reported = 1
    for flow in agent.wanted():
        found.others += of.decode_flow_stats(stats(flow))
    changed, links = agent._equaliser.put_right(channel, prepared, found)
    assert changed and agent._resync._conclude(channel, agent.sync.generation, links, {})


@pytest.mark.parametrize(
    "what", [{"interfaces": (3, 5)}, {"core_mac": "02:00:00:00:00:cc"}, {"local_mac": "02::"}]
)
def test_other_devices_are_announced_and_their_neighbours_asked(
    world: World, what: dict[str, object]
) -> None:
    agent, facts = world.agent, replace(FACTS, **what)
    agent.core_side.next_hop.heard("52:54:00:00:00:99", time.monotonic())
    agent.core_side.next_hop.due(time.monotonic())
    assert not agent.core_side.next_hop.due(time.monotonic())
    agent._learn(facts)
    assert agent.core_side.next_hop.due(time.monotonic())
    links = replace(LINKS, local_mac="02:00:00:00:00:0a", core_mac="02:00:00:00:00:0c")
    for now in (0.0, 0.5, 1.0, 1.1, 2.0, 3.0, 4.0):
        agent._announcer.tick(now, world.switch.channel, links)
    frames = [body[-42:] for kind, _, body in world.switch.got if kind == of.Type.PACKET_OUT]
    access = announcement(links.local_mac, agent.gateway.access_ip.ip)
    assert frames == [access, announcement(links.core_mac, agent.gateway.core_ip.ip)] * 3
    world.switch.got.clear()
    agent._learn(facts)
    agent._announcer.tick(9.0, world.switch.channel, links)
    assert world.switch.got == []


def test_a_long_batch_of_single_changes_is_told_as_it_is_read(world: World) -> None:
    """To plan and send all of it at the end would keep all other green threads waiting."""
    agent = world.agent
    service = SessionService(world.store, [agent], agent.carrier._writer, agent._events)
    first = int(session(1).ue_ip)
    told = []

    def lines(far_ip: int) -> Iterator[tuple[int, BatchPut | str]]:
        for number in range(1, 4 * SLICE + 1):
            yield (
                number,
                BatchPut(f"ue-{number}", None, first + number, number, None, number, far_ip),
            )
        told.append(len(world.switch.got))

    assert service.batch(lines(int(ENB))).created == 4 * SLICE
    before = len(world.switch.got)
    assert service.batch(lines(int(OTHER_ENB))).replaced == 4 * SLICE
    assert told[1] - before >= 2 * SLICE


class Refusing(Switch):
    """Refuses the flow-mods that come without a bundle."""

    def answer(self, kind: int, xid: int, body: bytes) -> None:
        if kind == of.Type.FLOW_MOD:
            self.channel.receive(of.Type.ERROR, xid, TABLE_FULL)
        else:
            super().answer(kind, xid, body)


@pytest.mark.parametrize("back", [True, False], ids=["taken back", "not taken back"])
def test_what_is_left_of_a_refused_session_is_taken_back_or_found(world: World, back: bool) -> None:
    agent, switch = world.agent, Refusing()
    agent.sync.channel = switch.channel
    if not back:
        switch.refuse = dict.fromkeys(range(256), TABLE_FULL)
    with pytest.raises(FlowsRefused):
        agent.carrier.change([], [session(1)])
    assert switch.words().count("DELETE_STRICT") == 2
    assert agent.synced is back
    assert agent.sync.generation == (0 if back else 1)


def test_others_get_turns_while_all_flows_are_found_to_differ(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, links = 10 * TURN, world.agent.sync.links
    assert links is not None
    wanted = [
        session(n, ue_ip=session(1).ue_ip + n, uplink=Uplink(n), downlink=FTeid(n, ENB))
        for n in range(1, count + 1)
    ]
    found = Comparison(Prepared(links), map(FlowValues.of, wanted))
    for each in wanted:
        for flow in session_flows(each, links):
            found.take(stats(replace(flow, cookie=flow.cookie | 1 << 39)))
    turns: list[float] = []
    monkeypatch.setattr(eventlet, "sleep", turns.append)
    monkeypatch.setattr(Bundle, "put", lambda *_: None)
    world.agent._equaliser.put_right(world.switch.channel, Prepared(links), found)
    # What was reported is gone through to sort it, and to compare it twice.
    assert len(turns) >= 3 * 2 * count // TURN


def too_big(mtu: int, world: World) -> None:
    """A downlink packet of 1500 octets with DF comes to a port of this MTU."""
    assert world.agent.sync.links is not None
    world.agent.sync.links = replace(world.agent.sync.links, access_mtu=mtu)
    packet = bytes.fromhex("450005dc 00004000 40110000 0a020002 0a2d0002") + bytes(8)
    frame = bytes.fromhex("060000000002 525400000003 0800") + packet
    cookie = make_cookie(CookieKind.REPORT, Report.TOO_BIG)
    world.agent.packet_ins.take(of.PacketIn(cookie, LINKS.core, 0, 0, frame))


@pytest.mark.parametrize(("mtu", "told"), [(1400, 1), (104, 1), (103, 0), (68, 0)])
def test_no_mtu_is_told_that_no_link_has(
    world: World, caplog: pytest.LogCaptureFixture, mtu: int, told: int
) -> None:
    too_big(mtu, world)
    assert world.switch.words() == ["PACKET_OUT"] * told
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("mtu", "told"), [(1400, 1), (68, 1), (67, 0), (1500, 0), (None, 0)], ids=str
)
def test_a_ue_is_told_the_core_mtu(
    world: World, caplog: pytest.LogCaptureFixture, mtu: int | None, told: int
) -> None:
    """By way of the flow tables, as if it came from the core side."""
    assert world.agent.sync.links is not None
    world.agent.sync.links = replace(world.agent.sync.links, core_mtu=mtu)
    packet = bytes.fromhex("450005dc 00004000 40110000 0a2d0002 0a020002") + bytes(8)
    cookie = make_cookie(CookieKind.REPORT, Report.TOO_BIG_UPLINK)
    frame = bytes(12) + b"\x08\x00" + packet
    world.agent.packet_ins.take(of.PacketIn(cookie, LINKS.loop_in, 0, 0, frame))
    assert world.switch.words() == ["PACKET_OUT"] * told
    assert caplog.messages == []
    for _, _, body in world.switch.got[-told:] if told else []:
        assert int.from_bytes(body[4:8], "big") == LINKS.core, "in_port"
        sent = Ether(body[-(14 + 56) :])
        assert (sent.src, sent.dst) == (LINKS.core_mac, LINKS.core_mac)
        assert (sent[IP].src, sent[IP].dst) == ("10.2.0.1", "10.45.0.2")
        assert (sent[ICMP].type, sent[ICMP].code, sent[ICMP].nexthopmtu) == (3, 4, mtu)


def test_a_packet_that_is_too_much_for_us_ends_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    too_big(70_000, world)
    assert caplog.messages == ["gateway=gw1: unexpected"]


def test_each_tunnel_of_a_peer_that_all_sessions_leave_gets_its_end_marker(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[object] = []
    # Else they would be sent once more, in a later test.
    monkeypatch.setattr("eventlet.spawn_after", lambda _, *call: later.append(call))
    agent, peers, mac = world.agent, world.agent.signalling.peers, "52:54:00:00:00:44"
    tunnels = [FTeid(n, ENB) for n in range(1, 21)]
    pairs = [
        (
            session(each.teid, downlink=each),
            session(each.teid, downlink=FTeid(each.teid, OTHER_ENB)),
        )
        for each in tunnels
    ]
    peers.load({ENB: len(tunnels)}, 0.0)
    peers.neighbours.heard(ENB, mac, 0.0)
    agent.news.changed(pairs)
    assert peers.neighbours.mac(ENB) == mac, "they are yet to be sent"
    world.switch.got.clear()
    owed = [(each, ENB) for each in tunnels]
    assert later == [(agent._end_markers._send, owed)]
    agent._end_markers._send(owed)
    sent = [body for kind, _, body in world.switch.got if kind == of.Type.PACKET_OUT]
    assert [int.from_bytes(body[-4:], "big") for body in sent] == [each.teid for each in tunnels]
    assert {body[32:38].hex(":") for body in sent} == {mac}
    assert peers.neighbours.mac(ENB) is None


def test_report_of_a_silent_switch(world: World) -> None:
    """What is known without it: its version's faults, the lease, what was forwarded before."""
    agent = world.agent
    world.switch.channel._requests.silent = True
    agent.totals.packets["uplink"] = 7
    shown = report(agent)
    schema.GatewayOutput.model_validate(shown, strict=True)
    assert shown["faults"] == [] and shown["lease"] is None
    assert shown["drops"] is None
    assert shown["forwarded"]["uplink"] == {"packets": 7, "bytes": 0}
    assert shown["access"]["link"] == "missing"

    agent.host.ovs_version = "3.2.1"
    agent.lease = Lease(10)
    agent.lease.renewed_at = time.time() - 3
    shown = report(agent)
    schema.GatewayOutput.model_validate(shown, strict=True)
    names = [fault["name"] for fault in shown["faults"]]
    assert names == [fault.name for fault in faults.of((3, 2))]
    assert {fault["basis"] for fault in shown["faults"]} == {"read in its source", "not tried"}
    assert 6.5 < shown["lease"]["seconds_left"] <= 7.1
    agent.lease.renewed_at = time.time() - 30
    assert report(agent)["lease"]["seconds_left"] == 0


def shown(
    world: World, reason: DropReason, frame: bytes, *, teid: int = 0x1001, **more: int
) -> None:
    """The switch shows a packet that it drops."""
    cookie = make_cookie(CookieKind.DROP, reason)
    world.agent.packet_ins.take(of.PacketIn(cookie, LINKS.gtpu, teid, int(ENB), frame, **more))


def test_what_is_seen_of_dropped_packets_is_remembered(world: World) -> None:
    with world.store.transaction() as tx:
        tx.insert(session())
    ue, spoofed = session().ue_ip, IPv4Address("192.168.0.7")

    def of_ue(source: IPv4Address) -> bytes:
        return bytes(14) + bytes.fromhex("45000054 00004000 40110000") + source.packed + bytes(64)

    icmp = bytes(Ether() / IP(src=str(OTHER_ENB), dst="10.1.0.1") / ICMP(type=3, code=3))
    quoted = bytes(IP(src="10.1.0.1", dst=str(ENB)) / UDP(sport=7, dport=2152))
    told = icmp[:16] + (len(icmp) - 14 + len(quoted) + 8).to_bytes(2, "big") + icmp[18:] + quoted
    told += b"\x30\xff\x00\x10" + (0x2001).to_bytes(4, "big")
    shown(world, DropReason.NO_UPLINK_SESSION, of_ue(ue), teid=0x9999)
    shown(world, DropReason.NO_UPLINK_SESSION, of_ue(spoofed))
    shown(world, DropReason.NO_UPLINK_SESSION, b"")
    shown(world, DropReason.WRONG_QFI, of_ue(ue), container=0x80 | 8)
    shown(world, DropReason.CONTAINER_MISSING, of_ue(ue))
    shown(world, DropReason.BAD_CONTAINER, bytes(64), form=1)
    shown(world, DropReason.EXTENSION_CHAIN, bytes(64), form=0x11)
    shown(world, DropReason.ICMP_ERROR, told, teid=0)
    shown(world, DropReason.ICMP_ERROR, icmp, teid=0)
    shown(world, DropReason.ICMP_ERROR, told.replace(b"\x08\x68", b"\x00\x35"), teid=0)
    records = world.agent.misses.lately.about(
        time.monotonic(), ue_prefixes(session()), {0x1001}, {ENB}
    )
    assert [record.seen for record in reversed(records)] == [
        Observation(Seen.UNKNOWN_TEID, ENB, 0x9999, ue),
        Observation(Seen.SPOOFED_SOURCE, ENB, 0x1001, spoofed),
        Observation(Seen.SPOOFED_SOURCE, ENB, 0x1001, None),
        Observation(Seen.WRONG_QFI, ENB, 0x1001, ue, 8),
        Observation(Seen.CONTAINER_MISSING, ENB, 0x1001, ue),
        Observation(Seen.BAD_CONTAINER, ENB, 0x1001),
        Observation(Seen.EXTENSION_CHAIN, ENB, 0x1001),
        Observation(Seen.ICMP_ERROR, ENB, 0x2001, OTHER_ENB, 0x303),
    ]
    service = SessionService(world.store, [world.agent], Semaphore(1), EventLog())
    views = service.seen(session().id)
    assert [view.seen for view in views] == [record.seen for record in records]
    assert all(timedelta() <= datetime.now(UTC) - each.last_at < timedelta(60) for each in views)


@pytest.mark.parametrize(
    ("source", "peer", "kind"),
    [
        ("2001:db8:a:2::7", ENB, Seen.SPOOFED_SOURCE),
        ("fe80::7", ENB, Seen.SPOOFED_SOURCE),
        ("2001:db8:a:1::7", OTHER_ENB, Seen.WRONG_PEER),
        ("2001:db8:a:1::7", ENB, Seen.NOT_INSTALLED),
    ],
)
def test_what_is_seen_of_dropped_ipv6_packets(
    world: World, source: str, peer: IPv4Address, kind: Seen
) -> None:
    of_both = replace(detailed(ue_ipv6=PREFIX), uplink=Uplink(0x1001, ENB))
    with world.store.transaction() as tx:
        tx.insert(of_both)
    ends = Ether(src=LINKS.local_mac, dst=LINKS.core_mac)
    frame = bytes(ends / IPv6(src=source, dst="2001:db8::1") / UDP())
    cookie = make_cookie(CookieKind.DROP, DropReason.NO_UPLINK_SESSION)
    world.agent.packet_ins.take(of.PacketIn(cookie, LINKS.gtpu, 0x1001, int(peer), frame))
    own = ue_prefixes(of_both)
    (record,) = world.agent.misses.lately.about(time.monotonic(), own, {0x1001}, ())
    assert record.seen == Observation(kind, peer, 0x1001, IPv6Address(source))
