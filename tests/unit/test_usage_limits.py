"""Limits of usage: what is told, what is closed, and when to look again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofgtp.core.errors import InvalidSession
from ofgtp.core.filters import PacketFilter
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import FTeid, Session, SessionState
from ofgtp.core.rules.counts import Counts
from ofgtp.core.sessions.check import check_session
from ofgtp.core.sessions.detail import NO_LIMITS, Detail, Gate, Rates, UsageLimits
from ofgtp.core.sessions.rule import Refused
from ofgtp.core.sessions.rules import rules_of
from ofgtp.core.sessions.shape import shape_of
from ofgtp.core.usage import limits as it
from ofgtp.core.usage.ledger import NEW, Ledger, Volume
from ofgtp.core.usage.limits import AGAIN_S, LAG_S, SOON_S, Gauge, Judged, begun, judge
from ofgtp.core.usage.pace import LATEST_S, USUAL_S, Next
from ofgtp.store import SessionStore
from tests.support.lab import gateway
from tests.support.sample import bearer, detailed, session

NOW = 1_000_000.0


def used(octets: int, packets: int | None = None) -> Volume:
    """A third of it uplink."""
    packets = octets // 100 if packets is None else packets
    up = Counts(packets // 3, octets // 3)
    return Volume(up, Counts(packets, octets) - up)


def looks(
    limits: UsageLimits, *octets: int, gauge: Gauge | None = None
) -> list[list[it.LimitEvent]]:
    """What is told by looks that find so much used, one a second."""
    gauge, closed, told = gauge or begun(used(0), NOW), False, []
    for second, each in enumerate(octets, 1):
        judged = judge(limits, gauge, used(each), NOW + second, closed)
        gauge, closed = judged.gauge, judged.used_up
        told.append(list(judged.told))
    return told


# --- thresholds


def test_each_multiple_is_told_once() -> None:
    found = looks(UsageLimits(threshold=1000), 999, 1000, 1000, 1999, 2000)
    assert [[each.facts["reached"] for each in one] for one in found] == [[], [1], [], [], [2]]


def test_several_multiples_are_one_event_that_says_so() -> None:
    [[one], [other]] = looks(UsageLimits(threshold=1000), 1200, 5100)
    assert one.kind == other.kind == "usage_threshold"
    assert (one.facts["reached"], one.facts["times"]) == (1, 1)
    assert other.facts == {
        "threshold_bytes": 1000,
        "reached": 5,
        "times": 4,
        "uplink_bytes": 1700,
        "downlink_bytes": 3400,
    }


@given(
    st.integers(1, 5000),
    st.lists(st.integers(0, 9000), max_size=20),
    st.integers(0, 10**6),
)
@settings(max_examples=300)
def test_no_multiple_is_lost_or_told_twice(step: int, gains: list[int], before: int) -> None:
    """However the looks fall: what is told adds up to what was used since."""
    limits, total = UsageLimits(threshold=step), before
    gauge, told = begun(used(before), NOW), 0
    for gain in gains:
        total += gain
        judged = judge(limits, gauge, used(total), NOW, False)
        gauge = judged.gauge
        assert len(judged.told) <= 1
        for each in judged.told:
            told += each.facts["times"]
            assert each.facts["reached"] == told
            assert each.facts["uplink_bytes"] + each.facts["downlink_bytes"] == total
        assert told == (total - before) // step
        assert judged.left == step - (total - before) % step


# --- quotas


def test_a_quota_is_told_once_and_closes() -> None:
    limits = UsageLimits(quota=1000)
    found = looks(limits, 999, 1001, 1001, 1500)
    assert [[each.kind for each in one] for one in found] == [[], ["quota_exhausted"], [], []]
    assert found[1][0].facts == {
        "quota_bytes": 1000,
        "used_bytes": 1001,
        "uplink_bytes": 333,
        "downlink_bytes": 668,
    }
    judged = judge(limits, begun(used(0), NOW), used(1000), NOW, False)
    assert judged.used_up and judged.left is None


def test_the_nearest_limit_is_what_is_left() -> None:
    limits = UsageLimits(threshold=300, quota=1000)
    lefts = [
        judge(limits, begun(used(0), NOW), used(octets), NOW, False).left
        for octets in (0, 299, 300, 900, 950)
    ]
    assert lefts == [300, 1, 300, 100, 50]


def given_(before: UsageLimits, after: UsageLimits, gauge: Gauge, octets: int) -> Gauge:
    return it.given(gauge, before, after, used(octets), NOW + 50)


def test_what_limits_count_from() -> None:
    gauge = begun(used(500), NOW)
    assert (gauge.quota_from, gauge.threshold_from, gauge.reached) == (500, 500, 0)
    first, larger = UsageLimits(1000, 5000, 60), UsageLimits(1000, 9000, 60)
    assert given_(first, first, gauge, 800) == gauge, "the same again"
    assert given_(first, larger, gauge, 800) == gauge, "a larger quota is not another one"
    other = given_(UsageLimits(threshold=1000), UsageLimits(1000, 7), gauge, 800)
    assert other == gauge._replace(quota_from=800), "the first quota"
    told = gauge._replace(reached=3, inactive=True)
    other = given_(first, UsageLimits(2000, 5000, 60), told, 4000)
    assert other == told._replace(threshold_from=4000, reached=0)
    other = given_(first, UsageLimits(1000, 5000, 61), told, 4000)
    assert other == told._replace(packets=40, active_at=NOW + 50, inactive=False)
    assert it.given(None, first, first, used(4000), NOW) == begun(used(4000), NOW)


def with_usage(
    usage: UsageLimits = NO_LIMITS, voice: UsageLimits = NO_LIMITS, *, closed: str = ""
) -> Session:
    """A session and a bearer with limits; `closed` are letters: s(ession), v(oice)."""
    calls = bearer("voice", 1, PacketFilter(protocol=17), usage=voice, used_up="v" in closed)
    return detailed(bearers=[calls], usage=usage, used_up="s" in closed)


LEDGER = Ledger({"": used(300), "voice": used(200)}, gone=used(500))


@pytest.mark.parametrize(
    ("before", "after", "closed"),
    [
        (None, with_usage(UsageLimits(quota=1)), set()),
        (with_usage(), with_usage(UsageLimits(quota=1)), set()),
        (with_usage(UsageLimits(quota=900)), with_usage(UsageLimits(quota=1000)), {""}),
        (with_usage(UsageLimits(quota=900)), with_usage(UsageLimits(quota=1001)), set()),
        (with_usage(UsageLimits(quota=900), closed="s"), with_usage(UsageLimits(9, 900)), {""}),
        (with_usage(UsageLimits(quota=900), closed="s"), with_usage(UsageLimits(9)), set()),
        (with_usage(UsageLimits(quota=900), closed="s"), with_usage(), set()),
        (
            with_usage(UsageLimits(quota=900), UsageLimits(quota=9), closed="sv"),
            with_usage(UsageLimits(quota=901), UsageLimits(quota=200)),
            {"", "voice"},
        ),
        (with_usage(voice=UsageLimits(quota=9)), with_usage(voice=UsageLimits(quota=201)), set()),
        (
            with_usage(voice=UsageLimits(quota=9), closed="v"),
            with_usage(UsageLimits(quota=1), voice=UsageLimits(quota=9)),
            {"voice"},
        ),
    ],
)
def test_what_is_closed_once_limits_are_others(
    before: Session | None, after: Session, closed: set[str]
) -> None:
    gauges = {} if before is None else dict.fromkeys(it.limits_of(before), Gauge())
    made, found = it.given_all(gauges, before, after, LEDGER if before else NEW, NOW)
    assert found == closed
    assert made.keys() == it.limits_of(after).keys()


def test_the_bearer_that_comes_back_counts_anew() -> None:
    limited = with_usage(voice=UsageLimits(quota=100), closed="v")
    without = replace(limited, detail=replace(limited.detail or Detail(), bearers=()))
    made, closed = it.given_all({"voice": Gauge()}, limited, without, LEDGER, NOW)
    assert (made, closed) == ({}, set())
    made, closed = it.given_all(made, without, limited, LEDGER, NOW)
    assert (made["voice"].quota_from, closed) == (200, set())


# --- inactivity


def test_inactivity_is_told_once_in_each_pause() -> None:
    limits, gauge = UsageLimits(inactivity=10), begun(used(0), NOW)
    told = []
    for second in range(60):
        volume = used(100) if second >= 30 else used(0)
        judged = judge(limits, gauge, volume, NOW + second, False)
        gauge = judged.gauge
        told += [(second, each.kind, each.facts["inactivity_seconds"]) for each in judged.told]
    assert told == [(11, "inactive", 10), (41, "inactive", 10)]


def test_a_packet_that_is_not_counted_yet_makes_it_active_all_the_same() -> None:
    limits, gauge = UsageLimits(inactivity=10), begun(used(0), NOW)
    # It went on right before the time was over, and the switch tells so behind it.
    assert not judge(limits, gauge, used(0), NOW + 10, False).told
    judged = judge(limits, gauge, used(100), NOW + 10 + LAG_S, False)
    assert not judged.told and judged.gauge.active_at == NOW + 10 + LAG_S


@pytest.mark.parametrize(
    ("inactivity", "idle", "timer"),
    [(100, 0.0, 10.0), (100, 95.0, 6.0), (3, 0.0, 1.0), (3, 3.5, 0.5), (100, 200.0, 10.0)],
)
def test_when_inactivity_wants_a_look(inactivity: int, idle: float, timer: float) -> None:
    judged = judge(
        UsageLimits(inactivity=inactivity), begun(used(0), NOW), used(0), NOW + idle, False
    )
    assert judged.timer == pytest.approx(timer)
    assert it.look_after(judged, 0, 1.0, None) == Next(judged.timer or 0)


@given(
    st.builds(
        UsageLimits,
        st.none() | st.integers(1, 2000),
        st.none() | st.integers(1, 20_000),
        st.none() | st.integers(1, 30),
    ),
    st.lists(st.tuples(st.integers(0, 3000), st.floats(0.1, 40)), max_size=20),
)
@settings(max_examples=300)
def test_however_looks_fall(limits: UsageLimits, steps: list[tuple[int, float]]) -> None:
    total, now, gauge, closed, active = 0, NOW, begun(used(0), NOW), False, NOW
    events: list[str] = []
    for gain, seconds in steps:
        now += seconds
        if not closed and gain:
            total, active = total + gain, now
        judged = judge(limits, gauge, used(total, total), now, closed)
        again = judge(limits, judged.gauge, used(total, total), now, judged.used_up)
        assert (again.told, again.gauge, again.used_up) == ((), judged.gauge, judged.used_up)
        kinds = [each.kind for each in judged.told]
        quiet = limits.inactivity is not None and now >= active + limits.inactivity + LAG_S
        assert judged.gauge.inactive == quiet
        gauge, closed = judged.gauge, judged.used_up
        assert closed == (limits.quota is not None and total >= limits.quota)
        assert judged.left is None or judged.left > 0
        assert judged.timer is None or judged.timer > 0
        events += kinds
    assert events.count("quota_exhausted") == closed


# --- when to look


def test_what_cannot_reach_a_limit_is_not_looked_at() -> None:
    closed = judge(UsageLimits(1, 2), begun(used(0), NOW), used(5), NOW, False)
    assert it.look_after(closed, 5, 1.0, None) is None


def judged_(left: int | None, timer: float | None = None) -> Judged:
    return Judged(Gauge(), (), False, left, timer)


def test_looks_are_as_frequent_as_the_rate_asks_for() -> None:
    assert it.look_after(judged_(10_000), 0, 1.0, None)[:3] == (USUAL_S, 5000, None)
    assert it.look_after(judged_(10_000), None, 0.0, None)[:3] == (USUAL_S, 5000, AGAIN_S)
    assert it.look_after(judged_(10_000), 5_000, 0.5, None)[:3] == (SOON_S, 5000, AGAIN_S)
    assert it.look_after(judged_(10_000), 4_999, 0.5, None)[:3] == (USUAL_S, 5000, AGAIN_S)
    # A rate that the switch polices bounds what may come.
    assert it.look_after(judged_(10_000), 0, 1.0, 1000.0)[:3] == (5.0, 5000, None)
    assert it.look_after(judged_(10_000, 3.0), 10, 1.0, 1000.0)[:3] == (5.0, 5000, AGAIN_S)
    assert it.look_after(judged_(10_000, 1.0), 10, 1.0, 1000.0)[:3] == (5.0, 5000, 1.0)
    assert it.look_after(judged_(10**9), 0, 1.0, 1.0)[:3] == (LATEST_S, 10**9 // 2, None)


def test_of_several_the_soonest() -> None:
    assert it.soonest([]) is None
    assert it.soonest([Next(3.0), Next(2.0)]) == Next(2.0)
    assert it.soonest([Next(3.0, 700), Next(0.5, 900, 4.0), Next(2.0)]) == Next(0.5, 700, 2.0)
    assert it.soonest([Next(3.0, 700)]) == Next(3.0, 700, None)


def test_the_most_that_may_come() -> None:
    rated = detailed(
        ambr=Rates(8, 16),
        bearers=[
            bearer("both", 1, PacketFilter(protocol=17), mbr=Rates(80, 80)),
            bearer("one", 2, PacketFilter(protocol=6), mbr=Rates(80, None)),
        ],
    )
    assert [it.fastest(rated, name) for name in ("", "both", "one")] == [3000.0, 20_000.0, None]
    assert it.fastest(session(), "") is None


# --- what is closed


def test_what_is_closed_refuses_all() -> None:
    closed = Refused(DropReason.QUOTA_EXHAUSTED)
    one = with_usage(UsageLimits(quota=1), UsageLimits(quota=1))
    assert not any(rule.forward == closed for rule in rules_of(one))
    assert all(rule.forward == closed for rule in rules_of(it.closing(one, {""})))
    rules = rules_of(it.closing(one, {"voice"}))
    assert [rule.id for rule in rules if rule.forward == closed] == ["voice", "voice"]
    assert [rule.id for rule in rules if rule.forward != closed] == ["", ""]
    idle = detailed(downlink=None, usage=UsageLimits(quota=1), used_up=True)
    assert all(rule.forward == closed for rule in rules_of(idle))
    barred = bearer("voice", 1, PacketFilter(protocol=17), gate=Gate.CLOSED, used_up=True)
    rules = rules_of(detailed(bearers=[barred]))
    assert [rule.forward for rule in rules if rule.id] == [closed, closed]


def test_what_is_closed_is_known_of_a_session() -> None:
    one = with_usage(UsageLimits(quota=1), UsageLimits(quota=1))
    for names in (set[str](), {""}, {"voice"}, {"", "voice"}):
        closed = it.closing(one, names)
        assert it.closed_of(closed) == names
        assert it.closing(closed, set()) == one
    assert it.closed_of(session()) == set() and it.closing(session(), set()) == session()


def test_the_flows_of_a_closed_session_have_another_shape() -> None:
    shapes = set()
    for closed in ("", "s", "v", "sv"):
        one = with_usage(UsageLimits(quota=1), UsageLimits(quota=1), closed=closed)
        shapes.add(shape_of(one, one.detail or Detail()))
    assert len(shapes) == 4
    few, many = with_usage(UsageLimits(quota=1)), with_usage(UsageLimits(quota=2))
    assert shape_of(few, few.detail or Detail()) == shape_of(many, many.detail or Detail())


# --- what is accepted


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (UsageLimits(threshold=0), "threshold_bytes"),
        (UsageLimits(threshold=2**53), "threshold_bytes"),
        (UsageLimits(quota=-1), "quota_bytes"),
        (UsageLimits(quota=2**53), "quota_bytes"),
        (UsageLimits(inactivity=0), "inactivity_seconds"),
        (UsageLimits(inactivity=86_401), "inactivity_seconds"),
    ],
)
def test_limits_out_of_range_are_named(limits: UsageLimits, field: str) -> None:
    with pytest.raises(InvalidSession, match="1 to ") as raised:
        check_session(gateway(), with_usage(limits), ())
    assert raised.value.loc == f"usage.{field}"
    with pytest.raises(InvalidSession) as raised:
        check_session(gateway(), with_usage(voice=limits), ())
    assert raised.value.loc == f"bearers.0.usage.{field}"


def test_limits_at_their_ends_are_taken() -> None:
    for limits in (UsageLimits(1, 1, 1), UsageLimits(2**53 - 1, 2**53 - 1, 86_400)):
        check_session(gateway(), with_usage(limits, limits), ())


# --- in the store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SessionStore]:
    store = SessionStore(tmp_path / "sessions.db")
    yield store
    store.close()


def test_gauges_are_kept(store: SessionStore, tmp_path: Path) -> None:
    gauges = {"": Gauge(1, 2, 3, 4, 5.5, True), "voice": Gauge()}
    with store.transaction() as tx:
        mine = tx.insert(with_usage(UsageLimits(quota=1)), SessionState.ACTIVE)
        other = tx.insert(
            replace(
                session(),
                id="other",
                gateway="gw2",
                downlink=FTeid(77, IPv4Address("10.1.0.9")),
            )
        )
        tx.put_gauges(mine.number, gauges)
        tx.put_gauges(other.number, {"": Gauge()})
        tx.put_gauges(999, {"": Gauge()})
        assert tx.gauges([mine.number, 5]) == {mine.number: gauges}
    assert store.with_limits(mine.gateway) == [mine.number]
    assert store.with_limits("gw2") == [other.number]
    assert [each.session for each in store.by_numbers([mine.number, 77])] == [mine]
    with store.transaction() as tx:
        tx.put_gauges(mine.number, {})
        assert tx.gauges([mine.number]) == {}
    assert store.with_limits(mine.gateway) == []
    store.reset()
    assert store.with_limits("gw2") == []


def test_gauges_go_with_their_session(store: SessionStore) -> None:
    with store.transaction() as tx:
        mine = tx.insert(with_usage(UsageLimits(quota=1)), SessionState.ACTIVE)
        tx.put_gauges(mine.number, {"": Gauge()})
    with store.transaction() as tx:
        tx.delete(mine.id)
    assert store.gauges([mine.number]) == {}, "or each session that ever was leaves a row"
