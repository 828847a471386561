"""Uplink TEIDs that are free."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Set

from ofgtp.core.errors import StoreError

TRIES = 64

_TAKEN = (
    "SELECT EXISTS (SELECT 1 FROM sessions WHERE gateway = :g AND uplink_teid = :t)"
    " OR EXISTS (SELECT 1 FROM released WHERE gateway = :g AND teid = :t)"
    " OR EXISTS (SELECT 1 FROM teids WHERE gateway = :g AND teid = :t)"
)
_OLDEST = (
    "SELECT teid FROM released AS r WHERE gateway = ? AND teid BETWEEN ? AND ?"
    " AND NOT EXISTS (SELECT 1 FROM sessions AS s"
    " WHERE s.gateway = r.gateway AND s.uplink_teid = r.teid)"
    " AND NOT EXISTS (SELECT 1 FROM teids AS t"
    " WHERE t.gateway = r.gateway AND t.teid = r.teid) ORDER BY seq"
)


def allocate(db: sqlite3.Connection, gateway: str, among: range, but: Set[tuple[str, int]]) -> int:
    """A random TEID of these that no session has and none lately gave back, but for some, each
    with its gateway.

    Late packets of a session that is gone must not reach another one's UE. Only when random tries
    find nothing is the TEID taken that was given back longest ago.

    Raises:
        StoreError: no TEID is free.
    """
    for _ in range(TRIES):
        teid = secrets.choice(among)
        if (gateway, teid) in but:
            continue
        if not db.execute(_TAKEN, {"g": gateway, "t": teid}).fetchone()[0]:
            return teid
    for (teid,) in db.execute(_OLDEST, (gateway, among[0], among[-1])).fetchall():
        if (gateway, teid) not in but:
            return int(teid)
    raise StoreError(f"gateway {gateway}: no uplink TEID is free")
