"""Batches against a reference that takes one line after the other, with switches that keep flows.

Everything is real but the switches: service, agents, channels, store.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Any

import eventlet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ofgtp.control.sessions import batch as batch_module
from ofgtp.control.sessions import service as service_module
from ofgtp.core.errors import InvalidSession, StoreError
from ofgtp.core.model import BatchPut, FlowValues, FTeid, Qos, Session, SessionState, Uplink
from ofgtp.core.rules.session import session_flows
from ofgtp.northbound.service import BatchError, BatchResult
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel import FlowsRefused
from ofgtp.southbound.channel import bundle as bundle_module
from ofgtp.store import SessionStore
from tests.support.agents import Net, contents, quiet
from tests.support.flowtable import TABLE_FULL, Entry
from tests.support.sample import LINKS

Op = BatchPut | str
ACTIVE, PENDING, FAILED = SessionState.ACTIVE, SessionState.PENDING, SessionState.FAILED
INDICATED = SessionState.ERROR_INDICATED
ALLOCATED = range(0x100000, 0x200000)
"""TEIDs that the store chooses from; those of the tests are smaller."""


def ip(text: str) -> int:
    return int(IPv4Address(text))


# --- the reference


class Refused(Exception):
    def __init__(self, loc: str) -> None:
        self.loc = loc


class Reference:
    """Sessions by id; a TEID or an id that is to be chosen is made of a letter and a number."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.sessions: dict[str, Session] = {}
        self.states: dict[str, SessionState] = {}
        self._chosen = count(1)

    def copy(self) -> Reference:
        other = Reference(self.net)
        other.sessions, other.states = dict(self.sessions), dict(self.states)
        other._chosen = self._chosen
        return other

    def batch(self, ops: list[Op]) -> tuple[BatchResult, list[tuple[int, str]]]:
        done: Counter[str] = Counter()
        errors = []
        for line, op in enumerate(ops, 1):
            try:
                done[self.delete(op) if isinstance(op, str) else self.put(op)] += 1
            except Refused as refused:
                errors.append((line, refused.loc))
        return BatchResult(done["created"], done["replaced"], done["deleted"]), errors

    def delete(self, session_id: str) -> str:
        if session_id not in self.sessions:
            raise Refused("id")
        del self.sessions[session_id]
        self.states.pop(session_id)
        return "deleted"

    def put(self, put: BatchPut) -> str:
        session_id = f"?{next(self._chosen)}" if put.id is None else put.id
        old = self.sessions.get(session_id)
        name = put.gateway or (old.gateway if old else None)
        agents = self.net.agents
        if name is None:
            if len(agents) > 1:
                raise Refused("gateway")
            name = next(iter(agents))
        if name not in agents or (old is not None and old.gateway != name):
            raise Refused("gateway")
        teid = put.uplink_teid
        if teid is None:
            teid = old.uplink.teid if old else -next(self._chosen)
        peer = None if put.uplink_remote_ip is None else IPv4Address(put.uplink_remote_ip)
        far = None
        if put.downlink_teid is not None and put.downlink_ip is not None:
            far = FTeid(put.downlink_teid, IPv4Address(put.downlink_ip))
        made = Session(0, session_id, name, IPv4Address(put.ue_ip), Uplink(teid, peer), far)
        judged = replace(made, uplink=Uplink(max(teid, 1) if teid < 0 else teid, peer))
        judged = replace(judged, id="x" if session_id.startswith("?") else session_id)
        try:
            agents[name].gateway.check_session(judged)
        except InvalidSession as error:
            raise Refused(error.loc) from None
        others = [
            each for each in self.sessions.values() if each.gateway == name and each.id != made.id
        ]
        for loc, value in (
            ("uplink.teid", lambda each: each.uplink.teid),
            ("ue_ip", lambda each: each.ue_ip),
            ("downlink", lambda each: each.downlink),
        ):
            if value(made) is not None and value(made) in map(value, others):
                raise Refused(loc)
        self.sessions[session_id] = made
        self.states[session_id] = PENDING
        return "created" if old is None else "replaced"


