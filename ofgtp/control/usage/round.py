"""All sessions of a gateway looked at in turn, so that what they have used is in the store.

The switch has no notice of its own: what it has counted is read, of a few sessions at a time, since
it forwards in the same thread (docs/usage.md).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.usage.ledgers import counted
from ofgtp.control.usage.pairs import Look
from ofgtp.control.usage.readings import Readings, steady_us
from ofgtp.control.usage.watcher import SLICE, SLICE_S
from ofgtp.core.errors import GatewayNotReady, OfgtpError
from ofgtp.core.model import Session
from ofgtp.core.usage.plain import Pair
from ofgtp.northbound.service import Rounds
from ofgtp.southbound import portcounts
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

DETAILED_SLICE = 20
"""The same of sessions that are more than tunnel pairs: each has several flows."""
GROUP = 500
"""Sessions whose counts are written together."""
LITTLE, PATIENCE = 1_000, 10
"""Where less than so many octets for each session have come in since the last round, one in so many
is made."""
IDLE_S = 0.5
"""Seconds between two looks at whether a round is due."""
RETRY_S = 3.0


_Pairs = list[tuple[Look, dict[int, Pair]]]
_Others = list[tuple[Readings, list[Session]]]


@dataclass(frozen=True, slots=True)
class _Group:
    """Sessions that are looked at for one transaction."""

    after: int
    """The number of the last one before them."""
    last: int | None
    """None: there are no more."""
    pairs: Sequence[int]
    others: Sequence[int]


class Round:
    """Those of one gateway. What the switch or the store does not do now is tried again."""

    def __init__(
        self, agent: GatewayAgent, store: SessionStore, writer: Semaphore, seconds: float
    ) -> None:
        """A round takes `seconds`, and more if there are too many sessions for that."""
        self._agent, self._store, self._writer = agent, store, writer
        self.seconds = seconds
        """May be set to another number at any time."""
        self._began: float | None = None
        self._octets = 0

    def run(self) -> None:
        """Make rounds until the process ends; to be spawned."""
        while True:
            try:
                if self._due():
                    self._go()
            except OfgtpError as error:
                log.debug("gateway=%s: usage not read: %s", self._agent.gateway.name, error)
                eventlet.sleep(RETRY_S)
            except Exception:
                log.exception("gateway=%s: unexpected", self._agent.gateway.name)
                eventlet.sleep(RETRY_S)
            eventlet.sleep(IDLE_S)

    def _due(self) -> bool:
        """Whether enough has come in since the last round, or it is long ago."""
        agent = self._agent
        if not agent.synced:
            return False
        if self._began is None:
            return True
        octets = portcounts.octets(agent.gateway)
        if octets == self._octets:
            return False
        since = time.monotonic() - self._began
        if since < self.seconds:
            return False
        sessions = sum(self._store.count(agent.gateway.name).values())
        return octets - self._octets >= LITTLE * sessions or since >= PATIENCE * self.seconds

    def _go(self) -> None:
        agent = self._agent
        # What comes while it is under way is for the next one.
        self._octets, self._began = portcounts.octets(agent.gateway), time.monotonic()
        sessions = sum(self._store.count(agent.gateway.name).values())
        pause = self.seconds * SLICE / max(sessions, SLICE)
        for group in self._groups():
            self._look_at(group, pause)
        took = time.monotonic() - self._began
        agent.rounds = Rounds(agent.rounds.polled, agent.rounds.made + 1, took)

    def _groups(self) -> Iterator[_Group]:
        after, name = 0, self._agent.gateway.name
        while page := self._store.numbers(after, GROUP):
            mine = [(number, plain) for number, gateway, plain in page if gateway == name]
            pairs = [number for number, plain in mine if plain]
            others = [number for number, plain in mine if not plain]
            last = page[-1][0] if len(page) == GROUP else None
            yield _Group(after, last, pairs, others)
            after = page[-1][0]

    def _look_at(self, group: _Group, pause: float) -> None:
        """Look at some sessions, and write down what they have used."""
        agent, moved = self._agent, set[int]()
        with self._writer:
            # A change that begins from now on tells whose flows it makes anew.
            agent.counting.made_anew = moved
        try:
            pairs, others = self._read(group, pause)
            with self._writer:
                self._write(group, pairs, others, moved)
        finally:
            agent.counting.made_anew = None
        polled = len(group.pairs) + len(group.others)
        agent.rounds = agent.rounds._replace(polled=agent.rounds.polled + polled)

    def _read(self, group: _Group, pause: float) -> tuple[_Pairs, _Others]:
        agent = self._agent
        pairs: _Pairs = []
        for some in _slices(group.pairs, SLICE):
            asked_at, began = steady_us(), time.monotonic()
            seen = dict(zip(some, agent.counting.pairs(some), strict=True))
            pairs.append((Look.since(asked_at), seen))
            self._rest(began, pause)
        others: _Others = []
        for some in _slices(group.others, DETAILED_SLICE):
            began, readings = time.monotonic(), Readings(agent.counting)
            stored = self._store.by_numbers(some)
            sessions = [one for each in stored if (one := each.installed) is not None]
            readings.read(sessions)
            others.append((readings, sessions))
            self._rest(began, pause * DETAILED_SLICE / SLICE)
        return pairs, others

    def _rest(self, began: float, pause: float) -> None:
        """As long as the switch took for a slice at least."""
        took = time.monotonic() - began
        eventlet.sleep(max(pause - took, took, SLICE_S))
        if not self._agent.synced:
            raise GatewayNotReady("its flows are compared")

    def _write(self, group: _Group, pairs: _Pairs, others: _Others, moved: set[int]) -> None:
        """Write down what has risen; with the writer lock held, so that nobody else does.

        Sessions whose flows were made anew meanwhile are left out: they were looked at then.
        """
        fresh = self._store.unwritten([*group.pairs, *group.others])
        rows = []
        for look, seen in pairs:
            for known in self._store.plain_usage([each for each in seen if each not in moved]):
                row = look.advanced(known, seen[known.number])
                if row is not known or known.number in fresh:
                    rows.append(row)
        ledgers = []
        for readings, sessions in others:
            eventlet.sleep(0)
            still = [each for each in sessions if each.number not in moved]
            there = self._store.ledgers([each.number for each in still])
            for number, ledger in counted(readings, still, there, int(time.time())).items():
                known_ledger = there.get(number)
                if number in fresh or not known_ledger or ledger.marks != known_ledger.marks:
                    ledgers.append((number, ledger))
        gone = self._store.usage_of_gone(group.after, group.last)
        if rows or ledgers or gone:
            with self._store.transaction() as tx:
                tx.put_plain_usage(rows)
                tx.put_ledgers(ledgers)
                tx.drop_ledgers(gone)


def _slices(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
