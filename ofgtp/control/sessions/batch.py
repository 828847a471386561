"""Many changes of sessions at once: what is plainly right by the hundred, the rest one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from operator import attrgetter
from typing import Any, TypeVar

import eventlet

from ofgtp.control.flows.change import Change
from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.peers.moves import Moves
from ofgtp.control.sessions.owned import check_free
from ofgtp.control.usage.ledgers import Ledgers
from ofgtp.control.usage.readings import Readings
from ofgtp.core.admission import Admission
from ofgtp.core.errors import Conflict, InvalidSession, UnknownGateway, UnknownSession
from ofgtp.core.model import BatchPut, FlowValues, Session, SessionState
from ofgtp.core.sessions.rules import peers_of
from ofgtp.core.sessions.shaped import Shaped, ShapedPut
from ofgtp.northbound.service import BatchError, BatchResult, SessionRequest, WrongLine
from ofgtp.southbound.channel import FlowsRefused
from ofgtp.store.rows import StoredSession
from ofgtp.store.transaction import Transaction

T = TypeVar("T")

SLICE = 200
"""Lines between two turns of other green threads."""

ONE_BY_ONE = 40
"""The same of lines that are done one by one."""

SHAPES = 20
"""Shapes of sessions with bearers in lines that are done at once: each may be a new one."""

STATES = 1000
"""States written between two turns of other green threads."""

ERRORS = 100
"""Errors of a batch that are told; the first is enough to refuse it."""

Op = BatchPut | ShapedPut | SessionRequest | str | WrongLine
Line = tuple[int, Op]
_PEERS = attrgetter("peer", "far_ip")
Write = Callable[[Transaction, SessionRequest], tuple[StoredSession | None, Session, Readings]]


class _Part:
    """What of a batch is one gateway's."""

    def __init__(self, agent: GatewayAgent, change: Change) -> None:
        self.agent, self.change = agent, change
        self.admission = Admission(agent.gateway)
        self.before: dict[str, Session] = {}
        self.after: dict[str, Session] = {}
        """Sessions that lines of this slice changed one by one: as the switch has them, and as they
        are now."""
        self.first: dict[str, Session | None] = {}
        """As they were before."""
        self.moves = Moves()
        self.peers: Counter[tuple[int | None, int | None]] = Counter()
        """Sessions more or less of each pair of peers (the uplink's, the downlink's)."""
        self.known: set[tuple[int | None, int | None]] = set()
        self.named: set[IPv4Address] = set()
        """Peers of sessions with bearers that were made known."""
        self.ranges: list[tuple[int, int]] = []
        """Numbers of sessions that were created together."""
        self.numbers: list[int] = []
        """Those of the others that were created or replaced."""


