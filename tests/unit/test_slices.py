"""Comparisons in slices, as under load: they find and mend what one that reads all at once does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import eventlet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofgtp.control.flows import equalise, load, slices
from ofgtp.core.errors import CodecError
from ofgtp.core.flows.doubt import MANY, Doubt, nothing
from ofgtp.core.flows.flow import CookieKind, cookie_kind, make_cookie
from ofgtp.core.flows.pipeline import DOWNLINK, GUARD, REFUSAL, UPLINK, DropReason
from ofgtp.core.flows.reconcile import Plan, parted, portions
from ofgtp.core.model import FTeid, Session, Uplink
from ofgtp.core.rules.base import gateway_flows
from ofgtp.core.sessions.rules import meters_of
from ofgtp.southbound import openflow as of
from ofgtp.store import SessionStore
from tests.support.agents import Net, quiet
from tests.support.flowtable import Entry
from tests.support.lab import gateway
from tests.support.sample import ENB, LINKS, session
from tests.unit.test_comparison import DAMAGE, MORE, check, damage, entry, fill, some_session

GW = "gw1"
BEARS = load.Load.bears


@contextmanager
def made(folder: Path) -> Iterator[Net]:
    """All comparisons are in slices; these are small, and tables with few flows count as big."""
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        in_slices(patch)
        store = SessionStore(folder / "sessions.db")
        net = Net(store)
        net.attach()
        yield net
        net.end()
        store.close()


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with made(tmp_path) as net:
        yield net


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with made(tmp_path_factory.mktemp("store")) as net:
        yield net


def in_slices(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(load.Load, "bears", lambda self, seconds: False)
    patch.setattr(slices, "SLICE", 7)
    for module in (slices, equalise):
        patch.setattr(module, "FEW", 12)
    patch.setattr(slices, "SLICE_S", 0.0)
    patch.setattr(equalise, "SLICE_S", 0.0)
    patch.setattr(slices, "WALKED_S", 0.0)
    patch.setattr(equalise, "PORTION", 5)
    patch.setattr(equalise, "PORTION_S", 0.0)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 30),
    st.randoms(use_true_random=False),
    DAMAGE,
    st.integers(1, 60),
    st.sampled_from([None, *MORE]),
)
def test_after_one_comparison_the_switch_has_what_is_wanted(
    lasting: Net,
    count: int,
    draw: random.Random,
    kinds: list[tuple[str, int]],
    size: int,
    more: str | None,
) -> None:
    net = lasting
    table = net.tables[GW]
    besides = [] if more is None else [MORE[more]]
    fill(net, [some_session(n, draw) for n in range(2, count + 2)] + besides)
    table.part_entries = size
    flows = list(net.agents[GW].wanted())
    draw.shuffle(flows)
    have = damage([entry(flow) for flow in flows], kinds)
    table.flows = {each.key: each for each in have}
    right, commits = net.have() == net.wanted(), table.commits
    unseen = any(each.flags or each.importance for each in have)
    net.compare()
    check(net)
    assert right or table.commits > commits
    assert not right or unseen or table.commits == commits


def test_from_nothing_and_to_nothing(net: Net) -> None:
    fill(net, [some_session(n, random.Random(n)) for n in range(1, 120)])
    net.tables[GW].flows.clear()
    net.compare()
    check(net)
    fill(net, [])
    net.compare()
    check(net)


def plain(number: int, *, idle: bool = False) -> Session:
    return session(
        number,
        ue_ip=IPv4Address("10.45.0.1") + number,
        uplink=Uplink(0x1000 + number),
        downlink=None if idle else FTeid(0x2000 + number, ENB),
    )


def filled(net: Net, count: int = 30) -> None:
    """Some sessions, every third of them idle, in the switch; it is in sync."""
    fill(net, [plain(n, idle=n % 3 == 0) for n in range(1, count + 1)])
    net.compare()
    check(net)


class Asked:
    """What a switch is asked for."""

    def __init__(self, net: Net, work: Callable[[], None] | None = None) -> None:
        """`work` is done once some sessions have been asked for."""
        self._work = work
        self._table = net.tables[GW]
        self.cookies: list[int] = []
        self.walks: list[int] = []
        """Tables whose flows were asked for by a mask."""
        self._real = self._table._multipart

    def __enter__(self) -> Asked:
        self._table._multipart = self._multipart  # type: ignore[method-assign]
        return self

    def __exit__(self, *error: object) -> None:
        del self._table._multipart  # type: ignore[method-assign]

    def _multipart(self, xid: int, body: bytes) -> None:
        if body[:2] == b"\0\1":
            if body[32:40] == b"\xff" * 8:
                self.cookies.append(int.from_bytes(body[24:32], "big"))
                if self._work is not None and of_session(12) in self.cookies:
                    eventlet.spawn(self._work)
                    self._work = None
            else:
                self.walks.append(body[8])
        self._real(xid, body)


def of_session(number: int) -> int:
    return make_cookie(CookieKind.SESSION, number)


def told(net: Net, event: str, cookie: int, table: int = UPLINK.number) -> None:
    """The flow monitor's words."""
    net.agents[GW]._resync.flow_changed(of.FlowUpdate(event, table, cookie, timed_out=False))


