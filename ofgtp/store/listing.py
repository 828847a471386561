"""Pages of the sessions' table, and the peers that sessions name."""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any, TypedDict

from ofgtp.core.errors import InvalidSession
from ofgtp.core.model import Address, SessionState
from ofgtp.core.sessions.rules import peers_of
from ofgtp.store import keys
from ofgtp.store.detail import FAR6
from ofgtp.store.rows import SELECT, StoredSession, session_of, stored_of

MAX_LIMIT = 1_000

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
{SELECT} WHERE number IN (
    SELECT number FROM tunnels WHERE gateway = :gateway AND ip >= {keys.OF_IPV6}
)
"""
"""An IPv6 address stands in the detail alone, of bearers and rules in these."""


def peers(db: sqlite3.Connection, gateway: str) -> dict[Address, int]:
    """The peers that a gateway's sessions name on either side, and how many name each."""
    rows = db.execute(_PEERS, {"gateway": gateway}).fetchall()
    rows6 = db.execute(_PEERS6, {"gateway": gateway}).fetchall()
    found: dict[Address, int] = {IPv6Address(ip): count for ip, count in rows6}
    for row in db.execute(_RULED6, {"gateway": gateway}):
        session = session_of(row)
        own = session.downlink and session.downlink.ip  # counted already
        for ip in peers_of(session):
            if isinstance(ip, IPv6Address) and ip != own:
                found[ip] = found.get(ip, 0) + 1
    return found | {IPv4Address(ip): count for ip, count in rows if keys.is_ipv4(ip)}


class Matching(TypedDict, total=False):
    """Which sessions are asked for; None, or left out: any.

    `part_of_id` stands anywhere in the id; an IPv6 `ue_ip` is one of the UE's prefix, which holds
    `ue_ipv6` or lies in it; `teid` is one of ours, the session's or a bearer's; `peer` is one that
    any of its tunnels is to, or comes from.
    """

    gateway: str | None
    part_of_id: str | None
    ue_ip: Address | None
    ue_ipv6: IPv6Network | None
    teid: int | None
    peer: Address | None
    state: SessionState | None


def is_indexed(asked: Matching) -> bool:
    """Whether few sessions match, which are found by an index. One of the gateway alone would lead
    through all of its sessions, in no order."""
    by_key = isinstance(asked.get("ue_ip"), IPv4Address) or asked.get("teid") is not None
    return by_key and asked.get("gateway") is not None


def conditions(asked: Matching, *, owned: bool = True) -> tuple[list[str], list[Any]]:
    """What is asked of sessions, in SQL, and the values; see `SessionStore.list`."""
    ue_ip, ue_ipv6, state = asked.get("ue_ip"), asked.get("ue_ipv6"), asked.get("state")
    teid, peer = asked.get("teid"), asked.get("peer")
    where: list[str] = []
    values: list[Any] = []
    filters: list[tuple[str, Any]] = [
        ("gateway = ?", asked.get("gateway")),
        ("instr(id, ?) > 0", asked.get("part_of_id")),
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
    return where, values


def page(
    db: sqlite3.Connection,
    where: Sequence[str],
    values: Sequence[Any],
    limit: int,
    cursor: str | None,
    *,
    indexed: bool,
) -> tuple[list[StoredSession], str | None]:
    """One page of the sessions of which these conditions hold, and the cursor of the next or None;
    `indexed`: few are found by an index.

    Raises:
        InvalidSession: `cursor` is none of ours, or `limit` is not 1 to 1000.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidSession("limit", f"1 to {MAX_LIMIT}, not {limit}")
    table = SELECT if indexed else f"{SELECT} NOT INDEXED"
    sql = f"{table} WHERE {' AND '.join(('number > ?', *where))} ORDER BY number LIMIT ?"
    rows = db.execute(sql, (number_of_cursor(cursor), *values, limit + 1)).fetchall()
    found = [stored_of(row) for row in rows[:limit]]
    return found, cursor_of(found[-1].session.number) if len(rows) > limit else None


def count(
    db: sqlite3.Connection, where: Sequence[str], values: Sequence[Any], *, indexed: bool
) -> int:
    """How many sessions there are of which these conditions hold; `indexed` as of `page`."""
    table = f"sessions{'' if indexed else ' NOT INDEXED'}"
    sql = f"SELECT count(*) FROM {table} WHERE {' AND '.join(('true', *where))}"
    (found,) = db.execute(sql, values).fetchone()
    return int(found)


def cursor_of(number: int) -> str:
    """What a page that goes on after the session of that number begins with."""
    return base64.urlsafe_b64encode(f"n{number}".encode()).decode().rstrip("=")


def number_of_cursor(cursor: str | None) -> int:
    """The number that a cursor stands for; of none 0.

    Raises:
        InvalidSession: it is none of ours.
    """
    if cursor is None:
        return 0
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not (text.startswith("n") and text[1:].isascii() and text[1:].isdigit() and len(text) < 15):
        raise InvalidSession("cursor", "is not a cursor of this list")
    return int(text[1:])