# --- the world


def settled(state: SessionState) -> SessionState:
    return ACTIVE if state is PENDING else state


class World(Net):
    """A net, and what it should be by the reference."""

    def __init__(self, store: SessionStore, gateways: int) -> None:
        super().__init__(store, gateways)
        self.attach_all()
        self.reference = Reference(self)

    def reset(self) -> None:
        for table in self.tables.values():
            table.refuse, table.refuse_commit = lambda command, entry: None, None
            table.before, table.mute = lambda kind: None, set()
        self.store.reset()
        self.attach_all()
        for name in self.agents:
            self.compare(name)
        self.reference = Reference(self)

    def stored(self) -> list[tuple[Any, ...]]:
        found = []
        for name in self.agents:
            for each in self.store.iterate(name):
                stored = self.store.get(each.id)
                assert stored is not None
                assert stored.session == each
                found.append(self._plain(each, stored.state))
        return sorted(found, key=repr)

    @staticmethod
    def _plain(each: Session, state: SessionState) -> tuple[Any, ...]:
        """Without number, and without what was chosen at random."""
        chosen_id = each.id.startswith(("?", "s-"))
        teid = each.uplink.teid
        chosen = teid < 0 or teid in ALLOCATED
        return (
            "" if chosen_id else each.id,
            *(each.gateway, each.ue_ip, None if chosen else teid, each.uplink.remote_ip),
            *(each.downlink, each.error_indicated, state),
        )

    def check(self) -> None:
        expected = [
            self._plain(each, self.reference.states[each.id])
            for each in self.reference.sessions.values()
        ]
        assert self.stored() == sorted(expected, key=repr)
        numbers = [each.number for name in self.agents for each in self.store.iterate(name)]
        assert len(numbers) == len(set(numbers))
        for name, agent in self.agents.items():
            told = {view.ip: view.sessions for view in agent.signalling.report()}
            assert told == self.store.peers(name)
            assert self.tables[name].open_bundles == 0
            if agent.sync.channel is not None and agent.synced:
                assert self.have(name) == self.wanted_without_failed(name)

    def wanted_without_failed(self, name: str) -> set[tuple[object, ...]]:
        lost = self.store.list(gateway=name, state=FAILED, limit=1000)[0]
        flows = (flow for each in lost for flow in session_flows(each.session, LINKS))
        keys = {each[:3] for each in contents(flows)}
        return {each for each in self.wanted(name) if each[:3] not in keys}

    def settle(self) -> None:
        """The switches are back, and have been compared: failed sessions are tried again."""
        away = [name for name, agent in self.agents.items() if not agent.connected]
        self.attach_all()
        for each, state in self.reference.states.items():
            name = self.reference.sessions[each].gateway
            if name in away and state is not INDICATED:
                self.reference.states[each] = ACTIVE


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, World]]:
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        patch.setattr(bundle_module, "_SEND_BYTES", 300)
        patch.setattr(service_module, "SLICE", 3)
        path = Path(tmp_path_factory.mktemp("store"))
        stores = {n: SessionStore(path / f"{n}.db", teids=ALLOCATED) for n in (1, 2)}
        made = {n: World(store, n) for n, store in stores.items()}
        yield made
        for n, world in made.items():
            world.end()
            stores[n].close()


# --- what is asked

GOOD_UES = [ip(f"10.45.0.{n}") for n in (2, 3, 4, 5)]
BAD_UES = [ip("10.44.0.1"), ip("10.1.0.1"), 0]
PEERS = [ip("10.1.0.2"), ip("10.1.0.3"), ip("10.9.0.9")]
BAD_PEERS = [ip("10.45.0.9"), ip("10.1.0.255"), ip("127.0.0.1"), ip("10.1.0.1"), 0]
TEIDS = [1, 2, 3, 0xFFFFFFFF]
IDS = ["a", "b", "c", "d"]
FARS = [(None, None), *((teid, peer) for teid in (5, 6) for peer in PEERS[:2])]


