"""The gateway asks each peer in use by Echo Request, and tells when one stops answering (7.2.1)."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support import gtpu, tshark
from tests.support.gtpu import PLAIN, PN, S
from tests.support.lab import Lab
from tests.support.peer import (
    RECOVERY,
    Answer,
    Peers,
    Said,
    events,
    metric,
    peers,
    pong,
    properly,
    read,
)
from tests.support.site import ENB_IP, MARKER_DOWN, MARKER_UE, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

INTERVAL_S, T3_S, N3 = 3, 1, 2
TIMERS = f"""
echo_seconds = {INTERVAL_S}
t3_response_seconds = {T3_S}
n3_requests = {N3}
"""
DETECTED_S = 2.0 * INTERVAL_S + N3 * T3_S + 20.0
"""An exchange begins within an interval, and fails within its requests; the rest is patience."""
EARLY_S = 0.5
"""The gateway looks at what is due a few times a second, and may be late with one request and not
with the next."""

STEADY = ENB_IP["enb"]
SILENT, PINNED, SRSENB, OPEN5GS, FORGER, OTHERS = (f"10.1.0.{n}" for n in range(20, 26))
UNANSWERED = (SILENT, FORGER, OTHERS)


def srsenb(request: Said) -> bytes:
    """srsENB: the Length says 8, four octets follow, and there is no Recovery."""
    assert request.sequence is not None
    kind = gtpu.ECHO_RESPONSE
    return gtpu.message(kind, 0, flags=PLAIN | S, sequence=request.sequence, length=8)


def open5gs(request: Said) -> bytes:
    """No sequence number."""
    return gtpu.message(gtpu.ECHO_RESPONSE, 0, RECOVERY)


def other_sequence(request: Said) -> bytes:
    """As who did not see the request may guess."""
    assert request.sequence is not None
    return pong((request.sequence + 1) & 0xFFFF)


@dataclass
class World:
    site: Site
    peers: Peers
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, float] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)

    def ue(self, number: int, peer: str, **more: Any) -> str:
        """A session of its own number with that peer."""
        ue_ip = f"10.45.1.{number}"
        return self.site.session(ue_ip, teid=0x100 + number, downlink=0x200 + number, peer=peer)

    def reaches(self, number: int) -> bool:
        """Whether a downlink packet to that UE arrives at the base station.

        What has not come before the second of two markers does not come.
        """
        got = self.peers.got
        got.clear()
        self._send(f"10.45.1.{number}")
        for count in (1, 2):
            self._send(MARKER_UE)
            self.peers.until(
                lambda count=count: sum(is_gtpu(each, MARKER_DOWN) for each in got) >= count,
                "the marker arrives",
            )
        return any(is_gtpu(each, 0x200 + number) for each in got)

    def _send(self, ue_ip: str) -> None:
        self.site.pdn.send(self.site.to_ue(gtpu.ipv4(PDN_IP, ue_ip)))


def path_states(lab: Lab) -> dict[str, float]:
    return {state: metric(lab, "ofgtp_paths", state=state) for state in ("unknown", "up", "down")}


def start(lab: Lab, more: str, controller: str = "") -> World:
    lab.environment["OFGTP_TEST_ECHO_SECONDS_MIN"] = "1"
    site = Site(lab, lab.config(controller=controller, gateway=more))
    # Nobody answers but this test: so the path to the first base station begins as unknown, too.
    site.ready()
    return World(site, Peers(site))


def finish(world: World) -> None:
    world.site.alive()
    sent = [frame for frame in world.site.enb.seen if read(frame) is not None]
    assert tshark.complaints(sent) == []


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Peers of all kinds, watched for more than two intervals."""
    with Lab() as lab:
        world = start(lab, TIMERS, 'ownership = "switch"')
        them = world.peers
        them.at(SILENT, PINNED, SRSENB, OPEN5GS, FORGER, OTHERS)
        answers: dict[str, Answer] = {
            STEADY: properly,
            PINNED: properly,
            SRSENB: srsenb,
            OPEN5GS: open5gs,
            FORGER: other_sequence,
        }
        with them.answering():
            watch(world, answers)
            yield world
        finish(world)


