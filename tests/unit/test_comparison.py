"""Flows compared as bytes: against a slow reference, and by what becomes of a damaged switch."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from eventlet.queue import LightQueue
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ofgtp.control.flows.comparison import Comparison
from ofgtp.core.errors import CodecError
from ofgtp.core.flows.flow import SESSION_NUMBER_MAX, CookieKind, Flow, FlowKey, make_cookie
from ofgtp.core.flows.pipeline import DOWNLINK, UPLINK, DropReason
from ofgtp.core.model import FlowValues, FTeid, Session, SessionState, Uplink
from ofgtp.core.rules.session import session_flows
from ofgtp.core.sessions.detail import Detail
from ofgtp.core.sessions.rule import Held, Refused, Rule, Source, ToCore, Tunnel
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel.requests import Requests
from ofgtp.southbound.prepared import Prepared
from ofgtp.store import SessionStore
from tests.support.agents import Net, contents, moved, quiet
from tests.support.flowtable import Entry, FlowTable, read_flow_mod
from tests.support.lab import gateway
from tests.support.sample import ALL_KINDS, ENB, LINKS, all_flows, session

PREPARED = Prepared(LINKS)
UNKNOWN_FIELD = b"\x80\x00\x1a\x02\x00\x50"
"""tcp_src=80: no rule asks for it."""
BASE = all_flows(gateway())
UE = (IPv4Network("10.45.0.2/32"),)


def entry(flow: Flow, **changes: Any) -> Entry:
    made = read_flow_mod(of.flow_mod(of.Command.ADD, flow, 1))[2]
    return replace(made, **changes)


def some_session(number: int, draw: random.Random) -> Session:
    """Each is one of the kinds; addresses and TEIDs follow from the number."""
    peer = draw.choice([None, ENB])
    far = draw.choice([None, FTeid(0x2000 + number, ENB)])
    return session(
        number,
        ue_ip=IPv4Address("10.45.0.1") + number,
        uplink=Uplink(0x1000 + number, peer),
        downlink=far,
        error_indicated=draw.random() < 0.3,
    )


DAMAGES: dict[str, Any] = {
    "missing": None,
    "cookie": lambda each, n: replace(each, cookie=make_cookie(CookieKind.SESSION, n)),
    "next cookie": lambda each, n: replace(each, cookie=each.cookie + 1),
    "base cookie": lambda each, n: replace(each, cookie=make_cookie(CookieKind.BASE)),
    "idle cookie": lambda each, n: replace(
        each, cookie=make_cookie(CookieKind.DROP, DropReason.IDLE_UE)
    ),
    "error cookie": lambda each, n: replace(
        each, cookie=make_cookie(CookieKind.DROP, DropReason.ERROR_INDICATED)
    ),
    "kind 5": lambda each, n: replace(each, cookie=each.cookie + (2 << 40)),
    "largest": lambda each, n: replace(
        each, cookie=make_cookie(CookieKind.SESSION, SESSION_NUMBER_MAX)
    ),
    "actions": lambda each, n: replace(
        each, instructions=struct.pack("!HHB3x", 1, 8, 40) if n % 2 else b""
    ),
    "more actions": lambda each, n: replace(
        each, instructions=each.instructions + struct.pack("!HHB3x", 1, 8, 41)
    ),
    "last byte": lambda each, n: (
        replace(
            each,
            instructions=each.instructions[:-1] + bytes([(each.instructions or b"\0")[-1] ^ 1]),
        )
        if each.instructions
        else replace(each, priority=3)
    ),
    "priority": lambda each, n: replace(each, priority=each.priority ^ 1),
    "table": lambda each, n: (
        replace(each, table=DOWNLINK.number ^ UPLINK.number ^ each.table)
        if each.table in (DOWNLINK.number, UPLINK.number)
        else replace(each, table=each.table + 1)
    ),
    "hard": lambda each, n: replace(each, hard=1 + n),
    "idle": lambda each, n: replace(each, idle=1 + n),
    "flags": lambda each, n: replace(each, flags=1),
    "importance": lambda each, n: replace(each, importance=9),
    "unknown field": lambda each, n: replace(each, fields=(*each.fields, UNKNOWN_FIELD)),
    "match": lambda each, n: (
        replace(
            each,
            fields=(*each.fields[:-1], each.fields[-1][:-1] + bytes([each.fields[-1][-1] ^ 1])),
        )
        if each.fields
        else replace(each, priority=4)
    ),
    "less match": lambda each, n: replace(each, fields=each.fields[:-1]),
}


def damage(have: list[Entry], kinds: list[tuple[str, int]]) -> list[Entry]:
    for kind, place in kinds:
        if not have:
            break
        place %= len(have)
        if kind == "missing":
            have.pop(place)
        elif kind == "twin":
            other = replace(have[place], priority=have[place].priority ^ 7)
            have.insert(place // 2, other)
        else:
            have[place] = DAMAGES[kind](have[place], place % 7)
    # A switch has no two flows of one key.
    return list({each.key: each for each in have}.values())


DAMAGE = st.lists(st.tuples(st.sampled_from([*DAMAGES, "twin"]), st.integers(0, 300)), max_size=8)


def parts(entries: list[Entry], size: int) -> Iterator[bytes]:
    for start in range(0, len(entries) or 1, size):
        yield b"".join(each.report() for each in entries[start : start + size])


@given(st.integers(0, 6), st.randoms(use_true_random=False), DAMAGE, st.integers(1, 9))
def test_what_differs_is_what_a_slow_comparison_finds(
    count: int, draw: random.Random, kinds: list[tuple[str, int]], size: int
) -> None:
    sessions = [some_session(n, draw) for n in range(1, count + 1)]
    flows = [flow for each in sessions for flow in session_flows(each, LINKS)]
    flows += draw.sample(BASE, 3)
    draw.shuffle(flows)
    have = damage([entry(flow) for flow in flows], kinds)

    found = Comparison(PREPARED, [FlowValues.of(each) for each in sessions])
    for part in parts(have, size):
        found.take(part)

    right: set[tuple[int, int]] = set()
    others = []
    whole = {(each.number, place): entry(flow) for each in sessions
             for place, flow in enumerate(session_flows(each, LINKS))}  # fmt: skip
    names = {wanted: name for name, wanted in whole.items()}
    for each in have:
        name = names.get(each)
        if name is None:
            others.append(each)
        else:
            right.add(name)
    assert found.reported == len(have)
    assert found.others == list(of.decode_flow_stats(b"".join(each.report() for each in others)))
    missing = {each.number for each in found.missing()}
    assert missing == {n for n in range(1, count + 1) if not {(n, 0), (n, 1)} & right}
    single = [entry(flow) for flow in found.missing_flows()]
    assert len(single) == len(set(single))
    assert set(single) == {
        wanted for name, wanted in whole.items() if name[0] not in missing and name not in right
    }
    for values in found.missing():
        [its] = [each for each in sessions if each.number == values.number]
        assert values == FlowValues.of(its)


MORE = {
    **ALL_KINDS,
    "of a control plane": replace(
        session(1, uplink=None, downlink=None),
        detail=Detail(
            slot=1,
            rules=(
                Rule("1", Source.CORE, 1, Tunnel(FTeid(9, ENB), 5), ue=UE, meters=(1,)),
                Rule("2", Source.ACCESS, 2, ToCore(), teid=0x8000_0001, ue=UE, qfis=(5,)),
                Rule("3", Source.CORE, 3, Held(), ue=UE),
                Rule("4", Source.ACCESS, 4, Refused(DropReason.GATE_CLOSED), teid=0x8000_0002),
            ),
            limits=((1, 1000),),
        ),
    ),
}


@pytest.mark.parametrize("kind", MORE)
def test_flows_of_sessions_that_are_more_than_tunnel_pairs(kind: str) -> None:
    """None of them is decoded if it is as it should be; one that is not, or is not there, is
    missing."""
    one = MORE[kind]
    flows = session_flows(one, LINKS)
    reports = [_as_reported(flow) for flow in flows]

    def compared(reports: list[bytes]) -> Comparison:
        found = Comparison(PREPARED, [], [one])
        for report in reports:
            found.take(report)
        return found

    found = compared(reports)
    assert (found.others, found.detailed_differ) == ([], False)
    assert list(found.missing_of([one])) == []
    for place, flow in enumerate(flows):
        rest = reports[:place] + reports[place + 1 :]
        assert list(compared(rest).missing_of([one])) == [flow]
        for at in range(len(reports[place])):
            if at < 2 or 3 <= at < 12 or 22 <= at < 24 or 32 <= at < 48:
                continue  # length and padding, how old it is, what it has counted
            wrong = bytearray(reports[place])
            wrong[at] ^= 0x40
            try:
                found = compared([*rest, bytes(wrong)])
            except CodecError:
                continue
            assert list(found.missing_of([one])) == [flow], at
            assert len(found.others) == 1, at
    assert tuple(compared([]).missing_of([one])) == flows
    assert tuple(Comparison(PREPARED, []).missing_of([one])) == flows, "stored meanwhile"


def _as_reported(flow: Flow) -> bytes:
    """As an entry of a flow-stats reply, with the fields of the match in the switch's order."""
    content = of.reported(flow)
    head = 48 + len(content), flow.table, 7, 8, flow.priority, 0, 0, 0, 0, flow.cookie, 3, 4
    return struct.pack("!HBxIIHHHHH2xQQQ", *head) + content


