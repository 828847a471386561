"""What URRs measure (TS 29.244, 5.2.2): volume and time, from one report to the next.

The switch counts by flows, which come and go with the rules. So what they have counted is added to
the URRs of their PDRs before a request changes them, and where they stand then is marked. Points in
time are seconds since 1900, octets those of IP packets (5.2.2.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ofgtp.core.pfcp.wire.enums import Measurement, Method, Triggers, UsageTrigger
from ofgtp.core.pfcp.wire.grouped import CreatePdr, CreateUrr, UpdateUrr
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.pfcp.wire.values import VolumeMeasurement
from ofgtp.core.rules.counts import NONE, Counts
from ofgtp.core.sessions.rule import Rule
from ofgtp.core.usage.seen import NOTHING, Seen, passed

DATES_FROM = 1 << 31
"""A Quota Validity Time from here on is no duration but a point in time: free5GC's SMF may send
one."""
EXACT_S = 2
"""Between two looks, if the time of a packet is to be told by them."""

NO_TRIGGER = UsageTrigger(0)
VOLQU, TIMQU = UsageTrigger.VOLQU, UsageTrigger.TIMQU
_STALE = UsageTrigger.QUHTI | UsageTrigger.QUVTI


class Spent(NamedTuple):
    """What of a quota was used up by reports that came after it."""

    uplink: int = 0
    downlink: int = 0
    seconds: int = 0


class Measured(NamedTuple):
    """What a URR has measured since its last report, or since it was made."""

    since: int
    sequence: int = 0
    """UR-SEQN of its next report."""
    uplink: Counts = NONE
    downlink: Counts = NONE
    spent: Spent = Spent()
    ran: int = 0
    """Seconds of usage, but for those of the clock that runs."""
    running: int | None = None
    """Since when a clock runs that measures time; None: it waits for a packet."""
    first: int | None = None
    last: int | None = None
    """When the first and the last packet were seen."""
    vague: bool = False
    """Whether these may be wrong by more than a look or two."""
    active: bool = False
    """Whether traffic has started, and not stopped."""
    active_at: int = 0
    """When a packet was last seen, or a quota was given."""
    period_from: int = 0
    """When its Measurement Period began."""
    valid_from: int = 0
    """When its Quota Validity Time began; 0: it is over, and reported."""
    closed: UsageTrigger = UsageTrigger(0)
    """Why no packet may pass until it has a new quota."""
    owed: UsageTrigger = UsageTrigger(0)
    """Triggers of a report that is due at the next look."""

    def seconds(self, now: int) -> int:
        """How long it has been used."""
        return self.ran + (0 if self.running is None else max(now - self.running, 0))


def new(urr: CreateUrr, now: int) -> Measured:
    """Of a URR that is made now."""
    running = now if _at_once(urr) else None
    made = Measured(now, running=running, active_at=now, period_from=now, valid_from=now)
    return exhausted(urr, made, now)


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all URRs of a session, by their ids; and what of `Seen` is in it."""

    urrs: Mapping[int, Measured] = field(default_factory=dict)
    marks: Seen = NOTHING
    looked_at: int = 0
    """When the counts were read."""
    marked_at: int | None = None
    """The same, in microseconds of a clock that goes on as long as the host runs: flows that were
    made since then have counted nothing that is in here. None: unknown."""

    def started(self, urrs: Mapping[int, CreateUrr], now: int) -> Usage:
        """With those that are new, and without those that are no more. Where there were none, all
        that the switch has counted up to now is of none."""
        kept = {number: self.urrs.get(number) or new(urr, now) for number, urr in urrs.items()}
        return replace(self if self.urrs else NO_USAGE, urrs=kept)

    def counted(
        self,
        urrs: Mapping[int, CreateUrr],
        pdrs: Mapping[int, CreatePdr],
        rules: Sequence[Rule],
        seen: Seen,
        now: int,
        at: int | None = None,
    ) -> Usage:
        """With what has passed by the rules of these PDRs up to now; `at` is when the switch was
        asked, as `marked_at`."""
        uplink: dict[int, Counts] = {}
        downlink: dict[int, Counts] = {}
        went_on, marks = passed(rules, self.marks, seen)
        for (direction, rule), counts in went_on.items():
            pdr, of_urrs = pdrs.get(int(rule)), uplink if direction == "uplink" else downlink
            for urr in () if pdr is None or not counts.packets else pdr.urr_ids:
                of_urrs[urr] = of_urrs.get(urr, NONE) + counts
        return self.risen(urrs, uplink, downlink, marks, now, at)

    def risen(
        self,
        urrs: Mapping[int, CreateUrr],
        uplink: Mapping[int, Counts],
        downlink: Mapping[int, Counts],
        marks: Seen,
        now: int,
        at: int | None,
    ) -> Usage:
        """With what has passed of each URR, by their ids, up to where these marks stand."""
        measured = {}
        for number, each in self.urrs.items():
            up, down = uplink.get(number, NONE), downlink.get(number, NONE)
            if up.packets or down.packets:
                each = _plus(each, up, down, self.looked_at, now)
            measured[number] = _rested(urrs.get(number), each, now)
        return Usage(measured, marks, now, at)

    def marked(self, seen: Seen, at: int | None = None) -> Usage:
        """The same where the switch's counts are made anew to stand there, at a time."""
        return replace(self, marks=seen, marked_at=at)

    def updated(
        self, updates: Iterable[UpdateUrr], urrs: Mapping[int, CreateUrr], now: int
    ) -> Usage:
        """Where URRs have been given other quotas and times. What was used since the last report
        is of the new quota."""
        measured = dict(self.urrs)
        for update in updates:
            if update.urr_id in measured:
                urr = urrs[update.urr_id]
                each = _given(urr, update, measured[update.urr_id], now)
                measured[update.urr_id] = exhausted(urr, each, now)
        return replace(self, urrs=measured)

    def is_closed(self, urrs: Iterable[int]) -> bool:
        """Whether packets that one of these measures may not pass."""
        return any(urr in self.urrs and self.urrs[urr].closed for urr in urrs)

    def reported(
        self, urr: CreateUrr, trigger: UsageTrigger, now: int, reference: int | None = None
    ) -> tuple[UsageReport, Usage]:
        """The report of a URR (7.5.5.2), and what is left: it measures from 0 on."""
        measured = self.urrs[urr.urr_id]
        seconds = measured.seconds(now)
        known = not measured.vague
        report = UsageReport(
            urr.urr_id,
            measured.sequence,
            trigger,
            measured.since,
            now,
            volume=_volume(urr, measured) if urr.measurement_method & Method.VOLUME else None,
            duration=seconds if urr.measurement_method & Method.DURATION else None,
            first_packet=measured.first if known else None,
            last_packet=measured.last if known else None,
            query_urr_reference=reference,
        )
        spent = measured.spent
        left = measured._replace(
            since=now,
            sequence=(measured.sequence + 1) & 0xFFFFFFFF,
            uplink=NONE,
            downlink=NONE,
            spent=Spent(
                spent.uplink + measured.uplink.octets,
                spent.downlink + measured.downlink.octets,
                spent.seconds + seconds,
            ),
            ran=0,
            running=None if measured.running is None else now,
            first=None,
            last=None,
            vague=False,
            owed=UsageTrigger(0),
        )
        return report, replace(self, urrs={**self.urrs, urr.urr_id: left})


