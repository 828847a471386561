"""What the store keeps of control planes: their sessions, associations, and our time stamp."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given

from ofgtp.core.errors import Conflict
from ofgtp.core.model import FTeid, Session
from ofgtp.core.pfcp import stored
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.wire import grouped
from ofgtp.core.pfcp.wire.enums import Gate
from ofgtp.core.pfcp.wire.values import FSeid, GateStatus
from ofgtp.core.sessions.detail import Detail, Owner
from ofgtp.core.sessions.rule import LOWEST_PRECEDENCE, Rule, Source, ToCore, Tunnel
from ofgtp.core.sessions.rules import all_teids
from ofgtp.store import SessionStore
from ofgtp.store.pfcp import ANSWERS_KEPT, ANSWERS_S, Made, Owned
from ofgtp.store.sqlite import FORGET_EVERY
from tests.support.pfcp import groups
from tests.support.sample import ENB

SMF = IPv4Address("10.3.0.5")
OWNER = Owner(str(SMF), 2**64 - 1, 2**63 - 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SessionStore]:
    store = SessionStore(path)
    yield store
    store.close()


def session(name: str = "pfcp-1", *, teids: tuple[int, ...] = (9,)) -> Session:
    rule = Rule("1", Source.ACCESS, LOWEST_PRECEDENCE, ToCore(), teid=8)
    detail = Detail(rules=(rule,), teids=teids, owner=OWNER)
    return Session(0, name, "gw1", IPv4Address("10.45.0.2"), None, None, detail=detail)


def made(number: int, up_seid: int = OWNER.up_seid, node_id: str = str(SMF)) -> Made:
    return Made(number, up_seid, node_id, OWNER.cp_seid, str(SMF), b"\x00\xff")


def put(store: SessionStore) -> Session:
    with store.transaction() as tx:
        new = tx.insert(session())
        tx.put_pfcp("gw1", made(new.number))
        tx.put_association("gw1", str(SMF), {"node_id": str(SMF)})
    return new


def test_it_comes_back(store: SessionStore, path: Path) -> None:
    new = put(store)
    store.close()
    again = SessionStore(path)
    assert again.pfcp_session("gw1", OWNER.up_seid) == ("pfcp-1", made(new.number))
    assert again.pfcp_session("gw2", OWNER.up_seid) is None
    assert again.pfcp_session("gw1", 2**64 - 1) is None
    found = again.get("pfcp-1")
    assert found is not None
    assert found.session == new
    assert again.pfcp_sessions_of("gw1", str(SMF)) == [Owned(new.number, "pfcp-1", str(SMF))]
    assert again.pfcp_sessions_of("gw1", str(SMF), 5) == []
    assert len(again.pfcp_sessions_of("gw1", str(SMF), OWNER.cp_seid)) == 1
    assert again.pfcp_counts("gw1") == {str(SMF): 1}
    assert again.associations("gw1") == [{"node_id": str(SMF)}]
    assert again.associations("gw2") == []
    again.close()


def test_what_is_deleted_is_no_more(store: SessionStore) -> None:
    put(store)
    with store.transaction() as tx:
        tx.delete("pfcp-1")
        tx.put_association("gw1", str(SMF), None)
    assert store.pfcp_session("gw1", OWNER.up_seid) is None
    assert store.pfcp_counts("gw1") == {}
    assert store.associations("gw1") == []


def test_a_change_keeps_what_it_was_made_from(store: SessionStore) -> None:
    new = put(store)
    with store.transaction() as tx:
        tx.replace(session(teids=(9, 10)))
    assert store.pfcp_session("gw1", OWNER.up_seid) == ("pfcp-1", made(new.number))


def test_teids_that_no_rule_has_yet_are_taken(store: SessionStore) -> None:
    put(store)
    assert store.knows_teid("gw1", 9)
    with store.transaction() as tx, pytest.raises(Conflict, match="TEID 9"):
        other = session("pfcp-2", teids=(9,))
        assert other.detail is not None
        detail = Detail(teids=(9,), owner=OWNER)
        tx.insert(Session(0, "pfcp-2", "gw1", None, None, None, detail=detail))
    with store.transaction() as tx:
        assert tx.allocate_teid("gw1", range(8, 11)) == 10
        assert tx.allocate_teid("gw1", range(1 << 31, 1 << 32)) >= 1 << 31


def by_rules(teids: tuple[int, ...], far: tuple[int, ...], kept: tuple[int, ...]) -> Session:
    """A session with these TEIDs and tunnels in its rules, and TEIDs that none of them has."""
    rules = [Rule(f"{teid}", Source.ACCESS, teid, ToCore(), teid=teid) for teid in teids]
    rules += [Rule(f"{teid}", Source.CORE, teid, Tunnel(FTeid(teid, ENB))) for teid in far]
    detail = Detail(rules=tuple(rules), teids=kept, owner=OWNER)
    return Session(0, "pfcp-1", "gw1", IPv4Address("10.45.0.2"), None, None, detail=detail)


SOME = [by_rules(*each) for each in itertools.product([(), (1,), (1, 2)], repeat=3)]


@pytest.mark.parametrize("was", SOME)
def test_a_change_writes_what_differs(store: SessionStore, path: Path, was: Session) -> None:
    """With what was there told, as without."""
    db = sqlite3.connect(path)

    def there() -> list[object]:
        tables = "SELECT * FROM teids", "SELECT * FROM tunnels", "SELECT detail FROM sessions"
        return [sorted(db.execute(sql)) for sql in tables]

    with store.transaction() as tx:
        tx.insert(was)
    for now in SOME:
        with store.transaction() as tx:
            tx.replace(was)
            tx.replace(now)
        wanted = there()
        with store.transaction() as tx:
            before = tx.replace(was)
            tx.replace(now, was=before)
        assert there() == wanted
        left = {teid for _, teid in all_teids(was)} - {teid for _, teid in all_teids(now)}
        released = {teid for (teid,) in db.execute("SELECT teid FROM released")}
        assert left <= released, "they are not given to another one at once"
    db.close()


def test_a_change_does_not_take_what_another_one_has(store: SessionStore) -> None:
    with store.transaction() as tx:
        one = tx.insert(by_rules((1,), (), ()))
        tx.insert(replace(by_rules((2,), (), ()), id="pfcp-2", ue_ip=None))
    with store.transaction() as tx, pytest.raises(Conflict, match="TEID 2"):
        tx.replace(by_rules((1, 2), (), ()), was=one)
    found = store.get("pfcp-1")
    assert found is not None
    assert found.session == one


def test_where_pfcp_ends_all_of_it_goes(store: SessionStore) -> None:
    put(store)
    assert store.end_pfcp("gw2") == 0
    assert store.end_pfcp("gw1") == 1
    assert store.get("pfcp-1") is None
    assert store.associations("gw1") == []
    assert store.end_pfcp("gw1") == 0


def test_the_time_stamp_lives_as_long_as_the_sessions(store: SessionStore) -> None:
    assert store.recovery_time_stamp(100) == 100
    assert store.recovery_time_stamp(200) == 100
    put(store)
    store.reset()
    assert store.recovery_time_stamp(300) == 300
    assert store.associations("gw1") == []
    assert store.pfcp_counts("gw1") == {}


def test_a_store_of_the_third_version_is_taken_over(store: SessionStore, path: Path) -> None:
    with store.transaction() as tx:
        tx.insert(session())
    store.close()
    db = sqlite3.connect(path)
    for table in (
        "associations",
        "pfcp_sessions",
        "answers",
        "usage",
        "gauges",
        "reports",
        "prefixes",
        "framed6",
    ):
        db.execute(f"DROP TABLE {table}")
    db.execute("PRAGMA user_version = 3")
    db.close()
    again = SessionStore(path)
    assert again.get("pfcp-1") is not None
    assert again.associations("gw1") == []
    assert again.pfcp_answers("gw1") == []
    assert again.ledgers([1]) == {}
    assert again.reported_sessions("gw1") == []
    again.close()


def test_answers_are_kept_as_long_as_somebody_may_ask_again(path: Path) -> None:
    now = 1_000.0
    store = SessionStore(path, clock=lambda: now)
    with store.transaction() as tx:
        tx.put_answers("gw1", b"first")
        tx.put_answers("gw2", b"another's")
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.put_answers("gw1", b"what was not done")
        raise ZeroDivisionError
    now = 1_002.5
    with store.transaction() as tx:
        tx.put_answers("gw1", b"second")
    store.close()
    store = SessionStore(path, clock=lambda: now)
    assert store.pfcp_answers("gw1") == [(2.5, b"first"), (0.0, b"second")]
    now = 900.0
    assert store.pfcp_answers("gw1")[0][0] == 0, "the clock went back"
    now = 1_000.0 + ANSWERS_S + 1
    assert store.pfcp_answers("gw1") == [(ANSWERS_S - 1.5, b"second")]
    for _ in range(FORGET_EVERY):
        with store.transaction():
            pass
    now = 1_010.0
    assert [octets for _, octets in store.pfcp_answers("gw1")] == [b"second"], "forgotten"
    store.end_pfcp("gw1")
    assert store.pfcp_answers("gw1") == []
    store.close()


def test_of_very_many_answers_the_last_are_kept(store: SessionStore) -> None:
    with store.transaction() as tx:
        for number in range(ANSWERS_KEPT + 10):
            tx.put_answers("gw1", number.to_bytes(2, "big"))
    for _ in range(FORGET_EVERY):
        with store.transaction():
            pass
    kept = store.pfcp_answers("gw1")
    assert len(kept) == ANSWERS_KEPT
    assert kept[0][1] == (10).to_bytes(2, "big")
    store.reset()
    assert store.pfcp_answers("gw1") == []


@given(
    groups(grouped.CreatePdr),
    groups(grouped.CreateFar),
    groups(grouped.CreateQer),
    groups(grouped.CreateUrr),
    groups(grouped.CreateBar),
)
def test_sessions_are_read_as_they_were_written(
    pdr: grouped.CreatePdr,
    far: grouped.CreateFar,
    qer: grouped.CreateQer,
    urr: grouped.CreateUrr,
    bar: grouped.CreateBar,
) -> None:
    for pdrs in ({pdr.pdr_id: pdr}, {}):
        whole = PfcpSession(
            "smf.example",
            FSeid(2**64 - 1, SMF),
            77,
            pdrs,
            {far.far_id: far},
            {qer.qer_id: qer},
            {urr.urr_id: urr},
            {bar.bar_id: bar},
            {5: 0x8000_0001},
            {qer.qer_id: 3},
            "internet",
            "001010000000001",
        )
        assert stored.from_bytes(stored.to_bytes(whole), "smf.example", 77) == whole


def test_places_of_an_earlier_release_are_in_the_order_of_ids() -> None:
    """Its sessions' meters stay those that the switch has."""
    gates = GateStatus(Gate.OPEN, Gate.OPEN)
    qers = {number: grouped.CreateQer(number, gates) for number in (7, 2)}
    session = PfcpSession(SMF, FSeid(1, SMF), 77, qers=qers, places={7: 1, 2: 0})
    written = stored.to_bytes(session)
    known = b',"places":[[7,1],[2,0]]'
    assert known in written
    size = int.from_bytes(written[:2], "big") - len(known)
    earlier = size.to_bytes(2, "big") + written[2:].replace(known, b"")
    assert stored.from_bytes(earlier, SMF, 77).places == {2: 0, 7: 1}


def test_what_is_none_is_said_to_be() -> None:
    with pytest.raises(ValueError, match="F-SEID"):
        stored.from_bytes(b'\x00\x24{"chosen":[],"apn":null,"user":null}', SMF, 1)
