"""The next hops of the access side: their MAC addresses, and when to ask for them by ARP, or by
neighbour discovery.

Two need these. The switch puts them into the frames it encapsulates, and learns them from the ARP
answers that come in, but asks only when a packet is there already, which it then drops. The
controller needs them for messages of its own. So it asks, for both, as soon as a peer is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ofgtp.core.agenda import Agenda
from ofgtp.core.limits import TokenBucket
from ofgtp.core.model import Address

KNOWN_S = 60.0
"""Seconds between two questions to one that answers. The switch forgets what it was told after 15
minutes; this is also how late a changed MAC address is noticed that nobody announced."""

DOUBTED_S = 12.0
"""Seconds until one is asked again of whom two MAC addresses were told. The switch believes
gratuitous ARP too, and does not look again at an answer that it has seen in the last 10 s: so it
may still have the other one."""

FIRST_S = 1.0
"""Seconds after which one that did not answer is asked again; twice as many each time after."""

STALE = 3
"""Questions that one leaves unanswered before it counts as gone; its last MAC is used all the
same."""

MOST_PER_S, MOST_AT_ONCE = 200.0, 50
"""Questions to all together, so that thousands of new ones are no burst: the switch shows only so
many answers a second."""


class NeighbourState(StrEnum):
    """What is known of a next hop."""

    UNRESOLVED = "unresolved"
    """It has never answered."""
    RESOLVED = "resolved"
    STALE = "stale"
    """It did answer, and does not any more."""


@dataclass(slots=True)
class _Neighbour:
    users: int = 0
    mac: str | None = None
    unanswered: int = 0
    """Questions since the last answer."""
    doubted: bool = False
    """Another MAC address than the last was told since the last answer."""
    pause: float = FIRST_S
    """From the next question to the one after."""


class Neighbours:
    """Every method but `counts` and `doubt_all` takes constant or logarithmic time.

    `now` is seconds of a steady clock. Call `tick` a few times a second, and send what it says. No
    one is asked more often than every FIRST_S, however often it comes and goes.
    """

    def __init__(self) -> None:
        self._known: dict[Address, _Neighbour] = {}
        self._agenda: Agenda[Address] = Agenda()
        """When to ask those in use."""
        self._asked: dict[Address, float] = {}
        """When the last question went out, oldest first; those that may be asked again are not
        kept. Some are not in use any more."""
        self._limit = TokenBucket(MOST_PER_S, MOST_AT_ONCE)

    def acquire(self, ip: Address, now: float) -> None:
        """One user more. A new neighbour is asked with the next tick."""
        neighbour = self._known.get(ip)
        if neighbour is None:
            neighbour = self._known[ip] = _Neighbour()
            self._agenda.set(ip, self._earliest(ip, now))
        neighbour.users += 1

    def release(self, ip: Address) -> None:
        """One user less; after the last it is forgotten.

        Raises:
            ValueError: nobody uses it.
        """
        neighbour = self._known.get(ip)
        if neighbour is None:
            raise ValueError(f"nobody uses {ip}")
        neighbour.users -= 1
        if not neighbour.users:
            del self._known[ip]
            self._agenda.drop(ip)

    def tick(self, now: float) -> list[Address]:
        """Whom to ask at `now`."""
        while self._asked and next(iter(self._asked.values())) + FIRST_S <= now:
            del self._asked[next(iter(self._asked))]
        asked: list[Address] = []
        while (ip := self._agenda.first(now)) is not None and self._limit.take(now):
            neighbour = self._known[ip]
            self._agenda.set(ip, now + neighbour.pause)
            neighbour.pause = min(2 * neighbour.pause, KNOWN_S)
            neighbour.unanswered += 1
            self._asked[ip] = now
            asked.append(ip)
        return asked

    def heard(self, ip: Address, mac: str, now: float) -> bool:
        """It answered that this is its MAC; True if that is news of one in use."""
        neighbour = self._known.get(ip)
        if neighbour is None:
            return False
        changed = mac != neighbour.mac
        neighbour.doubted |= changed and neighbour.mac is not None
        neighbour.mac, neighbour.unanswered, neighbour.pause = mac, 0, FIRST_S
        self._agenda.set(ip, now + (DOUBTED_S if neighbour.doubted else KNOWN_S))
        neighbour.doubted = False
        return changed

    def doubt(self, ip: Address, mac: str, now: float) -> None:
        """Something else than an answer says that it has this MAC: if that is news, ask it soon.

        It is not believed until it answers; see DOUBTED_S for what the switch makes of it.
        """
        neighbour = self._known.get(ip)
        if neighbour is not None and mac != neighbour.mac:
            neighbour.doubted = neighbour.mac is not None
            self._agenda.hasten(ip, self._earliest(ip, now))

    def doubt_all(self, now: float) -> None:
        """All may be others now: ask them at once, as far as MOST_PER_S allows."""
        for ip, neighbour in self._known.items():
            neighbour.pause = FIRST_S
            self._agenda.hasten(ip, self._earliest(ip, now))

    def mac(self, ip: Address) -> str | None:
        """Its MAC address; None if it has not answered, or is not in use."""
        neighbour = self._known.get(ip)
        return None if neighbour is None else neighbour.mac

    def state(self, ip: Address) -> NeighbourState:
        """What is known of it."""
        return _state(self._known.get(ip))

    def counts(self) -> Mapping[NeighbourState, int]:
        """How many in use are in each state."""
        counts = dict.fromkeys(NeighbourState, 0)
        for neighbour in self._known.values():
            counts[_state(neighbour)] += 1
        return counts

    def _earliest(self, ip: Address, now: float) -> float:
        """When it may be asked."""
        return max(now, self._asked.get(ip, float("-inf")) + FIRST_S)


def _state(neighbour: _Neighbour | None) -> NeighbourState:
    if neighbour is None or neighbour.mac is None:
        return NeighbourState.UNRESOLVED
    return NeighbourState.STALE if neighbour.unanswered > STALE else NeighbourState.RESOLVED
