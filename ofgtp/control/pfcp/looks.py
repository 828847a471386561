"""Looks at what URRs have measured, as often as their limits need it, and does what is due.

What is due is done in one transaction for all sessions of a look: counts, reports and the flows
that a quota closes. If it cannot be stored, nothing is reported, and the next look counts it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import eventlet

from ofgtp.control.pfcp import usage
from ofgtp.control.pfcp.usage import Known, Memory
from ofgtp.control.sessions.detail import settled
from ofgtp.control.sessions.owned import Steps, Together
from ofgtp.control.sessions.service import SessionService
from ofgtp.control.usage.counting import Counting
from ofgtp.control.usage.readings import Delivery, Readings
from ofgtp.control.usage.watcher import RETRY_S, Watcher
from ofgtp.core.errors import OfgtpError, StoreError
from ofgtp.core.model import Session
from ofgtp.core.pfcp import procedures, stored, triggers
from ofgtp.core.pfcp.procedures import Terms
from ofgtp.core.pfcp.rules import Made
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.usage import Usage
from ofgtp.core.pfcp.wire.enums import ReportType
from ofgtp.core.pfcp.wire.messages import SessionReportRequest
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.pfcp.wire.tables import encode
from ofgtp.core.rules.counts import FlowCounts
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.usage.pace import Next
from ofgtp.core.usage.plain import Pair
from ofgtp.southbound.openflow import EntryKey, MeterCounts
from ofgtp.store.pfcp import Made as Row
from ofgtp.store.rows import StoredSession
from ofgtp.store.sqlite import SessionStore
from ofgtp.store.transaction import Transaction as Writing

log = logging.getLogger(__name__)

UNANSWERED_MAX = 16
"""Reports of a session that wait for an answer; more are not made, and what is due stays due."""
FULL_S = 5.0
"""Until a session is looked at again that has so many."""
STORE_S = 60
"""After which what was counted is stored though nothing is due: a switch that begins anew with the
controller away takes no more with it."""
LOADED_AT_ONCE = 500

_AGAIN = Next(RETRY_S, None, RETRY_S)
_SOON = Next(0.0, None, 0.0)


class Looks:
    """Those of one gateway."""

    def __init__(
        self,
        terms: Terms,
        memory: Memory,
        store: SessionStore,
        service: SessionService,
        clock: Callable[[], int],
        reported: Callable[[int], None],
    ) -> None:
        """`reported` is told the SEID of ours of a session of which there is a report."""
        self.terms, self._memory, self._store = terms, memory, store
        self._service, self._clock, self._reported = service, clock, reported
        self._gateway = terms.gateway.name
        self._watcher = Watcher(terms.gateway, self._look)

    def run(self) -> None:
        """Look as long as the process lives; to be spawned."""
        eventlet.spawn(self._watcher.run)
        after = 0
        while True:
            try:
                found = self._store.pfcp_octets(self._gateway, after, LOADED_AT_ONCE)
            except StoreError as error:
                log.error("gateway=%s: URRs not loaded: %s", self._gateway, error)
                eventlet.sleep(RETRY_S)
                continue
            if not found:
                return
            for number, octets in found:
                if stored.measures(octets):
                    self._watcher.set(number, Next(0.0, None, 0.0))
            after = found[-1][0]
            eventlet.sleep(0)

    def changed(self, number: int, known: Known | None) -> None:
        """A session is another one now, or, None, is no more."""
        first = None
        if known is not None:
            urrs, fastest = known.made.urrs, known.fastest
            first = triggers.next_look_at(urrs, known.made.usage, fastest, None, self._clock(), 0.0)
        if known is None or first is None:
            self._memory.drop(number)
            self._watcher.drop(number)
        else:
            self._memory.keep(number, known)
            self._watcher.set(number, first)

    def delivered(self, number: int) -> None:
        """Packets that were held for a session have gone on, and are counted by now."""
        self._watcher.set(number, Next(0.0, None, 0.0))

    # --- a look

    def _look(self, numbers: Sequence[int]) -> Mapping[int, Next]:
        known = self._known(numbers)
        readings = Readings(_Switch(self._service.counting(self._gateway), known))
        readings.read(
            [each.session for each in known.values()],
            lambda number, *told: known[number].spares(*told),
        )
        now, at = self._clock(), time.monotonic()
        again: dict[int, Next] = {}
        due: list[_Due] = []
        for number, each in known.items():
            if self._memory.get(number) is not each:
                again[number] = _SOON  # it has changed meanwhile
                continue
            if (counted := usage.looked(readings, each, now)) is None:
                again[number] = _AGAIN
                continue
            found = triggers.looked(each.made.urrs, counted, now)
            if _is_news(each.made.usage, found) or now >= each.stored_at + STORE_S:
                due.append(_Due(number, each, counted, found))
            elif (what := self._looked(each, found.usage, now, at)) is not None:
                again[number] = what
        if due:
            again |= self._do(due, now, at)
        return again

    def _known(self, numbers: Sequence[int]) -> dict[int, Known]:
        """Those that are in the switch and have something to look for."""
        known, missing = {}, []
        for number in numbers:
            if (found := self._memory.get(number)) is None:
                missing.append(number)
            else:
                known[number] = found
        for there, row in self._store.pfcp_made(missing) if missing else ():
            if (made := _known(there, row)) is not None:
                known[there.session.number] = made
                self._memory.keep(there.session.number, made)
        return known

    @staticmethod
    def _looked(known: Known, found: Usage, now: int, at: float) -> Next | None:
        """Keep what a session has used; when to look at it again."""
        before, since = known.earlier(found, at)
        known.made = replace(known.made, usage=found)
        seconds = at - since
        return triggers.next_look_at(known.made.urrs, found, known.fastest, before, now, seconds)

    # --- what is due

    def _do(self, due: Sequence[_Due], now: int, at: float) -> dict[int, Next]:
        """Store what sessions have used, and what is due of it; when to look at these again."""
        try:
            return self._do_together(due, now, at)
        except OfgtpError as error:
            if len(due) > 1 and not isinstance(error, StoreError):
                # Which of them the switch refuses, each finds out alone.
                return {k: v for each in due for k, v in self._do([each], now, at).items()}
            log.warning("gateway=%s: usage not reported: %s", self._gateway, error)
            for each in due:
                each.known.doubt()
            return {each.number: _AGAIN for each in due}

    def _do_together(self, due: Sequence[_Due], now: int, at: float) -> dict[int, Next]:
        done: dict[int, _Done] = {}

        def work(tx: Writing) -> Steps:
            rows = tx.pfcp_rows([each.number for each in due])
            for each in due:
                row = rows.get(each.number)
                if row is None or row.octets != each.known.octets:
                    continue  # it has changed meanwhile
                found = each.found
                if full := tx.count_reports(self._gateway, row.up_seid) >= UNANSWERED_MAX:
                    urrs = each.known.made.urrs
                    found = triggers.looked(urrs, each.counted, now, full=True)
                done[each.number] = _done(each.known, row, found, full=full)
            steps = self._closed(tx, done, now)
            tx.put_pfcp_octets((each.octets, number) for number, each in done.items())
            for made in done.values():
                if made.reports:
                    request = SessionReportRequest(ReportType.USAR, usage_reports=made.reports)
                    tx.put_report(self._gateway, made.row.up_seid, encode(request))
            return steps

        self._service.by_control_plane(self._gateway, work)
        again: dict[int, Next] = {}
        for number in {each.number for each in due} - done.keys():
            self._memory.drop(number)
            again[number] = _SOON
        for number, each in done.items():
            known = each.known
            what = self._looked(known, each.made.usage, now, at)
            if each.session is not known.session:
                known = Known(each.session, each.made)
                known.earlier(each.made.usage, at)
            known.octets, known.stored_at = each.octets, now
            self._memory.keep(number, known)
            if each.reports:
                self._reported(each.row.up_seid)
            if each.full:
                what = Next(FULL_S, None, FULL_S)
            if what is not None:
                again[number] = what
        return again

    def _closed(self, tx: Writing, done: dict[int, _Done], now: int) -> Steps:
        """Have the flows of sessions drop what a quota does not let pass any more. They are looked
        at again before they change."""
        closing = {number: each for number, each in done.items() if self._closes(each)}
        together, readings = Together(), Readings(self._service.counting(self._gateway))
        if closing:
            readings.read([each.known.session for each in closing.values()])
        for number, each in closing.items():
            known = each.known
            was, counted = known.session, usage.looked(readings, known, now)
            if counted is not None:
                found = triggers.looked(known.made.urrs, counted, now, full=each.full)
                done[number] = each = _done(known, each.row, found, full=each.full)
            if (made := self._closes(each)) is None:
                continue
            new = replace(was, detail=procedures.detail_of(each.made, made))
            session = tx.replace(settled(was, new), was=was)
            after = usage.changed(readings, each.made, session)
            octets = stored.with_usage(each.row.octets, after)
            done[number] = each._replace(session=session, made=after, octets=octets)
            together.add(Steps((was,), (session,)))
        return together.all(readings)

    def _closes(self, done: _Done) -> Made | None:
        """What a session is made of, if a quota of it has been used up."""
        return procedures.looked_at(done.known.made, done.made.usage, self.terms)


class _Due(NamedTuple):
    """A session of which something is due."""

    number: int
    known: Known
    counted: Usage
    found: triggers.Looked
    """What is due of it, if there is room for reports."""


class _Done(NamedTuple):
    """What has been done of it."""

    known: Known
    row: Row
    session: Session
    made: PfcpSession
    octets: bytes
    reports: tuple[UsageReport, ...]
    full: bool


def _done(known: Known, row: Row, found: triggers.Looked, *, full: bool) -> _Done:
    made = replace(known.made, usage=found.usage)
    octets = stored.with_usage(row.octets, made)
    return _Done(known, row, known.session, made, octets, found.reports, full)


class _Switch:
    """A gateway's, which need not be asked twice for the flows of a session that is known."""

    def __init__(self, counting: Counting, known: Mapping[int, Known]) -> None:
        self._counting, self._known = counting, known

    @property
    def holding(self) -> Delivery:
        return self._counting.holding

    def keyed_counts(self, numbers: Sequence[int]) -> list[dict[EntryKey, FlowCounts]]:
        return self._counting.keyed_counts(numbers)

    def meter_counts(self, numbers: Iterable[int]) -> Mapping[int, MeterCounts]:
        return self._counting.meter_counts(numbers)

    def pairs(self, numbers: Sequence[int]) -> list[Pair]:
        return self._counting.pairs(numbers)

    def moving(self, numbers: Iterable[int]) -> None:
        self._counting.moving(numbers)

    def keys_of(self, session: Session) -> list[tuple[EntryKey, Owned]] | None:
        known, links = self._known.get(session.number), self._counting.links_in_use
        if known is None or known.session is not session:
            return self._counting.keys_of(session)
        if known.keys is None or known.keys_for is not links:
            known.keys, known.keys_for = self._counting.keys_of(session), links
        return known.keys


def _known(there: StoredSession, row: Row) -> Known | None:
    """A session of the store, if its flows are in the switch and something is measured."""
    made = stored.from_bytes(row.octets, row.node_id, row.up_seid)
    installed = there.installed
    if installed is None or not made.urrs:
        return None
    since = min((each.since for each in made.usage.urrs.values()), default=0)
    stored_at = max(made.usage.looked_at, since)
    return Known(installed, made, stored_at=stored_at, octets=row.octets)


def _is_news(before: Usage, found: triggers.Looked) -> bool:
    """Whether a look has found what has to be stored."""
    if found.reports:
        return True
    for number, each in found.usage.urrs.items():
        was = before.urrs.get(number)
        if was is None or (was.closed, was.active, was.valid_from, was.running is None) != (
            each.closed,
            each.active,
            each.valid_from,
            each.running is None,
        ):
            return True
    return False
