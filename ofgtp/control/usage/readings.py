"""Where the switch's counts of sessions stand, before their flows change and behind it."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from ofgtp.core.buffer.rules import holds
from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.flows.flow import CookieKind, cookie_kind
from ofgtp.core.model import Direction, Session
from ofgtp.core.rules.counts import NONE, Counts, FlowCounts, RuleKey, by_rule, counts_of
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.sessions.rule import Held, Tunnel
from ofgtp.core.sessions.rules import meter_place, meters_of, rules_of
from ofgtp.core.usage.plain import Pair
from ofgtp.core.usage.seen import NOTHING, Seen, key_of, of_held, without_held
from ofgtp.southbound.openflow import EntryKey, MeterCounts

log = logging.getLogger(__name__)

REBOOTED_US = 120_000_000
"""Marks that are so far in the future were set before the host was started."""


class Delivery(Protocol):
    """What holds packets, and sends them on: see `Holding`."""

    @property
    def began_us(self) -> int:
        """When it did, with nothing sent on."""

    def sent(self, session: Session) -> Mapping[str, Counts]:
        """What was sent on since then, by rule."""

    def begins(self, session: Session, rule: str, told: Counts) -> None:
        """A rule is about to hold packets."""

    def untold(self, session: Session, rule: str, told: Counts) -> Counts:
        """What a rule holds that is about to hold no more, and the switch has not counted yet."""


class Switch(Protocol):
    """What counts."""

    @property
    def holding(self) -> Delivery:
        """What holds packets for it."""

    def pairs(self, numbers: Sequence[int]) -> list[Pair]:
        """What the flows of tunnel pairs have counted; raises GatewayNotReady."""

    def keyed_counts(self, numbers: Sequence[int]) -> list[dict[EntryKey, FlowCounts]]:
        """What each session's flows have counted, by their keys; raises GatewayNotReady."""

    def meter_counts(self, numbers: Iterable[int]) -> Mapping[int, MeterCounts]:
        """What meters have counted; raises GatewayNotReady."""

    def keys_of(self, session: Session) -> list[tuple[EntryKey, Owned]] | None:
        """A session's flows by their keys, and whose each is."""

    def moving(self, numbers: Iterable[int]) -> None:
        """Flows of these sessions are about to be made anew, or deleted."""


class Marked(Protocol):
    """What has been counted up to a time: a session's ledger, or what its URRs have measured."""

    @property
    def marks(self) -> Seen:
        """Where the switch's counts stood then."""

    @property
    def marked_at(self) -> int | None:
        """When the switch was asked, by the clock of `steady_us`."""

    def marked(self, seen: Seen, at: int | None = None) -> Self:
        """The same with other marks."""


Spares = Callable[[int, Mapping[EntryKey, FlowCounts], int, int], Mapping[int, Counts] | None]
"""Told a session's number, what its flows have counted, and when the switch was asked and had
answered: what its meters have dropped, if they need not be asked."""

M = TypeVar("M", bound=Marked)

_Keys = list[tuple[EntryKey, Owned]]
"""A session's flows, and whose each is."""


@dataclass(slots=True)
class _Reading:
    """Of one session."""

    session: Session
    """As it was in the switch."""
    told: Mapping[EntryKey, FlowCounts]
    """As the switch has told it. A flow is no younger than its age, and seldom much older."""
    dropped: dict[int, Counts]
    """By its meters, by their places."""
    sent: Mapping[str, Counts]
    """What was held and sent on, by rule."""
    keys: _Keys | None
    """Its flows."""
    seen: Seen | None = None
    after: Session | None = None
    """What it is to be, once that is known."""
    keys_after: _Keys | None = None
    seen_after: Seen | None = None
    """Where the counts stand then."""


