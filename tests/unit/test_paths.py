"""Path management: what is sent when, and what is said of the peers."""

import random
import time
from ipaddress import IPv4Address

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ofgtp.core.peers.paths import (
    TRANSITIONS,
    Outcome,
    PathChanged,
    Paths,
    PathState,
    PathTimers,
    SendEcho,
)

PEER, OTHER = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
UNKNOWN, UP, DOWN = PathState


def paths_in_use(*peers: IPv4Address, **timers: float) -> Paths:
    paths = Paths(PathTimers(**timers))
    for peer in peers:
        paths.acquire(peer, 0)
    return paths


def run(paths: Paths, start: int, stop: int) -> list[tuple[int, SendEcho | PathChanged]]:
    """What comes of a tick a second, `stop` left out."""
    seen: list[tuple[int, SendEcho | PathChanged]] = []
    for now in range(start, stop):
        sends, events = paths.tick(now)
        seen += [(now, item) for item in (*sends, *events)]
    return seen


def test_other_timers_hold_for_exchanges_under_way_and_to_come() -> None:
    paths = paths_in_use(PEER)
    assert len(run(paths, 0, 4)) == 2
    paths.retime(PathTimers(90, 4, 1), 4)
    # It was asked twice, which is more than once: the exchange ends, and the next is 90 s later.
    assert run(paths, 4, 100) == [(90, SendEcho(PEER, 1, 1))]
    paths.retime(PathTimers(60, 3, 3), 100)
    assert run(paths, 100, 152)[0] == (150, SendEcho(PEER, 2, 1))
    paths.retime(PathTimers(300, 3, 3), 160)
    assert [now for now, _ in run(paths, 160, 460)] == [160, 163, 450, 453, 456]
    paths.retime(PathTimers(60, 3, 3), 600)
    assert run(paths, 600, 601) == [(600, SendEcho(PEER, 4, 1))], "what is late is due at once"


def test_a_peer_that_never_answers_stays_unknown() -> None:
    paths = paths_in_use(PEER)
    assert run(paths, 0, 70) == [
        (0, SendEcho(PEER, 0, 1)),
        (3, SendEcho(PEER, 0, 2)),
        (6, SendEcho(PEER, 0, 3)),
        (60, SendEcho(PEER, 1, 1)),
        (63, SendEcho(PEER, 1, 2)),
        (66, SendEcho(PEER, 1, 3)),
    ]
    status = paths.get(PEER)
    assert status is not None
    assert (status.state, status.answered_at, status.asked_at) == (UNKNOWN, None, 60)


def test_up_down_and_up_again() -> None:
    paths = paths_in_use(PEER)
    paths.tick(0)
    assert paths.echo_response(PEER, 0, 1) == [PathChanged(PEER, UNKNOWN, UP)]
    assert run(paths, 1, 69) == [
        (60, SendEcho(PEER, 1, 1)),
        (63, SendEcho(PEER, 1, 2)),
        (66, SendEcho(PEER, 1, 3)),
    ]
    assert run(paths, 69, 120) == [(69, PathChanged(PEER, UP, DOWN))]
    assert run(paths, 120, 121) == [(120, SendEcho(PEER, 2, 1))]
    assert paths.echo_response(PEER, 2, 121) == [PathChanged(PEER, DOWN, UP)]
    assert run(paths, 121, 180) == []


def test_an_answer_ends_the_exchange() -> None:
    paths = paths_in_use(PEER)
    run(paths, 0, 5)
    paths.echo_response(PEER, 0, 5)
    assert run(paths, 5, 60) == []


def test_a_late_answer_brings_the_path_up() -> None:
    paths = paths_in_use(PEER)
    run(paths, 0, 1)
    paths.echo_response(PEER, 0, 1)
    run(paths, 1, 70)
    assert paths.counts() == {UNKNOWN: 0, UP: 0, DOWN: 1}
    assert paths.echo_response(PEER, 1, 71) == [PathChanged(PEER, DOWN, UP)]
    assert paths.echo_response(PEER, 1, 71) == []
    assert run(paths, 71, 120) == []


def test_an_answer_without_sequence_number_counts() -> None:
    paths = paths_in_use(PEER)
    paths.tick(0)
    assert paths.echo_response(PEER, None, 1) == [PathChanged(PEER, UNKNOWN, UP)]


