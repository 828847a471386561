"""The session store: all or nothing, identities unique, TEIDs reused late."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofgtp.core.errors import (
    Conflict,
    InvalidSession,
    StoreDamaged,
    StoreError,
    StoreUnfit,
    UnknownSession,
)
from ofgtp.core.model import FTeid, Qos, Session, SessionState, Uplink
from ofgtp.store import SessionStore, database
from ofgtp.store.listing import _PEERS
from ofgtp.store.sqlite import FORGET_EVERY
from ofgtp.store.transaction import RELEASES_KEPT

UE = int(IPv4Address("10.45.0.0"))
ENB = IPv4Address("10.1.0.2")


def make(n: int, *, gateway: str = "gw1", down: bool = True, **change: object) -> Session:
    fields: dict[str, object] = {
        "number": 0,
        "id": f"ue-{n}",
        "gateway": gateway,
        "ue_ip": IPv4Address(UE + n),
        "uplink": Uplink(0x1000 + n),
        "downlink": FTeid(0x2000 + n, ENB) if down else None,
    }
    return Session(**{**fields, **change})  # type: ignore[arg-type]


def ids(store: SessionStore, gateway: str = "gw1") -> list[str]:
    return [session.id for session in store.iterate(gateway)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "sessions.db"


@pytest.fixture
def store(path: Path):
    store = SessionStore(path)
    yield store
    store.close()


def fill(store: SessionStore, *numbers: int, **more: object) -> list[Session]:
    with store.transaction() as tx:
        return [tx.insert(make(n, **more)) for n in numbers]  # type: ignore[arg-type]


def test_what_is_stored_comes_back_after_reopening(store: SessionStore, path: Path) -> None:
    with store.transaction() as tx:
        one = tx.insert(make(1, uplink=Uplink(0xFFFF_FFFF, ENB)))
        two = tx.insert(make(2, down=False), SessionState.FAILED, "table full")
    store.close()
    again = SessionStore(path)
    first, second = again.get("ue-1"), again.get("ue-2")
    assert first is not None
    assert second is not None
    assert (first.session, first.state, first.reason) == (one, SessionState.PENDING, None)
    assert (second.session, second.state, second.reason) == (two, SessionState.FAILED, "table full")
    assert again.by_teid("gw1", 0xFFFF_FFFF) == first
    assert again.by_ue_ip("gw1", two.ue_ip) == second
    assert again.by_teid("gw2", 0xFFFF_FFFF) is None
    assert first.created_at.tzinfo is not None
    again.close()


def test_nothing_of_a_failed_transaction_stays(store: SessionStore) -> None:
    fill(store, 1)
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.insert(make(2))
        tx.delete("ue-1")
        raise ZeroDivisionError
    assert ids(store) == ["ue-1"]
    fill(store, 2)
    assert ids(store) == ["ue-1", "ue-2"]


def test_readers_see_only_what_is_committed(store: SessionStore) -> None:
    fill(store, 1)
    with store.transaction() as tx:
        tx.insert(make(2))
        tx.delete("ue-1")
        assert tx.get("ue-1") is None
        assert ids(store) == ["ue-1"]
        assert store.get("ue-2") is None
    assert ids(store) == ["ue-2"]


def test_a_second_transaction_is_refused(store: SessionStore) -> None:
    with store.transaction() as tx:
        tx.insert(make(1))
        with pytest.raises(StoreError, match="another transaction"), store.transaction():
            pass
        tx.insert(make(2))
    assert ids(store) == ["ue-1", "ue-2"]


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"id": "ue-1"}, "id"),
        ({"uplink": Uplink(0x1001)}, "uplink.teid"),
        ({"ue_ip": IPv4Address(UE + 1)}, "ue_ip"),
        ({"downlink": FTeid(0x2001, ENB)}, "downlink"),
    ],
)
def test_conflicts_name_the_field_and_the_other(
    store: SessionStore, change: dict[str, object], loc: str
) -> None:
    fill(store, 1, 3)
    with store.transaction() as tx:
        with pytest.raises(Conflict) as caught:
            tx.insert(make(2, **change))  # type: ignore[arg-type]
        assert (caught.value.loc, caught.value.session_id) == (loc, "ue-1")
        if loc != "id":
            with pytest.raises(Conflict) as caught:
                tx.replace(make(3, **change))  # type: ignore[arg-type]
            assert (caught.value.loc, caught.value.session_id) == (loc, "ue-1")
        tx.insert(make(4))
    assert ids(store) == ["ue-1", "ue-3", "ue-4"]
    assert store.get("ue-3").session.uplink.teid == 0x1003  # type: ignore[union-attr]


def test_identities_are_unique_per_gateway_only(store: SessionStore) -> None:
    fill(store, 1)
    with store.transaction() as tx:
        tx.insert(make(1, gateway="gw2", id="other"))
        tx.insert(make(5, down=False))
        tx.insert(make(6, down=False))
        tx.insert(make(7, downlink=FTeid(0x2001, IPv4Address("10.1.0.3"))))
    assert ids(store, "gw2") == ["other"]
    assert len(ids(store)) == 4


def test_a_swap_is_judged_line_by_line(store: SessionStore) -> None:
    fill(store, 1, 2)
    swapped_1, swapped_2 = make(1, uplink=Uplink(0x1002)), make(2, uplink=Uplink(0x1001))
    with pytest.raises(Conflict, match="uplink TEID 4098"), store.transaction() as tx:
        tx.replace(swapped_1)
        tx.replace(swapped_2)
    assert store.by_teid("gw1", 0x1001).session.id == "ue-1"  # type: ignore[union-attr]
    with store.transaction() as tx:
        tx.replace(make(1, uplink=Uplink(0x9999)))
        tx.replace(swapped_2)
        tx.replace(swapped_1)
    assert store.by_teid("gw1", 0x1001).session.id == "ue-2"  # type: ignore[union-attr]


def test_replace_keeps_number_and_creation(path: Path) -> None:
    now = [1_000.0]
    store = SessionStore(path, clock=lambda: now[0])
    (first,) = fill(store, 1)
    now[0] = 2_000.5
    with store.transaction() as tx:
        replaced = tx.replace(make(1, down=False), SessionState.ACTIVE)
        with pytest.raises(UnknownSession):
            tx.replace(make(2))
    assert replaced.number == first.number
    stored = store.get("ue-1")
    assert stored is not None
    assert stored.session == replaced
    assert (stored.created_at.timestamp(), stored.updated_at.timestamp()) == (1_000, 2_000.5)
    store.close()


def test_numbers_are_never_reused(store: SessionStore) -> None:
    (first,) = fill(store, 1)
    with store.transaction() as tx:
        assert tx.delete("ue-1") == first
        with pytest.raises(UnknownSession):
            tx.delete("ue-1")
    before = store.instance_id
    (second,) = fill(store, 1)
    assert store.reset() != before
    assert ids(store) == []
    (third,) = fill(store, 1)
    assert first.number < second.number < third.number


def test_states(store: SessionStore) -> None:
    _one, two, three = fill(store, 1, 2, 3)
    fill(store, 9, gateway="gw2")
    with store.transaction() as tx:
        tx.set_gateway_state("gw1", SessionState.ACTIVE)
        tx.set_state([two.number, 12345], SessionState.FAILED, "no room")
    assert store.count("gw1") == {
        SessionState.ACTIVE: 2,
        SessionState.FAILED: 1,
        SessionState.PENDING: 0,
        SessionState.ERROR_INDICATED: 0,
    }
    assert store.count()[SessionState.PENDING] == 1
    with store.transaction() as tx:
        tx.delete("ue-1")
        assert store.count("gw1")[SessionState.ACTIVE] == 2, "what is not committed does not count"
    assert store.count("gw1")[SessionState.ACTIVE] == 1
    with pytest.raises(Conflict), store.transaction() as tx:
        tx.delete("ue-3")
        assert store.count("gw1")[SessionState.ACTIVE] == 1
        raise Conflict("id", "given up", "ue-3")
    assert store.count("gw1")[SessionState.ACTIVE] == 1
    assert store.count("gw2") == dict.fromkeys(SessionState, 0) | {SessionState.PENDING: 1}
    assert store.get("ue-2").reason == "no room"  # type: ignore[union-attr]
    assert list(store.iterate("gw1", SessionState.ACTIVE)) == [three]


def test_sessions_are_counted_anew_after_each_change(store: SessionStore) -> None:
    assert store.count("gw1")[SessionState.PENDING] == 0
    for number in (1, 2):
        fill(store, number)
        assert store.count("gw1")[SessionState.PENDING] == number
        assert store.count("gw1")[SessionState.PENDING] == number
    with pytest.raises(RuntimeError), store.transaction() as tx:
        tx.delete("ue-1")
        assert store.count("gw1")[SessionState.PENDING] == 2
        raise RuntimeError
    assert store.count("gw1")[SessionState.PENDING] == 2
    with store.transaction() as tx:
        tx.delete("ue-1")
        assert store.count()[SessionState.PENDING] == 2
    assert store.count()[SessionState.PENDING] == store.count("gw1")[SessionState.PENDING] == 1
    assert sum(store.count("gw9").values()) == 0


def test_error_indicated_shows_in_the_session(store: SessionStore, path: Path) -> None:
    indicated = SessionState.ERROR_INDICATED
    (one,) = fill(store, 1)
    with store.transaction() as tx:
        two = tx.insert(make(2), indicated, "said 10.1.0.2")
        tx.set_state([one.number], indicated, "said 10.1.0.2")
        inside = tx.get("ue-1")
    assert two.error_indicated
    for stored in (inside, store.get("ue-1"), store.by_ue_ip("gw1", one.ue_ip)):
        assert stored is not None
        assert (stored.session.error_indicated, stored.state) == (True, indicated)
        assert stored.reason == "said 10.1.0.2"
    assert store.get("ue-1").session == replace(one, error_indicated=True)  # type: ignore[union-attr]
    assert [s.session.error_indicated for s in store.list()[0]] == [True, True]
    assert list(store.iterate("gw1", indicated)) == [replace(one, error_indicated=True), two]
    with store.transaction() as tx:
        again = tx.replace(replace(one, error_indicated=True), indicated)
        assert tx.delete("ue-2") == two
    assert again.error_indicated
    store.close()
    reopened = SessionStore(path)
    assert [session.error_indicated for session in reopened.iterate("gw1")] == [True]
    with reopened.transaction() as tx:
        put = tx.replace(again)
    assert put == one
    assert list(reopened.iterate("gw1")) == [one]
    reopened.close()


@pytest.mark.parametrize("state", [SessionState.ACTIVE, SessionState.PENDING])
def test_what_a_peer_said_outlives_the_state_of_the_gateway(
    store: SessionStore, state: SessionState
) -> None:
    fill(store, 1)
    with store.transaction() as tx:
        tx.insert(make(2), SessionState.ERROR_INDICATED, "unknown")
        tx.insert(make(3), SessionState.FAILED, "full")
        tx.insert(make(4, gateway="gw2"), SessionState.FAILED, "full")
        tx.set_gateway_state("gw1", state)
    found = {s.session.id: (s.state, s.reason) for s in store.list()[0]}
    assert found == {
        "ue-1": (state, None),
        "ue-2": (SessionState.ERROR_INDICATED, "unknown"),
        "ue-3": (state, None),
        "ue-4": (SessionState.FAILED, "full"),
    }


def test_by_downlink(store: SessionStore) -> None:
    other = IPv4Address("10.1.0.3")
    fill(store, 1, 2)
    with store.transaction() as tx:
        tx.insert(make(3, downlink=FTeid(0x2001, other)))
        tx.insert(make(4, gateway="gw2", downlink=FTeid(0x2001, ENB)))
        tx.insert(make(5, down=False, uplink=Uplink(0x2009, ENB)))
        tx.insert(make(6, gateway="gw2"))
        assert store.by_downlink("gw1", FTeid(0x2001, other)) is None, "not committed yet"

    def found(gateway: str, teid: int, ip: IPv4Address) -> str | None:
        stored = store.by_downlink(gateway, FTeid(teid, ip))
        return stored and stored.session.id

    assert found("gw1", 0x2001, ENB) == "ue-1"
    assert found("gw1", 0x2001, other) == "ue-3"
    assert found("gw2", 0x2001, ENB) == "ue-4"
    assert found("gw1", 0x2009, ENB) is None
    assert found("gw1", 0x2006, ENB) is None
    assert found("gw2", 0x2002, ENB) is None
    assert found("gw1", 0x2002, other) is None


def test_peers_are_counted_by_sessions(store: SessionStore) -> None:
    a, b, c = (IPv4Address(f"10.1.0.{n}") for n in (2, 3, 254))
    assert store.peers("gw1") == {}
    with store.transaction() as tx:
        tx.insert(make(1, downlink=FTeid(1, a)))
        tx.insert(make(2, downlink=FTeid(2, a), uplink=Uplink(2, a)))
        tx.insert(make(3, downlink=FTeid(3, a), uplink=Uplink(3, b)))
        tx.insert(make(4, downlink=None, uplink=Uplink(4, b)))
        tx.insert(make(5, downlink=None))
        tx.insert(make(6, downlink=FTeid(6, b), uplink=Uplink(6, c)))
        tx.insert(make(7, gateway="gw2", downlink=FTeid(7, c), uplink=Uplink(7, a)))
        assert store.peers("gw1") == {}, "not committed yet"
    assert store.peers("gw1") == {a: 3, b: 3, c: 1}
    assert store.peers("gw2") == {c: 1, a: 1}
    assert store.peers("gw3") == {}


def test_peers_are_counted_by_the_index_where_there_is_one(store: SessionStore) -> None:
    plan = store._reader.execute(f"EXPLAIN QUERY PLAN {_PEERS}", {"gateway": "gw1"}).fetchall()
    assert any("COVERING INDEX" in row[3] and "SEARCH" in row[3] for row in plan), plan
    assert sum("SCAN sessions" in row[3] for row in plan) == 1, plan


def test_released_teids_are_reused_last(path: Path) -> None:
    store = SessionStore(path, teids=range(1, 7))
    given_out = []
    with store.transaction() as tx:
        for n in range(6):
            teid = tx.allocate_teid("gw1")
            tx.insert(make(n, uplink=Uplink(teid)))
            given_out.append(teid)
        assert sorted(given_out) == [1, 2, 3, 4, 5, 6]
        with pytest.raises(StoreError, match="no uplink TEID"):
            tx.allocate_teid("gw1")
        assert tx.allocate_teid("gw2") in range(1, 7)
        for n in (4, 2, 0):
            tx.delete(f"ue-{n}")
    order = [given_out[4], given_out[2], given_out[0]]
    with store.transaction() as tx:
        assert [tx.allocate_teid("gw1") for _ in order] == order
    with store.transaction() as tx:
        tx.replace(make(1, uplink=Uplink(77)))
        assert [tx.allocate_teid("gw1") for _ in range(4)] == [*order, given_out[1]]
    store.close()


def test_a_free_teid_is_preferred_to_a_released_one(path: Path) -> None:
    store = SessionStore(path, teids=range(1, 4))
    with store.transaction() as tx:
        tx.insert(make(1, uplink=Uplink(2)))
        tx.delete("ue-1")
        assert {tx.allocate_teid("gw1"), tx.allocate_teid("gw1")} == {1, 3}
        assert tx.allocate_teid("gw1") == 2
    store.close()


def test_releases_are_forgotten_in_the_end(store: SessionStore, path: Path) -> None:
    with store.transaction() as tx:
        for n in range(RELEASES_KEPT + 10):
            tx.insert(make(1, uplink=Uplink(1 + n)))
            tx.delete("ue-1")
    for _ in range(FORGET_EVERY):
        with store.transaction():
            pass
    with sqlite3.connect(path) as db:
        count, oldest = db.execute("SELECT count(*), min(teid) FROM released").fetchone()
    db.close()
    assert (count, oldest) == (RELEASES_KEPT, 11)


def test_allocated_teids_are_spread_over_32_bits(store: SessionStore) -> None:
    with store.transaction() as tx:
        teids = [tx.allocate_teid("gw1") for _ in range(200)]
    assert len(set(teids)) == 200
    assert min(teids) < 1 << 30 < 3 << 30 < max(teids)


def test_list_filters(store: SessionStore) -> None:
    other = IPv4Address("10.1.0.9")
    with store.transaction() as tx:
        tx.insert(make(1))
        tx.insert(make(2, downlink=FTeid(7, other)), SessionState.ACTIVE)
        tx.insert(make(3, uplink=Uplink(9, other)))
        tx.insert(make(1, gateway="gw2", id="far"))

    def found(**filters: object) -> list[str]:
        page, cursor = store.list(**filters)  # type: ignore[arg-type]
        assert store.count_matching(**filters) == len(page)  # type: ignore[arg-type]
        assert cursor is None
        return [stored.session.id for stored in page]

    assert found() == ["ue-1", "ue-2", "ue-3", "far"]
    assert found(gateway="gw2") == ["far"]
    assert found(ue_ip=IPv4Address(UE + 1)) == ["ue-1", "far"]
    assert found(teid=0x1001) == ["ue-1", "far"]
    assert found(teid=0x2001) == []
    assert found(part_of_id="e-2") == ["ue-2"]
    assert found(part_of_id="E-2") == found(part_of_id="%") == found(part_of_id="ue-22") == []
    assert found(peer=other) == ["ue-2", "ue-3"]
    assert found(peer=other, state=SessionState.ACTIVE) == ["ue-2"]
    assert found(gateway="gw1", ue_ip=IPv4Address(UE + 1), teid=9) == []


def test_pages_are_stable(store: SessionStore) -> None:
    fill(store, *range(10))
    page, cursor = store.list(limit=4)
    seen = [stored.session.id for stored in page]
    with store.transaction() as tx:
        tx.delete("ue-1")
        tx.delete("ue-3")
        tx.insert(make(10))
    while cursor:
        page, cursor = store.list(limit=4, cursor=cursor)
        seen += [stored.session.id for stored in page]
    assert seen == [f"ue-{n}" for n in range(11)]


@pytest.mark.parametrize("cursor", ["", "x", "bjE=x", "äö", "bi0x", "bjEyMzQ1Njc4OTAxMjM0NTY3ODkw"])
def test_a_foreign_cursor_is_refused(store: SessionStore, cursor: str) -> None:
    with pytest.raises(InvalidSession, match="cursor"):
        store.list(cursor=cursor)
    with pytest.raises(InvalidSession, match="limit"):
        store.list(limit=1_001)


@pytest.mark.parametrize(
    "content", [b"this is no database" * 400, b"SQLite format 3\0" + b"x" * 99]
)
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"s\.db"):
        SessionStore(path)
    assert path.read_bytes() == content


def test_a_damaged_file(path: Path) -> None:
    store = SessionStore(path)
    fill(store, *range(2_000))
    store.close()
    with path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(os.urandom(20 * 4096))
    with pytest.raises(StoreDamaged, match=r"damaged|malformed|cannot be used"):
        SessionStore(path)


def test_another_programs_database_and_a_later_schema(tmp_path: Path, path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    db = sqlite3.connect(foreign)
    db.execute("CREATE TABLE t (x)")
    db.close()
    with pytest.raises(StoreUnfit, match="another program"):
        SessionStore(foreign)
    SessionStore(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnfit, match="schema version 99"):
        SessionStore(path)


OLD_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE sessions (
    number           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (number < 1 << 40),
    id               TEXT NOT NULL UNIQUE,
    gateway          TEXT NOT NULL,
    ue_ip            INTEGER NOT NULL,
    uplink_teid      INTEGER NOT NULL,
    uplink_remote_ip INTEGER,
    downlink_teid    INTEGER,
    downlink_ip      INTEGER,
    state            TEXT NOT NULL,
    reason           TEXT,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    UNIQUE (gateway, uplink_teid),
    UNIQUE (gateway, ue_ip),
    UNIQUE (gateway, downlink_ip, downlink_teid),
    CHECK ((downlink_teid IS NULL) = (downlink_ip IS NULL))
) STRICT;
CREATE TABLE released (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    gateway TEXT NOT NULL,
    teid    INTEGER NOT NULL,
    UNIQUE (gateway, teid)
) STRICT;
INSERT INTO meta VALUES ('instance_id', 'kept');
INSERT INTO sessions VALUES
    (7, 'ue-1', 'gw1', 170721281, 4097, NULL, 8193, 167837698, 'active', NULL, 1000000, 2000000);
PRAGMA application_id = 0x6F666774;
PRAGMA user_version = 1;
"""


