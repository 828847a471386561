"""The plan makes installed flows equal to desired ones, by the fewest changes."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.flows.flow import Flow, FlowKey, Output, match
from ofgtp.core.flows.reconcile import Plan, plan
from ofgtp.core.model import FTeid, Session, Uplink
from ofgtp.core.rules.session import session_flows
from tests.support.sample import ENB, LINKS, OTHER_ENB, session

flows = st.builds(
    Flow,
    table=st.integers(0, 2),
    priority=st.integers(0, 2),
    match=st.sampled_from([(), match(in_port=1), match(in_port=2)]),
    cookie=st.integers(0, 2),
    actions=st.sampled_from([(), (Output(1),), (Output(2),)]),
    goto=st.sampled_from([None, 9]),
    meter=st.sampled_from([None, 1]),
)
tables = st.lists(flows, max_size=30, unique_by=lambda flow: flow.key)


def apply(changes: Plan, installed: Iterable[Flow]) -> dict[FlowKey, Flow]:
    """What a switch has after the plan; it modifies and deletes only what is there."""
    there = {flow.key: flow for flow in installed}
    for flow in changes.delete:
        assert there.pop(flow.key) == flow
    # An add over a flow that is there would keep that one's counters.
    assert not set(there) & {flow.key for flow in changes.add}
    for flow in changes.modify:
        # A modify keeps the counters, and also the cookie.
        assert there[flow.key].cookie == flow.cookie
        there[flow.key] = flow
    for flow in changes.add:
        there[flow.key] = flow
    return there


@given(tables, tables)
def test_the_plan_leads_there(desired: list[Flow], installed: list[Flow]) -> None:
    result = apply(plan(desired, installed), installed)
    assert result == {flow.key: flow for flow in desired}


@given(tables, st.randoms())
def test_equal_sets_need_nothing(desired: list[Flow], random: object) -> None:
    shuffled = list(desired)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    changes = plan(desired, shuffled)
    assert not changes
    assert len(changes) == 0


@given(tables, tables)
def test_nothing_is_touched_without_need(desired: list[Flow], installed: list[Flow]) -> None:
    changes = plan(desired, installed)
    kinds = (changes.add, changes.modify, changes.delete)
    added, modified, deleted = ({flow.key for flow in kind} for kind in kinds)
    assert len(added) + len(modified) + len(deleted) == len(changes) == len(list(changes.all()))
    cookies = {flow.key: flow.cookie for flow in installed}
    wanted = {flow.key: flow.cookie for flow in desired}
    # Only what gets another cookie is touched twice.
    twice = {key for key in cookies.keys() & wanted.keys() if cookies[key] != wanted[key]}
    assert added & deleted == twice
    assert not modified & (added | deleted)
    assert not (added | modified | deleted) & {f.key for f in set(desired) & set(installed)}
    assert bool(changes) == (set(desired) != set(installed))


@given(flows, flows)
def test_counters_go_on_while_the_cookie_stays_and_only_then(one: Flow, other: Flow) -> None:
    desired = Flow(
        one.table, one.priority, one.match, other.cookie, other.actions, other.goto, other.meter
    )
    changes = plan([desired], [one])
    assert changes.delete == ([one] if one.cookie != other.cookie else [])
    assert changes.add == ([desired] if one.cookie != other.cookie else [])
    assert changes.modify == ([desired] if one.cookie == other.cookie and desired != one else [])


@given(st.none() | st.integers(1, 9), st.none() | st.integers(1, 9))
def test_another_timeout_is_another_flow(before: int | None, after: int | None) -> None:
    old, new = (Flow(0, 0, (), 1, hard_timeout=each or 0) for each in (before, after))
    assert bool(plan([new], [old])) == ((before or 0) != (after or 0))


PEERS = st.sampled_from([ENB, OTHER_ENB])


@st.composite
def step(draw: st.DrawFn) -> tuple[int, Session | None]:
    """One of four UEs, and the session that it has from then on."""
    slot = draw(st.integers(1, 4))
    if draw(st.booleans()) and draw(st.booleans()):
        return slot, None
    return slot, session(
        draw(st.integers(1, 2)) * 10 + slot,
        id=f"slot-{slot}",
        ue_ip=session(slot).ue_ip,
        uplink=Uplink(draw(st.integers(1, 2)) * 10 + slot, draw(st.none() | PEERS)),
        downlink=draw(st.none() | st.builds(FTeid, st.integers(1, 2), PEERS)),
    )


@given(st.lists(step(), max_size=20))
def test_incremental_equals_recomputed(changes: list[tuple[int, Session | None]]) -> None:
    """Session after session planned by itself leads to what one plan of all would."""
    sessions: dict[int, Session] = {}
    installed: dict[FlowKey, Flow] = {}
    for slot, after in changes:
        before = sessions.pop(slot, None)
        if after is not None:
            sessions[slot] = after
        old = () if before is None else session_flows(before, LINKS)
        new = () if after is None else session_flows(after, LINKS)
        installed = apply(plan(new, old), installed.values())
        desired = [flow for each in sessions.values() for flow in session_flows(each, LINKS)]
        assert installed == {flow.key: flow for flow in desired}
        assert not plan(desired, installed.values())
