"""What an operator should know of a node beside its associations; bounded, whatever comes.

Times are seconds of a steady clock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from typing import NamedTuple

from ofgtp.core.pfcp.node.associations import IPAddress
from ofgtp.core.pfcp.wire.header import MessageType

STRANGERS_KEPT = 8
"""Addresses outside `peers` that are remembered: those that were heard last."""
REFUSED_KEPT = 16
"""Requests that were refused, whoever asked."""
BOUNDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 7.5),
)
"""Of the classes of response times; 2.5 s is the shortest T1 that is seen, 7.5 s three of them."""


class Stranger(NamedTuple):
    """An address from which messages are not taken."""

    ip: IPAddress
    messages: int
    heard_at: float


class RefusedRequest(NamedTuple):
    """A request that was refused."""

    at: float
    ip: IPAddress
    text: str
    """Which, why, and by which cause."""


class Strangers:
    """Those that were heard last."""

    def __init__(self) -> None:
        self._heard: OrderedDict[IPAddress, Stranger] = OrderedDict()

    def heard(self, ip: IPAddress, now: float) -> bool:
        """One sent a message; whether it is not among those that are remembered."""
        before = self._heard.pop(ip, None)
        self._heard[ip] = Stranger(ip, 1 if before is None else before.messages + 1, now)
        while len(self._heard) > STRANGERS_KEPT:
            self._heard.popitem(last=False)
        return before is None

    def all(self) -> list[Stranger]:
        """The last first."""
        return [*reversed(self._heard.values())]


class Times:
    """From a request to its answer, by class; of requests that are carried out, or not, elsewhere:
    those about sessions, and changes of associations."""

    def __init__(self) -> None:
        self.counts: dict[MessageType, list[int]] = {}
        """For each class of `BOUNDS`, and one for what is above."""
        self.seconds: dict[MessageType, float] = {}
        """The sums."""

    def took(self, kind: MessageType, seconds: float) -> None:
        """Count an answer."""
        counts = self.counts.setdefault(kind, [0] * (len(BOUNDS) + 1))
        counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds
