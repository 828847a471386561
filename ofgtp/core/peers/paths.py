"""The paths of one gateway to its GTP-U peers, and whether they work (TS 29.281, 7.2.1, 7.2.2).

An exchange is an Echo Request, sent up to N3-REQUESTS times, T3-RESPONSE apart, with one sequence
number, until it is answered. Exchanges with a peer begin at least `interval_s` apart, whatever
happens between: 60 s is the least the standard allows, repetitions aside (7.2.1). The caller says
which peers are in use, how late it is and what came in; what to send and what changed is returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ofgtp.core.agenda import Agenda
from ofgtp.core.model import Address
from ofgtp.core.packets.gtpu import SEQUENCE_MAX


class PathState(StrEnum):
    """What is known of a path."""

    UNKNOWN = "unknown"
    """The peer has never answered; some never do, and forward all the same."""
    UP = "up"
    DOWN = "down"
    """The peer did answer, and has stopped to."""


class Outcome(StrEnum):
    """How an exchange ended."""

    ANSWERED = "answered"
    SILENT = "silent"
    """N3-REQUESTS requests were not answered."""


TRANSITIONS: Mapping[tuple[PathState, Outcome], PathState] = {
    (PathState.UNKNOWN, Outcome.ANSWERED): PathState.UP,
    (PathState.UNKNOWN, Outcome.SILENT): PathState.UNKNOWN,
    (PathState.UP, Outcome.ANSWERED): PathState.UP,
    (PathState.UP, Outcome.SILENT): PathState.DOWN,
    (PathState.DOWN, Outcome.ANSWERED): PathState.UP,
    (PathState.DOWN, Outcome.SILENT): PathState.DOWN,
}


@dataclass(frozen=True, slots=True)
class PathTimers:
    """Parameters of path management; times in seconds (TS 29.281, 12.2, 12.3).

    Raises:
        ValueError: one is out of its range, or an exchange would outlast the interval.
    """

    interval_s: float = 60.0
    """From one exchange with a peer to the next; the configuration allows no less than 60."""
    t3_response_s: float = 3.0
    """T3-RESPONSE: how long an answer to a request is waited for."""
    n3_requests: int = 3
    """N3-REQUESTS: how often a request is sent before the peer counts as silent."""
    first_per_s: float = 200.0
    """How many new peers are asked a second, so that a start with thousands is no burst."""
    most_per_tick: int = 100
    """How many requests one tick sends at most; what is left over comes with the next."""

    def __post_init__(self) -> None:
        if min(self.t3_response_s, self.first_per_s) <= 0 or self.most_per_tick < 1:
            raise ValueError("T3-RESPONSE, first_per_s and most_per_tick are more than 0")
        if self.n3_requests < 1:
            raise ValueError("N3-REQUESTS is at least 1")
        if self.interval_s < self.n3_requests * self.t3_response_s:
            raise ValueError("the interval is no shorter than N3-REQUESTS times T3-RESPONSE")


@dataclass(frozen=True, slots=True)
class SendEcho:
    """Send an Echo Request; `attempt` is 1 for the first of its exchange."""

    peer: Address
    sequence: int
    attempt: int


@dataclass(frozen=True, slots=True)
class PathChanged:
    """The state of a path is another now."""

    peer: Address
    old: PathState
    new: PathState


@dataclass(frozen=True, slots=True)
class PathStatus:
    """What an operator should know of a peer; times are the caller's, None is never."""

    peer: Address
    state: PathState
    users: int
    """How many sessions use it."""
    asked_at: float | None
    """When the last exchange began."""
    answered_at: float | None
    heard_at: float | None
    """When the peer last asked us (an Echo Request of its own)."""


@dataclass(slots=True)
class _Path:
    later: bool
    """Its first request was put off: it is remembered until then even if nobody uses it."""
    users: int = 0
    state: PathState = PathState.UNKNOWN
    sequence: int = SEQUENCE_MAX
    attempts: int = 0
    """Requests sent in the exchange under way; 0 when there is none."""
    asked_at: float | None = None
    answered_at: float | None = None
    heard_at: float | None = None


