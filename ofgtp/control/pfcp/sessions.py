"""The sessions of one gateway's control planes: in the store and in the switch, or in neither."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import NamedTuple

import eventlet

from ofgtp.control.pfcp import usage
from ofgtp.control.pfcp.usage import Known, Memory
from ofgtp.control.sessions.detail import settled
from ofgtp.control.sessions.owned import Steps, Together
from ofgtp.control.sessions.service import SessionService
from ofgtp.control.usage.readings import Readings
from ofgtp.core.errors import Conflict, InvalidSession, OfgtpError, StoreError
from ofgtp.core.model import Gateway, Session
from ofgtp.core.pfcp import procedures, stored
from ofgtp.core.pfcp.node.actions import Change, Transaction
from ofgtp.core.pfcp.node.answers import Given, pack
from ofgtp.core.pfcp.node.associations import canonical
from ofgtp.core.pfcp.procedures import Terms
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.core.pfcp.wire.messages import (
    Message,
    SessionDeletionRequest,
    SessionEstablishmentRequest,
    SessionModificationRequest,
    write,
)
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.pfcp.wire.values import FSeid, NodeId
from ofgtp.store.pfcp import Made
from ofgtp.store.rows import StoredSession
from ofgtp.store.sqlite import SessionStore
from ofgtp.store.transaction import Transaction as Writing

TEIDS = range(1 << 31, 1 << 32)
"""What F-TEIDs are chosen from: control planes that choose their own count from the other end."""

REQUESTS_A_TURN = 16
"""Requests between two turns of other green threads."""

Request = tuple[Message, Transaction]


class Reply(NamedTuple):
    """The answer to a request that is carried out."""

    message: Message
    octets: bytes
    """The same, as it is sent: once it is in the store, the same request is answered by it."""


Answer = Reply | OfgtpError
"""Or why it is not carried out; then nothing has changed. A `Refusal` says the cause."""
Done = tuple[Steps, Message, int]
"""What a request has done; the answer, and the SEID of the control plane."""

SESSIONS_MAX = 250_000
"""Sessions of a control plane; more are refused (75)."""
INSTANCES_KEPT = 64
"""Names of network instances that are remembered."""
DELETED_AT_ONCE = 200
"""Sessions of an association that are deleted together: others have their turn in between."""


class _Chooser:
    def __init__(self, gateway: Gateway, tx: Writing) -> None:
        self.local_ip = gateway.access_ip.ip
        self.local_ip6 = None if gateway.access_ip6 is None else gateway.access_ip6.ip
        self._gateway, self._tx = gateway.name, tx

    def allocate(self) -> int:
        return self._tx.allocate_teid(self._gateway, TEIDS)


class _Room:
    """How many sessions each control plane may still make.

    They are counted when that seems to be none. What was not made after all, or has ended, is found
    then; one that is full is counted again only when some of its sessions have ended.
    """

    def __init__(self, gateway: str, store: SessionStore) -> None:
        self._gateway, self._store = gateway, store
        self._left: dict[str, int] = {}
        self._full: set[str] = set()

    def take(self, node_id: str) -> None:
        """One is made.

        Raises:
            Refusal: there is no room.
        """
        if not self._left.get(node_id) and node_id not in self._full:
            there = self._store.pfcp_counts(self._gateway).get(node_id, 0)
            self._left[node_id] = max(SESSIONS_MAX - there, 0)
        if not self._left.get(node_id):
            self._full.add(node_id)
            raise Refusal(
                Cause.NO_RESOURCES, f"it has {SESSIONS_MAX} sessions, and may have no more"
            )
        self._left[node_id] -= 1

    def ended(self, node_id: str) -> None:
        """Sessions of it have ended."""
        self._full.discard(node_id)


class _There(NamedTuple):
    """A session that there is, and what it was made from, with what was counted before it is read:
    a look that ends meanwhile may have counted more, but stands at other marks."""

    stored: StoredSession
    made: PfcpSession


@dataclass(slots=True)
class _Turn:
    """What requests share that are carried out in one transaction."""

    tx: Writing
    readings: Readings
    there: dict[int, _There] = field(default_factory=dict)
    """By our SEIDs, what was found for the first request that is about each."""
    touched: dict[int, Known | None] = field(default_factory=dict)
    """Sessions that are others now, or, None, no more, by their numbers."""


class PfcpSessions:
    """What requests of control planes make of them."""

    def __init__(
        self,
        terms: Terms,
        up_ip: IPv4Address,
        store: SessionStore,
        clock: Callable[[], int],
        memory: Memory,
        unanswered: Callable[[Writing, int], Sequence[UsageReport]],
        changed: Callable[[int, Known | None], None],
    ) -> None:
        """`clock` tells seconds since 1900, and `unanswered` the reports of a session, by its SEID
        of ours, that its control plane has not answered. `changed` is told of each session that is
        another one, or no more, by its number."""
        self.terms, self._up_ip, self._store, self._clock = terms, up_ip, store, clock
        self._memory, self._unanswered, self._changed = memory, unanswered, changed
        self._gateway = terms.gateway.name
        self.replaced: list[int] = []
        """SEIDs of ours whose place new sessions have taken; whoever reads it empties it."""
        self._instances: Counter[str] = Counter()
        self._room = _Room(self._gateway, store)

    def instances(self) -> list[tuple[str, bool, int]]:
        """The network instances that control planes have named, whether they are there, and in how
        many requests."""
        return [(name, self.terms.has_instance(name), n) for name, n in self._instances.items()]

    def cp_seid(self, transaction: Transaction) -> int:
        """The SEID by which the sender of a request knows the session; 0 if there is none.

        Raises:
            Refusal: the session is not there, or is another's.
        """
        if transaction.type is MessageType.SESSION_ESTABLISHMENT_REQUEST:
            return transaction.cp_seid
        found = self._store.pfcp_session(self._gateway, transaction.seid)
        made = None if found is None else self._memory.latest(found[1])
        return procedures.owned(made, transaction.seid, transaction.owners).cp_fseid.seid

    def carry_out(self, requests: Sequence[Request], service: SessionService) -> list[Answer]:
        """Carry requests out, in their order: in one transaction, confirmed together by the
        switch. What becomes of one is no matter of the others."""
        answers: list[Answer] = []
        given: list[Given] = []
        touched: dict[int, Known | None] = {}

        def work(tx: Writing) -> Steps:
            together = Together()
            turn = self._begin(tx, requests, service)
            for place, (message, transaction) in enumerate(requests, 1):
                if place % REQUESTS_A_TURN == 0:
                    eventlet.sleep(0)
                try:
                    with tx.attempt():
                        steps, answer, seid = self._one(turn, message, transaction)
                except StoreError:
                    raise
                except OfgtpError as error:
                    answers.append(error)
                else:
                    together.add(steps)
                    octets = write(answer, transaction.sequence, seid)
                    answers.append(Reply(answer, octets))
                    given.append(Given(transaction.key, octets))
            if given:
                tx.put_answers(self._gateway, pack(given))
            touched.update(turn.touched)
            return together.all(turn.readings)

        try:
            service.by_control_plane(self._gateway, work)
        except StoreError as error:
            return [error] * len(requests)
        except OfgtpError as error:
            if len(requests) == 1:
                return [error]
            # Whose flow the switch refuses, or which can do without it, each finds out alone.
            return [self.carry_out([each], service)[0] for each in requests]
        for number, known in touched.items():
            self._changed(number, known)
        return answers

    def _begin(self, tx: Writing, requests: Sequence[Request], service: SessionService) -> _Turn:
        """Find the sessions that requests are about, and read what those have counted that have
        URRs, or will."""
        turn = _Turn(tx, Readings(service.counting(self._gateway)))
        measured: dict[int, Session] = {}
        for message, transaction in requests:
            if isinstance(message, SessionEstablishmentRequest):
                continue
            there = turn.there.get(transaction.seid) or self._there(tx, transaction.seid)
            if there is None:
                continue
            turn.there[transaction.seid] = there
            new = isinstance(message, SessionModificationRequest) and message.create_urrs
            installed = there.stored.installed
            if installed is not None and (new or there.made.urrs):
                measured[installed.number] = installed
        if measured:
            turn.readings.read([*measured.values()])
        return turn

    def _one(self, turn: _Turn, message: Message, transaction: Transaction) -> Done:
        for name in {*procedures.instances(message)}:
            if name in self._instances or len(self._instances) < INSTANCES_KEPT:
                self._instances[name] += 1
        match message:
            case SessionEstablishmentRequest():
                return self._establish(turn, message)
            case SessionModificationRequest():
                return self._modify(turn, message, transaction)
            case SessionDeletionRequest():
                return self._delete(turn, transaction)
        raise ValueError(f"no request about a session: {message}")

    def change(self, change: Change, service: SessionService) -> None:
        """Delete sessions of an association, and store what it is now.

        Raises:
            OfgtpError: it could not be done; some sessions may be deleted.
        """
        node_id = canonical(change.node_id)
        kept = {str(ip) for ip in change.keep or ()}
        going = []
        if change.delete:
            of_node = self._store.pfcp_sessions_of(self._gateway, str(node_id))
            going = [each.id for each in of_node if kept.isdisjoint(each.cp_ips.split())]
        for start in range(0, len(going), DELETED_AT_ONCE):
            some = going[start : start + DELETED_AT_ONCE]

            gone: list[Session] = []

            def remove(tx: Writing, some: list[str] = some, gone: list[Session] = gone) -> Steps:
                gone += [tx.delete(each) for each in some if tx.get(each) is not None]
                return Steps(tuple(gone))

            service.by_control_plane(self._gateway, remove)
            for session in gone:
                self._changed(session.number, None)
        self._room.ended(str(node_id))
        save = None if change.save is None else change.save.to_plain()

        def store(tx: Writing) -> Steps:
            tx.put_association(self._gateway, str(node_id), save)
            return Steps()

        service.by_control_plane(self._gateway, store)

    # --- the three requests

    def _establish(self, turn: _Turn, request: SessionEstablishmentRequest) -> Done:
        tx = turn.tx
        self._room.take(_key(request.node_id))
        up_fseid = FSeid(secrets.randbelow((1 << 63) - 1) + 1, self._up_ip)
        outcome = procedures.establishment(
            request, up_fseid, self._chooser(tx), self.terms, self._clock()
        )
        node_id, cp_seid = request.node_id, request.cp_fseid.seid
        gone = [
            tx.delete(each.id)
            for each in tx.pfcp_sessions_of(self._gateway, _key(node_id), cp_seid)
        ]
        new = Session(
            number=0,
            id=f"pfcp-{up_fseid.seid:016x}",
            gateway=self._gateway,
            ue_ip=outcome.made.ue_ip,
            uplink=None,
            downlink=None,
            detail=outcome.detail,
        )
        restores = procedures.restores(request)
        try:
            made = self._insert(tx, settled(None, new), node_id, gone)
        except (Conflict, InvalidSession) as error:
            raise procedures.collision(error, outcome.session, restores=restores) from None
        self._remember(turn, made, outcome.session)
        turn.touched |= dict.fromkeys(each.number for each in gone)
        owners = (each.detail.owner for each in gone if each.detail is not None)
        seids = [owner.up_seid for owner in owners if owner is not None]
        for seid in seids:
            turn.there.pop(seid, None)
        self.replaced += seids
        return Steps(tuple(gone), (made,)), outcome.answer, cp_seid

    def _insert(self, tx: Writing, new: Session, node_id: NodeId, gone: list[Session]) -> Session:
        """A new session; it takes the place of those of its control plane that have its UE's
        address or prefix."""
        while True:
            try:
                return tx.insert(new)
            except Conflict as error:
                other = tx.get(error.session_id)
                detail = None if other is None else other.session.detail
                owner = None if detail is None else detail.owner
                of_ue = error.loc in ("ue_ip", "ue_ipv6")
                if not of_ue or owner is None or owner.node_id != _key(node_id):
                    raise
                before = error.session_id
            gone.append(tx.delete(before))

    def _modify(
        self, turn: _Turn, request: SessionModificationRequest, transaction: Transaction
    ) -> Done:
        (old, before), now = self._owned(turn, transaction), self._clock()
        if before.urrs:
            before = usage.counted(turn.readings, before, old.session, now)
        chooser = self._chooser(turn.tx)
        outcome = procedures.modification(before, request, chooser, self.terms, now)
        new = replace(old.session, ue_ip=outcome.made.ue_ip, detail=outcome.detail)
        try:
            made = turn.tx.replace(settled(old.session, new), was=old.session)
        except (Conflict, InvalidSession) as error:
            raise procedures.collision(error, outcome.session, restores=False) from None
        session = outcome.session
        if session.urrs:
            session = usage.changed(turn.readings, session, made)
        self._remember(turn, made, session)
        installed = () if old.installed is None else (old.installed,)
        dropped = procedures.drops_buffer(request) and made.detail is not None
        drop = (made.detail.slot,) if made.detail is not None and dropped else ()
        steps = Steps(installed, (made,), outcome.end_markers, drop)
        return steps, outcome.answer, outcome.session.cp_fseid.seid

    def _delete(self, turn: _Turn, transaction: Transaction) -> Done:
        (old, session), now = self._owned(turn, transaction), self._clock()
        gone = old.session
        unanswered = self._unanswered(turn.tx, session.up_seid)
        turn.tx.delete(gone.id, was=gone)
        self._room.ended(_key(session.node_id))
        if session.urrs:
            session = usage.counted(turn.readings, session, gone, now)
        turn.touched[gone.number] = None
        answer = procedures.deletion(session, now, unanswered)
        return Steps((gone,)), answer, session.cp_fseid.seid

    # --- parts

    def _owned(self, turn: _Turn, transaction: Transaction) -> _There:
        """The session that a request is about.

        Raises:
            Refusal: it is not there, or another's.
        """
        seid = transaction.seid
        there = turn.there.pop(seid, None) or self._there(turn.tx, seid)
        if there is None:
            raise procedures.unknown(seid)
        procedures.owned(there.made, seid, transaction.owners)
        return there

    def _there(self, tx: Writing, up_seid: int) -> _There | None:
        """The session with one of our SEIDs, as a transaction sees it."""
        if (found := tx.pfcp_session(self._gateway, up_seid)) is None:
            return None
        there = tx.get(found[0])
        return None if there is None else _There(there, self._memory.latest(found[1]))

    def _chooser(self, tx: Writing) -> _Chooser:
        return _Chooser(self.terms.gateway, tx)

    def _remember(self, turn: _Turn, made: Session, session: PfcpSession) -> None:
        cp, number = session.cp_fseid, made.number
        ips = " ".join(str(ip) for ip in (cp.ipv4, cp.ipv6) if ip is not None)
        node_id, octets = _key(session.node_id), stored.to_bytes(session)
        turn.touched[number] = Known(made, session, stored_at=self._clock(), octets=octets)
        row = Made(number, session.up_seid, node_id, cp.seid, ips, octets)
        turn.tx.put_pfcp(self._gateway, row)


def _key(node_id: NodeId) -> str:
    """A Node ID as the store has it."""
    return str(canonical(node_id))
