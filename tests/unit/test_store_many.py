"""Many sessions at once in the store: as if they had been written one by one."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ofgtp.core.errors import Conflict
from ofgtp.core.model import BatchPut, FlowValues, FTeid, Session, SessionState, Uplink
from ofgtp.store import SessionStore
from ofgtp.store import sqlite as module
from ofgtp.store.transaction import Transaction
from tests.support.sample import ENB, session

ACTIVE, PENDING, FAILED = SessionState.ACTIVE, SessionState.PENDING, SessionState.FAILED
INDICATED = SessionState.ERROR_INDICATED


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SessionStore]:
    made = SessionStore(tmp_path / "sessions.db")
    yield made
    made.close()


def put(n: int, **changes: Any) -> BatchPut:
    return BatchPut(f"ue-{n}", None, 1000 + n, n, None, 100 + n, int(ENB))._replace(**changes)


def numbers(values: list[FlowValues] | None) -> list[int] | None:
    return None if values is None else [each.number for each in values]


def test_what_is_written_is_what_is_read(store: SessionStore) -> None:
    puts = [
        put(1),
        put(2, downlink_teid=None, downlink_ip=None),
        put(3, uplink_remote_ip=7, uplink_teid=0xFFFFFFFF, ue_ip=0xFFFFFFFF),
    ]
    with store.transaction() as tx:
        values = tx.insert_many("gw1", puts, ACTIVE)
    assert values == [
        FlowValues(1, 1001, 1, None, 101, int(ENB), False),
        FlowValues(2, 1002, 2, None, None, None, False),
        FlowValues(3, 0xFFFFFFFF, 0xFFFFFFFF, 7, 103, int(ENB), False),
    ]
    assert list(store.values("gw1")) == values
    assert list(store.values("gw2")) == []
    sessions = [
        Session(1, "ue-1", "gw1", IPv4Address(1001), Uplink(1), FTeid(101, ENB)),
        Session(2, "ue-2", "gw1", IPv4Address(1002), Uplink(2), None),
        Session(
            *(3, "ue-3", "gw1", IPv4Address(0xFFFFFFFF)),
            Uplink(0xFFFFFFFF, IPv4Address(7)),
            FTeid(103, ENB),
        ),
    ]
    assert list(store.iterate("gw1")) == sessions
    stored = store.get("ue-1")
    assert stored is not None
    assert (stored.state, stored.reason) == (ACTIVE, None)
    assert stored.created_at == stored.updated_at


def test_times_and_state_are_those_of_the_transaction(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "s.db", clock=lambda: 1_000.5)
    with store.transaction() as tx:
        tx.insert_many("gw1", [put(1)], PENDING)
        one = tx.insert(session(9))
    many, single = store.get("ue-1"), store.get("ue-9")
    assert many is not None
    assert single is not None
    assert (many.state, many.created_at, many.updated_at) == (
        single.state,
        single.created_at,
        single.updated_at,
    )
    assert (one.number, many.session.number) == (2, 1)
    store.close()


@pytest.mark.parametrize(
    "bad",
    [
        put(5, id="ue-0"),
        put(5, uplink_teid=100),
        put(5, ue_ip=900),
        put(5, downlink_teid=50),
        put(5, id="ue-1"),
        put(5, uplink_teid=1),
        put(5, ue_ip=1001),
        put(5, downlink_teid=101),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_conflict_anywhere_changes_nothing(
    store: SessionStore, bad: BatchPut, place: int
) -> None:
    """With what was there, and with another one of the same call."""
    old = put(0, uplink_teid=100, ue_ip=900, downlink_teid=50)
    with store.transaction() as tx:
        assert tx.insert_many("gw1", [old], ACTIVE)
        puts = [put(1), put(2)]
        puts.insert(place, bad)
        assert tx.insert_many("gw1", puts, ACTIVE) is None
        assert tx.get("ue-1") is None
        # The transaction goes on; another gateway has its own addresses.
        other = [put(7, uplink_teid=100, ue_ip=900, downlink_teid=50)]
        assert numbers(tx.insert_many("gw2", other, ACTIVE)) == [2]
        assert numbers(tx.insert_many("gw1", [put(1), put(2)], ACTIVE)) == [3, 4]
    assert [each.id for each in store.iterate("gw1")] == ["ue-0", "ue-1", "ue-2"]


def test_numbers_are_never_used_again(store: SessionStore) -> None:
    with store.transaction() as tx:
        assert numbers(tx.insert_many("gw1", [put(1), put(2)], ACTIVE)) == [1, 2]
        assert tx.insert(session(3)).number == 3
        assert numbers(tx.insert_many("gw1", [put(4)], ACTIVE)) == [4]
    with store.transaction() as tx:
        assert tx.delete_many(["ue-4", "ue-3"]) is not None
        assert numbers(tx.insert_many("gw1", [put(5)], ACTIVE)) == [5]
        tx.delete("ue-5")
        assert tx.insert(session(6)).number == 6
        tx.delete("ue-6")
        assert tx.delete_many(["ue-1", "ue-2"]) is not None
    with store.transaction() as tx:
        assert numbers(tx.insert_many("gw1", [put(7)], ACTIVE)) == [7]
        assert tx.insert_many("gw1", [put(8), put(9), put(7)], ACTIVE) is None
        assert tx.delete_many(["ue-7", "nobody"]) is None
        assert tx.insert(session(10)).number >= 8
    store.reset()
    with store.transaction() as tx:
        [after] = tx.insert_many("gw1", [put(1)], ACTIVE) or []
        assert after.number >= 9


def test_no_number_is_left(store: SessionStore) -> None:
    """Numbers have 40 bits, as cookies have room for."""
    with store.transaction() as tx:
        tx.insert_many("gw1", [put(1)], ACTIVE)
        tx._db.execute(f"UPDATE sqlite_sequence SET seq = {(1 << 40) - 3} WHERE name = 'sessions'")
        assert tx.insert_many("gw1", [put(2), put(3), put(4)], ACTIVE) is None
        assert numbers(tx.insert_many("gw1", [put(2), put(3)], ACTIVE)) == [
            (1 << 40) - 2,
            (1 << 40) - 1,
        ]
        assert tx.insert_many("gw1", [put(4)], ACTIVE) is None


def test_what_is_deleted_is_told(store: SessionStore) -> None:
    with store.transaction() as tx:
        tx.insert_many("gw1", [put(1, uplink_remote_ip=5), put(2)], ACTIVE)
        tx.insert_many("gw2", [put(3, downlink_teid=None, downlink_ip=None)], ACTIVE)
        tx.set_state([2], INDICATED, "told")
    before = {each.number: each for name in ("gw1", "gw2") for each in store.values(name)}
    assert before[2].error_indicated
    with store.transaction() as tx:
        told = tx.delete_many(["ue-3", "ue-1", "ue-2"])
    assert told is not None
    assert sorted(told) == [("gw1", before[1]), ("gw1", before[2]), ("gw2", before[3])]
    assert store.count() == dict.fromkeys(SessionState, 0)
    with store.transaction() as tx:
        assert tx.delete_many([]) == []


@pytest.mark.parametrize("ids", [["ue-9"], ["ue-1", "ue-9"], ["ue-9", "ue-1"], ["ue-1", "ue-1"]])
def test_one_that_is_not_there_leaves_all(store: SessionStore, ids: list[str]) -> None:
    with store.transaction() as tx:
        tx.insert_many("gw1", [put(1), put(2)], ACTIVE)
    with store.transaction() as tx:
        assert tx.delete_many(ids) is None
        assert tx.get("ue-1") is not None
        # What was not deleted has given no TEID back.
        assert tx._db.execute("SELECT count(*) FROM released").fetchone() == (0,)
        assert tx.delete_many(["ue-2"]) is not None
    assert [each.id for each in store.iterate("gw1")] == ["ue-1"]


def test_teids_given_back_are_not_allocated_soon(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "s.db", teids=range(1, 5))
    with store.transaction() as tx:
        tx.insert_many("gw1", [put(n) for n in (1, 2, 3)], ACTIVE)
    with store.transaction() as tx:
        assert tx.delete_many(["ue-2"]) is not None
        assert tx.delete_many(["ue-1"]) is not None
        assert tx.allocate_teid("gw1") == 4
        assert tx.allocate_teid("gw1") == 2, "the one that was given back longest ago"
        assert tx.allocate_teid("gw1") == 1
    store.close()


def test_states_of_a_range(store: SessionStore) -> None:
    with store.transaction() as tx:
        tx.insert_many("gw1", [put(n) for n in range(1, 7)], ACTIVE)
        tx.set_range_state(2, 4, PENDING)
        tx.set_range_state(6, 6, INDICATED)
        tx.set_range_state(9, 8, FAILED)
    found = [stored.state for n in range(1, 7) if (stored := store.get(f"ue-{n}"))]
    assert found == [ACTIVE, PENDING, PENDING, PENDING, ACTIVE, INDICATED]
    assert [bool(each.error_indicated) for each in store.values("gw1")] == [False] * 5 + [True]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7])
def test_values_come_in_chunks_and_in_order(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 3)
    with store.transaction() as tx:
        for n in range(1, count + 1):
            tx.insert_many("gw1", [put(n)], ACTIVE)
            tx.insert_many("gw2", [put(n, id=f"other-{n}")], ACTIVE)
    for name in ("gw1", "gw2"):
        values = list(store.values(name))
        assert values == [FlowValues.of(each) for each in store.iterate(name)]
        assert len(values) == count


def test_values_are_those_committed(store: SessionStore) -> None:
    with store.transaction() as tx:
        tx.insert_many("gw1", [put(1)], ACTIVE)
        assert list(store.values("gw1")) == []


def test_an_open_savepoint_is_none_of_the_transactions_end(store: SessionStore) -> None:
    """What is refused, and then rolled back, leaves nothing open."""
    with pytest.raises(KeyError), store.transaction() as tx:
        tx.insert_many("gw1", [put(1)], ACTIVE)
        tx.insert_many("gw1", [put(1)], ACTIVE)
        tx.delete_many(["nobody"])
        raise KeyError
    assert store.get("ue-1") is None
    with store.transaction() as tx:
        assert tx.insert_many("gw1", [put(1)], ACTIVE)
    assert store.get("ue-1") is not None


class Machine(RuleBasedStateMachine):
    """Against dictionaries: many at once, and one by one in between."""

    path: Path
    numbers = count()

    def __init__(self) -> None:
        super().__init__()
        self.store = SessionStore(self.path / f"{next(self.numbers)}.db")
        self.sessions: dict[str, FlowValues] = {}
        self.used: set[int] = set()
        self.context: Any = None
        self.tx: Transaction | None = None
        self.saved: dict[str, FlowValues] = {}
        self.new: set[int] = set()

    @precondition(lambda self: self.tx is None)
    @rule()
    def begin(self) -> None:
        self.context = self.store.transaction()
        self.tx = self.context.__enter__()
        self.saved, self.new = dict(self.sessions), set()

    @precondition(lambda self: self.tx is not None)
    @rule(keep=st.booleans())
    def end(self, keep: bool) -> None:
        self.tx = None
        if keep:
            self.context.__exit__(None, None, None)
            self.used |= self.new
        else:
            self.context.__exit__(KeyError, KeyError(), None)
            self.sessions = self.saved

    def conflicts(self, some: list[BatchPut]) -> bool:
        ids = [*self.sessions, *(each.id for each in some)]
        ues = [each.ue_ip for each in self.sessions.values()] + [each.ue_ip for each in some]
        teids = [each.teid for each in self.sessions.values()]
        teids += [each.uplink_teid or 0 for each in some]
        return any(len(set(each)) < len(each) for each in (ids, ues, teids))

    def took(self, session_id: str | None, values: FlowValues) -> None:
        assert values.number not in self.used | self.new
        self.new.add(values.number)
        self.sessions[str(session_id)] = values

    PUTS = st.lists(
        st.builds(
            lambda a, b, c: put(a, ue_ip=b, uplink_teid=c, downlink_teid=None, downlink_ip=None),
            *[st.integers(1, 9)] * 3,
        ),
        min_size=1,
        max_size=3,
    )

    @precondition(lambda self: self.tx is not None)
    @rule(some=PUTS)
    def insert_many(self, some: list[BatchPut]) -> None:
        assert self.tx is not None
        made = self.tx.insert_many("gw1", some, ACTIVE)
        assert (made is None) == self.conflicts(some)
        for each, values in zip(some, made or [], strict=False):
            self.took(each.id, values)

    @precondition(lambda self: self.tx is not None)
    @rule(some=PUTS)
    def insert(self, some: list[BatchPut]) -> None:
        assert self.tx is not None
        for each in some:
            one = Session(
                *(0, str(each.id), "gw1", IPv4Address(each.ue_ip)),
                Uplink(each.uplink_teid or 0),
                None,
            )
            try:
                made = self.tx.insert(one)
            except Conflict:
                assert self.conflicts([each])
            else:
                self.took(each.id, FlowValues.of(made))

    @precondition(lambda self: self.tx is not None)
    @rule(some=st.lists(st.integers(1, 9).map("ue-{}".format), max_size=3))
    def delete_many(self, some: list[str]) -> None:
        assert self.tx is not None
        gone = self.tx.delete_many(some)
        there = all(each in self.sessions for each in some) and len(set(some)) == len(some)
        assert (gone is not None) == there
        if gone is not None:
            assert sorted(gone) == sorted(("gw1", self.sessions.pop(each)) for each in some)

    @invariant()
    def same(self) -> None:
        committed = self.saved if self.tx is not None else self.sessions
        assert sorted(self.store.values("gw1")) == sorted(committed.values())

    def teardown(self) -> None:
        if self.tx is not None:
            self.end(keep=False)
        self.store.close()


def test_any_sequence(tmp_path: Path) -> None:
    Machine.path = tmp_path
    made: Any = Machine.TestCase()
    made.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
    made.runTest()