class Readings:
    """Those of one change, or of one look.

    A session whose flows the switch did not tell is not counted: what it has used stays as it was,
    and what has passed since is counted at the next look.
    """

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self._of: dict[int, _Reading] = {}
        self.asked_at = 0
        """When the switch was asked, by the clock of `steady_us`."""
        self.at: int | None = None
        """When the switch had answered, by a clock that goes on as long as the host runs."""

    def read(self, sessions: Sequence[Session], spares: Spares | None = None) -> None:
        """Look at these as they are in the switch, all at once."""
        numbers = [each.number for each in sessions]
        self.asked_at = steady_us()
        try:
            flows = self.switch.keyed_counts(numbers)
            answered_at = steady_us()
            spared = dict[int, Mapping[int, Counts]]()
            for number, told in zip(numbers, flows, strict=True):
                known = spares and spares(number, told, self.asked_at, answered_at)
                if known is not None:
                    spared[number] = known
            places = {
                meter.number: (each.number, meter_place(meter.number))
                for each in sessions
                if each.number not in spared
                for meter in meters_of(each)
            }
            meters = self.switch.meter_counts(places) if places else {}
        except GatewayNotReady as error:
            log.debug("no counts of %d sessions: %s", len(sessions), error)
            return
        self.at = steady_us()
        for session, told in zip(sessions, flows, strict=True):
            self._of[session.number] = _Reading(
                session,
                told,
                dict(spared.get(session.number, ())),
                self.switch.holding.sent(session),
                self.switch.keys_of(session),
            )
        framed = {
            (each.number, place)
            for each in sessions
            if each.number not in spared and each.detail is not None
            for rule in rules_of(each)
            if rule.teid is None
            for place in rule.meters
        }
        for meter, (number, place) in places.items():
            if (found := meters.get(meter)) is not None:
                seen = Counts(found.dropped, found.dropped_octets)
                dropped = counts_of(seen, (number, place) in framed)
                self._of[number].dropped[place] = dropped

    def has(self, session: Session) -> bool:
        """Whether the switch has told of a session."""
        return session.number in self._of

    def seen(self, session: Session) -> Seen | None:
        """Of a session that was looked at, as it was then; None: the switch did not tell."""
        found = self._of.get(session.number)
        if found is None or found.keys is None:
            return None
        if found.seen is None:
            counts = {key: Counts(each[0], each[1]) for key, each in found.told.items()}
            found.seen = _seen(by_rule(found.keys, counts), found.sent, found.dropped)
        return found.seen

    def told(self, session: Session, marks: Seen) -> Mapping[EntryKey, FlowCounts] | None:
        """What the switch has told of a session's flows, if that is all that has passed: its meters
        have dropped nothing since marks were set, and nothing was held. None: it is not all, or the
        switch did not tell."""
        found = self._of.get(session.number)
        if found is None or found.sent:
            return None
        if any(counts != marks.dropped.get(place, NONE) for place, counts in found.dropped.items()):
            return None
        return found.told

    def dropped(self, session: Session) -> Mapping[int, Counts]:
        """What a session's meters have dropped, by their places."""
        found = self._of.get(session.number)
        return {} if found is None else found.dropped

    def older_than(self, ledger: Marked) -> bool:
        """Whether somebody has brought a ledger up to date since this was asked for."""
        at, answered = ledger.marked_at, self.at or 0
        return at is not None and self.asked_at < at <= answered + REBOOTED_US

    def holds(self, session: Session, ledger: M) -> M:
        """A ledger with marks that hold: flows that were made anew since then, by a repair or in a
        switch that was started again, have counted nothing that is in it."""
        at, found = ledger.marked_at, self._of.get(session.number)
        if at is not None and at < self.switch.holding.began_us:
            ledger = ledger.marked(without_held(ledger.marks), at)
        if at is None or found is None or not found.told or found.keys is None:
            return ledger
        if at > (self.at or 0) + REBOOTED_US:
            return ledger.marked(NOTHING)
        since, told = self.asked_at - at, found.told
        there = [(told[key][2] < since, owned) for key, owned in found.keys if key in told]
        if not any(new for new, _ in there):
            return ledger
        if all(new for new, _ in there):
            return ledger.marked(of_held(ledger.marks), at)
        return ledger.marked(_without(ledger.marks, there), at)

    def changed(self, after: Session, ledger: M) -> M:
        """A ledger, brought up to date before, once a session that was looked at is this one in the
        switch."""
        found = self._of.get(after.number)
        if found is None:
            return ledger
        if found.after is not after:
            self._change(found, after)
        seen = found.seen_after
        if seen is None:
            return ledger
        if ledger.marked_at is not None:
            # What was dropped of packets that are not told yet is still to be taken off.
            marks = ledger.marks.dropped
            waiting = {place: marks.get(place, counts) for place, counts in seen.dropped.items()}
            seen = Seen(seen.rules, waiting)
        return ledger.marked(seen, self.at)

    def _change(self, found: _Reading, after: Session) -> None:
        """Find where the counts of a session stand then: those of flows that stay go on, and others
        begin at 0."""
        before = found.session
        found.after, found.keys_after = after, self.switch.keys_of(after)
        found.seen_after = None
        if found.keys_after is None:
            return
        # One that drops has another cookie: the session's is made anew when it is back.
        stay = {key for key, owned in found.keys_after if _counts(owned)}
        counts = {k: Counts(each[0], each[1]) for k, each in found.told.items() if k in stay}
        # A meter whose rate changes is made anew in the switch.
        same = {meter_place(each.number) for each in {*meters_of(before)} & {*meters_of(after)}}
        dropped = {place: found.dropped[place] for place in same if place in found.dropped}
        rules, sent = by_rule(found.keys_after, counts), found.sent
        was = self.seen(before) if holds(before) or holds(after) else None
        if after.detail is None:
            sent = {}
        elif was is not None:
            sent = self._held(found, after, was, rules)
        found.seen_after = _seen(rules, sent, dropped)

    def _held(
        self, found: _Reading, after: Session, was: Seen, now: Mapping[RuleKey, Counts]
    ) -> Mapping[str, Counts]:
        """What was held and sent on then: it is counted once; see `Delivery`."""
        holding, before, sent = self.switch.holding, found.session, dict(found.sent)
        held = {rule.id: rule for rule in rules_of(before) if rule.forward == Held()}
        for rule in rules_of(after):
            if rule.forward == Held() and rule.id not in held:
                holding.begins(after, rule.id, now.get(key_of(rule), NONE))
            elif isinstance(rule.forward, Tunnel) and not rule.uplink and rule.id in held:
                told = was.rules.get(key_of(held[rule.id]), NONE)
                untold = holding.untold(before, rule.id, told)
                sent[rule.id] = sent.get(rule.id, NONE) + untold
        return sent

    def stays(self, before: Session, after: Session) -> bool:
        """Whether no flow, no meter and no rule is another one after a change, but for where
        packets are sent: then the switch's counts go on."""
        if before.detail is None and after.detail is None:
            return _pair(before) == _pair(after)
        was, now = self._keys_of(before), self._keys_of(after)
        if was is None or now is None or meters_of(before) != meters_of(after):
            return False
        return [_part(*each) for each in was] == [_part(*each) for each in now] and [
            (rule.id, type(rule.forward), rule.meters) for rule in rules_of(before)
        ] == [(rule.id, type(rule.forward), rule.meters) for rule in rules_of(after)]

    def _keys_of(self, session: Session) -> _Keys | None:
        found = self._of.get(session.number)
        if found is not None and found.session is session:
            return found.keys
        if found is not None and found.after is session:
            return found.keys_after
        return self.switch.keys_of(session)


