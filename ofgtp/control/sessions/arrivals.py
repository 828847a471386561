"""New sessions that are asked for one by one at the same time: one transaction, one barrier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from ipaddress import IPv4Address

from ofgtp.control.gateway import GatewayAgent
from ofgtp.core.admission import Admission
from ofgtp.core.model import BatchPut, FlowValues, SessionState
from ofgtp.southbound.channel import FlowsRefused
from ofgtp.store.transaction import Transaction


class Arrival:
    """One that is asked for, and what has become of it."""

    def __init__(self, put: BatchPut) -> None:
        self.put = put
        self.tried = False
        self.state: SessionState | None = None
        """None: it was not made."""
        self.at: datetime | None = None


class Arrivals:
    """Those of one gateway. They wait for the right to change sessions; the first that gets it
    makes all that wait by then."""

    def __init__(
        self, agent: GatewayAgent, transaction: Callable[[], AbstractContextManager[Transaction]]
    ) -> None:
        self._agent, self._transaction = agent, transaction
        self._admission = Admission(agent.gateway)
        self._waiting: list[Arrival] = []

    def reloaded(self) -> None:
        """The gateway's configuration was read again."""
        self._admission = Admission(self._agent.gateway)

    def make(
        self, put: BatchPut, turn: Callable[[], AbstractContextManager[None]]
    ) -> Arrival | None:
        """Make a session if it is plainly right, and new.

        None, or an arrival without a state: it was not made, and nothing has changed.

        Raises:
            StoreError: it was not made.
        """
        if not self._admission.admits(put):
            return None
        arrival = Arrival(put)
        self._waiting.append(arrival)
        try:
            with turn():
                if not arrival.tried:
                    self._carry_out()
        finally:
            if not arrival.tried:
                self._waiting.remove(arrival)
        return arrival

    def _carry_out(self) -> None:
        """Make all that wait. Those that cannot be made are left without a state."""
        some, self._waiting = self._waiting, []
        for arrival in some:
            arrival.tried = True
        try:
            with self._transaction() as tx:
                made = dict(self._insert(tx, some))
                if not made:
                    return
                values = [*made.values()]
                pairs = Counter((each.peer, each.far_ip) for each in values)
                self._agent.news.named({IPv4Address(ip) for pair in pairs for ip in pair if ip})
                state = SessionState.ACTIVE
                if not self._agent.carrier.create(values):
                    state = SessionState.PENDING
                    tx.set_state([each.number for each in values], state)
        except FlowsRefused:
            return  # whose flow it was, each finds out by asking alone
        self._agent.news.changed((), pairs)
        for arrival in made:
            arrival.state, arrival.at = state, tx.time

    def _insert(self, tx: Transaction, some: list[Arrival]) -> Iterator[tuple[Arrival, FlowValues]]:
        """Those that are new and in conflict with none, in the store."""
        gateway, state = self._agent.gateway.name, SessionState.ACTIVE
        values = tx.insert_many(gateway, [arrival.put for arrival in some], state)
        if values is not None:
            yield from zip(some, values, strict=True)
        elif len(some) > 1:
            for arrival in some:
                yield from self._insert(tx, [arrival])
