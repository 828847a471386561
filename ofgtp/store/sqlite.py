"""Sessions in an SQLite file: durable before success is answered, and never half a batch.

Two connections: one writes, one reads. What is read outside a transaction is always what was last
committed, even while a long batch is half written. Write-ahead logging with `synchronous=NORMAL`
keeps every commit through a killed process; `FULL` adds an fsync per commit for power cuts.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import logging
import os
import secrets
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from ofgtp.core.errors import (
    Conflict,
    InvalidSession,
    StoreDamaged,
    StoreError,
    StoreUnfit,
    UnknownSession,
)
from ofgtp.core.filters import Network
from ofgtp.core.model import (
    TEID_MAX,
    Address,
    BatchPut,
    FlowValues,
    FTeid,
    Qos,
    Session,
    SessionState,
    Uplink,
)
from ofgtp.core.sessions.detail import SLOT_MAX
from ofgtp.core.sessions.rules import peers_of
from ofgtp.core.sessions.shape import Numbers
from ofgtp.core.sessions.shaped import Shaped, ShapedPut
from ofgtp.core.usage.ledger import Ledger
from ofgtp.core.usage.limits import Gauge
from ofgtp.store import gauges, keys, pfcp, reports, usage
from ofgtp.store.detail import FAR6, Shapes, format_of, from_text, to_text

log = logging.getLogger(__name__)

SCHEMA_VERSION = 9
APPLICATION_ID = 0x6F666774
"""Marks the file as ours ("ofgt"), so that another program's database is not written to."""

RELEASES_KEPT = 65_536
"""A TEID given back is not allocated again within this many further releases."""

FORGET_EVERY = 64
"""Transactions between two times that older ones are forgotten."""

LOG_PAGES = 4_000
"""Pages in the write-ahead log before they are folded into the file."""
COMMIT_PAGES, ROWS_A_PAGE = 7, 30
"""What a transaction writes there, about: so many pages, and one for so many rows."""

ALLOCATION_TRIES = 64

PAGE = 4096
"""Octets of a page, SQLite's unit."""

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_CHUNK = 5_000
_MAX_SEQ = (1 << 63) - 1
_MAX_LIMIT = 1_000
_BUSY_SECONDS = 1.0

_SESSIONS = """
CREATE TABLE sessions (
    number           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (number < 1 << 40),
    id               TEXT NOT NULL UNIQUE,
    gateway          TEXT NOT NULL,
    ue_ip            INTEGER,
    uplink_teid      INTEGER,
    uplink_remote_ip INTEGER,
    downlink_teid    INTEGER,
    downlink_ip      INTEGER,
    qos              INTEGER NOT NULL DEFAULT 0,
    state            TEXT NOT NULL,
    reason           TEXT,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    slot             INTEGER UNIQUE,
    detail           TEXT,
    UNIQUE (gateway, uplink_teid),
    UNIQUE (gateway, ue_ip),
    UNIQUE (gateway, downlink_ip, downlink_teid),
    CHECK ((downlink_teid IS NULL) = (downlink_ip IS NULL)),
    CHECK ((slot IS NULL) = (detail IS NULL)),
    CHECK (ue_ip IS NOT NULL AND uplink_teid IS NOT NULL OR detail IS NOT NULL)
) STRICT;
"""
_TRIGGERS = """
CREATE TRIGGER session_deleted AFTER DELETE ON sessions WHEN old.uplink_teid IS NOT NULL BEGIN
    INSERT OR REPLACE INTO released (gateway, teid) VALUES (old.gateway, old.uplink_teid);
END;
CREATE TRIGGER session_moved AFTER UPDATE OF gateway, uplink_teid ON sessions
WHEN old.uplink_teid <> new.uplink_teid OR old.gateway <> new.gateway BEGIN
    INSERT OR REPLACE INTO released (gateway, teid) VALUES (old.gateway, old.uplink_teid);
END;
"""
_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE released (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    gateway TEXT NOT NULL,
    teid    INTEGER NOT NULL,
    UNIQUE (gateway, teid)
) STRICT;
{_SESSIONS}
{_TRIGGERS}
{keys.SCHEMA}
{keys.PREFIXES}
{keys.FRAMED6}
{pfcp.SCHEMA}
{pfcp.ANSWERS}
{usage.SCHEMA}
{reports.SCHEMA}
{gauges.SCHEMA}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

_MIGRATIONS = {
    1: "ALTER TABLE sessions ADD COLUMN qos INTEGER NOT NULL DEFAULT 0;",
    # SQLite cannot take NOT NULL off a column: the table is made anew. Numbers are not reused.
    2: f"""
ALTER TABLE sessions RENAME TO sessions_2;
DROP TRIGGER IF EXISTS session_deleted;
DROP TRIGGER IF EXISTS session_moved;
{_SESSIONS}
INSERT INTO sessions SELECT number, id, gateway, ue_ip, uplink_teid, uplink_remote_ip,
    downlink_teid, downlink_ip, qos, state, reason, created_at, updated_at, NULL, NULL
    FROM sessions_2;
DELETE FROM sqlite_sequence WHERE name = 'sessions';
UPDATE sqlite_sequence SET name = 'sessions' WHERE name = 'sessions_2';
DROP TABLE sessions_2;
{_TRIGGERS}
{keys.SCHEMA}
""",
    3: pfcp.SCHEMA,
    4: pfcp.ANSWERS,
    5: f"{usage.SCHEMA} {reports.SCHEMA} {gauges.SCHEMA}",
    6: usage.WITHOUT_FRAMES,
    7: keys.PREFIXES,
    8: keys.FRAMED6,
}
"""From each older schema version to the next."""

