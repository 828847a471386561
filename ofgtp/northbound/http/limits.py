"""What one client may take of what all share: time, memory, places."""

from __future__ import annotations

import time
from typing import Protocol

CONNECTIONS = 256
"""So many connections may be open. When one more comes, one that waits for its client's next
request is closed; the longest of them."""
TARGET_LIMIT = 8 << 10
"""Longest target of a request, in octets."""
HEAD_LIMIT = 16 << 10
"""Longest sum of a request's header lines, in octets."""
HEADERS = 100
"""Most header lines of a request."""
IDLE_SECONDS = 30.0
"""A connection may wait so long for a request to begin."""
HEAD_SECONDS = 10.0
"""A request's line and headers must have come within this time."""
BODY_SECONDS = 60.0
"""A request's body must have come within this time."""
GRACE = 5.0
"""Seconds that a body, or a reader of a response, may take before its rate counts."""
RATE = 1 << 10
"""Octets a second: the least rate of a body, and of a reader that has been waited for."""
LINGER_SECONDS = 2.0
"""How long what a client still sends is read, and thrown away, behind a last response."""
PATIENCE = 1.0
"""Nobody gives way to others within so many seconds."""
WRITERS = 32
"""So many readers of responses may be waited for; when there are more, the slowest is cut off."""


class Pace:
    """How fast something goes whose speed is the client's."""

    __slots__ = ("octets", "since")

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.octets = 0

    def too_slow(self, now: float) -> bool:
        """Whether it is below the least rate."""
        return self.octets < RATE * (now - self.since - GRACE)

    def rate(self, now: float) -> float:
        """Octets a second so far."""
        return self.octets / max(now - self.since, 0.001)


class Paced(Protocol):
    """Who has a place of a `Share`."""

    pace: Pace

    def give_way(self) -> None:
        """End, as others need the place."""


class Share:
    """Places for what goes at clients' speed. When all are taken, the slowest gives way."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._members: set[Paced] = set()

    def __len__(self) -> int:
        return len(self._members)

    def enter(self, member: Paced) -> bool:
        """Take a place; False if there is none, and nobody has had one for long."""
        if len(self._members) >= self.most and not self._make_room():
            return False
        self._members.add(member)
        return True

    def leave(self, member: Paced) -> None:
        """Give the place back, unless that was asked for already."""
        self._members.discard(member)

    def _make_room(self) -> bool:
        now = time.monotonic()
        old = [each for each in self._members if now - each.pace.since >= PATIENCE]
        if not old:
            return False
        slowest = min(old, key=lambda each: each.pace.rate(now))
        self._members.discard(slowest)
        slowest.give_way()
        return True
