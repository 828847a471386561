"""Counts of flows summed up by the shorter way: they are those of the longer one, or none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.pfcp.sums import Sums
from ofgtp.core.pfcp.usage import Usage
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Interface
from ofgtp.core.rules.counts import NONE, Counts, FlowCounts, by_rule
from ofgtp.core.rules.session import owned_flows
from ofgtp.core.usage.seen import Seen
from tests.support.sample import LINKS
from tests.unit.test_pfcp_sessions import DL, NOW, UL, session_of
from tests.unit.test_pfcp_usage import VOICE, measuring, urr

_VOICE = g.CreatePdr(
    pdr_id=3,
    precedence=9,
    pdi=g.Pdi(Interface.CORE, sdf_filters=(v.SdfFilter(VOICE),)),
    far_id=DL.far_id,
    urr_ids=(2, 3),
)
MADE = measuring(
    create_pdrs=(UL._replace(urr_ids=(1,)), DL._replace(urr_ids=(1, 2)), _VOICE),
    create_urrs=(urr(1), urr(2), urr(3, inactivity_detection_time=5)),
)
SESSION, RULES = MADE.session, MADE.made.rules
FLOWS = list(enumerate(owned_flows(session_of(MADE), LINKS)))
SUMS = Sums(FLOWS, RULES, SESSION.pdrs)
AGE, SIZE = 1_000_000, 114


def longer(usage: Usage, counts: dict[int, Counts], now: int) -> Usage:
    seen = Seen(by_rule(FLOWS, counts))
    return usage.counted(SESSION.urrs, SESSION.pdrs, RULES, seen, now, now)


def shorter(usage: Usage, told: dict[int, FlowCounts], now: int) -> Usage | None:
    return SUMS.counted(usage, SESSION.urrs, told, AGE, now, now)


def marks(usage: Usage) -> dict[object, Counts]:
    """Of a rule with none and of one that has had nothing it is the same."""
    return {key: each for key, each in usage.marks.rules.items() if each != NONE}


packets = st.lists(st.integers(-1, 40), min_size=len(FLOWS), max_size=len(FLOWS))


@given(st.lists(st.tuples(packets, st.integers(0, 9)), max_size=6))
def test_they_are_those_of_the_longer_way(looks: list[tuple[list[int], int]]) -> None:
    """Whatever comes by each flow from one look to the next; of -1 the switch says nothing."""
    usage, now, standing = SESSION.usage, NOW, [0] * len(FLOWS)
    for more, seconds in looks:
        now += seconds
        standing = [each + max(some, 0) for each, some in zip(standing, more, strict=True)]
        there = {key: each for key, each in enumerate(standing) if more[key] >= 0}
        counts = {key: Counts(each, each * SIZE) for key, each in there.items()}
        told = {key: (each, each * SIZE, AGE) for key, each in there.items()}
        wanted, found = longer(usage, counts, now), shorter(usage, told, now)
        if found is None:
            assert (
                any(
                    each.packets < usage.marks.rules.get(key, NONE).packets
                    for key, each in wanted.marks.rules.items()
                )
                or not usage.marks.rules.keys() <= wanted.marks.rules.keys()
            )
        else:
            assert found.urrs == wanted.urrs
            assert marks(found) == marks(wanted)
            assert (found.looked_at, found.marked_at) == (now, now)
        usage = wanted


def test_flows_that_were_made_anew_are_not_for_it() -> None:
    told = {key: (1, SIZE, AGE) for key, _ in FLOWS}
    assert shorter(SESSION.usage, told, NOW) is not None
    assert shorter(SESSION.usage, told | {0: (1, SIZE, AGE - 1)}, NOW) is None


def test_counts_that_have_fallen_are_not_for_it() -> None:
    before = shorter(SESSION.usage, {key: (5, 5 * SIZE, AGE) for key, _ in FLOWS}, NOW)
    assert before is not None
    assert shorter(before, {key: (4, 4 * SIZE, AGE) for key, _ in FLOWS}, NOW) is None
