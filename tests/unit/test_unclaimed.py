"""Which unclaimed connection has to go for another."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.unclaimed import Stage, Unclaimed

EACH, TOTAL = 2, 4


@pytest.fixture
def unclaimed() -> Unclaimed[str]:
    return Unclaimed(EACH, TOTAL)


def test_a_source_crowds_out_itself(unclaimed: Unclaimed[str]) -> None:
    assert unclaimed.enter("switch", "root") is None
    for name in ("a", "b"):
        assert unclaimed.enter(name, "nobody") is None
    assert unclaimed.enter("c", "nobody") == "a"
    assert unclaimed.enter("d", "nobody") == "b"
    assert len(unclaimed) == 3
    assert unclaimed.leave("switch")


def test_when_all_is_full_the_largest_source_gives_way(unclaimed: Unclaimed[str]) -> None:
    for number, source in enumerate(["one", "other", "other", "third"]):
        assert unclaimed.enter(str(number), source) is None
    assert unclaimed.enter("new", "fourth") == "1"
    assert unclaimed.enter("newer", "fifth") == "0", "then the one that is here longest"


def test_who_has_come_further_is_not_in_the_way(unclaimed: Unclaimed[str]) -> None:
    """Whoever says nothing cannot push out who has said HELLO."""
    unclaimed.enter("switch", "root")
    assert unclaimed.advance("switch", Stage.GREETED) is None
    for number in range(10):
        assert unclaimed.enter(str(number), "root") != "switch"
    assert unclaimed.advance("switch", Stage.NAMED) is None
    for number in (8, 9):
        assert unclaimed.advance(str(number), Stage.GREETED) is None
    assert unclaimed.leave("switch")


def test_places_of_a_stage_are_as_few(unclaimed: Unclaimed[str]) -> None:
    gone = []
    for number in range(3):
        unclaimed.enter(str(number), "nobody")
        gone.append(unclaimed.advance(str(number), Stage.GREETED))
    assert gone == [None, None, "0"]


def test_what_is_not_here_or_comes_back_changes_nothing(unclaimed: Unclaimed[str]) -> None:
    unclaimed.enter("a", "one")
    unclaimed.advance("a", Stage.NAMED)
    for stage in Stage:
        assert unclaimed.advance("a", stage) is None
        assert unclaimed.advance("unknown", stage) is None
    assert len(unclaimed) == 1
    assert unclaimed.leave("a") and not unclaimed.leave("a")
    assert len(unclaimed) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "advance", "leave"]),
        st.integers(0, 30),
        st.sampled_from(["one", "two", "three", "four"]),
        st.sampled_from(Stage),
    )
)


@given(STEPS)
def test_never_more_than_there_are_places(steps: list[tuple[str, int, str, Stage]]) -> None:
    """And each that entered has left, has gone, or is here; none goes for nothing."""
    unclaimed: Unclaimed[int] = Unclaimed(EACH, TOTAL)
    here: dict[int, tuple[str, Stage]] = {}
    for what, number, source, stage in steps:
        goes = None
        if what == "enter" and number not in here:
            goes = unclaimed.enter(number, source)
            here[number] = source, Stage.CONNECTED
        elif what == "advance":
            goes = unclaimed.advance(number, stage)
            if number in here and stage > here[number][1]:
                here[number] = here[number][0], stage
        elif what == "leave":
            assert unclaimed.leave(number) is (here.pop(number, None) is not None)
        if goes is not None:
            assert goes != number
            _, at = here.pop(goes)
            assert sum(of == at for _, of in here.values()) in range(EACH, TOTAL + 1)
        assert len(unclaimed) == len(here)
        counts = Counter(here.values())
        assert max(counts.values(), default=0) <= EACH
        assert max(Counter(at for _, at in here.values()).values(), default=0) <= TOTAL
