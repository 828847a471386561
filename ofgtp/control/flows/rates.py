"""What sessions' meters have dropped (`rate_exceeded`), read a few at a time.

A session has a meter for each of its rates. To read all of 100,000 at once takes the switch a tenth
of a second, in the thread that also forwards: so they are read in turn, in small slices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ofgtp.core.flows.flow import Meter
from ofgtp.core.model import Direction
from ofgtp.core.sessions.rules import meter_direction
from ofgtp.southbound.channel import Channel

SLICE = 100
"""Meters asked for at once."""
SLICE_S = 0.1
"""Seconds between two slices: all of 10,000 sessions with two rates take 20 s."""


class RateCounts:
    """Those of one gateway; the totals go up only."""

    def __init__(self) -> None:
        self.dropped: Counter[Direction] = Counter({"uplink": 0, "downlink": 0})
        self.octets: Counter[Direction] = Counter({"uplink": 0, "downlink": 0})
        """Packets over a session's rate, and their octets."""
        self._seen: dict[int, tuple[int, int]] = {}
        """Packets and octets that each meter had dropped when it was read last, 0 before that."""
        self._due: list[int] = []

    def __len__(self) -> int:
        return len(self._seen)

    def are(self, meters: Iterable[Meter]) -> None:
        """These are the meters now, each as it was if it was there before."""
        self._seen = {meter.number: self._seen.get(meter.number, (0, 0)) for meter in meters}

    def changed(self, gone: Iterable[int], new: Iterable[int]) -> None:
        """Some are no more, and some are there anew."""
        for number in gone:
            self._seen.pop(number, None)
        for number in new:
            self._seen[number] = 0, 0

    def read(self, channel: Channel) -> None:
        """Read the next slice.

        Raises:
            GatewayNotReady: the switch is away or does not answer.
        """
        if not self._due:
            self._due = [*self._seen]
        some, self._due = self._due[:SLICE], self._due[SLICE:]
        for number, counts in channel.meter_counts_of(some).items():
            before = self._seen.get(number)
            if before is None:
                continue  # it has gone meanwhile
            if counts.dropped < before[0]:
                before = 0, 0  # it was made anew
            direction = meter_direction(number)
            self.dropped[direction] += counts.dropped - before[0]
            self.octets[direction] += counts.dropped_octets - before[1]
            self._seen[number] = counts.dropped, counts.dropped_octets