def test_answers_that_do_not_count() -> None:
    paths = paths_in_use(PEER)
    assert paths.echo_response(PEER, None, 0) == []  # nothing was asked
    assert paths.echo_response(PEER, 0xFFFF, 0) == []
    paths.tick(0)
    assert paths.echo_response(PEER, 1, 1) == []  # another number
    assert paths.echo_response(OTHER, 0, 1) == []  # nobody uses it
    paths.release(PEER)
    assert paths.echo_response(PEER, 0, 1) == []
    assert paths.status() == []


def test_an_echo_request_of_the_peer_is_noted_and_proves_nothing() -> None:
    paths = paths_in_use(PEER)
    paths.echo_request(PEER, 4)
    paths.echo_request(OTHER, 4)
    (status,) = paths.status()
    assert (status.heard_at, status.state) == (4, UNKNOWN)


def test_a_peer_is_used_until_its_last_session_goes() -> None:
    paths = paths_in_use(PEER, PEER)
    paths.release(PEER)
    assert [status.users for status in paths.status()] == [1]
    paths.release(PEER)
    assert paths.get(PEER) is None
    with pytest.raises(ValueError, match="0 sessions use"):
        paths.release(PEER)
    with pytest.raises(ValueError, match="0 sessions use"):
        paths.release(OTHER)
    assert run(paths, 0, 200) == []


def test_many_sessions_at_once() -> None:
    paths = Paths(PathTimers())
    paths.acquire(PEER, 0, sessions=1_000)
    paths.acquire(PEER, 0, sessions=3)
    assert run(paths, 0, 1) == [(0, SendEcho(PEER, 0, 1))]
    for wrong in (0, -1, 1_004):
        with pytest.raises(ValueError, match="1003 sessions use"):
            paths.release(PEER, sessions=wrong)
    paths.release(PEER, sessions=1_002)
    assert [status.users for status in paths.status()] == [1]
    paths.release(PEER, sessions=1)
    assert paths.status() == []
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="at least one"):
            paths.acquire(OTHER, 0, sessions=wrong)
    assert paths.get(OTHER) is None


def test_a_peer_that_may_just_have_been_asked_is_asked_an_interval_later() -> None:
    paths = Paths(PathTimers())
    paths.acquire(PEER, 5, sessions=2, later=True)
    paths.acquire(OTHER, 5)
    assert paths.tick(5)[0] == [SendEcho(OTHER, 0, 1)]
    paths.echo_response(OTHER, 0, 5)
    paths.acquire(PEER, 6)  # no sooner for being acquired once more
    assert run(paths, 6, 65) == []
    assert [send.peer for send in paths.tick(65)[0]] == [PEER, OTHER]


def test_a_known_peer_is_not_put_off() -> None:
    paths = paths_in_use(PEER)
    paths.acquire(PEER, 0, later=True)
    assert run(paths, 0, 1) == [(0, SendEcho(PEER, 0, 1))]


def test_a_peer_put_off_that_goes_and_comes_is_not_asked_sooner() -> None:
    paths = Paths(PathTimers())
    paths.acquire(PEER, 0, later=True)
    paths.release(PEER)
    assert paths.status() == []
    paths.acquire(PEER, 1)
    assert run(paths, 1, 61) == [(60, SendEcho(PEER, 0, 1))]


def test_a_peer_put_off_that_went_is_forgotten_in_time() -> None:
    paths = Paths(PathTimers())
    paths.acquire(PEER, 0, later=True)
    paths.release(PEER)
    assert run(paths, 0, 61) == []
    paths.acquire(PEER, 61)
    assert run(paths, 61, 62) == [(61, SendEcho(PEER, 0, 1))]


def test_peers_put_off_are_no_burst_and_do_not_hold_up_new_ones() -> None:
    stored = [IPv4Address(0x0A000001 + n) for n in range(1_000)]
    paths = Paths(PathTimers())
    for peer in stored:
        paths.acquire(peer, 0, later=True)
    paths.acquire(PEER, 0)
    assert paths.tick(0)[0] == [SendEcho(PEER, 0, 1)]
    paths.echo_response(PEER, 0, 0)
    asked: dict[IPv4Address, float] = {}
    for step in range(1, 700):
        sends, _ = paths.tick(step / 10)
        assert len(sends) <= 22  # 200 a second, and PEER
        for send in sends:
            asked.setdefault(send.peer, step / 10)
            paths.echo_response(send.peer, send.sequence, step / 10)
    assert set(asked) == {*stored, PEER}
    assert min(asked.values()) >= 60 and max(asked.values()) <= 65.1


def test_a_peer_that_comes_and_goes_is_not_asked_sooner() -> None:
    paths = paths_in_use(PEER)
    paths.tick(0)
    paths.echo_response(PEER, 0, 0)
    for now in range(1, 60):
        paths.release(PEER)
        assert paths.tick(now) == ([], [])
        paths.acquire(PEER, now)
        assert paths.tick(now) == ([], [])
    assert paths.tick(60) == ([SendEcho(PEER, 1, 1)], [])


