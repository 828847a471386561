"""GTP-U signalling of one gateway: what is answered, counted, handed on and told."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface
from pathlib import Path
from types import SimpleNamespace

import eventlet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from ofgtp.control.peers import signalling as module
from ofgtp.control.peers.signalling import CUT_OFF, ERROR_INDICATIONS, NOTIFICATIONS, Signalling
from ofgtp.core.errors import SwitchRefused
from ofgtp.core.model import AccessRoute, Address, FTeid, Gateway, Session, SessionState, Uplink
from ofgtp.core.peers.paths import PathState
from ofgtp.core.rules.terms import EXTENDED, EXTENDED_NUMBERED, EXTENSION_SAMPLE
from ofgtp.northbound.events import EventLog
from ofgtp.store import SessionStore
from tests.support import gtpu
from tests.support.lab import gateway
from tests.support.sample import ENB, FAR, OTHER_ENB, bearer, detailed, relay, session

OURS, OUR_MAC, ENB_MAC = "10.1.0.1", "02:00:00:00:00:01", "52:54:00:00:00:02"
ROUTER, BEYOND = IPv4Address("10.1.0.254"), IPv4Address("10.9.0.7")
ROUTES = (AccessRoute(IPv4Network("10.9.0.0/16"), ROUTER),)
ACTIVE, FAILED, INDICATED = SessionState.ACTIVE, SessionState.FAILED, SessionState.ERROR_INDICATED
NOTIFICATION = 31


class Recorder:
    """Sessions that note what they are told, and do as a test says."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[FTeid]]] = []
        self.down: list[tuple[str, IPv4Address, bool]] = []
        self.meanwhile: list[Callable[[], None]] = []
        """What happens during each of the next calls."""

    def error_indicated(self, gateway: str, tunnels: Sequence[FTeid]) -> None:
        self.told.append((gateway, list(tunnels)))
        if self.meanwhile:
            self.meanwhile.pop(0)()

    def path_down(self, gateway: str, peer: IPv4Address, *, remove: bool) -> None:
        self.down.append((gateway, peer, remove))


class Scene:
    """Signalling with a store, a clock that a test sets, and a wire that it reads."""

    def __init__(self, store: SessionStore, **changes: object) -> None:
        self.now = 1_000.0
        self.frames: list[bytes] = []
        self.store, self.events, self.recorder = store, EventLog(), Recorder()
        self.gateway: Gateway = gateway(access_routes=ROUTES, **changes)
        self.of = Signalling(self.gateway, store, self.events, self.frames.append, lambda: OUR_MAC)
        self.of.sessions = self.recorder

    def extended(self, teid: int, peer: Address, form: int, frame: bytes) -> None:
        """A T-PDU with extension headers comes from a peer."""
        if self.of.extended(teid, form, frame):
            self.of.not_comprehended(peer)

    def have(self, *sessions: Session, state: SessionState = ACTIVE) -> None:
        with self.store.transaction() as tx:
            for each in sessions:
                tx.insert(each, state)
        self.of.peers.load(self.store.peers("gw1"), self.now)

    def resolve(self, *peers: IPv4Address) -> None:
        """Have the next hops known, and nothing on the wire."""
        for peer in peers:
            arp = ARP(op=2, hwsrc=ENB_MAC, psrc=str(peer), pdst=OURS)
            frame = Ether(src=ENB_MAC, dst=OUR_MAC) / arp
            self.of.peers.heard_arp(bytes(frame), self.now)
        self.frames.clear()

    def hear(
        self,
        kind: int,
        teid: int = 0,
        body: bytes = b"",
        *,
        source: IPv4Address = ENB,
        mac: str = ENB_MAC,
        flags: int = gtpu.PLAIN | gtpu.S,
        **more: int,
    ) -> None:
        """A message comes in."""
        payload = gtpu.message(kind, teid, body, flags=flags, **more)
        frame = gtpu.datagram(
            payload, source=str(source), destination=OURS, eth_src=mac, eth_dst=OUR_MAC
        )
        self.of.message(frame)

    def indicated(self, tunnel: FTeid, source: IPv4Address | None = None) -> None:
        """The peer says that it does not know a tunnel."""
        ies = b"\x10" + tunnel.teid.to_bytes(4, "big") + b"\x85\x00\x04" + tunnel.ip.packed
        self.hear(gtpu.ERROR_INDICATION, 0, ies, source=source or tunnel.ip)

    def take(self) -> list[Packet]:
        """The GTP-U frames sent since the last call, each checked; ARP is left out."""
        taken, self.frames[:] = [frame for frame in self.frames if frame[12:14] != b"\x08\x06"], []
        for frame in taken:
            gtpu.check_frame(frame)
        return [Ether(frame) for frame in taken]

    def work(self) -> None:
        """A tick, and what it has begun in other green threads."""
        self.of.tick()
        for _ in range(5):
            eventlet.sleep(0)

    def received(self, kind: str) -> int:
        return self.of.messages[kind, "received"]

    def sent(self, kind: str) -> int:
        return self.of.messages[kind, "sent"]

    def counted(self) -> int:
        """What was read, and what could not be."""
        read = sum(n for (_, way), n in self.of.messages.items() if way == "received")
        return read + self.of.bad.total() + self.of.extensions.total()

    def nothing_but(self, kind: str) -> bool:
        """Whether such messages were received, and nothing was ignored or unreadable."""
        return set(self.of.messages) == {(kind, "received")} and not (
            +self.of.ignored or +self.of.bad or self.of.extensions
        )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SessionStore]:
    store = SessionStore(tmp_path / "sessions.db")
    yield store
    store.close()