class Batch:
    """Lines are taken in slices, and carried out, or not, at the end."""

    def __init__(
        self,
        tx: Transaction,
        changes: Mapping[str, tuple[GatewayAgent, Change]],
        write: Write,
    ) -> None:
        """`write` puts a session into the transaction, and knows all that can be wrong with it."""
        self._tx, self._write = tx, write
        self._parts = {name: _Part(*pair) for name, pair in changes.items()}
        self._errors: list[tuple[int, str, str]] = []
        self._created = self._replaced = self._deleted = 0

    def take(self, lines: Sequence[Line]) -> None:
        """Do these lines after the ones before them.

        Raises:
            BatchError: so many lines are wrong that the rest is not looked at.
        """
        if self._errors or not self._at_once(lines):
            for start in range(0, len(lines), ONE_BY_ONE):
                for number, op in lines[start : start + ONE_BY_ONE]:
                    self._one(number, op)
                    if len(self._errors) >= ERRORS:
                        raise BatchError(self._errors)
                self._flush()
                eventlet.sleep(0)

    def carry_out(self) -> BatchResult:
        """Have the switches do it.

        Raises:
            BatchError: a line is wrong.
            FlowsRefused: a switch refused, and each has what it had, or will be compared.
        """
        if self._errors:
            raise BatchError(self._errors)
        parts = self._parts.values()
        for part in parts:
            part.change.prepare()
        done: list[GatewayAgent] = []
        for part in parts:
            try:
                confirmed = part.agent.carrier.commit(part.change)
            except FlowsRefused:
                for agent in done:
                    agent.sync.forget()
                raise
            done.append(part.agent)
            if confirmed:
                for start in range(0, len(part.numbers), STATES):
                    some = part.numbers[start : start + STATES]
                    self._tx.set_state(some, SessionState.ACTIVE)
                    eventlet.sleep(0)
            else:
                for first, last in part.ranges:
                    self._tx.set_range_state(first, last, SessionState.PENDING)
        return BatchResult(self._created, self._replaced, self._deleted)

    def tell(self) -> None:
        """Tell the agents that it is in the store."""
        for part in self._parts.values():
            part.agent.news.moved(part.moves, part.peers)

    # --- many at once

    def _at_once(self, lines: Sequence[Line]) -> bool:
        """Whether these lines are all of one kind, with nothing wrong: then it is done."""
        ops: list[Any] = [op for _, op in lines]
        kinds = {*map(type, ops)}
        if kinds == {BatchPut}:
            return self._create(ops)
        if kinds == {str}:
            return self._delete(ops)
        return kinds <= {ShapedPut, BatchPut} and self._create_shaped(ops)

    def _create(self, puts: Sequence[BatchPut]) -> bool:
        """Whether all of these are new sessions, with nothing wrong."""
        part = self._part_of(puts[0].gateway)
        if part is None or len({put.gateway for put in puts}) > 1:
            return False
        if not all(map(part.admission.admits, puts)):
            return False
        state = SessionState.ACTIVE if part.change.active else SessionState.PENDING
        values = self._tx.insert_many(part.agent.gateway.name, puts, state)
        if values is None:
            return False
        self._count_peers(part, values, 1)
        part.change.create(values)
        part.ranges.append((values[0].number, values[-1].number))
        self._created += len(values)
        return True

    def _create_shaped(self, puts: Sequence[BatchPut | ShapedPut]) -> bool:
        """The same where some of them have bearers; the others get the lower numbers."""
        plain, shaped = _of(BatchPut, puts), _of(ShapedPut, puts)
        part = self._part_of(shaped[0].gateway)
        if part is None or len({put.gateway for put in puts}) > 1:
            return False
        if len({put.shape for put in shaped}) > SHAPES:
            return False
        if not all(map(part.admission.admits_shaped, shaped)):
            return False
        if not all(map(part.admission.admits, plain)):
            return False
        state = SessionState.ACTIVE if part.change.active else SessionState.PENDING
        made = self._tx.insert_shaped(part.agent.gateway.name, plain, shaped, state)
        if made is None:
            return False
        values, new = made
        if values:
            self._count_peers(part, values, 1)
            part.change.create(values)
        self._count_named(part, new, 1)
        part.change.create_shaped(new)
        part.ranges.append(
            ((values[0] if values else new[0].numbers).number, new[-1].numbers.number)
        )
        self._created += len(puts)
        return True

    def _delete(self, ids: Sequence[str]) -> bool:
        """Whether all of these are sessions that can be deleted at once."""
        deleted = self._tx.delete_many(ids)
        if deleted is None:
            return False
        for name, part in self._parts.items():
            gone: list[Any] = [each for gateway, each in deleted if gateway == name]
            kinds = {*map(type, gone)}
            values = gone if kinds == {FlowValues} else _of(FlowValues, gone)
            shaped = _of(Shaped, gone) if Shaped in kinds else []
            if values:
                self._count_peers(part, values, -1)
                part.change.delete(values)
            if shaped:
                self._count_named(part, shaped, -1)
                part.change.delete_shaped(shaped)
        self._deleted += len(ids)
        return True

    def _part_of(self, name: str | None) -> _Part | None:
        if name is None:
            return next(iter(self._parts.values())) if len(self._parts) == 1 else None
        return self._parts.get(name)

    def _count_peers(self, part: _Part, sessions: Sequence[FlowValues], each: int) -> None:
        for pair, count in Counter(map(_PEERS, sessions)).items():
            part.peers[pair] += each * count
            if each > 0 and pair not in part.known:
                part.known.add(pair)
                part.agent.news.named({IPv4Address(ip) for ip in pair if ip is not None})

    @staticmethod
    def _count_named(part: _Part, sessions: Sequence[Shaped], each: int) -> None:
        named = Counter(
            [tuple([numbers.values[at] for at in shape.named]) for shape, numbers in sessions]
        )
        for ips, count in named.items():
            peers = {IPv4Address(ip) for ip in ips}
            part.moves.counts.update(dict.fromkeys(peers, each * count))
            if each > 0 and not part.named.issuperset(peers):
                part.named |= peers
                part.agent.news.named(peers)

    # --- one by one

    def _one(self, line: int, op: Op) -> None:
        try:
            if isinstance(op, WrongLine):
                self._errors += ((line, loc, msg) for loc, msg in op.errors)
            elif isinstance(op, str):
                self._delete_one(op)
            else:
                self._put_one(op)
        except (InvalidSession, Conflict) as error:
            self._errors.append((line, error.loc, error.msg))
        except UnknownSession as error:
            self._errors.append((line, "id", str(error)))
        except UnknownGateway as error:
            self._errors.append((line, "gateway", str(error)))

    def _put_one(self, put: BatchPut | ShapedPut | SessionRequest) -> None:
        asked = put if isinstance(put, SessionRequest) else SessionRequest.of(put)
        stored, session, _ = self._write(self._tx, asked)
        there = None if stored is None else stored.session
        installed = None if stored is None else stored.installed
        self._created += stored is None
        self._replaced += stored is not None
        part = self._parts[session.gateway]
        self._begin(part, session.id, there, installed)
        part.after[session.id] = session
        part.numbers.append(session.number)
        part.agent.news.named(peers_of(session))

    def _delete_one(self, session_id: str) -> None:
        stored = self._tx.get(session_id)
        check_free(None if stored is None else stored.session)
        session = self._tx.delete(session_id)
        self._deleted += 1
        part = self._parts.get(session.gateway)
        if part is not None:
            installed = None if stored is None else stored.installed
            self._begin(part, session_id, session, installed)
            part.after.pop(session_id, None)

    @staticmethod
    def _begin(
        part: _Part, session_id: str, there: Session | None, installed: Session | None
    ) -> None:
        if session_id not in part.first:
            part.first[session_id] = there
            if installed is not None:
                part.before[session_id] = installed

    def _flush(self) -> None:
        """Tell the switches what was done one by one: what follows may build on it, and to tell
        all of a long batch at once would keep other green threads waiting for seconds."""
        if self._errors:
            return
        for part in self._parts.values():
            if not part.first:
                continue
            ledgers = Ledgers(
                self._tx, Readings(part.agent.counting), int(self._tx.time.timestamp())
            )
            ledgers.change(part.before.values(), part.after.values())
            part.change.alter(part.before.values(), part.after.values())
            for each, was in part.first.items():
                part.moves.add(was, part.after.get(each))
            part.before, part.after, part.first = {}, {}, {}


def _of(kind: type[T], some: Iterable[object]) -> list[T]:
    return [each for each in some if isinstance(each, kind)]