class Paths:
    """Every method takes constant or logarithmic time but `status` and `counts`.

    `now` is seconds of a steady clock. Call `tick` a few times a second.
    """

    def __init__(self, timers: PathTimers) -> None:
        self._timers = timers
        self._paths: dict[Address, _Path] = {}
        self._agenda: Agenda[Address] = Agenda()
        """When the next request to each is due, its exchange ends, or it is forgotten."""
        self._next_first = {False: float("-inf"), True: float("-inf")}
        """When the next new peer is asked, by whether it is put off."""

    def retime(self, timers: PathTimers, now: float) -> None:
        """Go by other timers: exchanges under way by their next request, the others by their next
        exchange."""
        self._timers = timers
        for peer, path in self._paths.items():
            if path.asked_at is not None and not path.attempts:
                self._agenda.set(peer, max(now, path.asked_at + timers.interval_s))

    def acquire(self, peer: Address, now: float, sessions: int = 1, later: bool = False) -> None:
        """So many sessions more use this peer.

        With `later` the first request to a peer that is new here is put off by an interval: a run
        before this one may just have asked it (7.2.1).

        Raises:
            ValueError: `sessions` is less than 1.
        """
        if sessions < 1:
            raise ValueError(f"at least one session acquires a path, not {sessions}")
        path = self._paths.get(peer)
        if path is None:
            path = self._paths[peer] = _Path(later)
            interval = self._timers.interval_s
            earliest = now + interval if later else now
            first = min(max(self._next_first[later], earliest), earliest + interval)
            self._next_first[later] = first + 1 / self._timers.first_per_s
            self._agenda.set(peer, first)
        path.users += sessions

    def release(self, peer: Address, sessions: int = 1) -> None:
        """So many sessions less use it. After the last no more is sent, and nothing reported.

        A peer that was asked, or put off, is remembered until it might be asked again, so that
        one that comes and goes is not asked more often than the interval allows.

        Raises:
            ValueError: `sessions` is less than 1, or more than use it.
        """
        path = self._paths.get(peer)
        users = path.users if path is not None else 0
        if path is None or not 1 <= sessions <= users:
            raise ValueError(f"{users} sessions use {peer}, it cannot be released by {sessions}")
        path.users -= sessions
        if path.users:
            return
        if path.asked_at is None:
            if not path.later:
                self._forget(peer)
        elif path.attempts:
            path.attempts = 0
            self._agenda.set(peer, path.asked_at + self._timers.interval_s)

    def tick(self, now: float) -> tuple[list[SendEcho], list[PathChanged]]:
        """What is due at `now`: requests to send, and paths that went down."""
        sends: list[SendEcho] = []
        events: list[PathChanged] = []
        timers = self._timers
        while (peer := self._agenda.first(now)) is not None:
            path = self._paths[peer]
            ends = path.users == 0 or path.attempts >= timers.n3_requests
            if not ends and len(sends) == timers.most_per_tick:
                break
            if path.users == 0:
                self._forget(peer)
            elif path.attempts >= timers.n3_requests:
                events += self._conclude(peer, path, Outcome.SILENT)
            else:
                if not path.attempts:
                    path.sequence = (path.sequence + 1) & SEQUENCE_MAX
                    path.asked_at = now
                path.attempts += 1
                sends.append(SendEcho(peer, path.sequence, path.attempts))
                self._agenda.set(peer, now + timers.t3_response_s)
        return sends, events

    def echo_response(self, peer: Address, sequence: int | None, now: float) -> list[PathChanged]:
        """`peer` sent an Echo Response; without sequence number it counts for the last request.

        Ignored is one from a peer that nobody uses, one to a request that was never sent and one
        with another sequence number than the last request's. A late one brings the path up again.
        """
        path = self._paths.get(peer)
        if path is None or not path.users or path.asked_at is None:
            return []
        if sequence is not None and sequence != path.sequence:
            return []
        path.answered_at = now
        return self._conclude(peer, path, Outcome.ANSWERED)

    def echo_request(self, peer: Address, now: float) -> None:
        """`peer` sent an Echo Request: noted, but no proof that our packets reach it.

        A Recovery in it has no meaning in GTP-U (7.2.2, 8.2), so a restart cannot be told by it.
        """
        path = self._paths.get(peer)
        if path is not None:
            path.heard_at = now

    def status(self) -> list[PathStatus]:
        """The peers in use."""
        return [self._status(peer, path) for peer, path in self._paths.items() if path.users]

    def get(self, peer: Address) -> PathStatus | None:
        """One peer; None if nobody uses it."""
        path = self._paths.get(peer)
        return self._status(peer, path) if path is not None and path.users else None

    def counts(self) -> dict[PathState, int]:
        """How many peers in use are in each state."""
        counts = dict.fromkeys(PathState, 0)
        for path in self._paths.values():
            counts[path.state] += path.users > 0
        return counts

    @staticmethod
    def _status(peer: Address, path: _Path) -> PathStatus:
        times = path.asked_at, path.answered_at, path.heard_at
        return PathStatus(peer, path.state, path.users, *times)

    def _conclude(self, peer: Address, path: _Path, outcome: Outcome) -> list[PathChanged]:
        old, path.state = path.state, TRANSITIONS[path.state, outcome]
        if path.attempts and path.asked_at is not None:
            path.attempts = 0
            self._agenda.set(peer, path.asked_at + self._timers.interval_s)
        return [PathChanged(peer, old, path.state)] if path.state is not old else []

    def _forget(self, peer: Address) -> None:
        del self._paths[peer]
        self._agenda.drop(peer)
