"""When to look at a session's counts next, so that a limit is not passed by much unseen.

The switch gives no notice of a count, so counts are read. A session need not be read before so much
has come in by the gateway's ports as would take it to its limit; and then as often as its rate asks
for.
"""

from __future__ import annotations

from typing import NamedTuple

from ofgtp.core.agenda import Agenda

SOONEST_S, USUAL_S, LATEST_S = 0.2, 0.5, 10.0
"""Between two looks at one session; the usual one where nothing bounds its rate. The switch itself
brings its counts up to date twice a second."""
COUNTED_S = 0.6
"""After which the switch has counted a packet by its flow (docs/usage.md)."""
SHARE = 0.5
"""Of the time in which a limit is reached at the present rate, and of what may come until then: a
count that is read may be half a second old."""


class Next(NamedTuple):
    """When to look again: after `seconds`, once `octets` more have come in by the gateway's ports,
    but `at_latest` seconds from now whatever has come; None: that is no reason. Where there is more
    to look at than can be, it may be later, but no later than after `expected` seconds: then
    something is due if all goes on as it does."""

    seconds: float
    octets: int | None = None
    at_latest: float | None = None
    expected: float | None = None


def next_look(
    left: int, risen: int, seconds: float, fastest: float | None = None, timer: float | None = None
) -> Next:
    """Where a limit is `left` octets away, and `risen` octets have come in the last `seconds`.

    `fastest` is the most that can come, in octets a second, if that is known; `timer` is in how
    many seconds something is due whatever comes.
    """
    if left <= 0:
        return Next(SOONEST_S, at_latest=timer)
    rate = risen / seconds if seconds > 0 else 0.0
    until = SHARE * left / rate if rate > 0 else LATEST_S
    until = min(max(until, SOONEST_S), LATEST_S)
    most = max(SHARE * left / fastest, USUAL_S) if fastest else USUAL_S
    expected = until if seconds > 0 else None
    return Next(min(until, most), int(SHARE * left), timer, expected)


class Watch:
    """Sessions by their numbers, and when to look at each; told the time and how many octets have
    come in."""

    def __init__(self) -> None:
        self._by_time: Agenda[int] = Agenda()
        self._by_octets: Agenda[int] = Agenda()
        self._bounds: dict[int, tuple[int, float | None]] = {}
        """Of those that wait for their time: octets to wait for then, and until when."""

    def __len__(self) -> int:
        return len(self._by_time) + len(self._by_octets)

    def set(self, number: int, what: Next, now: float, octets: int, round_s: float = 0.0) -> None:
        """Look at a session then, and at no other time; `round_s` is how long it takes to look at
        all once."""
        self.drop(number)
        latest = None if what.at_latest is None else now + what.at_latest
        due = now + max(what.seconds, min(round_s, what.expected or 0.0))
        self._by_time.set(number, due if latest is None else min(due, latest))
        if what.octets is not None:
            self._bounds[number] = octets + what.octets, latest

    def drop(self, number: int) -> None:
        """Look at a session no more."""
        self._by_time.drop(number)
        self._by_octets.drop(number)
        self._bounds.pop(number, None)

    def due(self, now: float, octets: int, most: int) -> list[int]:
        """The sessions to look at now, as many as that; they are dropped."""
        found: list[int] = []
        while len(found) < most and (number := self._by_time.first(now)) is not None:
            needed, latest = self._bounds.pop(number, (octets, now))
            if octets >= needed or (latest is not None and now >= latest):
                self.drop(number)
                found.append(number)
                continue
            self._by_octets.set(number, needed)
            if latest is None:
                self._by_time.drop(number)
            else:
                self._by_time.set(number, latest)
        while len(found) < most and (number := self._by_octets.first(octets)) is not None:
            self.drop(number)
            found.append(number)
        return found
