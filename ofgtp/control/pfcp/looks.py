"""Looks at what URRs have measured, as often as their limits need it, and does what is due.

What is due is done in one transaction for all sessions of a look: counts, reports and the flows
that a quota closes. If it cannot be stored, nothing is reported, and the next look counts it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import eventlet

from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.pfcp import usage
from ofgtp.control.pfcp.usage import Known, Memory
from ofgtp.control.sessions.detail import settled
from ofgtp.control.sessions.owned import Steps, Together
from ofgtp.control.sessions.service import SessionService
from ofgtp.control.usage.readings import Delivery, Readings
from ofgtp.control.usage.watcher import RETRY_S, Watcher
from ofgtp.core.errors import OfgtpError, StoreError
from ofgtp.core.model import Session
from ofgtp.core.pfcp import procedures, stored, triggers
from ofgtp.core.pfcp.procedures import Terms
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.usage import Usage
from ofgtp.core.pfcp.wire.enums import ReportType
from ofgtp.core.pfcp.wire.messages import SessionReportRequest
from ofgtp.core.pfcp.wire.tables import encode
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.usage.pace import Next
from ofgtp.core.usage.plain import Pair
from ofgtp.southbound.openflow import EntryKey, KeyedCounts, MeterCounts
from ofgtp.store.pfcp import Made
from ofgtp.store.sqlite import SessionStore, StoredSession
from ofgtp.store.sqlite import Transaction as Writing

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
        self._terms, self._memory, self._store = terms, memory, store
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

    def changed(self, number: int, session: PfcpSession | None) -> None:
        """A session is another one now, or is no more."""
        self._memory.drop(number)
        first = None if session is None else triggers.next_of(session, None, self._clock())
        if first is not None:
            self._watcher.set(number, first)
        else:
            self._watcher.drop(number)

    def delivered(self, number: int) -> None:
        """Packets that were held for a session have gone on, and are counted by now."""
        self._watcher.set(number, Next(0.0, None, 0.0))

    # --- a look

    def _look(self, numbers: Sequence[int]) -> Mapping[int, Next]:
        known = self._known(numbers)
        readings = Readings(_Switch(self._service.counting(self._gateway), known))
        readings.read([each.session for each in known.values()])
        now, at = self._clock(), time.monotonic()
        again: dict[int, Next] = {}
        due: list[int] = []
        for number, each in known.items():
            if self._memory.get(number) is not each:
                continue  # it has changed meanwhile, and was told when to be looked at
            if (seen := readings.seen(each.session)) is None:
                again[number] = _AGAIN
                continue
            before = each.made.usage
            made = usage.with_seen(readings, seen, each.made, each.session, now)
            found = triggers.looked(made.urrs, made.usage, now)
            if _is_news(before, found) or now >= each.stored_at + STORE_S:
                due.append(number)
                continue
            each.made = replace(made, usage=found.usage)
            what = self._next(each, before, now, at)
            each.at = at
            if what is not None:
                again[number] = what
        if due:
            again |= self._do(due, at)
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

    def _next(self, known: Known, before: Usage, now: int, at: float) -> Next | None:
        seconds = 0.0 if known.at is None else at - known.at
        return triggers.next_of(known.made, before if known.at is not None else None, now, seconds)

    # --- what is due

    def _do(self, numbers: Sequence[int], at: float) -> dict[int, Next]:
        """Store it; when to look at these again."""
        try:
            return self._do_together(numbers, at)
        except OfgtpError as error:
            if len(numbers) > 1 and not isinstance(error, StoreError):
                # Which of them the switch refuses, each finds out alone.
                return {k: v for each in numbers for k, v in self._do([each], at).items()}
            log.warning("gateway=%s: usage not reported: %s", self._gateway, error)
            return dict.fromkeys(numbers, _AGAIN)

    def _do_together(self, numbers: Sequence[int], at: float) -> dict[int, Next]:
        again: dict[int, Next] = {}
        made: dict[int, Known] = {}
        told: list[int] = []

        def work(tx: Writing) -> Steps:
            together = Together()
            rows = [
                (there, row, known)
                for there, row in tx.pfcp_made(numbers)
                if (known := self._as_known(there, row)) is not None
            ]
            readings = Readings(self._service.counting(self._gateway))
            readings.read([known.session for _, _, known in rows])
            now = self._clock()
            for there, row, known in rows:
                number = there.session.number
                if (seen := readings.seen(known.session)) is None:
                    again[number] = _AGAIN
                    continue
                full = tx.count_reports(self._gateway, row.up_seid) >= UNANSWERED_MAX
                before = known.made.usage
                counted = usage.with_seen(readings, seen, known.made, known.session, now)
                found = triggers.looked(counted.urrs, counted.usage, now, full=full)
                after = Known(known.session, replace(counted, usage=found.usage), at, now)
                steps = self._closed(tx, readings, known.made, after)
                together.add(steps)
                tx.put_pfcp(self._gateway, row._replace(octets=stored.to_bytes(after.made)))
                if found.reports:
                    request = SessionReportRequest(ReportType.USAR, usage_reports=found.reports)
                    tx.put_report(self._gateway, row.up_seid, encode(request))
                    told.append(row.up_seid)
                made[number] = after
                seconds = 0.0 if known.at is None else at - known.at
                before_it = None if known.at is None else before
                what = triggers.next_of(after.made, before_it, now, seconds)
                if full:
                    what = Next(FULL_S, None, FULL_S)
                if what is not None:
                    again[number] = what
            return together.all()

        self._service.by_control_plane(self._gateway, work)
        for number, known in made.items():
            self._memory.keep(number, known)
        for up_seid in told:
            self._reported(up_seid)
        return again

    def _as_known(self, there: StoredSession, row: Made) -> Known | None:
        """As it was looked at, or, if it has changed since, as it is in the store."""
        return self._memory.get(there.session.number) or _known(there, row)

    def _closed(self, tx: Writing, readings: Readings, before: PfcpSession, after: Known) -> Steps:
        """Have a session's flows drop what a quota does not let pass any more."""
        made = procedures.looked_at(before, after.made.usage, self._terms)
        if made is None:
            return Steps()
        was = after.session
        new = replace(was, detail=procedures.detail_of(after.made, made))
        after.session = tx.replace(settled(was, new), was=was)
        after.made = usage.changed(readings, after.made, was, after.session)
        return Steps((was,), (after.session,))


