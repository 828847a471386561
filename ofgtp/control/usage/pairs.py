"""The same by a shorter way of sessions that are but tunnel pairs, which most are."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ofgtp.control.usage.readings import REBOOTED_US, Switch, sends, steady_us
from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Session
from ofgtp.core.rules.counts import Counts
from ofgtp.core.usage import plain
from ofgtp.core.usage.ledger import Ledger, Volume
from ofgtp.core.usage.plain import Pair
from ofgtp.store.transaction import Transaction
from ofgtp.store.usage import PlainRow

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """When the switch was asked and when it had answered, by a clock that goes on as long as the
    host runs; and the latter in seconds since 1970."""

    asked_at: int
    at: int
    now: int

    @classmethod
    def since(cls, asked_at: int) -> Look:
        """One that ends now."""
        return cls(asked_at, steady_us(), int(time.time()))

    def advanced(self, known: PlainRow, pair: Pair) -> PlainRow:
        """A tunnel pair's row with what has passed up to then; the same one if nothing has."""
        marked = known.marked_at
        since = 0 if marked is None else self.asked_at - marked
        if marked is not None and since < 0:
            if marked <= self.at + REBOOTED_US:
                return known  # somebody has looked since
            since = self.at + 1  # the host was started since: so were all flows
        row = plain.counted(known.row, pair, since)
        if row is None:
            return known
        active_at = known.active_at if row[:4] == known.row[:4] else self.now
        return PlainRow(known.number, row, self.at, active_at)


def is_pair(before: Session, after: Session | None) -> bool:
    """Whether a session is but a tunnel pair, before a change and behind it."""
    return before.detail is None and (after is None or after.detail is None)


def change(
    tx: Transaction, switch: Switch, was: Sequence[Session], now: Mapping[int, Session]
) -> dict[int, Ledger]:
    """Write what tunnel pairs have used, which are about to be others in the switch, or none; the
    ledgers of those that are none, by their numbers."""
    numbers = [each.number for each in was]
    switch.moving(numbers)
    asked_at, seen = steady_us(), dict[int, Pair]()
    try:
        seen = dict(zip(numbers, switch.pairs(numbers), strict=True))
    except GatewayNotReady as error:
        log.debug("no counts of %d sessions: %s", len(numbers), error)
    look, rows, gone = Look.since(asked_at), [], dict[int, Ledger]()
    there = {known.number: known for known in tx.plain_usage(numbers)}
    for session in was:
        known, after = there.get(session.number), now.get(session.number)
        if known is None:
            continue
        row = look.advanced(known, seen[session.number]) if session.number in seen else known
        if after is None:
            gone[session.number] = _ledger(row)
        elif session.number in seen:
            left = _left(row, session, after, look.at)
            if left.row != known.row:
                rows.append(left)
    tx.put_plain_usage(rows)
    tx.drop_ledgers(gone)
    return gone


def _left(known: PlainRow, before: Session, after: Session, at: int) -> PlainRow:
    """A row once the flows are other ones: those that stay count on, others begin at 0."""
    up, up_octets, down, down_octets = known.row[4:]
    same_ue = before.ue_ip == after.ue_ip
    if not same_ue or before.uplink != after.uplink:
        up = up_octets = 0
    if not (same_ue and sends(before) and sends(after)):
        down = down_octets = 0
    row = (*known.row[:4], up, up_octets, down, down_octets)
    return PlainRow(known.number, row, at, known.active_at)


def _ledger(known: PlainRow) -> Ledger:
    up, up_octets, down, down_octets = known.row[:4]
    total = Volume(Counts(up, up_octets), Counts(down, down_octets))
    return Ledger({"": total}, active_at=known.active_at)
