"""What was cached of a session must not outlive a change of its rules, or of another's.

As in test_cache, this is reckoned from the flows. What changes a session: a PUT puts its rules for
what comes in tunnels into the other one of two tables, which ask for different bits; where a TEID
becomes another session's at one moment, or what UEs send to each other changes, the epoch does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

import pytest

from ofgtp.control.flows.change import Change
from ofgtp.control.sessions.detail import settled
from ofgtp.core.filters import PacketFilter
from ofgtp.core.flows.flow import CookieKind, cookie_kind, cookie_number
from ofgtp.core.flows.pipeline import (
    CONTAIN,
    ONWARD_FIT,
    OTHER_RULES,
    QFI,
    REFUSAL,
    RELAY_FIT,
    ROUTE,
    RULES,
    SHOWN,
    DropReason,
    Table,
)
from ofgtp.core.model import FTeid, Qos, Session, Uplink
from ofgtp.core.rules import terms
from ofgtp.core.rules.terms import RELAY_TABLES, WAY_TABLES
from ofgtp.core.sessions.detail import Bearer, Detail, Gate, Rates, Relay
from ofgtp.core.sessions.rule import Held, Refused, Rule, Source, ToCore, Tunnel
from ofgtp.southbound.prepared import Prepared
from tests.support.lab import gateway
from tests.support.sample import (
    ENB,
    FAR,
    LINKS,
    OTHER_ENB,
    all_flows,
    bearer,
    detailed,
    relay,
    session,
)
from tests.table.simulator import Switch
from tests.table.test_cache import ONE, OTHER, Way, ends, passes, with_ttl
from tests.table.world import E, S, gtpu, inner, inner_ipv6, made

UE = IPv4Address("10.45.0.2")
BREAKOUT = (IPv4Network("10.3.0.0/16"),)
UDP = "permit out udp from any to assigned"
UDP_ELSEWHERE = "permit out udp from 10.9.9.9 to assigned"
OWN = {"uplink": Uplink(0x4001)}


def ruled(*rules: Rule) -> Session:
    """As a control plane makes one."""
    return detailed(rules=rules, uplink=None, downlink=None, ue_ip=None)


def up(forward: Any, teid: int = 0x1001, **changes: Any) -> Rule:
    """A rule for what comes by a TEID from the UE."""
    ue = (IPv4Network(UE),)
    return Rule("1", Source.ACCESS, 100, forward, teid, **{"ue": ue, **changes})


STATES: dict[str, Session] = {
    "plain": session(),
    "plain, with a QFI": session(qos=Qos(9)),
    "plain, another QFI": session(qos=Qos(1, check=True)),
    "plain, pinned elsewhere": session(uplink=Uplink(0x1001, OTHER_ENB)),
    "emptied": detailed(),
    "rates": detailed(ambr=Rates(50_000, 100_000)),
    "rates and a QFI": detailed(ambr=Rates(50_000, 100_000), qos=Qos(9)),
    "open": detailed(bearers=[bearer("1", 10, UDP)]),
    "closed": detailed(bearers=[bearer("1", 10, UDP, gate=Gate.CLOSED)]),
    "closed to others": detailed(bearers=[bearer("1", 10, UDP_ELSEWHERE, gate=Gate.CLOSED)]),
    "rated": detailed(bearers=[bearer("1", 10, UDP, mbr=Rates(128, 128))]),
    "own tunnel": detailed(bearers=[bearer("1", 10, UDP, **OWN)]),
    "own tunnel, closed": detailed(bearers=[bearer("1", 10, UDP, **OWN, gate=Gate.CLOSED)]),
    "own tunnel for others": detailed(bearers=[bearer("1", 10, UDP_ELSEWHERE, **OWN)]),
    "own tunnel with a QFI": detailed(bearers=[bearer("1", 10, UDP, **OWN, qos=Qos(1))]),
    "framed": detailed(framed_routes=(IPv4Network("192.168.7.0/24"),)),
    "breakout": relay(ue_ip=UE, breakout=BREAKOUT),
    "breakout elsewhere": relay(ue_ip=UE, breakout=(IPv4Network("10.4.0.0/16"),)),
    "no breakout": relay(ue_ip=UE),
    "breakout, refused": relay(ue_ip=UE, breakout=BREAKOUT, error_indicated=True),
    "relay": relay(),
    "relay, idle": relay(downlink=None),
    "relay to elsewhere": relay(downlink=FTeid(0x2001, OTHER_ENB)),
    "relay from elsewhere": relay(
        relay=Relay(0x5001, FTeid(0x6001, OTHER_ENB)), uplink=Uplink(0x1001, ENB)
    ),
    "relay, refused": relay(error_indicated=True),
    "ruled": ruled(up(ToCore())),
    "ruled, held": ruled(up(Held(), ue=())),
    "ruled, closed": ruled(up(Refused(DropReason.GATE_CLOSED))),
    "ruled, a relay": ruled(up(Tunnel(FTeid(0x6001, FAR)), ue=())),
    "ruled, a relay with containers": ruled(up(Tunnel(FTeid(0x6001, FAR), 9), ue=())),
}

PACKETS = {
    f"{name} {flags}": gtpu(packet, teid, flags=flags)
    for teid, name, packet in (
        (0x1001, "out", inner()),
        (0x1001, "out, parsed anew", with_ttl(inner(), 128)),
        (0x1001, "to the breakout", inner(dst="10.3.0.1")),
        (0x1001, "IPv6", inner_ipv6()),
        (0x4001, "own tunnel", inner()),
        (0x5001, "from the core", inner("198.51.100.7", UE)),
    )
    for flags in (0, S, E, E | S)
}

# Others whose rules stand in both tables, so that these ask for what rules ask for.
BESIDE = [
    detailed(
        2 + way,
        way=way,
        bearers=[
            bearer("1", 1, "permit out tcp from 203.0.113.0/24 80 to assigned"),
            bearer("2", 2, PacketFilter(protocol=17, remote_ports=((53, 53),), dscp=46)),
        ],
    )
    for way in (1, 2)
]


class Step(NamedTuple):
    """Two states of a gateway's sessions, one after the other; `epoch` is the flows' then."""

    name: str
    before: tuple[Session, ...]
    after: tuple[Session, ...]
    epoch: int


@cache
def switch_of(sessions: tuple[Session, ...], epoch: int, **changes: Any) -> Switch:
    links = replace(LINKS, epoch=epoch, ue_to_ue=changes.get("ue_to_ue") == "route")
    return made(all_flows(gateway(**changes), *BESIDE, *sessions, links=links), links)


def step(name: str, before: Session | None, after: Session | None, ue_to_ue: str = "deny") -> Step:
    """A change, as it is carried out: see `Carrier.commit`."""
    was, is_now = (() if each is None else (each,) for each in (before, after))
    change = Change(Prepared(LINKS), None)
    change.alter(was, is_now)
    anew = change.epoch or (change.downlink and ue_to_ue == "route")
    return Step(name, was, is_now, OTHER if anew else ONE)


def in_way(one: Session, way: int) -> Session:
    return one if one.detail is None else replace(one, detail=replace(one.detail, way=way))


def put(before: Session, after: Session) -> Session:
    """What a PUT makes of a session: see `control/sessions/detail.py`."""
    if before.detail is not None:
        present = replace(after.detail or Detail(), slot=before.detail.slot)
        after = replace(after, detail=replace(present, way=before.detail.way))
    return settled(before, after)


def another(one: Session) -> Session:
    """A session with another number and slot and the same TEIDs."""
    detail = one.detail and replace(one.detail, slot=9)
    return replace(one, number=9, id="ue-9", detail=detail)


def steps() -> Iterator[Step]:
    """All that can happen to a session, whichever table its rules stand in."""
    for name, state in STATES.items():
        for way in (1, 2) if state.detail else (1,):
            before = in_way(state, way)
            yield step(f"{name} ({way}) is made", None, before)
            yield step(f"{name} ({way}) is deleted", before, None)
            for other, after in STATES.items():
                if after != state:
                    yield step(f"{name} ({way}) -> {other}", before, put(before, after))
                yield step(f"{name} ({way}) -> another {other}", before, another(after))


class Seen(NamedTuple):
    """What became of a packet."""

    ways: tuple[Way, ...]
    """Of each pass of the switch that may be cached with what came by the gtpu port."""
    effect: object
    """What can be told from outside: what left, what was shown or counted, what limited it."""


def done(way: Way) -> list[object]:
    """What packets of a way meet, without where it stands."""
    return [(flow.table, flow.actions, flow.goto, flow.meter) for flow in way.flows]


@cache
def seen(sessions: tuple[Session, ...], epoch: int, frame: bytes, **changes: Any) -> Seen:
    switch = switch_of(sessions, epoch, **changes)
    trace = switch.receive(LINKS.access, frame)
    ways = [Way(switch, passed) for passed in passes(trace)]
    shown = [cookie for cookie, _ in trace.reported]
    meters = [flow.meter for flow in trace.flows if flow.meter is not None]
    return Seen(tuple(ways), (trace.sent, shown, trace.drop_number, meters))


def unnoticed(each: Step, packets: dict[str, bytes]) -> Iterator[str]:
    """Packets that would go on in the way that they took before the step.

    Where a session has rules this counts as wrong even if it has no effect: the step after may
    build on it.
    """
    ruled = any(one.detail for one in (*each.before, *each.after))
    return _unnoticed(each, packets, strict=ruled)


def unnoticed_effects(each: Step, packets: dict[str, bytes], **changes: Any) -> Iterator[str]:
    """Only those for which it makes a difference."""
    return _unnoticed(each, packets, strict=False, **changes)


def _unnoticed(
    each: Step, packets: dict[str, bytes], *, strict: bool, **changes: Any
) -> Iterator[str]:
    for packet, frame in packets.items():
        old = seen(each.before, ONE, frame, **changes)
        new = seen(each.after, each.epoch, frame, **changes)
        pairs = zip(old.ways, new.ways, strict=False)
        first = next((pair for pair in pairs if done(pair[0]) != done(pair[1])), None)
        if first is not None and (strict or old.effect != new.effect) and not ends(*first):
            yield f"{each.name}: {packet}"


@pytest.fixture(scope="module")
def every_step() -> list[Step]:
    return list(steps())


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """What is cached here outlives no test: some change what the tables ask for."""
    yield
    switch_of.cache_clear()
    seen.cache_clear()


def all_unnoticed(every_step: list[Step]) -> list[str]:
    return [packet for each in every_step for packet in unnoticed(each, PACKETS)]


def test_every_change_of_a_session_is_noticed(every_step: list[Step]) -> None:
    assert len(every_step) > 2000
    wrong = all_unnoticed(every_step)
    assert not wrong, f"{len(wrong)}: {wrong[:5]}"


def test_the_packets_take_ways_of_all_kinds() -> None:
    """Else the test above would show nothing."""
    last, reasons = set(), set()
    for state in STATES.values():
        for way in (1, 2):
            for frame in PACKETS.values():
                ways, _ = seen((in_way(state, way),), ONE, frame)
                last.add(ways[-1].flows[-1].table)
                reasons.add(why_dropped(ways[-1]))
    refused = {DropReason.GATE_CLOSED, DropReason.ERROR_INDICATED, DropReason.IDLE_UE}
    refused |= {DropReason.WRONG_BEARER, DropReason.WRONG_QFI, DropReason.CONTAINER_MISSING}
    assert reasons >= {None, DropReason.NO_UPLINK_SESSION, DropReason.INNER_IPV6, *refused}
    tables = (RELAY_FIT, RULES, OTHER_RULES, QFI, ONWARD_FIT, ROUTE, CONTAIN, SHOWN)
    assert last >= {table.number for table in (*tables, REFUSAL)}


def why_dropped(way: Way) -> DropReason | None:
    cookie = way.flows[-1].cookie
    return DropReason(cookie_number(cookie)) if cookie_kind(cookie) is CookieKind.DROP else None


@pytest.mark.parametrize(
    "table", [*WAY_TABLES.values(), *RELAY_TABLES.values()], ids=lambda table: table.name
)
def test_a_table_that_asks_for_nothing_else_breaks_it(
    table: Table, every_step: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(terms.ASKED, table.number, {})
    assert any(True for each in every_step for _ in unnoticed(each, PACKETS))


def test_what_is_no_relays_must_ask_for_something_too(
    every_step: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(terms.NO_RELAY, "ct_label")
    assert any(True for each in every_step for _ in unnoticed(each, PACKETS))


def test_rules_must_change_tables() -> None:
    before = STATES["open"]
    stays = step("stays", before, STATES["closed"])
    moves = step("moves", before, put(before, STATES["closed"]))
    assert list(unnoticed(stays, PACKETS))
    assert not list(unnoticed(moves, PACKETS))


def test_a_teid_that_becomes_anothers_needs_another_epoch(every_step: list[Step]) -> None:
    anew = [each for each in every_step if each.epoch == OTHER]
    assert anew
    assert any(True for each in anew for _ in unnoticed(each._replace(epoch=ONE), PACKETS))


# --- what other sessions have to do with it

ROUTED = IPv4Network("192.168.7.0/24")
TO_OTHERS = {
    f"from {whose} to {target} {flags}": gtpu(inner(ue, target), teid, flags=flags)
    for whose, ue, teid in (("a plain one", UE, 0x1001), ("one with rules", "10.45.0.9", 0x1008))
    for target in ("10.45.0.3", "192.168.7.1")
    for flags in (0, E)
}
SENDERS = (session(), detailed(8, bearers=[bearer("1", 10, PacketFilter(protocol=6))]))


def target(*bearers: Bearer, **changes: Any) -> Session:
    """UE 10.45.0.3, to which the others send."""
    return detailed(2, bearers=bearers, **changes)


TARGETS = {
    "plain": session(2),
    "idle": session(2, downlink=None),
    "plain elsewhere": session(2, downlink=FTeid(0x2002, OTHER_ENB)),
    "plain, with a QFI": session(2, qos=Qos(9)),
    "emptied": target(),
    "emptied, idle": target(downlink=None),
    "rates": target(ambr=Rates(50_000, 100_000)),
    "open": target(bearer("1", 10, UDP)),
    "closed": target(bearer("1", 10, UDP, gate=Gate.CLOSED)),
    "closed to others": target(bearer("1", 10, UDP_ELSEWHERE, gate=Gate.CLOSED)),
    "another peer": target(
        bearer("1", 10, UDP, downlink=FTeid(0x4001, OTHER_ENB), shares_downlink=False)
    ),
    "another QFI": target(bearer("1", 10, UDP, qos=Qos(5))),
    "framed": target(framed_routes=(ROUTED,)),
    "framed, with a bearer": target(bearer("1", 10, UDP), framed_routes=(ROUTED,)),
}


def steps_of_targets(ue_to_ue: str) -> Iterator[Step]:
    for name, before in TARGETS.items():
        made_ = step(f"{name} is made", None, before, ue_to_ue)
        gone = step(f"{name} is deleted", before, None, ue_to_ue)
        changed = [
            step(f"{name} -> {other}", before, put(before, after), ue_to_ue)
            for other, after in TARGETS.items()
            if after != before
        ]
        for each in (made_, gone, *changed):
            was, is_now = (*SENDERS, *each.before), (*SENDERS, *each.after)
            yield each._replace(before=was, after=is_now)


@pytest.mark.parametrize("ue_to_ue", ["deny", "route"])
def test_a_change_of_another_session_is_noticed(ue_to_ue: str) -> None:
    """By packets from UE to UE, and to prefixes behind UEs."""
    every = list(steps_of_targets(ue_to_ue))
    wrong = [
        packet for each in every for packet in unnoticed_effects(each, TO_OTHERS, ue_to_ue=ue_to_ue)
    ]
    assert not wrong, f"{len(wrong)}: {wrong[:5]}"
