"""Holds sessions to their limits of usage: looks at what they have used, tells, and closes them."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.sessions.detail import settled
from ofgtp.control.usage.ledgers import Ledgers
from ofgtp.control.usage.readings import Readings
from ofgtp.control.usage.watcher import RETRY_S, Watcher
from ofgtp.core.errors import GatewayNotReady, StoreError
from ofgtp.core.model import Session, SessionState
from ofgtp.core.usage.ledger import NEW, NO_VOLUME, Ledger, Volume
from ofgtp.core.usage.limits import (
    Gauge,
    Judged,
    LimitEvent,
    closed_of,
    closing,
    fastest,
    given_all,
    judge,
    limits_of,
    look_after,
    soonest,
    used_of,
)
from ofgtp.core.usage.pace import LATEST_S, Next
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import QuotaView
from ofgtp.store.rows import StoredSession
from ofgtp.store.sqlite import SessionStore
from ofgtp.store.transaction import Transaction

log = logging.getLogger(__name__)

AT_ONCE = Next(0.0)
LOOK_SLICE = 20
"""Sessions that are looked at in one transaction: each has several flows."""
RATE_S = 0.6
"""A rate is taken over so much time at least: the switch brings its counts up to date twice a
second, so that of two looks that follow soon the second may find nothing new."""

Samples = deque[tuple[float, dict[str, int]]]
"""What a session and its bearers had used at the last looks, by a steady clock."""


class Limits:
    """Those of the sessions of all gateways. `writer` is the lock under which sessions change."""

    def __init__(
        self,
        store: SessionStore,
        agents: Iterable[GatewayAgent],
        writer: Semaphore,
        events: EventLog,
    ) -> None:
        self._store, self._writer, self._events = store, writer, events
        self._agents = {agent.gateway.name: agent for agent in agents}
        self._watchers = {
            name: Watcher(agent.gateway, partial(self._look, agent))
            for name, agent in self._agents.items()
        }
        self._seen: dict[int, Samples] = {}
        self._doubted = False
        """Whether the store has not kept what the switch had done."""

    def run(self, gateway: str) -> None:
        """Watch a gateway's sessions until the process ends; to be spawned."""
        watcher = self._watchers[gateway]
        for number in self._store.with_limits(gateway):
            watcher.set(number, AT_ONCE)
        watcher.run()

    # --- limits that are given

    def given(
        self, tx: Transaction, old: StoredSession | None, new: Session, readings: Readings
    ) -> tuple[Session, dict[str, Gauge] | None]:
        """The session that takes the place of `old`, closed as its limits want it, and where they
        count from; None: they are as before. What has to be read of `old` is in `readings` then."""
        before = None if old is None else old.session
        was, wanted = {} if before is None else limits_of(before), limits_of(new)
        if before is not None and was == wanted:
            return closing(new, closed_of(before)) if was else new, None
        if not was and not wanted:
            return new, None
        ledger, gauges = NEW, dict[str, Gauge]()
        if old is not None and before is not None:
            ledger = _used(tx, old, readings)
            gauges = tx.gauges([before.number]).get(before.number, {})
        made, closed = given_all(gauges, before, new, ledger, time.time())
        return closing(new, closed), made

    def put(self, tx: Transaction, session: Session, gauges: dict[str, Gauge] | None) -> None:
        """Write down what `given` has told, once the session has its number."""
        if gauges is not None:
            tx.put_gauges(session.number, gauges)
            self._watchers[session.gateway].set(session.number, AT_ONCE)

    def quotas(
        self, session: Session, total: Volume, rules: Mapping[str, Volume]
    ) -> list[QuotaView]:
        """How much is used of the quotas of a session that has used so much."""
        limited, closed = limits_of(session), closed_of(session)
        gauges = self._store.gauges([session.number]) if limited else {}
        found = []
        for name, limits in limited.items():
            gauge = gauges.get(session.number, {}).get(name, Gauge())
            used = rules.get(name, NO_VOLUME) if name else total
            if limits.quota is not None:
                spent = max(used.both.octets - gauge.quota_from, 0)
                found.append(QuotaView(name or None, limits.quota, spent, name in closed))
        return found

    def delivered(self, session: Session) -> None:
        """Packets that were held for a session have gone on, and are counted by now."""
        if limits_of(session):
            self._watchers[session.gateway].set(session.number, AT_ONCE)

    # --- looks

    def _look(self, agent: GatewayAgent, numbers: Sequence[int]) -> Mapping[int, Next]:
        """Look at sessions that are due; see `Look`."""
        again: dict[int, Next] = {}
        for start in range(0, len(numbers), LOOK_SLICE):
            again |= self._look_at(agent, numbers[start : start + LOOK_SLICE])
            eventlet.sleep(0)
        return again

    def _look_at(self, agent: GatewayAgent, numbers: Sequence[int]) -> Mapping[int, Next]:
        told: list[tuple[str, str, LimitEvent]] = []
        with self._writer:
            if not agent.synced:
                raise GatewayNotReady("the switch is not in sync")
            if self._doubted:
                self._store.check()  # or on a full disk the switch would be compared all the time
                self._doubted = False
            found = {each.session.number: each for each in self._store.by_numbers(numbers)}
            readings = Readings(agent.counting)
            readings.read([each.session for each in found.values() if each.installed is not None])
            turn = _Turn(agent, readings, self._seen)
            try:
                with self._store.transaction() as tx:
                    turn.take(tx, found.values())
                    for number in numbers:
                        if number not in found:
                            tx.put_gauges(number, {})
                    told = turn.carry_out(tx)
            except StoreError:
                if turn.closes:
                    self._doubted = True
                    agent.sync.forget()
                raise
        for number in {*numbers} - turn.again.keys():
            self._seen.pop(number, None)
        for session_id, name, (kind, facts) in told:
            whose = {"bearer": name} if name else {}
            self._events.publish(
                kind, gateway=agent.gateway.name, session=session_id, **whose, **facts
            )
        return turn.again