def mostly(good: list[Any], bad: list[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 40).flatmap(lambda n: st.sampled_from(bad if n == 40 else good))


PUT = st.builds(
    lambda session_id, name, ue_ip, teid, peer, far, qos: BatchPut(
        session_id, name, ue_ip, teid, peer, *far, qos
    ),
    mostly([*IDS, *IDS, None], ["bad id", ""]),
    mostly(["gw1", "gw1", "gw1", "gw2", None], ["gw9"]),
    mostly(GOOD_UES, BAD_UES),
    mostly([*TEIDS, *TEIDS, *TEIDS, None], [0, 1 << 32]),
    mostly([None, None, *PEERS], BAD_PEERS),
    mostly(FARS, [(5, BAD_PEERS[0]), (0, PEERS[0]), (5, BAD_PEERS[3])]),
    st.sampled_from([0, 0, Qos(9).number, Qos(10, rqi=True, required=False, check=True).number]),
)


@st.composite
def tidy(draw: st.DrawFn) -> list[Op]:
    """Lines of which most do what they say: slices of new sessions, then of the same deleted,
    then what uses their addresses again."""
    ops: list[Op] = []
    there: list[str] = []
    name = draw(st.sampled_from(["gw1", "gw1", "gw2"]))
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["new", "new", "delete", "replace", "choose"]))
        if kind == "delete":
            gone = draw(st.permutations(there))[: draw(st.integers(0, 4))] if there else []
            ops += gone
            there = [each for each in there if each not in gone]
        elif kind == "replace":
            for each in there[:2]:
                ops.append(_nth(draw, each, IDS.index(each), name))
        else:
            for place, each in enumerate(IDS):
                if each not in there and draw(st.booleans()):
                    made = _nth(draw, each, place, name)
                    ops.append(made if kind == "new" else made._replace(uplink_teid=None))
                    there.append(each)
    return ops


def _nth(draw: st.DrawFn, session_id: str, place: int, name: str) -> BatchPut:
    far = draw(st.sampled_from([(None, None), (5 + place, PEERS[0]), (5 + place, PEERS[1])]))
    peer = draw(st.sampled_from([None, *PEERS]))
    return BatchPut(session_id, name, GOOD_UES[place], TEIDS[place], peer, *far)


OPS = tidy() | st.lists(PUT | st.sampled_from([*IDS, *IDS, "e"]), max_size=12)

AWAY, REFUSES, REFUSES_COMMIT = "away", "refuses", "refuses commit"
GOES, FAILS, TOLD, BACK = "goes", "fails", "error indicated", "back"
TROUBLES = st.lists(
    st.sampled_from([None, None, None, AWAY, REFUSES, REFUSES_COMMIT, GOES, FAILS, TOLD]),
    min_size=3,
    max_size=3,
)


def ask(world: World, ops: list[Op], slice_: int) -> BatchResult:
    """Ask the service, with so many lines at once."""
    before = service_module.SLICE
    service_module.SLICE = slice_
    try:
        return world.service.batch(enumerate(ops, 1))
    finally:
        service_module.SLICE = before


def same(world: World, ops: list[Op], slice_: int) -> None:
    """Ask service and reference, and compare what they say and what there is then."""
    after = world.reference.copy()
    result, errors = after.batch(ops)
    if errors:
        with pytest.raises(BatchError) as caught:
            ask(world, ops, slice_)
        assert [(line, loc) for line, loc, _ in caught.value.errors] == errors
    else:
        assert ask(world, ops, slice_) == result
        world.reference = after
        for each, state in after.states.items():
            agent = world.agents[after.sessions[each].gateway]
            after.states[each] = settled(state) if agent.connected else state
    world.check()


