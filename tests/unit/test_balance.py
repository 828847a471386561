"""Lost packets, reckoned from counters that lag: never too many, and in the end all of them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.flows.balance import SETTLE_S, Gap


@dataclass(frozen=True)
class Step:
    """So many seconds later; what came meanwhile, what of it was lost; what is not counted yet."""

    seconds: float
    came: int
    lost: int
    late_in: float
    late_out: float


steps = st.builds(
    Step,
    seconds=st.sampled_from([0.1, 0.5, 1.0, SETTLE_S, 15.0]),
    came=st.integers(0, 100_000),
    lost=st.integers(0, 100),
    late_in=st.floats(0, SETTLE_S),
    late_out=st.floats(0, SETTLE_S),
)


class World:
    """Packets that go in and come out, or not, and counters that are late by so much."""

    def __init__(self, before: int, lost_before: int) -> None:
        self.now = 1000.0
        self.lost_before = lost_before
        self.history = [(self.now, before, before - lost_before)]
        self.gap = Gap()

    def step(self, step: Step) -> None:
        _, went_in, came_out = self.history[-1]
        lost = min(step.lost, step.came)
        self.now += step.seconds
        self.history.append((self.now, went_in + step.came, came_out + step.came - lost))
        counted_in = self._as_of(self.now - step.late_in)[1]
        counted_out = self._as_of(self.now - step.late_out)[2]
        self.gap.observe(self.now, counted_in, counted_out)

    def _as_of(self, when: float) -> tuple[float, int, int]:
        return max((each for each in self.history if each[0] <= when), default=self.history[0])

    @property
    def lost(self) -> int:
        _, went_in, came_out = self.history[-1]
        return went_in - came_out - self.lost_before


@given(
    before=st.integers(1000, 10**9),
    lost_before=st.integers(0, 1000),
    past=st.lists(steps, max_size=8),
    last=st.lists(steps, max_size=12),
)
def test_never_too_many_and_all_in_the_end(
    before: int, lost_before: int, past: list[Step], last: list[Step]
) -> None:
    world, quiet = World(before, lost_before), Step(SETTLE_S, 0, 0, 0, 0)
    for step in past:
        world.step(step)
        assert 0 <= world.gap.lost <= world.lost
    for _ in range(3):
        world.step(quiet)
    known, missed = world.gap.lost, world.lost - world.gap.lost
    for step in last:
        world.step(step)
        assert known <= world.gap.lost <= world.lost
        known = world.gap.lost
    for _ in range(3):
        world.step(quiet)
    assert world.gap.lost == world.lost - missed, "what was lost before it was settled is not known"


def test_counters_that_begin_anew() -> None:
    gap, now = Gap(), 0.0
    for went_in, came_out, anew in (
        *((100, 95, False),) * 3,
        *((120, 108, False),) * 3,
        *((5, 2, True), (5, 2, False), (5, 2, False)),
        *((9, 5, False),) * 3,
    ):
        gap.observe(now, went_in, came_out, anew=anew)
        now += SETTLE_S
    assert gap.lost == 7 + 1