def test_a_store_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    db = sqlite3.connect(path)
    db.executescript(OLD_SCHEMA)
    db.close()
    for _ in range(2):
        store = SessionStore(path)
        stored = store.get("ue-1")
        assert stored is not None
        assert (stored.session.number, stored.session.uplink.teid) == (7, 4097)
        assert (stored.state, stored.updated_at.timestamp()) == (SessionState.ACTIVE, 2.0)
        assert stored.session.qos is None
        assert [each.qos for each in store.values("gw1")] == [0]
        assert store.instance_id == "kept"
        with store.transaction() as tx:
            number = tx.insert(make(9, qos=Qos(9))).number
            assert number > 7
            tx.delete("ue-9")
        store.close()


@pytest.mark.parametrize("qos", [None, Qos(1), Qos(63, True, False, True), Qos(32, check=True)])
def test_what_is_said_of_the_container_is_kept(
    store: SessionStore, path: Path, qos: Qos | None
) -> None:
    with store.transaction() as tx:
        one = tx.insert(make(1, qos=qos))
        assert one.qos == qos
        other = tx.replace(replace(tx.insert(make(2, qos=Qos(5))), qos=qos))
        assert other.qos == qos
    assert [each.qos for each in store.iterate("gw1")] == [qos, qos]
    assert [Qos.of(each.qos) for each in store.values("gw1")] == [qos, qos]
    again = store.get("ue-1")
    assert again is not None
    assert again.session == one


