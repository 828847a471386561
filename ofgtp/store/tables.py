"""The tables of a session store: how they are made, and made of those of an older release."""

from __future__ import annotations

from ofgtp.store import gauges, keys, pfcp, reports, usage

SCHEMA_VERSION = 9
APPLICATION_ID = 0x6F666774
"""Marks the file as ours ("ofgt"), so that another program's database is not written to."""

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
SCHEMA = f"""
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

MIGRATIONS = {
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
