"""What a session has used since it was made: totals that only go up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ofgtp.core.rules.counts import NONE, Counts
from ofgtp.core.sessions.rule import Rule
from ofgtp.core.usage.seen import NOTHING, Seen, passed


class Volume(NamedTuple):
    """What has gone on: IP packets and their octets."""

    uplink: Counts = NONE
    downlink: Counts = NONE

    @property
    def both(self) -> Counts:
        """Of both directions together."""
        return self.uplink + self.downlink

    def plus(self, other: Volume) -> Volume:
        """Both volumes."""
        return Volume(self.uplink + other.uplink, self.downlink + other.downlink)


NO_VOLUME = Volume()


@dataclass(frozen=True, slots=True)
class Ledger:
    """A session's, and what of `Seen` is in it."""

    rules: Mapping[str, Volume] = field(default_factory=dict)
    """Of each rule by its id: a bearer's, a PDR's, or "" for the session's own."""
    gone: Volume = NO_VOLUME
    """Of rules that are no more."""
    marks: Seen = NOTHING
    active_at: int | None = None
    """When it was last seen that something had passed, in seconds since 1970."""
    marked_at: int | None = None
    """When the switch was last asked, in microseconds of a clock that goes on as long as the host
    runs: flows that were made since then have counted nothing that is in here. None: unknown."""

    @property
    def total(self) -> Volume:
        """Of the whole session."""
        total = self.gone
        for volume in self.rules.values():
            total = total.plus(volume)
        return total

    def counted(self, rules: Sequence[Rule], seen: Seen, now: int, at: int | None = None) -> Ledger:
        """With what has passed by these rules, which are those in the switch, up to now; `at` is
        when the switch was asked, as `marked_at`."""
        totals, gone, active = dict(self.rules), self.gone, False
        there = {rule.id for rule in rules}
        went_on, marks = passed(rules, self.marks, seen)
        for (direction, rule), counts in went_on.items():
            volume = Volume(counts) if direction == "uplink" else Volume(downlink=counts)
            if rule in there:
                totals[rule] = totals.get(rule, NO_VOLUME).plus(volume)
            else:
                gone = gone.plus(volume)
            active |= counts.packets > 0
        return Ledger(totals, gone, marks, now if active else self.active_at, at)

    def marked(self, seen: Seen, at: int | None = None) -> Ledger:
        """The same where the switch's counts are made anew to stand there, at a time."""
        return replace(self, marks=seen, marked_at=at)

    def of(self, rules: Iterable[str]) -> Ledger:
        """The same of a session that has but these rules now: what others had used is kept."""
        kept, gone = {*rules}, self.gone
        for rule, volume in self.rules.items():
            if rule not in kept:
                gone = gone.plus(volume)
        left = {rule: volume for rule, volume in self.rules.items() if rule in kept}
        return replace(self, rules=left, gone=gone)


NEW = Ledger()
