"""When URRs are reported unasked (TS 29.244, 5.2.2.2, 8.2.19, 8.2.41), and when to look again.

Nothing happens between two looks at what the switch has counted. A look finds what has become due,
reports it, and says when something may be due next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from ofgtp.core.flows.flow import OCTETS_A_KBIT
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.usage import (
    NO_TRIGGER,
    Measured,
    Usage,
    closed,
    exhausted,
    has_quota,
    valid_until,
    wanted,
)
from ofgtp.core.pfcp.wire.enums import Interface, Method, Triggers, UsageTrigger
from ofgtp.core.pfcp.wire.grouped import CreateUrr
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.usage.pace import USUAL_S, Next, next_look

_OF_TRAFFIC = Triggers.START | Triggers.STOPT
FINENESS = 8
"""Into so many looks a time is divided in which no packet may come."""
REST_S = 300.0
"""Between two looks at what has no limit: what passes until then a switch that begins anew may take
with it."""
START_S = 1.0
"""Between two looks for the first packet."""
BURST = 1.25
"""What a meter lets through in a second, of its rate."""


class Looked(NamedTuple):
    """What a look has found."""

    usage: Usage
    reports: tuple[UsageReport, ...] = ()


def looked(urrs: Mapping[int, CreateUrr], usage: Usage, now: int, *, full: bool = False) -> Looked:
    """What is due of what has been counted up to now. If it is `full` where reports wait, there is
    none, and what is due stays due."""
    measured = dict(usage.urrs)
    due: dict[int, UsageTrigger] = {}
    for number, urr in urrs.items():
        if number in measured and _is_watched(urr):
            measured[number], triggers = _due(urr, measured[number], now)
            if triggers and full:
                measured[number] = measured[number]._replace(owed=triggers)
            elif triggers:
                due[number] = triggers
    if measured != usage.urrs:
        usage = replace(usage, urrs=measured)
    if not due:
        return Looked(usage)
    reports = []
    for number, triggers in linked(urrs, due).items():
        report, usage = usage.reported(urrs[number], triggers, now)
        reports.append(report)
    return Looked(usage, tuple(reports))


def linked(
    urrs: Mapping[int, CreateUrr], due: Mapping[int, UsageTrigger]
) -> dict[int, UsageTrigger]:
    """The same with those that are to be reported whenever one of these is (LIUSA, 5.2.2.4)."""
    together = dict(due)
    for number, urr in urrs.items():
        if urr.reporting_triggers & Triggers.LIUSA and not due.keys().isdisjoint(
            urr.linked_urr_ids
        ):
            together[number] = together.get(number, UsageTrigger(0)) | UsageTrigger.LIUSA
    return together


Fastest = Mapping[int, float | None]
"""What may pass of each URR in a second; None: nothing bounds it."""


def next_look_at(
    urrs: Mapping[int, CreateUrr],
    usage: Usage,
    fastest: Fastest,
    before: Usage | None,
    now: int,
    seconds: float,
) -> Next | None:
    """When to look again at a session that has been looked at now; None: nothing is measured.
    `before` is what had been counted `seconds` before."""
    found: list[Next] = []
    for number, urr in urrs.items():
        measured = usage.urrs.get(number)
        if measured is None or not _is_watched(urr):
            continue
        if measured.owed:
            return Next(0.0, at_latest=0.0)
        was = None if before is None else before.urrs.get(number)
        risen = 0 if was is None else _risen(was, measured)
        # Of packets that have begun to come since nobody knows how fast they do.
        begun = risen and was and before and was.active_at < before.looked_at
        over, most = 0.0 if begun else seconds, fastest[number]
        found += [next_look(left, risen, over, most) for left in _lefts(urr, measured)]
        found += (Next(each, None, each) for each in _timers(urr, measured, now))
        if _waits_for_packet(urr, measured):
            found.append(Next(START_S, 1))
    if not found:
        return Next(REST_S, 1) if urrs else None
    by_octets = [each for each in found if each.octets is not None]
    timers = [each.at_latest for each in found if each.at_latest is not None]
    latest = min(timers, default=None)
    if not by_octets:
        return Next(latest or 0.0, None, latest)
    return Next(
        min(each.seconds for each in by_octets),
        min(each.octets for each in by_octets if each.octets is not None),
        latest,
        min((each.expected for each in by_octets if each.expected is not None), default=None),
    )


def _is_watched(urr: CreateUrr) -> bool:
    """Whether something may become due of it; LIUSA follows others."""
    triggers = urr.reporting_triggers
    return bool(
        has_quota(urr)
        or (triggers & Triggers.VOLTH and urr.volume_threshold)
        or (triggers & Triggers.TIMTH and urr.time_threshold)
        or (triggers & Triggers.PERIO and urr.measurement_period)
        or (triggers & Triggers.QUVTI and urr.quota_validity_time)
        or triggers & Triggers.START
        or (triggers & Triggers.STOPT and urr.inactivity_detection_time)
        or (urr.inactivity_detection_time and urr.measurement_method & Method.DURATION)
    )


def _due(urr: CreateUrr, measured: Measured, now: int) -> tuple[Measured, UsageTrigger]:
    """A URR with what has become of it, and why it is reported."""
    due = NO_TRIGGER
    period = urr.measurement_period
    if period and urr.reporting_triggers & Triggers.PERIO and now >= measured.period_from + period:
        periods = (now - measured.period_from) // period
        measured = measured._replace(period_from=measured.period_from + periods * period)
        due |= UsageTrigger.PERIO
    # OAI's SMF gives thresholds of 1000 octets: it is told once a second.
    if now > measured.since and (reached := _thresholds(urr, measured, now)):
        due |= reached
    measured, traffic = _traffic(urr, measured, now)
    if traffic:
        due |= traffic
    if not measured.closed:
        measured = exhausted(urr, measured, now)
    if not measured.closed and has_quota(urr):
        holding = urr.quota_holding_time
        if holding and now >= measured.active_at + holding:
            stale = UsageTrigger.QUHTI
            measured = closed(measured, stale, wanted(urr, stale), now)
    until = valid_until(urr, measured)
    if until is not None and now >= until and not measured.closed:
        over = UsageTrigger.QUVTI
        measured = measured._replace(valid_from=0, owed=measured.owed | wanted(urr, over))
        if has_quota(urr):
            measured = closed(measured, over, UsageTrigger(0), now)
    if due:
        return measured, wanted(urr, due) | measured.owed
    return measured, measured.owed


def _thresholds(urr: CreateUrr, measured: Measured, now: int) -> UsageTrigger:
    due = NO_TRIGGER
    if any(left <= 0 for left in _lefts_of_threshold(urr, measured)):
        due |= UsageTrigger.VOLTH
    if urr.time_threshold and measured.seconds(now) >= urr.time_threshold:
        due |= UsageTrigger.TIMTH
    return due


def _traffic(urr: CreateUrr, measured: Measured, now: int) -> tuple[Measured, UsageTrigger]:
    """Whether traffic has started or stopped since the last look."""
    quiet = urr.inactivity_detection_time
    if measured.active:
        if quiet and now >= measured.active_at + quiet:
            return measured._replace(active=False), UsageTrigger.STOPT
    elif measured.last is not None and (not quiet or now < measured.active_at + quiet):
        return measured._replace(active=True), UsageTrigger.START
    return measured, NO_TRIGGER


def _lefts(urr: CreateUrr, measured: Measured) -> Iterator[int]:
    """Octets until a threshold or quota is reached."""
    if urr.reporting_triggers & Triggers.VOLTH:
        yield from _lefts_of_threshold(urr, measured)
    if (quota := urr.volume_quota) is not None and not measured.closed:
        up = measured.spent.uplink + measured.uplink.octets
        down = measured.spent.downlink + measured.downlink.octets
        yield from _differences(quota, up, down)


def _lefts_of_threshold(urr: CreateUrr, measured: Measured) -> Iterator[int]:
    """Of 0 octets there is no threshold: it would be reached always."""
    if (limit := urr.volume_threshold) is not None:
        kept = type(limit)(*(each or None for each in limit))
        yield from _differences(kept, measured.uplink.octets, measured.downlink.octets)


def _differences(
    limit: tuple[int | None, int | None, int | None], up: int, down: int
) -> Iterator[int]:
    for most, used in zip(limit, (up + down, up, down), strict=True):
        if most is not None:
            yield most - used


def _timers(urr: CreateUrr, measured: Measured, now: int) -> Iterator[float]:
    """In how many seconds something is due, whatever comes."""
    triggers, is_open = urr.reporting_triggers, not measured.closed
    if triggers & Triggers.PERIO and urr.measurement_period:
        yield measured.period_from + urr.measurement_period - now
    if measured.running is not None:
        used = measured.seconds(now)
        if triggers & Triggers.TIMTH and urr.time_threshold:
            yield max(urr.time_threshold - used, 1)
        if urr.time_quota is not None and is_open:
            yield urr.time_quota - measured.spent.seconds - used
    until = valid_until(urr, measured)
    if until is not None and is_open:
        yield until - now
    quiet = urr.inactivity_detection_time
    if quiet and (measured.active or measured.running is not None):
        yield _finely(measured.active_at + quiet - now, quiet)
    if urr.quota_holding_time and has_quota(urr) and is_open:
        yield _finely(measured.active_at + urr.quota_holding_time - now, urr.quota_holding_time)


def _finely(left: int, whole: int) -> float:
    """When to look for packets, while none may come for so long."""
    return max(min(left, whole / FINENESS), USUAL_S)


def _waits_for_packet(urr: CreateUrr, measured: Measured) -> bool:
    if measured.closed:
        return False
    timed = urr.time_quota is not None or urr.time_threshold or urr.inactivity_detection_time
    return bool(
        (urr.reporting_triggers & _OF_TRAFFIC and not measured.active)
        or (timed and measured.running is None)
    )


def _risen(before: Measured, after: Measured) -> int:
    """Octets from one look to another."""
    risen = _all(after) - _all(before)
    return risen if risen >= 0 else after.uplink.octets + after.downlink.octets


def _all(measured: Measured) -> int:
    """Octets since a quota was given, or since it was made."""
    spent = measured.spent.uplink + measured.spent.downlink
    return spent + measured.uplink.octets + measured.downlink.octets


def fastest_of(session: PfcpSession) -> Fastest:
    """What may pass of a session's URRs in a second."""
    return {urr: _fastest(session, urr) for urr in session.urrs}


def _fastest(session: PfcpSession, urr: int) -> float | None:
    """What may pass of it in a second, if rates bound all of it."""
    rates = [0, 0]
    for direction in (0, 1):
        of_qers: dict[int, int] = {}
        for pdr in session.pdrs.values():
            uplink = pdr.pdi.source_interface is Interface.ACCESS
            if urr not in pdr.urr_ids or uplink is not (direction == 0):
                continue
            qers = ((number, session.qers[number].mbr) for number in pdr.qer_ids)
            bounds = [(mbr[direction], number) for number, mbr in qers if mbr and mbr[direction]]
            if not bounds:
                return None
            rate, number = min(bounds)
            of_qers[number] = rate
        rates[direction] = sum(of_qers.values())
    return sum(rates) * OCTETS_A_KBIT * BURST or None
