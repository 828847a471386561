"""When counts are looked at."""

import pytest

from ofgtp.core.usage.pace import LATEST_S, SOONEST_S, USUAL_S, Next, Watch, next_look


@pytest.mark.parametrize(
    ("left", "risen", "seconds", "fastest", "expected"),
    [
        (0, 10, 1.0, None, SOONEST_S),
        (1_000_000, 0, 0.0, None, USUAL_S),
        (1_000_000, 5_000_000, 1.0, None, SOONEST_S),
        (1_000_000, 1_250_000, 1.0, None, 0.4),
        (1_000_000, 0, 1.0, 125_000.0, 4.0),
        (100_000_000, 0, 1.0, 125_000.0, LATEST_S),
        (1_000, 0, 1.0, 125_000.0, USUAL_S),
        (1_000, 125_000, 1.0, 125_000.0, SOONEST_S),
    ],
)
def test_next_look(
    left: int, risen: int, seconds: float, fastest: float | None, expected: float
) -> None:
    assert next_look(left, risen, seconds, fastest).seconds == pytest.approx(expected)


def test_of_a_limit_half_of_it_may_come_unseen() -> None:
    assert next_look(1_000, 0, 1.0).octets == 500


def test_where_there_is_too_much_to_look_at_those_that_may_be_due_come_first() -> None:
    far, near = (next_look(left, 1_000, 1.0) for left in (4_000, 1_000))
    assert (far.seconds, far.expected, near.expected) == (USUAL_S, 2.0, 0.5)
    assert next_look(4_000, 0, 0.0).expected is None, "nobody knows yet"
    watch = Watch()
    for number, each in ((1, far), (2, near), (3, Next(1.0, None, 1.0))):
        watch.set(number, each, 0.0, 0, 1.5)
    assert len(watch) == 3
    assert watch.due(0.5, 10_000, 10) == [2]
    assert watch.due(1.0, 10_000, 10) == [3]
    assert watch.due(1.4, 10_000, 10) == []
    assert watch.due(1.5, 10_000, 10) == [1]


def test_time_alone() -> None:
    watch = Watch()
    watch.set(1, Next(2.0), 10.0, 0)
    assert watch.due(11.9, 0, 10) == []
    assert watch.due(12.0, 0, 10) == [1]
    assert watch.due(99.0, 0, 10) == []


def test_octets_after_the_time() -> None:
    watch = Watch()
    watch.set(1, Next(1.0, 500), 0.0, 1_000)
    assert watch.due(0.5, 5_000, 10) == []
    assert watch.due(1.0, 1_499, 10) == []
    assert watch.due(50.0, 1_499, 10) == []
    assert watch.due(50.1, 1_500, 10) == [1]
    assert watch.due(99.0, 9_999, 10) == []


def test_at_latest_whatever_has_come() -> None:
    watch = Watch()
    watch.set(1, Next(1.0, 500, 3.0), 0.0, 0)
    watch.set(2, Next(1.0, None, 0.25), 0.0, 0)
    assert watch.due(0.25, 0, 10) == [2]
    assert watch.due(2.9, 499, 10) == []
    assert watch.due(3.0, 499, 10) == [1]
    assert watch.due(9.0, 9_999, 10) == []


def test_another_time_and_none() -> None:
    watch = Watch()
    watch.set(1, Next(1.0, 500), 0.0, 0)
    assert watch.due(1.0, 0, 10) == []
    watch.set(1, Next(4.0), 1.0, 0)
    assert watch.due(4.0, 9_999, 10) == []
    assert watch.due(5.0, 0, 10) == [1]
    watch.set(2, Next(0.0, 500), 0.0, 0)
    watch.drop(2)
    assert watch.due(9.0, 9_999, 10) == []


def test_no_more_than_asked_for() -> None:
    watch = Watch()
    for number in range(5):
        watch.set(number, Next(float(number)), 0.0, 0)
    assert watch.due(9.0, 0, 3) == [0, 1, 2]
    assert watch.due(9.0, 0, 3) == [3, 4]
