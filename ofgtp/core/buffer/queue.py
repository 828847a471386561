"""The packets of one UE that wait for tunnels, in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from ofgtp.core.buffer.room import Room

LIMIT = 1024
"""Packets that a UE may have waiting, where nobody says how many: a second of a fast stream. Paging
takes longer than that only where it is in vain."""
LIMIT_MAX = 4096
SECONDS = 30.0
"""For which a packet waits, where nobody says how long: longer than a UE is paged for (T3413 and
T3513 of TS 24.301 and 24.501, some seconds, a few times)."""
SECONDS_MAX = 600.0


class Bounds(NamedTuple):
    """What somebody has asked for, of the packets of a rule."""

    limit: int = LIMIT
    """Packets that wait at most, of the whole UE."""
    seconds: float = SECONDS


class HeldPacket(NamedTuple):
    """A packet that waits."""

    at: float
    """When it came, of a steady clock."""
    until: float
    teid: int | None
    """Of ours, by which it came; None: by the core port."""
    frame: bytes
    """With its Ethernet header."""


class Queue:
    """A UE's."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._packets: deque[HeldPacket] = deque()
        self.octets = 0

    def __len__(self) -> int:
        return len(self._packets)

    def put(self, limit: int, held: HeldPacket) -> bool:
        """Have a packet wait behind the others, of which there may be so many; False if there is no
        room."""
        octets = len(held.frame)
        if len(self) >= limit or not self._room.takes(len(self), self.octets, octets):
            return False
        self._packets.append(held)
        self._room.add(octets)
        self.octets += octets
        return True

    def take(self) -> HeldPacket | None:
        """The packet that has waited longest, which waits no more; None: there is none."""
        if not self._packets:
            return None
        held = self._packets.popleft()
        self._room.remove(len(held.frame))
        self.octets -= len(held.frame)
        return held

    def put_back(self, packets: Iterable[HeldPacket]) -> None:
        """These wait on, before all others."""
        packets = list(packets)
        self._packets.extendleft(reversed(packets))
        for held in packets:
            self._room.add(len(held.frame))
            self.octets += len(held.frame)

    def late(self, now: float) -> int:
        """Drop what has waited too long; how many these were."""
        kept = [held for held in self._packets if held.until > now]
        late = len(self) - len(kept)
        if late:
            self.clear()
            self.put_back(kept)
        return late

    def clear(self) -> int:
        """Drop all; how many these were."""
        packets = len(self)
        while self.take() is not None:
            pass
        return packets

    def extend(self, seconds: float) -> None:
        """What waits does so for as long from when it came."""
        packets = [held._replace(until=held.at + seconds) for held in self._packets]
        self._packets = deque(packets)

    @property
    def due(self) -> float | None:
        """When the first of them has waited long enough; None: none waits."""
        return self._packets[0].until if self._packets else None
