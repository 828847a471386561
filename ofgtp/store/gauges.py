"""Where the limits of sessions count from, and what of them was told.

A row is the session's by its number, which is never used again: those of sessions that are gone
mean nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from ofgtp.core.usage.limits import Gauge

SCHEMA = """
CREATE TABLE gauges (
    number INTEGER PRIMARY KEY,
    stated TEXT NOT NULL
) STRICT;
"""

_FIND = "SELECT number, stated FROM gauges WHERE number IN (SELECT value FROM json_each(?))"


def put(db: sqlite3.Connection, number: int, gauges: Mapping[str, Gauge]) -> None:
    """Write a session's in the place of those there are; none of them: it has no limits."""
    if not gauges:
        db.execute("DELETE FROM gauges WHERE number = ?", (number,))
        return
    text = json.dumps(gauges, separators=(",", ":"))
    db.execute("INSERT OR REPLACE INTO gauges VALUES (?, ?)", (number, text))


def find(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, dict[str, Gauge]]:
    """Those of these sessions, as far as there are any."""
    rows = db.execute(_FIND, (json.dumps([*numbers]),))
    return {
        number: {name: Gauge(*each) for name, each in json.loads(text).items()}
        for number, text in rows
    }


def numbers(db: sqlite3.Connection, gateway: str) -> list[int]:
    """The sessions of a gateway that have limits."""
    sql = "SELECT number FROM gauges JOIN sessions USING (number) WHERE gateway = ?"
    return [number for (number,) in db.execute(sql, (gateway,))]


def clear(db: sqlite3.Connection) -> None:
    """Forget all."""
    db.execute("DELETE FROM gauges")
