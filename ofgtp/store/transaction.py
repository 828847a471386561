"""Changes of a session store that are committed together."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from ofgtp.core.errors import (
    Conflict,
    StoreError,
    UnknownSession,
)
from ofgtp.core.model import (
    BatchPut,
    FlowValues,
    Session,
    SessionState,
)
from ofgtp.core.sessions.detail import SLOT_MAX
from ofgtp.core.sessions.shaped import Shaped, ShapedPut
from ofgtp.core.usage.ledger import Ledger
from ofgtp.core.usage.limits import Gauge
from ofgtp.store import bulk, gauges, keys, pfcp, reports, teids, usage
from ofgtp.store.rows import (
    COLUMNS,
    SELECT,
    StoredSession,
    errors,
    fields_of,
    in_state,
    one_of,
    session_of,
    time_of,
)

_MAX_SEQ = (1 << 63) - 1
RELEASES_KEPT = 65_536
"""A TEID given back is not allocated again within this many further releases."""

_INSERT = (
    "INSERT INTO sessions (id, gateway, ue_ip, uplink_teid, uplink_remote_ip, downlink_teid,"
    " downlink_ip, qos, slot, detail, state, reason, created_at, updated_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SLOT_OF = "SELECT number, slot FROM sessions WHERE id = ?"
_UPDATE = (
    "UPDATE sessions SET gateway = ?, ue_ip = ?, uplink_teid = ?, uplink_remote_ip = ?,"
    " downlink_teid = ?, downlink_ip = ?, qos = ?, slot = ?, detail = ?, state = ?, reason = ?,"
    " updated_at = ?"
    " WHERE id = ? RETURNING number"
)


class Transaction:
    """Changes that are committed together or not at all; made by `SessionStore.transaction`.

    Operations apply in order, and each is checked against what the earlier ones left. One that
    raises `Conflict` or `UnknownSession` has changed nothing, and the transaction can go on.
    """

    def __init__(self, db: sqlite3.Connection, now: int, teids: range, fresh: usage.Fresh) -> None:
        self._db, self._now, self._teids, self._fresh = db, now, teids, fresh
        self.time = time_of(now)
        """When the sessions that it puts are put."""
        self._allocated: set[tuple[str, int]] = set()

    def get(self, session_id: str) -> StoredSession | None:
        """The session as this transaction sees it."""
        return one_of(self._db, f"{SELECT} WHERE id = ?", (session_id,))

    def insert(
        self,
        session: Session,
        state: SessionState = SessionState.PENDING,
        reason: str | None = None,
    ) -> Session:
        """Add a session; its `number` is ignored, and the session as it is stored is returned.

        Raises:
            Conflict: its id, uplink TEID, UE address or downlink F-TEID is in use.
        """
        with self._all_or_nothing():
            session = self._with_slot(session, None)
            values = (session.id, *fields_of(session), state.value, reason, self._now, self._now)
            written = self._write(session, _INSERT, values, new=True)
            made = in_state(session, written.lastrowid or 0, state)
            self._write_keys(made)
        return made

    def insert_many(
        self, gateway: str, puts: Sequence[BatchPut], state: SessionState
    ) -> list[FlowValues] | None:
        """Add sessions that are new, all of them, with ids and TEIDs of their own.

        None, and nothing is changed, if one is not new or in conflict: which, `insert` tells.
        """
        with errors():
            return bulk.insert(self._db, self._now, gateway, puts, state)

    def insert_shaped(
        self,
        gateway: str,
        puts: Sequence[BatchPut],
        shaped: Sequence[ShapedPut],
        state: SessionState,
    ) -> tuple[list[FlowValues], list[Shaped]] | None:
        """As `insert_many`, and then those with bearers, of which there are some."""
        with errors():
            return bulk.insert_shaped(self._db, self._now, gateway, puts, shaped, state)

    def delete_many(self, ids: Sequence[str]) -> list[tuple[str, FlowValues | Shaped]] | None:
        """Delete sessions of tunnels and bearers; the gateway and the numbers of each, in no order.

        None, and nothing is changed, if one is not there, is named twice, or is more than that.
        """
        with errors():
            return bulk.delete(self._db, ids)

    def replace(
        self,
        session: Session,
        state: SessionState = SessionState.PENDING,
        reason: str | None = None,
        *,
        was: Session | None = None,
    ) -> Session:
        """Put `session` in the place of the one with its id, which keeps its number.

        It is faster if told what stands there now (`was`).

        Raises:
            UnknownSession: none has this id.
            Conflict: its uplink TEID, UE address or downlink F-TEID is another session's.
        """
        with self._all_or_nothing():
            there = self._db.execute(_SLOT_OF, (session.id,)).fetchone()
            if there is None:
                raise UnknownSession(session.id)
            number, slot = there
            session = self._with_slot(session, slot)
            values = (*fields_of(session), state.value, reason, self._now, session.id)
            self._write(session, _UPDATE, values, new=False).fetchall()
            made = in_state(session, number, state)
            if was is not None and not keys.may_conflict(was, made):
                keys.change(self._db, was, made)
                return made
            if slot is not None:
                keys.remove(self._db, number)
            self._write_keys(made)
        return made

    def delete(self, session_id: str, *, was: Session | None = None) -> Session:
        """Delete a session and return it; its TEID counts as released.

        It is faster if told what stands there now (`was`).

        Raises:
            UnknownSession: none has this id.
        """
        with errors():
            rows = self._db.execute(
                f"DELETE FROM sessions WHERE id = ? RETURNING {COLUMNS}", (session_id,)
            ).fetchall()
            if not rows:
                raise UnknownSession(session_id)
            deleted = was or session_of(rows[0])
            if deleted.detail is not None:
                keys.remove(self._db, deleted.number)
                pfcp.remove(self._db, deleted.number)
                gauges.put(self._db, deleted.number, {})
                if (owner := deleted.detail.owner) is not None:
                    reports.remove(self._db, deleted.gateway, [(owner.up_seid, _MAX_SEQ)])
        return deleted

    def attempt(self) -> AbstractContextManager[None]:
        """If what is done in the block raises, nothing of it is, and the transaction can go on."""
        return self._all_or_nothing()

    def pfcp_session(self, gateway: str, up_seid: int) -> tuple[str, pfcp.Made] | None:
        """As `SessionStore.pfcp_session`, as this transaction sees it."""
        with errors():
            return pfcp.find(self._db, gateway, up_seid) if up_seid < 1 << 63 else None

    def pfcp_sessions_of(self, gateway: str, node_id: str, cp_seid: int) -> list[pfcp.Owned]:
        """As `SessionStore.pfcp_sessions_of`, as this transaction sees it."""
        with errors():
            return pfcp.of_node(self._db, gateway, node_id, cp_seid)

    def put_pfcp(self, gateway: str, made: pfcp.Made) -> None:
        """Write down what a session of a control plane was made from."""
        with errors():
            pfcp.put(self._db, gateway, made)

    def ledgers(self, numbers: Sequence[int]) -> dict[int, Ledger]:
        """What these sessions have used, by their numbers; those that have none are left out."""
        with errors():
            return usage.find(self._db, self._fresh, numbers)

    def put_ledgers(self, ledgers: Iterable[tuple[int, Ledger]]) -> None:
        """Write down what sessions have used, by their numbers."""
        with errors():
            usage.put(self._db, self._fresh, ledgers)

    def plain_usage(self, numbers: Sequence[int]) -> list[usage.PlainRow]:
        """As `SessionStore.plain_usage`, as this transaction sees it."""
        with errors():
            return usage.plain(self._db, self._fresh, numbers)

    def put_plain_usage(self, rows: Iterable[usage.PlainRow]) -> None:
        """Write down what tunnel pairs have used."""
        with errors():
            usage.put_plain(self._db, self._fresh, rows)

    def drop_ledgers(self, numbers: Iterable[int]) -> None:
        """Forget what sessions have used that are no more."""
        with errors():
            usage.remove(self._db, self._fresh, numbers)

    def put_answers(self, gateway: str, octets: bytes) -> None:
        """Write down what control planes are answered once this is committed."""
        with errors():
            pfcp.put_answers(self._db, gateway, self._now, octets)

    def pfcp_rows(self, numbers: Sequence[int]) -> dict[int, pfcp.Made]:
        """What those of these sessions were made from that control planes have made."""
        with errors():
            return pfcp.of_numbers(self._db, numbers)

    def put_pfcp_octets(self, made: Iterable[tuple[bytes, int]]) -> None:
        """Write down what sessions are made from now, and their numbers."""
        with errors():
            pfcp.put_octets(self._db, made)

    def put_report(self, gateway: str, up_seid: int, octets: bytes) -> None:
        """Write down what is to be reported of a session once this is committed."""
        with errors():
            reports.put(self._db, gateway, up_seid, octets)

    def reports_of(self, gateway: str, up_seid: int) -> list[reports.Report]:
        """What was reported of a session and is not answered, oldest first."""
        with errors():
            return reports.find(self._db, gateway, up_seid)

    def count_reports(self, gateway: str, up_seid: int) -> int:
        """How many reports of a session are not answered."""
        with errors():
            return reports.count(self._db, gateway, up_seid)

    def remove_reports(self, gateway: str, answered: Iterable[tuple[int, int]]) -> None:
        """Forget reports that are answered: SEIDs of ours, and the last number of each."""
        with errors():
            reports.remove(self._db, gateway, answered)

    def put_association(self, gateway: str, node_id: str, stored: dict[str, Any] | None) -> None:
        """Write an association in the place of that with its Node ID; None: it is no more."""
        with errors():
            pfcp.put_association(self._db, gateway, node_id, stored)

    def gauges(self, numbers: Sequence[int]) -> dict[int, dict[str, Gauge]]:
        """Where the limits of these sessions count from, by their numbers."""
        with errors():
            return gauges.find(self._db, numbers)

    def put_gauges(self, number: int, stated: Mapping[str, Gauge]) -> None:
        """Write down where the limits of a session count from; none: it has none."""
        with errors():
            gauges.put(self._db, number, stated)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """What raises in the block has changed nothing, and the transaction can go on."""
        with errors():
            self._db.execute("SAVEPOINT one")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK TO one")
                raise
            finally:
                self._db.execute("RELEASE one")

    def _with_slot(self, session: Session, slot: int | None) -> Session:
        """The session with the slot that it has, or a new one, if it needs any."""
        if session.detail is None:
            return session
        if slot is None:
            (last,) = self._db.execute("SELECT max(slot) FROM sessions").fetchone()
            slot = (last or 0) + 1
        if slot > SLOT_MAX:
            free = "SELECT a.slot + 1 FROM sessions AS a WHERE a.slot IS NOT NULL AND NOT EXISTS"
            free += " (SELECT 1 FROM sessions AS b WHERE b.slot = a.slot + 1) LIMIT 1"
            row = self._db.execute(free).fetchone()
            slot = row[0] if row else SLOT_MAX + 1
        if slot > SLOT_MAX:
            raise StoreError("no slot is free for a session with bearers")
        return replace(session, detail=replace(session.detail, slot=slot))

    def _write_keys(self, session: Session) -> None:
        """Write what does not stand in its row, unless another session has some of it."""
        conflict = keys.conflict(self._db, session)
        if conflict is not None:
            raise conflict
        if session.detail is not None:
            keys.write(self._db, session)

    def set_state(
        self, numbers: Iterable[int], state: SessionState, reason: str | None = None
    ) -> None:
        """Set state and reason of the sessions with these numbers; unknown ones are skipped."""
        with errors():
            self._db.executemany(
                "UPDATE sessions SET state = ?, reason = ? WHERE number = ?",
                ((state.value, reason, number) for number in numbers),
            )

    def set_range_state(self, first: int, last: int, state: SessionState) -> None:
        """Set the state of the sessions with numbers from `first` to `last`."""
        with errors():
            self._db.execute(
                "UPDATE sessions SET state = ? WHERE number BETWEEN ? AND ?",
                (state.value, first, last),
            )

    def set_gateway_state(
        self, gateway: str, state: SessionState, reason: str | None = None
    ) -> None:
        """Set state and reason of every session of a gateway but those in `error_indicated`.

        What a peer has said of its tunnel does not change with what becomes of the switch.
        """
        with errors():
            self._db.execute(
                "UPDATE sessions NOT INDEXED SET state = :state, reason = :reason"
                f" WHERE gateway = :gateway AND state <> '{SessionState.ERROR_INDICATED}'"
                " AND (state <> :state OR reason IS NOT :reason)",
                {"state": state.value, "reason": reason, "gateway": gateway},
            )

    def allocate_teid(self, gateway: str, among: range | None = None) -> int:
        """A random TEID, of some or any, that no session has and none lately gave back.

        Raises:
            StoreError: no TEID is free.
        """
        with errors():
            teid = teids.allocate(self._db, gateway, among or self._teids, self._allocated)
        self._allocated.add((gateway, teid))
        return teid

    def _write(
        self, session: Session, sql: str, values: Sequence[Any], *, new: bool
    ) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.IntegrityError as error:
            raise self._conflict(session, new, error) from None
        except sqlite3.Error as error:
            raise StoreError(f"the session store: {error}") from error

    def _conflict(
        self, session: Session, new: bool, error: sqlite3.IntegrityError
    ) -> Conflict | StoreError:
        """Which field of `session` another session has, and which session that is."""
        if new and self.get(session.id) is not None:
            return Conflict("id", f"the id {session.id!r} is in use", session.id)
        uplink, ue_ip, down = session.uplink, session.ue_ip, session.downlink
        checks: list[tuple[str, str, str, tuple[int, ...]]] = []
        if uplink is not None:
            what = f"the uplink TEID {uplink.teid}"
            checks.append(("uplink.teid", what, "uplink_teid = ?", (uplink.teid,)))
        if ue_ip is not None:
            checks.append(("ue_ip", f"the UE address {ue_ip}", "ue_ip = ?", (int(ue_ip),)))
        if down is not None:
            what = f"the downlink TEID {down.teid} at {down.ip}"
            where = "downlink_teid = ? AND downlink_ip = ?"
            checks.append(("downlink", what, where, (down.teid, keys.number_of(down.ip))))
        for loc, what, where, values in checks:
            sql = f"{SELECT} WHERE {where} AND gateway = ? AND id <> ?"
            other = one_of(self._db, sql, (*values, session.gateway, session.id))
            if other is not None:
                other_id = other.session.id
                return Conflict(loc, f"{what} is in use by session {other_id!r}", other_id)
        return StoreError(f"the session store: {error}")