class _Switch:
    """A gateway's, which need not be asked twice for the flows of a session that is known."""

    def __init__(self, agent: GatewayAgent, known: Mapping[int, Known]) -> None:
        self._agent, self._known = agent, known

    @property
    def holding(self) -> Delivery:
        return self._agent.holding

    def keyed_counts(self, numbers: Sequence[int]) -> list[list[KeyedCounts]]:
        return self._agent.keyed_counts(numbers)

    def meter_counts(self, numbers: Iterable[int]) -> Mapping[int, MeterCounts]:
        return self._agent.meter_counts(numbers)

    def pairs(self, numbers: Sequence[int]) -> list[Pair]:
        return self._agent.pairs(numbers)

    def moving(self, numbers: Iterable[int]) -> None:
        self._agent.moving(numbers)

    def keys_of(self, session: Session) -> list[tuple[EntryKey, Owned]] | None:
        known, links = self._known.get(session.number), self._agent.links_in_use
        if known is None or known.session is not session:
            return self._agent.keys_of(session)
        if known.keys is None or known.keys_for is not links:
            known.keys, known.keys_for = self._agent.keys_of(session), links
        return known.keys


def _known(there: StoredSession, row: Made) -> Known | None:
    """A session of the store, if its flows are in the switch and something is measured."""
    made = stored.from_bytes(row.octets, row.node_id, row.up_seid)
    installed = there.installed
    if installed is None or not made.urrs:
        return None
    since = min((each.since for each in made.usage.urrs.values()), default=0)
    return Known(installed, made, stored_at=max(made.usage.looked_at, since))


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
