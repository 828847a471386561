"""The sessions of all gateways: what is asked is in the store and in the switch, or in neither.

One writer at a time: a change is written into an open transaction, carried to the switch, and
committed when the switch has confirmed it. What the switch refuses is rolled back.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Protocol

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp.control import report
from ofgtp.control.buffer.holding import Notified
from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.pfcp import shown
from ofgtp.control.pfcp.clock import ntp_now
from ofgtp.control.pfcp.usage import counted as pfcp_counted
from ofgtp.control.sessions.arrivals import Arrivals
from ofgtp.control.sessions.batch import SLICE, Batch, Line
from ofgtp.control.sessions.detail import detail_of, settled
from ofgtp.control.sessions.garbage import garbage_left_alone
from ofgtp.control.sessions.owned import Steps, check_free
from ofgtp.control.turns import in_turns
from ofgtp.control.usage import listing
from ofgtp.control.usage.counting import Counting
from ofgtp.control.usage.ledgers import Ledgers
from ofgtp.control.usage.limits import Limits
from ofgtp.control.usage.readings import Readings
from ofgtp.control.usage.used import Used, used
from ofgtp.core.buffer.queue import Bounds
from ofgtp.core.errors import (
    Conflict,
    GatewayNotReady,
    InvalidSession,
    OfgtpError,
    StoreError,
    UnknownGateway,
    UnknownSession,
)
from ofgtp.core.model import Address, BatchPut, FTeid, Session, SessionState, Uplink
from ofgtp.core.peers.paths import PathState
from ofgtp.core.pfcp import stored as pfcp_stored
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.rules.counts import Counts
from ofgtp.core.sessions.check import check_session
from ofgtp.core.sessions.rule import Rule
from ofgtp.core.sessions.rules import (
    all_teids,
    framed_of,
    indicated,
    indicated_tunnels,
    peers_of,
    ue_prefixes,
)
from ofgtp.core.usage.ledger import NO_VOLUME, Ledger
from ofgtp.northbound import bearers
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import (
    BatchError,
    BatchResult,
    Counters,
    FlowCounters,
    FlowView,
    GatewayMetrics,
    HistoryView,
    NewSession,
    PeerView,
    PfcpView,
    SeenView,
    SessionFilter,
    SessionRequest,
    SessionView,
    UsageFilter,
    UsagePage,
    UsageView,
)
from ofgtp.southbound.openflow import FlowStats
from ofgtp.store.pfcp import Made
from ofgtp.store.rows import StoredSession
from ofgtp.store.sqlite import SessionStore
from ofgtp.store.transaction import Transaction

log = logging.getLogger(__name__)

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class _Done:
    """What a request has done to a session; `before` is None if there was none."""

    before: StoredSession | None
    after: StoredSession
    changed: bool


class PfcpNode(Protocol):
    """A gateway's endpoint of PFCP."""

    def view(self) -> PfcpView:
        """What an operator should know of it."""

    def latest(self, made: Made) -> PfcpSession:
        """A session of the store with what was counted since."""

    def path_down(self, peer: Address) -> None:
        """A GTP-U peer does not answer any more."""

    def error_indicated(self, up_seid: int, tunnel: FTeid) -> bool:
        """A peer does not know a session's tunnel; whether that is news to the control plane."""

    def held_by(self, up_seid: int, rule: Rule) -> Bounds | None:
        """How many packets of a session's rule are held, and for how long; None: none."""

    def downlink_data(self, up_seid: int, rule: Rule) -> bool:
        """There is a packet that a session's rule holds; False if it cannot be told of yet."""

    def delivered(self, number: int) -> None:
        """Packets that were held for a session have gone on, and are counted by now."""


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
        self.nodes: dict[str, PfcpNode] = {}
        """The gateways' endpoints of PFCP."""
        self.limits = Limits(store, self._agents.values(), writer, events)
        self._arrivals = {
            name: Arrivals(agent, self._transaction) for name, agent in self._agents.items()
        }
        for agent in self._agents.values():
            agent.signalling.sessions = self
            agent.holding.owners = self

    def reloaded(self) -> None:
        """The gateways' configuration was read again."""
        for arrivals in self._arrivals.values():
            arrivals.reloaded()

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

    def put_new(self, put: BatchPut) -> NewSession | None:
        """Make a session that is plainly right and new; see `Service`."""
        name = put.gateway or (next(iter(self._agents)) if len(self._agents) == 1 else "")
        arrivals = self._arrivals.get(name)
        made = None if arrivals is None else arrivals.make(put, self._turn)
        if made is None or made.state is None or made.at is None:
            return None
        self.events.publish(
            "session_created", gateway=name, session=str(put.id), state=made.state.value
        )
        ips = self._agents[name].gateway.local_ips
        return NewSession(put, name, ips[0], made.state, made.at, ips[1])

    def patch(
        self, session_id: str, change: Callable[[dict[str, Any]], SessionRequest]
    ) -> SessionView:
        """Replace a session by what `change` makes of it; see `Service`."""
        with self._turn():
            with self._transaction() as tx:
                stored = tx.get(session_id)
                if stored is None:
                    raise UnknownSession(session_id)
                check_free(stored.session)
                done = self._put(tx, change(_resource(stored.session)))
            return self._told(done)

    def delete(self, session_id: str) -> bool:
        """Delete a session; see `Service`."""
        with self._turn():
            with self._transaction() as tx:
                session = tx.delete(session_id)
                check_free(session)
                gone = self._count(tx, session.gateway, [session], [])
                confirmed = self._carry_out(tx, session.gateway, [session], [])
            self._changed(session, None)
            facts = _final(gone.get(session.number))
            self.events.publish(
                "session_deleted", gateway=session.gateway, session=session.id, **facts
            )
            return confirmed

    def batch(self, ops: Iterable[Line]) -> BatchResult:
        """Do all of it in order, or nothing; see `Service`."""
        with self._turn(), garbage_left_alone():
            with self._transaction() as tx, ExitStack() as stack:
                changes = {
                    name: (agent, stack.enter_context(agent.carrier.changing()))
                    for name, agent in self._agents.items()
                }
                batch, lines = Batch(tx, changes, self._write), iter(ops)
                while some := list(islice(lines, SLICE)):
                    batch.take(some)
                    eventlet.sleep(0)
                result = batch.carry_out()
            batch.tell()
        self.events.publish(
            "batch", created=result.created, replaced=result.replaced, deleted=result.deleted
        )
        return result

    # --- what control planes ask for

    def by_control_plane(self, gateway: str, work: Callable[[Transaction], Steps]) -> None:
        """Do what `work` has done in a transaction in the switch as well, or neither.

        What is only deleted is deleted, though the switch be away: its flows go when it is back.

        Raises:
            GatewayNotReady: the switch has not confirmed, and all is as it was.
            Conflict, InvalidSession, SwitchRefused, StoreError.
        """
        agent = self._agent_for(gateway)
        with self._turn(), garbage_left_alone():
            with self._transaction() as tx:
                steps = work(tx)
                touched = steps.before or steps.after
                gone = self._count(tx, gateway, steps.before, steps.after, steps.readings)
                confirmed = touched and self._carry_out(
                    tx, gateway, steps.before, steps.after, steps.drop
                )
                if steps.after and not confirmed:
                    raise GatewayNotReady(f"the switch of gateway {gateway} has not confirmed")
            was = {session.number: session for session in steps.before}
            now = {session.number: session for session in steps.after}
            agent.news.left(steps.left)
            agent.news.changed([(was.get(number), now.get(number)) for number in was | now])
        for number, session in (was | now).items():
            kind = "session_changed" if number in was else "session_created"
            kind = kind if number in now else "session_deleted"
            facts: dict[str, str | int] = {"state": SessionState.ACTIVE.value}
            facts = facts if number in now else _final(gone.get(number))
            self.events.publish(kind, gateway=gateway, session=session.id, **facts)

    def counting(self, gateway: str) -> Counting:
        """What has the counts of a gateway's flows and meters."""
        return self._agent_for(gateway).counting

    # --- what peers cause

    def error_indicated(self, gateway: str, tunnels: Sequence[FTeid]) -> None:
        """Stop the downlink of the sessions that these tunnels are, or have the control planes do
        so whose they are; see `Sessions`."""
        told: dict[str, tuple[Session, Session]] = {}
        after: Sequence[Session] = ()
        tunnels_of: list[tuple[str, FTeid]] = []
        with self._turn(), self._transaction() as tx:
            for tunnel in tunnels:
                stored = self._store.by_downlink(gateway, tunnel)
                if stored is None or stored.state is SessionState.FAILED:
                    continue
                detail = stored.session.detail
                if detail is not None and detail.owner is not None:
                    node = self.nodes.get(gateway)
                    if node is not None and node.error_indicated(detail.owner.up_seid, tunnel):
                        tunnels_of.append((stored.session.id, tunnel))
                    continue
                session = told[stored.session.id][1] if stored.session.id in told else None
                stopped = indicated(session or stored.session, tunnel)
                if stopped is not None:
                    told[stored.session.id] = stored.session, stopped
                    tunnels_of.append((stored.session.id, tunnel))
            if told:
                before = [was for was, _ in told.values()]
                # Of several tunnels of one session: in one step, from what the switch has.
                after = [settled(was, now) for was, now in told.values()]
                for session in after:
                    if session.detail is not None:
                        tx.replace(session)
                self._count(tx, gateway, before, after)
                self._carry_out(tx, gateway, before, after)
            for session in after:
                tx.set_state([session.number], SessionState.ERROR_INDICATED, _lost(session))
        for session_id, tunnel in tunnels_of:
            facts: dict[str, str | int] = {"peer": str(tunnel.ip), "teid": tunnel.teid}
            self.events.publish("error_indicated", gateway=gateway, session=session_id, **facts)

    def held_by(self, session: Session, rule: Rule) -> Bounds | None:
        """How many packets of a rule are held; see `Owners`."""
        detail = session.detail
        if detail is None or detail.owner is None:
            return None if detail is None or detail.buffer is None else Bounds(detail.buffer)
        node = self.nodes.get(session.gateway)
        return None if node is None else node.held_by(detail.owner.up_seid, rule)

    def downlink_data(self, session: Session, rule: Rule) -> Notified:
        """There is a packet that a rule of a session holds; see `Owners`."""
        detail = session.detail
        if detail is not None and detail.owner is not None:
            node = self.nodes.get(session.gateway)
            told = node is not None and node.downlink_data(detail.owner.up_seid, rule)
            return Notified.ASK_AGAIN if told else Notified.NOT_YET
        facts = {"bearer": rule.id} if rule.id else {}
        self.events.publish("downlink_data", gateway=session.gateway, session=session.id, **facts)
        return Notified.ONCE

    def delivered(self, session: Session) -> None:
        """Packets that were held for a session have gone on; see `Owners`."""
        detail = session.detail
        if detail is None or detail.owner is None:
            self.limits.delivered(session)
        elif (node := self.nodes.get(session.gateway)) is not None:
            node.delivered(session.number)

    def wait_on(self, gateway: str, session_id: str, *, bounds: Bounds | None) -> None:
        """Have what waits for a session wait within other bounds, or, None, drop it.

        Raises:
            StoreError: the session cannot be read.
        """
        stored, agent = self._store.get(session_id), self._agent_for(gateway)
        if stored is None or stored.session.detail is None:
            return
        slot = stored.session.detail.slot
        if bounds is None:
            agent.holding.drop([slot])
        else:
            agent.holding.extend(slot, bounds)

    def path_down(self, gateway: str, peer: Address, *, remove: bool) -> None:
        """Tell the control planes that have sessions with a peer that does not answer, and remove
        the others' if asked to; see `Sessions`."""
        removed = 0
        try:
            if (node := self.nodes.get(gateway)) is not None:
                node.path_down(peer)
            if not remove:
                return
            asked: dict[str, Any] = {"gateway": gateway, "peer": peer, "owned": False}
            while page := self._store.list(**asked, limit=_AT_ONCE)[0]:
                ops = [(place, stored.session.id) for place, stored in enumerate(page, 1)]
                try:
                    removed += self.batch(ops).deleted
                except BatchError:
                    log.debug("gateway=%s: others delete sessions of %s too", gateway, peer)
        except OfgtpError as error:
            log.error("gateway=%s: sessions of %s not removed: %s", gateway, peer, error)
        self.events.publish("sessions_removed", gateway=gateway, peer=str(peer), deleted=removed)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The right to change sessions: one caller at a time."""
        for agent in self._agents.values():
            agent.sync.settle()
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
                agent.sync.forget()
            raise

    def _told(self, done: _Done) -> SessionView:
        """The session after a change; the change is made known, if it was one."""
        before, after = done.before, done.after
        if done.changed:
            self._changed(None if before is None else before.session, after.session)
            kind = "session_created" if before is None else "session_changed"
            facts = {"session": after.session.id, "state": str(after.state)}
            self.events.publish(kind, gateway=after.session.gateway, **facts)
        if before is None:
            return self._view(after, Used())  # it has used nothing yet
        return self._views([after])[0]

    def _put(self, tx: Transaction, request: SessionRequest) -> _Done:
        """Write one session and carry it to the switch."""
        old, new, readings = self._write(tx, request)
        if old is not None and old.session == new and old.state is SessionState.ACTIVE:
            tx.set_state([new.number], SessionState.ACTIVE)
            return _Done(old, replace(old, updated_at=tx.time), changed=False)
        installed = None if old is None else old.installed
        before = [] if installed is None else [installed]
        self._count(tx, new.gateway, before, [new], readings)
        active = self._carry_out(tx, new.gateway, before, [new])
        state = SessionState.ACTIVE if active else SessionState.PENDING
        made = tx.time if old is None else old.created_at
        return _Done(old, StoredSession(new, state, None, made, tx.time), changed=True)

    def _write(
        self, tx: Transaction, request: SessionRequest
    ) -> tuple[StoredSession | None, Session, Readings]:
        """Write a session into the transaction; the one it replaces, what it is now, and what was
        read of the one before."""
        if request.id is None:
            request = replace(request, id=f"s-{secrets.token_hex(8)}")
        session_id = str(request.id)
        old = tx.get(session_id)
        check_free(None if old is None else old.session)
        present = None if old is None else old.session.gateway
        agent = self._agent_for(request.gateway or present)
        gateway = agent.gateway
        if old is not None and old.session.gateway != gateway.name:
            raise InvalidSession(
                "gateway", f"session {session_id!r} is on {old.session.gateway}: it cannot move"
            )
        teid = request.uplink_teid
        if teid is None:
            known = old and old.session.uplink
            teid = known.teid if known else tx.allocate_teid(gateway.name)
        session = Session(
            number=old.session.number if old else 0,
            id=session_id,
            gateway=gateway.name,
            ue_ip=request.ue_ip,
            uplink=Uplink(teid, request.uplink_remote_ip),
            downlink=request.downlink,
            qos=request.qos,
            detail=detail_of(
                request,
                None if old is None else old.session,
                lambda: tx.allocate_teid(gateway.name),
            ),
        )
        readings = Readings(agent.counting)
        session, gauges = self.limits.given(tx, old, session, readings)
        session = settled(None if old is None else old.session, session)
        check_session(gateway, session, agent.protected)
        if framed_of(session):
            agent.host.check_framed(session)
        agent.host.check_peers(session)
        made = tx.insert(session) if old is None else tx.replace(session)
        self.limits.put(tx, made, gauges)
        return old, made, readings

    def _count(
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

    def _carry_out(
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

    def _changed(self, before: Session | None, after: Session | None) -> None:
        """Tell an agent that a session is now another one in the store."""
        session = after or before
        if session is not None and session.gateway in self._agents:
            self._agents[session.gateway].news.changed([(before, after)])

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
            part_of_id=filter.id,
            ue_ip=filter.ue_ip,
            ue_ipv6=filter.ue_ipv6,
            teid=filter.teid,
            peer=filter.peer,
            state=filter.state,
            limit=filter.limit,
            cursor=filter.cursor,
        )
        if not filter.counters:
            return [self._view(stored) for stored in page], cursor
        return self._views(page), cursor

    def session_flows(self, session_id: str) -> Sequence[FlowView]:
        """The flows of a session; see `Service`."""
        stored = self._stored(session_id)
        agent = self._agents.get(stored.session.gateway)
        wanted = None if agent is None else agent.wanted_of(stored.session)
        if wanted is None:
            return []
        try:
            [seen] = (
                agent.counting.flow_stats([stored.session.number]) if agent is not None else [[]]
            )
        except GatewayNotReady as error:
            log.debug("session=%s: no counters: %s", session_id, error)
            seen = []
        found = {stats.key: stats for stats in seen}
        return [
            FlowView(
                str(each.flow),
                each.direction,
                *_numbers(found.get(each.flow.key)),
                bearer=each.rule or None,
            )
            for each in wanted
        ]

    def session_usage(self, session_id: str) -> UsageView:
        """What a session has used, up to now; see `Service`."""
        stored = self._stored(session_id)
        session = stored.session
        found = used(self._store, self._agents.get(session.gateway), [session])
        has_used = found.get(session.number, Used())
        quotas = self.limits.quotas(session, has_used.total, has_used.rules)
        return replace(listing.of_session(stored, has_used), quotas=quotas)

    def usage(self, filter: UsageFilter) -> UsagePage:
        """What sessions have used, as it was last read of all of them; see `Service`."""
        if filter.gateway is not None:
            self._agent_for(filter.gateway)
        return listing.page(self._store, filter)

    def session_rules(self, session_id: str) -> dict[str, Any]:
        """A session as its control plane made it; see `Service`."""
        session = self._stored(session_id).session
        owner = None if session.detail is None else session.detail.owner
        found = owner and self._store.pfcp_session(session.gateway, owner.up_seid)
        if not found:
            return shown.NOTHING
        _, stored = found
        node, agent = self.nodes.get(session.gateway), self._agents.get(session.gateway)
        if node is not None:
            made = node.latest(stored)
        else:
            made = pfcp_stored.from_bytes(stored.octets, stored.node_id, stored.up_seid)
        if made.urrs and agent is not None:
            readings = Readings(agent.counting)
            readings.read([session])
            made = pfcp_counted(readings, made, session, ntp_now())
        return shown.rules(made)

    def seen(self, session_id: str) -> Sequence[SeenView]:
        """What was lately seen to go wrong; see `Service`."""
        session = self._stored(session_id).session
        agent = self._agents.get(session.gateway)
        if agent is None:
            return []
        steady, wall = time.monotonic(), datetime.now(UTC)
        teids, peers = {teid for _, teid in all_teids(session)}, peers_of(session)
        found = agent.misses.lately.about(steady, ue_prefixes(session), teids, peers)
        return [
            SeenView(
                record.seen,
                record.count,
                wall - timedelta(seconds=steady - record.first_at),
                wall - timedelta(seconds=steady - record.last_at),
            )
            for record in found
        ]

    def flows_text(self, gateway: str | None) -> Iterator[str]:
        """All wanted flows, as ovs-ofctl lines; see `Service`."""
        if gateway is not None:
            self._agent_for(gateway)
        names = [gateway] if gateway is not None else list(self._agents)
        for name in names:
            for flow in in_turns(self._agents[name].wanted()):
                yield str(flow)

    def gateways(self) -> Sequence[dict[str, Any]]:
        """Every gateway; see `Service`."""
        nodes = map(self._node, self._agents)
        return [*eventlet.GreenPool().imap(report.report, self._agents.values(), nodes)]

    def _node(self, gateway: str) -> PfcpView | None:
        node = self.nodes.get(gateway)
        return None if node is None else node.view()

    def peers(
        self,
        gateway: str | None = None,
        state: PathState | None = None,
        worst: int | None = None,
    ) -> Sequence[PeerView]:
        """The GTP-U peers in use; see `Service`."""
        agents = [self._agent_for(gateway)] if gateway is not None else self._agents.values()
        return [peer for agent in agents for peer in agent.signalling.report(state, worst)]

    def history(self, gateway: str | None, seconds: int) -> Sequence[HistoryView]:
        """The last minutes; see `Service`."""
        agents = [self._agent_for(gateway)] if gateway is not None else self._agents.values()
        now = time.monotonic()
        return [
            HistoryView(agent.gateway.name, agent.history.last(seconds, now)) for agent in agents
        ]

    def pfcp(self) -> Sequence[PfcpView]:
        """The gateways that speak PFCP; see `Service`."""
        return [node.view() for node in self.nodes.values()]

    def metrics(self) -> Sequence[GatewayMetrics]:
        """Every gateway in numbers; see `Service`."""
        pool = eventlet.GreenPool()
        return [*pool.imap(report.metrics, self._agents.values())]

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
                "troubles": report.of_state(agent, self._node(name)),
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
        found: dict[int, Used] = {}
        for name in {stored.session.gateway for stored in page}:
            some = [stored.session for stored in page if stored.session.gateway == name]
            found |= used(self._store, self._agents.get(name), some)
        # One that is not there any more by now had used something; nobody knows what.
        return [self._view(stored, found.get(stored.session.number, Used())) for stored in page]

    def _view(self, stored: StoredSession, seen: Used | None = None) -> SessionView:
        up, down, of_bearers = None, None, dict[str, tuple[Counters, Counters]]()
        if seen is not None:
            age = max(int((datetime.now(UTC) - stored.created_at).total_seconds()), 0)
            up, down = (FlowCounters(*_counts(each), age) for each in seen.total)
            detail = stored.session.detail
            for bearer in () if detail is None else detail.bearers:
                volume = seen.rules.get(bearer.id, NO_VOLUME)
                ways = Counters(*_counts(volume.uplink)), Counters(*_counts(volume.downlink))
                of_bearers[bearer.id] = ways
        agent = self._agents.get(stored.session.gateway)
        local_ip, local_ip6 = (None, None) if agent is None else agent.gateway.local_ips
        return SessionView(
            session=stored.session,
            state=stored.state,
            reason=stored.reason,
            local_ip=local_ip,
            local_ip6=local_ip6,
            created_at=stored.created_at,
            updated_at=stored.updated_at,
            uplink=up,
            downlink=down,
            bearers=of_bearers,
        )


def _final(ledger: Ledger | None) -> dict[str, str | int]:
    """What a session that is no more has used, for its event."""
    if ledger is None:
        return {}
    total = ledger.total
    return {
        "uplink_packets": total.uplink.packets,
        "uplink_bytes": total.uplink.octets,
        "downlink_packets": total.downlink.packets,
        "downlink_bytes": total.downlink.octets,
    }


def _lost(session: Session) -> str:
    """Why a session is error_indicated."""
    core = [where == "core" for where, _ in indicated_tunnels(session)]
    said = []
    if not all(core):
        said.append("its peer does not know the downlink TEID")
    if any(core):
        said.append("its core peer does not know core.remote_teid")
    return f"{', and '.join(said)} (Error Indication)"


def _counts(counts: Counts) -> tuple[int, int]:
    return counts.packets, counts.octets


def _numbers(stats: FlowStats | None) -> tuple[int, int]:
    return (0, 0) if stats is None else (stats.packets, stats.bytes)


def _resource(session: Session) -> dict[str, Any]:
    """A session's writable fields as the REST API writes them."""
    up, down = session.uplink, session.downlink
    uplink: dict[str, Any] = {} if up is None else {"teid": up.teid}
    if up is not None and up.remote_ip is not None:
        uplink["remote_ip"] = str(up.remote_ip)
    container: dict[str, Any] = {}
    if (qos := session.qos) is not None:
        container = {
            "qfi": qos.qfi,
            "rqi": qos.rqi,
            "qfi_required": qos.required,
            "qfi_check": qos.check,
        }
    return {
        "id": session.id,
        "gateway": session.gateway,
        **({} if session.ue_ip is None else {"ue_ip": str(session.ue_ip)}),
        "uplink": uplink,
        "downlink": None if down is None else {"teid": down.teid, "remote_ip": str(down.ip)},
        **container,
        **bearers.resource(session),
    }
