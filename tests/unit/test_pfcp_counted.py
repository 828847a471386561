"""What URRs have measured, by the switch's answers: what a meter drops is told before what came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ofgtp.control.pfcp.usage import Known, changed, counted, looked
from ofgtp.control.usage import readings
from ofgtp.control.usage.readings import Readings
from ofgtp.core.model import Session
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.rules.counts import Counts, FlowCounts
from ofgtp.core.rules.session import owned_flows
from ofgtp.core.sessions.rules import meters_of
from ofgtp.southbound.openflow import MeterCounts
from tests.support.sample import LINKS
from tests.unit.test_pfcp_sessions import DL, NOW, QER, UL, establish, session_of
from tests.unit.test_pfcp_usage import urr

MADE = establish(
    create_pdrs=(UL._replace(urr_ids=(1,), qer_ids=(1,)), DL),
    create_urrs=(urr(1),),
    create_qers=(QER._replace(mbr=v.Bitrates(1000, 1000)),),
)
SESSION = session_of(MADE)
FLOWS: Any = list(enumerate(owned_flows(SESSION, LINKS)))
(METER,) = meters_of(SESSION)
UPLINK = next(key for key, owned in FLOWS if owned.flow.meter == METER.number)
OCTETS = 100


class Switch:
    """It has the session's flows, and they have counted this; it holds nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readings, "steady_us", lambda: self.at)
        self.holding: Any = self
        self.began_us = 0
        self.at = self.made_at = 3_600_000_000
        self.came = self.dropped = self.asked = 0

    def sent(self, session: Session) -> Mapping[str, Counts]:
        return {}

    def keyed_counts(self, numbers: Sequence[int]) -> list[dict[Any, FlowCounts]]:
        age, octets = self.at - self.made_at, OCTETS * self.came
        return [
            {key: (self.came, octets, age) if key == UPLINK else (0, 0, age) for key, _ in FLOWS}
        ]

    def meter_counts(self, numbers: Iterable[int]) -> Mapping[int, MeterCounts]:
        self.asked += 1
        dropped = self.dropped, OCTETS * self.dropped
        return {METER.number: MeterCounts(self.came, dropped[0], 0, dropped[1])}

    def keys_of(self, session: Session) -> Any:
        return FLOWS

    def pairs(self, numbers: Sequence[int]) -> Any:
        raise AssertionError("it is no tunnel pair")

    def moving(self, numbers: Iterable[int]) -> None:
        """Nothing else looks at it."""

    def read(self, came: int, dropped: int, known: Known | None = None) -> Readings:
        """A second later so many packets have come, and so many were dropped of those that will."""
        self.at += 1_000_000
        self.came, self.dropped = came, dropped
        made = Readings(self)
        made.read([SESSION], None if known is None else lambda _, *told: known.spares(*told))
        return made


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Switch:
    return Switch(monkeypatch)


def uplink(made: PfcpSession) -> int:
    return made.usage.urrs[1].uplink.packets


def test_by_looks(switch: Switch) -> None:
    known = Known(SESSION, MADE.session)
    for came, dropped in ((0, 60), (40, 85), (100, 85), (100, 85), (101, 85), (102, 85)):
        usage = looked(switch.read(came, dropped, known), known, NOW)
        assert usage is not None
        known.made = replace(known.made, usage=usage)
    assert uplink(known.made) == 17


def test_by_looks_that_do_not_ask_the_meter(switch: Switch) -> None:
    """It has dropped what has not come yet: that is not forgotten meanwhile."""
    known = Known(SESSION, MADE.session)
    for came in (0, 0, 0, 1, 2, 12):
        usage = looked(switch.read(came, 10, known), known, NOW)
        assert usage is not None
        known.made = replace(known.made, usage=usage)
    assert switch.asked == 1, "the first look has to"
    assert uplink(known.made) == 2


def test_by_requests(switch: Switch) -> None:
    made = MADE.session
    for came, dropped in ((0, 60), (40, 85), (100, 85), (100, 85)):
        found = switch.read(came, dropped)
        made = counted(found, made, SESSION, NOW)
        made = changed(found, made, SESSION)
    assert uplink(made) == 15


def test_what_was_dropped_before_there_were_urrs(switch: Switch) -> None:
    """Is nothing of theirs."""
    found = switch.read(50, 40)
    made = replace(MADE.session, usage=MADE.session.usage.started({}, NOW))
    made = replace(made, usage=made.usage.started(made.urrs, NOW))
    made = changed(found, made, SESSION)
    made = counted(switch.read(60, 40), made, SESSION, NOW)
    assert uplink(made) == 10
