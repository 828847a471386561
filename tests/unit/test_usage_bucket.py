"""When meters need not be asked: never where they may have dropped a packet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.flows.flow import Meter, Unit
from ofgtp.core.usage.bucket import HEADERS, LAG_S, Bucket

RATE, BURST = 80, 160
"""10 octets a millisecond, and 20,000 at once."""
METERS = [Meter(1, 1000, 1000, Unit.KBPS), Meter(2, RATE, BURST, Unit.KBPS)]


def test_few_packets_spare_them_from_the_third_look_on() -> None:
    bucket = Bucket(METERS)
    looks = [bucket.spares(each, each * 100, each, each) for each in range(1, 9)]
    assert looks == [False, False, *[True] * 6]


def test_a_burst_has_them_asked() -> None:
    bucket = Bucket(METERS)
    assert [bucket.spares(each, each * 100, each * 9, each * 9) for each in (1, 2, 3)][-1]
    assert not bucket.spares(4, BURST * 125 + 400, 36, 36)
    assert not bucket.spares(3, 300, 40, 40), "counts that have fallen"


def test_a_session_without_meters_has_none_to_ask() -> None:
    assert not Bucket([]).spares(1, 100, 1, 1)


MS = st.integers(0, 4000)


@given(
    st.lists(st.tuples(MS, st.integers(1, 40), st.floats(0, LAG_S)), max_size=60),
    st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 300)), min_size=1, max_size=12),
    st.integers(0, 2000),
)
def test_they_have_dropped_nothing_where_they_are_spared(
    packets: list[tuple[int, int, float]], looks: list[tuple[int, int]], start: int
) -> None:
    """Packets that come at some millisecond, in hundreds of octets, and are counted somewhat later,
    through a bucket that is as full as it may be in the beginning."""
    tokens, at, drops = min(start * 10.0, BURST * 125.0), 0, list[tuple[float, int]]()
    came: list[tuple[float, int]] = []
    for when, hundreds, lag in sorted(packets):
        size = hundreds * 100
        tokens, at = min(tokens + (when - at) * RATE / 8, BURST * 125.0), when
        if size > tokens:
            drops.append((when / 1000 + lag, size))
        else:
            tokens -= size
        came.append((when / 1000 + lag, size))
    bucket, now, last = Bucket(METERS), 0.0, 0.0
    for pause, asking in looks:
        asked = now + pause / 1000
        now = asked + asking / 1000
        some = [size for counted, size in came if counted <= asked]
        spared = bucket.spares(len(some), sum(some) - HEADERS * len(some), asked, now)
        if spared:
            assert not [each for each, _ in drops if last < each <= asked]
        last = asked
