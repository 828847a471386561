"""What the URRs of a control plane's session have measured, from what the switch has counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ofgtp.control.usage.readings import Readings
from ofgtp.core.model import Session
from ofgtp.core.pfcp import stored, triggers
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.sums import Sums
from ofgtp.core.pfcp.usage import Usage
from ofgtp.core.rules.counts import Counts, FlowCounts
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.sessions.rules import meters_of
from ofgtp.core.usage.bucket import Bucket
from ofgtp.core.usage.seen import Seen
from ofgtp.southbound.openflow import EntryKey
from ofgtp.store.pfcp import Made as Row

RATE_S = 1.0
"""At least, if it was looked at before: the switch brings its counts up to date twice a second."""
KEPT = 16_384
"""Sessions that are kept as they are read: those looked at last."""


def counted(readings: Readings, made: PfcpSession, session: Session, now: int) -> PfcpSession:
    """The session with what it has measured so far."""
    return with_seen(readings, readings.seen(session), made, session, now)


def with_seen(
    readings: Readings, seen: Seen | None, made: PfcpSession, session: Session, now: int
) -> PfcpSession:
    """The same, once it is known what the switch has counted."""
    usage, detail = made.usage.started(made.urrs, now), session.detail
    if seen is not None and detail is not None and not readings.older_than(usage):
        usage = readings.holds(session, usage)
        usage = usage.counted(made.urrs, made.pdrs, detail.rules, seen, now, readings.at)
    return replace(made, usage=usage)


def looked(readings: Readings, known: Known, now: int) -> Usage | None:
    """What a session has measured so far, by the shortest way that there is; None: the switch did
    not tell."""
    made, session = known.made, known.session
    wanted, marked = readings.switch.keys_of(session), made.usage.marked_at
    if wanted is None:
        return None
    if readings.at is not None:
        known.dropped = readings.dropped(session)
    since = -1 if marked is None else readings.asked_at - marked
    if readings.at is not None and since >= 0 and made.usage.urrs.keys() == made.urrs.keys():
        told = readings.told(session, made.usage.marks)
        if told is not None:
            sums = known.sums_of(wanted)
            found = sums.counted(made.usage, made.urrs, told, since, now, readings.at)
            if found is not None:
                return found
    seen = readings.seen(session)
    return None if seen is None else with_seen(readings, seen, made, session, now).usage


def changed(readings: Readings, made: PfcpSession, after: Session) -> PfcpSession:
    """The session as it is after a change, marked where the counts of its flows stand then."""
    return replace(made, usage=readings.changed(after, made.usage))


@dataclass(slots=True)
class Known:
    """A session as it was when it was last changed or looked at. The store may have what it had
    used some looks before; what has passed since then is in the switch's counts."""

    session: Session
    """As it is in the switch."""
    made: PfcpSession
    stored_at: int = 0
    """When what it has used was last stored."""
    keys: list[tuple[EntryKey, Owned]] | None = None
    keys_for: object = None
    """Its flows by their keys, and the links that these were made for."""
    octets: bytes = b""
    """As it is in the store."""
    dropped: Mapping[int, Counts] = field(default_factory=dict)
    """What its meters have dropped, as they were last asked."""
    _looks: tuple[tuple[Usage, float], ...] = ()
    _fastest: triggers.Fastest | None = None
    _bucket: Bucket | None = None
    _sums: tuple[object, Sums[EntryKey]] | None = None

    @property
    def fastest(self) -> triggers.Fastest:
        """What may pass of each URR in a second."""
        if self._fastest is None:
            self._fastest = triggers.fastest_of(self.made)
        return self._fastest

    def earlier(self, found: Usage, at: float) -> tuple[Usage | None, float]:
        """What it had used some time before this look, and when, by a steady clock: from the one to
        the other it shows how fast that goes. None: it was not looked at."""
        looks = self._looks
        if looks and at - looks[-1][1] < RATE_S:
            return looks[0]
        self._looks = (*looks[-1:], (found, at))
        return looks[-1] if looks else (None, at)

    def spares(
        self, told: Mapping[EntryKey, FlowCounts], asked_at: int, at: int
    ) -> Mapping[int, Counts] | None:
        """What its meters have dropped, if it cannot be more than it was; see `Spares`."""
        if self._bucket is None:
            self._bucket = Bucket(meters_of(self.session))
        packets = sum(each[0] for each in told.values())
        octets = sum(each[1] for each in told.values())
        spared = self._bucket.spares(packets, octets, asked_at / 1e6, at / 1e6)
        return self.dropped if spared else None

    def doubt(self) -> None:
        """What its meters have dropped is not kept: ask them at the next look."""
        self._bucket = None

    def sums_of(self, wanted: list[tuple[EntryKey, Owned]]) -> Sums[EntryKey]:
        """What its flows are summed up to."""
        if self._sums is None or self._sums[0] is not wanted:
            rules = () if self.session.detail is None else self.session.detail.rules
            self._sums = wanted, Sums(wanted, rules, self.made.pdrs)
        return self._sums[1]


class Memory:
    """Sessions with URRs as requests and looks have left them, by their numbers."""

    def __init__(self) -> None:
        self._known: dict[int, Known] = {}

    def get(self, number: int) -> Known | None:
        """The session, as far as it is remembered."""
        return self._known.get(number)

    def keep(self, number: int, known: Known) -> None:
        """Remember a session; the one that was kept longest ago goes for it."""
        self._known.pop(number, None)
        self._known[number] = known
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]

    def drop(self, number: int) -> None:
        """The session is another one now, or is no more."""
        self._known.pop(number, None)

    def latest(self, row: Row) -> PfcpSession:
        """A session of the store with what was counted since."""
        known = self._known.get(row.number)
        if known is not None and known.octets == row.octets:
            return known.made
        return stored.from_bytes(row.octets, row.node_id, row.up_seid)