@pytest.mark.parametrize("kind", ["idle", "indicated"])
def test_a_drop_with_another_cookie(kind: str) -> None:
    one = session(1, downlink=None) if kind == "idle" else session(1, error_indicated=True)
    right = session_flows(one, LINKS)[1]
    cookies = [make_cookie(CookieKind.DROP, number) for number in [*DropReason, 0, 1]]
    for cookie in [*cookies, make_cookie(CookieKind.SESSION, one.number)]:
        found = Comparison(PREPARED, [FlowValues.of(one)])
        found.take(entry(right, cookie=cookie).report())
        assert (not found.others) == (cookie == right.cookie)
        assert bool(found.missing()) != (cookie == right.cookie)


def test_a_flow_of_another_session() -> None:
    """Its cookie names a session, its match another one: neither has it."""
    one, two = session(1), session(2)
    for flow, other in zip(session_flows(one, LINKS), session_flows(two, LINKS), strict=True):
        found = Comparison(PREPARED, [FlowValues.of(one), FlowValues.of(two)])
        found.take(entry(flow, cookie=other.cookie).report())
        assert len(found.others) == 1
        assert len(found.missing()) == 2


@pytest.mark.parametrize("number", [0, 3, SESSION_NUMBER_MAX])
def test_a_flow_of_no_session(number: int) -> None:
    [up, down] = session_flows(replace(session(3), number=number), LINKS)
    found = Comparison(PREPARED, [FlowValues.of(session(1))])
    found.take(entry(up).report() + entry(down).report())
    assert [each.cookie for each in found.others] == [up.cookie, down.cookie]