@settings(max_examples=120, deadline=None)
@given(st.sampled_from([1, 2]), st.lists(OPS, min_size=1, max_size=3), TROUBLES, st.integers(1, 5))
def test_batches(
    worlds: dict[int, World], gateways: int, asked: list[list[Op]], troubles: list[Any], slice_: int
) -> None:
    world = worlds[gateways]
    world.reset()
    for ops, trouble in zip(asked, troubles, strict=False):
        table = world.tables["gw1"]
        if trouble == AWAY:
            world.detach()
            same(world, ops, slice_)
            world.settle()
            world.check()
        elif trouble in (REFUSES, REFUSES_COMMIT):
            refused(world, ops, slice_, at_commit=trouble == REFUSES_COMMIT)
        elif trouble == GOES:
            goes(world, ops, slice_)
        elif trouble == FAILS and world.reference.sessions:
            fails(world)
            same(world, ops, slice_)
        elif trouble == TOLD:
            error_indicated(world)
            same(world, ops, slice_)
        else:
            same(world, ops, slice_)
        assert table.open_bundles == 0
    assert gc.isenabled()


def refused(world: World, ops: list[Op], slice_: int, *, at_commit: bool) -> None:
    """The switch of gw1 refuses: then nothing is done anywhere, unless there is nothing to do."""
    table = world.tables["gw1"]
    said = table.commits
    _, errors = world.reference.copy().batch(ops)
    if at_commit:
        table.refuse_commit = TABLE_FULL
    else:
        table.refuse = lambda command, entry: TABLE_FULL
    messages = []
    table.before = messages.append
    try:
        ask(world, ops, slice_)
    except (BatchError, FlowsRefused) as error:
        assert isinstance(error, BatchError) == bool(errors)
    else:
        assert errors == []
        assert of.Type.BUNDLE_ADD not in messages, "nothing had to be done"
        table.refuse, table.refuse_commit = lambda command, entry: None, None
        world.reference.batch(ops)
        states = world.reference.states
        states.update({each: settled(state) for each, state in states.items()})
    finally:
        table.before = lambda kind: None
        table.refuse, table.refuse_commit = lambda command, entry: None, None
    if not at_commit:
        assert table.commits == said or of.Type.BUNDLE_ADD not in messages
    world.attach_all()
    world.check()


def goes(world: World, ops: list[Op], slice_: int) -> None:
    """The switch of gw1 goes away after some messages; what it did is not known."""
    table, agent = world.tables["gw1"], world.agents["gw1"]
    left = [len(ops)]

    def go(kind: int) -> None:
        left[0] -= 1
        if not left[0] and agent.sync.channel is not None:
            agent.detach(agent.sync.channel)

    after = world.reference.copy()
    result, errors = after.batch(ops)
    table.before = go
    try:
        assert ask(world, ops, slice_) == result
        world.reference = after
    except BatchError as error:
        assert [(line, loc) for line, loc, _ in error.errors] == errors
        assert errors
    else:
        assert not errors
    finally:
        table.before = lambda kind: None
    states = world.reference.states
    for each, its in world.reference.sessions.items():
        if its.gateway != "gw1" or agent.connected:
            states[each] = settled(states[each])
    world.settle()
    world.check()


def fails(world: World) -> None:
    """A session's flows are not in the switch: a comparison was refused them."""
    one = min(world.reference.sessions)
    stored = world.store.list(limit=1000)[0]
    session = next(
        each.session
        for each in stored
        if World._plain(each.session, ACTIVE)[1:]
        == World._plain(world.reference.sessions[one], ACTIVE)[1:]
        or each.session.id == one
    )
    table = world.tables[session.gateway]
    keys = {each[:3] for each in contents(session_flows(session, LINKS))}
    table.flows = {key: each for key, each in table.flows.items() if each.content[:3] not in keys}

    def refuse(command: int, entry: Entry) -> bytes | None:
        return TABLE_FULL if entry.key in keys else None

    table.refuse = refuse
    world.compare(session.gateway)
    table.refuse = lambda command, entry: None
    kept = world.reference.sessions.pop(one)
    world.reference.states.pop(one)
    world.reference.sessions[session.id] = replace(
        kept, id=session.id, uplink=session.uplink, error_indicated=False
    )
    world.reference.states[session.id] = FAILED
    world.check()