def _seen(
    rules: Mapping[RuleKey, Counts], sent: Mapping[str, Counts], dropped: Mapping[int, Counts]
) -> Seen:
    held: dict[RuleKey, Counts] = {("held", rule): each for rule, each in sent.items()}
    return Seen({**rules, **held}, dropped)


def steady_us() -> int:
    """Microseconds of a clock that goes on as long as the host runs."""
    return time.monotonic_ns() // 1000


def _without(marks: Seen, there: Sequence[tuple[bool, Owned]]) -> Seen:
    """Marks once some of a session's flows were made anew. (Where but some of a rule's were, its
    own change has made these, and they are in no mark.)"""
    left = dict(marks.rules)
    groups: dict[tuple[int | None, Direction], list[tuple[bool, Owned]]] = defaultdict(list)
    for new, owned in there:
        groups[owned.group, owned.direction].append((new, owned))
    for (_, direction), some in groups.items():
        if not any(new for new, _ in some):
            continue
        rests, behind = _all_new(some, first=True), _all_new(some, first=False)
        if not behind:
            for rule, new in rests.items():
                if new:
                    left.pop((direction, rule), None)
            continue
        # What a rule without filters has had is what its first flow has, less those behind it.
        of_all = NONE
        for rule in {*rests, *behind}:
            of_all += left.get((direction, rule), NONE)
        if all(rests.values()):
            of_all = NONE
        for rule, new in behind.items():
            if new:
                left.pop((direction, rule), None)
            of_all -= left.get((direction, rule), NONE)
        for rule in rests:
            left[direction, rule] = of_all
    return marks._replace(rules=left)


def _all_new(flows: Sequence[tuple[bool, Owned]], *, first: bool) -> dict[str, bool]:
    """The rules of first flows, or of those behind them, and whether all of each are new."""
    found: dict[str, bool] = {}
    for new, owned in flows:
        rule = owned.rest if first else owned.rule
        if owned.first == first and rule is not None:
            found[rule] = found.get(rule, True) and new
    return found


def sends(session: Session) -> bool:
    """Whether a tunnel pair has a downlink flow that counts for it, and not one that drops."""
    return session.downlink is not None and not session.error_indicated


def _pair(session: Session) -> tuple[object, ...]:
    """What the flows of a session that is but a tunnel pair are known by."""
    return session.ue_ip, session.uplink, sends(session)


def _part(key: EntryKey, owned: Owned) -> tuple[object, ...]:
    return (key, _counts(owned), *owned[1:])


def _counts(owned: Owned) -> bool:
    """Whether it is one of those that are a session's by their cookies."""
    return cookie_kind(owned.flow.cookie) is CookieKind.SESSION
