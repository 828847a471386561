"""What sessions have used by now: what was kept of it, and what the switch has counted since."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.usage.ledgers import counted
from ofgtp.control.usage.pairs import Look
from ofgtp.control.usage.readings import Readings, steady_us
from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Session
from ofgtp.core.rules.counts import Counts
from ofgtp.core.usage.ledger import NO_VOLUME, Ledger, Volume
from ofgtp.core.usage.plain import Pair
from ofgtp.store.sqlite import SessionStore
from ofgtp.store.usage import PlainRow

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Used:
    """By one session, since it was made."""

    total: Volume = NO_VOLUME
    rules: Mapping[str, Volume] = field(default_factory=dict)
    """Of each rule by its id: a bearer's, a PDR's, or "" for the session's own."""
    gone: Volume = NO_VOLUME
    """Of rules that are no more."""
    active_at: int | None = None
    """When it was last seen that something had passed, in seconds since 1970."""


def used(
    store: SessionStore, agent: GatewayAgent | None, sessions: Sequence[Session]
) -> dict[int, Used]:
    """By these sessions of one gateway, by their numbers; as far as it is known, where the switch
    does not tell."""
    pairs = [each.number for each in sessions if each.detail is None]
    others = [each for each in sessions if each.detail is not None]
    found: dict[int, Used] = {}
    if pairs:
        found |= _by_pairs(store, agent, pairs)
    if others:
        found |= _by_rules(store, agent, others)
    return found


def _by_pairs(
    store: SessionStore, agent: GatewayAgent | None, numbers: Sequence[int]
) -> dict[int, Used]:
    asked_at, seen, quiet = steady_us(), dict[int, Pair](), store.quiet
    if agent is not None:
        try:
            seen = dict(zip(numbers, agent.counting.pairs(numbers), strict=True))
        except GatewayNotReady as error:
            log.debug("gateway=%s: no counters: %s", agent.gateway.name, error)
    look, found, later = Look.since(asked_at), {}, []
    for known in store.plain_usage(numbers):
        if known.number in seen:
            before, known = known, look.advanced(known, seen[known.number])
            if known is not before:
                later.append(known)
        up, up_octets, down, down_octets = known.row[:4]
        total = Volume(Counts(up, up_octets), Counts(down, down_octets))
        found[known.number] = Used(total, {"": total}, active_at=known.active_at)
    _keep(store, quiet, later, ())
    return found


def _by_rules(
    store: SessionStore, agent: GatewayAgent | None, sessions: Sequence[Session]
) -> dict[int, Used]:
    numbers, quiet = [each.number for each in sessions], store.quiet
    if agent is None:
        ledgers = store.ledgers(numbers)
    else:
        readings = Readings(agent.counting)
        readings.read(sessions)
        # What is stored is looked at last: if somebody else has looked meanwhile, that is in it.
        there = store.ledgers(numbers)
        ledgers = counted(readings, sessions, there, int(time.time()))
        later = [pair for pair in ledgers.items() if _risen(there.get(pair[0]), pair[1])]
        _keep(store, quiet, (), later)
    return {
        number: Used(ledger.total, ledger.rules, ledger.gone, ledger.active_at)
        for number, ledger in ledgers.items()
    }


def _risen(before: Ledger | None, after: Ledger) -> bool:
    return after.active_at is not None and (before is None or before.marks != after.marks)


def _keep(
    store: SessionStore,
    quiet: int | None,
    rows: Sequence[PlainRow],
    ledgers: Sequence[tuple[int, Ledger]],
) -> None:
    """Keep in mind what is shown, unless sessions were changed while the switch was asked: what it
    said may be of flows that are no more."""
    if quiet is not None and quiet == store.quiet:
        store.looked(rows, ledgers)