def flows_of(net: Net, number: int) -> list[Entry]:
    table = net.tables[GW]
    return [each for each in table.flows.values() if each.cookie == of_session(number)]


# --- which flows are read


def test_big_tables_are_read_by_cookies_alone(net: Net) -> None:
    """As long as nothing is there besides."""
    filled(net)
    with Asked(net) as asked:
        net.compare()
    big = {UPLINK.number, DOWNLINK.number}
    assert not big & set(asked.walks)
    assert {of_session(n) for n in range(1, 31)} < set(asked.cookies)
    assert asked.cookies.count(of_session(1)) == 1


def test_what_is_left_of_a_session_that_is_no_more_is_found_without_a_walk(net: Net) -> None:
    filled(net)
    with net.store.transaction() as tx:
        tx.delete("ue-30")
        tx.delete("ue-29")
    with Asked(net) as asked:
        net.compare()
    check(net)
    assert of_session(29) in asked.cookies
    assert DOWNLINK.number not in asked.walks


def test_unknown_cookies_are_looked_for_by_a_walk_which_is_said(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    filled(net)
    [flow] = [each for each in flows_of(net, 1) if each.table == DOWNLINK.number]
    strange = replace(flow, priority=7, cookie=of_session(1 << 30))
    net.tables[GW].flows[strange.key] = strange
    with Asked(net) as asked:
        net.compare()
    check(net)
    assert asked.walks.count(DOWNLINK.number) == 1 and UPLINK.number not in asked.walks
    assert "unknown cookies" in caplog.text


def test_flows_that_are_not_ours_are_no_reason_to_walk(net: Net) -> None:
    filled(net)
    [flow] = [each for each in flows_of(net, 1) if each.table == DOWNLINK.number]
    other = replace(flow, priority=7, cookie=0x1234)
    net.tables[GW].flows[other.key] = other
    with Asked(net) as asked:
        net.compare()
    assert DOWNLINK.number not in asked.walks
    assert net.tables[GW].flows.pop(other.key) == other
    check(net)


def test_idle_sessions_are_read_by_their_addresses(net: Net) -> None:
    """One of these flows is missing, and there is one for an address that no session has."""
    filled(net, 60)
    table, ue = net.tables[GW], IPv4Address("10.45.0.7").packed
    downlink = (each for each in table.flows.values() if each.table == DOWNLINK.number)
    [gone] = [each for each in downlink if each.fields and each.fields[-1][-4:] == ue]
    del table.flows[gone.key]
    other = replace(gone, fields=(*gone.fields[:-1], gone.fields[-1][:-1] + b"\xfe"))
    table.flows[other.key] = other
    with Asked(net) as asked:
        net.compare()
    check(net)
    assert DOWNLINK.number not in asked.walks
    assert asked.cookies.count(make_cookie(CookieKind.DROP, DropReason.IDLE_UE)) > 3


def test_what_cookies_the_gateways_own_flows_have() -> None:
    """Where tables are big they are asked for by these."""
    known = set(slices.KNOWN)
    for lease in (None, 10):
        for flow in gateway_flows(gateway(), LINKS, (), lease):
            assert flow.cookie in known or flow.table == REFUSAL.number, flow


# --- what somebody changed


def test_the_sessions_that_somebody_touched_are_mended_without_reading_others(net: Net) -> None:
    filled(net)
    table = net.tables[GW]
    for each in flows_of(net, 4):
        del table.flows[each.key]
        told(net, "removed", each.cookie)
    [changed] = [each for each in flows_of(net, 5) if each.table == DOWNLINK.number]
    table.flows[changed.key] = replace(changed, instructions=b"")
    told(net, "modified", changed.cookie)
    with Asked(net) as asked:
        net.wait()
    check(net)
    sessions = {cookie for cookie in asked.cookies if cookie >> 40 & 0xFF == CookieKind.SESSION}
    assert sessions == {of_session(4), of_session(5)}
    assert set(asked.walks) <= {REFUSAL.number}


@pytest.mark.parametrize("event", ["added", "modified"])
def test_a_flow_that_took_anothers_place_is_found(net: Net, event: str) -> None:
    """The switch tells of the new cookie only."""
    filled(net)
    table = net.tables[GW]
    for each, cookie in zip(flows_of(net, 4), (of_session(5), of_session(999)), strict=True):
        table.flows[each.key] = replace(each, cookie=cookie)
        told(net, event, cookie)
    net.wait()
    check(net)


def test_what_a_stranger_put_in_a_sessions_place_is_replaced(net: Net) -> None:
    filled(net)
    [flow] = [each for each in flows_of(net, 4) if each.table == DOWNLINK.number]
    net.tables[GW].flows[flow.key] = replace(flow, cookie=0x1234, instructions=b"")
    told(net, "added", 0x1234)
    net.wait()
    check(net)


def test_flows_that_somebody_added_are_found_by_the_cookies_told(net: Net) -> None:
    filled(net)
    [flow] = [each for each in flows_of(net, 4) if each.table == DOWNLINK.number]
    strange = replace(flow, priority=7, cookie=of_session(1 << 30))
    net.tables[GW].flows[strange.key] = strange
    told(net, "added", strange.cookie)
    with Asked(net) as asked:
        net.wait()
    check(net)
    assert DOWNLINK.number not in asked.walks


def test_idle_sessions_flows_that_somebody_deleted(net: Net) -> None:
    filled(net)
    cookie = make_cookie(CookieKind.DROP, DropReason.IDLE_UE)
    table = net.tables[GW]
    table.flows = {key: each for key, each in table.flows.items() if each.cookie != cookie}
    told(net, "removed", cookie, DOWNLINK.number)
    net.wait()
    check(net)


@pytest.mark.parametrize(
    ("place", "harm", "another"),
    [
        (UPLINK.number, "removed", False),
        (UPLINK.number, "modified", True),
        (UPLINK.number, "added", True),
        (DOWNLINK.number, "removed", False),
        (DOWNLINK.number, "modified", False),
        (DOWNLINK.number, "added", False),
        (GUARD.number, "modified", True),
    ],
)
def test_another_epoch_only_if_packets_would_not_see_the_change(
    net: Net, place: int, harm: str, another: bool
) -> None:
    filled(net)
    table, links = net.tables[GW], net.agents[GW].links
    own = of_session(4) if place != GUARD.number else make_cookie(CookieKind.BASE)
    flow = next(e for e in table.flows.values() if (e.table, e.cookie) == (place, own))
    if harm == "removed":
        del table.flows[flow.key]
    elif harm == "modified":
        table.flows[flow.key] = replace(flow, instructions=flow.instructions + bytes(8))
    else:
        flow = replace(flow, priority=7, cookie=of_session(1 << 30))
        table.flows[flow.key] = flow
    before = links.epoch
    told(net, harm, flow.cookie, place)
    net.wait()
    check(net)
    assert (links.epoch != before) == another


def test_a_repair_that_ends_on_the_way_still_owes_the_epoch(net: Net) -> None:
    """All flows are right then, and packets under way may be cached by those that were wrong."""
    filled(net)
    table, links = net.tables[GW], net.agents[GW].links
    for key, each in list(table.flows.items()):
        if each.table == UPLINK.number and cookie_kind(each.cookie) is CookieKind.SESSION:
            table.flows[key] = replace(each, instructions=b"")
    before, commits = links.epoch, table.commits

    def gone(kind: int) -> None:
        if table.commits == commits + 6:
            net.detach()

    table.before = gone
    net.agents[GW].sync.resync_soon("a test")
    with eventlet.Timeout(60):
        while not table.channel.closed:
            eventlet.sleep(0)
    table.before = lambda kind: None
    assert table.commits == commits + 6
    net.attach()
    check(net)
    assert links.epoch != before
    assert table.commits == commits + 7, "what was mended was not mended again"


# --- sessions that change meanwhile


def test_only_what_changed_meanwhile_is_read_again(net: Net) -> None:
    """New, deleted, changed, to idle and from it: all are right in the end."""
    filled(net)
    done: list[Any] = []

    def work() -> None:
        with net.writer:
            agent = net.agents[GW]
            with net.store.transaction() as tx:
                pairs: list[tuple[Session | None, Session | None]] = []
                for number, now in {
                    1: None,
                    2: plain(2, idle=True),
                    3: plain(3),
                    4: replace(plain(4), downlink=FTeid(77, ENB)),
                    6: None,
                    9: replace(plain(9, idle=True), ue_ip=IPv4Address("10.45.0.200")),
                    31: plain(31),
                    32: replace(plain(32, idle=True), ue_ip=plain(6).ue_ip),
                }.items():
                    old = tx.get(f"ue-{number}")
                    if now is None:
                        tx.delete(f"ue-{number}")
                    elif old is None:
                        now = tx.insert(now)
                    else:
                        now = tx.replace(now)
                    pairs.append((None if old is None else old.session, now))
                done.append(
                    agent.carrier.change(
                        [each for each, _ in pairs if each], [each for _, each in pairs if each]
                    )
                )

    with Asked(net, work) as asked:
        net.compare()
    assert done == [False], "the switch was not told"
    check(net)
    again = [n for n in range(1, 33) if asked.cookies.count(of_session(n)) > 1]
    assert again == [n for n in again if n in (1, 2, 3, 4, 6, 9, 31, 32)] and 4 in again


def test_a_crowd_that_changes_meanwhile(net: Net) -> None:
    """Everything is read again, and it ends."""
    filled(net)

    def work() -> None:
        with net.writer:
            net.agents[GW].sync.forget()

    with Asked(net, work) as asked:
        net.compare()
    check(net)
    assert asked.cookies.count(of_session(20)) == 2


# --- meters


def test_meters_are_asked_for_by_their_numbers(net: Net) -> None:
    fill(net, [MORE["rates"]])
    net.compare()
    check(net)
    table = net.tables[GW]
    [stored] = list(net.store.iterate(GW, detailed=True))
    numbers = {meter.number for meter in meters_of(stored)}
    assert numbers <= set(table._meters)
    for number in numbers:
        table._meters[number] = table._meters[number][:-8] + bytes(8)
    right = {n: each for n, each in table._meters.items() if n not in numbers}
    net.compare()
    assert {n: each for n, each in table._meters.items() if n not in numbers} == right
    meters = of.decode_meters(b"".join(table._meters[n] for n in numbers)).values()
    rates = {(meter.number, meter.rate, meter.burst) for meter in meters if meter is not None}
    assert rates == {(meter.number, meter.rate, meter.burst) for meter in meters_of(stored)}


# --- the parts


def test_what_is_in_doubt() -> None:
    doubt = nothing()
    assert doubt.small
    doubt.told("removed", of_session(5))
    doubt.told("modified", make_cookie(CookieKind.BASE))
    doubt.changed([6], [7])
    assert (doubt.numbers, doubt.touched, doubt.addresses) == ({5, 6}, {5}, {7})
    assert doubt.small
    other = nothing()
    other.add(doubt)
    assert other == doubt
    doubt.told("removed", make_cookie(CookieKind.DROP, DropReason.IDLE_UE))
    assert doubt.everything and not doubt.small
    assert doubt.numbers == set()
    doubt = nothing()
    doubt.changed(range(MANY + 1), ())
    assert doubt == Doubt()
    doubt = nothing()
    doubt.told("added", 0x1234)
    assert doubt.everything and doubt.cookies == set()


def test_a_plan_in_portions() -> None:
    flows = [entry_flow(n) for n in range(10)]
    changed = [replace(each, cookie=5) for each in flows[:4]]
    whole = Plan(add=[*changed, flows[8]], modify=[flows[9]], delete=[*flows[:4], flows[7]])
    parts = list(portions(whole, 3))
    assert [len({f.key for f in each.all()}) for each in parts] == [3, 3, 1]
    for each in parts:
        assert {f.key for f in each.add} - {flows[8].key} <= {f.key for f in each.delete}
    together = Plan([f for p in parts for f in p.add], [f for p in parts for f in p.modify],
                    [f for p in parts for f in p.delete])  # fmt: skip
    for kind in ("add", "modify", "delete"):
        assert set(getattr(together, kind)) == set(getattr(whole, kind))
    own, rest = parted(whole, {flows[0].key, flows[9].key})
    assert own == Plan([changed[0]], [flows[9]], [flows[0]])
    assert len(own) + len(rest) == len(whole)


def entry_flow(number: int) -> Any:
    return UPLINK.flow(number + 1, (), cookie=7)


def test_a_load_is_known_by_the_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"access": 0, "core": 0}
    now = [100.0]
    monkeypatch.setattr(load.portcounts, "received", lambda gateway: dict(counts))
    monkeypatch.setattr(load.time, "monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(load.eventlet, "sleep", sleep)
    one = load.Load(gateway())
    assert BEARS(one, 60)
    now[0] += 1
    counts["core"] += 50_000
    assert not BEARS(one, 0.24)
    now[0] += 1
    counts["core"] += 50_000
    assert BEARS(one, 0.001), "so little that it does not matter"
    counts["access"] += 100
    counts["core"] += 50_000
    now[0] += 10
    assert BEARS(one, 0.24), "what was long ago does not count"
    now[0] += 1
    counts["access"] += 700
    assert BEARS(one, 0.24)


def test_tables_and_counts_are_decoded() -> None:
    body = bytes([30, 0, 0, 0]) + (7).to_bytes(4, "big") + bytes(16) + bytes([31]) + bytes(23)
    assert of.decode_tables(body) == {30: 7}
    assert of.decode_flow_count(bytes(16) + b"\0\0\1\0" + bytes(4)) == 256
    with pytest.raises(CodecError):
        of.decode_tables(body[:-1])
    with pytest.raises(CodecError):
        of.decode_flow_count(bytes(19))