def watch(world: World, answers: dict[str, Answer]) -> None:
    """Make sessions with all of them; what is told until three have twice not answered."""
    site, them, lab = world.site, world.peers, world.site.lab
    with events(lab) as heard:
        them.answers.update(answers)
        for number, peer in enumerate((STEADY, SILENT, SRSENB, OPEN5GS, FORGER, OTHERS), 1):
            world.ue(number, peer)
        site.session("10.45.1.7", teid=0x107, pinned=PINNED)
        site.session("10.45.1.8", teid=0x108, downlink=0x208, peer=SRSENB)
        them.answers[OTHERS] = _from_another(them)
        them.until(
            lambda: all(len(them.requests_to(each)) > 2 * N3 for each in UNANSWERED),
            "two exchanges with each that does not answer",
            60.0,
        )
        them.until(lambda: len(heard.of("path_up")) >= 4, "four answered")
        world.told = list(heard.all())
    world.listed, world.states = peers(lab), path_states(lab)


def _from_another(them: Peers) -> Answer:
    """The answer comes from another address than was asked, which nobody uses."""

    def answer(request: Said) -> None:
        assert request.sequence is not None
        them.say("10.1.0.99", pong(request.sequence))

    return answer


def exchanges(requests: list[Said]) -> list[list[Said]]:
    """Requests in a row that have one sequence number."""
    found: list[list[Said]] = []
    for each in requests:
        if found and found[-1][0].sequence == each.sequence:
            found[-1].append(each)
        else:
            found.append([each])
    return found


def test_requests_are_as_they_should_be(world: World) -> None:
    assert world.peers.requests
    for each in world.peers.requests:
        assert (each.flags, each.teid, each.ies) == (S, 0, b"")
        assert (each.source_port, each.port) == (gtpu.PORT, gtpu.PORT)
        assert (each.eth_src, each.eth_dst) == (world.site.local_mac, world.site.enb_mac["enb"])


@pytest.mark.parametrize("peer", (STEADY, SILENT, PINNED, SRSENB, OPEN5GS, FORGER, OTHERS))
def test_every_peer_in_use_is_asked(world: World, peer: str) -> None:
    """Those that sessions name for their downlink, and those that pin their uplink."""
    assert len(exchanges(world.peers.requests_to(peer))) >= 2


def test_nobody_else_is_asked(world: World) -> None:
    everybody = {STEADY, SILENT, PINNED, SRSENB, OPEN5GS, FORGER, OTHERS}
    assert {each.peer for each in world.peers.requests} == everybody == set(world.listed)


@pytest.mark.parametrize("peer", UNANSWERED)
def test_an_unanswered_request_is_repeated(world: World, peer: str) -> None:
    """N3-REQUESTS times, T3-RESPONSE apart, with one sequence number; then not for an interval."""
    complete = exchanges(world.peers.requests_to(peer))[:2]
    assert [len(each) for each in complete] == [N3, N3]
    (first, again), (second, _) = complete
    assert T3_S - EARLY_S < again.at - first.at < INTERVAL_S
    assert second.at - first.at > INTERVAL_S - EARLY_S
    assert first.sequence is not None
    assert second.sequence == (first.sequence + 1) & 0xFFFF


@pytest.mark.parametrize("peer", (PINNED, SRSENB, OPEN5GS))
def test_an_answered_request_is_not_repeated(world: World, peer: str) -> None:
    answered = exchanges(world.peers.requests_to(peer))
    assert {len(each) for each in answered} == {1}
    times = [each.at for (each,) in answered]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(gap > INTERVAL_S - EARLY_S for gap in gaps), gaps


@pytest.mark.parametrize(
    ("peer", "state"),
    [
        (STEADY, "up"),
        (PINNED, "up"),
        (SRSENB, "up"),
        (OPEN5GS, "up"),
        (SILENT, "unknown"),
        (FORGER, "unknown"),
        (OTHERS, "unknown"),
    ],
)
def test_state(world: World, peer: str, state: str) -> None:
    """Who never answered is unknown, and not down: there are peers that never do."""
    assert world.listed[peer]["state"] == state
    assert (world.listed[peer]["echo_answered_at"] is not None) == (state == "up")
    assert world.listed[peer]["echo_sent_at"] is not None