@pytest.fixture
def make(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    def scene(**changes: object) -> Scene:
        made = Scene(store, **changes)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
        return made

    return scene


@pytest.fixture
def scene(make: Callable[..., Scene]) -> Scene:
    return make()


def tunnel(number: int = 1, ip: IPv4Address = ENB) -> FTeid:
    return FTeid(0x2000 + number, ip)


# --- echo


@pytest.mark.parametrize("source", [ENB, BEYOND, IPv4Address("192.0.2.7")])
def test_every_echo_request_is_answered(scene: Scene, source: IPv4Address) -> None:
    scene.hear(gtpu.ECHO_REQUEST, source=source, sequence=0xABCD)
    [answer] = scene.take()
    assert (answer.dst, answer[IP].src, answer[IP].dst) == (ENB_MAC, OURS, str(source))
    assert answer[UDP].dport == 2152
    header = answer[GTP_U_Header]
    assert (header.gtp_type, header.teid, header.seq, header.S) == (2, 0, 0xABCD, 1)
    assert bytes(answer)[-2:] == b"\x0e\x00", "Recovery, which is 0"
    assert (scene.received("echo_request"), scene.sent("echo_response")) == (1, 1)
    assert scene.of.report() == [], "who asks is no peer for that"


def test_an_echo_request_without_number_is_answered_with_zero(scene: Scene) -> None:
    scene.hear(gtpu.ECHO_REQUEST, flags=gtpu.PLAIN)
    [answer] = scene.take()
    assert (answer[GTP_U_Header].seq, answer[GTP_U_Header].S) == (0, 1)


def test_when_a_peer_was_heard_is_told(scene: Scene) -> None:
    scene.have(session())
    scene.hear(gtpu.ECHO_REQUEST)
    scene.now += 10
    [peer] = scene.of.report()
    assert peer.echo_heard_at is not None
    age = datetime.now(UTC) - peer.echo_heard_at
    assert timedelta(seconds=9.9) < age < timedelta(seconds=60)


def echo_exchange(scene: Scene, *, answered: bool) -> None:
    """A whole interval; the peer answers, or does not."""
    for _ in range(240):
        scene.now += 0.25
        scene.work()
        for frame in scene.take():
            if answered and frame[GTP_U_Header].gtp_type == gtpu.ECHO_REQUEST:
                assert frame[IP].dst == str(ENB)
                sequence = frame[GTP_U_Header].seq
                scene.hear(gtpu.ECHO_RESPONSE, 0, b"\x0e\x00", sequence=sequence)


def kinds(events: EventLog) -> list[tuple[str, dict[str, str | int]]]:
    return [(event.kind, event.facts) for event in events.since(0)]


@pytest.mark.parametrize("policy", ["keep", "remove"])
def test_a_path_goes_up_down_and_up(make: Callable[..., Scene], policy: str) -> None:
    scene = make(on_path_down=policy)
    scene.have(session(), session(2), session(3, downlink=FTeid(1, OTHER_ENB)))
    scene.resolve(ENB)
    scene.now += 30  # so that exchanges begin in the middle of what follows
    echo_exchange(scene, answered=False)
    assert scene.of.peers.paths.counts()[PathState.UNKNOWN] == 2
    echo_exchange(scene, answered=True)
    facts = {"gateway": "gw1", "peer": str(ENB), "sessions": 2}
    assert kinds(scene.events) == [("path_up", facts)]
    assert scene.recorder.down == []
    echo_exchange(scene, answered=False)
    assert kinds(scene.events)[1:] == [("path_down", facts)]
    assert worst(scene, 5) == [("down", ENB), ("unknown", OTHER_ENB)]
    assert scene.recorder.down == [("gw1", ENB, policy == "remove")]
    echo_exchange(scene, answered=True)
    assert kinds(scene.events)[2:] == [("path_up", facts)]
    assert len(scene.recorder.down) == 1, "told once"
    assert +scene.of.ignored == +scene.of.bad == {}


def test_an_answer_to_another_request_counts_for_nothing(scene: Scene) -> None:
    scene.have(session())
    scene.resolve(ENB)
    scene.now += 60
    scene.work()
    [request] = scene.take()
    scene.hear(gtpu.ECHO_RESPONSE, 0, b"\x0e\x00", sequence=request[GTP_U_Header].seq + 1)
    assert scene.events.since(0) == []
    scene.hear(gtpu.ECHO_RESPONSE, 0, b"\x0e\x00", sequence=request[GTP_U_Header].seq)
    assert [kind for kind, _ in kinds(scene.events)] == ["path_up"]
    assert scene.received("echo_response") == 2


def worst(scene: Scene, many: int) -> list[tuple[PathState, IPv4Address]]:
    return [(peer.state, peer.ip) for peer in scene.of.report(worst=many)]


def test_the_worst_peers_come_first(scene: Scene) -> None:
    far = [FTeid(1, IPv4Address(f"10.1.0.{n}")) for n in (9, 7, 8)]
    scene.have(session(), *(session(n, downlink=each) for n, each in enumerate(far, 2)))
    busy = session(5, downlink=FTeid(2, far[2].ip))
    scene.have(busy)
    scene.resolve(ENB)
    scene.now += 60
    echo_exchange(scene, answered=True)
    unknown = [(PathState.UNKNOWN, each) for each in (far[2].ip, far[1].ip, far[0].ip)]
    assert worst(scene, 4) == [*unknown, (PathState.UP, ENB)]
    assert worst(scene, 2) == unknown[:2]
    assert scene.of.report(PathState.UP, 1)[0].ip == ENB


def test_report(scene: Scene) -> None:
    nowhere = IPv4Address("192.0.2.7")
    downlinks = (tunnel(1), FTeid(1, BEYOND), FTeid(2, nowhere), FTeid(3, BEYOND))
    scene.have(*(session(n, downlink=each) for n, each in enumerate(downlinks, 1)))
    scene.resolve(ENB)
    shown = {peer.ip: (peer.next_hop, peer.mac, peer.sessions) for peer in scene.of.report()}
    assert shown == {ENB: (ENB, ENB_MAC, 1), BEYOND: (ROUTER, None, 2), nowhere: (None, None, 1)}
    assert all(peer.gateway == "gw1" for peer in scene.of.report())
    assert {peer.state for peer in scene.of.report()} == {PathState.UNKNOWN}
    assert all(peer.echo_sent_at is None for peer in scene.of.report())
    scene.now += 60.25
    scene.work()
    [peer] = [peer for peer in scene.of.report() if peer.ip == ENB]
    assert peer.echo_sent_at is not None
    assert peer.echo_answered_at is None
    assert abs(datetime.now(UTC) - peer.echo_sent_at) < timedelta(seconds=30)


# --- other messages


def test_a_notification_is_counted_and_no_more(scene: Scene) -> None:
    scene.hear(NOTIFICATION, 0, b"\x8d\x01\x85")
    scene.work()
    assert scene.nothing_but("supported_extension_headers_notification")
    assert scene.frames == []


def test_end_markers(scene: Scene) -> None:
    scene.have(session())
    scene.hear(gtpu.END_MARKER, 0x1001, flags=gtpu.PLAIN)
    assert scene.nothing_but("end_marker")
    scene.hear(gtpu.END_MARKER, 0x1002, flags=gtpu.PLAIN)
    assert +scene.of.ignored == {"end_marker_unknown_tunnel": 1}
    assert scene.received("end_marker") == 2


def test_an_end_marker_is_sent_to_the_tunnel_that_was_left(scene: Scene) -> None:
    scene.have(session(2))
    scene.resolve(ENB)
    scene.of.end_marker(tunnel())
    [marker] = scene.take()
    header = marker[GTP_U_Header]
    assert (marker.dst, marker[IP].dst, marker[UDP].dport) == (ENB_MAC, str(ENB), 2152)
    assert (header.gtp_type, header.teid, header.S, header.length) == (254, 0x2001, 0, 0)
    assert scene.sent("end_marker") == 1


RELAYED = [(0x1001, ENB, 0x6001, FAR), (0x5001, FAR, 0x2001, ENB)]
"""Of each side of the sample relay: our TEID, whose it is; the TEID that it leads to, and where."""


@pytest.mark.parametrize(("teid", "source", "out", "to"), RELAYED, ids=["uplink", "core"])
def test_an_end_marker_for_a_relay_goes_on(
    scene: Scene, teid: int, source: IPv4Address, out: int, to: IPv4Address
) -> None:
    """Its sequence number, which 5.1 forbids, stays behind; its container goes on."""
    scene.have(relay())
    scene.resolve(ENB, FAR)
    container, two = b"\x01\x00\x09\x00", b"\x02\x00\x09\x00\x11\x22\x33\x85" + b"\x01\x10\x05\x00"
    for flags, body, octets in (
        (gtpu.PLAIN, b"", b""),
        (gtpu.PLAIN | gtpu.S, b"", b""),
        (gtpu.PLAIN | gtpu.E, container, b"\0\0\0\x85" + container),
        (gtpu.PLAIN | gtpu.E | gtpu.S, two, b"\0\0\0\x85" + two),
    ):
        extension = 0x85 if body else 0
        scene.hear(gtpu.END_MARKER, teid, body, source=source, flags=flags, extension=extension)
        [marker] = scene.take()
        assert (marker[IP].dst, marker[UDP].sport, marker[UDP].dport) == (str(to), 2152, 2152)
        head = bytes([0x34 if body else 0x30, 254]) + len(octets).to_bytes(2, "big")
        assert bytes(marker)[42:] == head + out.to_bytes(4, "big") + octets
    assert scene.sent("end_marker") == scene.received("end_marker") == 4
    assert not +scene.of.ignored


def test_an_end_marker_that_a_relay_does_not_send_on(scene: Scene) -> None:
    """Where T-PDUs from there would go nowhere, and where they are not taken."""
    scene.have(
        relay(1, downlink=None),
        relay(2, error_indicated=True),
        relay(3, uplink=Uplink(0x1003, OTHER_ENB)),
    )
    scene.have(relay(4), state=FAILED)
    scene.resolve(ENB, FAR, OTHER_ENB)
    for teid in (0x5001, 0x1002, 0x1003, 0x1004):
        scene.hear(gtpu.END_MARKER, teid, flags=gtpu.PLAIN)
    assert scene.take() == []
    assert +scene.of.ignored == {"end_marker_not_sent_on": 4}
    scene.hear(gtpu.END_MARKER, 0x1003, flags=gtpu.PLAIN, source=OTHER_ENB)
    assert len(scene.take()) == 1, "from the peer that is pinned"


def test_an_end_marker_for_a_bearer_goes_nowhere(scene: Scene) -> None:
    own = bearer("1", 1, "permit out udp from any to assigned", uplink=Uplink(0x4001))
    scene.have(detailed(bearers=[own]))
    scene.resolve(ENB)
    for teid in (0x1001, 0x4001):
        scene.hear(gtpu.END_MARKER, teid, flags=gtpu.PLAIN)
    assert scene.nothing_but("end_marker")
    assert scene.take() == []


@pytest.mark.parametrize("peer", [ENB, BEYOND])
def test_a_message_from_another_mac_has_the_next_hop_asked(scene: Scene, peer: IPv4Address) -> None:
    hop = ROUTER if peer == BEYOND else ENB
    scene.have(session(downlink=FTeid(1, peer)))
    scene.resolve(hop)
    scene.now += 5
    scene.hear(NOTIFICATION, source=peer)
    scene.work()
    assert scene.frames == []
    scene.hear(NOTIFICATION, source=peer, mac="52:54:00:00:00:99")
    scene.work()
    [question] = map(Ether, scene.frames)
    assert question[ARP].pdst == str(hop)
    assert scene.of.peers.neighbours.mac(hop) == ENB_MAC


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "too_short"),
        (b"\x50\x01\0\0\0\0\0\0", "wrong_version"),
        (b"\x20\x01\0\0\0\0\0\0", "gtp_prime"),
        (b"\x30\x07\0\0\0\0\0\0", "unknown_type"),
        (b"\x34\x01\0\x08\0\0\0\0\0\0\0\x20\0\0\0\0", "bad_extension"),
        (b"\x30\xfe\0\0\0\0\0\0", "bad_teid"),
        (b"\x32\x01\0\x09\0\0\0\0\0\0\0\0", "bad_length"),
        (b"\x30\xfe\0\x09\0\0\0\1", "bad_length"),
        (b"\x32\x1f\0\x07\0\0\0\0\0\0\0\0\x8d\x09\x01", "bad_ie"),
    ],
)
def test_what_cannot_be_read_is_counted_by_its_reason(
    scene: Scene, payload: bytes, reason: str
) -> None:
    places = {"source": str(ENB), "destination": OURS, "eth_src": ENB_MAC, "eth_dst": OUR_MAC}
    scene.of.message(gtpu.datagram(payload, **places))  # type: ignore[arg-type]
    assert +scene.of.bad == {reason: 1}
    assert (scene.of.messages, +scene.of.ignored, scene.frames) == ({}, {}, [])


