"""Very many sessions at once, added or deleted by few statements: all of them, or none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from ofgtp.core.model import BatchPut, FlowValues, SessionState
from ofgtp.core.sessions.detail import SLOT_MAX
from ofgtp.core.sessions.shape import Numbers
from ofgtp.core.sessions.shaped import Shaped, ShapedPut
from ofgtp.store import keys
from ofgtp.store.detail import Shapes, format_of
from ofgtp.store.rows import LAST_NUMBER, VALUES, detailed_of

_INSERT = (
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
_DELETE = (
    "DELETE FROM sessions WHERE id IN (SELECT value FROM json_each(?))"
    f" RETURNING {VALUES}, gateway, slot, detail, state = '{SessionState.FAILED.value}'"
)
"""One statement for many: each that starts the trigger costs 20 microseconds more."""
_SLOT = itemgetter(9)
_SHAPES = Shapes()


def insert(
    db: sqlite3.Connection, now: int, gateway: str, puts: Sequence[BatchPut], state: SessionState
) -> list[FlowValues] | None:
    """Add tunnel pairs; None, and nothing is changed, if one is not new or in conflict."""
    row = db.execute(LAST_NUMBER).fetchone()
    first = (row[0] if row else 0) + 1
    values = [
        FlowValues(number, ue_ip, teid or 0, peer, far_teid, far_ip, False, qos)
        for number, (_, _, ue_ip, teid, peer, far_teid, far_ip, qos) in enumerate(puts, first)
    ]
    rows = [(number, put[0], gateway, *put[2:]) for number, put in enumerate(puts, first)]
    db.execute("SAVEPOINT many")
    try:
        db.executemany(_INSERT.format(state=state.value, now=now), rows)
        if keys.any_in_range(db, first, first + len(rows) - 1):
            db.execute("ROLLBACK TO many")
            return None
    except sqlite3.IntegrityError:
        db.execute("ROLLBACK TO many")
        return None
    finally:
        db.execute("RELEASE many")
    return values


def insert_shaped(
    db: sqlite3.Connection,
    now: int,
    gateway: str,
    puts: Sequence[BatchPut],
    shaped: Sequence[ShapedPut],
    state: SessionState,
) -> tuple[list[FlowValues], list[Shaped]] | None:
    """Add tunnel pairs, and then sessions with bearers; None as by `insert`."""
    formats = [format_of(put.shape) for put in shaped]
    (last,) = db.execute("SELECT max(slot) FROM sessions").fetchone()
    slot = (last or 0) + 1
    if None in formats or slot + len(shaped) - 1 > SLOT_MAX:
        return None
    db.execute("SAVEPOINT shaped")
    try:
        values = insert(db, now, gateway, puts, state) if puts else []
        if values is not None:
            made = _insert_shaped(db, now, gateway, shaped, slot, formats, state)
            if made is not None:
                return values, made
        db.execute("ROLLBACK TO shaped")
    finally:
        db.execute("RELEASE shaped")
    return None


def _insert_shaped(
    db: sqlite3.Connection,
    now: int,
    gateway: str,
    puts: Sequence[ShapedPut],
    slot: int,
    formats: Sequence[str | None],
    state: SessionState,
) -> list[Shaped] | None:
    row = db.execute(LAST_NUMBER).fetchone()
    first = (row[0] if row else 0) + 1
    made, rows = [], []
    for place, ((session_id, _, shape, values), text) in enumerate(zip(puts, formats, strict=True)):
        number, own = first + place, slot + place
        detail = (text or "") % values[shape.own :]
        columns = shape.columns((*values, None))
        rows.append((number, session_id, gateway, *columns, shape.qos, own, detail))
        made.append(Shaped(shape, Numbers(number, own, values)))
    try:
        db.executemany(_INSERT_SHAPED.format(state=state.value, now=now), rows)
        right = keys.write_shaped(db, gateway, made)
    except sqlite3.IntegrityError:
        return None
    right = right and not keys.any_in_range(db, first, first + len(rows) - 1)
    return made if right else None


def delete(
    db: sqlite3.Connection, ids: Sequence[str]
) -> list[tuple[str, FlowValues | Shaped]] | None:
    """Delete sessions of tunnels and bearers; the gateway and the numbers of each, in no order.

    None, and nothing is changed, if one is not there, is named twice, or is more than that.
    """
    db.execute("SAVEPOINT many")
    try:
        rows = db.execute(_DELETE, (json.dumps(ids),)).fetchall()
        made = None if len(rows) < len(ids) else _deleted(db, rows)
        if made is None:
            db.execute("ROLLBACK TO many")
    finally:
        db.execute("RELEASE many")
    return made


def _deleted(
    db: sqlite3.Connection, rows: Sequence[Sequence[Any]]
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
        found = _SHAPES.of(own, kind, text, partial(detailed_of, plain, slot, text))
        if found is None or failed:
            return None
        shape, values = found
        made.append((gateway, Shaped(shape, Numbers(plain.number, slot, values))))
        numbers.append(plain.number)
    keys.remove_many(db, numbers)
    return made
