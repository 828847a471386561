"""What the meters of a session let through at once, at the least: as long as no more has come, they
have dropped nothing, and need not be asked."""

from __future__ import annotations

from collections.abc import Sequence

from ofgtp.core.flows.flow import OCTETS_A_KBIT, Meter
from ofgtp.core.usage.pace import COUNTED_S

HEADERS = 64
"""Octets by which a packet may be larger at a meter than by a flow's count."""


class Bucket:
    """The fullness of a token bucket as slow and as small as any of a session's meters, through
    which all passes that comes to the session."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._rate = min((each.rate for each in meters), default=0) * OCTETS_A_KBIT
        self._size = min((each.burst for each in meters), default=0) * OCTETS_A_KBIT
        self.least = 0.0
        """Octets that it lets through at once, at the least."""
        self._came: int | None = None
        self._at = 0.0

    def spares(self, packets: int, octets: int, asked_at: float, at: float) -> bool:
        """Whether nothing was dropped since the last time, now that the session's flows have
        counted so much; they were asked, and had answered, at these seconds."""
        total = octets + HEADERS * packets
        came = -1 if self._came is None else total - self._came
        spared = 0 <= came <= self.least
        # All may have come at the end, and some of it be counted later.
        filled = self.least + self._rate * max(asked_at - self._at - COUNTED_S, 0.0)
        self.least = max(min(self._size, filled) - came, 0.0) if came >= 0 else 0.0
        self._came, self._at = total, at
        return spared
