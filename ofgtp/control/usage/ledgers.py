"""Sessions' ledgers brought up to date, in the transaction that changes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ofgtp.control.usage import pairs
from ofgtp.control.usage.readings import Readings
from ofgtp.core.model import Session
from ofgtp.core.sessions.rules import rules_of
from ofgtp.core.usage.ledger import NEW, Ledger
from ofgtp.store.transaction import Transaction

AT_ONCE = 40
"""Sessions of several flows that are read, and counted, between two turns of others."""


@dataclass(frozen=True, slots=True)
class Ledgers:
    """Those of sessions that `readings` have looked at, as they are in the switch.

    `now` is seconds since 1970.
    """

    tx: Transaction
    readings: Readings
    now: int

    def counted(self, sessions: Iterable[Session]) -> dict[int, Ledger]:
        """With what has passed up to now, by the sessions' numbers; not written."""
        sessions = list(sessions)
        ledgers = self.tx.ledgers([each.number for each in sessions])
        return counted(self.readings, sessions, ledgers, self.now)

    def changed(self, after: Session, ledger: Ledger) -> Ledger:
        """As it is once its session is this one in the switch."""
        kept = ledger.of(rule.id for rule in rules_of(after))
        return self.readings.changed(after, kept)

    def change(self, before: Iterable[Session], after: Iterable[Session]) -> dict[int, Ledger]:
        """Write what sessions have used, which are about to be others in the switch, or none; the
        ledgers of those that are none, by their numbers. What was not read yet is."""
        now = {each.number: each for each in after}
        was = [
            each
            for each in before
            if each.number not in now or not self.readings.stays(each, now[each.number])
        ]
        gone: dict[int, Ledger] = {}
        switch = self.readings.switch
        if short := [each for each in was if pairs.is_pair(each, now.get(each.number))]:
            gone = pairs.change(self.tx, switch, short, now)
            was = [each for each in was if not pairs.is_pair(each, now.get(each.number))]
        switch.moving(each.number for each in was)
        gone |= self._change([each for each in was if self.readings.has(each)], now)
        rest = [each for each in was if not self.readings.has(each)]
        for start in range(0, len(rest), AT_ONCE):
            some, readings = rest[start : start + AT_ONCE], Readings(switch)
            readings.read(some)
            gone |= replace(self, readings=readings)._change(some, now)
        return gone

    def _change(self, was: Sequence[Session], now: Mapping[int, Session]) -> dict[int, Ledger]:
        """The same of those that are, or are to be, more than tunnel pairs, and were read."""
        there = self.tx.ledgers([each.number for each in was])
        found = counted(self.readings, was, there, self.now)
        both = [now[each.number] for each in was if each.number in now]
        made = ((new.number, self.changed(new, found[new.number])) for new in both)
        self.tx.put_ledgers(
            (number, ledger) for number, ledger in made if number in there or _says(ledger)
        )
        gone = {number: ledger for number, ledger in found.items() if number not in now}
        self.tx.drop_ledgers(gone.keys() & there.keys())
        return gone


def counted(
    readings: Readings, sessions: Sequence[Session], ledgers: Mapping[int, Ledger], now: int
) -> dict[int, Ledger]:
    """The ledgers of sessions that were looked at, with what has passed up to now."""
    made = {}
    for session in sessions:
        ledger = ledgers.get(session.number, NEW)
        seen = readings.seen(session)
        if seen is not None and not readings.older_than(ledger):
            ledger = readings.holds(session, ledger)
            ledger = ledger.counted(rules_of(session), seen, now, readings.at)
        made[session.number] = ledger
    return made


def _says(ledger: Ledger) -> bool:
    """Whether it is any other than that of a session that has none."""
    return ledger.active_at is not None or any(
        counts.packets for counts in ledger.marks.rules.values()
    )