def test_a_peer_that_went_is_forgotten_in_time() -> None:
    paths = paths_in_use(PEER)
    paths.tick(0)
    paths.echo_response(PEER, 0, 0)
    paths.release(PEER)
    run(paths, 1, 61)
    paths.acquire(PEER, 61)
    (status,) = paths.status()
    assert (status.state, status.asked_at) == (UNKNOWN, None)


def test_sequence_numbers_begin_again_after_65535() -> None:
    paths = paths_in_use(PEER, interval_s=1, t3_response_s=1, n3_requests=1)
    sequences = [item.sequence for now in range(70_000) for item in paths.tick(now)[0]]
    # each is asked and given up at the next second, which is when the next exchange begins
    assert sequences[:3] == [0, 1, 2]
    assert sequences[65535:65538] == [65535, 0, 1]


@pytest.mark.parametrize(
    "bad",
    [
        {"interval_s": 8.9},
        {"t3_response_s": 0},
        {"n3_requests": 0},
        {"first_per_s": 0},
        {"most_per_tick": 0},
    ],
)
def test_timers_that_cannot_be(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        PathTimers(**bad)


def test_transitions_are_whole_and_a_peer_that_never_answered_is_never_down() -> None:
    assert set(TRANSITIONS) == {(state, end) for state in PathState for end in Outcome}
    down = {state for (state, _), new in TRANSITIONS.items() if new is DOWN}
    assert UNKNOWN not in down
    assert all(TRANSITIONS[state, Outcome.ANSWERED] is UP for state in PathState)


def test_ten_thousand_peers_are_asked_without_a_burst_and_at_little_cost() -> None:
    peers = [IPv4Address(0x0A000001 + n) for n in range(10_000)]
    paths = paths_in_use(*peers)
    silent = set(random.Random(4).sample(peers, 2_000))
    asked: dict[IPv4Address, list[float]] = {}
    most, began = 0, time.process_time()
    for step in range(1_400):  # 140 s
        now = step / 10
        sends, events = paths.tick(now)
        most = max(most, len(sends))
        assert not events
        for send in sends:
            if send.attempt == 1:
                asked.setdefault(send.peer, []).append(now)
            if send.peer not in silent:
                paths.echo_response(send.peer, send.sequence, now)
    assert time.process_time() - began < 5
    assert most <= 100
    assert len(asked) == 10_000
    assert max(times[0] for times in asked.values()) < 51
    assert {len(times) for times in asked.values()} <= {2, 3}
    assert paths.counts() == {UNKNOWN: 2_000, UP: 8_000, DOWN: 0}


def test_new_peers_are_asked_one_after_the_other() -> None:
    peers = [IPv4Address(0x0A000001 + n) for n in range(8)]
    paths = paths_in_use(*peers, first_per_s=2)
    firsts = [len(paths.tick(step / 2)[0]) for step in range(6)]  # no second request before 3 s
    assert firsts == [1] * 6


def test_a_new_peer_waits_no_longer_than_the_interval() -> None:
    paths = paths_in_use(*[IPv4Address(0x0A000001 + n) for n in range(1_000)], first_per_s=1)
    asked = {item.peer for _, item in run(paths, 0, 70) if isinstance(item, SendEcho)}
    assert len(asked) == 1_000


def test_after_a_pause_no_tick_sends_more_than_it_may() -> None:
    peers = [IPv4Address(0x0A000001 + n) for n in range(500)]
    paths = paths_in_use(*peers)
    counts = [len(paths.tick(1_000 + step / 10)[0]) for step in range(6)]
    assert counts == [100] * 5 + [0]


TIMERS = PathTimers(interval_s=12, t3_response_s=2, n3_requests=3, first_per_s=2, most_per_tick=2)
PEERS = [IPv4Address(f"192.0.2.{n}") for n in range(1, 6)]


class PathsMachine(RuleBasedStateMachine):
    """Any order of sessions, ticks and answers, held against what the wire and events may show."""

    def __init__(self) -> None:
        super().__init__()
        self.paths = Paths(TIMERS)
        self.now = 0.0
        self.users = dict.fromkeys(PEERS, 0)
        self.state = dict.fromkeys(PEERS, UNKNOWN)
        self.sent: dict[IPv4Address, list[tuple[float, SendEcho]]] = {peer: [] for peer in PEERS}
        self.not_before: dict[IPv4Address, float] = {}
        """When a peer may be asked for the first time, by how it was first acquired."""
        self.answered: dict[IPv4Address, int] = {}
        """At which number of sent requests the peer was last heard to answer."""

    @rule(peer=st.sampled_from(PEERS), sessions=st.integers(1, 3), later=st.booleans())
    def acquire(self, peer: IPv4Address, sessions: int, later: bool) -> None:
        self.paths.acquire(peer, self.now, sessions, later)
        fresh = not self.users[peer]
        self.users[peer] += sessions
        status = self.paths.get(peer)
        assert status is not None
        if fresh and status.asked_at is None:
            self.state[peer] = UNKNOWN  # it was forgotten: only when it could be asked again
            assert not self.sent[peer] or self.now - self.began(peer) >= TIMERS.interval_s
        self.not_before.setdefault(peer, self.now + TIMERS.interval_s * later)

    @precondition(lambda self: any(self.users.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from([peer for peer in PEERS if self.users[peer]]))
        sessions = data.draw(st.integers(1, self.users[peer]))
        self.paths.release(peer, sessions)
        self.users[peer] -= sessions

    @rule(step=st.sampled_from([0.0, 0.125, 0.5, 1.0, 2.0, 2.5, 6.0, 12.0, 100.0]))
    def tick(self, step: float) -> None:
        self.now += step
        sends, events = self.paths.tick(self.now)
        assert len(sends) <= TIMERS.most_per_tick
        for event in events:
            assert (event.old, event.new) == (UP, DOWN)
            self.check_silence(event.peer)
            self.take(event)
        for send in sends:
            self.check_send(send)
            self.sent[send.peer].append((self.now, send))

    @rule(
        peer=st.sampled_from(PEERS),
        number=st.one_of(st.none(), st.just("right"), st.integers(0, 0xFFFF)),
    )
    def answer(self, peer: IPv4Address, number: int | str | None) -> None:
        status = self.paths.get(peer)
        asked = status is not None and status.asked_at is not None
        last = self.sent[peer][-1][1].sequence if self.sent[peer] else 0
        sequence = last if isinstance(number, str) else number
        events = self.paths.echo_response(peer, sequence, self.now)
        if asked and sequence in (None, last):
            expected = [PathChanged(peer, self.state[peer], UP)] if self.state[peer] != UP else []
            assert events == expected
            self.answered[peer] = len(self.sent[peer])
        else:
            assert events == []
        for event in events:
            self.take(event)

    @rule(peer=st.sampled_from(PEERS))
    def asked_by_peer(self, peer: IPv4Address) -> None:
        self.paths.echo_request(peer, self.now)

    @invariant()
    def status_is_what_was_told(self) -> None:
        seen = {status.peer: (status.state, status.users) for status in self.paths.status()}
        assert seen == {p: (self.state[p], n) for p, n in self.users.items() if n}
        for state, count in self.paths.counts().items():
            assert count == sum(found is state for found, _ in seen.values())

    def began(self, peer: IPv4Address) -> float:
        return max(at for at, send in self.sent[peer] if send.attempt == 1)

    def take(self, event: PathChanged) -> None:
        assert event.old is self.state[event.peer] and event.old is not event.new
        assert self.users[event.peer]
        self.state[event.peer] = event.new

    def check_send(self, send: SendEcho) -> None:
        assert self.users[send.peer], "nobody uses it"
        before = self.sent[send.peer]
        if send.attempt == 1:
            assert not before or self.now - self.began(send.peer) >= TIMERS.interval_s
            assert self.now >= self.not_before[send.peer]
            return
        at, last = before[-1]
        assert send.attempt == last.attempt + 1 <= TIMERS.n3_requests
        assert send.sequence == last.sequence
        assert self.now - at >= TIMERS.t3_response_s
        assert self.answered.get(send.peer) != len(before), "it was answered"

    def check_silence(self, peer: IPv4Address) -> None:
        at, last = self.sent[peer][-1]
        assert last.attempt == TIMERS.n3_requests
        assert self.now - at >= TIMERS.t3_response_s
        assert len(self.sent[peer]) - self.answered[peer] >= TIMERS.n3_requests

    def teardown(self) -> None:
        """Whatever happened: who is used and answers is found up within two intervals."""
        for _ in range(int(4 * TIMERS.interval_s)):
            self.now += 0.5
            for send in self.paths.tick(self.now)[0]:
                self.paths.echo_response(send.peer, send.sequence, self.now)
        assert all(status.state is UP for status in self.paths.status())


TestPaths = PathsMachine.TestCase
TestPaths.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
