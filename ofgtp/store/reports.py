"""Usage reports that control planes have not answered yet: what is in them was counted once, and
is counted nowhere else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

SCHEMA = """
CREATE TABLE reports (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    gateway TEXT NOT NULL,
    up_seid INTEGER NOT NULL,
    octets  BLOB NOT NULL
) STRICT;
CREATE INDEX reports_of ON reports (gateway, up_seid, seq);
"""


class Report(NamedTuple):
    """One request, or the part of it that stands in it."""

    seq: int
    """Later ones have higher numbers, none of which is used again."""
    up_seid: int
    octets: bytes


def put(db: sqlite3.Connection, gateway: str, up_seid: int, octets: bytes) -> None:
    """Write down what is to be reported."""
    sql = "INSERT INTO reports (gateway, up_seid, octets) VALUES (?, ?, ?)"
    db.execute(sql, (gateway, up_seid, octets))


def find(db: sqlite3.Connection, gateway: str, up_seid: int, most: int = -1) -> list[Report]:
    """Those of a session, oldest first."""
    sql = (
        "SELECT seq, up_seid, octets FROM reports WHERE gateway = ? AND up_seid = ?"
        " ORDER BY seq LIMIT ?"
    )
    return [Report(*row) for row in db.execute(sql, (gateway, up_seid, most))]


def sessions(db: sqlite3.Connection, gateway: str) -> list[int]:
    """The SEIDs of ours of which there are any, the oldest first."""
    sql = "SELECT up_seid FROM reports WHERE gateway = ? GROUP BY up_seid ORDER BY min(seq)"
    return [up_seid for (up_seid,) in db.execute(sql, (gateway,))]


def count(db: sqlite3.Connection, gateway: str, up_seid: int) -> int:
    """How many there are of a session."""
    sql = "SELECT count(*) FROM reports WHERE gateway = ? AND up_seid = ?"
    (found,) = db.execute(sql, (gateway, up_seid)).fetchone()
    return int(found)


def remove(db: sqlite3.Connection, gateway: str, answered: Iterable[tuple[int, int]]) -> None:
    """Forget those that are answered: SEIDs of ours, and the last number of each."""
    sql = "DELETE FROM reports WHERE gateway = ? AND up_seid = ? AND seq <= ?"
    db.executemany(sql, ((gateway, *each) for each in answered))


def clear(db: sqlite3.Connection, gateway: str | None = None) -> None:
    """Forget all, or all of a gateway."""
    db.execute("DELETE FROM reports WHERE ? IS NULL OR gateway = ?", (gateway, gateway))