def test_what_is_no_datagram_is_counted(scene: Scene) -> None:
    for frame in (b"", bytes(60)):
        scene.of.message(frame)
    assert +scene.of.bad == {"bad_frame": 2}


# --- Error Indications received


def test_tunnels_that_peers_do_not_know_are_handed_on_together(scene: Scene) -> None:
    scene.have(session(1), session(2), session(3))
    for number in (1, 2, 1):
        scene.indicated(tunnel(number))
    assert scene.recorder.told == [], "nothing waits for that"
    scene.work()
    assert scene.recorder.told == [("gw1", [tunnel(1), tunnel(2)])]
    assert +scene.of.ignored == {"error_indication_repeated": 1}
    assert scene.received("error_indication") == 3
    scene.work()
    assert len(scene.recorder.told) == 1


def test_error_indications_that_lead_to_nothing(scene: Scene) -> None:
    scene.have(session(1))
    scene.have(session(2), state=FAILED)
    scene.have(session(3), state=INDICATED)
    scene.indicated(tunnel(9))
    scene.indicated(tunnel(1, OTHER_ENB))
    scene.indicated(tunnel(2))
    assert +scene.of.ignored == {"error_indication_unknown_tunnel": 3}
    scene.indicated(tunnel(3))
    assert scene.of.ignored["error_indication_repeated"] == 1
    scene.indicated(tunnel(1), source=OTHER_ENB)
    scene.hear(gtpu.ERROR_INDICATION)
    assert scene.of.ignored["error_indication_unreadable"] == 2
    scene.work()
    assert scene.recorder.told == []


