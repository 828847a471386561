"""Long work in slices, so that other green threads have their turns in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import eventlet

SLICE = 200
"""Items between two turns of others, of work that takes some microseconds for each."""

_T = TypeVar("_T")


def in_turns(items: Iterable[_T], size: int = SLICE) -> Iterator[_T]:
    """The same, with turns of other green threads between so many."""
    for place, item in enumerate(items, 1):
        if place % size == 0:
            eventlet.sleep(0)
        yield item
