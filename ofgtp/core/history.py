"""The last ten minutes of a gateway in a few numbers, for graphs: a ring in memory.

It is filled from totals that only go up. One that has gone down began anew, as that of an interface
that was made again: of that interval nothing is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ofgtp.core.flows.drops import Port

INTERVAL_S = 5
"""Seconds from one point to the next."""
SPAN_S = 600
"""What is kept, in seconds."""
DROPS_S = 60.0
"""Longest time between two readings of the drops of which a mean is told, in seconds."""


class Traffic(NamedTuple):
    """What has come in by a port: frames, and their octets."""

    frames: int
    octets: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Totals at one moment."""

    steady: float
    """By a clock that nobody sets, in seconds."""
    at: float
    """Unix time."""
    ports: Mapping[Port, Traffic]
    """Of those ports that are there."""
    drops: int
    """Packets, when this was last read."""
    drops_read: float | None
    """When, by the steady clock; None: never yet."""
    sessions: int


class Rate(NamedTuple):
    """A mean of one interval."""

    frames: float
    """A second."""
    bits: float
    """A second."""


@dataclass(frozen=True, slots=True)
class Point:
    """An interval between two samples."""

    steady: float
    """Its end, by the steady clock."""
    at: float
    """The same as Unix time."""
    seconds: float
    """How long it was."""
    came: Mapping[Port, Rate | None]
    """What came in; None: not known."""
    drops: float | None
    """Packets a second; None: nobody has asked the switch."""
    sessions: int
    """At its end."""


class History:
    """Those of one gateway, the oldest first."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=SPAN_S // INTERVAL_S)
        self._last: Sample | None = None
        self._drops: tuple[float, int] | None = None
        """When drops were last read, and what they were."""

    def add(self, sample: Sample) -> None:
        """Take the next sample. The first makes no point, for want of one before."""
        before, self._last = self._last, sample
        if before is None:
            self._learn_drops(sample)
            return
        seconds = sample.steady - before.steady
        if seconds <= 0:
            return
        ports: tuple[Port, ...] = ("access", "core")
        came = {
            port: _rate(before.ports.get(port), sample.ports.get(port), seconds) for port in ports
        }
        self._points.append(Point(sample.steady, sample.at, seconds, came, None, sample.sessions))
        self._learn_drops(sample)

    def last(self, seconds: float, now: float) -> list[Point]:
        """The points that ended within the last `seconds` before `now`, by the steady clock."""
        return [point for point in self._points if point.steady > now - seconds]

    def _learn_drops(self, sample: Sample) -> None:
        """Drops are read when somebody asks for them: what is new is a mean since the last time."""
        if sample.drops_read is None:
            return
        before, self._drops = self._drops, (sample.drops_read, sample.drops)
        if before is None or not 0 < (passed := sample.drops_read - before[0]) <= DROPS_S:
            return
        rate = max(sample.drops - before[1], 0) / passed
        for place, point in enumerate(self._points):
            # The interval in which they were read the time before is known already.
            if point.steady > before[0] and point.drops is None:
                self._points[place] = replace(point, drops=rate)


def _rate(before: Traffic | None, now: Traffic | None, seconds: float) -> Rate | None:
    if before is None or now is None:
        return None
    frames, octets = now.frames - before.frames, now.octets - before.octets
    if frames < 0 or octets < 0:
        return None
    return Rate(frames / seconds, 8 * octets / seconds)
