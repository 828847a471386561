"""The sessions of all gateways: what is asked is in the store and in the switch, or in neither.

One writer at a time: a change is written into an open transaction, carried to the switch, and
committed when the switch has confirmed it. What the switch refuses is rolled back.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp.control.gateway import GatewayAgent
from ofgtp.core.errors import (
    Conflict,
    GatewayNotReady,
    InvalidSession,
    OfgtpError,
    StoreError,
    UnknownGateway,
    UnknownSession,
)
from ofgtp.core.model import FTeid, Session, SessionState, Uplink
from ofgtp.core.paths import PathState
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import (
    BatchError,
    BatchResult,
    Counters,
    FlowView,
    GatewayMetrics,
    PeerView,
    SessionFilter,
    SessionRequest,
    SessionView,
)
from ofgtp.southbound.channel import FlowsRefused
from ofgtp.southbound.openflow import FlowStats
from ofgtp.store.sqlite import SessionStore, StoredSession, Transaction

log = logging.getLogger(__name__)

_Pair = tuple[FlowStats | None, FlowStats | None]
_Change = tuple[Session | None, Session | None]

BATCH_SLICE = 200
"""Lines of a batch between two turns of other green threads."""

BATCH_ERRORS = 100
"""Errors of a batch that are told; the first is enough to refuse it."""

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class _Done:
    """What a request has done to a session; `before` is None if there was none."""

    before: Session | None
    after: Session
    changed: bool


class SessionService:
    """Implements northbound's `Service` over a store and the gateways' agents."""

    def __init__(
        self,
        store: SessionStore,
        agents: Iterable[GatewayAgent],
        writer: Semaphore,
        events: EventLog,
    ) -> None:
        self.events = events
        self._store = store
        self._agents = {agent.gateway.name: agent for agent in agents}
        self._writer = writer
        for agent in self._agents.values():
            agent.signalling.sessions = self

    # --- changes

    def create(self, request: SessionRequest) -> SessionView:
        """Make a session; see `Service`."""
        session_id = request.id or f"s-{secrets.token_hex(8)}"
        with self._turn():
            with self._transaction() as tx:
                if tx.get(session_id) is not None:
                    raise Conflict("id", f"the id {session_id!r} is in use", session_id)
                done = self._put(tx, replace(request, id=session_id))
            return self._told(done)

    def put(self, request: SessionRequest) -> tuple[SessionView, bool]:
        """Make or replace a session; see `Service`."""
        if request.id is None:
            raise InvalidSession("id", "is missing")
        with self._turn():
            with self._transaction() as tx:
                done = self._put(tx, request)
            return self._told(done), done.before is None

    def patch(
        self, session_id: str, change: Callable[[dict[str, Any]], SessionRequest]
    ) -> SessionView:
        """Replace a session by what `change` makes of it; see `Service`."""
        with self._turn():
            with self._transaction() as tx:
                stored = tx.get(session_id)
                if stored is None:
                    raise UnknownSession(session_id)
                done = self._put(tx, change(_resource(stored.session)))
            return self._told(done)

    def delete(self, session_id: str) -> bool:
        """Delete a session; see `Service`."""
        with self._turn():
            with self._transaction() as tx:
                session = tx.delete(session_id)
                confirmed = self._carry_out(tx, {session.id: session}, {})
            self._agents_changed([(session, None)])
            self.events.publish("session_deleted", gateway=session.gateway, session=session.id)
            return confirmed

    def batch(self, ops: Sequence[tuple[int, SessionRequest | str]]) -> BatchResult:
        """Do all of it in order, or nothing; see `Service`."""
        created = replaced = deleted = 0
        before: dict[str, Session] = {}
        after: dict[str, Session] = {}
        first: dict[str, Session | None] = {}
        errors: list[tuple[int, str, str]] = []
        with self._turn(), self._committed() as changes, self._transaction() as tx:
            for place, (line, op) in enumerate(ops):
                if place % BATCH_SLICE == BATCH_SLICE - 1:
                    eventlet.sleep(0)
                old: Session | None
                new: Session | None
                try:
                    if isinstance(op, str):
                        session_id = op
                        old, new = tx.delete(op), None
                        there: Session | None = old
                        deleted += 1
                    else:
                        stored, new = self._write(tx, op)
                        session_id = new.id
                        old = _installed(stored)
                        there = None if stored is None else stored.session
                        created += stored is None
                        replaced += stored is not None
                except (InvalidSession, Conflict) as error:
                    errors.append((line, error.loc, error.msg))
                except UnknownSession as error:
                    errors.append((line, "id", str(error)))
                except UnknownGateway as error:
                    errors.append((line, "gateway", str(error)))
                else:
                    if session_id not in first:
                        first[session_id] = there
                        if old is not None:
                            before[session_id] = old
                    if new is None:
                        after.pop(session_id, None)
                    else:
                        after[session_id] = new
                if len(errors) >= BATCH_ERRORS:
                    break
            if errors:
                raise BatchError(errors)
            self._carry_out(tx, before, after)
            changes += ((was, after.get(session_id)) for session_id, was in first.items())
        self.events.publish("batch", created=created, replaced=replaced, deleted=deleted)
        return BatchResult(created, replaced, deleted)

    # --- what peers cause

    def error_indicated(self, gateway: str, tunnels: Sequence[FTeid]) -> None:
        """Stop the downlink of the sessions that these tunnels are; see `Sessions`."""
        told: list[Session] = []
        with self._turn(), self._transaction() as tx:
            for tunnel in tunnels:
                stored = self._store.by_downlink(gateway, tunnel)
                if stored is None or stored.state is SessionState.FAILED:
                    continue
                if not stored.session.error_indicated:
                    told.append(stored.session)
            after = {each.id: replace(each, error_indicated=True) for each in told}
            self._carry_out(tx, {each.id: each for each in told}, after)
            for session in told:
                reason = "its peer does not know the downlink TEID (Error Indication)"
                tx.set_state([session.number], SessionState.ERROR_INDICATED, reason)
        for session in told:
            if session.downlink is not None:
                tunnel = session.downlink
                facts: dict[str, str | int] = {"peer": str(tunnel.ip), "teid": tunnel.teid}
                self.events.publish("error_indicated", gateway=gateway, session=session.id, **facts)

    def path_down(self, gateway: str, peer: IPv4Address) -> None:
        """Remove the sessions of a peer that does not answer; see `Sessions`."""
        removed = 0
        try:
            while page := self._store.list(gateway=gateway, peer=peer, limit=_AT_ONCE)[0]:
                ops = [(place, stored.session.id) for place, stored in enumerate(page, 1)]
                try:
                    removed += self.batch(ops).deleted
                except BatchError:
                    log.debug("gateway=%s: others delete sessions of %s too", gateway, peer)
        except OfgtpError as error:
            log.error("gateway=%s: sessions of %s not removed: %s", gateway, peer, error)
        self.events.publish("sessions_removed", gateway=gateway, peer=str(peer), deleted=removed)

    def _agents_changed(self, pairs: Sequence[_Change]) -> None:
        """Tell each agent of the changes of its sessions that the store has now."""
        of_gateway: dict[str, list[_Change]] = {}
        for before, after in pairs:
            session = before or after
            if session is not None:
                of_gateway.setdefault(session.gateway, []).append((before, after))
        for name, changes in of_gateway.items():
            if name in self._agents:
                self._agents[name].changed(changes)

    @contextmanager
    def _committed(self) -> Iterator[list[_Change]]:
        """A list of changes to tell the agents when the block has ended without an error."""
        changes: list[_Change] = []
        yield changes
        self._agents_changed(changes)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The right to change sessions: one caller at a time."""
        for agent in self._agents.values():
            agent.settle()
        with self._writer:
            yield

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        """A transaction of the store; should it fail to commit, the switches are read again."""
        try:
            with self._store.transaction() as tx:
                yield tx
        except StoreError:
            for agent in self._agents.values():
                agent.forget()
            raise

    def _told(self, done: _Done) -> SessionView:
        """The session after a change; the change is made known, if it was one."""
        view = self.get(done.after.id)
        if done.changed:
            self._agents_changed([(done.before, done.after)])
            kind = "session_created" if done.before is None else "session_changed"
            facts = {"session": done.after.id, "state": str(view.state)}
            self.events.publish(kind, gateway=done.after.gateway, **facts)
        return view

    def _put(self, tx: Transaction, request: SessionRequest) -> _Done:
        """Write one session and carry it to the switch."""
        old, new = self._write(tx, request)
        if old is not None and old.session == new and old.state is SessionState.ACTIVE:
            tx.set_state([new.number], SessionState.ACTIVE)
            return _Done(old.session, new, changed=False)
        installed = _installed(old)
        before = {} if installed is None else {new.id: installed}
        self._carry_out(tx, before, {new.id: new})
        return _Done(None if old is None else old.session, new, changed=True)

    def _write(
        self, tx: Transaction, request: SessionRequest
    ) -> tuple[StoredSession | None, Session]:
        """Write a session into the transaction; the one it replaces, and what it is now."""
        if request.id is None:
            request = replace(request, id=f"s-{secrets.token_hex(8)}")
        session_id = str(request.id)
        old = tx.get(session_id)
        present = None if old is None else old.session.gateway
        agent = self._agent_for(request.gateway or present)
        gateway = agent.gateway
        if old is not None and old.session.gateway != gateway.name:
            raise InvalidSession(
                "gateway", f"session {session_id!r} is on {old.session.gateway}: it cannot move"
            )
        teid = request.uplink_teid
        if teid is None:
            teid = old.session.uplink.teid if old else tx.allocate_teid(gateway.name)
        session = Session(
            number=old.session.number if old else 0,
            id=session_id,
            gateway=gateway.name,
            ue_ip=request.ue_ip,
            uplink=Uplink(teid, request.uplink_remote_ip),
            downlink=request.downlink,
        )
        gateway.check_session(session)
        return old, tx.insert(session) if old is None else tx.replace(session)

    def _carry_out(
        self, tx: Transaction, before: dict[str, Session], after: dict[str, Session]
    ) -> bool:
        """Bring the switches from `before` to `after`; True if all of them have confirmed.

        Raises:
            FlowsRefused: a switch refused, and each has what it had.
        """
        done: list[tuple[GatewayAgent, list[Session], list[Session]]] = []
        confirmed = True
        for name, agent in self._agents.items():
            old = [session for session in before.values() if session.gateway == name]
            new = [session for session in after.values() if session.gateway == name]
            if not old and not new:
                continue
            agent.named(new)
            try:
                active = agent.change(old, new)
            except FlowsRefused:
                for other, its_old, its_new in done:
                    self._undo(other, its_old, its_new)
                raise
            done.append((agent, old, new))
            confirmed &= active
            if active:
                tx.set_state((session.number for session in new), SessionState.ACTIVE)
        return confirmed

    @staticmethod
    def _undo(agent: GatewayAgent, before: list[Session], after: list[Session]) -> None:
        try:
            agent.change(after, before)
        except FlowsRefused:
            agent.forget()

    def _agent_for(self, name: str | None) -> GatewayAgent:
        if name is None:
            if len(self._agents) > 1:
                names = ", ".join(self._agents)
                raise InvalidSession("gateway", f"is missing; there are several: {names}")
            return next(iter(self._agents.values()))
        try:
            return self._agents[name]
        except KeyError:
            raise UnknownGateway(name) from None

    # --- reading

    def get(self, session_id: str) -> SessionView:
        """One session; see `Service`."""
        return self._views([self._stored(session_id)])[0]

    def list(self, filter: SessionFilter) -> tuple[Sequence[SessionView], str | None]:
        """One page of sessions; see `Service`."""
        page, cursor = self._store.list(
            gateway=filter.gateway,
            ue_ip=filter.ue_ip,
            teid=filter.teid,
            peer=filter.peer,
            state=filter.state,
            limit=filter.limit,
            cursor=filter.cursor,
        )
        return self._views(page), cursor

    def session_flows(self, session_id: str) -> Sequence[FlowView]:
        """The flows of a session; see `Service`."""
        stored = self._stored(session_id)
        agent = self._agents.get(stored.session.gateway)
        wanted = None if agent is None else agent.wanted_of(stored.session)
        if wanted is None:
            return []
        counted = self._counters([stored])[0]
        up, down = wanted
        shown = [FlowView(str(up), "uplink", *_numbers(counted[0]))]
        shown.append(FlowView(str(down), "downlink", *_numbers(counted[1])))
        return shown

    def flows_text(self, gateway: str | None) -> Iterator[str]:
        """All wanted flows, as ovs-ofctl lines; see `Service`."""
        if gateway is not None:
            self._agent_for(gateway)
        names = [gateway] if gateway is not None else list(self._agents)
        for name in names:
            for place, flow in enumerate(self._agents[name].wanted()):
                if place % BATCH_SLICE == BATCH_SLICE - 1:
                    eventlet.sleep(0)
                yield str(flow)

    def gateways(self) -> Sequence[dict[str, Any]]:
        """Every gateway; see `Service`."""
        return [agent.report() for agent in self._agents.values()]

    def peers(
        self, gateway: str | None = None, state: PathState | None = None
    ) -> Sequence[PeerView]:
        """The GTP-U peers in use; see `Service`."""
        agents = [self._agent_for(gateway)] if gateway is not None else self._agents.values()
        found = (peer for agent in agents for peer in agent.signalling.report())
        return [peer for peer in found if state in (None, peer.state)]

    def metrics(self) -> Sequence[GatewayMetrics]:
        """Every gateway in numbers; see `Service`."""
        pool = eventlet.GreenPool()
        return [*pool.imap(GatewayAgent.metrics, self._agents.values())]

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether the store can be written and every gateway works; see `Service`."""
        store = "ok"
        try:
            self._store.check()
            instance_id: str | None = self._store.instance_id
        except StoreError as error:
            store, instance_id = str(error), None
        gateways = [
            {
                "name": name,
                "connected": agent.connected,
                "in_sync": agent.synced,
                "problem": agent.problem,
            }
            for name, agent in self._agents.items()
        ]
        well = store == "ok" and all(agent.connected for agent in self._agents.values())
        return well, {
            "status": "ok" if well else "degraded",
            "instance_id": instance_id,
            "store": store,
            "gateways": gateways,
        }

    def _stored(self, session_id: str) -> StoredSession:
        stored = self._store.get(session_id)
        if stored is None:
            raise UnknownSession(session_id)
        return stored

    def _views(self, page: Sequence[StoredSession]) -> Sequence[SessionView]:
        return [
            SessionView(
                session=stored.session,
                state=stored.state,
                reason=stored.reason,
                local_ip=self._local_ip(stored.session),
                created_at=stored.created_at,
                updated_at=stored.updated_at,
                uplink=Counters(*_numbers(up)),
                downlink=Counters(*_numbers(down)),
            )
            for stored, (up, down) in zip(page, self._counters(page), strict=True)
        ]

    def _local_ip(self, session: Session) -> IPv4Address | None:
        """Our side of its tunnel; None if its gateway has left the configuration."""
        agent = self._agents.get(session.gateway)
        return None if agent is None else agent.gateway.access_ip.ip

    def _counters(self, page: Sequence[StoredSession]) -> Sequence[_Pair]:
        """Each session's two flows as the switch has them; None where it cannot say."""
        found: dict[int, _Pair] = {}
        for name, agent in self._agents.items():
            numbers = [s.session.number for s in page if s.session.gateway == name]
            try:
                found.update(zip(numbers, agent.counters(numbers), strict=True))
            except GatewayNotReady as error:
                log.debug("gateway=%s: no counters: %s", name, error)
        return [found.get(stored.session.number, (None, None)) for stored in page]


def _installed(stored: StoredSession | None) -> Session | None:
    """The session whose flows are in the switch; a failed one has none that could be modified."""
    return None if stored is None or stored.state is SessionState.FAILED else stored.session


def _numbers(stats: FlowStats | None) -> tuple[int, int]:
    return (0, 0) if stats is None else (stats.packets, stats.bytes)


def _resource(session: Session) -> dict[str, Any]:
    """A session's writable fields as the REST API writes them."""
    remote, down = session.uplink.remote_ip, session.downlink
    uplink: dict[str, Any] = {"teid": session.uplink.teid}
    if remote is not None:
        uplink["remote_ip"] = str(remote)
    return {
        "id": session.id,
        "gateway": session.gateway,
        "ue_ip": str(session.ue_ip),
        "uplink": uplink,
        "downlink": None if down is None else {"teid": down.teid, "remote_ip": str(down.ip)},
    }
