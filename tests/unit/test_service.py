"""What peers cause to happen to sessions, with a real store and gateways that only note it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import eventlet
import pytest
from eventlet.semaphore import Semaphore

from ofgtp.control.peers.end_markers import left_tunnels
from ofgtp.control.peers.moves import Moves
from ofgtp.control.report import merged
from ofgtp.control.sessions.service import SessionService
from ofgtp.core.errors import GatewayNotReady, StoreError
from ofgtp.core.model import BatchPut, FlowValues, FTeid, Session, SessionState, Uplink
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import NewSession
from ofgtp.southbound.channel import FlowsRefused
from ofgtp.store import SessionStore
from tests.support.lab import gateway
from tests.support.sample import ENB, FAR, OTHER_ENB, relay, session

ACTIVE, PENDING, FAILED = SessionState.ACTIVE, SessionState.PENDING, SessionState.FAILED
INDICATED = SessionState.ERROR_INDICATED

Changes = list[tuple[Session | None, Session | None]]


class Agent:
    """A gateway's agent as the service sees it; its switch confirms, is away, or refuses."""

    def __init__(self, name: str) -> None:
        self.gateway, self.signalling = gateway(name=name), SimpleNamespace(sessions=None)
        self.holding = SimpleNamespace(owners=None)
        self.sync = self.carrier = self.counting = self.news = self
        """All of its parts are this one."""
        self.confirms = True
        self.refuses: set[str] = set()
        self.flows: list[tuple[list[Session], list[Session]]] = []
        self.told: Changes = []
        self.peers: Counter[tuple[int | None, int | None]] = Counter()
        self.deleted: list[FlowValues] = []
        self.created: list[list[FlowValues]] = []
        self.forgot = 0
        self.meanwhile: Callable[[], Any] | None = None
        """What somebody else does while a caller waits for its turn."""

    def settle(self) -> None:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()

    def named(self, sessions: Iterable[Session]) -> None:
        pass

    def change(
        self, before: Sequence[Session], after: Sequence[Session], drop: Iterable[int] = ()
    ) -> bool:
        if self.refuses & {each.id for each in after}:
            raise FlowsRefused([(None, "table full")])
        self.flows.append((list(before), list(after)))
        return self.confirms

    def create(self, sessions: list[FlowValues]) -> bool:
        eventlet.sleep(0)  # others ask meanwhile
        if self.refuses & {f"ue-{each.teid - 0x1000}" for each in sessions}:
            raise FlowsRefused([(None, "table full")])
        self.created.append(sessions)
        return self.confirms

    @contextmanager
    def changing(self) -> Iterator[Any]:
        yield SimpleNamespace(active=True, delete=self.deleted.extend, prepare=lambda: None)

    def commit(self, change: Any) -> bool:
        return self.confirms

    def changed(
        self,
        pairs: Iterable[tuple[Session | None, Session | None]],
        peers: Mapping[tuple[int | None, int | None], int] = {},
    ) -> None:
        self.told += pairs
        self.peers.update(peers)

    def moved(self, moves: Moves, peers: Mapping[tuple[int | None, int | None], int]) -> None:
        self.peers.update(peers)

    def forget(self) -> None:
        self.forgot += 1

    def keyed_counts(self, numbers: Sequence[int]) -> Any:
        raise GatewayNotReady("it does not count")

    pairs = keyed_counts

    def moving(self, numbers: Iterable[int]) -> None:
        pass

    def keys_of(self, session: Session) -> None:
        return None


