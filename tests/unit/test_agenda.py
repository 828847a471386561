"""The queue of what is due: like a sorted list, in no more memory than its keys need."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ofgtp.core.agenda import SLACK, Agenda

NAMES = "abcdef"
KEYS, TIMES = st.sampled_from(NAMES), st.integers(0, 20)


class AgendaMachine(RuleBasedStateMachine):
    """Held against a dict of times, and the order in which they were set."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda: Agenda[str] = Agenda()
        self.due: dict[str, tuple[int, int]] = {}
        self.count = 0

    @rule(key=KEYS, due=TIMES, times=st.sampled_from([1, 1, 1, 200]))
    def set(self, key: str, due: int, times: int) -> None:
        for _ in range(times):
            self.agenda.set(key, due)
        self.count += 1
        self.due[key] = due, self.count

    @rule(key=KEYS, due=TIMES)
    def hasten(self, key: str, due: int) -> None:
        if key not in self.due:
            with pytest.raises(KeyError):
                self.agenda.hasten(key, due)
            return
        self.agenda.hasten(key, due)
        if due < self.due[key][0]:
            self.count += 1
            self.due[key] = due, self.count

    @rule(key=KEYS)
    def drop(self, key: str) -> None:
        self.agenda.drop(key)
        self.due.pop(key, None)

    @rule(now=TIMES)
    def first(self, now: int) -> None:
        ready = [(*due, key) for key, due in self.due.items() if due[0] <= now]
        expected = min(ready)[2] if ready else None
        assert self.agenda.first(now) == self.agenda.first(now) == expected

    @invariant()
    def memory_goes_by_the_keys(self) -> None:
        assert len(self.agenda) == len(self.due)
        assert len(self.agenda._heap) <= 2 * len(NAMES) + SLACK


TestAgenda = AgendaMachine.TestCase
TestAgenda.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@given(st.lists(TIMES, max_size=30))
def test_keys_come_in_the_order_of_their_times(times: list[int]) -> None:
    agenda: Agenda[int] = Agenda()
    for key, due in enumerate(times):
        agenda.set(key, due)
    seen = []
    while (key := agenda.first(20)) is not None:
        seen.append(key)
        agenda.drop(key)
    assert seen == sorted(range(len(times)), key=lambda key: times[key])


def test_many_changes_take_no_memory_of_their_own() -> None:
    agenda: Agenda[int] = Agenda()
    for step in range(100_000):
        agenda.set(step % 10, step)
    assert len(agenda._heap) <= 2 * 10 + SLACK
    for key in range(10):
        agenda.drop(key)
    assert agenda.first(1e9) is None


def test_to_hasten_to_the_same_time_is_no_step_back() -> None:
    agenda: Agenda[str] = Agenda()
    for key in "ab":
        agenda.set(key, 1)
    agenda.hasten("a", 1)
    assert agenda.first(1) == "a"
