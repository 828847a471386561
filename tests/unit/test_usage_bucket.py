"""When meters need not be asked: never where they may have dropped a packet."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ofgtp.core.flows.flow import Meter, Unit
from ofgtp.core.usage.bucket import Bucket
from ofgtp.core.usage.pace import COUNTED_S

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


class Real:
    """One that is empty in the beginning, and what it has dropped."""

    def __init__(self) -> None:
        self._tokens, self._at, self.drops = 0.0, 0.0, list[float]()

    def comes(self, size: float, at: float) -> None:
        self._tokens = min(self._tokens + (at - self._at) * RATE * 125, BURST * 125.0)
        self._at = at
        if size > self._tokens:
            self.drops.append(at)
        else:
            self._tokens -= size


PARTS = st.sampled_from([0.0, 0.2, 0.5, 1.0, 1.4])
SECONDS = st.sampled_from([0.05, 0.7, 1.0, 2.0, 3.0])


@settings(max_examples=500)
@given(st.lists(st.tuples(SECONDS, PARTS, PARTS, st.booleans()), min_size=3, max_size=8))
def test_they_have_dropped_nothing_where_they_are_spared(
    looks: list[tuple[float, float, float, bool]],
) -> None:
    """Of what they let through so much comes at once behind a look and before the next; the latter
    is counted then, or only by the one behind it, if that is so soon."""
    bucket, real, now, counted, late = Bucket(METERS), Real(), 0.0, 0, 0
    for seconds, first, second, lags in looks:
        sizes = [int(part * bucket.least) for part in (first, second)]
        counted, late = counted + sizes[0] + late, 0
        real.drops.clear()
        real.comes(sizes[0], now)
        now += seconds
        at = now - min(seconds / 2, COUNTED_S) if lags else now
        real.comes(sizes[1], at)
        if lags:
            late = sizes[1]
        else:
            counted += sizes[1]
        spared = bucket.spares(0, counted, now, now)
        assert not (spared and [each for each in real.drops if not lags or each < at])