def test_events_and_metrics(world: World) -> None:
    up = [(each["peer"], each["gateway"]) for each in world.told if each["event"] == "path_up"]
    assert sorted(up) == sorted((peer, "gw1") for peer in (STEADY, PINNED, SRSENB, OPEN5GS))
    assert not any(each["event"] == "path_down" for each in world.told)
    assert world.states == {"unknown": 3, "up": 4, "down": 0}


def test_sessions_are_counted(world: World) -> None:
    users = {peer: shown["sessions"] for peer, shown in world.listed.items()}
    assert users == {
        STEADY: 2,
        SILENT: 1,
        PINNED: 1,
        SRSENB: 2,
        OPEN5GS: 1,
        FORGER: 1,
        OTHERS: 1,
    }


def test_down_and_up_again(world: World) -> None:
    """Its sessions stay, and what goes to it still goes: nobody knows that it does not arrive."""
    site, them = world.site, world.peers
    lab = site.lab
    with events(lab) as heard:
        del them.answers[SRSENB]
        before = len(them.requests_to(SRSENB))
        them.until(lambda: heard.of("path_down"), "it is noticed", DETECTED_S)
        (told,) = heard.of("path_down")
        assert (told["peer"], told["gateway"], told["sessions"]) == (SRSENB, "gw1", 2)
        assert len(them.requests_to(SRSENB)) - before >= N3
        assert peers(lab)[SRSENB]["state"] == "down"
        assert path_states(lab) == {"unknown": 3, "up": 3, "down": 1}
        for number in (3, 8):
            shown = lab.http("GET", f"/v1/sessions/ue-10.45.1.{number}").json()
            assert shown["state"] == "active"
            assert world.reaches(number)
        wrong = them.requests_to(SRSENB)[-1]
        them.say(SRSENB, other_sequence(wrong))
        them.say(SRSENB, gtpu.message(gtpu.ECHO_RESPONSE, 0, flags=PLAIN | PN | S, sequence=0xBEEF))
        them.during(0.2)
        assert peers(lab)[SRSENB]["state"] == "down", "that was no answer"

        them.answers[SRSENB] = srsenb
        them.until(lambda: heard.of("path_up", peer=SRSENB), "it is noticed", DETECTED_S)
        assert peers(lab)[SRSENB]["state"] == "up"
        assert len(heard.of("path_down")) == 1


def test_a_late_answer_brings_it_up(world: World) -> None:
    """The peer's answer to the last request may come after N3-REQUESTS times T3-RESPONSE."""
    them, lab = world.peers, world.site.lab
    with events(lab) as heard:
        del them.answers[OPEN5GS]
        them.until(lambda: heard.of("path_down", peer=OPEN5GS), "it is noticed", DETECTED_S)
        them.say(OPEN5GS, properly(them.requests_to(OPEN5GS)[-1]))
        them.until(lambda: heard.of("path_up", peer=OPEN5GS), "it is noticed")
    them.answers[OPEN5GS] = open5gs


def test_a_peer_that_no_session_names(world: World) -> None:
    """It is no longer listed, nor asked, nor is it told that it does not answer."""
    site, them = world.site, world.peers
    with events(site.lab) as heard:
        site.delete("ue-10.45.1.2")
        site.patch("ue-10.45.1.6", {"downlink": {"teid": 0x206, "remote_ip": STEADY}})
        site.patch("ue-10.45.1.7", {"uplink": {"remote_ip": None}})
        gone = {SILENT, OTHERS, PINNED}
        assert set(peers(site.lab)) == {STEADY, SRSENB, OPEN5GS, FORGER}
        assert peers(site.lab)[STEADY]["sessions"] == 3
        assert world.reaches(1)  # what was sent before has come
        them.requests.clear()
        them.until(
            lambda: len(exchanges(them.requests_to(FORGER))) > 2,
            "two more exchanges with another",
            60.0,
        )
        assert not gone & {each.peer for each in them.requests}
        assert not heard.of("path_down")
    assert path_states(site.lab) == {"unknown": 1, "up": 3, "down": 0}


