"""What the switch has counted for sessions that are about to change, read for many at once."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Session
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.usage import Seen
from ofgtp.core.rules.counts import Counts, by_rule, counts_of
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.sessions.rules import meter_number
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
    """Where the counts of sessions stand, before a change and as it will leave them.

    A session whose flows the switch did not tell is not counted: what it has measured stays as it
    was, and what has passed since is counted at the next look.
    """

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._flows: dict[int, dict[Hashable, Counts]] = {}
        self._meters: dict[int, dict[int, Counts]] = {}

    def read(self, sessions: Sequence[Session]) -> None:
        """Look at these, all at once."""
        places = {
            meter_number(each.detail.slot, place): (each.number, place)
            for each in sessions
            if each.detail is not None
            for place, _ in each.detail.limits
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

    def counted(self, made: PfcpSession, session: Session, now: int) -> PfcpSession:
        """The session with what it has measured so far."""
        usage, detail = made.usage.started(made.urrs, now), session.detail
        seen = self._seen(session.number, self._switch.keys_of(session))
        if seen is not None and detail is not None:
            usage = usage.counted(made.pdrs, detail.rules, seen)
        return replace(made, usage=usage)

    def changed(self, made: PfcpSession, before: Session, after: Session) -> PfcpSession:
        """The session as it is after a change, marked where the counts of its flows stand then:
        those that stay go on, and others begin at 0."""
        known = self._flows.get(before.number)
        wanted = self._switch.keys_of(after)
        if known is None or wanted is None:
            return made
        limits = [() if each.detail is None else each.detail.limits for each in (before, after)]
        same = set(limits[0]) & set(limits[1])
        self._flows[after.number] = {key: known[key] for key, _ in wanted if key in known}
        # A meter whose rate changes is made anew in the switch.
        meters = self._meters[before.number]
        self._meters[after.number] = {place: meters[place] for place, _ in same if place in meters}
        seen = self._seen(after.number, wanted)
        return made if seen is None else replace(made, usage=made.usage.marked(seen))

    def _seen(self, number: int, wanted: list[tuple[EntryKey, Owned]] | None) -> Seen | None:
        known = self._flows.get(number)
        if known is None or wanted is None:
            return None
        return Seen(by_rule(wanted, known), self._meters[number])