_COLUMNS = (
    "number, id, gateway, ue_ip, uplink_teid, uplink_remote_ip, downlink_teid, downlink_ip, qos,"
    " state, reason, created_at, updated_at, slot, detail"
)
_SELECT = f"SELECT {_COLUMNS} FROM sessions"
_INSERT = (
    "INSERT INTO sessions (id, gateway, ue_ip, uplink_teid, uplink_remote_ip, downlink_teid,"
    " downlink_ip, qos, slot, detail, state, reason, created_at, updated_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_MANY = (
    "INSERT INTO sessions (number, id, gateway, ue_ip, uplink_teid, uplink_remote_ip,"
    " downlink_teid, downlink_ip, qos, state, created_at, updated_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '{state}', {now}, {now})"
)
_INSERT_SHAPED = (
    "INSERT INTO sessions (number, id, gateway, ue_ip, uplink_teid, uplink_remote_ip,"
    " downlink_teid, downlink_ip, qos, slot, detail, state, created_at, updated_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{state}', {now}, {now})"
)
"""What all have is told once: to bind it for each takes its time, where they are very many."""
_NUMBERS = "number, ue_ip, uplink_teid, uplink_remote_ip, downlink_teid, downlink_ip"
_VALUES = f"{_NUMBERS}, state = '{SessionState.ERROR_INDICATED.value}', qos"
_DELETE_MANY = (
    "DELETE FROM sessions WHERE id IN (SELECT value FROM json_each(?))"
    f" RETURNING {_VALUES}, gateway, slot, detail, state = '{SessionState.FAILED.value}'"
)
"""One statement for many: each that starts the trigger costs 20 microseconds more."""
_SLOT = itemgetter(9)
_SHAPES = Shapes()
_SLOT_OF = "SELECT number, slot FROM sessions WHERE id = ?"
_LAST_NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = 'sessions'"
_UPDATE = (
    "UPDATE sessions SET gateway = ?, ue_ip = ?, uplink_teid = ?, uplink_remote_ip = ?,"
    " downlink_teid = ?, downlink_ip = ?, qos = ?, slot = ?, detail = ?, state = ?, reason = ?,"
    " updated_at = ?"
    " WHERE id = ? RETURNING number"
)
_COUNT = f"""
SELECT {", ".join(f"count(*) FILTER (WHERE state = '{state}')" for state in SessionState)}
FROM sessions NOT INDEXED WHERE :gateway IS NULL OR gateway = :gateway
"""
"""An index would only lead to each row in turn: reading the table through is four times as fast."""

_PEERS = """
SELECT ip, sum(sessions) FROM (
    SELECT downlink_ip AS ip, count(*) AS sessions FROM sessions
    WHERE gateway = :gateway AND downlink_ip IS NOT NULL GROUP BY downlink_ip
    UNION ALL
    SELECT uplink_remote_ip, count(*) FROM sessions NOT INDEXED
    WHERE gateway = :gateway
        AND uplink_remote_ip IS NOT NULL AND uplink_remote_ip IS NOT downlink_ip
    GROUP BY uplink_remote_ip
    UNION ALL
    SELECT t.ip, count(DISTINCT t.number) FROM tunnels AS t
    JOIN sessions AS s ON s.number = t.number
    WHERE t.gateway = :gateway
        AND t.ip IS NOT s.downlink_ip AND t.ip IS NOT s.uplink_remote_ip
    GROUP BY t.ip
) GROUP BY ip
"""
"""A session that names one peer on both sides counts once, by its downlink. No index has both
sides: reading the table from end to end is then faster than jumping about in it."""

