"""Python's garbage collector, while very many objects are made that live to the end of a piece of
work: it would go through all of them again and again, and find nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_resting = 0
_was = True


@contextmanager
def garbage_left_alone() -> Iterator[None]:
    """Let the collector rest meanwhile; green threads may do so at the same time."""
    global _resting, _was
    if not _resting:
        _was = gc.isenabled()
    _resting += 1
    gc.disable()
    try:
        yield
    finally:
        _resting -= 1
        if not _resting and _was:
            gc.enable()