def error_indicated(world: World) -> None:
    for name in world.agents:
        tunnels = [FTeid(5, IPv4Address(peer)) for peer in PEERS[:2]]
        before = [each for each in world.store.iterate(name) if each.downlink in tunnels]
        world.service.by_peers.error_indicated(name, tunnels)
        for each in before:
            stored = world.store.get(each.id)
            assert stored is not None
            for known, its in world.reference.sessions.items():
                alike = its.gateway == name and its.ue_ip == each.ue_ip
                if alike and stored.state is INDICATED:
                    world.reference.states[known] = INDICATED
                    world.reference.sessions[known] = replace(its, error_indicated=True)
    world.check()


# --- one thing at a time


@pytest.fixture
def world(worlds: dict[int, World]) -> World:
    worlds[1].reset()
    return worlds[1]


@pytest.fixture
def two(worlds: dict[int, World]) -> World:
    worlds[2].reset()
    return worlds[2]


def put(place: int = 0, name: str | None = "gw1", **changes: Any) -> BatchPut:
    far = 5 + place, PEERS[0]
    made = BatchPut(f"ue-{place}", name, ip("10.45.0.2") + place, 1 + place, None, *far)
    return made._replace(**changes)


IDLE: dict[str, Any] = {"downlink_teid": None, "downlink_ip": None}
MANY = [put(n) for n in range(7)]
GONE: list[Op] = [f"ue-{n}" for n in range(7)]