_PEERS6 = f"""
SELECT json_extract(detail, '$.{FAR6}'), count(*) FROM sessions
WHERE gateway = :gateway AND downlink_ip >= {keys.OF_IPV6} GROUP BY 1
"""
_RULED6 = f"""
{_SELECT} WHERE number IN (
    SELECT number FROM tunnels WHERE gateway = :gateway AND ip >= {keys.OF_IPV6}
)
"""
"""An IPv6 address stands in the detail alone, of bearers and rules in these."""


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session and what is known about it; times are aware and in UTC.

    `updated_at` is when the session itself was last put, not when its state last changed.
    """

    session: Session
    state: SessionState
    reason: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def installed(self) -> Session | None:
        """The session whose flows are in the switch; a failed one has none."""
        return None if self.state is SessionState.FAILED else self.session


class Transaction:
    """Changes that are committed together or not at all; made by `SessionStore.transaction`.

    Operations apply in order, and each is checked against what the earlier ones left. One that
    raises `Conflict` or `UnknownSession` has changed nothing, and the transaction can go on.
    """

    def __init__(self, db: sqlite3.Connection, now: int, teids: range, fresh: usage.Fresh) -> None:
        self._db, self._now, self._teids, self._fresh = db, now, teids, fresh
        self.time = _time(now)
        """When the sessions that it puts are put."""
        self._allocated: set[tuple[str, int]] = set()

    def get(self, session_id: str) -> StoredSession | None:
        """The session as this transaction sees it."""
        return _one(self._db, f"{_SELECT} WHERE id = ?", (session_id,))

    def insert(
        self,
        session: Session,
        state: SessionState = SessionState.PENDING,
        reason: str | None = None,
    ) -> Session:
        """Add a session; its `number` is ignored, and the session as it is stored is returned.

        Raises:
            Conflict: its id, uplink TEID, UE address or downlink F-TEID is in use.
        """
        with self._all_or_nothing():
            session = self._with_slot(session, None)
            values = (session.id, *_fields(session), state.value, reason, self._now, self._now)
            written = self._write(session, _INSERT, values, new=True)
            made = _in_state(session, written.lastrowid or 0, state)
            self._write_keys(made)
        return made

    def insert_many(
        self, gateway: str, puts: Sequence[BatchPut], state: SessionState
    ) -> list[FlowValues] | None:
        """Add sessions that are new, all of them, with ids and TEIDs of their own.

        None, and nothing is changed, if one is not new or in conflict: which, `insert` tells.
        """
        with _errors():
            row = self._db.execute(_LAST_NUMBER).fetchone()
            first = (row[0] if row else 0) + 1
            values = [
                FlowValues(number, ue_ip, teid or 0, peer, far_teid, far_ip, False, qos)
                for number, (_, _, ue_ip, teid, peer, far_teid, far_ip, qos) in enumerate(
                    puts, first
                )
            ]
            rows = [(number, put[0], gateway, *put[2:]) for number, put in enumerate(puts, first)]
            self._db.execute("SAVEPOINT many")
            try:
                self._db.executemany(_INSERT_MANY.format(state=state.value, now=self._now), rows)
                if keys.any_in_range(self._db, first, first + len(rows) - 1):
                    self._db.execute("ROLLBACK TO many")
                    return None
            except sqlite3.IntegrityError:
                self._db.execute("ROLLBACK TO many")
                return None
            finally:
                self._db.execute("RELEASE many")
        return values

    def insert_shaped(
        self,
        gateway: str,
        puts: Sequence[BatchPut],
        shaped: Sequence[ShapedPut],
        state: SessionState,
    ) -> tuple[list[FlowValues], list[Shaped]] | None:
        """As `insert_many`, and then those with bearers, of which there are some."""
        formats = [format_of(put.shape) for put in shaped]
        with _errors():
            (last,) = self._db.execute("SELECT max(slot) FROM sessions").fetchone()
            slot = (last or 0) + 1
            if None in formats or slot + len(shaped) - 1 > SLOT_MAX:
                return None
            self._db.execute("SAVEPOINT shaped")
            try:
                values = self.insert_many(gateway, puts, state) if puts else []
                if values is not None:
                    made = self._insert_shaped(gateway, shaped, slot, formats, state)
                    if made is not None:
                        return values, made
                self._db.execute("ROLLBACK TO shaped")
            finally:
                self._db.execute("RELEASE shaped")
        return None

    def _insert_shaped(
        self,
        gateway: str,
        puts: Sequence[ShapedPut],
        slot: int,
        formats: Sequence[str | None],
        state: SessionState,
    ) -> list[Shaped] | None:
        row = self._db.execute(_LAST_NUMBER).fetchone()
        first = (row[0] if row else 0) + 1
        made, rows = [], []
        for place, ((session_id, _, shape, values), text) in enumerate(
            zip(puts, formats, strict=True)
        ):
            number, own = first + place, slot + place
            detail = (text or "") % values[shape.own :]
            columns = shape.columns((*values, None))
            rows.append((number, session_id, gateway, *columns, shape.qos, own, detail))
            made.append(Shaped(shape, Numbers(number, own, values)))
        try:
            self._db.executemany(_INSERT_SHAPED.format(state=state.value, now=self._now), rows)
            right = keys.write_shaped(self._db, gateway, made)
        except sqlite3.IntegrityError:
            return None
        right = right and not keys.any_in_range(self._db, first, first + len(rows) - 1)
        return made if right else None

    def delete_many(self, ids: Sequence[str]) -> list[tuple[str, FlowValues | Shaped]] | None:
        """Delete sessions of tunnels and bearers; the gateway and the numbers of each, in no order.

        None, and nothing is changed, if one is not there, is named twice, or is more than that.
        """
        with _errors():
            self._db.execute("SAVEPOINT many")
            try:
                rows = self._db.execute(_DELETE_MANY, (json.dumps(ids),)).fetchall()
                made = None if len(rows) < len(ids) else self._deleted(rows)
                if made is None:
                    self._db.execute("ROLLBACK TO many")
            finally:
                self._db.execute("RELEASE many")
        return made

    def _deleted(
        self, rows: Sequence[Sequence[Any]]
    ) -> list[tuple[str, FlowValues | Shaped]] | None:
        if {*map(_SLOT, rows)} <= {None}:
            return [(row[8], FlowValues._make(row[:8])) for row in rows]
        made: list[tuple[str, FlowValues | Shaped]] = []
        numbers = []
        for row in rows:
            gateway, slot, text, failed = row[8:]
            plain = FlowValues._make(row[:8])
            if slot is None:
                made.append((gateway, plain))
                continue
            own = [number for number in plain[1:6] if number is not None]
            kind = plain.peer is None, plain.far_ip is None, plain.qos
            found = _SHAPES.of(own, kind, text, partial(_detailed, plain, slot, text))
            if found is None or failed:
                return None
            shape, values = found
            made.append((gateway, Shaped(shape, Numbers(plain.number, slot, values))))
            numbers.append(plain.number)
        keys.remove_many(self._db, numbers)
        return made

    def replace(
        self,
        session: Session,
        state: SessionState = SessionState.PENDING,
        reason: str | None = None,
        *,
        was: Session | None = None,
    ) -> Session:
        """Put `session` in the place of the one with its id, which keeps its number.

        It is faster if told what stands there now (`was`).

        Raises:
            UnknownSession: none has this id.
            Conflict: its uplink TEID, UE address or downlink F-TEID is another session's.
        """
        with self._all_or_nothing():
            there = self._db.execute(_SLOT_OF, (session.id,)).fetchone()
            if there is None:
                raise UnknownSession(session.id)
            number, slot = there
            session = self._with_slot(session, slot)
            values = (*_fields(session), state.value, reason, self._now, session.id)
            self._write(session, _UPDATE, values, new=False).fetchall()
            made = _in_state(session, number, state)
            if was is not None and not keys.may_conflict(was, made):
                keys.change(self._db, was, made)
                return made
            if slot is not None:
                keys.remove(self._db, number)
            self._write_keys(made)
        return made

    def delete(self, session_id: str, *, was: Session | None = None) -> Session:
        """Delete a session and return it; its TEID counts as released.

        It is faster if told what stands there now (`was`).

        Raises:
            UnknownSession: none has this id.
        """
        with _errors():
            rows = self._db.execute(
                f"DELETE FROM sessions WHERE id = ? RETURNING {_COLUMNS}", (session_id,)
            ).fetchall()
            if not rows:
                raise UnknownSession(session_id)
            deleted = was or _session(rows[0])
            if deleted.detail is not None:
                keys.remove(self._db, deleted.number)
                pfcp.remove(self._db, deleted.number)
                gauges.put(self._db, deleted.number, {})
                if (owner := deleted.detail.owner) is not None:
                    reports.remove(self._db, deleted.gateway, [(owner.up_seid, _MAX_SEQ)])
        return deleted

    def attempt(self) -> AbstractContextManager[None]:
        """If what is done in the block raises, nothing of it is, and the transaction can go on."""
        return self._all_or_nothing()

    def pfcp_session(self, gateway: str, up_seid: int) -> tuple[str, pfcp.Made] | None:
        """As `SessionStore.pfcp_session`, as this transaction sees it."""
        with _errors():
            return pfcp.find(self._db, gateway, up_seid) if up_seid < 1 << 63 else None

    def pfcp_sessions_of(self, gateway: str, node_id: str, cp_seid: int) -> list[pfcp.Owned]:
        """As `SessionStore.pfcp_sessions_of`, as this transaction sees it."""
        with _errors():
            return pfcp.of_node(self._db, gateway, node_id, cp_seid)

    def put_pfcp(self, gateway: str, made: pfcp.Made) -> None:
        """Write down what a session of a control plane was made from."""
        with _errors():
            pfcp.put(self._db, gateway, made)

    def ledgers(self, numbers: Sequence[int]) -> dict[int, Ledger]:
        """What these sessions have used, by their numbers; those that have none are left out."""
        with _errors():
            return usage.find(self._db, self._fresh, numbers)

    def put_ledgers(self, ledgers: Iterable[tuple[int, Ledger]]) -> None:
        """Write down what sessions have used, by their numbers."""
        with _errors():
            usage.put(self._db, self._fresh, ledgers)

    def plain_usage(self, numbers: Sequence[int]) -> list[usage.PlainRow]:
        """As `SessionStore.plain_usage`, as this transaction sees it."""
        with _errors():
            return usage.plain(self._db, self._fresh, numbers)

    def put_plain_usage(self, rows: Iterable[usage.PlainRow]) -> None:
        """Write down what tunnel pairs have used."""
        with _errors():
            usage.put_plain(self._db, self._fresh, rows)

    def drop_ledgers(self, numbers: Iterable[int]) -> None:
        """Forget what sessions have used that are no more."""
        with _errors():
            usage.remove(self._db, self._fresh, numbers)

    def put_answers(self, gateway: str, octets: bytes) -> None:
        """Write down what control planes are answered once this is committed."""
        with _errors():
            pfcp.put_answers(self._db, gateway, self._now, octets)

    def pfcp_rows(self, numbers: Sequence[int]) -> dict[int, pfcp.Made]:
        """What those of these sessions were made from that control planes have made."""
        with _errors():
            return pfcp.of_numbers(self._db, numbers)

    def put_pfcp_octets(self, made: Iterable[tuple[bytes, int]]) -> None:
        """Write down what sessions are made from now, and their numbers."""
        with _errors():
            pfcp.put_octets(self._db, made)

    def put_report(self, gateway: str, up_seid: int, octets: bytes) -> None:
        """Write down what is to be reported of a session once this is committed."""
        with _errors():
            reports.put(self._db, gateway, up_seid, octets)

    def reports_of(self, gateway: str, up_seid: int) -> list[reports.Report]:
        """What was reported of a session and is not answered, oldest first."""
        with _errors():
            return reports.find(self._db, gateway, up_seid)

    def count_reports(self, gateway: str, up_seid: int) -> int:
        """How many reports of a session are not answered."""
        with _errors():
            return reports.count(self._db, gateway, up_seid)

    def remove_reports(self, gateway: str, answered: Iterable[tuple[int, int]]) -> None:
        """Forget reports that are answered: SEIDs of ours, and the last number of each."""
        with _errors():
            reports.remove(self._db, gateway, answered)

    def put_association(self, gateway: str, node_id: str, stored: dict[str, Any] | None) -> None:
        """Write an association in the place of that with its Node ID; None: it is no more."""
        with _errors():
            pfcp.put_association(self._db, gateway, node_id, stored)

    def gauges(self, numbers: Sequence[int]) -> dict[int, dict[str, Gauge]]:
        """Where the limits of these sessions count from, by their numbers."""
        with _errors():
            return gauges.find(self._db, numbers)

    def put_gauges(self, number: int, stated: Mapping[str, Gauge]) -> None:
        """Write down where the limits of a session count from; none: it has none."""
        with _errors():
            gauges.put(self._db, number, stated)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """What raises in the block has changed nothing, and the transaction can go on."""
        with _errors():
            self._db.execute("SAVEPOINT one")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK TO one")
                raise
            finally:
                self._db.execute("RELEASE one")

    def _with_slot(self, session: Session, slot: int | None) -> Session:
        """The session with the slot that it has, or a new one, if it needs any."""
        if session.detail is None:
            return session
        if slot is None:
            (last,) = self._db.execute("SELECT max(slot) FROM sessions").fetchone()
            slot = (last or 0) + 1
        if slot > SLOT_MAX:
            free = "SELECT a.slot + 1 FROM sessions AS a WHERE a.slot IS NOT NULL AND NOT EXISTS"
            free += " (SELECT 1 FROM sessions AS b WHERE b.slot = a.slot + 1) LIMIT 1"
            row = self._db.execute(free).fetchone()
            slot = row[0] if row else SLOT_MAX + 1
        if slot > SLOT_MAX:
            raise StoreError("no slot is free for a session with bearers")
        return replace(session, detail=replace(session.detail, slot=slot))

    def _write_keys(self, session: Session) -> None:
        """Write what does not stand in its row, unless another session has some of it."""
        conflict = keys.conflict(self._db, session)
        if conflict is not None:
            raise conflict
        if session.detail is not None:
            keys.write(self._db, session)

    def set_state(
        self, numbers: Iterable[int], state: SessionState, reason: str | None = None
    ) -> None:
        """Set state and reason of the sessions with these numbers; unknown ones are skipped."""
        with _errors():
            self._db.executemany(
                "UPDATE sessions SET state = ?, reason = ? WHERE number = ?",
                ((state.value, reason, number) for number in numbers),
            )

    def set_range_state(self, first: int, last: int, state: SessionState) -> None:
        """Set the state of the sessions with numbers from `first` to `last`."""
        with _errors():
            self._db.execute(
                "UPDATE sessions SET state = ? WHERE number BETWEEN ? AND ?",
                (state.value, first, last),
            )

    def set_gateway_state(
        self, gateway: str, state: SessionState, reason: str | None = None
    ) -> None:
        """Set state and reason of every session of a gateway but those in `error_indicated`.

        What a peer has said of its tunnel does not change with what becomes of the switch.
        """
        with _errors():
            self._db.execute(
                "UPDATE sessions NOT INDEXED SET state = :state, reason = :reason"
                f" WHERE gateway = :gateway AND state <> '{SessionState.ERROR_INDICATED}'"
                " AND (state <> :state OR reason IS NOT :reason)",
                {"state": state.value, "reason": reason, "gateway": gateway},
            )

    def allocate_teid(self, gateway: str, among: range | None = None) -> int:
        """A random TEID, of some or any, that no session has and none lately gave back.

        Late packets of a session that is gone must not reach another one's UE. Only when random
        tries find nothing is the TEID taken that was given back longest ago.

        Raises:
            StoreError: no TEID is free.
        """
        teids = among or self._teids
        taken = (
            "SELECT EXISTS (SELECT 1 FROM sessions WHERE gateway = :g AND uplink_teid = :t)"
            " OR EXISTS (SELECT 1 FROM released WHERE gateway = :g AND teid = :t)"
            " OR EXISTS (SELECT 1 FROM teids WHERE gateway = :g AND teid = :t)"
        )
        oldest = (
            "SELECT teid FROM released AS r WHERE gateway = ? AND teid BETWEEN ? AND ?"
            " AND NOT EXISTS (SELECT 1 FROM sessions AS s"
            " WHERE s.gateway = r.gateway AND s.uplink_teid = r.teid)"
            " AND NOT EXISTS (SELECT 1 FROM teids AS t"
            " WHERE t.gateway = r.gateway AND t.teid = r.teid) ORDER BY seq"
        )
        with _errors():
            for _ in range(ALLOCATION_TRIES):
                teid = secrets.choice(teids)
                if (gateway, teid) in self._allocated:
                    continue
                if not self._db.execute(taken, {"g": gateway, "t": teid}).fetchone()[0]:
                    self._allocated.add((gateway, teid))
                    return teid
            bounds = (gateway, teids[0], teids[-1])
            rows = self._db.execute(oldest, bounds).fetchall()
        for (teid,) in rows:
            if (gateway, teid) not in self._allocated:
                self._allocated.add((gateway, teid))
                return int(teid)
        raise StoreError(f"gateway {gateway}: no uplink TEID is free")

    def _write(
        self, session: Session, sql: str, values: Sequence[Any], *, new: bool
    ) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.IntegrityError as error:
            raise self._conflict(session, new, error) from None
        except sqlite3.Error as error:
            raise StoreError(f"the session store: {error}") from error

    def _conflict(
        self, session: Session, new: bool, error: sqlite3.IntegrityError
    ) -> Conflict | StoreError:
        """Which field of `session` another session has, and which session that is."""
        if new and self.get(session.id) is not None:
            return Conflict("id", f"the id {session.id!r} is in use", session.id)
        uplink, ue_ip, down = session.uplink, session.ue_ip, session.downlink
        checks: list[tuple[str, str, str, tuple[int, ...]]] = []
        if uplink is not None:
            what = f"the uplink TEID {uplink.teid}"
            checks.append(("uplink.teid", what, "uplink_teid = ?", (uplink.teid,)))
        if ue_ip is not None:
            checks.append(("ue_ip", f"the UE address {ue_ip}", "ue_ip = ?", (int(ue_ip),)))
        if down is not None:
            what = f"the downlink TEID {down.teid} at {down.ip}"
            where = "downlink_teid = ? AND downlink_ip = ?"
            checks.append(("downlink", what, where, (down.teid, keys.number_of(down.ip))))
        for loc, what, where, values in checks:
            sql = f"{_SELECT} WHERE {where} AND gateway = ? AND id <> ?"
            other = _one(self._db, sql, (*values, session.gateway, session.id))
            if other is not None:
                other_id = other.session.id
                return Conflict(loc, f"{what} is in use by session {other_id!r}", other_id)
        return StoreError(f"the session store: {error}")


class SessionStore:
    """The sessions of all gateways in one SQLite file.

    Args:
        path: the file; it and its directory are made if missing (readable by the owner alone:
            session ids tend to be subscriber identities).
        durability: "normal" keeps every commit through a killed process, "full" through a power
            cut as well, at the price of an fsync per transaction.
        teids: what uplink TEIDs are allocated from.
        clock: seconds since the epoch.
        aside: runs what takes long, at once or in another system thread.
        pause: called again and again by who wants to write while that runs.

    Raises:
        StoreUnfit: the file is damaged, is no ofgtp store, or was written by a later version.
        StoreError: it cannot be made, read or written now.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Literal["normal", "full"] = "normal",
        teids: range = range(1, TEID_MAX + 1),
        clock: Callable[[], float] = time.time,
        aside: Callable[[Callable[[], None]], None] = lambda work: work(),
        pause: Callable[[], None] = lambda: time.sleep(0.001),
    ) -> None:
        self.path = path
        self._teids, self._clock, self._aside, self._pause = teids, clock, aside, pause
        self._logged, self._folding, self._not_folded = 0, False, ""
        self._open_tx = False
        self._transactions = 0
        self._fresh = usage.Fresh()
        self._connections: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error
        try:
            self._db = self._connect()
            self._prepare(durability)
            self._reader = self._connect()
            self._counts: dict[str | None, tuple[int, tuple[int, ...]]] = {}
            self._reader.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            self.close()
            kind = StoreDamaged if error.sqlite_errorcode & 0xFF in _DAMAGE else StoreError
            why = "the disk is full" if _is_full(path.parent) else str(error)
            raise kind(f"{path}: cannot be used as the session store: {why}") from error
        except StoreError:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connections.append(db)
        return db

    def _prepare(self, durability: Literal["normal", "full"]) -> None:
        """Check what the file is, make the tables in an empty one, and set the journal up."""
        db = self._db
        version = db.execute("PRAGMA user_version").fetchone()[0]
        owner = db.execute("PRAGMA application_id").fetchone()[0]
        empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and owner != APPLICATION_ID:
            raise StoreUnfit(f"{self.path}: is another program's database")
        if version > SCHEMA_VERSION:
            raise StoreUnfit(
                f"{self.path}: has schema version {version}, this ofgtp knows {SCHEMA_VERSION}"
            )
        damage = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise StoreDamaged(f"{self.path}: is damaged: {damage}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        db.execute(f"PRAGMA journal_size_limit = {16 << 20}")
        db.execute("PRAGMA wal_autocheckpoint = 0")  # `_fold` does it
        # Or what each savepoint changes is first copied into a file.
        db.execute("PRAGMA temp_store = MEMORY")
        if empty:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            self._set_meta("instance_id", str(uuid.uuid4()))
        else:
            for older in range(version, SCHEMA_VERSION):
                step = f"{_MIGRATIONS[older]} PRAGMA user_version = {older + 1};"
                db.executescript(f"BEGIN IMMEDIATE; {step} COMMIT;")
        self.check()

    @property
    def instance_id(self) -> str:
        """Names this life of the store: it changes when the sessions are given up (`reset`)."""
        with _errors():
            row = self._reader.execute("SELECT value FROM meta WHERE key = 'instance_id'")
            return str(row.fetchone()[0])

    def check(self) -> None:
        """Raise StoreError unless the store can be written now."""
        if self._open_tx or self._folding:
            return
        with _errors():
            self._set_meta("checked_at", str(int(self._clock())))
        self._wrote(1)

    def reset(self) -> str:
        """Give up all sessions and return a new instance id. Numbers and TEIDs are not reused."""
        instance_id = str(uuid.uuid4())
        with self.transaction(), _errors():
            self._db.execute("DELETE FROM sessions")
            keys.clear(self._db)
            pfcp.clear(self._db)
            usage.clear(self._db)
            reports.clear(self._db)
            gauges.clear(self._db)
            self._set_meta("instance_id", instance_id)
        return instance_id

    def recovery_time_stamp(self, now: int) -> int:
        """Since when all sessions of control planes are kept: `now`, if that is not known yet."""
        with _errors():
            sql = "SELECT value FROM meta WHERE key = ?"
            row = self._reader.execute(sql, (pfcp.STAMP,)).fetchone()
            if row is not None:
                return int(row[0])
            self._set_meta(pfcp.STAMP, str(now))
        return now

    def ledgers(self, numbers: Sequence[int]) -> dict[int, Ledger]:
        """What these sessions have used, by their numbers; those that have none are left out."""
        with _errors():
            return usage.find(self._reader, self._fresh, numbers)

    def gauges(self, numbers: Sequence[int]) -> dict[int, dict[str, Gauge]]:
        """Where the limits of these sessions count from, by their numbers."""
        with _errors():
            return gauges.find(self._reader, numbers)

    def with_limits(self, gateway: str) -> list[int]:
        """The numbers of the sessions that have limits of usage."""
        with _errors():
            return gauges.numbers(self._reader, gateway)

    def plain_usage(self, numbers: Sequence[int]) -> list[usage.PlainRow]:
        """The same of sessions that are but tunnel pairs, whether there is anything or not."""
        with _errors():
            return usage.plain(self._reader, self._fresh, numbers)

    @property
    def quiet(self) -> int | None:
        """None while a transaction is open; else the same number until the next one is made."""
        return None if self._open_tx else self._transactions

    def looked(self, rows: Iterable[usage.PlainRow], ledgers: Iterable[tuple[int, Ledger]]) -> None:
        """Keep in mind what sessions have used by now, later than it was written."""
        self._fresh.keep(usage.plain_row(row) for row in rows)
        self._fresh.keep(usage.ledger_row(number, ledger) for number, ledger in ledgers)

    def unwritten(self, numbers: Sequence[int]) -> set[int]:
        """Those of these sessions of which something is kept in mind."""
        return {*self._fresh.among(numbers)}

    def usage_of_gone(self, after: int, last: int | None) -> list[int]:
        """The numbers in a range of sessions that are no more, and whose use is still there."""
        with _errors():
            return usage.of_gone(self._reader, after, last)

    def usage_list(
        self, gateway: str | None, limit: int, cursor: str | None = None
    ) -> tuple[list[usage.Listed], str | None]:
        """A page of what sessions have used, as it is kept, and the cursor of the next one.

        Raises:
            InvalidSession: `cursor` is none of ours.
        """
        after = _cursor_number(cursor)
        with _errors():
            page = usage.listed(self._reader, after, gateway, limit + 1)
        more = len(page) > limit
        page = page[:limit]
        return page, _cursor(page[-1].number) if more else None

    def numbers(self, after: int, limit: int) -> list[tuple[int, str, bool]]:
        """The next sessions behind a number: theirs, gateway, and whether each is a tunnel pair."""
        sql = (
            "SELECT number, gateway, slot IS NULL FROM sessions NOT INDEXED WHERE number > ?"
            " ORDER BY number LIMIT ?"
        )
        with _errors():
            rows = self._reader.execute(sql, (after, limit)).fetchall()
        return [(number, gateway, bool(plain)) for number, gateway, plain in rows]

    def by_numbers(self, numbers: Sequence[int]) -> list[StoredSession]:
        """The sessions with these numbers, those that are there."""
        sql = f"{_SELECT} WHERE number IN (SELECT value FROM json_each(?))"
        with _errors():
            rows = self._reader.execute(sql, (json.dumps([*numbers]),)).fetchall()
        return [_stored(row) for row in rows]

    def pfcp_session(self, gateway: str, up_seid: int) -> tuple[str, pfcp.Made] | None:
        """The id of the session with this SEID of ours, and what it was made from."""
        with _errors():
            return pfcp.find(self._reader, gateway, up_seid) if up_seid < 1 << 63 else None

    def pfcp_sessions_of(
        self, gateway: str, node_id: str, cp_seid: int | None = None
    ) -> list[pfcp.Owned]:
        """Sessions of a control plane; of one of its SEIDs, or of any."""
        with _errors():
            return pfcp.of_node(self._reader, gateway, node_id, cp_seid)

    def pfcp_made(self, numbers: Sequence[int]) -> list[tuple[StoredSession, pfcp.Made]]:
        """Those of these sessions that control planes have made, and what from."""
        stored = self.by_numbers(numbers)
        with _errors():
            made = pfcp.of_numbers(self._reader, numbers)
        return [(each, made[each.session.number]) for each in stored if each.session.number in made]

    def pfcp_octets(self, gateway: str, after: int, most: int) -> list[tuple[int, bytes]]:
        """The numbers of sessions of control planes behind one, and what they were made from."""
        with _errors():
            return pfcp.octets(self._reader, gateway, after, most)

    def reports_of(self, gateway: str, up_seid: int, most: int) -> list[reports.Report]:
        """The first that were reported of a session and are not answered, oldest first."""
        with _errors():
            return reports.find(self._reader, gateway, up_seid, most)

    def reported_sessions(self, gateway: str) -> list[int]:
        """The SEIDs of ours of which reports are not answered, the oldest first."""
        with _errors():
            return reports.sessions(self._reader, gateway)

    def pfcp_counts(self, gateway: str) -> dict[str, int]:
        """How many sessions each control plane has."""
        with _errors():
            return pfcp.counts(self._reader, gateway)

    def pfcp_with_peer(self, gateway: str, peer: Address) -> list[str]:
        """The control planes whose sessions send to a GTP-U peer."""
        with _errors():
            return pfcp.with_peer(self._reader, gateway, keys.number_of(peer))

    def end_pfcp(self, gateway: str) -> int:
        """Delete all that control planes have on a gateway; how many sessions that were."""
        with self.transaction() as tx, _errors():
            ids = pfcp.of_gateway(self._db, gateway)
            for session_id in ids:
                tx.delete(session_id)
            pfcp.forget_node(self._db, gateway)
            reports.clear(self._db, gateway)
        return len(ids)

    def associations(self, gateway: str) -> list[dict[str, Any]]:
        """The associations of a gateway."""
        with _errors():
            return pfcp.associations(self._reader, gateway)

    def pfcp_answers(self, gateway: str) -> list[tuple[float, bytes]]:
        """What control planes were lately answered, oldest first, and how many seconds ago."""
        now = int(self._clock() * 1_000_000)
        with _errors():
            found = pfcp.answers(self._reader, gateway, now - pfcp.ANSWERS_S * 1_000_000)
        return [(max(now - at, 0) / 1e6, octets) for at, octets in found]

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit what is done in the block, or, if it raises, nothing of it.

        The block may give way to other green threads: reads elsewhere see what was committed
        before. A second transaction meanwhile is refused, so callers take turns by a lock.

        Raises:
            StoreError: the store cannot be written, or another transaction is open.
        """
        if self._open_tx:
            raise StoreError("the session store: another transaction is open")
        while self._folding:
            self._pause()
        with _errors():
            self._db.execute("BEGIN IMMEDIATE")
        self._open_tx, rows = True, self._db.total_changes
        try:
            yield Transaction(self._db, int(self._clock() * 1_000_000), self._teids, self._fresh)
            with _errors():
                self._transactions += 1
                if self._transactions % FORGET_EVERY == 0:
                    self._db.execute(
                        "DELETE FROM released WHERE seq <= (SELECT max(seq) FROM released) - ?",
                        (RELEASES_KEPT,),
                    )
                    pfcp.forget_answers(self._db, int(self._clock() * 1_000_000))
                self._db.execute("COMMIT")
        finally:
            self._open_tx = False
            if self._db.in_transaction:
                with _errors():
                    self._db.execute("ROLLBACK")
        self._wrote(COMMIT_PAGES + (self._db.total_changes - rows) // ROWS_A_PAGE)

    def _wrote(self, pages: int) -> None:
        """So many pages, about, have been added to the write-ahead log."""
        self._logged += pages
        if self._not_folded:
            log.warning(
                "%s: SQLite's write-ahead log is not written back into the file, and grows: %s",
                self.path,
                self._not_folded,
            )
            self._not_folded = ""
        if self._logged > LOG_PAGES and not self._folding:
            self._logged, self._folding = 0, True
            self._aside(self._fold)

    def _fold(self) -> None:
        """Fold the write-ahead log into the file, and have it begin anew. It may take long, and
        has a connection of its own: readers go on meanwhile, and the writer waits. (If it did not,
        the log would never be folded to its end, and grow.)"""
        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as db:
                if db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]:
                    self._not_folded = "it is being read"
        except sqlite3.Error as error:
            self._not_folded = str(error)  # this may be another system thread: it logs nothing
        finally:
            self._folding = False

    def get(self, session_id: str) -> StoredSession | None:
        """The session with this id."""
        return _one(self._reader, f"{_SELECT} WHERE id = ?", (session_id,))

    def by_teid(self, gateway: str, teid: int) -> StoredSession | None:
        """The session of the gateway that is reached by this TEID of ours."""
        where = "gateway = ? AND uplink_teid = ?"
        own = _one(self._reader, f"{_SELECT} WHERE {where}", (gateway, teid))
        return own or self._by_number(keys.number_by_teid(self._reader, gateway, teid))

    def _by_number(self, number: int | None) -> StoredSession | None:
        if number is None:
            return None
        return _one(self._reader, f"{_SELECT} WHERE number = ?", (number,))

    def knows_teid(self, gateway: str, teid: int) -> bool:
        """Whether a session of the gateway has this uplink TEID, or had or gets it by a change that
        is not committed yet."""
        where = "gateway = ? AND uplink_teid = ?"
        asked = (gateway, teid)
        found = (_one(db, f"{_SELECT} WHERE {where}", asked) for db in (self._reader, self._db))
        return any(each is not None for each in found) or any(
            keys.number_by_teid(db, gateway, teid) is not None for db in (self._reader, self._db)
        )

    def last_number(self) -> int:
        """The greatest number that a session has had; none has it again."""
        with _errors():
            row = self._reader.execute(_LAST_NUMBER).fetchone()
        return 0 if row is None else int(row[0])

    def by_ue_ip(self, gateway: str, ue_ip: IPv4Address) -> StoredSession | None:
        """The session of the gateway with this UE address, or with a prefix that holds it."""
        where = "gateway = ? AND ue_ip = ?"
        own = _one(self._reader, f"{_SELECT} WHERE {where}", (gateway, int(ue_ip)))
        return own or self._by_number(keys.number_by_address(self._reader, gateway, ue_ip))

    def by_ue_ipv6(self, gateway: str, address: IPv6Address) -> StoredSession | None:
        """The session of the gateway whose UE has this address, or behind whose UE it is."""
        return self._by_number(keys.number_by_ipv6(self._reader, gateway, address))

    def count_ipv6(self, gateway: str) -> int:
        """How many sessions of the gateway have an IPv6 prefix."""
        with _errors():
            return keys.count_ipv6(self._reader, gateway)

    def ipv6_numbers(self, gateway: str, after: int, limit: int, skipped: int = 0) -> list[int]:
        """The numbers of the next of these sessions behind a number, but for some in front."""
        with _errors():
            return keys.ipv6_numbers(self._reader, gateway, after, limit, skipped)

    def ue_ipv6(self, numbers: Sequence[int]) -> dict[int, IPv6Network]:
        """The prefixes of those of these sessions whose UEs have one, by their numbers."""
        sql = (
            "SELECT number, json_extract(detail, '$.ue_ipv6') AS prefix FROM sessions"
            " WHERE number IN (SELECT value FROM json_each(?)) AND prefix NOT NULL"
        )
        with _errors():
            rows = self._reader.execute(sql, (json.dumps([*numbers]),)).fetchall()
        return {number: IPv6Network(prefix) for number, prefix in rows}

    def by_slot(self, gateway: str, slot: int) -> Session | None:
        """The session of the gateway that has this slot."""
        found = _one(self._reader, f"{_SELECT} WHERE slot = ? AND gateway = ?", (slot, gateway))
        return None if found is None else found.session

    def by_downlink(self, gateway: str, fteid: FTeid) -> StoredSession | None:
        """The session of the gateway that sends to this tunnel of a peer's."""
        where = "gateway = ? AND downlink_ip = ? AND downlink_teid = ?"
        values = gateway, keys.number_of(fteid.ip), fteid.teid
        own = _one(self._reader, f"{_SELECT} WHERE {where}", values)
        return own or self._by_number(keys.number_by_tunnel(self._reader, gateway, fteid))

    def framed(self, gateway: str) -> list[Network]:
        """The prefixes behind the UEs of a gateway (`framed_routes`)."""
        with _errors():
            return keys.framed(self._reader, gateway)

    def peers(self, gateway: str) -> dict[Address, int]:
        """The peers that a gateway's sessions name on either side, and how many name each."""
        with _errors():
            rows = self._reader.execute(_PEERS, {"gateway": gateway}).fetchall()
            rows6 = self._reader.execute(_PEERS6, {"gateway": gateway}).fetchall()
            peers: dict[Address, int] = {IPv6Address(ip): count for ip, count in rows6}
            for row in self._reader.execute(_RULED6, {"gateway": gateway}):
                session = _session(row)
                own = session.downlink and session.downlink.ip  # counted already
                for ip in peers_of(session):
                    if isinstance(ip, IPv6Address) and ip != own:
                        peers[ip] = peers.get(ip, 0) + 1
        return peers | {IPv4Address(ip): count for ip, count in rows if keys.is_ipv4(ip)}

    def iterate(
        self,
        gateway: str,
        state: SessionState | None = None,
        *,
        detailed: bool = False,
        rules: bool = True,
    ) -> Iterator[Session]:
        """The sessions of a gateway, in the order of their numbers; if asked for, only those that
        are more than a tunnel pair, or without the rules of their control planes.

        Read in chunks: what changes while the caller takes its time may or may not be seen.
        """
        sql = f"{_SELECT} NOT INDEXED WHERE number > ? AND gateway = ?"
        values: tuple[Any, ...] = (gateway,)
        if state is not None:
            sql, values = f"{sql} AND state = ?", (gateway, state.value)
        if detailed:
            sql = sql.replace("NOT INDEXED", "")
            sql += " AND slot IS NOT NULL"
        sql += f" ORDER BY number LIMIT {_CHUNK}"
        after = 0
        while True:
            with _errors():
                rows = self._reader.execute(sql, (after, *values)).fetchall()
            for row in rows:
                yield _session(row, rules=rules)
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]

    def values(self, gateway: str) -> Iterator[FlowValues]:
        """What the flows of a gateway's tunnel pairs are made from, in the order of their numbers.

        Read in chunks, as by `iterate`; and, as there, from end to end of the table: by an index
        of the gateway SQLite would jump about in it.
        """
        sql = (
            f"SELECT {_VALUES} FROM sessions NOT INDEXED"
            f" WHERE number > ? AND gateway = ? AND slot IS NULL ORDER BY number LIMIT {_CHUNK}"
        )
        after = 0
        while True:
            with _errors():
                rows = self._reader.execute(sql, (after, gateway)).fetchall()
            yield from map(FlowValues._make, rows)
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]

    def count(self, gateway: str | None = None) -> dict[SessionState, int]:
        """How many sessions are in each state, of one gateway or of all.

        Where many are asked for it often, it must cost nothing while nothing changes.
        """
        with _errors():
            (version,) = self._reader.execute("PRAGMA data_version").fetchone()
            known = self._counts.get(gateway)
            if known is None or known[0] != version:
                row = self._reader.execute(_COUNT, {"gateway": gateway}).fetchone()
                known = self._counts[gateway] = version, row
        return dict(zip(SessionState, known[1], strict=True))

    def list(
        self,
        *,
        gateway: str | None = None,
        part_of_id: str | None = None,
        ue_ip: Address | None = None,
        ue_ipv6: IPv6Network | None = None,
        teid: int | None = None,
        peer: Address | None = None,
        state: SessionState | None = None,
        owned: bool = True,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[list[StoredSession], str | None]:
        """One page of the sessions that match, and the cursor of the next page or None.

        `part_of_id` stands anywhere in the id; an IPv6 `ue_ip` is one of the UE's prefix, which
        holds `ue_ipv6` or lies in it;
        `teid` is the uplink's; `peer` is `uplink.remote_ip` or `downlink.remote_ip`; those of
        control planes are left out unless `owned`. A page goes on after the last session of the one
        before: sessions made or deleted in between neither repeat nor hide others.

        Raises:
            InvalidSession: `cursor` is none of ours, or `limit` is not 1 to 1000.
        """
        if not 1 <= limit <= _MAX_LIMIT:
            raise InvalidSession("limit", f"1 to {_MAX_LIMIT}, not {limit}")
        where = ["number > ?"]
        values: list[Any] = [_cursor_number(cursor)]
        filters: list[tuple[str, Any]] = [
            ("gateway = ?", gateway),
            ("instr(id, ?) > 0", part_of_id),
            ("ue_ip = ?", int(ue_ip) if isinstance(ue_ip, IPv4Address) else None),
            ("state = ?", state and state.value),
        ]
        for condition, value in filters:
            if value is not None:
                where.append(condition)
                values.append(value)
        of_ip = [IPv6Network(ue_ip)] if isinstance(ue_ip, IPv6Address) else []
        for prefix in (*of_ip, *([] if ue_ipv6 is None else [ue_ipv6])):
            where.append("number IN (SELECT number FROM prefixes WHERE first <= ? AND last >= ?)")
            first, last = keys.bounds6(prefix)
            values += [last, first]
        if teid is not None:
            where.append("(uplink_teid = ? OR number IN (SELECT number FROM teids WHERE teid = ?))")
            values += [teid, teid]
        if peer is not None:
            own = "uplink_remote_ip = ? OR downlink_ip = ?"
            where.append(f"({own} OR number IN (SELECT number FROM tunnels WHERE ip = ?))")
            values += [keys.number_of(peer)] * 3
        if not owned:
            where.append("number NOT IN (SELECT number FROM pfcp_sessions)")
        # An index of the gateway alone would lead through all of its sessions, in no order.
        found = gateway is not None and (isinstance(ue_ip, IPv4Address) or teid is not None)
        table = _SELECT if found else f"{_SELECT} NOT INDEXED"
        sql = f"{table} WHERE {' AND '.join(where)} ORDER BY number LIMIT ?"
        with _errors():
            rows = self._reader.execute(sql, (*values, limit + 1)).fetchall()
        page = [_stored(row) for row in rows[:limit]]
        more = len(rows) > limit
        return page, _cursor(page[-1].session.number) if more else None

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        for db in reversed(self._connections):
            db.close()
        self._connections.clear()

    def _set_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def _is_full(directory: Path) -> bool:
    """Whether there is no room for a page more: SQLite may call that a disk I/O error."""
    try:
        shown = os.statvfs(directory)
    except OSError:
        return False
    return shown.f_bavail * shown.f_frsize < PAGE or (shown.f_files > 0 and shown.f_favail == 0)


def claim(path: Path) -> int:
    """Keep other processes off a store as long as this one lives; a file descriptor.

    Raises:
        StoreError: another process has claimed it, or the directory cannot be used.
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(path.with_name(f"{path.name}.lock"), flags, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreError(f"{path}: another controller uses this store") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    return lock


def set_aside(path: Path, why: str) -> Path:
    """Rename a closed store, with its journal files, and return its new path.

    Raises:
        StoreError: it cannot be renamed.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.{why}-{stamp}")
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            journal = path.with_name(path.name + suffix)
            if journal.exists():
                journal.rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StoreError(f"{path}: cannot be set aside: {error.strerror}") from error
    return aside


class _errors:
    """SQLite's errors as StoreError. (A generator would take five times as long, in each call.)"""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"the session store: {error}") from error