def test_after_a_restart(world: World) -> None:
    """The peers follow from the stored sessions; they may just have been asked."""
    site, them = world.site, world.peers
    before = {peer: shown["sessions"] for peer, shown in peers(site.lab).items()}
    assert before == {STEADY: 3, SRSENB: 2, OPEN5GS: 1, FORGER: 1}
    config = (site.lab.dir / "ofgtp.toml").read_text()
    site.lab.stop_controller(signal.SIGKILL)
    assert world.reaches(1)  # what was sent before has come
    them.requests.clear()
    answers, them.answers = them.answers, {}
    started = time.monotonic()
    site.lab.start_controller(config)
    listed = peers(site.lab)
    assert {peer: shown["sessions"] for peer, shown in listed.items()} == before
    assert {shown["state"] for shown in listed.values()} == {"unknown"}
    them.answers = answers
    them.until(
        lambda: (
            {ip for ip, each in peers(site.lab).items() if each["state"] == "up"}
            == {STEADY, SRSENB, OPEN5GS}
        ),
        "those that answer are up again",
        DETECTED_S,
    )
    assert them.requests[0].at > started + INTERVAL_S - EARLY_S, "not at once"
    assert world.reaches(3)


# --- on_path_down = "remove", and the shortest timers


@pytest.fixture(scope="module")
def removing() -> Iterator[World]:
    timers = "echo_seconds = 1\nt3_response_seconds = 1\nn3_requests = 1\n"
    with Lab() as lab:
        world = start(lab, timers + 'on_path_down = "remove"\n')
        world.peers.at(SILENT, PINNED, SRSENB)
        with world.peers.answering():
            yield world
        finish(world)


def test_sessions_of_a_peer_that_is_down_are_removed(removing: World) -> None:
    site, them = removing.site, removing.peers
    lab = site.lab
    with events(lab) as heard:
        them.answers.update({STEADY: properly, SRSENB: srsenb, PINNED: properly})
        ids = [removing.ue(number, SRSENB) for number in (1, 2, 3)]
        ids.append(site.session("10.45.1.4", teid=0x104, pinned=SRSENB))
        kept = [removing.ue(5, PINNED), removing.ue(6, SILENT)]
        them.until(lambda: len(heard.of("path_up")) == 3, "three answer")
        assert removing.reaches(1)
        del them.answers[SRSENB]
        them.until(lambda: heard.of("sessions_removed"), "they are removed")
        (down,) = heard.of("path_down")
        assert (down["peer"], down["sessions"]) == (SRSENB, 4)
        (removed,) = heard.of("sessions_removed")
        assert (removed["peer"], removed["deleted"], removed["gateway"]) == (SRSENB, 4, "gw1")
    lab.cache_follows()
    flows = lab.ofctl("dump-flows", "br-ofgtp")
    for number, session in enumerate(ids, 1):
        assert lab.http("GET", f"/v1/sessions/{session}").status == 404
        assert f"nw_dst=10.45.1.{number} " not in flows
        assert f"reg0={0x100 + number:#x}," not in flows
        assert not removing.reaches(number)
    for session, number in zip(kept, (5, 6), strict=True):
        assert lab.http("GET", f"/v1/sessions/{session}").json()["state"] == "active"
        assert f"nw_dst=10.45.1.{number} " in flows, "the text that others must not have"
        assert f"reg0={0x100 + number:#x}," in flows
        assert removing.reaches(number)
    assert set(peers(lab)) == {STEADY, PINNED, SILENT}
    assert peers(lab)[SILENT]["state"] == "unknown"
    asked = len(them.requests_to(SRSENB))
    them.during(2.5)
    assert len(them.requests_to(SRSENB)) == asked


def test_a_removed_peer_may_come_back(removing: World) -> None:
    them = removing.peers
    with events(removing.site.lab) as heard:
        removing.ue(1, SRSENB)
        assert peers(removing.site.lab)[SRSENB]["state"] == "unknown"
        them.answers[SRSENB] = srsenb
        them.until(lambda: heard.of("path_up", peer=SRSENB), "it answers")
    assert removing.reaches(1)
    until(lambda: peers(removing.site.lab)[SRSENB]["state"] == "up", "it is up")
