"""No first packet is lost: a peer's next hop is asked for as soon as a session names the peer."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from scapy.layers.l2 import ARP, Ether

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.peer import Peers, echo, peers
from tests.support.site import PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

BROADCAST = "ff:ff:ff:ff:ff:ff"
ROUTER, FAR, FAR_TOO = "10.1.0.254", "10.9.0.5", "10.9.7.7"
NOBODY, BEYOND_NOBODY = "10.1.0.99", "10.8.0.1"
ROUTES = f"""
access_routes = [
  {{to = "10.9.0.0/16", via = "{ROUTER}"}},
  {{to = "10.8.0.0/16", via = "10.1.0.253"}},
]
"""
ASKED_AGAIN_S, PATIENCE_S = 2.0, 9.0
"""One that may have another MAC address is asked within this time; with patience for a machine that
has much to do, yet before it would be asked all the same."""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def them() -> Iterator[Peers]:
    with Lab() as lab:
        site = Site(lab, lab.config(gateway=ROUTES))
        site.ready()
        yield Peers(site)
        site.alive()
        site.check_sent()


def new_session(them: Peers, peer: str) -> int:
    """A session of its own with that peer; its number."""
    number = next(_numbers)
    them.site.session(f"10.45.2.{number}", teid=0x1000 + number, downlink=number, peer=peer)
    return number


def downlink(them: Peers, number: int) -> list[bytes]:
    """Send one packet to that UE; what arrives at the base station.

    A marker that arrives behind it shows that no more will.
    """
    packet = gtpu.ipv4(PDN_IP, f"10.45.2.{number}")
    got = them.site.downlink(them.site.to_ue(packet))
    # And not the End Marker of a tunnel that was left.
    return [frame for frame in got if is_gtpu(frame, number) and frame[43] == gtpu.T_PDU]


def goes(them: Peers, number: int) -> gtpu.Decoded:
    """A packet to that UE, as it arrives. The switch may be late by some milliseconds with what the
    gateway knows."""
    (frame,) = downlink(them, number)
    return gtpu.decode(frame)


def known_by(them: Peers, peer: str) -> str | None:
    """The MAC address that the gateway has for a peer's next hop."""
    hop = peers(them.site.lab)[peer]["next_hop"]
    mac: str | None = hop["mac"]
    return mac


def test_the_first_packet_arrives(them: Peers) -> None:
    """One peer after another, each asked when it is named, and sent to once it has answered."""
    mac = them.site.enb_mac["enb"]
    for host in range(100, 110):
        peer = f"10.1.0.{host}"
        them.at(peer)
        them.pump(0.01)
        assert not them.asked_for(peer)
        number = new_session(them, peer)
        them.until(lambda peer=peer: them.asked_for(peer), "the gateway asks for it")
        them.until(lambda peer=peer: known_by(them, peer) == mac, "it has heard the answer")
        asked = len(them.asked_for(peer))
        (frame,) = downlink(them, number)
        got = gtpu.decode(frame)
        assert (got.eth_dst, got.destination, got.teid) == (mac, peer, number)
        them.pump(0.01)
        assert len(them.asked_for(peer)) == asked, "Open vSwitch had no need to ask"


def test_it_is_asked_before_the_session_is_there(them: Peers) -> None:
    """So that even a packet sent as soon as REST has answered arrives, unless ARP takes longer."""
    fresh = [f"10.1.0.{host}" for host in range(110, 120)]
    them.at(*fresh)
    for peer in fresh:
        new_session(them, peer)
        them.pump(0.001)
        assert them.asked_for(peer), "the question has left before REST has answered"


def test_a_batch_of_peers(them: Peers) -> None:
    fresh = [f"10.1.0.{host}" for host in range(120, 150)]
    them.at(*fresh)
    numbers = {peer: next(_numbers) for peer in fresh}
    lines = [
        f'{{"op": "put", "session": {{"ue_ip": "10.45.2.{n}", "uplink": {{"teid": {0x1000 + n}}},'
        f' "downlink": {{"teid": {n}, "remote_ip": "{peer}"}}}}}}'
        for peer, n in numbers.items()
    ]
    head = {"Content-Type": "application/x-ndjson"}
    body = "\n".join(lines).encode()
    answer = them.site.lab.http("POST", "/v1/sessions:batch", body, headers=head)
    assert answer.status == 200, answer.body
    them.until(lambda: all(map(them.asked_for, fresh)), "each is asked")
    them.until(
        lambda: all(shown["next_hop"]["mac"] for shown in peers(them.site.lab).values()),
        "each has answered",
    )
    for number in numbers.values():
        assert len(downlink(them, number)) == 1


