"""What is counted of a switch's connections."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from ofgtp.southbound.channel.requests import CONFIRM_S

LATENCY_BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, CONFIRM_S),
)
"""Upper bounds of the barrier latency's classes, in seconds; one more has no bound."""


class Tally:
    """What has been said on a switch's connections, for all of them that count into it."""

    def __init__(self) -> None:
        self.flow_mods: Counter[str] = Counter()
        """Flow-mods that were carried out, by command, and the lease's renewals as sent; one that
        deletes by cookie counts once."""
        self.errors: Counter[str] = Counter()
        """Errors that the switch reported, in the specification's words."""
        self.barriers = [0] * (len(LATENCY_BOUNDS) + 1)
        """Barriers, by the class of their latency; those not answered in time are in the last."""
        self.barrier_seconds = 0.0
        """The sum of their latencies."""

    def took(self, seconds: float) -> None:
        """Count a barrier."""
        self.barriers[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.barrier_seconds += seconds
