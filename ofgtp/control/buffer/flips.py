"""Which sessions of a change must not lose or reorder what waits for their UEs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ofgtp.core.buffer.rules import holds
from ofgtp.core.model import Session


class Flips:
    """The sessions of a change that hold packets before it or after it, or have lately."""

    def __init__(self, knows: Callable[[int], bool] = lambda slot: False) -> None:
        """`knows` tells whether packets of the session with a slot were shown lately."""
        self._knows = knows
        self.changed: dict[int, Session | None] = {}
        """By their slots, as they are to be."""
        self.had: dict[int, Session] = {}
        """Those that did before."""

    def add(self, before: Iterable[Session], after: Iterable[Session]) -> None:
        """Some of them, the first to be replaced by the second; of several changes of one, one
        after the other."""
        for each in before:
            if each.detail is None:
                continue
            slot = each.detail.slot
            if slot in self.changed:
                self.changed[slot] = None
            elif holds(each):
                self.had[slot], self.changed[slot] = each, None
            elif self._knows(slot):
                self.changed[slot] = None
        for each in after:
            if each.detail is not None and (each.detail.slot in self.changed or holds(each)):
                self.changed[each.detail.slot] = each