def test_a_handover_names_a_new_peer(them: Peers) -> None:
    old, new = "10.1.0.150", "10.1.0.151"
    them.at(old, new)
    number = new_session(them, old)
    them.until(lambda: known_by(them, old), "the old one has answered")
    assert not them.asked_for(new)
    session = f"ue-10.45.2.{number}"
    them.site.patch(session, {"downlink": {"teid": number, "remote_ip": new}})
    them.until(lambda: them.asked_for(new), "the new one is asked")
    them.until(lambda: known_by(them, new), "the new one has answered")
    until(lambda: goes(them, number).destination == new, "packets go there")


def test_a_pinned_peer_is_asked(them: Peers) -> None:
    """It may be told of an error, or asked by Echo Request."""
    peer = "10.1.0.152"
    them.at(peer)
    them.site.session("10.45.3.1", teid=0x3001, pinned=peer)
    them.until(lambda: them.asked_for(peer), "it is asked")


def test_behind_a_router_the_router_is_asked(them: Peers) -> None:
    them.at(ROUTER)
    number = new_session(them, FAR)
    them.until(lambda: them.asked_for(ROUTER), "the router is asked")
    them.until(lambda: known_by(them, FAR), "it has answered")
    assert not them.asked_for(FAR)
    assert peers(them.site.lab)[FAR]["next_hop"]["ip"] == ROUTER
    (frame,) = downlink(them, number)
    got = gtpu.decode(frame)
    assert (got.eth_dst, got.destination) == (them.site.enb_mac["enb"], FAR)

    asked = len(them.asked_for(ROUTER))
    number = new_session(them, FAR_TOO)
    (frame,) = downlink(them, number)
    assert gtpu.decode(frame).destination == FAR_TOO
    assert len(them.asked_for(ROUTER)) == asked, "it is known already"


def test_one_that_does_not_answer(them: Peers) -> None:
    """REST does not wait for it, and it is asked again after ever longer pauses."""
    taken = []
    both = ((NOBODY, NOBODY), (BEYOND_NOBODY, "10.1.0.253"))
    for peer, hop in both:
        asked = time.monotonic()
        new_session(them, peer)
        taken.append(time.monotonic() - asked)
        them.until(lambda hop=hop: them.asked_for(hop), "it is asked")
    assert min(taken) < 2.0, "it is active, though no packet would arrive"
    them.until(lambda: all(len(them.asked_for(hop)) > 3 for _, hop in both), "and again, thrice")
    for peer, hop in both:
        gaps = [later - earlier for earlier, later in itertools.pairwise(them.asked_for(hop)[:4])]
        assert gaps[2] > gaps[1] > gaps[0] / 2 and gaps[2] > 2 * gaps[0], gaps
        assert known_by(them, peer) is None


def test_one_that_answers_late(them: Peers) -> None:
    peer, mac = "10.1.0.160", "06:00:00:00:01:60"
    number = new_session(them, peer)
    them.until(lambda: them.asked_for(peer), "it is asked")
    assert downlink(them, number) == []
    them.arp[peer] = mac
    them.until(lambda: known_by(them, peer) == mac, "it is asked again, and answers")
    frames = until(lambda: downlink(them, number), "packets arrive")
    assert gtpu.decode(frames[0]).eth_dst == mac


# --- a MAC address that changes


def moving_peer(them: Peers) -> tuple[str, int]:
    """A peer whose MAC address ends in 01: its address and its session's number."""
    number = next(_numbers)
    peer = f"10.1.0.{number + 128}"
    them.arp[peer] = "06:00:00:00:00:01"
    them.site.session(f"10.45.2.{number}", teid=0x1000 + number, downlink=number, peer=peer)
    them.until(lambda: known_by(them, peer) == "06:00:00:00:00:01", "it has answered")
    (frame,) = downlink(them, number)
    assert gtpu.decode(frame).eth_dst == "06:00:00:00:00:01"
    return peer, number


@pytest.fixture
def moving(them: Peers) -> tuple[Peers, str, int]:
    return them, *moving_peer(them)