@given(st.integers(1, 400), st.integers(0, 3), st.integers(0, 0xFFFF) | st.integers(40, 200))
@example(1, 3, 0xFFFF)
def test_damaged_parts_are_refused(cut: int, place: int, size: int) -> None:
    """Cut anywhere, or with another length in an entry: CodecError or nothing that is right."""
    flows = [flow for n in (1, 2) for flow in session_flows(session(n), LINKS)]
    reports = [entry(flow).report() for flow in flows]
    whole = b"".join(reports)
    ends = {sum(map(len, reports[:n])) for n in range(5)}
    found = Comparison(PREPARED, [FlowValues.of(session(n)) for n in (1, 2)])
    short = whole[: -cut or None]
    if len(short) in ends:
        found.take(short)
    else:
        with pytest.raises(CodecError):
            found.take(short)
    wrong = bytearray(whole)
    at = sum(map(len, reports[:place]))
    if size != len(reports[place]):
        wrong[at : at + 2] = size.to_bytes(2, "big")
        found = Comparison(PREPARED, [FlowValues.of(session(n)) for n in (1, 2)])
        try:
            found.take(bytes(wrong))
        except CodecError:
            return
        assert found.others or found.missing()


# --- what becomes of a switch


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        store = SessionStore(Path(tmp_path_factory.mktemp("store")) / "sessions.db")
        made = Net(store)
        made.attach()
        yield made
        made.end()
        store.close()


def fill(net: Net, sessions: list[Session]) -> None:
    net.store.reset()
    with net.store.transaction() as tx:
        for each in sessions:
            indicated = each.error_indicated
            state = SessionState.ERROR_INDICATED if indicated else SessionState.ACTIVE
            tx.insert(each, state)


def check(net: Net) -> None:
    assert net.have() == net.wanted()
    assert net.tables["gw1"].open_bundles == 0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 12),
    st.randoms(use_true_random=False),
    DAMAGE,
    st.integers(1, 60),
    st.sampled_from([None, *MORE]),
)
def test_after_one_comparison_the_switch_has_what_is_wanted(
    net: Net,
    count: int,
    draw: random.Random,
    kinds: list[tuple[str, int]],
    size: int,
    more: str | None,
) -> None:
    """Whatever it had: flows with timeouts among it, which must be added anew."""
    table = net.tables["gw1"]
    besides = [] if more is None else [MORE[more]]
    fill(net, [some_session(n, draw) for n in range(2, count + 2)] + besides)
    table.part_entries = size
    flows = list(net.agents["gw1"].wanted())
    draw.shuffle(flows)
    have = damage([entry(flow) for flow in flows], kinds)
    table.flows = {each.key: each for each in have}
    commits = table.commits
    right = net.have() == net.wanted()
    unseen = any(each.flags or each.importance for each in have)
    net.compare()
    check(net)
    if not right:
        assert table.commits == commits + 1
    elif not unseen:
        assert table.commits == commits


def test_from_nothing_and_to_nothing(net: Net) -> None:
    fill(net, [some_session(n, random.Random(n)) for n in range(1, 450)])
    net.tables["gw1"].flows.clear()
    net.compare()
    check(net)
    fill(net, [])
    net.compare()
    check(net)


