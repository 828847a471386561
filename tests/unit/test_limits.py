"""Token buckets: what they let through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.limits import Limit, TokenBucket


def test_burst_then_rate() -> None:
    bucket = TokenBucket(rate=2, burst=3)
    assert [bucket.take(10) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5), bucket.take(10.5)] == [True, False]
    assert [bucket.take(1_000) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    assert bucket.take(10)
    assert not bucket.take(5)
    assert not bucket.take(10.5)
    assert bucket.take(11)


@given(st.lists(st.floats(0, 3), max_size=200), st.integers(1, 5), st.sampled_from([0.5, 1, 4]))
def test_never_more_than_burst_and_rate(steps: list[float], burst: int, rate: float) -> None:
    bucket, now, taken = TokenBucket(rate, burst), 100.0, []
    for step in steps:
        now += step
        if bucket.take(now):
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) * rate + 1e-6


def test_one_peer_cannot_use_up_what_is_others() -> None:
    limit: Limit[str] = Limit(each=(1, 2), total=(10, 5))
    assert [limit.take("a", 0) for _ in range(9)] == [True, True] + [False] * 7
    assert [limit.take(key, 0) for key in "bcde"] == [True, True, True, False]


def test_made_up_keys_gain_nothing_and_take_no_memory() -> None:
    limit: Limit[int] = Limit(each=(1, 2), total=(10, 5), keys=100)
    assert sum(limit.take(key, 0) for key in range(10_000)) == 5
    assert len(limit._each) == 100


@pytest.mark.parametrize("bad", [(0, 1), (1, 0.5), (-1, 1)])
def test_limits_that_cannot_be(bad: tuple[float, float]) -> None:
    with pytest.raises(ValueError):
        Limit(each=bad, total=(1, 1))
    with pytest.raises(ValueError):
        Limit(each=(1, 1), total=bad)
