"""Batches against a reference that takes one line after the other, with switches that keep flows.

Everything is real but the switches: service, agents, channels, store.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofgtp.control import service as service_module
from ofgtp.core.errors import InvalidSession
from ofgtp.core.model import BatchPut, FTeid, Session, SessionState, Uplink
from ofgtp.core.rules import session_flows
from ofgtp.northbound.service import BatchError, BatchResult
from ofgtp.southbound import channel as channel_module
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel import FlowsRefused
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
        session_id = put.id or f"?{next(self._chosen)}"
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
            if agent._channel is not None and agent.synced:
                assert self.have(name) == self.wanted_without_failed(name)

    def wanted_without_failed(self, name: str) -> set[tuple[object, ...]]:
        lost = self.store.list(gateway=name, state=FAILED, limit=1000)[0]
        flows = (flow for each in lost for flow in session_flows(each.session, LINKS))
        keys = {each[:3] for each in contents(flows)}
        return {each for each in self.wanted(name) if each[:3] not in keys}

    def settle(self) -> None:
        """The switches are back, and have been compared."""
        self.attach_all()
        for name, agent in self.agents.items():
            assert agent.synced
            for each, state in self.reference.states.items():
                if self.reference.sessions[each].gateway == name:
                    # What is in sync is active; a failed session had its flows put in.
                    self.reference.states[each] = settled(state)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, World]]:
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        patch.setattr(channel_module, "_SEND_BYTES", 300)
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
    lambda session_id, name, ue_ip, teid, peer, far: BatchPut(
        session_id, name, ue_ip, teid, peer, *far
    ),
    mostly([*IDS, *IDS, None], ["bad id", ""]),
    mostly(["gw1", "gw1", "gw1", "gw2", None], ["gw9"]),
    mostly(GOOD_UES, BAD_UES),
    mostly([*TEIDS, *TEIDS, *TEIDS, None], [0, 1 << 32]),
    mostly([None, None, *PEERS], BAD_PEERS),
    mostly(FARS, [(5, BAD_PEERS[0]), (0, PEERS[0]), (5, BAD_PEERS[3])]),
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
        if not left[0] and agent._channel is not None:
            agent.detach(agent._channel)

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
    if not agent.connected and not errors:
        states = {
            stored.session.id: stored.state
            for stored in world.store.list(gateway="gw1", limit=1000)[0]
        }
        assert set(states.values()) <= {ACTIVE, PENDING, INDICATED, FAILED}
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
        world.service.error_indicated(name, tunnels)
        for each in before:
            stored = world.store.get(each.id)
            assert stored is not None
            for known, its in world.reference.sessions.items():
                alike = its.gateway == name and its.ue_ip == each.ue_ip
                if alike and stored.state is INDICATED:
                    world.reference.states[known] = INDICATED
                    world.reference.sessions[known] = replace(its, error_indicated=True)
    world.check()
