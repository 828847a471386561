"""What went in and came out nowhere, of counts that lag behind.

The switch brings its flows' counters up to date half a second late, and not all at the same moment.
So a difference between them is lost packets and packets that are counted on one side alone as yet.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SETTLE_S = 2.0
"""After so many seconds flows and meters have counted a packet, if it came by them at all."""


class _Reading(NamedTuple):
    at: float
    went_in: int
    came_out: int


class Gap:
    """Packets that were lost between two places: never more than were, and all of them once two
    readings have seen none come in between that are as far apart as the counts may be late.

    Times are seconds of a steady clock.
    """

    def __init__(self, settle_s: float = SETTLE_S) -> None:
        """`settle_s`: what has passed for so long is counted on both sides."""
        self._settle_s = settle_s
        self.lost = 0
        """Since the first readings; goes up only."""
        self._before = 0
        self._start: int | None = None
        """What had not come out when it began, at most."""
        self._readings: deque[_Reading] = deque()

    def observe(self, now: float, went_in: int, came_out: int, *, anew: bool = False) -> None:
        """Take a reading of both counts; `anew`: one has begun anew, so the past says nothing."""
        if anew:
            self._readings.clear()
            self._before, self._start = self.lost, None
        self._readings.append(_Reading(now, went_in, came_out))
        while len(self._readings) > 1 and self._readings[1].at <= now - self._settle_s:
            self._readings.popleft()
        earlier = self._readings[0]
        if earlier.at > now - self._settle_s:
            return
        # What had gone in by then is counted on both sides by now, and what had come out by then
        # is among what has gone in by now.
        most, least = went_in - earlier.came_out, earlier.went_in - came_out
        self._start = most if self._start is None else min(self._start, most)
        self.lost = max(self.lost, self._before + least - self._start)
