"""Who is looked at when there is more to look at than can be."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest

from ofgtp.control.usage import watcher
from ofgtp.control.usage.watcher import SLICE, Watcher
from ofgtp.core.usage.pace import Next
from tests.support.lab import gateway


class Told:
    """Who is looked at; all of them would be looked at again after 0.5 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.expected = 100.0, 4.0
        self.looked: list[int] = []
        monkeypatch.setattr(watcher, "time", self)
        monkeypatch.setattr(watcher.portcounts, "octets", lambda _: 1 << 40)
        self.watcher = Watcher(gateway(), self.look)

    monotonic = property(lambda self: lambda: self.now)
    thread_time = staticmethod(time.thread_time)

    def look(self, numbers: Sequence[int]) -> Mapping[int, Next]:
        self.looked += numbers
        return dict.fromkeys(numbers, Next(0.5, 0, None, self.expected))

    def after(self, seconds: float) -> int:
        """How many are looked at after so many seconds."""
        self.now += seconds
        self.looked.clear()
        while self.watcher._turn():
            pass
        return len(self.looked)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told(monkeypatch)
    for number in range(1000):
        told.watcher.set(number, Next(0.0))
    assert told.after(0.0) == 1000
    return told


def test_with_time_for_all_they_are_looked_at_as_they_ask(told: Told) -> None:
    for _ in range(100):
        told.watcher._took(3, 0.005)
    assert told.after(0.5) == 1000
    assert told.after(0.4) == 0
    assert told.after(0.1) == 1000


@pytest.mark.parametrize(("expected", "soonest"), [(4.0, 2.0), (1.0, 1.0), (0.2, 0.5)])
def test_else_they_wait_as_long_as_a_round_takes(
    told: Told, expected: float, soonest: float
) -> None:
    """Here 2 s, but no longer than until something is expected."""
    for _ in range(100):
        told.watcher._took(SLICE, 0.2)
    told.expected = expected
    assert told.after(0.5) == 1000
    assert told.after(soonest - 0.05) == 0
    assert told.after(0.1) == 1000
