"""What sessions have used, and where the switch's counts stood then.

A row is the session's by its number, which is never used again: those of sessions that are gone
mean nothing, and are cleared away when they are met. A plain session, which most are, has all in
columns; any other has its rules in `more`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ofgtp.core.rules.counts import NONE, Counts, RuleKey
from ofgtp.core.usage.ledger import NO_VOLUME, Ledger, Volume
from ofgtp.core.usage.plain import NEW_ROW, Row
from ofgtp.core.usage.seen import Seen

SCHEMA = """
CREATE TABLE usage (
    number            INTEGER PRIMARY KEY,
    up_packets        INTEGER NOT NULL,
    up_octets         INTEGER NOT NULL,
    down_packets      INTEGER NOT NULL,
    down_octets       INTEGER NOT NULL,
    mark_up_packets   INTEGER NOT NULL,
    mark_up_octets    INTEGER NOT NULL,
    mark_down_packets INTEGER NOT NULL,
    mark_down_octets  INTEGER NOT NULL,
    marked_at         INTEGER,
    active_at         INTEGER,
    more              TEXT
) STRICT;
"""
"""The first four are the session's total; the marks are where the switch's counts stood."""

WITHOUT_FRAMES = """
UPDATE usage SET mark_up_octets = mark_up_octets + 14 * mark_up_packets WHERE more IS NULL;
UPDATE usage SET more = json_set(more, '$[2]', json((
    SELECT json_group_array(json(CASE json_extract(value, '$[0]') WHEN 'uplink' THEN
        json_set(value, '$[3]', json_extract(value, '$[3]') + 14 * json_extract(value, '$[2]'))
        ELSE value END))
    FROM json_each(usage.more, '$[2]'))))
WHERE more IS NOT NULL AND number NOT IN (
    SELECT number FROM sessions WHERE json_extract(detail, '$.relay') IS NOT NULL OR EXISTS (
        SELECT 1 FROM json_each(detail, '$.rules')
        WHERE json_extract(value, '$[4]') IS NOT NULL AND json_array_length(value, '$[6]') = 0));
"""
"""From when uplink flows counted frames, 14 octets longer than packets, which were taken off. Not
of what goes from tunnel to tunnel unseen: rules with a TEID and no UE address. Most of its flows
never counted frames, and a mark that is above a count would have all of it counted again."""

_PUT = "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PLAIN: tuple[RuleKey, RuleKey] = ("uplink", ""), ("downlink", "")


FRESH_MAX = 10_000

DbRow = tuple[Any, ...]


class Fresh:
    """What was looked at since it was last written, of those that somebody has asked for: what was
    shown once must not be less when the switch has begun anew. It is kept in memory, the latest of
    it, and stands in the place of what is written."""

    def __init__(self) -> None:
        self._rows: dict[int, DbRow] = {}

    def keep(self, rows: Iterable[DbRow]) -> None:
        """These are later than what is written."""
        for row in rows:
            self._rows.pop(row[0], None)
            self._rows[row[0]] = row
        while len(self._rows) > FRESH_MAX:
            del self._rows[next(iter(self._rows))]

    def written(self, number: int) -> None:
        """Something later is."""
        self._rows.pop(number, None)

    def among(self, numbers: Iterable[int]) -> dict[int, DbRow]:
        """Those of these sessions."""
        return {number: self._rows[number] for number in numbers if number in self._rows}


def put(db: sqlite3.Connection, fresh: Fresh, ledgers: Iterable[tuple[int, Ledger]]) -> None:
    """Write ledgers by their sessions' numbers."""
    _write(db, fresh, [ledger_row(number, ledger) for number, ledger in ledgers])


def _write(db: sqlite3.Connection, fresh: Fresh, rows: Sequence[DbRow]) -> None:
    db.executemany(_PUT, rows)
    for row in rows:
        fresh.written(row[0])


def find(db: sqlite3.Connection, fresh: Fresh, numbers: Sequence[int]) -> dict[int, Ledger]:
    """Those of these sessions, as far as there are any."""
    sql = "SELECT * FROM usage WHERE number IN (SELECT value FROM json_each(?))"
    rows = {row[0]: row for row in db.execute(sql, (json.dumps([*numbers]),))}
    return {number: _ledger(row) for number, row in (rows | fresh.among(numbers)).items()}


def clear(db: sqlite3.Connection) -> None:
    """Forget all."""
    db.execute("DELETE FROM usage")


class PlainRow(NamedTuple):
    """What a session that is but a tunnel pair has used."""

    number: int
    row: Row
    marked_at: int | None
    active_at: int | None


