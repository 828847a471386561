"""What sessions have used, and where the switch's counts stood then.

A row is the session's by its number, which is never used again: those of sessions that are gone
mean nothing, and are cleared away in passing. A plain session, which most are, has all in columns;
any other has its rules in `more`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ofgtp.core.rules.counts import Counts, RuleKey
from ofgtp.core.usage.ledger import Ledger, Volume
from ofgtp.core.usage.seen import Seen

SCHEMA = """
CREATE TABLE usage (
    number       INTEGER PRIMARY KEY,
    up_packets   INTEGER NOT NULL,
    up_octets    INTEGER NOT NULL,
    down_packets INTEGER NOT NULL,
    down_octets  INTEGER NOT NULL,
    active_at    INTEGER,
    marks        TEXT NOT NULL,
    more         TEXT
) STRICT;
"""
"""The first four are the session's total; `marks` is where the switch's counts stand."""

CLEARED_AT_ONCE = 1_000

_PUT = "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PLAIN: tuple[RuleKey, RuleKey] = ("uplink", ""), ("downlink", "")


def put(db: sqlite3.Connection, ledgers: Iterable[tuple[int, Ledger]]) -> None:
    """Write ledgers by their sessions' numbers."""
    db.executemany(_PUT, (_row(number, ledger) for number, ledger in ledgers))


def find(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Ledger]:
    """Those of these sessions, as far as there are any."""
    sql = "SELECT * FROM usage WHERE number IN (SELECT value FROM json_each(?))"
    rows = db.execute(sql, (json.dumps([*numbers]),))
    return {row[0]: _ledger(row) for row in rows}


def clear(db: sqlite3.Connection) -> None:
    """Forget all."""
    db.execute("DELETE FROM usage")


def clear_gone(db: sqlite3.Connection) -> int:
    """Forget some of sessions that are gone; how many."""
    sql = (
        "DELETE FROM usage WHERE number IN (SELECT u.number FROM usage AS u WHERE NOT EXISTS"
        " (SELECT 1 FROM sessions AS s WHERE s.number = u.number) LIMIT ?)"
    )
    return db.execute(sql, (CLEARED_AT_ONCE,)).rowcount


def _row(number: int, ledger: Ledger) -> tuple[Any, ...]:
    total, marks = ledger.total, ledger.marks
    plain = {*ledger.rules} <= {""} and marks.rules.keys() <= {*_PLAIN} and not marks.dropped
    plain &= ledger.gone == Volume()
    if plain:
        found = [marks.rules.get(key, Counts()) for key in _PLAIN]
        text, more = json.dumps([*_flat(*found)]), None
    else:
        rules = [[*key, *_flat(counts)] for key, counts in marks.rules.items()]
        dropped = [[place, *_flat(counts)] for place, counts in marks.dropped.items()]
        text = json.dumps([rules, dropped], separators=(",", ":"))
        kept = [[rule, *_flat(*volume)] for rule, volume in ledger.rules.items()]
        more = json.dumps([kept, [*_flat(*ledger.gone)]], separators=(",", ":"))
    return (number, *_flat(*total), ledger.active_at, text, more)


def _ledger(row: Sequence[Any]) -> Ledger:
    _, *total, active_at, text, more = row
    marks = json.loads(text)
    if more is None:
        seen = Seen(dict(zip(_PLAIN, _pairs(marks), strict=True)))
        return Ledger({"": Volume(*_pairs(total))}, marks=seen, active_at=active_at)
    of_rules, of_meters = marks
    kept, gone = json.loads(more)
    seen = Seen(
        {(direction, rule): Counts(*counts) for direction, rule, *counts in of_rules},
        {place: Counts(*counts) for place, *counts in of_meters},
    )
    rules = {rule: Volume(*_pairs(counts)) for rule, *counts in kept}
    return Ledger(rules, Volume(*_pairs(gone)), seen, active_at)


def _flat(*counts: Counts) -> Iterator[int]:
    for each in counts:
        yield from (each.packets, each.octets)


def _pairs(flat: Sequence[int]) -> Iterator[Counts]:
    for place in range(0, len(flat), 2):
        yield Counts(flat[place], flat[place + 1])