def test_a_path_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        SessionStore(tmp_path / "file" / "s.db")
    with pytest.raises(StoreError):
        SessionStore(tmp_path)


def test_check_notices_a_store_that_cannot_be_written(store: SessionStore, path: Path) -> None:
    store.check()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.check()
    with pytest.raises(StoreError, match="locked"), store.transaction():
        pass
    other.execute("ROLLBACK")
    other.close()
    store.check()
    fill(store, 1)


def test_file_is_private_and_instance_id_stays(store: SessionStore, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
    instance_id = store.instance_id
    store.close()
    again = SessionStore(path)
    assert again.instance_id == instance_id
    again.close()


@pytest.mark.parametrize(("durability", "level"), [("normal", 1), ("full", 2)])
def test_durability(path: Path, durability: str, level: int) -> None:
    store = SessionStore(path, durability=durability)  # type: ignore[arg-type]
    assert store._db.execute("PRAGMA synchronous").fetchone() == (level,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


KILLED = """
import sys
from pathlib import Path
from ipaddress import IPv4Address
from ofgtp.core.model import Session, Uplink
from ofgtp.store import SessionStore
store = SessionStore(Path(sys.argv[1]))
n = 0
while True:
    with store.transaction() as tx:
        for _ in range(50):
            n += 1
            tx.insert(Session(0, f"ue-{n}", "gw1", IPv4Address(n), Uplink(n), None))
    print(n, flush=True)
"""


def test_a_killed_process_loses_nothing_it_reported(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    reported = [int(line) for line in (first, *process.communicate()[0].split())]
    store = SessionStore(path)
    count = sum(store.count().values())
    assert count % 50 == 0
    assert count >= max(reported)
    store.close()


@given(
    ops=st.lists(
        st.tuples(
            st.sampled_from(["insert", "replace", "delete", "abort"]),
            st.integers(0, 4),
            st.integers(1, 4),
            st.integers(1, 4),
            st.integers(0, 3),
        ),
        max_size=40,
    )
)
@settings(deadline=None, max_examples=60)
def test_agrees_with_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, ops: list[tuple[str, int, int, int, int]]
) -> None:
    """The store accepts and refuses exactly what three uniqueness rules over a dict do."""
    store = SessionStore(tmp_path_factory.mktemp("s") / "s.db")
    model: dict[str, tuple[int, int, int]] = {}
    for op, who, teid, ue, down in ops:
        session_id = f"s{who}"
        session = Session(
            0,
            session_id,
            "gw1",
            IPv4Address(UE + ue),
            Uplink(teid),
            FTeid(down, ENB) if down else None,
        )
        clash = any(
            other != session_id and (t == teid or u == ue or (down and d == down))
            for other, (t, u, d) in model.items()
        )
        try:
            with store.transaction() as tx:
                if op == "delete":
                    tx.delete(session_id)
                elif op == "replace":
                    tx.replace(session)
                else:
                    tx.insert(session)
                if op == "abort":
                    raise KeyError
        except Conflict:
            assert op != "delete"
            assert clash or (op != "replace" and session_id in model)
        except UnknownSession:
            assert session_id not in model
        except KeyError:
            pass
        else:
            if op == "delete":
                del model[session_id]
            else:
                assert not clash
                model[session_id] = (teid, ue, down)
    stored = {
        s.id: (s.uplink.teid, int(s.ue_ip) - UE, s.downlink.teid if s.downlink else 0)
        for s in store.iterate("gw1")
    }
    assert stored == model
    store.close()


def test_a_teid_is_known_while_a_change_of_it_is_under_way(store: SessionStore) -> None:
    """An Error Indication for it would make the peer give its bearer up."""
    fill(store, 1, 2, 3)

    def known(gateway: str = "gw1") -> list[int]:
        return [n for n in range(1, 7) if store.knows_teid(gateway, 0x1000 + n)]

    assert known() == [1, 2, 3]
    assert known("gw2") == []
    for ends in (KeyboardInterrupt, None):
        with contextlib.suppress(KeyboardInterrupt), store.transaction() as tx:
            tx.insert(make(4))
            tx.delete("ue-1")
            tx.replace(make(2, uplink=Uplink(0x1006)))
            assert known() == [1, 2, 3, 4, 6], "as it was, and as it will be"
            assert known("gw2") == []
            if ends is not None:
                raise ends
        assert known() == ([1, 2, 3] if ends is not None else [3, 4, 6])


def test_a_store_that_has_lost_its_name(store: SessionStore) -> None:
    store._db.execute("DELETE FROM meta WHERE key = 'instance_id'")
    with pytest.raises(StoreError, match="has no instance_id"):
        _ = store.instance_id


# --- the write-ahead log


@pytest.mark.parametrize("write", ["transactions", "checks"])
def test_the_log_is_folded_in_time(path: Path, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    monkeypatch.setattr(database, "LOG_PAGES", 50)
    store = SessionStore(path)
    sizes = []
    for n in range(300):
        if write == "checks":
            store.check()
        else:
            fill(store, n)
        sizes.append(path.with_name("sessions.db-wal").stat().st_size // 4096)
    assert max(sizes) < 200, "it begins again from its start"
    store.close()
    assert len(ids(SessionStore(path))) == (300 if write == "transactions" else 0)


def test_the_log_is_folded_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another thread. The store goes on being read; who wants to write waits for it, and what
    is written goes to the start of the log."""
    monkeypatch.setattr(database, "LOG_PAGES", 50)
    work: list[Callable[[], None]] = []
    read: list[object] = []

    def pause() -> None:
        read.append(store.get("ue-1"))
        store.check()
        thread = threading.Thread(target=work.pop())
        thread.start()
        thread.join(60)
        assert not thread.is_alive()

    store = SessionStore(path, aside=work.append, pause=pause)
    for n in range(300):
        fill(store, n)
        assert len(work) <= 1, "once, until it is done"
    assert len(read) > 5
    assert None not in read
    assert path.with_name("sessions.db-wal").stat().st_size < 200 * 4096
    store.close()
    assert len(ids(SessionStore(path))) == 300


def test_a_log_that_is_being_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is not waited for long, and folded another time."""
    store = SessionStore(path)
    fill(store, 1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM sessions").fetchone()
        fill(store, 2)
        store._file.fold()
        fill(store, 3)
    assert "is not written back into the file, and grows: it is being read" in caplog.text
    store._file.fold()
    assert ids(store) == ["ue-1", "ue-2", "ue-3"]
    store.close()


def test_a_log_that_cannot_be_folded(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Is said, and tried again; nothing else ends."""
    monkeypatch.setattr(database, "LOG_PAGES", 50)
    store = SessionStore(path)
    here = store.path
    store._file.path = path / "nowhere"
    for n in range(40):
        fill(store, n)
    assert "log is not written back into the file, and grows: " in caplog.text
    store._file.path = here
    caplog.clear()
    for n in range(40, 80):
        fill(store, n)
    assert caplog.records == [] or len(caplog.records) == 1
    assert path.stat().st_size > 20_000
    store.close()