NO_USAGE = Usage()


def _at_once(urr: CreateUrr) -> bool:
    """Whether time runs without a packet (ISTM, 8.2.68)."""
    information = urr.measurement_information
    return information is not None and bool(information & Measurement.ISTM)


def has_quota(urr: CreateUrr) -> bool:
    """Whether there is an end to what may pass."""
    return urr.volume_quota is not None or urr.time_quota is not None


def valid_until(urr: CreateUrr, measured: Measured) -> int | None:
    """Until when its quota is valid; None: for good, or it is over and reported."""
    period = urr.quota_validity_time
    if not period or not measured.valid_from:
        return None
    return period if period >= DATES_FROM else measured.valid_from + period


def exhausted(urr: CreateUrr, measured: Measured, now: int) -> Measured:
    """Closed, and owing a report, where a quota is used up."""
    ends = NO_TRIGGER
    if (quota := urr.volume_quota) is not None:
        up = measured.spent.uplink + measured.uplink.octets
        down = measured.spent.downlink + measured.downlink.octets
        limits = (quota.total, up + down), (quota.uplink, up), (quota.downlink, down)
        if any(limit is not None and used >= limit for limit, used in limits):
            ends |= VOLQU
    if urr.time_quota is not None:
        used = measured.spent.seconds + measured.seconds(now)
        if used >= urr.time_quota:
            ends |= TIMQU
    fresh = ends & ~measured.closed if ends else ends
    return closed(measured, fresh, wanted(urr, fresh), now) if fresh else measured