@pytest.mark.parametrize("slice_", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize(
    "asked",
    [
        [[*MANY, *GONE]],
        [[*MANY, *GONE, *MANY]],
        [MANY, [*GONE, *MANY], GONE],
        [MANY, [*GONE, *(each._replace(id=f"x-{each.id}") for each in MANY)]],
        [MANY, [*GONE[:3], put(0, id="n"), put(1, id=None), put(2, id="m", uplink_teid=None)]],
        [MANY, [put(0, ue_ip=ip("10.45.0.99")), put(50, ue_ip=MANY[0].ue_ip)]],
        [MANY, [put(0, uplink_teid=99), put(50, uplink_teid=1), *GONE, "ue-50"]],
        [MANY, [put(0, **IDLE), put(1, uplink_remote_ip=PEERS[1]), put(2), "ue-2", put(2)]],
        [[put(n, **IDLE) for n in range(5)], [*GONE[:5], *(put(n, **IDLE) for n in range(5))]],
        [MANY, ["ue-0", put(0, **IDLE), "ue-0", put(0, uplink_teid=None), put(0)]],
        [[put(0, uplink_teid=None)], ["ue-0"]],
        [[put(0, uplink_teid=None), "ue-0", put(1, uplink_teid=None)]],
        [[put(0, uplink_teid=None), "ue-0", put(0), put(0, downlink_ip=PEERS[1]), "ue-0"]],
        [[put(n, downlink_ip=PEERS[n % 3], uplink_remote_ip=PEERS[n % 2]) for n in range(7)], GONE],
        # Wrong ones.
        [MANY, [put(8), put(9, ue_ip=MANY[0].ue_ip), put(10)]],
        [MANY, [put(8), put(8, id="again")]],
        [MANY, ["ue-0", "ue-0"], ["ue-1", "ue-77", "ue-2"]],
        [MANY, [put(8), put(9, ue_ip=0), "ue-99", put(10, name="gw9"), put(11, id="no good")]],
    ],
)
def test_sequences(world: World, asked: list[list[Op]], slice_: int) -> None:
    for ops in asked:
        same(world, ops, slice_)
        world.compare()
        world.check()


def test_sessions_of_two_gateways(two: World) -> None:
    both: list[Op] = [put(n, name=name, id=f"{name}-{n}") for n in range(4) for name in two.agents]
    for slice_ in (1, 3, 100):
        same(two, both, slice_)
        same(two, [put(1)], slice_)
        same(two, [each.id for each in both if isinstance(each, BatchPut) and each.id], slice_)
        same(two, ["ue-1", put(1, name="gw2"), "ue-1", put(1), put(1, name="gw2"), put(1)], slice_)
        same(two, ["ue-1", put(1, name="gw2"), "ue-1", put(1), put(2), "ue-1", "ue-2"], slice_)
        same(two, [put(3, name=None), put(4, name="gw2")], slice_)
    for name in two.agents:
        assert two.tables[name].commits


@pytest.mark.parametrize("first", ["gw1", "gw2"])
def test_new_sessions_of_two_gateways_in_one_slice(two: World, first: str) -> None:
    other = "gw2" if first == "gw1" else "gw1"
    same(two, [put(0, name=first), put(1, name=other), put(2, name=first)], 3)


@pytest.mark.parametrize("ops", [[put(0)], [put(0, uplink_teid=None)], ["old"], ["old", put(0)]])
def test_where_ues_reach_each_other_each_change_begins_an_epoch(two: World, ops: list[Op]) -> None:
    """Packets between UEs are cached by the downlink flows; on the other gateway they are not."""
    same(two, [put(5, name="gw2", id="old")], 2)
    before = {name: agent.links.epoch for name, agent in two.agents.items()}
    same(two, [op if isinstance(op, str) else op._replace(gateway="gw2") for op in ops], 2)
    assert two.agents["gw2"].links.epoch != before["gw2"]
    assert two.agents["gw1"].links.epoch == before["gw1"]


@pytest.mark.parametrize("ops", [[put(0)], [put(0, uplink_teid=None)], ["old"], []])
def test_what_an_absent_switch_has_missed_is_noted(two: World, ops: list[Op]) -> None:
    """A comparison under way has read the store before; the other gateway's goes on."""
    two.service.batch([(1, put(5, id="old"))])
    before = {name: agent.sync.generation for name, agent in two.agents.items()}
    for name in two.agents:
        two.detach(name)
    two.service.batch(enumerate(ops, 1))
    assert (two.agents["gw1"].sync.generation > before["gw1"]) == bool(ops)
    assert two.agents["gw2"].sync.generation == before["gw2"]


@pytest.mark.parametrize("slice_", [1, 2])
def test_a_failed_session_leaves_no_flow_for_the_next(world: World, slice_: int) -> None:
    """What is deleted was not in the switch, so nothing of it serves the one that comes."""
    same(world, [put(0, **IDLE), put(1, **IDLE)], 5)
    fails(world)
    gone = next(each for each, state in world.reference.states.items() if state is FAILED)
    same(world, [gone, put(0, id="new", **IDLE)], slice_)
    world.compare()
    world.check()


def test_an_idle_session_that_takes_a_failed_ones_place_among_others(world: World) -> None:
    same(world, [put(0, **IDLE), put(1)], 5)
    fails(world)
    same(world, [put(0, id="ue-9", ue_ip=ip("10.45.0.50"), uplink_teid=50, downlink_teid=50)], 5)
    failed = next(each for each, state in world.reference.states.items() if state is FAILED)
    same(world, [failed, put(0, id="new", **IDLE), "ue-9"], 100)


@pytest.mark.parametrize("op", [put(0), "ue-0", put(3), "ue-9"])
def test_the_quick_way_is_taken_when_nothing_is_special(
    world: World, monkeypatch: pytest.MonkeyPatch, op: Op
) -> None:
    """One line of a slice that is special has all its lines taken one by one, and no others."""
    same(world, [put(0), put(1), put(2)], 3)
    taken = []
    real = batch_module.Batch._one

    def one(self: batch_module.Batch, line: int, its: Op) -> None:
        taken.append(line)
        real(self, line, its)

    monkeypatch.setattr(batch_module.Batch, "_one", one)
    ops: list[Op] = [
        *(put(n) for n in range(10, 16)),
        op,
        put(20),
        *(put(n) for n in range(30, 32)),
    ]
    try:
        ask(world, ops, 2)
    except BatchError as error:
        assert op == "ue-9"
        assert [line for line, _, _ in error.errors] == [7]
        assert taken == [7, 8, 9, 10]
    else:
        assert taken == ([] if op == put(3) else [7, 8])


def test_errors_are_told_up_to_a_number(world: World) -> None:
    ops: list[Op] = [put(n, ue_ip=0) for n in range(batch_module.ERRORS + 50)]
    with pytest.raises(BatchError) as caught:
        ask(world, ops, 7)
    lines = [line for line, _, _ in caught.value.errors]
    assert lines == list(range(1, batch_module.ERRORS + 1))
    world.check()


def test_the_peers_are_named_before_the_switch_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each pair in what is put together; their MAC addresses are asked for by then."""
    named: list[set[IPv4Address]] = []
    agent = world.agents["gw1"]
    monkeypatch.setattr(agent.news, "named", lambda peers: named.append(set(peers)))
    ops: list[Op] = [put(n, downlink_ip=PEERS[n % 2], uplink_remote_ip=PEERS[2]) for n in range(6)]
    ask(world, [*ops, *[put(n, **IDLE) for n in range(10, 12)]], 4)
    first, second, third = map(IPv4Address, PEERS)
    assert sorted(named, key=sorted) == [set(), {first, third}, {second, third}]
    named.clear()
    ask(world, [f"ue-{n}" for n in range(6)], 4)
    assert named == []


def raising(world: World, then: Callable[[], None]) -> Iterator[tuple[int, Op]]:
    yield from enumerate(MANY[:4], 1)
    then()


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_again_after_a_batch_that_raises(world: World, enabled: bool) -> None:
    seen = []

    def fail() -> None:
        seen.append(gc.isenabled())
        raise KeyError("from reading the lines")

    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(KeyError):
            world.service.batch(raising(world, fail))
        assert gc.isenabled() == enabled
        with pytest.raises(BatchError):
            ask(world, ["nobody"], 1)
        assert gc.isenabled() == enabled
        ask(world, [put(1)], 1)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()
    assert seen == [False]


def test_what_reading_the_lines_raises_leaves_nothing(world: World) -> None:
    table = world.tables["gw1"]

    def fail() -> None:
        raise KeyError("line")

    with pytest.raises(KeyError):
        world.service.batch(raising(world, fail))
    world.check()
    assert world.store.get("ue-0") is None
    same(world, MANY, 3)
    assert table.discards >= 1


def test_a_store_that_does_not_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch has it already; a comparison takes it out again."""
    same(world, MANY[:2], 3)
    real = world.store.transaction

    def failing() -> Any:
        monkeypatch.setattr(world.store, "transaction", real)
        transaction = real()

        class Fails:
            def __enter__(self) -> Any:
                return transaction.__enter__()

            def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
                error = StoreError("disk full")
                transaction.__exit__(StoreError, error, None)
                raise error

        return Fails()

    monkeypatch.setattr(world.store, "transaction", failing)
    with pytest.raises(StoreError, match="disk full"):
        ask(world, MANY[2:], 3)
    assert not world.agents["gw1"].synced
    world.wait()
    world.check()


def test_a_second_switch_that_refuses(two: World) -> None:
    """The first has done it by then: it is compared, and nothing is stored."""
    two.tables["gw2"].refuse_commit = TABLE_FULL
    ops: list[Op] = [put(0), put(1), put(2, name="gw2"), put(3, name="gw2")]
    with pytest.raises(FlowsRefused):
        ask(two, ops, 2)
    two.tables["gw2"].refuse_commit = None
    assert two.tables["gw1"].commits
    assert not two.agents["gw1"].synced
    two.attach_all()
    two.check()
    assert two.stored() == []


def test_a_second_switch_that_refuses_before_any_is_told_to_do_it(two: World) -> None:
    commits = two.tables["gw1"].commits
    two.tables["gw2"].refuse = lambda command, entry: TABLE_FULL
    with pytest.raises(FlowsRefused) as caught:
        ask(two, [put(0), put(1), put(2, name="gw2"), put(3, name="gw2")], 2)
    assert len(caught.value.refused) == 4
    assert two.tables["gw1"].commits == commits
    assert two.agents["gw1"].synced
    assert two.stored() == []
    two.tables["gw2"].refuse = lambda command, entry: None
    two.check()


def test_refused_flows_of_a_batch_are_named(world: World) -> None:
    wanted = session_flows(
        Session(0, "", "", IPv4Address("10.45.0.5"), Uplink(4), FTeid(8, IPv4Address(PEERS[0]))),
        LINKS,
    )
    keys = {each[:3] for each in contents(wanted)}
    world.tables["gw1"].refuse = lambda command, entry: TABLE_FULL if entry.key in keys else None
    for slice_ in (1, 3, 100):
        with pytest.raises(FlowsRefused) as caught:
            ask(world, MANY, slice_)
        assert [flow.key for flow, _ in caught.value.refused if flow] == [f.key for f in wanted]
    world.tables["gw1"].refuse = lambda command, entry: None
    world.check()


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_switch_that_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Neither before the commit nor after: the sessions are stored, and wait."""
    same(world, MANY[:kept], 3)
    table = world.tables["gw1"]
    real = eventlet.Timeout
    monkeypatch.setattr(eventlet, "Timeout", lambda seconds, error: real(0.01, error))
    table.mute = {of.Type.BARRIER_REQUEST}
    result = ask(world, [*MANY[kept:], put(20, uplink_teid=None)], 3)
    assert result.created == 8 - kept
    assert not world.agents["gw1"].synced
    assert world.store.count()[PENDING] == 8 - kept
    monkeypatch.undo()
    table.mute = set()
    quiet(monkeypatch)
    world.wait()
    assert world.store.count()[ACTIVE] == 8
    assert world.have() == world.wanted()
    assert world.agents["gw1"].sync.generation


def test_numbers_of_sessions_are_those_in_the_cookies(world: World) -> None:
    ask(world, MANY, 3)
    values = list(world.store.values("gw1"))
    assert values == [FlowValues.of(each) for each in world.store.iterate("gw1")]
    cookies = {each.cookie & 0xFFFFFFFFFF for each in world.tables["gw1"].flows.values()
               if each.cookie >> 40 & 0xFF == 3}  # fmt: skip
    assert cookies == {each.number for each in values}


@given(st.lists(st.integers(0, 6), max_size=8))
@example([0, 0])
def test_flow_mods_are_counted(worlds: dict[int, World], places: list[int]) -> None:
    """By what is carried out, in batches as elsewhere."""
    world = worlds[1]
    world.reset()
    tally = world.agents["gw1"].tally.flow_mods
    before = Counter(tally)
    ask(world, [put(n) for n in dict.fromkeys(places)], 2)
    assert tally["add"] - before["add"] == 2 * len(set(places))
    ask(world, [f"ue-{n}" for n in dict.fromkeys(places)], 2)
    assert tally["delete"] - before["delete"] == 2 * len(set(places))
