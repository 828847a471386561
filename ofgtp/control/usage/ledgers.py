"""Sessions' ledgers brought up to date, in the transaction that changes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ofgtp.control.usage.readings import Readings
from ofgtp.core.model import Session
from ofgtp.core.sessions.rules import rules_of
from ofgtp.core.usage.ledger import NEW, Ledger
from ofgtp.store.sqlite import Transaction


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
        made = {}
        for session in sessions:
            ledger = ledgers.get(session.number, NEW)
            seen = self.readings.seen(session)
            if seen is not None:
                ledger = ledger.counted(rules_of(session), seen, self.now)
            made[session.number] = ledger
        return made

    def changed(self, before: Session, after: Session, ledger: Ledger) -> Ledger:
        """As it is once a session is another one in the switch."""
        seen = self.readings.after(before, after)
        kept = ledger.of(rule.id for rule in rules_of(after))
        return kept if seen is None else kept.marked(seen)
