"""The last ten minutes: rates of totals, what is not known, and that no more is kept."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ofgtp.core.flows.drops import Port
from ofgtp.core.history import INTERVAL_S, SPAN_S, History, Rate, Sample, Traffic

BOTH: Mapping[Port, Traffic] = {"access": Traffic(100, 10_000), "core": Traffic(7, 700)}


def sample(
    steady: float,
    ports: Mapping[Port, Traffic] = BOTH,
    *,
    drops: int = 0,
    read: float | None = None,
    sessions: int = 0,
) -> Sample:
    return Sample(steady, 1e9 + steady, ports, drops, read, sessions)


def drops_of(history: History, now: float) -> list[float | None]:
    return [point.drops for point in history.last(SPAN_S, now)]


def test_rates_are_means_of_their_intervals() -> None:
    history = History()
    history.add(sample(0.0))
    assert history.last(SPAN_S, 0.0) == [], "there is nothing to compare the first with"
    later: Mapping[Port, Traffic] = {"access": Traffic(200, 60_000), "core": Traffic(7, 700)}
    history.add(sample(5.0, later, sessions=3))
    (point,) = history.last(SPAN_S, 5.0)
    assert point.came == {"access": Rate(20.0, 80_000.0), "core": Rate(0.0, 0.0)}
    assert (point.seconds, point.at, point.sessions) == (5.0, 1e9 + 5, 3)


@pytest.mark.parametrize("port", [{}, {"access": Traffic(99, 10_000)}, {"access": Traffic(100, 1)}])
def test_a_port_that_is_gone_or_made_again_is_not_known(port: Mapping[Port, Traffic]) -> None:
    history = History()
    history.add(sample(0.0))
    history.add(sample(5.0, port))
    assert history.last(SPAN_S, 5.0)[0].came == {"access": None, "core": None}
    history.add(sample(10.0))
    assert (history.last(5, 10.0)[0].came["access"] is None) is (port == {})


def test_it_keeps_ten_minutes_and_gives_the_last_of_them() -> None:
    history = History()
    for place in range(1000):
        history.add(sample(float(INTERVAL_S * place), sessions=place))
    now = 999.0 * INTERVAL_S
    assert len(history.last(10**6, now)) == SPAN_S / INTERVAL_S
    assert [point.sessions for point in history.last(10, now)] == [998, 999]
    assert history.last(SPAN_S, now + SPAN_S) == []


def test_a_clock_that_stands_still_makes_no_point() -> None:
    history = History()
    history.add(sample(5.0))
    history.add(sample(5.0))
    assert history.last(SPAN_S, 5.0) == []


def test_drops_are_a_mean_between_two_readings() -> None:
    """Others ask for them, and not each five seconds."""
    history = History()
    for steady, drops, read in (
        *((0.0, 0, None), (5.0, 10, 4.0), (10.0, 10, 4.0), (15.0, 30, 14.0), (20.0, 25, 19.0)),
    ):
        history.add(sample(steady, drops=drops, read=read))
    found = drops_of(history, 20.0)
    assert found == [2.0, 2.0, 2.0, 0.0], "none goes below 0"


def test_drops_that_nobody_read_for_long_are_not_known() -> None:
    history = History()
    for steady, drops, read in ((0.0, 5, 0.0), (5.0, 5, 0.0), (70.0, 99, 69.0), (75.0, 104, 74.0)):
        history.add(sample(steady, drops=drops, read=read))
    assert drops_of(history, 75.0) == [None, 1.0, 1.0]
