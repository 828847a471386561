"""Associations with control planes, and what their sessions were made from."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

SCHEMA = """
CREATE TABLE associations (
    gateway TEXT NOT NULL,
    node_id TEXT NOT NULL,
    stored  TEXT NOT NULL,
    PRIMARY KEY (gateway, node_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE pfcp_sessions (
    number  INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL,
    up_seid INTEGER NOT NULL,
    node_id TEXT NOT NULL,
    cp_seid TEXT NOT NULL,
    cp_ips  TEXT NOT NULL,
    made    BLOB NOT NULL,
    UNIQUE (gateway, up_seid)
) STRICT;
CREATE INDEX pfcp_sessions_of ON pfcp_sessions (gateway, node_id, cp_seid);
"""

ANSWERS = """
CREATE TABLE answers (
    seq     INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL,
    at      INTEGER NOT NULL,
    octets  BLOB NOT NULL
) STRICT;
"""
ANSWERS_S = 60
"""Seconds after which nobody asks again (T1 times N1 of any control plane)."""
ANSWERS_KEPT = 4_096
"""Of so many transactions at most."""

STAMP = "recovery_time_stamp"
"""The key of ours among the store's own values."""


class Made(NamedTuple):
    """What a control plane has asked for, as `core.pfcp.stored` writes it, and whose it is."""

    number: int
    """The session's."""
    up_seid: int
    """1 to 2^63 - 1."""
    node_id: str
    """In its canonical form."""
    cp_seid: int
    cp_ips: str
    """Addresses of the CP F-SEID, by a space."""
    octets: bytes


class Owned(NamedTuple):
    """A session of a control plane."""

    number: int
    id: str
    cp_ips: str


def put(db: sqlite3.Connection, gateway: str, made: Made) -> None:
    """Write down what a session was made from."""
    db.execute(
        "INSERT OR REPLACE INTO pfcp_sessions VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            made.number,
            gateway,
            made.up_seid,
            made.node_id,
            f"{made.cp_seid:x}",
            made.cp_ips,
            made.octets,
        ),
    )


def put_octets(db: sqlite3.Connection, made: Iterable[tuple[bytes, int]]) -> None:
    """Write down what sessions are made from now, and their numbers."""
    db.executemany("UPDATE pfcp_sessions SET made = ? WHERE number = ?", made)


def remove(db: sqlite3.Connection, number: int) -> None:
    """Forget what the session with this number was made from, if a control plane made it."""
    db.execute("DELETE FROM pfcp_sessions WHERE number = ?", (number,))


def clear(db: sqlite3.Connection) -> None:
    """Forget all of it, and since when all of it has been there."""
    db.execute("DELETE FROM pfcp_sessions")
    db.execute("DELETE FROM associations")
    db.execute("DELETE FROM answers")
    db.execute("DELETE FROM meta WHERE key = ?", (STAMP,))


def find(db: sqlite3.Connection, gateway: str, up_seid: int) -> tuple[str, Made] | None:
    """The session with this SEID of ours: its id, and what it was made from."""
    row = db.execute(
        "SELECT s.id, p.number, p.up_seid, p.node_id, p.cp_seid, p.cp_ips, p.made"
        " FROM pfcp_sessions AS p JOIN sessions AS s ON s.number = p.number"
        " WHERE p.gateway = ? AND p.up_seid = ?",
        (gateway, up_seid),
    ).fetchone()
    if row is None:
        return None
    session_id, number, seid, node_id, cp_seid, cp_ips, octets = row
    return session_id, Made(number, seid, node_id, int(cp_seid, 16), cp_ips, octets)


def of_numbers(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Made]:
    """What sessions were made from, by their numbers."""
    rows = db.execute(
        "SELECT number, up_seid, node_id, cp_seid, cp_ips, made FROM pfcp_sessions"
        " WHERE number IN (SELECT value FROM json_each(?))",
        (json.dumps([*numbers]),),
    )
    return {
        number: Made(number, up_seid, node_id, int(cp_seid, 16), cp_ips, made)
        for number, up_seid, node_id, cp_seid, cp_ips, made in rows
    }


def octets(db: sqlite3.Connection, gateway: str, after: int, most: int) -> list[tuple[int, bytes]]:
    """The numbers of sessions behind one, and what they were made from."""
    sql = (
        "SELECT number, made FROM pfcp_sessions WHERE gateway = ? AND number > ?"
        " ORDER BY number LIMIT ?"
    )
    return db.execute(sql, (gateway, after, most)).fetchall()


def of_node(db: sqlite3.Connection, gateway: str, node_id: str, cp_seid: int | None) -> list[Owned]:
    """Sessions of a control plane; of one of its SEIDs, or any."""
    sql = (
        "SELECT p.number, s.id, p.cp_ips FROM pfcp_sessions AS p"
        " JOIN sessions AS s ON s.number = p.number WHERE p.gateway = ? AND p.node_id = ?"
    )
    values: Sequence[Any] = (gateway, node_id)
    if cp_seid is not None:
        sql, values = f"{sql} AND p.cp_seid = ?", (*values, f"{cp_seid:x}")
    return [Owned(*row) for row in db.execute(f"{sql} ORDER BY p.number", values)]


def of_gateway(db: sqlite3.Connection, gateway: str) -> list[str]:
    """The ids of all sessions of control planes on a gateway."""
    sql = (
        "SELECT s.id FROM pfcp_sessions AS p JOIN sessions AS s ON s.number = p.number"
        " WHERE p.gateway = ?"
    )
    return [session_id for (session_id,) in db.execute(sql, (gateway,))]


def with_peer(db: sqlite3.Connection, gateway: str, ip: int) -> list[str]:
    """The control planes whose sessions send to a peer."""
    sql = (
        "SELECT DISTINCT p.node_id FROM tunnels AS t JOIN pfcp_sessions AS p ON p.number = t.number"
        " WHERE t.gateway = ? AND t.ip = ?"
    )
    return [node_id for (node_id,) in db.execute(sql, (gateway, ip))]


def counts(db: sqlite3.Connection, gateway: str) -> dict[str, int]:
    """How many sessions each control plane has."""
    sql = "SELECT node_id, count(*) FROM pfcp_sessions WHERE gateway = ? GROUP BY node_id"
    return dict(db.execute(sql, (gateway,)))


def put_association(
    db: sqlite3.Connection, gateway: str, node_id: str, stored: dict[str, Any] | None
) -> None:
    """Write an association in the place of that with its Node ID; None: there is none any more."""
    db.execute("DELETE FROM associations WHERE gateway = ? AND node_id = ?", (gateway, node_id))
    if stored is not None:
        values = (gateway, node_id, json.dumps(stored))
        db.execute("INSERT INTO associations VALUES (?, ?, ?)", values)


def forget_node(db: sqlite3.Connection, gateway: str) -> None:
    """A gateway has no associations any more, and has answered nobody."""
    db.execute("DELETE FROM associations WHERE gateway = ?", (gateway,))
    db.execute("DELETE FROM answers WHERE gateway = ?", (gateway,))


def put_answers(db: sqlite3.Connection, gateway: str, at: int, octets: bytes) -> None:
    """Write down what is answered, `at` in microseconds."""
    sql = "INSERT INTO answers (gateway, at, octets) VALUES (?, ?, ?)"
    db.execute(sql, (gateway, at, octets))


def forget_answers(db: sqlite3.Connection, now: int) -> None:
    """Forget those that nobody asks for again."""
    sql = "DELETE FROM answers WHERE seq <= (SELECT max(seq) FROM answers) - ? OR at < ?"
    db.execute(sql, (ANSWERS_KEPT, now - ANSWERS_S * 1_000_000))


def answers(db: sqlite3.Connection, gateway: str, since: int) -> list[tuple[int, bytes]]:
    """What was answered since then, oldest first."""
    sql = "SELECT at, octets FROM answers WHERE gateway = ? AND at >= ? ORDER BY seq"
    return db.execute(sql, (gateway, since)).fetchall()


def associations(db: sqlite3.Connection, gateway: str) -> list[dict[str, Any]]:
    """All of a gateway's."""
    rows = db.execute("SELECT stored FROM associations WHERE gateway = ?", (gateway,))
    return [json.loads(text) for (text,) in rows]