class _Turn:
    """One look at some sessions of a gateway, in one transaction."""

    def __init__(
        self,
        agent: GatewayAgent,
        readings: Readings,
        seen: dict[int, Samples],
    ) -> None:
        self._agent, self._readings, self._seen = agent, readings, seen
        self._now, self._steady = time.time(), time.monotonic()
        self._told: list[tuple[str, str, LimitEvent]] = []
        self._closing: list[tuple[StoredSession, Session, Ledger]] = []
        self.again: dict[int, Next] = {}
        """When to look at them again."""

    @property
    def closes(self) -> bool:
        """Whether a session is closed."""
        return bool(self._closing)

    def take(self, tx: Transaction, found: Iterable[StoredSession]) -> None:
        """Judge these sessions, and write down what has changed of them."""
        limited = [each for each in found if limits_of(each.session)]
        numbers = [each.session.number for each in limited]
        before, gauges = tx.ledgers(numbers), tx.gauges(numbers)
        ledgers = Ledgers(tx, self._readings, int(self._now))
        counted = ledgers.counted([each.session for each in limited])
        for stored in limited:
            session, number = stored.session, stored.session.number
            if stored.installed is None:
                self.again[number] = Next(LATEST_S)
            elif self._readings.seen(session) is None:
                self.again[number] = Next(RETRY_S)
            else:
                ledger, stated = counted[number], gauges.get(number, {})
                made = self._judge(stored, ledger, stated)
                if made != stated:
                    tx.put_gauges(number, made)
                if _differs(ledger, before.get(number, NEW)):
                    tx.put_ledgers([(number, ledger)])

    def _judge(
        self, stored: StoredSession, ledger: Ledger, gauges: Mapping[str, Gauge]
    ) -> dict[str, Gauge]:
        session, closed = stored.session, closed_of(stored.session)
        judged = {
            name: judge(
                limits,
                gauges.get(name, Gauge(active_at=self._now)),
                used_of(ledger, name),
                self._now,
                name in closed,
            )
            for name, limits in limits_of(session).items()
        }
        for name, each in judged.items():
            self._told += ((session.id, name, told) for told in each.told)
        used_up = {name for name, each in judged.items() if each.used_up}
        if used_up != closed:
            after = settled(session, closing(session, used_up))
            self._closing.append((stored, after, ledger))
        octets = {name: used_of(ledger, name).both.octets for name in judged}
        again = soonest([*self._looks(session, judged, octets, stopped="" in used_up)])
        if again is not None:
            self.again[session.number] = again
            self._seen[session.number].append((self._steady, octets))
        return {name: each.gauge for name, each in judged.items()}

    def _looks(
        self,
        session: Session,
        judged: Mapping[str, Judged],
        octets: Mapping[str, int],
        *,
        stopped: bool,
    ) -> Iterable[Next]:
        samples = self._seen.setdefault(session.number, deque())
        while len(samples) > 1 and samples[1][0] <= self._steady - RATE_S:
            samples.popleft()
        at, had = samples[0] if samples else (self._steady, {})
        for name, each in judged.items():
            look = look_after(
                replace(each, left=None) if stopped else each,
                octets[name] - had[name] if name in had else None,
                self._steady - at,
                fastest(session, name),
            )
            if look is not None:
                yield look

    def carry_out(self, tx: Transaction) -> list[tuple[str, str, LimitEvent]]:
        """Close in the switch what is closed now; what is to be told.

        Raises:
            FlowsRefused: the switch refused.
        """
        if self._closing:
            ledgers = Ledgers(tx, self._readings, int(self._now))
            before, after = [], []
            for stored, closed, ledger in self._closing:
                state, reason = SessionState.PENDING, None
                if stored.state is SessionState.ERROR_INDICATED:
                    state, reason = stored.state, stored.reason
                tx.replace(closed, state, reason, was=stored.session)
                changed = ledgers.changed(closed, ledger)
                tx.put_ledgers([(closed.number, changed)])
                before.append(stored.session)
                after.append(closed)
            self._agent.counting.moving(each.number for each in before)
            if self._agent.carrier.change(before, after):
                numbers = [
                    stored.session.number
                    for stored, *_ in self._closing
                    if stored.state is not SessionState.ERROR_INDICATED
                ]
                tx.set_state(numbers, SessionState.ACTIVE)
        return self._told


def _used(tx: Transaction, old: StoredSession, readings: Readings) -> Ledger:
    """What a session has used up to now."""
    session = old.session
    if old.installed is None:
        return tx.ledgers([session.number]).get(session.number, NEW)
    readings.read([session])
    ledger = Ledgers(tx, readings, int(time.time())).counted([session])[session.number]
    if readings.seen(session) is not None:
        tx.put_ledgers([(session.number, ledger)])
    return ledger


def _differs(ledger: Ledger, before: Ledger) -> bool:
    """Whether there is anything new in a ledger but when it was looked at."""
    return (ledger.rules, ledger.gone, ledger.marks) != (before.rules, before.gone, before.marks)
