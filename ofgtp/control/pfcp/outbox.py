"""Usage reports on their way to control planes: each is sent until it is answered (TS 29.244, 6.4),
and then again, in ever longer intervals, as long as its session lives. They are in the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import NamedTuple

import eventlet

from ofgtp.control.sessions.owned import Steps
from ofgtp.control.sessions.service import SessionService
from ofgtp.core.agenda import Agenda
from ofgtp.core.errors import OfgtpError
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import ReportType
from ofgtp.core.pfcp.wire.messages import Message, SessionReportRequest
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.pfcp.wire.tables import decode
from ofgtp.store.pfcp import Made
from ofgtp.store.reports import Report
from ofgtp.store.sqlite import SessionStore
from ofgtp.store.transaction import Transaction as Writing

log = logging.getLogger(__name__)

TOGETHER = 16
"""Reports of a session that stand in one request."""
UNDER_WAY = 512
"""Sessions of which a request is not answered yet; others wait."""
FIRST_S, LAST_S = 10.0, 60.0
"""After a request that was sent N1 times in vain, and the longest of such intervals."""
IDLE_S, RETRY_S = 0.02, 1.0
ALL = (1 << 63) - 1


class UsageToken(NamedTuple):
    """Names the request that is under way of a session."""

    up_seid: int


Sender = Callable[[Made, SessionReportRequest, UsageToken], None]


class Outbox:
    """Those of one gateway."""

    def __init__(
        self, gateway: str, store: SessionStore, service: SessionService, send: Sender
    ) -> None:
        self._gateway, self._store, self._service = gateway, store, service
        self._send = send
        self._due: Agenda[int] = Agenda()
        self._waiting: set[int] = set()
        """SEIDs of ours of which a request was sent in vain."""
        self._under_way: dict[int, int] = {}
        """By SEID of ours the last report in the request."""
        self._answered: dict[int, int] = {}
        """The same, where it is answered, and the store has it still."""
        self._delays: dict[int, float] = {}

    def reported(self, up_seid: int) -> None:
        """There is a report in the store."""
        if not any(up_seid in each for each in (self._under_way, self._waiting, self._answered)):
            self._due.set(up_seid, time.monotonic())

    def hurry(self) -> None:
        """A control plane is back: what was sent in vain is sent now."""
        now = time.monotonic()
        for up_seid in self._waiting:
            self._due.set(up_seid, now)
        self._waiting.clear()
        self._delays.clear()

    def answered(self, up_seid: int, message: Message | None) -> None:
        """A request was answered; with no message if nobody can read it."""
        last = self._under_way.pop(up_seid, None)
        if last is None:
            return
        cause = getattr(message, "cause", None)
        if cause in (Cause.ACCEPTED, Cause.SESSION_NOT_FOUND):
            self._answered[up_seid] = last if cause == Cause.ACCEPTED else ALL
            self._delays.pop(up_seid, None)
            return
        log.warning(
            "gateway=%s: session %#x: its control plane refuses a usage report, cause %s",
            self._gateway,
            up_seid,
            cause,
        )
        self._later(up_seid)

    def unanswered(self, up_seid: int) -> None:
        """A request was sent N1 times in vain."""
        if self._under_way.pop(up_seid, None) is None:
            return
        if up_seid not in self._delays:
            log.warning(
                "gateway=%s: session %#x: its control plane does not answer a usage report",
                self._gateway,
                up_seid,
            )
        self._later(up_seid)

    def left(self, tx: Writing, up_seid: int) -> list[UsageReport]:
        """What was reported of a session and is not answered."""
        known = self._answered.get(up_seid, 0)
        rows = tx.reports_of(self._gateway, up_seid)
        return [each for row in rows if row.seq > known for each in _read(row).usage_reports]

    def forget(self, up_seid: int) -> None:
        """The session is no more."""
        self._due.drop(up_seid)
        self._waiting.discard(up_seid)
        self._under_way.pop(up_seid, None)
        self._answered.pop(up_seid, None)
        self._delays.pop(up_seid, None)

    def run(self) -> None:
        """Send what is due as long as the process lives; to be spawned."""
        loaded = False
        while True:
            pause = IDLE_S
            try:
                if not loaded:
                    for up_seid in self._store.reported_sessions(self._gateway):
                        self.reported(up_seid)
                    loaded = True
                self._remove()
                self._send_due()
            except OfgtpError as error:
                log.error("gateway=%s: usage reports: %s", self._gateway, error)
                pause = RETRY_S
            except Exception:
                log.exception("gateway=%s: PFCP: unexpected", self._gateway)
                pause = RETRY_S
            eventlet.sleep(pause)

    def _later(self, up_seid: int) -> None:
        delay = self._delays.get(up_seid, FIRST_S)
        self._delays[up_seid] = min(2 * delay, LAST_S)
        self._waiting.add(up_seid)
        self._due.set(up_seid, time.monotonic() + delay)

    def _remove(self) -> None:
        """Forget what is answered; until then no more is sent of these sessions."""
        if not self._answered:
            return
        answered = dict(self._answered)

        def work(tx: Writing) -> Steps:
            tx.remove_reports(self._gateway, answered.items())
            return Steps()

        self._service.by_control_plane(self._gateway, work)
        for up_seid, last in answered.items():
            if self._answered.get(up_seid) == last:
                del self._answered[up_seid]
                self._due.set(up_seid, time.monotonic())

    def _send_due(self) -> None:
        now = time.monotonic()
        while len(self._under_way) < UNDER_WAY and (up_seid := self._due.first(now)) is not None:
            rows = self._store.reports_of(self._gateway, up_seid, TOGETHER)
            found = self._store.pfcp_session(self._gateway, up_seid)
            self._due.drop(up_seid)
            self._waiting.discard(up_seid)
            if not rows or found is None:
                self._delays.pop(up_seid, None)
                continue
            self._under_way[up_seid] = rows[-1].seq
            self._send(found[1], _together(rows), UsageToken(up_seid))


def _together(rows: list[Report]) -> SessionReportRequest:
    requests = [_read(row) for row in rows]
    return SessionReportRequest(
        ReportType(reduce(or_, (each.report_type for each in requests))),
        usage_reports=tuple(each for request in requests for each in request.usage_reports),
    )


def _read(row: Report) -> SessionReportRequest:
    return decode(SessionReportRequest, row.octets)