def test_each_tunnel_of_a_session_may_be_unknown_to_its_peer(scene: Scene) -> None:
    """One that was stopped before keeps no other from being stopped."""
    scene.have(relay(1), state=ACTIVE)
    scene.have(replace(relay(2), error_indicated=True), relay(3, error_indicated=True))
    core = [FTeid(0x6000 + number, FAR) for number in (1, 2, 3)]
    for each in (core[0], tunnel(1), core[1], tunnel(3)):
        scene.indicated(each)
    scene.work()
    assert scene.recorder.told == [("gw1", [core[0], tunnel(1), core[1], tunnel(3)])]
    assert not +scene.of.ignored
    for each in (tunnel(2), core[2]):
        scene.indicated(each)
    assert +scene.of.ignored == {"error_indication_repeated": 2}


def test_what_srsenb_sends_is_understood(scene: Scene) -> None:
    scene.have(session(1))
    scene.hear(gtpu.ERROR_INDICATION, tunnel().teid, flags=gtpu.PLAIN)
    scene.work()
    assert scene.recorder.told == [("gw1", [tunnel()])]


def test_what_comes_while_sessions_change_is_handled_after(scene: Scene) -> None:
    scene.have(session(1), session(2), session(3))

    def more() -> None:
        scene.indicated(tunnel(2))
        scene.of.tick()
        eventlet.sleep(0)
        scene.indicated(tunnel(3))

    scene.recorder.meanwhile = [more]
    scene.indicated(tunnel(1))
    scene.work()
    assert scene.recorder.told == [("gw1", [tunnel(1)]), ("gw1", [tunnel(2), tunnel(3)])]


