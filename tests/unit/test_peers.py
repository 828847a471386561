"""The peers of a gateway: who is in use, what waits for whose MAC address, what is sent where."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from scapy.contrib.gtp import GTP_U_Header, GTPEchoRequest, GTPHeader
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from ofgtp.control.peers.peers import WAIT_S, WAITING_EACH, WAITING_HOPS, Peers, difference
from ofgtp.core.model import AccessRoute, FTeid, Session, Uplink
from ofgtp.core.packets import frames, gtpu
from ofgtp.core.packets.gtpu import MessageType
from ofgtp.core.peers.neighbours import NeighbourState
from ofgtp.core.sessions.rules import peers_of
from tests.support.lab import gateway
from tests.support.sample import ENB, OTHER_ENB, session

OURS, OUR_MAC, ENB_MAC = "10.1.0.1", "02:00:00:00:00:01", "52:54:00:00:00:02"
ROUTER, ROUTER_MAC = IPv4Address("10.1.0.254"), "52:54:00:00:00:fe"
BEYOND, BEYOND_TOO = IPv4Address("10.9.0.7"), IPv4Address("10.9.0.8")
NOWHERE = IPv4Address("192.0.2.7")
ROUTED = gateway(access_routes=(AccessRoute(IPv4Network("10.9.0.0/16"), ROUTER),))

OTHERWISE = (AccessRoute(IPv4Network("10.9.0.0/16"), IPv4Address("10.1.0.253")),)


class Wire:
    """Peers, and what they put on the access side."""

    def __init__(self, mac: str | None = OUR_MAC) -> None:
        self.mac = mac
        self.frames: list[bytes] = []
        self.sent: list[MessageType] = []
        self.gateway = replace(ROUTED)
        self.peers = Peers(self.gateway, self.frames.append, lambda: self.mac, self.sent.append)

    def take(self) -> list[Packet]:
        """The frames sent since the last call, as scapy reads them."""
        taken, self.frames[:] = [Ether(frame) for frame in self.frames], []
        return taken

    def asked(self) -> list[str]:
        """Whom the frames since the last call ask for; there is nothing but questions."""
        taken = self.take()
        assert all((frame.src, frame.dst) == (OUR_MAC, "ff:" * 5 + "ff") for frame in taken)
        questions = [frame[ARP] for frame in taken]
        assert all((each.op, each.psrc, each.hwsrc) == (1, OURS, OUR_MAC) for each in questions)
        return [each.pdst for each in questions]

    def answers(self, ip: IPv4Address = ENB, mac: str = ENB_MAC, now: float = 0) -> bool:
        """`ip` answers our question."""
        return self.peers.heard_arp(arp(2, ip, mac), now)

    def say(self, peer: IPv4Address = ENB, sequence: int = 0, now: float = 0) -> None:
        datagram = gtpu.echo_request(sequence)
        self.peers.say(peer, MessageType.ECHO_REQUEST, datagram, now)


def arp(op: int, ip: IPv4Address, mac: str, target: str = OURS) -> bytes:
    return bytes(Ether(src=mac, dst=OUR_MAC) / ARP(op=op, hwsrc=mac, psrc=str(ip), pdst=target))


@pytest.fixture
def wire() -> Wire:
    return Wire()


def uses(peers: Peers) -> dict[IPv4Address, int]:
    return {status.peer: status.users for status in peers.status()}


# --- who is in use


def test_peers_of_a_session() -> None:
    assert peers_of(session()) == {ENB}
    assert peers_of(session(downlink=None)) == set()
    assert peers_of(session(uplink=Uplink(1, OTHER_ENB))) == {ENB, OTHER_ENB}
    assert peers_of(session(uplink=Uplink(1, ENB))) == {ENB}
    assert peers_of(session(uplink=Uplink(1, ENB), downlink=None)) == {ENB}


def test_a_new_peer_is_asked_at_once_by_arp_and_echo(wire: Wire) -> None:
    wire.peers.changed(difference(None, session()), 0)
    assert wire.peers.tick(0) == []
    assert wire.asked() == [str(ENB)]
    assert wire.answers(now=0.25)
    [echo] = wire.take()
    assert (echo.src, echo.dst, echo[IP].src, echo[IP].dst) == (OUR_MAC, ENB_MAC, OURS, str(ENB))
    assert (echo[UDP].sport, echo[UDP].dport) == (2152, 2152)
    assert echo[GTP_U_Header].gtp_type == 1
    assert wire.sent == [MessageType.ECHO_REQUEST]


def test_loaded_peers_are_asked_by_arp_at_once_but_not_by_echo(wire: Wire) -> None:
    wire.peers.load({ENB: 3, OTHER_ENB: 1}, 0)
    wire.peers.tick(0)
    assert sorted(wire.asked()) == [str(ENB), str(OTHER_ENB)]
    wire.answers()
    for step in range(1, 60):
        wire.peers.tick(step)
    assert wire.sent == []
    wire.peers.tick(60.1)
    assert wire.sent == [MessageType.ECHO_REQUEST]


def test_peers_behind_a_router_need_the_router(wire: Wire) -> None:
    for number, peer in enumerate((BEYOND, BEYOND_TOO), 1):
        wire.peers.changed(difference(None, session(number, downlink=FTeid(number, peer))), 0)
    wire.peers.ask(0)
    assert wire.asked() == [str(ROUTER)]
    wire.answers(ROUTER, ROUTER_MAC)
    wire.say(BEYOND)
    [echo] = wire.take()
    assert (echo.dst, echo[IP].dst) == (ROUTER_MAC, str(BEYOND))
    wire.peers.changed(difference(session(1, downlink=FTeid(1, BEYOND)), None), 1)
    assert wire.peers.neighbours.mac(ROUTER) == ROUTER_MAC
    wire.peers.changed(difference(session(2, downlink=FTeid(2, BEYOND_TOO)), None), 1)
    assert wire.peers.neighbours.mac(ROUTER) is None


def test_a_peer_that_no_route_leads_to_is_never_asked(wire: Wire) -> None:
    wire.peers.expect({NOWHERE}, 0)
    wire.peers.changed(difference(None, session(downlink=FTeid(1, NOWHERE))), 0)
    wire.peers.tick(0)
    wire.say(NOWHERE)
    assert wire.take() == []
    assert uses(wire.peers) == {NOWHERE: 1}
    wire.peers.changed(difference(session(downlink=FTeid(1, NOWHERE)), None), 0)
    assert uses(wire.peers) == {}


def test_what_is_loaded_takes_the_place_of_what_was_before(wire: Wire) -> None:
    for counts in ({ENB: 5, OTHER_ENB: 1}, {ENB: 2, BEYOND: 3}, {}):
        wire.peers.load(counts, 0)
        assert uses(wire.peers) == counts
        assert sum(wire.peers.neighbours.counts().values()) == len(counts)


def test_other_routes_take_peers_to_other_routers(wire: Wire) -> None:
    wire.peers.changed({BEYOND: 2, ENB: 1}, 0)
    assert sorted(wire.asked()) == []
    wire.peers.ask(0)
    assert sorted(wire.asked()) == [str(ENB), str(ROUTER)]
    wire.answers()
    before = replace(wire.gateway)
    wire.gateway.take(replace(before, access_routes=OTHERWISE, n3_requests=2))
    wire.peers.reloaded(before, 1)
    assert wire.asked() == ["10.1.0.253"]
    wire.answers(ROUTER, ROUTER_MAC, now=1)
    assert wire.peers.neighbours.mac(ROUTER) is None, "nobody uses it any more"
    wire.answers(IPv4Address("10.1.0.253"), ROUTER_MAC, now=1)
    wire.say(BEYOND, now=1)
    assert wire.take()[0].dst == ROUTER_MAC


PEERS = (ENB, OTHER_ENB, BEYOND, BEYOND_TOO, NOWHERE)


class CountsMachine(RuleBasedStateMachine):
    """Sessions come, change and go; after each step the peers are those that they name."""

    def __init__(self) -> None:
        super().__init__()
        self.wire, self.now = Wire(), 0.0
        self.sessions: dict[int, Session] = {}
        self.loaded = True

    @rule(number=st.integers(1, 6), downlink=st.none() | st.sampled_from(PEERS))
    def nobody_tells(self, number: int, downlink: IPv4Address | None) -> None:
        """A session of an earlier run, or a change that got lost: the next load tells."""
        self.sessions[number] = session(number, downlink=downlink and FTeid(number, downlink))
        self.loaded = False

    @rule(
        number=st.integers(1, 6),
        uplink=st.none() | st.sampled_from(PEERS),
        downlink=st.none() | st.sampled_from(PEERS),
    )
    def put(self, number: int, uplink: IPv4Address | None, downlink: IPv4Address | None) -> None:
        tunnel = None if downlink is None else FTeid(number, downlink)
        new = session(number, uplink=Uplink(number, uplink), downlink=tunnel)
        self.wire.peers.changed(difference(self.sessions.get(number), new), self.now)
        self.sessions[number] = new

    @rule(number=st.integers(1, 6))
    def delete(self, number: int) -> None:
        self.wire.peers.changed(difference(self.sessions.pop(number, None), None), self.now)

    @rule()
    def load(self) -> None:
        self.wire.peers.load(self.counted(), self.now)
        self.loaded = True

    @rule(step=st.sampled_from([0.25, 1.0, 3.0, 60.0]))
    def tick(self, step: float) -> None:
        self.now += step
        self.wire.peers.tick(self.now)

    @rule(peers=st.sets(st.sampled_from(PEERS)))
    def expect(self, peers: set[IPv4Address]) -> None:
        self.wire.peers.expect(peers, self.now)

    @rule(peer=st.sampled_from(PEERS))
    def say(self, peer: IPv4Address) -> None:
        self.wire.say(peer, now=self.now)

    @rule(hop=st.sampled_from([ENB, ROUTER]))
    def answer(self, hop: IPv4Address) -> None:
        self.wire.answers(hop, now=self.now)

    @rule(routes=st.sampled_from([(), ROUTED.access_routes, OTHERWISE]))
    def reload(self, routes: tuple[AccessRoute, ...]) -> None:
        before = replace(self.wire.gateway)
        self.wire.gateway.take(replace(before, access_routes=routes))
        self.wire.peers.reloaded(before, self.now)

    def counted(self) -> Counter[IPv4Address]:
        return Counter(peer for each in self.sessions.values() for peer in peers_of(each))

    @invariant()
    def peers_are_those_that_sessions_name(self) -> None:
        if self.loaded:
            assert uses(self.wire.peers) == self.counted()

    def teardown(self) -> None:
        """When nothing waits any more, the next hops are those of the peers, each as often."""
        self.now += WAIT_S
        self.wire.peers.load(self.counted(), self.now)
        for hop in [hop for hop, each in self.wire.peers._waiting.items()]:
            self.wire.peers._waiting.pop(hop)
            self.wire.peers.neighbours.release(hop)
        hops = [self.wire.gateway.access_next_hop(peer) for peer in self.counted()]
        used = Counter(hop for hop in hops if hop is not None)
        assert sum(self.wire.peers.neighbours.counts().values()) == len(used)
        for hop, times in used.items():
            for _ in range(times):
                self.wire.peers.neighbours.release(hop)
        assert sum(self.wire.peers.neighbours.counts().values()) == 0


TestCounts = CountsMachine.TestCase
TestCounts.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


# --- what waits


def test_a_message_waits_for_its_next_hop(wire: Wire) -> None:
    wire.say(sequence=1)
    assert wire.asked() == [str(ENB)], "and ARP does not wait for the next tick"
    assert wire.answers(now=2.9)
    [echo] = wire.take()
    assert (echo.dst, echo[GTP_U_Header].seq) == (ENB_MAC, 1)
    wire.answers(now=2.9)
    assert wire.take() == [], "once is enough"
    wire.say(sequence=2, now=2.9)
    assert [frame[GTP_U_Header].seq for frame in wire.take()] == [2], "now it is known"


def test_a_message_waits_three_seconds_and_no_longer(wire: Wire) -> None:
    wire.say()
    wire.peers.tick(WAIT_S - 0.01)
    assert wire.peers.neighbours.counts()[NeighbourState.UNRESOLVED] == 1
    wire.peers.tick(WAIT_S)
    assert sum(wire.peers.neighbours.counts().values()) == 0, "the next hop is released"
    wire.take()
    assert not wire.answers(now=WAIT_S)
    assert wire.take() == []
    assert wire.sent == []


def test_messages_wait_in_order_and_so_many_for_each(wire: Wire) -> None:
    for sequence in range(WAITING_EACH + 5):
        wire.say(sequence=sequence)
    wire.take()
    wire.answers()
    assert [frame[GTP_U_Header].seq for frame in wire.take()] == list(range(WAITING_EACH))
    assert wire.sent == [MessageType.ECHO_REQUEST] * WAITING_EACH


def test_messages_wait_for_so_many_next_hops(wire: Wire) -> None:
    hops = [IPv4Address("10.1.0.2") + n for n in range(WAITING_HOPS + 5)]
    for hop in hops:
        wire.say(hop)
    assert sum(wire.peers.neighbours.counts().values()) == WAITING_HOPS
    wire.take()
    for hop in hops:
        wire.answers(hop)
    assert [frame[IP].dst for frame in wire.take()] == [str(hop) for hop in hops[:WAITING_HOPS]]
    wire.peers.tick(WAIT_S)
    wire.take()
    wire.say(hops[-1], now=WAIT_S)
    wire.answers(hops[-1], now=WAIT_S)
    assert [frame.type for frame in wire.take()] == [0x0806, 0x0800], "there is room again"


def test_messages_to_peers_behind_one_router_go_together(wire: Wire) -> None:
    wire.say(BEYOND)
    wire.say(BEYOND_TOO)
    assert wire.asked() == [str(ROUTER)]
    wire.answers(ROUTER, ROUTER_MAC)
    sent = [(frame.dst, frame[IP].dst) for frame in wire.take()]
    assert sent == [(ROUTER_MAC, str(BEYOND)), (ROUTER_MAC, str(BEYOND_TOO))]


def test_the_next_hop_of_an_expected_peer_is_asked_and_kept_for_a_while(wire: Wire) -> None:
    wire.peers.changed(difference(None, session(2, downlink=FTeid(2, OTHER_ENB))), 0)
    wire.peers.ask(0)
    wire.take()
    wire.peers.expect({ENB, OTHER_ENB}, 0)
    wire.peers.ask(0)
    assert wire.asked() == [str(ENB)], "the other is in use"
    assert wire.answers(now=0.5)
    wire.peers.tick(WAIT_S - 0.01)
    assert wire.peers.neighbours.mac(ENB) == ENB_MAC
    wire.peers.changed(difference(None, session()), WAIT_S - 0.01)
    wire.peers.tick(WAIT_S)
    assert wire.peers.neighbours.mac(ENB) == ENB_MAC, "a session uses it"


def test_peers_in_use_are_not_expected(wire: Wire) -> None:
    crowd = [IPv4Address("10.1.0.100") + n for n in range(WAITING_HOPS)]
    wire.peers.load(dict.fromkeys(crowd, 1), 0)
    wire.peers.expect(set(crowd), 0)
    wire.say(ENB)
    wire.answers()
    assert wire.sent == [MessageType.ECHO_REQUEST], "there is room for it"


def test_an_expected_peer_that_does_not_come_is_forgotten(wire: Wire) -> None:
    wire.peers.expect({ENB}, 0)
    wire.peers.expect({ENB}, 2)
    wire.peers.tick(WAIT_S)
    assert sum(wire.peers.neighbours.counts().values()) == 0
    assert uses(wire.peers) == {}


# --- what is sent


def test_nothing_is_sent_while_our_mac_is_not_known() -> None:
    wire = Wire(mac=None)
    wire.peers.load({ENB: 1}, 0)
    wire.peers.changed(difference(None, session(2, downlink=FTeid(1, OTHER_ENB))), 0)
    request = frames.parse_udp(bytes(echo_request_frame()))
    for now in range(130):
        wire.peers.tick(now)
        wire.say(now=now)
        wire.answers(now=now)
        wire.peers.answer(request, MessageType.ECHO_RESPONSE, gtpu.echo_response(1))
    assert (wire.frames, wire.sent) == ([], [])
    wire.mac = OUR_MAC
    wire.peers.ask(130)
    assert str(OTHER_ENB) in wire.asked(), "what was due then is sent now"


def echo_request_frame(dscp: int = 0, port: int = 2152, src: str = "10.1.0.2") -> Packet:
    ip = IP(src=src, dst=OURS, tos=dscp << 2)
    gtp = GTPHeader(gtp_type=1, S=1, seq=77) / GTPEchoRequest()
    return Ether(src=ENB_MAC, dst=OUR_MAC) / ip / UDP(sport=port, dport=2152) / gtp


@given(
    dscp=st.integers(0, 63),
    port=st.integers(1, 65535),
    src=st.sampled_from(["10.1.0.2", "10.9.0.7", "192.0.2.7"]),
)
@settings(max_examples=25, deadline=None)
def test_an_answer_goes_back_where_the_request_came_from(dscp: int, port: int, src: str) -> None:
    wire = Wire()
    request = frames.parse_udp(bytes(echo_request_frame(dscp, port, src)))
    wire.peers.answer(request, MessageType.ECHO_RESPONSE, gtpu.echo_response(77))
    [answer] = wire.take()
    assert (answer.src, answer.dst) == (OUR_MAC, ENB_MAC)
    assert (answer[IP].src, answer[IP].dst, answer[IP].tos) == (OURS, src, dscp << 2)
    assert (answer[UDP].sport, answer[UDP].dport) == (2152, port)
    # scapy takes some ports for another protocol's
    assert GTP_U_Header(answer[UDP].payload.original).seq == 77
    assert wire.sent == [MessageType.ECHO_RESPONSE]
    assert sum(wire.peers.neighbours.counts().values()) == 0, "an answer teaches nothing"


def test_what_is_said_first_has_no_dscp(wire: Wire) -> None:
    wire.say()
    wire.answers()
    assert wire.take()[-1][IP].tos == 0


# --- ARP


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(arp(2, ENB, ENB_MAC, "10.1.0.9"), id="not for us"),
        pytest.param(arp(2, ENB, ENB_MAC, str(ENB)), id="gratuitous"),
        pytest.param(arp(1, ENB, ENB_MAC), id="a question"),
        pytest.param(arp(2, ENB, OUR_MAC), id="from our own MAC"),
        pytest.param(arp(2, OTHER_ENB, ENB_MAC), id="of a host not in use"),
        pytest.param(arp(2, ENB, "53:54:00:00:00:02"), id="from a group"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_arp_that_is_not_believed(wire: Wire, frame: bytes) -> None:
    wire.peers.changed(difference(None, session()), 0)
    wire.peers.tick(0)
    wire.take()
    assert not wire.peers.heard_arp(frame, 0.5)
    assert (wire.peers.neighbours.mac(ENB), wire.frames) == (None, [])
    assert wire.peers.neighbours.counts()[NeighbourState.UNRESOLVED] == 1
    assert wire.answers(now=0.5)
    wire.take()
    assert not wire.peers.heard_arp(frame, 0.6)
    assert wire.peers.neighbours.mac(ENB) == ENB_MAC


@pytest.mark.parametrize("op", [1, 2])
def test_a_host_that_shows_another_mac_is_asked(wire: Wire, op: int) -> None:
    wire.peers.changed(difference(None, session()), 0)
    wire.peers.tick(0)
    wire.answers()
    wire.take()
    new_mac = "52:54:00:00:00:99"
    wire.peers.heard_arp(arp(op, ENB, new_mac, str(ENB)), 10)
    assert wire.peers.neighbours.mac(ENB) == ENB_MAC
    wire.peers.ask(10)
    assert wire.asked() == [str(ENB)]
    assert wire.answers(mac=new_mac, now=10)
    wire.say(now=10)
    assert wire.take()[-1].dst == new_mac


@given(st.binary(max_size=60), st.booleans())
@settings(max_examples=200, deadline=None)
def test_arp_is_never_too_strange(garbage: bytes, head: bool) -> None:
    wire = Wire()
    wire.peers.changed(difference(None, session()), 0)
    frame = (arp(2, ENB, ENB_MAC)[: 14 + 8] if head else b"") + garbage
    wire.peers.heard_arp(frame, 0)
    wire.peers.tick(1)
