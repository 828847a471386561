"""Downlink data for idle UEs -> Downlink Data Reports (TS 29.244, 5.2.3.1, 7.5.8.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ofgtp.core.buffer.queue import LIMIT, LIMIT_MAX, SECONDS_MAX, Bounds
from ofgtp.core.pfcp.rules import rules_of
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.wire.enums import Action, ReportType
from ofgtp.core.pfcp.wire.grouped import CreateFar, UpdateBarInReportResponse, UpdateFar
from ofgtp.core.pfcp.wire.messages import SessionReportRequest
from ofgtp.core.pfcp.wire.reports import DownlinkDataReport
from ofgtp.core.pfcp.wire.values import DownlinkDataService
from ofgtp.core.sessions.rule import Held, Rule

DELAY_UNIT_S = 0.05


class DownlinkFlow(NamedTuple):
    """What a control plane is told of once: the packets of a FAR, of each QoS flow there."""

    far_id: int
    qfi: int | None


class Waiting(NamedTuple):
    """A packet for which there is no tunnel."""

    flow: DownlinkFlow
    pdr_id: int

    def report(self) -> SessionReportRequest:
        """What its control plane is told."""
        qfi = self.flow.qfi
        service = None if qfi is None else DownlinkDataService(qfi=qfi)
        data = DownlinkDataReport((self.pdr_id,), service)
        return SessionReportRequest(ReportType.DLDR, downlink_data=data)


def waiting(session: PfcpSession, rule: Rule) -> Waiting | None:
    """A packet that a rule holds; None if the session has it no more, or its control plane does
    not want to know of such."""
    far = far_of(session, rule)
    if far is None or not far.apply_action & Action.NOCP:
        return None
    return Waiting(_flow(session, rule), int(rule.id))


def far_of(session: PfcpSession, rule: Rule) -> CreateFar | None:
    """The FAR of a rule; None if the session has no such rule, or it holds no packets."""
    pdr = session.pdrs.get(int(rule.id))
    far = None if pdr is None else session.fars.get(pdr.far_id or 0)
    return None if far is None or far.apply_action & Action.FORW else far


def held_by(session: PfcpSession, rule: Rule) -> Bounds | None:
    """How many packets of a rule are held, and for how long: of a FAR that buffers as many as its
    BAR says; None: none."""
    far = far_of(session, rule)
    if far is None or not far.apply_action & Action.BUFF:
        return None
    bar = None if far.bar_id is None else session.bars.get(far.bar_id)
    count = None if bar is None else bar.suggested_buffering_packets_count
    return Bounds() if count is None else Bounds(limit=count)


def delay_of(session: PfcpSession, rule: Rule) -> float:
    """For how many seconds a rule's packets are not told of (8.2.28)."""
    far = far_of(session, rule)
    bar = None if far is None or far.bar_id is None else session.bars.get(far.bar_id)
    delay = None if bar is None else bar.downlink_data_notification_delay
    return DELAY_UNIT_S * (delay or 0)


def bounds_of(update: UpdateBarInReportResponse) -> Bounds | None:
    """What the answer to a report asks for (7.5.9.2): how long packets wait, and how many; None:
    nothing of that."""
    duration, count = update.dl_buffering_duration, update.dl_buffering_suggested_packet_count
    if not isinstance(duration, int):
        return None
    seconds = min(_seconds(duration), SECONDS_MAX)
    return Bounds(min(count, LIMIT_MAX) if isinstance(count, int) else LIMIT, seconds)


_UNITS = {0: 2, 1: 60, 2: 600, 3: 3_600, 4: 36_000}


def _seconds(octet: int) -> float:
    """Of a DL Buffering Duration: a unit in bits 8 to 6, and a number (8.2.29)."""
    unit, number = octet >> 5, octet & 0x1F
    if unit == 7:
        return float("inf")
    return float(_UNITS.get(unit, 60) * number)


def held_flows(session: PfcpSession) -> frozenset[DownlinkFlow]:
    """All flows of a session of which its control plane may be told."""
    held = (rule for rule in rules_of(session, ipv6=True).rules if rule.forward == Held())
    told = (waiting(session, rule) for rule in held)
    return frozenset(each.flow for each in told if each is not None)


def _flow(session: PfcpSession, rule: Rule) -> DownlinkFlow:
    pdr = session.pdrs[int(rule.id)]
    qfis = (session.qers[number].qfi for number in pdr.qer_ids)
    return DownlinkFlow(pdr.far_id or 0, next((qfi for qfi in qfis if qfi), None))


def told_anew(updates: Iterable[UpdateFar]) -> frozenset[int]:
    """The FARs of whose packets a control plane is to be told again: it says anew what becomes of
    them."""
    return frozenset(each.far_id for each in updates if each.apply_action is not None)
