"""What has been forwarded: packets and octets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counters:
    """What has been forwarded."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FlowCounters:
    """What a session has carried, and since how many seconds: since it was made."""

    packets: int
    bytes: int
    seconds: int


BothWays = tuple[Counters, Counters]
"""Uplink and downlink."""
NOTHING_USED: BothWays = Counters(0, 0), Counters(0, 0)
