"""Connections that nobody has claimed yet: how many may be, and which has to go for another.

Whoever can connect may take places and never be claimed. So what goes is never the newest: a switch
that connects while all places are taken gets one, and keeps it for as long as it takes others to
connect as often as there are places. Places are kept apart by how far a connection has come, since
silence costs nothing, and by where it comes from, so that one source crowds out itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from enum import IntEnum
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)


class Stage(IntEnum):
    """How far a connection has come."""

    CONNECTED = 0
    GREETED = 1
    """It has said HELLO."""
    NAMED = 2
    """It has told its datapath id."""


class Unclaimed(Generic[C]):
    """The connections, each with its source: at each stage `each` of one source, `total` in all."""

    def __init__(self, each: int, total: int) -> None:
        self._each, self._total = each, total
        self._at: dict[Stage, dict[C, Hashable]] = {stage: {} for stage in Stage}
        """Their sources; those that have been there longest come first."""

    def __len__(self) -> int:
        return sum(map(len, self._at.values()))

    def enter(self, connection: C, source: Hashable) -> C | None:
        """A new one; the one that has to go, and is not here any more."""
        return self._place(connection, source, Stage.CONNECTED)

    def advance(self, connection: C, stage: Stage) -> C | None:
        """It has come so far; the one that has to go for it. None if it is not here."""
        for before in Stage:
            if connection in self._at[before]:
                if before >= stage:
                    return None
                return self._place(connection, self._at[before].pop(connection), stage)
        return None

    def leave(self, connection: C) -> bool:
        """It has been claimed, or is gone; whether it was here."""
        return any(at.pop(connection, None) is not None for at in self._at.values())

    def _place(self, connection: C, source: Hashable, stage: Stage) -> C | None:
        at = self._at[stage]
        counts = Counter(at.values())
        crowded: Hashable = None
        if counts[source] >= self._each:
            crowded = source
        elif len(at) >= self._total:
            crowded = counts.most_common(1)[0][0]
        victim = next((each for each, of in at.items() if of == crowded), None)
        if victim is not None:
            del at[victim]
        at[connection] = source
        return victim
