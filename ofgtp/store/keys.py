"""TEIDs, tunnels and prefixes that sessions have besides those in their own rows.

A plain session, which most are, has all of its keys in its row. Those of bearers, relays and
framed routes stand in tables of their own; each is unique among both.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ofgtp.core.errors import Conflict, InvalidSession
from ofgtp.core.filters import Network
from ofgtp.core.model import Address, FTeid, Session
from ofgtp.core.sessions.rules import all_teids, all_tunnels, framed_of
from ofgtp.core.sessions.shaped import Shaped

SCHEMA = """
CREATE TABLE teids (
    gateway TEXT NOT NULL,
    teid    INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (gateway, teid)
) STRICT, WITHOUT ROWID;
CREATE INDEX teids_of ON teids (number);
CREATE TABLE tunnels (
    gateway TEXT NOT NULL,
    ip      INTEGER NOT NULL,
    teid    INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (gateway, ip, teid, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX tunnels_of ON tunnels (number);
CREATE TABLE framed (
    gateway TEXT NOT NULL,
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (gateway, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX framed_of ON framed (number);
"""
PREFIXES = """
CREATE TABLE prefixes (
    gateway TEXT NOT NULL,
    first   BLOB NOT NULL,
    last    BLOB NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (gateway, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX prefixes_of ON prefixes (number);
"""
"""UEs' IPv6 prefixes, their first and last address as 16 octets, which compare as numbers do."""
FRAMED6 = """
CREATE TABLE framed6 (
    gateway TEXT NOT NULL,
    first   BLOB NOT NULL,
    last    BLOB NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (gateway, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX framed6_of ON framed6 (number);
"""
"""The same of those behind UEs."""

OF_IPV6 = 1 << 62
"""Above every IPv4 address."""


def number_of(ip: Address) -> int:
    """By what number an address is looked for: itself, or for IPv6 61 bits of its hash, beside
    which the address stands in the session's detail."""
    if isinstance(ip, IPv4Address):
        return int(ip)
    return OF_IPV6 | int.from_bytes(blake2b(ip.packed, digest_size=8).digest(), "big") >> 3


def is_ipv4(number: int) -> bool:
    """Whether it is that of an IPv4 address."""
    return number < OF_IPV6


_TABLES = ("teids", "tunnels", "framed", "framed6", "prefixes")
_OWN_TEID, _OWN_TUNNEL = "uplink.teid", "downlink"
"""Fields whose values stand in the session's row."""


def write(db: sqlite3.Connection, session: Session) -> None:
    """Write down what a session has besides; it has its number, and no conflicts."""
    db.executemany(
        "INSERT INTO teids VALUES (?, ?, ?)",
        [(session.gateway, teid, session.number) for _, teid in _teids(session)],
    )
    db.executemany(
        "INSERT INTO tunnels VALUES (?, ?, ?, ?)",
        [
            (session.gateway, number_of(far.ip), far.teid, session.number)
            for _, far in _tunnels(session)
        ],
    )
    db.executemany(
        "INSERT INTO framed VALUES (?, ?, ?, ?)",
        [
            (session.gateway, *_bounds(prefix), session.number)
            for prefix in framed_of(session)
            if isinstance(prefix, IPv4Network)
        ],
    )
    db.executemany(
        "INSERT INTO framed6 VALUES (?, ?, ?, ?)",
        [
            (session.gateway, *bounds6(prefix), session.number)
            for prefix in framed_of(session)
            if isinstance(prefix, IPv6Network)
        ],
    )
    if (prefix6 := ipv6_of(session)) is not None:
        row = (session.gateway, *bounds6(prefix6), session.number)
        db.execute("INSERT INTO prefixes VALUES (?, ?, ?, ?)", row)


def remove(db: sqlite3.Connection, number: int) -> None:
    """Forget what the session with this number has besides; its TEIDs count as released."""
    db.execute(
        "INSERT OR REPLACE INTO released (gateway, teid)"
        " SELECT gateway, teid FROM teids WHERE number = ?",
        (number,),
    )
    for table in _TABLES:
        db.execute(f"DELETE FROM {table} WHERE number = ?", (number,))


def may_conflict(was: Session, session: Session) -> bool:
    """Whether a session has more now than before, of what no two may have (`conflict`)."""
    teids = {*_teids(session)} - {*_teids(was)}
    prefixes = framed_of(was) != framed_of(session) or ipv6_of(was) != ipv6_of(session)
    return bool(teids) or prefixes or session.uplink is not None


def change(db: sqlite3.Connection, was: Session, session: Session) -> None:
    """Write down what a session has besides now, if it may not conflict; what stays is not
    touched."""
    gateway, number = session.gateway, session.number
    for _, teid in {*_teids(was)} - {*_teids(session)}:
        db.execute("DELETE FROM teids WHERE gateway = ? AND teid = ?", (gateway, teid))
        db.execute("INSERT OR REPLACE INTO released (gateway, teid) VALUES (?, ?)", (gateway, teid))
    led, leads = ({far for _, far in _tunnels(each)} for each in (was, session))
    where = "gateway = ? AND ip = ? AND teid = ? AND number = ?"
    gone = [(gateway, number_of(far.ip), far.teid, number) for far in led - leads]
    db.executemany(f"DELETE FROM tunnels WHERE {where}", gone)
    more = [(gateway, number_of(far.ip), far.teid, number) for far in leads - led]
    db.executemany("INSERT INTO tunnels VALUES (?, ?, ?, ?)", more)


def remove_many(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """The same of many."""
    some = (json.dumps(numbers),)
    db.execute(
        "INSERT OR REPLACE INTO released (gateway, teid)"
        " SELECT gateway, teid FROM teids WHERE number IN (SELECT value FROM json_each(?))",
        some,
    )
    for table in _TABLES:
        sql = f"DELETE FROM {table} WHERE number IN (SELECT value FROM json_each(?))"
        db.execute(sql, some)


def clear(db: sqlite3.Connection) -> None:
    """Forget all of it."""
    for table in _TABLES:
        db.execute(f"DELETE FROM {table}")


def conflict(db: sqlite3.Connection, session: Session) -> Conflict | InvalidSession | None:
    """What of a session another one has, where one of the two does not have it in its row. A prefix
    that only overlaps another's is no valid one: the API answers 422, as to any other overlap."""
    mine = session.id
    for loc, teid in all_teids(session):
        where = "s.gateway = ? AND s.uplink_teid = ?"
        known = () if loc == _OWN_TEID else _own(db, where, (session.gateway, teid))
        where = "t.gateway = ? AND t.teid = ?"
        for other in (*known, *_other(db, "teids", where, (session.gateway, teid))):
            if other != mine:
                return Conflict(loc, f"the TEID {teid} is in use by session {other!r}", other)
    # A control plane may have several sessions send to one tunnel: of a base station that has
    # restarted, say, and gives its TEIDs again before the old sessions are released.
    for loc, far in all_tunnels(session) if session.uplink is not None else ():
        values = (session.gateway, number_of(far.ip), far.teid)
        where = "s.gateway = ? AND s.downlink_ip = ? AND s.downlink_teid = ?"
        known = () if loc == _OWN_TUNNEL else _own(db, where, values)
        where = "t.gateway = ? AND t.ip = ? AND t.teid = ?"
        for other in (*known, *_other(db, "tunnels", where, values)):
            if other != mine:
                what = f"the TEID {far.teid} at {far.ip}"
                return Conflict(loc, f"{what} is in use by session {other!r}", other)
    for place, prefix in enumerate(framed_of(session)):
        if isinstance(prefix, IPv4Network):
            holder = _holder(db, "framed", session, *_bounds(prefix))
        else:
            holder = _holder(db, "framed6", session, *bounds6(prefix))
        if holder is not None:
            loc = f"framed_routes.{place}"
            return InvalidSession(loc, f"{prefix} overlaps a prefix of session {holder!r}")
    if (prefix6 := ipv6_of(session)) is not None:
        holder = _holder(db, "prefixes", session, *bounds6(prefix6))
        if holder is not None:
            reason = f"{prefix6} overlaps the prefix of session {holder!r}"
            return Conflict("ue_ipv6", reason, holder)
    return None


def _holder(
    db: sqlite3.Connection, table: str, session: Session, first: int | bytes, last: int | bytes
) -> str | None:
    """Another session that has some of these addresses. No two prefixes of a gateway overlap: what
    begins last before their end also ends last."""
    sql = (
        f"SELECT s.id, t.last FROM {table} AS t JOIN sessions AS s ON s.number = t.number"
        " WHERE t.gateway = ? AND t.first <= ? AND s.id <> ? ORDER BY t.first DESC LIMIT 1"
    )
    row = db.execute(sql, (session.gateway, last, session.id)).fetchone()
    return None if row is None or row[1] < first else str(row[0])


def any_in_range(db: sqlite3.Connection, first: int, last: int) -> bool:
    """Whether plain sessions with these numbers have what others have besides."""
    sql = (
        "SELECT EXISTS (SELECT 1 FROM sessions AS s JOIN teids AS t"
        " ON t.gateway = s.gateway AND t.teid = s.uplink_teid WHERE s.number BETWEEN ? AND ?)"
        " OR EXISTS (SELECT 1 FROM sessions AS s JOIN tunnels AS t ON t.gateway = s.gateway"
        " AND t.ip = s.downlink_ip AND t.teid = s.downlink_teid WHERE s.number BETWEEN ? AND ?)"
    )
    return bool(db.execute(sql, (first, last, first, last)).fetchone()[0])


def write_shaped(db: sqlite3.Connection, gateway: str, sessions: Sequence[Shaped]) -> bool:
    """Write down what new sessions have besides; whether nothing of it is another session's.

    Their rows are written, and what is in conflict is to be rolled back.

    Raises:
        sqlite3.IntegrityError: a TEID is another session's.
    """
    db.executemany(
        "INSERT INTO teids VALUES (?, ?, ?)",
        [
            (gateway, numbers.values[teid], numbers.number)
            for shape, numbers in sessions
            for teid in shape.bearer_teids
        ],
    )
    db.executemany(
        "INSERT INTO tunnels VALUES (?, ?, ?, ?)",
        [
            (gateway, numbers.values[ip], numbers.values[teid], numbers.number)
            for shape, numbers in sessions
            for teid, ip in shape.bearer_tunnels
        ],
    )
    sql = (
        "SELECT EXISTS (SELECT 1 FROM teids AS t JOIN sessions AS s"
        " ON s.gateway = t.gateway AND s.uplink_teid = t.teid WHERE t.number BETWEEN ? AND ?)"
        " OR EXISTS (SELECT 1 FROM tunnels AS t JOIN sessions AS s ON s.gateway = t.gateway"
        " AND s.downlink_ip = t.ip AND s.downlink_teid = t.teid WHERE t.number BETWEEN ? AND ?)"
        " OR EXISTS (SELECT 1 FROM tunnels AS t JOIN tunnels AS o ON o.gateway = t.gateway"
        " AND o.ip = t.ip AND o.teid = t.teid AND o.number <> t.number"
        " WHERE t.number BETWEEN ? AND ?)"
    )
    bounds = sessions[0].numbers.number, sessions[-1].numbers.number
    return not db.execute(sql, bounds * 3).fetchone()[0]


def number_by_teid(db: sqlite3.Connection, gateway: str, teid: int) -> int | None:
    """The number of the session that has this TEID besides its row's."""
    sql = "SELECT number FROM teids WHERE gateway = ? AND teid = ?"
    return _number(db, sql, (gateway, teid))


def number_by_tunnel(db: sqlite3.Connection, gateway: str, far: FTeid) -> int | None:
    """The number of the session that sends to this tunnel besides its row's."""
    sql = "SELECT number FROM tunnels WHERE gateway = ? AND ip = ? AND teid = ?"
    return _number(db, sql, (gateway, number_of(far.ip), far.teid))


def number_by_address(db: sqlite3.Connection, gateway: str, address: IPv4Address) -> int | None:
    """The number of the session behind whose UE this address is."""
    sql = "SELECT number FROM framed WHERE gateway = ? AND first <= ? AND last >= ?"
    return _number(db, sql, (gateway, int(address), int(address)))


def number_by_ipv6(db: sqlite3.Connection, gateway: str, address: IPv6Address) -> int | None:
    """The number of the session whose UE has this address, or behind whose UE it is."""
    for table in ("prefixes", "framed6"):
        sql = (
            f"SELECT number FROM (SELECT number, last FROM {table} WHERE gateway = ? AND first <= ?"
            " ORDER BY first DESC LIMIT 1) WHERE last >= ?"
        )
        number = _number(db, sql, (gateway, address.packed, address.packed))
        if number is not None:
            return number
    return None


def count_ipv6(db: sqlite3.Connection, gateway: str) -> int:
    """How many sessions of a gateway have an IPv6 prefix."""
    return _number(db, "SELECT count(*) FROM prefixes WHERE gateway = ?", (gateway,)) or 0


def ipv6_numbers(
    db: sqlite3.Connection, gateway: str, after: int, limit: int, skipped: int
) -> list[int]:
    """The next of these sessions behind a number, by their numbers, but for some in front."""
    sql = (
        "SELECT number FROM prefixes INDEXED BY prefixes_of WHERE number > ? AND gateway = ?"
        " ORDER BY number LIMIT ? OFFSET ?"
    )
    return [row[0] for row in db.execute(sql, (after, gateway, limit, skipped))]


def framed(db: sqlite3.Connection, gateway: str) -> list[Network]:
    """The prefixes behind the UEs of a gateway, those of IPv4 first."""
    rows = db.execute("SELECT first, last FROM framed WHERE gateway = ?", (gateway,))
    found: list[Network] = [
        IPv4Network((first, 32 - (last - first).bit_length())) for first, last in rows
    ]
    rows = db.execute("SELECT first, last FROM framed6 WHERE gateway = ?", (gateway,))
    for octets in rows:
        first, last = map(int.from_bytes, octets)
        found.append(IPv6Network((first, 128 - (last - first).bit_length())))
    return found


def _number(db: sqlite3.Connection, sql: str, values: tuple[object, ...]) -> int | None:
    row = db.execute(sql, values).fetchone()
    return None if row is None else int(row[0])


def _own(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[str]:
    return [row[0] for row in db.execute(f"SELECT s.id FROM sessions AS s WHERE {where}", values)]


def _other(db: sqlite3.Connection, table: str, where: str, values: tuple[object, ...]) -> list[str]:
    sql = f"SELECT s.id FROM {table} AS t JOIN sessions AS s ON s.number = t.number WHERE {where}"
    return [row[0] for row in db.execute(sql, values)]


def _teids(session: Session) -> Iterator[tuple[str, int]]:
    return (each for each in all_teids(session) if each[0] != _OWN_TEID)


def _tunnels(session: Session) -> Iterator[tuple[str, FTeid]]:
    return (each for each in all_tunnels(session) if each[0] != _OWN_TUNNEL)


def ipv6_of(session: Session) -> IPv6Network | None:
    """The UE's prefix."""
    return None if session.detail is None else session.detail.ue_ipv6


def bounds6(prefix: IPv6Network) -> tuple[bytes, bytes]:
    """Its first and last address, as the store writes them."""
    return prefix.network_address.packed, prefix.broadcast_address.packed


def _bounds(prefix: IPv4Network) -> tuple[int, int]:
    return int(prefix.network_address), int(prefix.broadcast_address)
