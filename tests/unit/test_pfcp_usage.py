"""What URRs measure: from counts of flows to reports, over all that changes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import pytest

from ofgtp.core.pfcp import stored
from ofgtp.core.pfcp.procedures import Outcome, deletion
from ofgtp.core.pfcp.usage import Usage
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import (
    FailedRule,
    Interface,
    Measurement,
    Method,
    ModificationFlags,
    RuleKind,
    UsageTrigger,
)
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.rules.counts import Counts, RuleKey, by_rule, counts_of, framed
from ofgtp.core.rules.session import owned_flows
from ofgtp.core.usage.seen import Seen, key_of
from tests.support.sample import LINKS
from tests.unit.test_pfcp_sessions import (
    DL,
    NOW,
    QER,
    UL,
    change,
    establish,
    refused,
    session_of,
)

BOTH = Method.VOLUME | Method.DURATION
VOICE = "permit out udp from 10.2.0.2 5004 to assigned"


def urr(number: int, method: Method = BOTH, **changes: Any) -> g.CreateUrr:
    return g.CreateUrr(number, method, 0)._replace(**changes)


def measuring(**changes: Any) -> Outcome:
    """URR 1 of both directions, URR 2 of the downlink alone."""
    fields: dict[str, Any] = {
        "create_pdrs": (UL._replace(urr_ids=(1,)), DL._replace(urr_ids=(1, 2))),
        "create_urrs": (urr(1), urr(2)),
    }
    return establish(**(fields | changes))


def seen(made: Outcome, now: int = NOW, **rules: tuple[int, int]) -> Outcome:
    """The session when its rules stand at so many packets and octets."""
    session = made.session
    keys = {rule.id: key_of(rule) for rule in made.made.rules}
    counts = {keys[name[1:]]: Counts(*count) for name, count in rules.items()}
    usage = session.usage.counted(session.urrs, session.pdrs, made.made.rules, Seen(counts), now)
    return made_with(made, usage)


def made_with(made: Outcome, usage: Usage) -> Outcome:
    return replace(made, session=replace(made.session, usage=usage))


def volumes(reports: Any) -> dict[int, tuple[int, int, int]]:
    return {each.urr_id: (each.volume.total, each.volume.uplink, each.volume.downlink)
            for each in reports}  # fmt: skip


def last(made: Outcome, now: int = NOW + 9) -> Any:
    answer: Any = deletion(made.session, now)
    return answer.usage_reports


def test_what_is_counted_is_added_to_the_urrs_of_the_pdr() -> None:
    made = seen(measuring(), r1=(3, 300), r2=(5, 700))
    reports = last(made)
    assert volumes(reports) == {1: (1000, 300, 700), 2: (700, 0, 700)}
    assert {each.trigger for each in reports} == {UsageTrigger.TERMR}
    assert {(each.start_time, each.end_time, each.duration) for each in reports} == {
        (NOW, NOW + 9, 9)
    }
    assert all(each.volume.total_packets is None for each in reports), "they were not asked for"


def test_counts_go_on_from_where_they_stood() -> None:
    made = seen(seen(measuring(), r1=(3, 300), r2=(5, 700)), r1=(4, 350), r2=(5, 700))
    assert volumes(last(made)) == {1: (1050, 350, 700), 2: (700, 0, 700)}


def test_what_the_switch_counts_anew_is_counted_from_0() -> None:
    made = seen(seen(measuring(), r1=(3, 300), r2=(5, 700)), r1=(1, 60), r2=(6, 800))
    assert volumes(last(made)) == {1: (1160, 360, 800), 2: (800, 0, 800)}


def test_what_is_asked_for_is_measured() -> None:
    packets = urr(1, measurement_information=Measurement.MNOP)
    made = seen(measuring(create_urrs=(packets, urr(2, Method.DURATION))), r1=(3, 300), r2=(5, 700))
    first, second = last(made)
    assert first.volume == v.VolumeMeasurement(1000, 300, 700, 8, 3, 5)
    assert (second.volume, second.duration) == (None, 9)


def test_a_report_begins_anew() -> None:
    made = seen(measuring(), r1=(3, 300), r2=(5, 700))
    asked = change(made, now=NOW + 4, query_urrs=(g.QueryUrr(2),), query_urr_reference=7)
    answer: Any = asked.answer
    [report] = answer.usage_reports
    assert (report.urr_id, report.sequence, report.trigger) == (2, 0, UsageTrigger.IMMER)
    assert (report.query_urr_reference, report.duration) == (7, 4)
    assert volumes([report]) == {2: (700, 0, 700)}
    again = seen(asked, r1=(3, 300), r2=(6, 760))
    first, second = last(again)
    assert volumes([first, second]) == {1: (1060, 300, 760), 2: (60, 0, 60)}
    assert (first.sequence, first.start_time) == (0, NOW)
    assert (second.sequence, second.start_time, second.duration) == (1, NOW + 4, 5)
    everything: Any = change(again, flags=ModificationFlags.QAURR).answer
    assert [each.urr_id for each in everything.usage_reports] == [1, 2]


@pytest.mark.parametrize(
    ("members", "ends"),
    [
        ({"remove_pdrs": (g.RemovePdr(2),)}, [2]),
        ({"remove_pdrs": (g.RemovePdr(1), g.RemovePdr(2))}, [1, 2]),
        ({"update_pdrs": (g.UpdatePdr(2, urr_ids=(1,)),), "remove_urrs": (g.RemoveUrr(2),)}, [2]),
        ({"update_pdrs": (g.UpdatePdr(2, urr_ids=(1,)),)}, [2]),
        ({"update_fars": (g.UpdateFar(2),)}, []),
    ],
    ids=["its last PDR", "all PDRs", "itself", "it is unlinked", "nothing"],
)
def test_what_ends_is_reported(members: Any, ends: list[int]) -> None:
    made = seen(measuring(), r1=(3, 300), r2=(5, 700))
    answer: Any = change(made, **members).answer
    assert [each.urr_id for each in answer.usage_reports] == ends
    assert {each.trigger for each in answer.usage_reports} <= {UsageTrigger.TERMR}


def test_what_there_is_not_cannot_be_asked_for() -> None:
    wanted = (Cause.RULE_FAILURE, Ie.QUERY_URR, FailedRule(RuleKind.URR, 9))
    assert refused(lambda: change(measuring(), query_urrs=(g.QueryUrr(9),))) == wanted
    new = {"create_urrs": (urr(3),), "query_urrs": (g.QueryUrr(3),)}
    answer: Any = change(measuring(), **new).answer
    assert answer.usage_reports == (), "it has measured nothing yet"


def test_what_a_meter_drops_is_taken_off() -> None:
    """Of one rule that uses it, or of several in proportion to what came to them."""
    qer = QER._replace(mbr=v.Bitrates(100, 100))
    pdrs = (
        UL._replace(urr_ids=(1,), qer_ids=(1,)),
        DL._replace(urr_ids=(1,), qer_ids=(1,)),
        DL._replace(
            pdr_id=3,
            precedence=9,
            pdi=g.Pdi(Interface.CORE, sdf_filters=(v.SdfFilter(VOICE),)),
            urr_ids=(2,),
            qer_ids=(1,),
        ),
    )
    made = establish(create_pdrs=pdrs, create_urrs=(urr(1), urr(2)), create_qers=(qer,))
    counts: dict[RuleKey, Counts] = {
        ("uplink", "1"): Counts(10, 1000),
        ("downlink", "2"): Counts(30, 3000),
        ("downlink", "3"): Counts(10, 1000),
    }
    dropped = {0: Counts(4, 400), 1: Counts(8, 800)}
    session = made.session
    known = session.urrs, session.pdrs, made.made.rules, Seen(counts, dropped), NOW
    usage = session.usage.counted(*known)
    assert usage.urrs[1][2:4] == (Counts(6, 600), Counts(24, 2400))
    assert usage.urrs[2][2:4] == (Counts(), Counts(8, 800))
    more = usage.counted(*known)
    assert more == usage, "nothing has come since"


def test_what_a_meter_drops_is_told_before_what_came() -> None:
    qer = QER._replace(mbr=v.Bitrates(100, 100))
    pdrs = (UL._replace(urr_ids=(1,), qer_ids=(1,)), DL)
    made = establish(create_pdrs=pdrs, create_urrs=(urr(1),), create_qers=(qer,))
    session, rules = made.session, made.made.rules
    usage = session.usage
    for came, dropped in ((0, 60), (40, 85), (100, 85), (100, 85)):
        at = Seen({("uplink", "1"): Counts(came, 100 * came)}, {0: Counts(dropped, 100 * dropped)})
        usage = usage.counted(session.urrs, session.pdrs, rules, at, NOW)
    assert usage.urrs[1].uplink == Counts(15, 1_500)


def test_what_is_refused_is_not_measured() -> None:
    made = measuring(create_fars=(g.CreateFar(1, 1), g.CreateFar(2, 1)))
    assert volumes(last(seen(made, r1=(3, 300), r2=(5, 700)))) == {1: (0, 0, 0), 2: (0, 0, 0)}


def test_it_is_stored_with_the_session() -> None:
    made = seen(measuring(), r1=(3, 300), r2=(5, 700))
    usage, held = made.session.usage, Seen({("held", "2"): Counts(2, 200)})
    rules = {**usage.marks.rules, **held.rules}
    made = replace(
        made, session=replace(made.session, usage=usage.marked(usage.marks._replace(rules=rules)))
    )
    octets = stored.to_bytes(made.session)
    assert stored.measures(octets) and not stored.measures(stored.to_bytes(establish().session))
    assert stored.from_bytes(octets, made.session.node_id, made.session.up_seid) == made.session


def test_marks_of_an_earlier_release_have_no_directions() -> None:
    made = seen(measuring(), r1=(3, 300), r2=(5, 700))
    octets = stored.to_bytes(made.session)
    older = octets[2:].replace(b'["uplink","1",', b'["1",').replace(b'["downlink","2",', b'["2",')
    size = int.from_bytes(octets[:2], "big") - (len(octets) - 2 - len(older))
    node_id, up_seid = made.session.node_id, made.session.up_seid
    read = stored.from_bytes(size.to_bytes(2, "big") + older, node_id, up_seid)
    assert len(older) < len(octets) - 2
    assert last(seen(replace(made, session=read), r1=(3, 300), r2=(5, 700))) == last(made)


def test_marks_of_an_earlier_release_lack_ethernets_headers() -> None:
    """Uplink flows counted them then, and marks did not: now both do without."""
    made = seen(measuring(), r1=(3, 300), r2=(5, 700))
    octets = stored.to_bytes(made.session)
    mark = b',"packets"]}'
    older = octets[2:].replace(mark, b"]}", 1)
    size = int.from_bytes(octets[:2], "big") - len(mark) + 2
    assert len(older) - size == len(octets) - 2 - int.from_bytes(octets[:2], "big")
    node_id, up_seid = made.session.node_id, made.session.up_seid
    read = stored.from_bytes(size.to_bytes(2, "big") + older, node_id, up_seid)
    marks, now = read.usage.marks.rules, made.session.usage.marks.rules
    assert marks["uplink", "1"] == now["uplink", "1"] + Counts(0, 3 * 14)
    assert marks["downlink", "2"] == now["downlink", "2"]


def test_flows_counts_are_those_of_their_rules() -> None:
    """The rest of a tunnel, or of a UE's address, is what no rule with filters had."""
    voice = DL._replace(
        pdr_id=3, precedence=9, pdi=g.Pdi(Interface.CORE, sdf_filters=(v.SdfFilter(VOICE),))
    )
    flows = owned_flows(session_of(establish(create_pdrs=(UL, DL, voice))), LINKS)
    found: dict[Hashable, Counts] = {}
    for owned in flows:
        more = 14 if framed(owned.flow) else 0
        packets = 10 if owned.first else 4
        found[owned.flow.key] = Counts(packets, (100 + more) * packets)
    keyed = [(each.flow.key, each) for each in flows]
    assert by_rule(keyed, found) == {
        ("uplink", "1"): Counts(10, 1000),
        ("downlink", "2"): Counts(6, 600),
        ("downlink", "3"): Counts(4, 400),
    }
    assert set(by_rule(keyed, {}).values()) == {Counts()}
    assert counts_of(Counts(1, 60), True) == Counts(1, 46)
    assert counts_of(Counts(1, 60), False) == Counts(1, 60)
