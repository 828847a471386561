"""What each change of sessions goes through: a turn, a transaction, the counts, the switch.

One writer at a time: a change is written into an open transaction, carried to the switch, and
committed when the switch has confirmed it. What the switch refuses is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from eventlet.semaphore import Semaphore

from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.usage.ledgers import Ledgers
from ofgtp.control.usage.readings import Readings
from ofgtp.core.errors import InvalidSession, StoreError, UnknownGateway
from ofgtp.core.model import Session, SessionState
from ofgtp.core.sessions.rules import peers_of
from ofgtp.core.usage.ledger import Ledger
from ofgtp.store.sqlite import SessionStore
from ofgtp.store.transaction import Transaction


class Changes:
    """Of the sessions of all gateways. `agents` are the gateways' by their names, `writer` is the
    lock under which sessions change."""

    def __init__(
        self, store: SessionStore, agents: Mapping[str, GatewayAgent], writer: Semaphore
    ) -> None:
        self._store, self._agents, self._writer = store, agents, writer

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The right to change sessions: one caller at a time."""
        for agent in self._agents.values():
            agent.sync.settle()
        with self._writer:
            yield

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction of the store; should it fail to commit, the switches are read again."""
        try:
            with self._store.transaction() as tx:
                yield tx
        except StoreError:
            for agent in self._agents.values():
                agent.sync.forget()
            raise

    def count(
        self,
        tx: Transaction,
        gateway: str,
        before: Sequence[Session],
        after: Sequence[Session],
        readings: Readings | None = None,
    ) -> dict[int, Ledger]:
        """Keep what sessions have used before their flows change, of which some may have been read
        in this turn; of those that are no more it is returned, by their numbers."""
        agent = self._agents.get(gateway)
        if agent is None or not before:
            return {}
        readings = readings or Readings(agent.counting)
        return Ledgers(tx, readings, int(tx.time.timestamp())).change(before, after)

    def carry_out(
        self,
        tx: Transaction,
        gateway: str,
        before: Sequence[Session],
        after: Sequence[Session],
        drop: Iterable[int] = (),
    ) -> bool:
        """Bring a switch from `before` to `after`; True if it has confirmed. What waits of sessions
        in the slots `drop` is dropped.

        Raises:
            FlowsRefused: the switch refused, and has what it had.
        """
        agent = self._agents.get(gateway)
        if agent is None:
            return True
        for session in after:
            agent.news.named(peers_of(session))
        active = agent.carrier.change(before, after, drop)
        if active:
            tx.set_state((session.number for session in after), SessionState.ACTIVE)
        return active

    def changed(self, before: Session | None, after: Session | None) -> None:
        """Tell an agent that a session is now another one in the store."""
        session = after or before
        if session is not None and session.gateway in self._agents:
            self._agents[session.gateway].news.changed([(before, after)])

    def agent_for(self, name: str | None) -> GatewayAgent:
        """The gateway with a name, or, None, the only one that there is.

        Raises:
            UnknownGateway: there is none.
            InvalidSession: there are several.
        """
        if name is None:
            if len(self._agents) > 1:
                names = ", ".join(self._agents)
                raise InvalidSession("gateway", f"is missing; there are several: {names}")
            return next(iter(self._agents.values()))
        try:
            return self._agents[name]
        except KeyError:
            raise UnknownGateway(name) from None
