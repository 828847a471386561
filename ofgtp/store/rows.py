"""A row of the sessions' table, and the session that it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any

from ofgtp.core.errors import StoreError
from ofgtp.core.model import FlowValues, FTeid, Qos, Session, SessionState, Uplink
from ofgtp.store import keys
from ofgtp.store.detail import from_text, to_text

COLUMNS = (
    "number, id, gateway, ue_ip, uplink_teid, uplink_remote_ip, downlink_teid, downlink_ip, qos,"
    " state, reason, created_at, updated_at, slot, detail"
)
SELECT = f"SELECT {COLUMNS} FROM sessions"
VALUES = (
    "number, ue_ip, uplink_teid, uplink_remote_ip, downlink_teid, downlink_ip,"
    f" state = '{SessionState.ERROR_INDICATED.value}', qos"
)
"""What the flows of a tunnel pair are made from (`FlowValues`)."""
LAST_NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = 'sessions'"


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session and what is known about it; times are aware and in UTC.

    `updated_at` is when the session itself was last put, not when its state last changed.
    """

    session: Session
    state: SessionState
    reason: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def installed(self) -> Session | None:
        """The session whose flows are in the switch; a failed one has none."""
        return None if self.state is SessionState.FAILED else self.session


class errors:
    """SQLite's errors as StoreError. (A generator would take five times as long, in each call.)"""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"the session store: {error}") from error


def fields_of(session: Session) -> tuple[str | int | None, ...]:
    uplink, down = session.uplink, session.downlink
    remote = None if uplink is None else uplink.remote_ip
    return (
        session.gateway,
        None if session.ue_ip is None else int(session.ue_ip),
        None if uplink is None else uplink.teid,
        None if remote is None else int(remote),
        None if down is None else down.teid,
        None if down is None else keys.number_of(down.ip),
        0 if session.qos is None else session.qos.number,
        None if session.detail is None else session.detail.slot,
        to_text(session),
    )


def in_state(session: Session, number: int, state: SessionState) -> Session:
    """The session as it is read back."""
    if session.detail is not None:
        return replace(session, number=number)
    indicated = state is SessionState.ERROR_INDICATED
    return replace(session, number=number, error_indicated=indicated)


def one_of(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> StoredSession | None:
    with errors():
        rows = db.execute(sql, values).fetchall()
    return stored_of(rows[0]) if rows else None


def session_of(row: Sequence[Any], *, rules: bool = True) -> Session:
    number, session_id, gateway, ue_ip, teid, remote, down_teid, down_ip, qos, state = row[:10]
    slot, text = row[13:15]
    detail, indicated, far6 = None, state == SessionState.ERROR_INDICATED, None
    if text is not None:
        detail, indicated, far6 = from_text(text, slot, rules=rules)
    return Session(
        number,
        session_id,
        gateway,
        None if ue_ip is None else IPv4Address(ue_ip),
        None if teid is None else Uplink(teid, None if remote is None else IPv4Address(remote)),
        None if down_teid is None else FTeid(down_teid, far6 or IPv4Address(down_ip)),
        indicated,
        Qos.of(qos),
        detail,
    )


def detailed_of(values: FlowValues, slot: int, text: str) -> Session:
    """A session without its id and gateway."""
    state, times = SessionState.ACTIVE.value, (0, 0)
    return session_of(
        (values.number, "", "", *values[1:6], values.qos, state, None, *times, slot, text)
    )


def stored_of(row: Sequence[Any]) -> StoredSession:
    return StoredSession(
        session_of(row), SessionState(row[9]), row[10], time_of(row[11]), time_of(row[12])
    )


def time_of(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)
