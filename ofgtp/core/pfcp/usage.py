"""What URRs measure (TS 29.244, 5.2.2): volume and time, from one report to the next.

The switch counts by flows, which come and go with the rules. So what they have counted is added to
the URRs of their PDRs before a request changes them, and where they stand then is marked. Points in
time are seconds since 1900, octets those of IP packets (5.2.2.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ofgtp.core.model import Direction
from ofgtp.core.pfcp.wire.enums import Measurement, Method, UsageTrigger
from ofgtp.core.pfcp.wire.grouped import CreatePdr, CreateUrr
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.pfcp.wire.values import VolumeMeasurement
from ofgtp.core.rules.counts import NONE, Counts
from ofgtp.core.sessions.rule import Rule
from ofgtp.core.usage.seen import NOTHING, Seen, passed


class Measured(NamedTuple):
    """What a URR has measured since its last report, or since it was made."""

    since: int
    sequence: int = 0
    """UR-SEQN of its next report."""
    uplink: Counts = NONE
    downlink: Counts = NONE


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all URRs of a session, by their ids; and what of `Seen` is in it."""

    urrs: Mapping[int, Measured] = field(default_factory=dict)
    marks: Seen = NOTHING

    def started(self, urrs: Iterable[int], now: int) -> Usage:
        """With those that are new, and without those that are no more."""
        return replace(self, urrs={urr: self.urrs.get(urr, Measured(now)) for urr in urrs})

    def counted(self, pdrs: Mapping[int, CreatePdr], rules: Sequence[Rule], seen: Seen) -> Usage:
        """With what has passed by the rules of these PDRs up to now."""
        urrs = dict(self.urrs)
        for (direction, rule), counts in passed(rules, self.marks, seen).items():
            pdr = pdrs.get(int(rule))
            for urr in () if pdr is None else pdr.urr_ids:
                if urr in urrs:
                    urrs[urr] = _plus(urrs[urr], direction, counts)
        return Usage(urrs, seen)

    def marked(self, seen: Seen) -> Usage:
        """The same where the switch's counts are made anew to stand there."""
        return replace(self, marks=seen)

    def reported(
        self, urr: CreateUrr, trigger: UsageTrigger, now: int, reference: int | None = None
    ) -> tuple[UsageReport, Usage]:
        """The report of a URR (7.5.5.2), and what is left: it measures from 0 on."""
        measured = self.urrs[urr.urr_id]
        report = UsageReport(
            urr.urr_id,
            measured.sequence,
            trigger,
            measured.since,
            now,
            volume=_volume(urr, measured) if urr.measurement_method & Method.VOLUME else None,
            duration=now - measured.since if urr.measurement_method & Method.DURATION else None,
            query_urr_reference=reference,
        )
        left = {**self.urrs, urr.urr_id: Measured(now, measured.sequence + 1)}
        return report, replace(self, urrs=left)


NO_USAGE = Usage()


def _volume(urr: CreateUrr, measured: Measured) -> VolumeMeasurement:
    both = measured.uplink + measured.downlink
    octets = both.octets, measured.uplink.octets, measured.downlink.octets
    wanted = urr.measurement_information
    if wanted is None or not wanted & Measurement.MNOP:
        return VolumeMeasurement(*octets)
    packets = both.packets, measured.uplink.packets, measured.downlink.packets
    return VolumeMeasurement(*octets, *packets)


def _plus(measured: Measured, direction: Direction, more: Counts) -> Measured:
    if direction == "uplink":
        return measured._replace(uplink=measured.uplink + more)
    return measured._replace(downlink=measured.downlink + more)
