"""Where the switch's counts of sessions stand, before their flows change and behind it."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Protocol

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.flows.flow import CookieKind, make_cookie
from ofgtp.core.model import Session
from ofgtp.core.rules.counts import Counts, by_rule, counts_of
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.sessions.rules import meter_place, meters_of, rules_of
from ofgtp.core.usage.ledger import Ledger
from ofgtp.core.usage.seen import NOTHING, Seen
from ofgtp.southbound.openflow import EntryKey, KeyedCounts, MeterCounts

log = logging.getLogger(__name__)

REBOOTED_MS = 120_000
"""Marks that are so far in the future were set before the host was started."""


class Switch(Protocol):
    """What counts."""

    def keyed_counts(self, numbers: Sequence[int]) -> list[list[KeyedCounts]]:
        """What sessions' flows have counted, by their numbers; raises GatewayNotReady."""

    def meter_counts(self, numbers: Iterable[int]) -> Mapping[int, MeterCounts]:
        """What meters have counted; raises GatewayNotReady."""

    def keys_of(self, session: Session) -> list[tuple[EntryKey, Owned]] | None:
        """A session's flows by their keys, and whose each is."""


class Readings:
    """Those of one change, or of one look.

    A session whose flows the switch did not tell is not counted: what it has used stays as it was,
    and what has passed since is counted at the next look.
    """

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._flows: dict[int, dict[Hashable, Counts]] = {}
        self._made: dict[int, dict[Hashable, int]] = {}
        """When the flows were made at the latest: no later than that, and seldom much earlier."""
        self._meters: dict[int, dict[int, Counts]] = {}
        self.at: int | None = None
        """When the switch had answered, by a clock that goes on as long as the host runs."""

    def read(self, sessions: Sequence[Session]) -> None:
        """Look at these as they are in the switch, all at once."""
        places = {
            meter.number: (each.number, meter_place(meter.number))
            for each in sessions
            for meter in meters_of(each)
        }
        numbers = [each.number for each in sessions]
        asked_at = steady_ms()
        try:
            flows = self._switch.keyed_counts(numbers)
            meters = self._switch.meter_counts(places) if places else {}
        except GatewayNotReady as error:
            log.debug("no counts of %d sessions: %s", len(sessions), error)
            return
        self.at = steady_ms()
        for number, some in zip(numbers, flows, strict=True):
            self._flows[number] = {each.key: Counts(each.packets, each.octets) for each in some}
            self._made[number] = {each.key: asked_at - each.age_ms for each in some}
            self._meters[number] = {}
        for meter, (number, place) in places.items():
            if (found := meters.get(meter)) is not None:
                dropped = counts_of(Counts(found.dropped, found.dropped_octets))
                self._meters[number][place] = dropped

    def seen(self, session: Session) -> Seen | None:
        """Of a session that was looked at; None: the switch did not tell."""
        return self._seen(session.number, self._switch.keys_of(session))

    def holds(self, session: Session, ledger: Ledger) -> Ledger:
        """A ledger with the marks of its that hold: flows that were made anew since, by a repair or
        in a switch that was started again, have counted nothing that is in it."""
        at, made = ledger.marked_at, self._made.get(session.number)
        wanted = self._switch.keys_of(session)
        if at is None or not made or wanted is None or self.at is None:
            return ledger
        there = [(made[key], owned) for key, owned in wanted if key in made]
        new = [owned for made_at, owned in there if made_at > at or at > self.at + REBOOTED_MS]
        if not new:
            return ledger
        if len(new) == len(there):
            return ledger.marked(NOTHING)
        if session.detail is None:
            gone = {(each.direction, each.rule) for each in new}
            left = {key: counts for key, counts in ledger.marks.rules.items() if key not in gone}
            return ledger.marked(Seen(left))
        # What a rule without filters has had is reckoned from all of them: what came since is left.
        return ledger.marked(self._seen(session.number, wanted) or NOTHING)

    def after(self, before: Session, after: Session) -> Seen | None:
        """Where the counts of a session stand once it is another one in the switch: those of flows
        that stay go on, and others begin at 0. `seen` tells the same of it from now on."""
        known = self._flows.get(before.number)
        wanted = self._switch.keys_of(after)
        if known is None or wanted is None:
            return None
        same = {*meters_of(before)} & {*meters_of(after)}
        own = make_cookie(CookieKind.SESSION, after.number)
        # One that drops has another cookie: the session's is made anew when it is back.
        stay = {key for key, owned in wanted if owned.flow.cookie == own}
        self._flows[after.number] = {key: known[key] for key in stay if key in known}
        # A meter whose rate changes is made anew in the switch.
        meters, kept = self._meters[before.number], {meter_place(each.number) for each in same}
        self._meters[after.number] = {place: meters[place] for place in kept if place in meters}
        return self._seen(after.number, wanted)

    def stays(self, before: Session, after: Session) -> bool:
        """Whether no flow, no meter and no rule is another one after a change, but for where
        packets are sent: then the switch's counts go on."""
        if before.detail is None and after.detail is None:
            return _pair(before) == _pair(after)
        was, now = self._switch.keys_of(before), self._switch.keys_of(after)
        if was is None or now is None or meters_of(before) != meters_of(after):
            return False
        return [_part(*each) for each in was] == [_part(*each) for each in now] and [
            (rule.id, type(rule.forward), rule.meters) for rule in rules_of(before)
        ] == [(rule.id, type(rule.forward), rule.meters) for rule in rules_of(after)]

    def _seen(self, number: int, wanted: list[tuple[EntryKey, Owned]] | None) -> Seen | None:
        known = self._flows.get(number)
        if known is None or wanted is None:
            return None
        return Seen(by_rule(wanted, known), self._meters[number])


def steady_ms() -> int:
    """Milliseconds of a clock that goes on as long as the host runs."""
    return time.monotonic_ns() // 1_000_000


def _pair(session: Session) -> tuple[object, ...]:
    """What the flows of a session that is but a tunnel pair are known by."""
    sends = session.downlink is not None and not session.error_indicated
    return session.ue_ip, session.uplink, sends


def _part(key: EntryKey, owned: Owned) -> tuple[object, ...]:
    flow, *whose = owned
    return (key, flow.cookie, *whose)
