"""Sessions in an SQLite file: durable before success is answered, and never half a batch."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, Literal, Unpack

from ofgtp.core.errors import StoreError
from ofgtp.core.filters import Network
from ofgtp.core.model import (
    TEID_MAX,
    Address,
    FlowValues,
    FTeid,
    Session,
    SessionState,
)
from ofgtp.core.usage.ledger import Ledger
from ofgtp.core.usage.limits import Gauge
from ofgtp.store import gauges, keys, listing, pfcp, reports, usage
from ofgtp.store.database import INSTANCE_ID, Database
from ofgtp.store.listing import Matching
from ofgtp.store.rows import (
    LAST_NUMBER,
    SELECT,
    VALUES,
    StoredSession,
    errors,
    one_of,
    session_of,
    stored_of,
)
from ofgtp.store.transaction import RELEASES_KEPT, Transaction

FORGET_EVERY = 64
"""Transactions between two times that older ones are forgotten."""

_CHUNK = 5_000

_COUNT = f"""
SELECT {", ".join(f"count(*) FILTER (WHERE state = '{state}')" for state in SessionState)}
FROM sessions NOT INDEXED WHERE :gateway IS NULL OR gateway = :gateway
"""
"""An index would only lead to each row in turn: reading the table through is four times as fast."""


class SessionStore:
    """The sessions of all gateways in one SQLite file.

    Args:
        path, durability, aside, pause: as for `Database`.
        teids: what uplink TEIDs are allocated from.
        clock: seconds since the epoch.

    Raises:
        StoreUnfit, StoreError: as `Database` does.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Literal["normal", "full"] = "normal",
        teids: range = range(1, TEID_MAX + 1),
        clock: Callable[[], float] = time.time,
        aside: Callable[[Callable[[], None]], None] = lambda work: work(),
        pause: Callable[[], None] = lambda: time.sleep(0.001),
    ) -> None:
        self._teids, self._clock = teids, clock
        self._fresh = usage.Fresh()
        self._counts: dict[str | None, tuple[int, tuple[int, ...]]] = {}
        self._file = Database(path, durability, aside, pause)
        self._db, self._reader = self._file.writer, self._file.reader
        try:
            self.check()
        except StoreError:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def instance_id(self) -> str:
        """Names this life of the store: it changes when the sessions are given up (`reset`)."""
        with errors():
            known = self._file.meta(INSTANCE_ID)
        if known is None:
            raise StoreError(f"{self.path}: has no {INSTANCE_ID}")
        return known

    def check(self) -> None:
        """Raise StoreError unless the store can be written now."""
        self._file.try_to_write("checked_at", str(int(self._clock())))

    def reset(self) -> str:
        """Give up all sessions and return a new instance id. Numbers and TEIDs are not reused."""
        instance_id = str(uuid.uuid4())
        with self.transaction(), errors():
            self._db.execute("DELETE FROM sessions")
            keys.clear(self._db)
            pfcp.clear(self._db)
            usage.clear(self._db)
            reports.clear(self._db)
            gauges.clear(self._db)
            self._file.set_meta(INSTANCE_ID, instance_id)
        return instance_id

    def recovery_time_stamp(self, now: int) -> int:
        """Since when all sessions of control planes are kept: `now`, if that is not known yet."""
        with errors():
            known = self._file.meta(pfcp.STAMP)
            if known is not None:
                return int(known)
            self._file.set_meta(pfcp.STAMP, str(now))
        return now

    def ledgers(self, numbers: Sequence[int]) -> dict[int, Ledger]:
        """What these sessions have used, by their numbers; those that have none are left out."""
        with errors():
            return usage.find(self._reader, self._fresh, numbers)

    def gauges(self, numbers: Sequence[int]) -> dict[int, dict[str, Gauge]]:
        """Where the limits of these sessions count from, by their numbers."""
        with errors():
            return gauges.find(self._reader, numbers)

    def with_limits(self, gateway: str) -> list[int]:
        """The numbers of the sessions that have limits of usage."""
        with errors():
            return gauges.numbers(self._reader, gateway)

    def plain_usage(self, numbers: Sequence[int]) -> list[usage.PlainRow]:
        """The same of sessions that are but tunnel pairs, whether there is anything or not."""
        with errors():
            return usage.plain(self._reader, self._fresh, numbers)

    @property
    def quiet(self) -> int | None:
        """None while a transaction is open; else the same number until the next one is made."""
        return self._file.quiet

    def looked(self, rows: Iterable[usage.PlainRow], ledgers: Iterable[tuple[int, Ledger]]) -> None:
        """Keep in mind what sessions have used by now, later than it was written."""
        self._fresh.keep(usage.plain_row(row) for row in rows)
        self._fresh.keep(usage.ledger_row(number, ledger) for number, ledger in ledgers)

    def unwritten(self, numbers: Sequence[int]) -> set[int]:
        """Those of these sessions of which something is kept in mind."""
        return {*self._fresh.among(numbers)}

    def usage_of_gone(self, after: int, last: int | None) -> list[int]:
        """The numbers in a range of sessions that are no more, and whose use is still there."""
        with errors():
            return usage.of_gone(self._reader, after, last)

    def usage_list(
        self, gateway: str | None, limit: int, cursor: str | None = None
    ) -> tuple[list[usage.Listed], str | None]:
        """A page of what sessions have used, as it is kept, and the cursor of the next one.

        Raises:
            InvalidSession: `cursor` is none of ours.
        """
        after = listing.number_of_cursor(cursor)
        with errors():
            page = usage.listed(self._reader, after, gateway, limit + 1)
        more = len(page) > limit
        page = page[:limit]
        return page, listing.cursor_of(page[-1].number) if more else None

    def numbers(self, after: int, limit: int) -> list[tuple[int, str, bool]]:
        """The next sessions behind a number: theirs, gateway, and whether each is a tunnel pair."""
        sql = (
            "SELECT number, gateway, slot IS NULL FROM sessions NOT INDEXED WHERE number > ?"
            " ORDER BY number LIMIT ?"
        )
        with errors():
            rows = self._reader.execute(sql, (after, limit)).fetchall()
        return [(number, gateway, bool(plain)) for number, gateway, plain in rows]

    def by_numbers(self, numbers: Sequence[int]) -> list[StoredSession]:
        """The sessions with these numbers, those that are there."""
        sql = f"{SELECT} WHERE number IN (SELECT value FROM json_each(?))"
        with errors():
            rows = self._reader.execute(sql, (json.dumps([*numbers]),)).fetchall()
        return [stored_of(row) for row in rows]

    def pfcp_session(self, gateway: str, up_seid: int) -> tuple[str, pfcp.Made] | None:
        """The id of the session with this SEID of ours, and what it was made from."""
        with errors():
            return pfcp.find(self._reader, gateway, up_seid) if up_seid < 1 << 63 else None

    def pfcp_sessions_of(
        self, gateway: str, node_id: str, cp_seid: int | None = None
    ) -> list[pfcp.Owned]:
        """Sessions of a control plane; of one of its SEIDs, or of any."""
        with errors():
            return pfcp.of_node(self._reader, gateway, node_id, cp_seid)

    def pfcp_made(self, numbers: Sequence[int]) -> list[tuple[StoredSession, pfcp.Made]]:
        """Those of these sessions that control planes have made, and what from."""
        stored = self.by_numbers(numbers)
        with errors():
            made = pfcp.of_numbers(self._reader, numbers)
        return [(each, made[each.session.number]) for each in stored if each.session.number in made]

    def pfcp_octets(self, gateway: str, after: int, most: int) -> list[tuple[int, bytes]]:
        """The numbers of sessions of control planes behind one, and what they were made from."""
        with errors():
            return pfcp.octets(self._reader, gateway, after, most)

    def reports_of(self, gateway: str, up_seid: int, most: int) -> list[reports.Report]:
        """The first that were reported of a session and are not answered, oldest first."""
        with errors():
            return reports.find(self._reader, gateway, up_seid, most)

    def reported_sessions(self, gateway: str) -> list[int]:
        """The SEIDs of ours of which reports are not answered, the oldest first."""
        with errors():
            return reports.sessions(self._reader, gateway)

    def pfcp_counts(self, gateway: str) -> dict[str, int]:
        """How many sessions each control plane has."""
        with errors():
            return pfcp.counts(self._reader, gateway)

    def pfcp_with_peer(self, gateway: str, peer: Address) -> list[str]:
        """The control planes whose sessions send to a GTP-U peer."""
        with errors():
            return pfcp.with_peer(self._reader, gateway, keys.number_of(peer))

    def end_pfcp(self, gateway: str) -> int:
        """Delete all that control planes have on a gateway; how many sessions that were."""
        with self.transaction() as tx, errors():
            ids = pfcp.of_gateway(self._db, gateway)
            for session_id in ids:
                tx.delete(session_id)
            pfcp.forget_node(self._db, gateway)
            reports.clear(self._db, gateway)
        return len(ids)

    def associations(self, gateway: str) -> list[dict[str, Any]]:
        """The associations of a gateway."""
        with errors():
            return pfcp.associations(self._reader, gateway)

    def pfcp_answers(self, gateway: str) -> list[tuple[float, bytes]]:
        """What control planes were lately answered, oldest first, and how many seconds ago."""
        now = int(self._clock() * 1_000_000)
        with errors():
            found = pfcp.answers(self._reader, gateway, now - pfcp.ANSWERS_S * 1_000_000)
        return [(max(now - at, 0) / 1e6, octets) for at, octets in found]

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit what is done in the block, or, if it raises, nothing of it.

        The block may give way to other green threads: reads elsewhere see what was committed
        before. A second transaction meanwhile is refused, so callers take turns by a lock.

        Raises:
            StoreError: the store cannot be written, or another transaction is open.
        """
        with self._file.transaction(self._forget):
            yield Transaction(self._db, int(self._clock() * 1_000_000), self._teids, self._fresh)

    def _forget(self, transactions: int) -> None:
        """Forget, from time to time, what is kept for a while."""
        if transactions % FORGET_EVERY:
            return
        self._db.execute(
            "DELETE FROM released WHERE seq <= (SELECT max(seq) FROM released) - ?",
            (RELEASES_KEPT,),
        )
        pfcp.forget_answers(self._db, int(self._clock() * 1_000_000))

    def get(self, session_id: str) -> StoredSession | None:
        """The session with this id."""
        return one_of(self._reader, f"{SELECT} WHERE id = ?", (session_id,))

    def by_teid(self, gateway: str, teid: int) -> StoredSession | None:
        """The session of the gateway that is reached by this TEID of ours."""
        where = "gateway = ? AND uplink_teid = ?"
        own = one_of(self._reader, f"{SELECT} WHERE {where}", (gateway, teid))
        return own or self._by_number(keys.number_by_teid(self._reader, gateway, teid))

    def _by_number(self, number: int | None) -> StoredSession | None:
        if number is None:
            return None
        return one_of(self._reader, f"{SELECT} WHERE number = ?", (number,))

    def knows_teid(self, gateway: str, teid: int) -> bool:
        """Whether a session of the gateway has this uplink TEID, or had or gets it by a change that
        is not committed yet."""
        where = "gateway = ? AND uplink_teid = ?"
        asked = (gateway, teid)
        found = (one_of(db, f"{SELECT} WHERE {where}", asked) for db in (self._reader, self._db))
        return any(each is not None for each in found) or any(
            keys.number_by_teid(db, gateway, teid) is not None for db in (self._reader, self._db)
        )

    def last_number(self) -> int:
        """The greatest number that a session has had; none has it again."""
        with errors():
            row = self._reader.execute(LAST_NUMBER).fetchone()
        return 0 if row is None else int(row[0])

    def by_ue_ip(self, gateway: str, ue_ip: IPv4Address) -> StoredSession | None:
        """The session of the gateway with this UE address, or with a prefix that holds it."""
        where = "gateway = ? AND ue_ip = ?"
        own = one_of(self._reader, f"{SELECT} WHERE {where}", (gateway, int(ue_ip)))
        return own or self._by_number(keys.number_by_address(self._reader, gateway, ue_ip))

    def by_ue_ipv6(self, gateway: str, address: IPv6Address) -> StoredSession | None:
        """The session of the gateway whose UE has this address, or behind whose UE it is."""
        return self._by_number(keys.number_by_ipv6(self._reader, gateway, address))

    def count_ipv6(self, gateway: str) -> int:
        """How many sessions of the gateway have an IPv6 prefix."""
        with errors():
            return keys.count_ipv6(self._reader, gateway)

    def ipv6_numbers(self, gateway: str, after: int, limit: int, skipped: int = 0) -> list[int]:
        """The numbers of the next of these sessions behind a number, but for some in front."""
        with errors():
            return keys.ipv6_numbers(self._reader, gateway, after, limit, skipped)

    def ue_ipv6(self, numbers: Sequence[int]) -> dict[int, IPv6Network]:
        """The prefixes of those of these sessions whose UEs have one, by their numbers."""
        sql = (
            "SELECT number, json_extract(detail, '$.ue_ipv6') AS prefix FROM sessions"
            " WHERE number IN (SELECT value FROM json_each(?)) AND prefix NOT NULL"
        )
        with errors():
            rows = self._reader.execute(sql, (json.dumps([*numbers]),)).fetchall()
        return {number: IPv6Network(prefix) for number, prefix in rows}

    def by_slot(self, gateway: str, slot: int) -> Session | None:
        """The session of the gateway that has this slot."""
        found = one_of(self._reader, f"{SELECT} WHERE slot = ? AND gateway = ?", (slot, gateway))
        return None if found is None else found.session

    def by_downlink(self, gateway: str, fteid: FTeid) -> StoredSession | None:
        """The session of the gateway that sends to this tunnel of a peer's."""
        where = "gateway = ? AND downlink_ip = ? AND downlink_teid = ?"
        values = gateway, keys.number_of(fteid.ip), fteid.teid
        own = one_of(self._reader, f"{SELECT} WHERE {where}", values)
        return own or self._by_number(keys.number_by_tunnel(self._reader, gateway, fteid))

    def framed(self, gateway: str) -> list[Network]:
        """The prefixes behind the UEs of a gateway (`framed_routes`)."""
        with errors():
            return keys.framed(self._reader, gateway)

    def peers(self, gateway: str) -> dict[Address, int]:
        """The peers that a gateway's sessions name on either side, and how many name each."""
        with errors():
            return listing.peers(self._reader, gateway)

    def iterate(
        self,
        gateway: str,
        state: SessionState | None = None,
        *,
        detailed: bool = False,
        rules: bool = True,
    ) -> Iterator[Session]:
        """The sessions of a gateway, in the order of their numbers; if asked for, only those that
        are more than a tunnel pair, or without the rules of their control planes.

        Read in chunks: what changes while the caller takes its time may or may not be seen.
        """
        sql = f"{SELECT} NOT INDEXED WHERE number > ? AND gateway = ?"
        values: tuple[Any, ...] = (gateway,)
        if state is not None:
            sql, values = f"{sql} AND state = ?", (gateway, state.value)
        if detailed:
            sql = sql.replace("NOT INDEXED", "")
            sql += " AND slot IS NOT NULL"
        sql += f" ORDER BY number LIMIT {_CHUNK}"
        after = 0
        while True:
            with errors():
                rows = self._reader.execute(sql, (after, *values)).fetchall()
            for row in rows:
                yield session_of(row, rules=rules)
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]

    def values(self, gateway: str) -> Iterator[FlowValues]:
        """What the flows of a gateway's tunnel pairs are made from, in the order of their numbers.

        Read in chunks, as by `iterate`; and, as there, from end to end of the table: by an index
        of the gateway SQLite would jump about in it.
        """
        sql = (
            f"SELECT {VALUES} FROM sessions NOT INDEXED"
            f" WHERE number > ? AND gateway = ? AND slot IS NULL ORDER BY number LIMIT {_CHUNK}"
        )
        after = 0
        while True:
            with errors():
                rows = self._reader.execute(sql, (after, gateway)).fetchall()
            yield from map(FlowValues._make, rows)
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]

    def count(self, gateway: str | None = None) -> dict[SessionState, int]:
        """How many sessions are in each state, of one gateway or of all.

        Where many are asked for it often, it must cost nothing while nothing changes.
        """
        with errors():
            (version,) = self._reader.execute("PRAGMA data_version").fetchone()
            known = self._counts.get(gateway)
            if known is None or known[0] != version:
                row = self._reader.execute(_COUNT, {"gateway": gateway}).fetchone()
                known = self._counts[gateway] = version, row
        return dict(zip(SessionState, known[1], strict=True))

    def list(
        self,
        *,
        owned: bool = True,
        limit: int = 100,
        cursor: str | None = None,
        **asked: Unpack[Matching],
    ) -> tuple[list[StoredSession], str | None]:
        """One page of the sessions that match, and the cursor of the next page or None.

        Those of control planes are left out unless `owned`. A page goes on after the last session
        of the one before: sessions made or deleted in between neither repeat nor hide others.

        Raises:
            InvalidSession: `cursor` is none of ours, or `limit` is not 1 to 1000.
        """
        where, values = listing.conditions(asked, owned=owned)
        indexed = listing.is_indexed(asked)
        with errors():
            return listing.page(self._reader, where, values, limit, cursor, indexed=indexed)

    def count_matching(self, **asked: Unpack[Matching]) -> int:
        """How many sessions match."""
        where, values = listing.conditions(asked)
        with errors():
            return listing.count(self._reader, where, values, indexed=listing.is_indexed(asked))

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._file.close()
