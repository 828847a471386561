"""Where the switch's counts of sessions stand, before their flows change and behind it."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Protocol

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Session
from ofgtp.core.rules.counts import Counts, by_rule, counts_of
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.sessions.rules import meter_place, meters_of
from ofgtp.core.usage.seen import Seen
from ofgtp.southbound.openflow import EntryKey, MeterCounts

log = logging.getLogger(__name__)


class Switch(Protocol):
    """What counts."""

    def keyed_counts(self, numbers: Sequence[int]) -> list[list[tuple[EntryKey, int, int]]]:
        """Keys, packets and octets of sessions' flows, by their numbers; raises GatewayNotReady."""

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
        self._meters: dict[int, dict[int, Counts]] = {}

    def read(self, sessions: Sequence[Session]) -> None:
        """Look at these as they are in the switch, all at once."""
        places = {
            meter.number: (each.number, meter_place(meter.number))
            for each in sessions
            for meter in meters_of(each)
        }
        numbers = [each.number for each in sessions]
        try:
            flows = self._switch.keyed_counts(numbers)
            meters = self._switch.meter_counts(places) if places else {}
        except GatewayNotReady as error:
            log.debug("no counts of %d sessions: %s", len(sessions), error)
            return
        for number, some in zip(numbers, flows, strict=True):
            self._flows[number] = {key: Counts(packets, octets) for key, packets, octets in some}
            self._meters[number] = {}
        for meter, (number, place) in places.items():
            if (found := meters.get(meter)) is not None:
                dropped = counts_of(Counts(found.dropped, found.dropped_octets))
                self._meters[number][place] = dropped

    def seen(self, session: Session) -> Seen | None:
        """Of a session that was looked at; None: the switch did not tell."""
        return self._seen(session.number, self._switch.keys_of(session))

    def after(self, before: Session, after: Session) -> Seen | None:
        """Where the counts of a session stand once it is another one in the switch: those of flows
        that stay go on, and others begin at 0. `seen` tells the same of it from now on."""
        known = self._flows.get(before.number)
        wanted = self._switch.keys_of(after)
        if known is None or wanted is None:
            return None
        same = {*meters_of(before)} & {*meters_of(after)}
        self._flows[after.number] = {key: known[key] for key, _ in wanted if key in known}
        # A meter whose rate changes is made anew in the switch.
        meters, kept = self._meters[before.number], {meter_place(each.number) for each in same}
        self._meters[after.number] = {place: meters[place] for place in kept if place in meters}
        return self._seen(after.number, wanted)

    def _seen(self, number: int, wanted: list[tuple[EntryKey, Owned]] | None) -> Seen | None:
        known = self._flows.get(number)
        if known is None or wanted is None:
            return None
        return Seen(by_rule(wanted, known), self._meters[number])
