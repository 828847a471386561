"""Whether the switch may be kept busy for a moment: its one thread forwards, too.

While it works on a long request the packets that come wait in the ports' sockets, which hold few.
"""

from __future__ import annotations

import time

import eventlet

from ofgtp.core.flows.drops import Port
from ofgtp.core.model import Gateway
from ofgtp.southbound import portcounts

QUEUED = 200
"""Frames that a port's socket surely holds: the kernel's default buffer has room for some 270."""

FLOW_S = 1.2e-6
"""Seconds that the switch takes to report a flow."""

_BRIEF_S = 0.0025
"""Nobody sends so much that a port's socket overflows meanwhile, or loses next to nothing."""

_WINDOW_S = 0.05
"""Time between two readings of a port, at least, to tell its rate."""
_STALE_S = 3.0


class Load:
    """What comes in by a gateway's ports."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before = self._read()

    def begin(self) -> None:
        """It is asked about soon: a reading now saves a wait then."""
        if time.monotonic() - self._before[0] > _STALE_S:
            self._before = self._read()

    def bears(self, seconds: float) -> bool:
        """Whether no packet is lost while the switch's thread does something else for so long."""
        if seconds <= _BRIEF_S:
            return True
        self.begin()
        at, before = self._before
        eventlet.sleep(max(0.0, at + _WINDOW_S - time.monotonic()))
        self._before = now, after = self._read()
        rates = [
            (received - before.get(port, received)) / (now - at) for port, received in after.items()
        ]
        return max(rates, default=0.0) * seconds <= QUEUED

    def _read(self) -> tuple[float, dict[Port, int]]:
        return time.monotonic(), portcounts.received(self._gateway)