def test_sessions_that_swap_what_their_flows_are_known_by(net: Net) -> None:
    """Flows of one key with the cookie of another session: none is left over, none is missing."""
    fill(net, [session(1), session(2), session(3, downlink=None)])
    net.compare()
    addresses = [IPv4Address("10.45.0.3"), IPv4Address("10.45.0.4"), IPv4Address("10.45.0.2")]
    fill(
        net,
        [
            session(n, ue_ip=ip, uplink=Uplink(0x1001 + n % 3), downlink=far)
            for n, ip, far in zip(
                (1, 2, 3), addresses, (None, FTeid(7, ENB), FTeid(8, ENB)), strict=True
            )
        ],
    )
    net.compare()
    check(net)


def test_a_flow_reported_twice_is_not_deleted(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(net, [session(1), session(2, downlink=None)])
    net.compare()
    real = Requests.parts_of
    seen = []

    def twice(self: Requests, stream: LightQueue) -> Iterator[bytes]:
        for part in real(self, stream):
            seen.append(part)
            yield part + part

    monkeypatch.setattr(Requests, "parts_of", twice)
    net.compare()
    monkeypatch.undo()
    assert seen
    check(net)


def test_ports_that_change_while_flows_are_compared(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is called in sync was made for the ports that there are."""
    agent = net.agents["gw1"]
    fill(net, [session(1), session(2)])
    before = agent.links.facts
    assert before is not None
    real = Requests.parts_of
    changed = []

    def meanwhile(self: Requests, stream: LightQueue) -> Iterator[bytes]:
        yield from real(self, stream)
        if not changed:
            changed.append(True)
            agent._learn(moved(gtpu_ofport=33))

    monkeypatch.setattr(Requests, "parts_of", meanwhile)
    net.compare()
    monkeypatch.undo()
    try:
        assert changed
        check(net)
    finally:
        agent._learn(before)
        net.compare()


def test_a_next_hop_that_answers_while_flows_are_changed(net: Net) -> None:
    """It is not known to the flows that are on their way to the switch."""
    agent, table = net.agents["gw1"], net.tables["gw1"]
    fill(net, [session(1)])
    table.flows.clear()
    heard = []

    def meanwhile(kind: int) -> None:
        if kind == of.Type.BUNDLE_CONTROL and not heard:
            heard.append(True)
            agent.core_side.next_hop.mac = "52:54:00:00:00:77"

    table.before = meanwhile
    try:
        net.compare()
    finally:
        table.before = lambda kind: None
    assert heard
    check(net)


def test_foreign_flows_are_left_alone(net: Net) -> None:
    table = net.tables["gw1"]
    fill(net, [session(1)])
    strange = Entry(DOWNLINK.number, 3, (), 0xABCD, b"")
    table.flows[strange.key] = strange
    net.compare()
    assert table.flows.pop(strange.key) == strange
    check(net)


def test_refused_flows_are_named_and_their_sessions_failed(net: Net) -> None:
    """Both flows of a session come prepared: what is refused must still name the session."""
    table: FlowTable = net.tables["gw1"]
    fill(net, [session(n, downlink=None if n % 3 == 0 else FTeid(n, ENB)) for n in range(1, 30)])
    table.flows.clear()
    bad_ue = {session_flows(session(n), LINKS)[1].key for n in (3, 7)}
    bad = {entry(Flow(*key, cookie=0)).key for key in bad_ue}
    table.refuse = lambda command, each: b"\0\x05\0\x01" if each.key in bad else None
    try:
        net.compare()
    finally:
        table.refuse = lambda command, each: None
    with_them = net.wanted()
    lost = [net.store.get(f"ue-{n}") for n in (3, 7)]
    assert [each.state for each in lost if each] == [SessionState.FAILED] * 2
    assert [str(each.reason) for each in lost if each] == ["OFPET_FLOW_MOD_FAILED: TABLE_FULL"] * 2
    numbers = [each.session for each in lost if each]
    theirs = contents(flow for each in numbers for flow in session_flows(each, LINKS))
    assert net.have() == with_them - theirs
    assert sum(n for s, n in net.store.count().items() if s is SessionState.ACTIVE) == 27


def test_keys_are_told_apart() -> None:
    """The reference of these tests, not what is tested."""
    one, two = session_flows(session(1), LINKS)
    assert entry(one).key != entry(two).key
    assert isinstance(one.key, FlowKey)
    assert entry(one).report() == entry(one, flags=0).report() != entry(one, flags=1).report()
    [stats] = of.decode_flow_stats(entry(one).report())
    assert (stats.cookie, stats.match, stats.packets) == (one.cookie, one.match, 1234)