def _fields(session: Session) -> tuple[str | int | None, ...]:
    uplink, down = session.uplink, session.downlink
    remote = None if uplink is None else uplink.remote_ip
    return (
        session.gateway,
        None if session.ue_ip is None else int(session.ue_ip),
        None if uplink is None else uplink.teid,
        None if remote is None else int(remote),
        None if down is None else down.teid,
        None if down is None else keys.number_of(down.ip),
        0 if session.qos is None else session.qos.number,
        None if session.detail is None else session.detail.slot,
        to_text(session),
    )


def _in_state(session: Session, number: int, state: SessionState) -> Session:
    """The session as it is read back."""
    if session.detail is not None:
        return replace(session, number=number)
    indicated = state is SessionState.ERROR_INDICATED
    return replace(session, number=number, error_indicated=indicated)


def _one(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> StoredSession | None:
    with _errors():
        rows = db.execute(sql, values).fetchall()
    return _stored(rows[0]) if rows else None


def _session(row: Sequence[Any], *, rules: bool = True) -> Session:
    number, session_id, gateway, ue_ip, teid, remote, down_teid, down_ip, qos, state = row[:10]
    slot, text = row[13:15]
    detail, indicated, far6 = None, state == SessionState.ERROR_INDICATED, None
    if text is not None:
        detail, indicated, far6 = from_text(text, slot, rules=rules)
    return Session(
        number,
        session_id,
        gateway,
        None if ue_ip is None else IPv4Address(ue_ip),
        None if teid is None else Uplink(teid, None if remote is None else IPv4Address(remote)),
        None if down_teid is None else FTeid(down_teid, far6 or IPv4Address(down_ip)),
        indicated,
        Qos.of(qos),
        detail,
    )


def _detailed(values: FlowValues, slot: int, text: str) -> Session:
    """A session without its id and gateway."""
    state, times = SessionState.ACTIVE.value, (0, 0)
    return _session(
        (values.number, "", "", *values[1:6], values.qos, state, None, *times, slot, text)
    )


def _stored(row: Sequence[Any]) -> StoredSession:
    return StoredSession(
        _session(row), SessionState(row[9]), row[10], _time(row[11]), _time(row[12])
    )


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(f"n{number}".encode()).decode().rstrip("=")


def _cursor_number(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not (text.startswith("n") and text[1:].isascii() and text[1:].isdigit() and len(text) < 15):
        raise InvalidSession("cursor", "is not a cursor of this list")
    return int(text[1:])