def test_what_is_being_handled_is_repeated(scene: Scene) -> None:
    scene.have(session(1))
    scene.recorder.meanwhile = [lambda: scene.indicated(tunnel(1))]
    scene.indicated(tunnel(1))
    scene.work()
    assert scene.recorder.told == [("gw1", [tunnel(1)])]
    assert +scene.of.ignored == {"error_indication_repeated": 1}


def test_a_batch_that_fails_does_not_stop_the_next(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.have(session(1), session(2))

    def fail() -> None:
        scene.indicated(tunnel(2))
        raise SwitchRefused("table full")

    scene.recorder.meanwhile = [fail]
    scene.indicated(tunnel(1))
    with caplog.at_level(logging.ERROR):
        scene.work()
    assert "gateway=gw1: Error Indications are lost" in caplog.text
    assert "table full" in caplog.text
    assert scene.recorder.told == [("gw1", [tunnel(1)])]
    scene.work()
    assert scene.recorder.told[1:] == [("gw1", [tunnel(2)])], "it came meanwhile, and is not lost"
    scene.indicated(tunnel(1))
    scene.work()
    assert scene.recorder.told[2:] == [("gw1", [tunnel(1)])], "its peer says so again"


# --- T-PDUs of no session


def test_a_tpdu_of_no_session_is_told_its_peer(scene: Scene) -> None:
    scene.of.unknown_tunnel(0xDEADBEEF, ENB)
    assert scene.take() == [], "its MAC address is asked for"
    scene.resolve(OTHER_ENB)
    scene.of.peers.heard_arp(bytes(answer_of(ENB)), scene.now)
    [said] = scene.take()
    header = said[GTP_U_Header]
    assert (said.dst, said[IP].dst, said[UDP].dport) == (ENB_MAC, str(ENB), 2152)
    assert (header.gtp_type, header.teid, header.S) == (26, 0, 1)
    expected = b"\x10\xde\xad\xbe\xef\x85\x00\x04" + IPv4Address(OURS).packed
    assert bytes(said)[-len(expected) :] == expected
    assert scene.sent("error_indication") == 1


def test_a_tpdu_of_no_session_over_ipv6(make: Callable[..., Scene]) -> None:
    """The address is ours of IPv6, in an information element of 16 octets (TS 29.281, 8.4)."""
    peer, ours = IPv6Address("2001:db8:ac::2"), IPv6Address("2001:db8:ac::1")
    scene = make(access_ip6=IPv6Interface((ours, 64)))
    scene.of.unknown_tunnel(0xDEADBEEF, peer)
    there = ICMPv6ND_NA(tgt=str(peer), S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=ENB_MAC)
    ends = Ether(src=ENB_MAC, dst=OUR_MAC)
    answer = ends / IPv6(src=str(peer), dst=str(ours), hlim=255) / there
    scene.of.peers.heard_neighbour(bytes(answer), scene.now)
    said = Ether(scene.frames[-1])
    expected = b"\x10\xde\xad\xbe\xef\x85\x00\x10" + ours.packed
    assert (said.dst, said[IPv6].dst, said[UDP].dport) == (ENB_MAC, str(peer), 2152)
    assert bytes(said).endswith(expected)
    assert scene.sent("error_indication") == 1


def test_without_an_ipv6_address_of_ours_nobody_is_told(scene: Scene) -> None:
    scene.of.unknown_tunnel(7, IPv6Address("2001:db8:ac::2"))
    assert (scene.frames, +scene.of.ignored) == ([], {})


def answer_of(ip: IPv4Address) -> Packet:
    return Ether(src=ENB_MAC, dst=OUR_MAC) / ARP(op=2, hwsrc=ENB_MAC, psrc=str(ip), pdst=OURS)


def test_teid_zero_is_not_answered(scene: Scene) -> None:
    scene.of.unknown_tunnel(0, ENB)
    assert (scene.frames, +scene.of.ignored) == ([], {})


Sample = Callable[[Scene, IPv4Address], None]


def no_session(scene: Scene, peer: IPv4Address) -> None:
    scene.of.unknown_tunnel(7, peer)


def container(scene: Scene, peer: IPv4Address) -> None:
    scene.extended(7, peer, EXTENDED, sample(whole(0xC0, header(2, 0))))


@pytest.mark.parametrize(
    ("cause", "limits", "counter"),
    [
        (no_session, ERROR_INDICATIONS, "error_indication_not_sent"),
        (container, NOTIFICATIONS, "supported_extension_headers_notification_not_sent"),
    ],
)
def test_answers_are_limited_per_peer_and_in_total(
    scene: Scene, cause: Sample, limits: tuple[tuple[float, float], ...], counter: str
) -> None:
    (rate, burst), (total_rate, total_burst) = limits
    peers = [IPv4Address("10.1.0.2") + n for n in range(150)]
    scene.have(*(session(n, downlink=FTeid(n, peer)) for n, peer in enumerate(peers, 1)))
    scene.resolve(*peers)
    for _ in range(int(burst) + 7):
        cause(scene, ENB)
    assert len(scene.take()) == burst
    assert +scene.of.ignored == {counter: 7}
    for peer in peers[1:]:
        cause(scene, peer)
    assert len(scene.take()) == total_burst - burst
    assert +scene.of.ignored == {counter: 7 + 149 - (total_burst - burst)}
    scene.now += 1
    for _ in range(int(rate) + 1):
        cause(scene, ENB)
    assert len(scene.take()) == rate
    for peer in peers[1:]:
        cause(scene, peer)
    assert len(scene.take()) == total_rate - rate


# --- T-PDUs with extension headers


def sample(rest: bytes) -> bytes:
    """What the switch shows: Ethernet, 24 octets of its own, what is behind the GTP-U header."""
    return (bytes(12) + b"\x86\xdd" + bytes(24) + rest)[:EXTENSION_SAMPLE]


def whole(first: int, *rest: bytes) -> bytes:
    """The optional part with the type of the first extension header, and what follows it."""
    return struct.pack("!HBB", 0x1234, 0, first) + b"".join(rest)


def header(words: int, following: int) -> bytes:
    """An extension header of so many times four octets, and the type of the next."""
    return bytes([words]) + bytes(4 * words - 2) + bytes([following])


INNER = gtpu.ipv4("10.45.0.2", "192.0.2.1", size=200)


@pytest.mark.parametrize(
    ("form", "rest", "types", "notified"),
    [
        (EXTENDED, whole(0x85, header(1, 0), INNER), {"0x85"}, False),
        (EXTENDED, whole(0x82, header(1, 0), INNER), {"0x82"}, True),
        (EXTENDED << 4 | 1, whole(0x85, header(1, 0x20), header(1, 0)), {"0x85", "0x20"}, False),
        (EXTENDED << 4 | 1, whole(0x85, header(1, 0xC0), header(1, 0)), {"0x85", "0xc0"}, True),
        (EXTENDED_NUMBERED << 4 | 2, header(1, 0x20) + header(1, 0), {"hidden", "0x20"}, True),
        (EXTENDED, whole(0xC0, header(1, 0), INNER), {"0xc0"}, True),
        (EXTENDED, whole(0x40, header(1, 0), INNER), {"0x40"}, False),
        (EXTENDED, whole(0x03, header(2, 0x20), header(3, 0), INNER), {"0x03", "0x20"}, False),
        (EXTENDED, whole(0x20, header(1, 0x84), header(4, 0), INNER), {"0x20", "0x84"}, True),
        (EXTENDED, whole(0, INNER), {"0x00"}, False),
        (EXTENDED, whole(0x85, header(23, 0)[:200]), None, False),
        (EXTENDED, whole(0x85, header(21, 0)), {"0x85"}, False),
        (EXTENDED, whole(0x85, header(21, 0x20)), None, False),
        (EXTENDED, whole(0x85, b"\0", INNER), None, False),
        (EXTENDED, whole(0x85), None, False),
        (EXTENDED, whole(0x85)[:3], None, False),
        (EXTENDED, b"", None, False),
        (EXTENDED_NUMBERED, header(1, 0) + INNER, {"hidden"}, True),
        (EXTENDED_NUMBERED, header(2, 0x20) + header(1, 0) + INNER, {"hidden", "0x20"}, True),
        (EXTENDED_NUMBERED, header(1, 0x85) + header(2, 0x85) + header(1, 0), {}, True),
        (EXTENDED_NUMBERED, header(1, 0), {"hidden"}, True),
        (EXTENDED_NUMBERED, header(22, 0), {"hidden"}, True),
        (EXTENDED_NUMBERED, header(23, 0), None, False),
        (EXTENDED_NUMBERED, b"\0" + INNER, None, False),
        (EXTENDED_NUMBERED, header(1, 0)[:3], None, False),
    ],
    ids=lambda value: value.hex()[:24] if isinstance(value, bytes) else None,
)
def test_extension_headers(
    scene: Scene, form: int, rest: bytes, types: set[str] | dict[str, int] | None, notified: bool
) -> None:
    scene.have(session())
    scene.resolve(ENB)
    scene.extended(0x1001, ENB, form, sample(rest))
    said = scene.take()
    if types is None:
        assert (+scene.of.bad, scene.of.extensions) == ({}, {CUT_OFF: 1})
    elif types:
        assert scene.of.extensions == dict.fromkeys(types, 1)
    else:
        assert scene.of.extensions == {"hidden": 1, "0x85": 2}
    assert len(said) == notified
    for frame in said:
        gtp = frame[GTP_U_Header]
        assert (gtp.gtp_type, gtp.teid, gtp.S) == (NOTIFICATION, 0, 1)
        assert bytes(frame)[-3:] == b"\x8d\x01\x85", "the one that we know"
        assert (frame.dst, frame[IP].dst, frame[UDP].dport) == (ENB_MAC, str(ENB), 2152)
    assert scene.sent("supported_extension_headers_notification") == notified
    assert +scene.of.ignored == {}


# --- garbage

MESSAGES = st.one_of(
    st.binary(max_size=120),
    st.builds(
        lambda flags, kind, rest: gtpu.datagram(
            bytes([flags, kind]) + rest,
            source=str(ENB),
            destination=OURS,
            eth_src=ENB_MAC,
            eth_dst=OUR_MAC,
        ),
        st.integers(0x30, 0x37) | st.integers(0, 255),
        st.sampled_from([1, 2, 26, 31, 254, 255]) | st.integers(0, 255),
        st.binary(max_size=40),
    ),
)
SAMPLES = st.builds(sample, st.binary(max_size=90)) | st.binary(max_size=128)
FORMS = st.sampled_from([EXTENDED, EXTENDED_NUMBERED, 0x11, 0x23, 0])


@given(
    messages=st.lists(MESSAGES, max_size=4),
    samples=st.lists(st.tuples(FORMS, SAMPLES), max_size=4),
)
@example([], [(EXTENDED, b"")])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_is_too_strange(
    scene: Scene, messages: list[bytes], samples: list[tuple[int, bytes]]
) -> None:
    before = scene.counted()
    for frame in messages:
        scene.of.message(frame)
    for form, frame in samples:
        scene.extended(0x1001, ENB, form, frame)
        scene.of.peers.heard_arp(frame, scene.now)
    scene.now += 1
    scene.work()
    assert scene.counted() - before >= len(messages) + len(samples), "each is counted"
    for frame in scene.take():
        assert frame[IP].src == OURS
