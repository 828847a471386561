"""Usage reports on their way: each until it is answered, in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ofgtp.control.pfcp import outbox
from ofgtp.control.pfcp.outbox import Outbox, UsageToken
from ofgtp.core.errors import StoreError
from ofgtp.core.pfcp.wire.enums import ReportType, UsageTrigger
from ofgtp.core.pfcp.wire.messages import SessionReportRequest, SessionReportResponse
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.pfcp.wire.tables import encode
from ofgtp.store.pfcp import Made
from ofgtp.store.sqlite import SessionStore
from tests.unit.test_store_pfcp import OWNER, session

SEID = OWNER.up_seid


class Wire:
    """An outbox with a store, a clock, and what it has sent."""

    def __init__(self, store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.now, self.full = store, 1000.0, False
        self.sent: list[list[int]] = []
        monkeypatch.setattr(outbox, "time", self)
        with store.transaction() as tx:
            made = tx.insert(session())
            tx.put_pfcp("gw1", Made(made.number, SEID, "10.3.0.5", 5, "10.3.0.5", b""))
        self.outbox = Outbox("gw1", store, self, self._send)  # type: ignore[arg-type]

    def monotonic(self) -> float:
        return self.now

    def by_control_plane(self, gateway: str, work: Any) -> None:
        if self.full:
            raise StoreError("it is full")
        with self.store.transaction() as tx:
            work(tx)

    def _send(self, made: Made, request: SessionReportRequest, token: UsageToken) -> None:
        assert (made.cp_seid, token) == (5, UsageToken(made.up_seid))
        assert request.report_type == ReportType.USAR
        self.sent.append([each.sequence for each in request.usage_reports])

    def report(self, *sequences: int, of: int = SEID) -> None:
        with self.store.transaction() as tx:
            for each in sequences:
                usage = (UsageReport(1, each, UsageTrigger.VOLTH),)
                request = SessionReportRequest(ReportType.USAR, usage_reports=usage)
                tx.put_report("gw1", of, encode(request))
        self.outbox.reported(of)

    def turn(self, seconds: float = 0.0) -> list[list[int]]:
        """What is sent after so many seconds: UR-SEQNs by request."""
        self.now += seconds
        self.sent.clear()
        self.outbox._remove()
        self.outbox._send_due()
        return list(self.sent)

    def answer(self, cause: int | None) -> None:
        message = None if cause is None else SessionReportResponse(cause)
        self.outbox.answered(SEID, message)

    def kept(self) -> int:
        return len(self.store.reports_of("gw1", SEID, 99))


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    store = SessionStore(tmp_path / "sessions.db", clock=time.time)
    yield Wire(store, monkeypatch)
    store.close()


def test_what_is_answered_is_forgotten(wire: Wire) -> None:
    wire.report(0)
    assert wire.turn() == [[0]]
    assert wire.turn(100) == [], "it is under way"
    wire.answer(1)
    assert wire.turn() == [] and wire.kept() == 0


def test_they_go_in_order_and_together(wire: Wire) -> None:
    wire.report(0)
    assert wire.turn() == [[0]]
    wire.report(1, 2)
    assert wire.turn(1) == []
    wire.answer(1)
    assert wire.turn() == [[1, 2]]
    wire.report(*range(3, 23))
    wire.answer(1)
    assert wire.turn() == [[*range(3, 19)]]


def test_an_answer_that_comes_late_in_a_turn_keeps_no_other_waiting(wire: Wire) -> None:
    """It is forgotten in the next one, and what was reported of its session meanwhile waits."""
    other = replace(OWNER, up_seid=SEID - 1)
    mine = session()
    assert mine.detail is not None
    with wire.store.transaction() as tx:
        detail = replace(mine.detail, owner=other, rules=(), teids=())
        made = tx.insert(replace(mine, id="pfcp-2", ue_ip=None, detail=detail))
        tx.put_pfcp("gw1", Made(made.number, other.up_seid, "10.3.0.5", 5, "10.3.0.5", b""))
    wire.report(0)
    wire.turn()
    wire.outbox._remove()
    wire.answer(1)
    wire.report(1)
    wire.report(7, of=other.up_seid)
    wire.sent.clear()
    wire.outbox._send_due()
    assert wire.sent == [[7]]
    assert wire.turn() == [[1]]


def test_without_an_answer_it_is_sent_again_and_again(wire: Wire) -> None:
    wire.report(0)
    assert wire.turn() == [[0]]
    for delay in (10, 20, 40, 60, 60):
        wire.outbox.unanswered(SEID)
        assert wire.turn(delay - 1) == []
        assert wire.turn(1) == [[0]]
    assert wire.kept() == 1


def test_what_is_new_meanwhile_goes_with_it(wire: Wire) -> None:
    wire.report(0)
    wire.turn()
    wire.outbox.unanswered(SEID)
    wire.report(1)
    assert wire.turn(9) == []
    assert wire.turn(1) == [[0, 1]]


def test_a_control_plane_that_is_back_is_sent_it_at_once(wire: Wire) -> None:
    wire.report(0)
    for _ in range(4):
        wire.turn(100)
        wire.outbox.unanswered(SEID)
    assert wire.turn(1) == []
    wire.outbox.hurry()
    assert wire.turn() == [[0]]


@pytest.mark.parametrize(("cause", "kept"), [(65, 0), (64, 2), (None, 2)])
def test_other_answers(wire: Wire, cause: int | None, kept: int) -> None:
    """Where the session is not known nobody wants its reports; else they are sent again."""
    wire.report(0)
    wire.turn()
    wire.report(1)
    wire.answer(cause)
    assert wire.turn() == []
    assert wire.kept() == kept
    assert wire.turn(10) == ([[0, 1]] if kept else [])


def test_what_cannot_be_forgotten_is_not_sent_again(wire: Wire) -> None:
    """A full disk: the report is in the store still, and answered."""
    wire.report(0)
    wire.turn()
    wire.answer(1)
    wire.full = True
    with pytest.raises(StoreError):
        wire.turn()
    with wire.store.transaction() as tx:
        assert wire.outbox.left(tx, SEID) == [], "nor told by the answer to a deletion"
    wire.full = False
    assert wire.turn() == [] and wire.kept() == 0


def test_a_session_that_is_no_more(wire: Wire) -> None:
    wire.report(0)
    wire.turn()
    with wire.store.transaction() as tx:
        assert [each.sequence for each in wire.outbox.left(tx, SEID)] == [0]
        tx.delete(session().id)
        assert wire.outbox.left(tx, SEID) == []
    wire.outbox.forget(SEID)
    wire.answer(1)
    assert wire.turn(100) == []
