"""Transaction ids of all connections."""

from __future__ import annotations


class Xids:
    """Transaction ids: 32 bits, again from 1 after the last (0 stands for none)."""

    def __init__(self) -> None:
        self._next = 1

    def take(self, count: int = 1) -> int:
        """The first of so many ids in a row."""
        if self._next + count > 1 << 32:
            self._next = 1
        first = self._next
        self._next += count
        return first


XIDS = Xids()