class World:
    def __init__(self, store: SessionStore) -> None:
        self.store, self.events = store, EventLog()
        self.agents = {name: Agent(name) for name in ("gw1", "gw2")}
        self.agent = self.agents["gw1"]
        agents: Any = self.agents.values()
        self.service = SessionService(store, agents, Semaphore(1), self.events)

    def have(self, *sessions: Session, state: SessionState = ACTIVE) -> list[Session]:
        with self.store.transaction() as tx:
            return [tx.insert(each, state) for each in sessions]

    def state(self, number: int) -> SessionState | None:
        stored = self.store.get(f"ue-{number}")
        return None if stored is None else stored.state

    def kinds(self) -> list[tuple[str, dict[str, str | int]]]:
        return [(event.kind, event.facts) for event in self.events.since(0)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = SessionStore(tmp_path / "sessions.db")
    yield World(store)
    store.close()


def tunnel(number: int = 1, ip: IPv4Address = ENB) -> FTeid:
    return FTeid(0x2000 + number, ip)


# --- Error Indications


@pytest.mark.parametrize("confirms", [True, False])
def test_the_downlink_of_indicated_tunnels_is_stopped(world: World, confirms: bool) -> None:
    one, two, _ = world.have(session(1), session(2), session(3))
    world.agent.confirms = confirms
    world.service.by_peers.error_indicated("gw1", [tunnel(1), tunnel(9), tunnel(2)])
    stopped = [replace(each, error_indicated=True) for each in (one, two)]
    assert world.agent.flows == [([one, two], stopped)]
    assert [world.state(n) for n in (1, 2, 3)] == [INDICATED, INDICATED, ACTIVE]
    stored = world.store.get("ue-1")
    assert stored is not None
    assert stored.session == stopped[0]
    assert "Error Indication" in str(stored.reason)
    facts = {"gateway": "gw1", "peer": str(ENB)}
    assert world.kinds() == [
        ("error_indicated", {**facts, "session": "ue-1", "teid": 0x2001}),
        ("error_indicated", {**facts, "session": "ue-2", "teid": 0x2002}),
    ]
    assert world.agents["gw2"].flows == []


def test_each_side_of_a_relay_is_stopped_alone(world: World) -> None:
    one, other, both = world.have(relay(1), relay(2), relay(3))
    core = FTeid(0x6002, FAR)
    world.service.by_peers.error_indicated("gw1", [tunnel(1), core, tunnel(3), FTeid(0x6003, FAR)])
    [(before, after)] = world.agent.flows
    assert before == [one, other, both]
    sides = [
        (each.error_indicated, each.detail.relay.error_indicated, each.detail.way)
        for each in after
        if each.detail is not None and each.detail.relay is not None
    ]
    # Both at once are one step: in the table where its rules were the switch would miss it.
    assert sides == [(True, False, 2), (False, True, 2), (True, True, 2)]
    said = "does not know the downlink TEID", "does not know core.remote_teid"
    for number, wanted in ((1, said[:1]), (2, said[1:]), (3, said)):
        stored = world.store.get(f"ue-{number}")
        assert stored is not None and stored.state is INDICATED
        assert stored.session == after[number - 1], "as it is read back"
        assert [each in str(stored.reason) for each in said] == [each in wanted for each in said]
    assert [(facts["peer"], facts["teid"]) for _, facts in world.kinds()] == [
        (str(ENB), 0x2001),
        (str(FAR), 0x6002),
        (str(ENB), 0x2003),
        (str(FAR), 0x6003),
    ]


def test_what_is_not_in_use_any_more_is_left_alone(world: World) -> None:
    world.have(session(1), session(2, gateway="gw2"))
    world.have(session(3), state=FAILED)
    world.have(session(4), state=INDICATED)
    asked = [tunnel(1, OTHER_ENB), tunnel(2), tunnel(3), tunnel(4)]
    world.service.by_peers.error_indicated("gw1", asked)
    assert [world.state(n) for n in (1, 2, 3, 4)] == [ACTIVE, ACTIVE, FAILED, INDICATED]
    assert (world.agent.flows, world.kinds()) == ([], [])


def test_a_tunnel_that_a_session_leaves_meanwhile_stops_nothing(world: World) -> None:
    [one] = world.have(session())

    def move() -> None:
        with world.store.transaction() as tx:
            tx.replace(replace(one, downlink=tunnel(7)), ACTIVE)

    world.agent.meanwhile = move
    world.service.by_peers.error_indicated("gw1", [tunnel(1)])
    assert (world.state(1), world.agent.flows, world.kinds()) == (ACTIVE, [], [])


def test_what_the_switch_refuses_is_not_stored(world: World) -> None:
    world.have(session(1), session(2))
    world.agent.refuses = {"ue-2"}
    with pytest.raises(FlowsRefused):
        world.service.by_peers.error_indicated("gw1", [tunnel(1), tunnel(2)])
    assert [world.state(n) for n in (1, 2)] == [ACTIVE, ACTIVE]
    assert world.kinds() == []


# --- a path that is down


def test_the_sessions_of_a_peer_that_is_down_are_removed(world: World) -> None:
    by_uplink = session(2, uplink=Uplink(2, ENB), downlink=None)
    one, two, _ = world.have(session(1), by_uplink, session(3, downlink=tunnel(3, OTHER_ENB)))
    [elsewhere] = world.have(session(4, gateway="gw2"))
    world.service.by_peers.path_down("gw1", ENB, remove=True)
    assert [world.state(n) for n in (1, 2, 3, 4)] == [None, None, ACTIVE, ACTIVE]
    assert world.agent.deleted == [FlowValues.of(one), FlowValues.of(two)]
    assert world.agent.peers == {(None, int(ENB)): -1, (int(ENB), None): -1}
    facts = {"gateway": "gw1", "peer": str(ENB), "deleted": 2}
    assert world.kinds()[-1] == ("sessions_removed", facts)
    assert elsewhere.id == "ue-4"


def test_more_sessions_than_one_page(world: World) -> None:
    many = [
        session(n, ue_ip=IPv4Address("10.45.0.1") + n, uplink=Uplink(n), downlink=FTeid(n, ENB))
        for n in range(1, 2_102)
    ]
    world.have(*many)
    world.service.by_peers.path_down("gw1", ENB, remove=True)
    assert sum(world.store.count("gw1").values()) == 0
    assert world.kinds()[-1][1]["deleted"] == 2_101


def test_a_session_that_somebody_else_deletes_meanwhile_does_not_save_the_others(
    world: World,
) -> None:
    world.have(session(1), session(2))

    def delete() -> None:
        with world.store.transaction() as tx:
            tx.delete("ue-1")

    world.agent.meanwhile = delete
    world.service.by_peers.path_down("gw1", ENB, remove=True)
    assert [world.state(n) for n in (1, 2)] == [None, None]
    assert world.kinds()[-1][1]["deleted"] == 1


def test_a_store_that_fails_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.have(session())

    def fail(**_: Any) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(world.store, "list", fail)
    with caplog.at_level(logging.ERROR):
        world.service.by_peers.path_down("gw1", ENB, remove=True)
    assert "disk full" in caplog.text
    assert world.state(1) is ACTIVE
    assert world.kinds()[-1][1]["deleted"] == 0


# --- new sessions that are asked for at the same time


def new(number: int, *, session_id: str = "", ue: int = 0) -> BatchPut:
    """A session like `session(number)`."""
    like = session(number)
    assert like.downlink is not None
    name, address = session_id or like.id, int(like.ue_ip) + ue
    far = (like.downlink.teid, int(like.downlink.ip))
    return BatchPut(name, "gw1", address, like.uplink.teid, None, *far)


def asked(world: World, *puts: BatchPut) -> list[NewSession | None]:
    """What comes of these, each asked for by a green thread of its own."""
    return [*eventlet.GreenPool().imap(world.service.put_new, puts)]


def states(made: list[NewSession | None]) -> list[SessionState | None]:
    return [each and each.state for each in made]


@pytest.mark.parametrize(("confirms", "state"), [(True, ACTIVE), (False, PENDING)])
def test_the_first_goes_alone_and_the_others_together(
    world: World, confirms: bool, state: SessionState
) -> None:
    world.agent.confirms = confirms
    made = asked(world, *map(new, range(1, 6)))
    assert states(made) == [state] * 5
    assert [len(each) for each in world.agent.created] == [1, 4]
    assert [world.state(n) for n in range(1, 6)] == [state] * 5
    assert world.agent.peers == {(None, int(ENB)): 5}
    facts = [{"gateway": "gw1", "session": f"ue-{n}", "state": state.value} for n in range(1, 6)]
    assert world.kinds() == [("session_created", each) for each in facts]
    for each in made:
        stored = world.store.get(str(each and each.put.id))
        assert stored is not None
        assert each is not None
        assert stored.created_at == stored.updated_at == each.at
        assert FlowValues.of(stored.session) in [v for some in world.agent.created for v in some]


@pytest.mark.parametrize(
    "odd",
    [
        new(9, session_id="ue-3"),  # is made meanwhile
        new(9, ue=-8),  # has the UE address of ue-1
        new(9)._replace(uplink_teid=session(1).uplink.teid),
        new(9)._replace(downlink_teid=0x2001),
    ],
)
def test_one_in_conflict_does_not_hold_up_the_others(world: World, odd: BatchPut) -> None:
    made = asked(world, new(1), new(2), new(3), odd, new(4))
    assert states(made) == [ACTIVE, ACTIVE, ACTIVE, None, ACTIVE]
    assert [len(each) for each in world.agent.created] == [1, 3]
    assert sum(world.store.count().values()) == 4
    assert len(world.kinds()) == 4


def test_what_is_not_admitted_is_for_others_to_judge(world: World) -> None:
    odd = [new(1)._replace(ue_ip=1), new(1)._replace(uplink_teid=None), new(1)._replace(id=None)]
    odd += [new(1)._replace(gateway=None), new(1)._replace(gateway="gw9")]  # there are two
    assert states(asked(world, *odd)) == [None] * 5
    assert world.agent.created == []


def test_new_sessions_that_the_switch_refuses(world: World) -> None:
    world.agent.refuses = {"ue-3"}
    assert states(asked(world, new(1), new(2), new(3), new(4))) == [ACTIVE, None, None, None]
    assert [world.state(n) for n in range(1, 5)] == [ACTIVE, None, None, None]
    assert world.agent.peers == {(None, int(ENB)): 1}
    # Each is asked for alone then, and only one is refused.
    assert states(asked(world, new(2))) == [ACTIVE]
    assert states(asked(world, new(4))) == [ACTIVE]


def test_a_store_that_does_not_keep_new_sessions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def failing() -> Iterator[Any]:
        with transaction() as tx:
            yield tx
            raise StoreError("disk full")

    transaction = world.store.transaction
    monkeypatch.setattr(world.store, "transaction", failing)
    with pytest.raises(StoreError, match="disk full"):
        asked(world, new(1))
    assert world.state(1) is None
    assert world.agent.forgot == 1
    assert world.kinds() == []
    assert not world.agent.peers
    monkeypatch.setattr(world.store, "transaction", transaction)
    assert states(asked(world, new(1))) == [ACTIVE]


def test_one_that_stops_waiting_is_not_made(world: World) -> None:
    with world.service._changes.turn():
        waiting = eventlet.spawn(world.service.put_new, new(1))
        eventlet.sleep(0)
        waiting.kill()
    assert states(asked(world, new(2))) == [ACTIVE]
    assert world.state(1) is None


# --- small parts of a gateway's agent

HERE, THERE = tunnel(1), tunnel(1, OTHER_ENB)


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        (HERE, THERE, HERE),
        (HERE, tunnel(2), HERE),
        (HERE, HERE, None),
        (HERE, None, None),
        (None, HERE, None),
        (None, None, None),
    ],
)
def test_left_tunnel(before: FTeid | None, after: FTeid | None, left: FTeid | None) -> None:
    one, other = session(downlink=before), session(downlink=after)
    expected = [] if left is None else [left]
    assert left_tunnels(one, other) == expected
    assert left_tunnels(replace(one, error_indicated=True), other) == []
    assert left_tunnels(one, replace(other, ue_ip=IPv4Address("10.45.9.9"))) == expected
    assert left_tunnels(None, other) == []
    assert left_tunnels(one, None) == []


def test_merged() -> None:
    assert merged({"a": 1, "b": 2}, {"b": 40, "c": 3}) == {"a": 1, "b": 42, "c": 3}
    assert merged({"a": 0}, {}) == merged({}, {"a": 0}) == {"a": 0}