def announce(them: Peers, peer: str, mac: str, how: str) -> None:
    """Say that the peer has that MAC address, in a way that is no answer to a question."""
    if how == "echo":
        them.say(peer, echo(0x5555), eth_src=mac)
    else:
        said = ARP(op=2 if how == "reply" else 1, hwsrc=mac, psrc=peer, pdst=peer)
        them.site.enb.send(bytes(Ether(src=mac, dst=BROADCAST) / said))


ANNOUNCED = ("request", "reply", "echo")


@pytest.mark.parametrize("how", ANNOUNCED)
def test_a_new_mac_is_asked_for_and_used(moving: tuple[Peers, str, int], how: str) -> None:
    them, peer, number = moving
    new = "06:00:00:00:00:02"
    before = len(them.asked_for(peer))
    them.arp[peer] = new
    announce(them, peer, new, how)
    them.until(lambda: len(them.asked_for(peer)) > before, "it is asked", PATIENCE_S)
    them.until(lambda: known_by(them, peer) == new, "it has answered")
    until(lambda: goes(them, number).eth_dst == new, "packets go there")


def test_an_echo_request_is_not_believed(moving: tuple[Peers, str, int]) -> None:
    """The peer itself says where it is: its packets are not taken from it by one frame."""
    them, peer, number = moving
    before = len(them.asked_for(peer))
    announce(them, peer, "06:00:00:00:00:66", "echo")
    them.until(lambda: len(them.asked_for(peer)) > before, "it is asked", PATIENCE_S)
    them.pump(0.1)
    assert known_by(them, peer) == "06:00:00:00:00:01"
    (frame,) = downlink(them, number)
    assert gtpu.decode(frame).eth_dst == "06:00:00:00:00:01"


def test_the_switch_is_put_right(them: Peers) -> None:
    """It believes gratuitous ARP, and does not look again at an answer seen a moment ago."""
    old, new = "06:00:00:00:00:01", "06:00:00:00:00:02"
    (stays, _), (returns, _) = both = moving_peer(them), moving_peer(them)
    them.arp[returns] = new
    for peer, _ in both:
        announce(them, peer, new, "request")
    them.until(lambda: known_by(them, returns) == new, "one has moved")
    them.arp[returns] = old
    announce(them, returns, old, "echo")
    them.until(lambda: known_by(them, returns) == old, "it is back", PATIENCE_S)
    before = {peer: len(them.asked_for(peer)) for peer, _ in both}
    assert before[stays] > 1
    them.until(
        lambda: all(len(them.asked_for(peer)) > count for peer, count in before.items()),
        "both are asked once more",
        30.0,
    )
    for _, number in both:
        until(lambda number=number: goes(them, number).eth_dst == old, "packets go to the old one")


def test_echo_requests_of_a_known_mac_cause_no_question(moving: tuple[Peers, str, int]) -> None:
    them, peer, _ = moving
    before = len(them.asked_for(peer))
    for sequence in range(20):
        them.say(peer, echo(sequence))
    them.during(ASKED_AGAIN_S)
    assert len(them.asked_for(peer)) == before


def test_many_claims_are_no_flood_of_questions(moving: tuple[Peers, str, int]) -> None:
    """However often it is said, one is asked once a second at most."""
    them, peer, number = moving
    before = len(them.asked_for(peer))
    start = time.monotonic()
    for host in range(60):
        announce(them, peer, f"06:00:00:00:07:{host:02x}", "request")
        them.pump(0.05)
    asked = len(them.asked_for(peer)) - before
    assert 1 <= asked <= time.monotonic() - start + 2
    assert len(downlink(them, number)) == 1


def test_an_interface_is_exchanged(them: Peers) -> None:
    """The base station's own stack has a new MAC address: its first message tells it."""
    site, lab, peer = them.site, them.site.lab, "10.1.0.200"
    old, new = site.enb_mac["enb"], "06:00:00:00:02:00"
    them.at(peer)
    number = new_session(them, peer)
    them.until(lambda: known_by(them, peer) == old, "it has answered")
    assert len(downlink(them, number)) == 1
    lab.exec("enb", ["ip", "link", "set", "eth0", "address", new])
    try:
        them.say(peer, echo(1), eth_src=new)
        them.until(lambda: known_by(them, peer) == new, "it is asked, and answers", PATIENCE_S)
        until(lambda: goes(them, number).eth_dst == new, "packets go there")
    finally:
        lab.exec("enb", ["ip", "link", "set", "eth0", "address", old])
