"""When URRs are reported unasked, and what their quotas close; each octet in one report."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofgtp.control.pfcp.usage import Known
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.pfcp import stored
from ofgtp.core.pfcp.procedures import Outcome, deletion, looked_at
from ofgtp.core.pfcp.rules import rules_of
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.triggers import fastest_of, looked, next_look_at
from ofgtp.core.pfcp.usage import Usage
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Measurement, Method, ModificationFlags, Triggers
from ofgtp.core.pfcp.wire.enums import UsageTrigger as T
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.rules.counts import Counts
from ofgtp.core.sessions.rule import Refused
from ofgtp.core.usage.pace import SHARE, Next
from ofgtp.core.usage.seen import Seen, key_of
from tests.unit.test_pfcp_sessions import (
    DL,
    NOW,
    QER,
    TERMS,
    UL,
    change,
    establish,
    session_of,
)

BOTH = Method.VOLUME | Method.DURATION
CLOSED = Refused(DropReason.QUOTA_EXHAUSTED)


def urr(triggers: Triggers, number: int = 1, **changes: Any) -> g.CreateUrr:
    return g.CreateUrr(number, BOTH, triggers)._replace(**changes)


class Told:
    """A session that is looked at: what its flows have counted, and what was reported."""

    def __init__(self, *urrs: g.CreateUrr, **changes: Any) -> None:
        ids = tuple(each.urr_id for each in urrs)
        pdrs = UL._replace(urr_ids=ids), DL._replace(urr_ids=ids)
        self.made: Outcome = establish(**{"create_pdrs": pdrs, "create_urrs": urrs} | changes)
        self.now = NOW
        self.counts = {"1": Counts(), "2": Counts()}
        self.reports: list[UsageReport] = []

    @property
    def session(self) -> PfcpSession:
        return self.made.session

    def passes(self, up: int = 0, down: int = 0) -> None:
        """Packets of 100 octets come, and pass if they may."""
        for rule, count in (("1", up), ("2", down)):
            self.counts[rule] += Counts(count, 100 * count)

    def seen(self) -> Seen:
        keys = {rule.id: key_of(rule) for rule in rules_of(self.session).rules}
        return Seen({keys[rule]: counts for rule, counts in self.counts.items()})

    def counted(self) -> Usage:
        session = self.session
        rules = rules_of(session).rules
        return session.usage.counted(session.urrs, session.pdrs, rules, self.seen(), self.now)

    def keep(self, usage: Usage) -> None:
        self.made = replace(self.made, session=replace(self.session, usage=usage))

    def look(self, seconds: int = 0, *, full: bool = False) -> list[tuple[int, T]]:
        """Look after so many seconds; which URRs are reported, and why."""
        self.now += seconds
        found = looked(self.session.urrs, self.counted(), self.now, full=full)
        self.keep(found.usage)
        self.reports += found.reports
        return [(each.urr_id, T(each.trigger)) for each in found.reports]

    def change(self, **members: Any) -> list[UsageReport]:
        self.keep(self.counted())
        self.made = change(self.made, now=self.now, **members)
        answer: Any = self.made.answer
        self.reports += answer.usage_reports
        return list(answer.usage_reports)

    def closed(self) -> bool:
        forwards = {rule.forward for rule in rules_of(self.session).rules}
        assert (CLOSED in forwards) == (forwards == {CLOSED})
        return CLOSED in forwards

    def next(self) -> Next | None:
        return self.next_after(None, 0.0)

    def next_after(self, before: Usage | None, seconds: float) -> Next | None:
        made = self.session
        return next_look_at(made.urrs, made.usage, fastest_of(made), before, self.now, seconds)


def octets(report: UsageReport) -> tuple[int | None, int | None, int | None]:
    assert report.volume is not None
    return report.volume.total, report.volume.uplink, report.volume.downlink


@pytest.mark.parametrize(
    ("limit", "up", "down"),
    [
        (v.Volume(total=1000), 4, 6),
        (v.Volume(uplink=1000), 10, 50),
        (v.Volume(downlink=1000), 50, 10),
        (v.Volume(total=9000, uplink=1000), 10, 0),
    ],
)
def test_a_volume_threshold_is_told_when_it_is_reached(limit: v.Volume, up: int, down: int) -> None:
    told = Told(urr(Triggers.VOLTH, volume_threshold=limit))
    told.passes(up - 1, down)
    less = told.look(5)
    told.passes(1, 0)
    more = told.look(5)
    if limit.downlink:
        assert less == [(1, T.VOLTH)]
        return
    assert (less, more) == ([], [(1, T.VOLTH)])
    assert octets(told.reports[0]) == (100 * (up + down), 100 * up, 100 * down)
    assert told.look(5) == [], "it is measured anew"
    assert not told.closed()


def test_thresholds_are_told_once_a_second() -> None:
    told = Told(urr(Triggers.VOLTH, volume_threshold=v.Volume(total=1000)))
    told.passes(down=50)
    assert told.look() == []
    assert told.look(1) == [(1, T.VOLTH)]
    told.passes(down=50)
    assert told.look() == []
    assert told.look(1) == [(1, T.VOLTH)]


def test_without_its_trigger_nothing_is_told() -> None:
    told = Told(urr(Triggers(0), volume_threshold=v.Volume(total=100), measurement_period=1))
    assert told.next() == Next(300.0, 1), "but what passes is kept"
    told.passes(9, 9)
    assert told.look(100) == []


def test_a_quota_closes_and_is_told_once() -> None:
    told = Told(urr(Triggers.VOLQU, volume_quota=v.Volume(total=1000)))
    told.passes(4, 5)
    assert told.look() == [] and not told.closed()
    told.passes(1)
    assert told.look() == [(1, T.VOLQU)], "at once"
    assert told.closed()
    told.passes(7, 7)
    assert told.look(100) == []
    assert told.next() == Next(300.0, 1), "there is nothing to be told of it"
    told.change(update_urrs=(g.UpdateUrr(1, volume_quota=v.Volume(total=300)),))
    assert not told.closed()
    told.passes(2)
    assert told.look(1) == []
    told.passes(1)
    assert told.look(1) == [(1, T.VOLQU)]
    assert octets(told.reports[-1]) == (300, 300, 0)


def test_a_quota_closes_though_nobody_is_told() -> None:
    told = Told(urr(Triggers(0), volume_quota=v.Volume(downlink=500)))
    told.passes(down=5)
    assert told.look() == [] and told.closed()


def test_a_quota_of_nothing_is_closed_from_the_beginning() -> None:
    told = Told(urr(Triggers.VOLQU | Triggers.TIMQU, volume_quota=v.Volume(0), time_quota=0))
    assert told.closed()
    assert told.next() == Next(0.0, at_latest=0.0)
    assert told.look() == [(1, T.VOLQU | T.TIMQU)]
    told.change(update_urrs=(g.UpdateUrr(1, volume_quota=v.Volume(100)),))
    assert told.closed(), "it has no time yet"
    told.change(update_urrs=(g.UpdateUrr(1, time_quota=100),))
    assert not told.closed()
    told.change(update_urrs=(g.UpdateUrr(1, volume_quota=v.Volume(0)),))
    assert told.closed()
    assert told.look() == [(1, T.VOLQU)]


def test_what_was_used_since_the_last_report_is_of_the_new_quota() -> None:
    """And what was reported before is of the old one."""
    both = Triggers.VOLQU | Triggers.VOLTH
    limits = {"volume_threshold": v.Volume(800), "volume_quota": v.Volume(1000)}
    told = Told(urr(both, **limits))
    told.passes(down=8)
    assert told.look(1) == [(1, T.VOLTH)]
    told.passes(down=1)
    assert told.look(1) == []
    told.change(update_urrs=(g.UpdateUrr(1, volume_quota=v.Volume(300)),))
    told.passes(down=1)
    assert told.look(1) == [] and not told.closed()
    told.passes(down=1)
    assert told.look(1) == [(1, T.VOLQU)] and told.closed()


def test_one_of_several_quotas_is_enough() -> None:
    told = Told(
        urr(Triggers.VOLQU, 1, volume_quota=v.Volume(100)),
        urr(Triggers.VOLQU, 2, volume_quota=v.Volume(1000)),
    )
    told.passes(down=1)
    assert told.look() == [(1, T.VOLQU)] and told.closed()
    assert octets(deletion_of(told)[1]) == (100, 0, 100)


def deletion_of(told: Told) -> list[UsageReport]:
    answer: Any = deletion(replace(told.session, usage=told.counted()), told.now)
    return list(answer.usage_reports)


def test_periods_go_on_from_where_they_began() -> None:
    told = Told(urr(Triggers.PERIO, measurement_period=10))
    assert told.next() == Next(10, None, 10)
    assert told.look(9) == []
    assert told.look(4) == [(1, T.PERIO)]
    assert told.next() == Next(7, None, 7)
    assert told.look(7) == [(1, T.PERIO)]
    assert told.look(35) == [(1, T.PERIO)], "what nobody could look at is one report"
    assert told.next() == Next(5, None, 5)
    assert [each.sequence for each in told.reports] == [0, 1, 2]
    told.change(update_urrs=(g.UpdateUrr(1, reporting_triggers=Triggers.PERIO),))
    assert told.next() == Next(5, None, 5)
    told.change(update_urrs=(g.UpdateUrr(1, measurement_period=60),))
    assert told.next() == Next(60, None, 60)


def test_time_begins_with_a_packet_and_stands_still_without_traffic() -> None:
    told = Told(urr(Triggers.TIMTH, time_threshold=10, inactivity_detection_time=3))
    assert told.look(100) == []
    told.passes(1)
    told.look(1)  # it came within this second
    told.look(2)
    told.look(50)
    assert told.look(1) == []
    [report] = deletion_of(told)
    assert report.duration == 1 + 3, "3 s without a packet are of it, and no more"
    for _ in range(3):
        told.passes(1)
        due = told.look(2)
    assert due == [(1, T.TIMTH)]


def test_time_begins_at_once_if_it_is_to() -> None:
    at_once = Measurement.ISTM
    told = Told(urr(Triggers.TIMTH, time_threshold=10, measurement_information=at_once))
    assert told.next() == Next(10, None, 10)
    assert told.look(10) == [(1, T.TIMTH)]
    assert told.reports[0].duration == 10
    assert told.next() == Next(10, None, 10)


def test_time_that_nothing_may_pass_in_is_not_of_the_next_quota() -> None:
    told = Told(urr(Triggers.TIMQU, time_quota=10))
    told.passes(1)
    told.look(1)
    assert told.look(9) == [(1, T.TIMQU)] and told.closed()
    told.now += 1000
    told.change(update_urrs=(g.UpdateUrr(1, time_quota=10),))
    assert not told.closed()
    told.passes(1)
    assert told.look(1) == []
    assert told.look(8) == []
    assert told.look(1) == [(1, T.TIMQU)]


def test_start_and_stop_of_traffic() -> None:
    told = Told(urr(Triggers.START | Triggers.STOPT, inactivity_detection_time=5))
    assert told.next() == Next(1.0, 1)
    assert told.look(100) == []
    told.passes(1)
    assert told.look(1) == [(1, T.START)]
    assert told.reports[0].first_packet == told.now
    assert told.look(4) == []
    told.passes(1)
    assert told.look(1) == []
    assert told.look(4) == []
    assert told.look(1) == [(1, T.STOPT)]
    assert told.look(100) == []
    told.passes(down=1)
    assert told.look(1) == [(1, T.START)]


def test_the_time_of_a_packet_is_told_only_if_it_is_known() -> None:
    told = Told(urr(Triggers.PERIO, measurement_period=100))
    told.passes(1)
    told.look(99)
    assert told.look(1) == [(1, T.PERIO)]
    assert (told.reports[0].first_packet, told.reports[0].last_packet) == (None, None)
    told.look(98)
    told.passes(1)
    told.look(1)
    seen_at = told.now
    told.look(1)
    assert (told.reports[1].first_packet, told.reports[1].last_packet) == (seen_at, seen_at)


@pytest.mark.parametrize("trigger", [Triggers.QUHTI, Triggers(0)])
def test_a_quota_is_held_for_a_time(trigger: Triggers) -> None:
    quota = {"volume_quota": v.Volume(total=10**6), "quota_holding_time": 10}
    told = Told(urr(trigger, **quota))
    told.passes(1)
    assert told.look(9) == []
    assert told.look(9) == [] and not told.closed()
    assert told.look(1) == ([(1, T.QUHTI)] if trigger else [])
    assert told.closed()
    told.change(update_urrs=(g.UpdateUrr(1, volume_quota=v.Volume(total=10**6)),))
    assert not told.closed()


@pytest.mark.parametrize("validity", [10, NOW + 10], ids=["seconds", "a point in time"])
def test_a_quota_is_valid_for_a_time(validity: int) -> None:
    told = Told(urr(Triggers.QUVTI, volume_quota=v.Volume(10**6), quota_validity_time=validity))
    told.passes(1)
    assert told.look(9) == []
    assert told.look(1) == [(1, T.QUVTI)] and told.closed()
    assert told.look(1000) == []
    again = g.UpdateUrr(1, volume_quota=v.Volume(10**6), quota_validity_time=60)
    told.change(update_urrs=(again,))
    assert not told.closed()
    assert told.look(59) == []
    assert told.look(1) == [(1, T.QUVTI)]


def test_without_a_quota_its_validity_closes_nothing() -> None:
    told = Told(urr(Triggers.QUVTI, quota_validity_time=10))
    assert told.look(10) == [(1, T.QUVTI)] and not told.closed()
    assert told.look(10) == [] and told.next() == Next(300.0, 1)


def test_linked_urrs_are_told_together() -> None:
    told = Told(
        urr(Triggers.VOLTH, 1, volume_threshold=v.Volume(100)),
        urr(Triggers.LIUSA, 2, linked_urr_ids=(1,)),
        urr(Triggers.LIUSA, 3, linked_urr_ids=(2,)),
        urr(Triggers(0), 4, linked_urr_ids=(1,)),
    )
    told.passes(1)
    assert told.look(1) == [(1, T.VOLTH), (2, T.LIUSA)]
    asked = told.change(query_urrs=(g.QueryUrr(1),))
    assert [(each.urr_id, each.trigger) for each in asked] == [(1, T.IMMER), (2, T.LIUSA)]


def test_where_no_more_reports_can_wait_they_stay_due() -> None:
    told = Told(urr(Triggers.START | Triggers.VOLQU, volume_quota=v.Volume(500)))
    told.passes(1)
    assert told.look(1, full=True) == []
    told.passes(4)
    assert told.look(1, full=True) == []
    assert told.closed()
    assert told.look(1) == [(1, T.START | T.VOLQU)]
    assert octets(told.reports[0]) == (500, 500, 0)


def test_what_a_quota_closes_is_found_by_a_look() -> None:
    told = Told(urr(Triggers.VOLQU, volume_quota=v.Volume(100)))
    before = told.session
    assert looked_at(before, told.counted(), TERMS) is None
    told.passes(1)
    found = looked(before.urrs, told.counted(), told.now)
    made = looked_at(before, found.usage, TERMS)
    assert made is not None
    assert {rule.forward for rule in made.rules} == {CLOSED}


@pytest.mark.parametrize(
    ("limits", "rate", "wanted"),
    [
        ({"volume_threshold": v.Volume(10**6)}, None, Next(0.5, 500_000)),
        # 1000 kbit/s each way, and what the buckets hold
        ({"volume_threshold": v.Volume(10**7)}, 1000, Next(10.0, 5_000_000)),
        ({"volume_threshold": v.Volume(10**5)}, 1000, Next(0.5, 50_000)),
    ],
)
def test_how_soon_to_look_again(limits: dict[str, Any], rate: int | None, wanted: Next) -> None:
    more: dict[str, Any] = {}
    if rate is not None:
        pdrs = [each._replace(urr_ids=(1,), qer_ids=(1,)) for each in (UL, DL)]
        qers = (QER._replace(mbr=v.Bitrates(rate, rate)),)
        more = {"create_pdrs": tuple(pdrs), "create_qers": qers}
    assert Told(urr(Triggers.VOLTH, **limits), **more).next() == wanted, "it may come at once"


# --- every octet in one report

_LIMITS: list[dict[str, Any]] = [
    {"reporting_triggers": Triggers.VOLTH, "volume_threshold": v.Volume(total=700)},
    {"reporting_triggers": Triggers.VOLQU, "volume_quota": v.Volume(total=1500)},
    {"reporting_triggers": Triggers.PERIO, "measurement_period": 3},
    {
        "reporting_triggers": Triggers.START | Triggers.STOPT | Triggers.TIMTH,
        "inactivity_detection_time": 2,
        "time_threshold": 4,
    },
    {"reporting_triggers": Triggers.LIUSA, "linked_urr_ids": (1,)},
]
_steps = st.one_of(
    st.tuples(st.just("pass"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("look"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("query"), st.just(0), st.just(0)),
    st.tuples(st.just("quota"), st.integers(0, 20), st.just(0)),
    st.tuples(st.just("anew"), st.just(0), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0)),
)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(_LIMITS), min_size=1, max_size=3),
    st.lists(_steps, max_size=40),
)
def test_the_sum_of_all_reports_is_what_passed(
    limits: list[dict[str, Any]], steps: list[tuple[str, int, int]]
) -> None:
    """Whatever the order of looks, requests, switches that count anew, and controllers that have
    to take up what was stored."""
    told = Told(*(urr(Triggers(0), number, **each) for number, each in enumerate(limits, 1)))
    passed = {"1": 0, "2": 0}
    kept = told.made, 0
    for step, one, other in steps:
        if step == "pass":
            told.passes(one, other)
            if not told.closed():
                passed["1"] += 100 * one
                passed["2"] += 100 * other
        elif step == "look":
            before, count = told.closed(), len(told.reports)
            told.look(one, full=bool(other))
            if told.closed() != before or len(told.reports) > count:
                kept = told.made, len(told.reports)
        elif step == "query":
            told.change(flags=ModificationFlags.QAURR)
            kept = told.made, len(told.reports)
        elif step == "quota":
            given_it = [n for n, each in told.session.urrs.items() if each.volume_quota]
            update = tuple(g.UpdateUrr(n, volume_quota=v.Volume(100 * one)) for n in given_it)
            told.change(update_urrs=update)
            kept = told.made, len(told.reports)
        elif step == "anew":
            told.keep(told.counted())
            told.counts = {"1": Counts(), "2": Counts()}
            told.keep(told.session.usage.marked(Seen()))
            kept = told.made, len(told.reports)
        else:
            made, count = kept
            there = stored.to_bytes(made.session)
            again = stored.from_bytes(there, made.session.node_id, made.session.up_seid)
            assert again == made.session
            told.made = replace(made, session=again)
            assert told.reports[:count] == told.reports, "what is not stored is not told"
    told.reports += deletion_of(told)
    for number in told.session.urrs:
        of_urr = [each for each in told.reports if each.urr_id == number]
        assert [each.sequence for each in of_urr] == [*range(len(of_urr))]
        sums = [sum(octets(each)[place] or 0 for each in of_urr) for place in (1, 2)]
        assert sums == [passed["1"], passed["2"]]
        for sooner, later in pairwise(of_urr):
            assert later.start_time == sooner.end_time


def test_how_fast_packets_come_is_told_by_two_looks_with_some() -> None:
    """Had they begun a moment ago, the first look would make them much slower than they are."""
    told = Told(urr(Triggers.VOLTH, volume_threshold=v.Volume(total=100_000)))
    told.look(1)
    expected = []
    for packets in (0, 100, 100):
        before = told.session.usage
        told.passes(down=packets)
        told.look(10)
        looked_at = told.next_after(before, 10.0)
        assert looked_at is not None
        expected.append(looked_at.expected)
    assert expected == [10.0, None, 10.0]


def test_a_report_does_not_make_them_slower() -> None:
    told = Told(urr(Triggers.VOLTH, volume_threshold=v.Volume(total=10_000)))
    told.passes(down=50)
    told.look(10)
    before = told.session.usage
    told.passes(down=100)
    assert told.look(10) == [(1, T.VOLTH)]
    looked_at = told.next_after(before, 10.0)
    assert looked_at is not None
    assert looked_at.expected == SHARE * 10_000 / 1_000


def test_how_fast_is_told_over_a_second_at_least() -> None:
    """The switch brings its counts up to date twice a second: between two looks they may stand."""
    told = Told(urr(Triggers(0)))
    known = Known(session_of(told.made), told.session)
    usages = [Usage(looked_at=place) for place in range(6)]
    times = [0.0, 0.2, 0.4, 1.0, 1.2, 9.0]
    found = [known.earlier(usage, at) for usage, at in zip(usages, times, strict=True)]
    assert [at for _, at in found] == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    assert [None if before is None else before.looked_at for before, _ in found] == [
        *(None, 0, 0, 0, 0, 3)
    ]
