"""What is due when: a queue of keys whose times may change."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SLACK = 64
"""Entries that no longer count and are not worth clearing away."""


class Agenda(Generic[K]):
    """Each key is due at one time; `len` counts the keys.

    An entry whose key has got another time stays in the heap until it comes up, or until such
    entries are most of it: so memory goes by the keys, however often their times change. Every
    method takes logarithmic time, averaged over its calls.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._due: dict[K, tuple[float, int]] = {}
        """By key: its time, and the number of the entry that counts."""
        self._entries = 0

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: K, due: float) -> None:
        """Have a key due at another time; of those due at the same, the first set is first."""
        self._entries += 1
        self._due[key] = due, self._entries
        heapq.heappush(self._heap, (due, self._entries, key))
        if len(self._heap) > 2 * len(self._due) + SLACK:
            self._heap = [(due, entry, key) for key, (due, entry) in self._due.items()]
            heapq.heapify(self._heap)

    def hasten(self, key: K, due: float) -> None:
        """Have a key due at a time if it is due later; KeyError if it is not due at all."""
        if due < self._due[key][0]:
            self.set(key, due)

    def drop(self, key: K) -> None:
        """A key is not due any more, if it was."""
        self._due.pop(key, None)

    def first(self, now: float) -> K | None:
        """The key that is due first, if it is due at `now`; it stays due."""
        while self._heap:
            due, entry, key = self._heap[0]
            if self._due.get(key) == (due, entry):
                return key if due <= now else None
            heapq.heappop(self._heap)
        return None