def closed(measured: Measured, why: UsageTrigger, owed: UsageTrigger, now: int) -> Measured:
    """Of which no packet passes any more: its clock stands still."""
    return measured._replace(
        closed=measured.closed | why,
        owed=measured.owed | owed,
        ran=measured.seconds(now),
        running=None,
    )


def wanted(urr: CreateUrr, triggers: UsageTrigger) -> UsageTrigger:
    """Those of these for which a control plane wants a report (8.2.19)."""
    if not triggers:
        return triggers
    kept = (each for each in triggers if urr.reporting_triggers & Triggers[str(each.name)])
    return UsageTrigger(sum(kept))


def _given(urr: CreateUrr, update: UpdateUrr, measured: Measured, now: int) -> Measured:
    """A URR as it is by now, that an update has given other quotas or times."""
    spent, why = measured.spent, measured.closed
    if update.volume_quota is not None:
        spent, why = Spent(seconds=spent.seconds), why & ~(VOLQU | _STALE)
    if update.time_quota is not None:
        spent, why = spent._replace(seconds=0), why & ~(TIMQU | _STALE)
    renewed = update.volume_quota is not None or update.time_quota is not None
    if update.quota_validity_time is not None:
        why &= ~UsageTrigger.QUVTI
    if renewed or update.quota_validity_time is not None:
        measured = measured._replace(valid_from=now)
    if renewed or update.quota_holding_time is not None:
        measured = measured._replace(active_at=now)
    if update.measurement_period is not None:
        measured = measured._replace(period_from=now)
    if measured.closed and not why and _at_once(urr):
        measured = measured._replace(running=now)
    owed = measured.owed & (why | ~(VOLQU | TIMQU | _STALE))
    return measured._replace(spent=spent, closed=why, owed=owed)


def _plus(measured: Measured, up: Counts, down: Counts, looked_at: int, now: int) -> Measured:
    """With packets that came between two looks."""
    running = measured.running
    return measured._replace(
        uplink=measured.uplink + up,
        downlink=measured.downlink + down,
        running=max(looked_at, measured.since) if running is None else running,
        first=now if measured.first is None else measured.first,
        last=now,
        vague=measured.vague or now - max(looked_at, measured.since) > EXACT_S,
        active_at=now,
    )


def _rested(urr: CreateUrr | None, measured: Measured, now: int) -> Measured:
    """With its clock stopped, if no packet has come for the Inactivity Detection Time."""
    period = None if urr is None else urr.inactivity_detection_time
    if not period or measured.running is None or now - measured.active_at < period:
        return measured
    until = max(measured.active_at + period, measured.running)
    return measured._replace(ran=measured.ran + until - measured.running, running=None)


def _volume(urr: CreateUrr, measured: Measured) -> VolumeMeasurement:
    both = measured.uplink + measured.downlink
    octets = both.octets, measured.uplink.octets, measured.downlink.octets
    wanted = urr.measurement_information
    if wanted is None or not wanted & Measurement.MNOP:
        return VolumeMeasurement(*octets)
    packets = both.packets, measured.uplink.packets, measured.downlink.packets
    return VolumeMeasurement(*octets, *packets)
