"""Next hops: whom to ask by ARP and when, and what is believed."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ofgtp.core.agenda import SLACK
from ofgtp.core.flows.pipeline import NEIGHBOUR_METER
from ofgtp.core.peers.neighbours import (
    DOUBTED_S,
    FIRST_S,
    KNOWN_S,
    MOST_AT_ONCE,
    MOST_PER_S,
    STALE,
    Neighbours,
    NeighbourState,
)
from ofgtp.core.peers.paths import Paths, PathTimers

ONE, TWO, THREE = (IPv4Address(f"10.1.0.{n}") for n in (2, 3, 4))
MAC, OTHER_MAC = "52:54:00:00:00:02", "52:54:00:00:00:03"
UNRESOLVED, RESOLVED, GONE = NeighbourState


def asked(neighbours: Neighbours, start: float, stop: float) -> list[float]:
    """When anybody is asked, with four ticks a second; `stop` is left out."""
    times = (start + step / 4 for step in range(int((stop - start) * 4)))
    return [now for now in times for _ in neighbours.tick(now)]


def test_one_that_is_silent_is_asked_ever_more_seldom() -> None:
    neighbours = Neighbours()
    neighbours.acquire(ONE, 100)
    times = asked(neighbours, 100, 400)
    assert times == [100, 101, 103, 107, 115, 131, 163, 223, 283, 343]


def test_one_that_is_silent_for_days_is_still_asked() -> None:
    neighbours = Neighbours()
    neighbours.acquire(ONE, 0)
    now = 0.0
    for _ in range(5_000):  # more than 3 days
        assert neighbours.tick(now) == [ONE]
        now += KNOWN_S
    assert neighbours.state(ONE) is UNRESOLVED


def test_one_that_answers_is_asked_again_after_a_minute() -> None:
    neighbours = Neighbours()
    neighbours.acquire(ONE, 0)
    assert neighbours.tick(0) == [ONE]
    assert neighbours.heard(ONE, MAC, 0.5)
    assert asked(neighbours, 0.5, 63) == [60.5, 61.5]
    assert not neighbours.heard(ONE, MAC, 63), "no news"
    assert asked(neighbours, 63, 130) == [123, 124, 126]


def test_a_changed_mac_is_news() -> None:
    neighbours = Neighbours()
    neighbours.acquire(ONE, 0)
    assert neighbours.heard(ONE, MAC, 0)
    assert neighbours.heard(ONE, OTHER_MAC, 1)
    assert neighbours.mac(ONE) == OTHER_MAC


def test_states() -> None:
    neighbours = Neighbours()
    assert neighbours.state(ONE) is UNRESOLVED
    for ip in (ONE, TWO):
        neighbours.acquire(ip, 0)
        neighbours.tick(0)
    assert (neighbours.state(ONE), neighbours.mac(ONE)) == (UNRESOLVED, None)
    neighbours.heard(ONE, MAC, 0)
    assert neighbours.counts() == {UNRESOLVED: 1, RESOLVED: 1, GONE: 0}
    now = KNOWN_S
    for question in range(1, STALE + 1):
        assert ONE in neighbours.tick(now)
        assert neighbours.state(ONE) is RESOLVED, question
        now += 16
    assert ONE in neighbours.tick(now)
    assert (neighbours.state(ONE), neighbours.mac(ONE)) == (GONE, MAC)
    assert neighbours.counts() == {UNRESOLVED: 1, RESOLVED: 0, GONE: 1}
    neighbours.heard(ONE, MAC, now)
    assert neighbours.state(ONE) is RESOLVED


def test_one_is_forgotten_with_its_last_user() -> None:
    neighbours = Neighbours()
    neighbours.acquire(ONE, 0)
    neighbours.acquire(ONE, 0)
    neighbours.heard(ONE, MAC, 0)
    neighbours.release(ONE)
    assert neighbours.mac(ONE) == MAC
    neighbours.release(ONE)
    assert (neighbours.mac(ONE), neighbours.state(ONE)) == (None, UNRESOLVED)
    assert sum(neighbours.counts().values()) == 0
    assert asked(neighbours, 0, 100) == []
    for ip in (ONE, TWO):
        with pytest.raises(ValueError, match=f"nobody uses {ip}"):
            neighbours.release(ip)


def test_what_is_not_in_use_is_not_learned() -> None:
    neighbours = Neighbours()
    assert not neighbours.heard(ONE, MAC, 0)
    neighbours.doubt(ONE, MAC, 0)
    neighbours.acquire(TWO, 0)
    assert not neighbours.heard(ONE, MAC, 0)
    assert neighbours.mac(ONE) is None
    assert neighbours.tick(0) == [TWO]


def test_a_doubt_asks_at_once_but_is_not_believed() -> None:
    neighbours = Neighbours()
    neighbours.acquire(ONE, 0)
    neighbours.tick(0)
    neighbours.heard(ONE, MAC, 0)
    neighbours.doubt(ONE, MAC, 10)
    assert neighbours.tick(10) == [], "that is what we know"
    neighbours.doubt(ONE, OTHER_MAC, 10)
    assert neighbours.mac(ONE) == MAC
    assert neighbours.tick(10) == [ONE]
    neighbours.doubt(ONE, OTHER_MAC, 10.25)
    assert asked(neighbours, 10.25, 12) == [11]


def test_all_in_doubt_are_asked_at_once_and_believed_meanwhile() -> None:
    neighbours = Neighbours()
    for ip in (ONE, TWO):
        neighbours.acquire(ip, 0)
    neighbours.tick(0)
    neighbours.heard(ONE, MAC, 0)
    neighbours.doubt_all(30)
    assert set(neighbours.tick(30)) == {ONE, TWO}
    assert neighbours.mac(ONE) == MAC
    assert asked(neighbours, 30.25, 33) == [31, 31], "they are asked again like new ones"
    assert neighbours.heard(ONE, OTHER_MAC, 33)


@pytest.mark.parametrize("answer", (MAC, OTHER_MAC))
def test_one_of_whom_two_addresses_were_told_is_asked_once_more(answer: str) -> None:
    neighbours = Neighbours()
    neighbours.acquire(ONE, 0)
    neighbours.heard(ONE, MAC, 0)
    neighbours.doubt(ONE, OTHER_MAC, 10)
    assert neighbours.tick(10) == [ONE]
    neighbours.heard(ONE, answer, 10)
    assert asked(neighbours, 10, 10 + DOUBTED_S) == []
    assert neighbours.tick(10 + DOUBTED_S) == [ONE]
    neighbours.heard(ONE, answer, 30)
    assert asked(neighbours, 30, 30 + KNOWN_S) == []


def test_an_answer_with_another_address_is_a_doubt_too() -> None:
    neighbours = Neighbours()
    neighbours.acquire(ONE, 0)
    neighbours.heard(ONE, MAC, 0)
    neighbours.heard(ONE, OTHER_MAC, 1)
    assert asked(neighbours, 1, 1 + DOUBTED_S + 0.25) == [1 + DOUBTED_S]


def test_a_doubt_puts_nothing_off() -> None:
    neighbours = Neighbours()
    crowd = [IPv4Address(0x0A010100 + n) for n in range(MOST_AT_ONCE)]
    for ip in (*crowd, ONE):
        neighbours.acquire(ip, 0)
    assert neighbours.tick(0) == crowd, "no more at once"
    late = [IPv4Address(0x0A010200 + n) for n in range(MOST_AT_ONCE)]
    for ip in late:
        neighbours.acquire(ip, 0.25)
    neighbours.doubt(ONE, MAC, 0.5)
    assert neighbours.tick(0.5)[0] == ONE, "it was due before them"


def test_who_comes_and_goes_is_not_asked_more_often() -> None:
    neighbours = Neighbours()
    times = []
    for step in range(400):
        now = step / 100
        neighbours.acquire(ONE, now)
        times += [now for _ in neighbours.tick(now)]
        neighbours.release(ONE)
    assert times == [0, 1, 2, 3]


def test_many_new_ones_are_no_burst_whoever_calls() -> None:
    neighbours = Neighbours()
    for n in range(2_000):
        neighbours.acquire(IPv4Address(0x0A010000 + n), 0)
    firsts: dict[IPv4Address, float] = {}
    for step in range(1_000):
        now = step / 100
        said = [ip for _ in range(5) for ip in neighbours.tick(now)]
        assert len(said) <= (MOST_AT_ONCE if not step else 3)
        for ip in said:
            firsts.setdefault(ip, now)
            neighbours.heard(ip, MAC, now)
    assert len(firsts) == 2_000
    assert 9.7 < max(firsts.values()) < 9.9, "2,000 less 50, at 200 a second"
    assert neighbours.counts()[RESOLVED] == 2_000


@pytest.mark.parametrize("ticks", [False, True])
def test_no_sequence_of_calls_takes_memory_of_its_own(ticks: bool) -> None:
    """With ticks, and without: while the switch is away there are none."""
    neighbours, paths = Neighbours(), Paths(PathTimers())
    neighbours.acquire(TWO, 0)
    for step in range(20_000):
        now = step / 1_000
        neighbours.acquire(ONE, now)
        paths.acquire(ONE, now)
        neighbours.heard(ONE, MAC, now)
        neighbours.doubt(ONE, OTHER_MAC, now)
        neighbours.doubt(TWO, f"52:54:00:00:{step >> 8 & 255:02x}:{step & 255:02x}", now)
        if ticks:
            neighbours.tick(now)
            paths.tick(now)
        paths.release(ONE)
        neighbours.release(ONE)
    assert len(neighbours._agenda._heap) <= 4 + SLACK
    assert len(paths._agenda._heap) <= 4 + SLACK
    assert len(neighbours._asked) <= 2


def test_those_asked_long_ago_are_not_remembered() -> None:
    neighbours = Neighbours()
    for n in range(1_000):
        ip = IPv4Address(0x0A010000 + n)
        neighbours.acquire(ip, n / 10)
        assert neighbours.tick(n / 10) == [ip]
        neighbours.release(ip)
    assert len(neighbours._asked) <= 11


HOPS = [ONE, TWO, THREE]


class NeighboursMachine(RuleBasedStateMachine):
    """Any order of calls, held against what may be asked, and what is known."""

    def __init__(self) -> None:
        super().__init__()
        self.neighbours = Neighbours()
        self.now = 0.0
        self.users = dict.fromkeys(HOPS, 0)
        self.mac: dict[IPv4Address, str] = {}
        self.last: dict[IPv4Address, float] = {}
        """When each was asked last, in use or not."""
        self.pause: dict[IPv4Address, float] = {}
        """What must go by after the last question, or answer, of one in use."""
        self.since: dict[IPv4Address, float] = {}
        """When that pause began."""
        self.silent: dict[IPv4Address, int] = {}
        self.doubted: set[IPv4Address] = set()
        """Those of whom another address than the known one was told since their last answer."""

    @rule(hop=st.sampled_from(HOPS))
    def acquire(self, hop: IPv4Address) -> None:
        self.neighbours.acquire(hop, self.now)
        if not self.users[hop]:
            self.since[hop], self.pause[hop], self.silent[hop] = self.now, 0.0, 0
        self.users[hop] += 1

    @rule(hop=st.sampled_from(HOPS))
    def release(self, hop: IPv4Address) -> None:
        if not self.users[hop]:
            with pytest.raises(ValueError, match="nobody uses"):
                self.neighbours.release(hop)
            return
        self.neighbours.release(hop)
        self.users[hop] -= 1
        if not self.users[hop]:
            self.mac.pop(hop, None)
            self.doubted.discard(hop)

    @rule(step=st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 8.0, 30.0, 60.0, 300.0]))
    def tick(self, step: float) -> None:
        self.now += step
        due = {hop for hop in HOPS if self.users[hop] and self.may_be_asked(hop)}
        said = self.neighbours.tick(self.now)
        assert len(said) == len(set(said))
        assert set(said) == due
        for hop in said:
            assert self.now - self.last.get(hop, -1e9) >= FIRST_S
            self.last[hop] = self.since[hop] = self.now
            self.pause[hop] = min(FIRST_S * 2 ** self.silent[hop], KNOWN_S)
            self.silent[hop] += 1

    def may_be_asked(self, hop: IPv4Address) -> bool:
        rested = self.now - self.last.get(hop, -1e9) >= FIRST_S
        return rested and self.now - self.since[hop] >= self.pause[hop]

    @rule(hop=st.sampled_from(HOPS), mac=st.sampled_from([MAC, OTHER_MAC]))
    def heard(self, hop: IPv4Address, mac: str) -> None:
        news = self.neighbours.heard(hop, mac, self.now)
        assert news == bool(self.users[hop] and self.mac.get(hop) != mac)
        if self.users[hop]:
            doubted = hop in self.doubted or self.mac.get(hop, mac) != mac
            self.doubted.discard(hop)
            self.mac[hop] = mac
            self.since[hop], self.silent[hop] = self.now, 0
            self.pause[hop] = DOUBTED_S if doubted else KNOWN_S

    @precondition(lambda self: any(self.users.values()))
    @rule(
        hop=st.sampled_from(HOPS),
        mac=st.sampled_from([MAC, OTHER_MAC]),
        times=st.sampled_from([1, 3, 100]),
    )
    def doubt(self, hop: IPv4Address, mac: str, times: int) -> None:
        for _ in range(times):
            self.neighbours.doubt(hop, mac, self.now)
        if self.users[hop] and self.mac.get(hop) != mac:
            self.pause[hop] = 0.0  # nothing but the second since the last question
            if hop in self.mac:
                self.doubted.add(hop)

    @invariant()
    def what_is_known(self) -> None:
        for hop in HOPS:
            assert self.neighbours.mac(hop) == self.mac.get(hop)
            state = self.neighbours.state(hop)
            assert (state is UNRESOLVED) == (hop not in self.mac)
            assert (state is GONE) == (hop in self.mac and self.silent[hop] > STALE)
        counts = self.neighbours.counts()
        used = [hop for hop in HOPS if self.users[hop]]
        for state in NeighbourState:
            assert counts[state] == sum(self.neighbours.state(hop) is state for hop in used)

    @invariant()
    def memory_goes_by_those_in_use(self) -> None:
        assert len(self.neighbours._agenda._heap) <= 2 * len(HOPS) + SLACK
        assert len(self.neighbours._asked) <= len(HOPS)


TestNeighbours = NeighboursMachine.TestCase
TestNeighbours.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_the_limit_is_what_the_meter_lets_through() -> None:
    assert max(MOST_AT_ONCE, MOST_PER_S) < NEIGHBOUR_METER.rate