def plain(db: sqlite3.Connection, fresh: Fresh, numbers: Sequence[int]) -> list[PlainRow]:
    """That of these sessions; those that are more than tunnel pairs are left out."""
    sql = "SELECT * FROM usage WHERE number IN (SELECT value FROM json_each(?))"
    rows = {row[0]: row for row in db.execute(sql, (json.dumps([*numbers]),))}
    rows |= fresh.among(numbers)
    found = []
    for number in numbers:
        row = rows.get(number)
        if row is None:
            found.append(PlainRow(number, NEW_ROW, None, None))
        elif row[11] is None:
            found.append(PlainRow(number, row[1:9], row[9], row[10]))
    return found


def put_plain(db: sqlite3.Connection, fresh: Fresh, rows: Iterable[PlainRow]) -> None:
    """Write those."""
    _write(db, fresh, [plain_row(row) for row in rows])


def plain_row(row: PlainRow) -> DbRow:
    """As it is written."""
    return (row.number, *row.row, row.marked_at, row.active_at, None)


class Listed(NamedTuple):
    """What a session has used, as it is kept."""

    number: int
    id: str
    gateway: str
    ue_ip: int | None
    created_at: int
    """In microseconds since 1970."""
    active_at: int | None
    up_packets: int
    up_octets: int
    down_packets: int
    down_octets: int


_LISTED = (
    "SELECT s.number, s.id, s.gateway, s.ue_ip, s.created_at, u.active_at,"
    " ifnull(u.up_packets, 0), ifnull(u.up_octets, 0),"
    " ifnull(u.down_packets, 0), ifnull(u.down_octets, 0)"
    " FROM sessions AS s NOT INDEXED LEFT JOIN usage AS u ON u.number = s.number"
    " WHERE s.number > ?1 AND (?2 IS NULL OR s.gateway = ?2) ORDER BY s.number LIMIT ?3"
)


def listed(db: sqlite3.Connection, after: int, gateway: str | None, limit: int) -> list[Listed]:
    """What the next sessions behind a number have used."""
    return [*map(Listed._make, db.execute(_LISTED, (after, gateway, limit)))]


def of_gone(db: sqlite3.Connection, after: int, last: int | None) -> list[int]:
    """The numbers in a range whose sessions are no more; no last: to the end."""
    sql = (
        "SELECT number FROM usage WHERE number > ? AND number <= ifnull(?, 1 << 40) AND NOT EXISTS"
        " (SELECT 1 FROM sessions AS s WHERE s.number = usage.number)"
    )
    return [number for (number,) in db.execute(sql, (after, last))]


def remove(db: sqlite3.Connection, fresh: Fresh, numbers: Iterable[int]) -> None:
    """Forget those of these sessions."""
    numbers = [*numbers]
    for number in numbers:
        fresh.written(number)
    db.executemany("DELETE FROM usage WHERE number = ?", ((number,) for number in numbers))


def ledger_row(number: int, ledger: Ledger) -> DbRow:
    """As it is written."""
    total, marks = ledger.total, ledger.marks
    plain = {*ledger.rules} <= {""} and marks.rules.keys() <= {*_PLAIN} and not marks.dropped
    plain &= ledger.gone == NO_VOLUME
    own = [marks.rules.get(key, NONE) for key in _PLAIN]
    more = None if plain else json.dumps(_more(ledger), separators=(",", ":"))
    return (number, *_flat(*total, *own), ledger.marked_at, ledger.active_at, more)


def _more(ledger: Ledger) -> list[list[Any]]:
    marks = ledger.marks
    return [
        [[rule, *_flat(*volume)] for rule, volume in ledger.rules.items()],
        [*_flat(*ledger.gone)],
        [[*key, *_flat(counts)] for key, counts in marks.rules.items()],
        [[place, *_flat(counts)] for place, counts in marks.dropped.items()],
    ]


def _ledger(row: Sequence[Any]) -> Ledger:
    _, *numbers, marked_at, active_at, text = row
    if text is None:
        up, down, *own = _pairs(numbers)
        marks = Seen(dict(zip(_PLAIN, own, strict=True)))
        return Ledger({"": Volume(up, down)}, NO_VOLUME, marks, active_at, marked_at)
    kept, gone, of_rules, of_meters = json.loads(text)
    marks = Seen(
        {(direction, rule): Counts(*counts) for direction, rule, *counts in of_rules},
        {place: Counts(*counts) for place, *counts in of_meters},
    )
    rules = {rule: Volume(*_pairs(counts)) for rule, *counts in kept}
    return Ledger(rules, Volume(*_pairs(gone)), marks, active_at, marked_at)


def _flat(*counts: Counts) -> Iterator[int]:
    for each in counts:
        yield from (each.packets, each.octets)


def _pairs(flat: Sequence[int]) -> Iterator[Counts]:
    for place in range(0, len(flat), 2):
        yield Counts(flat[place], flat[place + 1])
