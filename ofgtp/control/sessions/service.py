"""The sessions of all gateways: what is asked is in the store and in the switch, or in neither."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import Any

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp.control import report
from ofgtp.control.buffer.owners import SessionOwners
from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.pfcp.node import PfcpNode
from ofgtp.control.sessions.arrivals import Arrivals
from ofgtp.control.sessions.batch import SLICE, Batch, Line
from ofgtp.control.sessions.by_peers import ByPeers
from ofgtp.control.sessions.changes import Changes
from ofgtp.control.sessions.garbage import garbage_left_alone
from ofgtp.control.sessions.owned import Steps, check_free
from ofgtp.control.sessions.put import Done, Puts
from ofgtp.control.sessions.views import Views
from ofgtp.control.turns import in_turns
from ofgtp.control.usage import listing
from ofgtp.control.usage.counting import Counting
from ofgtp.control.usage.limits import Limits
from ofgtp.control.usage.used import Used
from ofgtp.core.buffer.queue import Bounds
from ofgtp.core.errors import (
    Conflict,
    GatewayNotReady,
    InvalidSession,
    UnknownSession,
)
from ofgtp.core.model import BatchPut, Session, SessionState
from ofgtp.core.peers.paths import PathState
from ofgtp.core.usage.ledger import Ledger
from ofgtp.northbound import bearers
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import (
    BatchResult,
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
from ofgtp.store.listing import Matching
from ofgtp.store.sqlite import SessionStore
from ofgtp.store.transaction import Transaction


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
        self.nodes: dict[str, PfcpNode] = {}
        """The gateways' endpoints of PFCP."""
        self.limits = Limits(store, self._agents.values(), writer, events)
        self._changes = Changes(store, self._agents, writer)
        self._puts = Puts(self._changes, self.limits)
        self._views = Views(store, self._agents, self.limits, self.nodes)
        self._arrivals = {
            name: Arrivals(agent, self._changes.transaction) for name, agent in self._agents.items()
        }
        self.by_peers = ByPeers(store, self._changes, self.nodes, events, self.batch)
        owners = SessionOwners(self.nodes, self.limits, events)
        for agent in self._agents.values():
            agent.signalling.sessions = self.by_peers
            agent.holding.owners = owners

    def reloaded(self) -> None:
        """The gateways' configuration was read again."""
        for arrivals in self._arrivals.values():
            arrivals.reloaded()

    # --- changes

    def create(self, request: SessionRequest) -> SessionView:
        """Make a session; see `Service`."""
        session_id = request.id or f"s-{secrets.token_hex(8)}"
        with self._changes.turn():
            with self._changes.transaction() as tx:
                if tx.get(session_id) is not None:
                    raise Conflict("id", f"the id {session_id!r} is in use", session_id)
                done = self._puts.put(tx, replace(request, id=session_id))
            return self._told(done)

    def put(self, request: SessionRequest) -> tuple[SessionView, bool]:
        """Make or replace a session; see `Service`."""
        if request.id is None:
            raise InvalidSession("id", "is missing")
        with self._changes.turn():
            with self._changes.transaction() as tx:
                done = self._puts.put(tx, request)
            return self._told(done), done.before is None

    def put_new(self, put: BatchPut) -> NewSession | None:
        """Make a session that is plainly right and new; see `Service`."""
        name = put.gateway or (next(iter(self._agents)) if len(self._agents) == 1 else "")
        arrivals = self._arrivals.get(name)
        made = None if arrivals is None else arrivals.make(put, self._changes.turn)
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
        with self._changes.turn():
            with self._changes.transaction() as tx:
                stored = tx.get(session_id)
                if stored is None:
                    raise UnknownSession(session_id)
                check_free(stored.session)
                done = self._puts.put(tx, change(_resource(stored.session)))
            return self._told(done)

    def delete(self, session_id: str) -> bool:
        """Delete a session; see `Service`."""
        with self._changes.turn():
            with self._changes.transaction() as tx:
                session = tx.delete(session_id)
                check_free(session)
                gone = self._changes.count(tx, session.gateway, [session], [])
                confirmed = self._changes.carry_out(tx, session.gateway, [session], [])
            self._changes.changed(session, None)
            facts = _final(gone.get(session.number))
            self.events.publish(
                "session_deleted", gateway=session.gateway, session=session.id, **facts
            )
            return confirmed

    def batch(self, ops: Iterable[Line]) -> BatchResult:
        """Do all of it in order, or nothing; see `Service`."""
        with self._changes.turn(), garbage_left_alone():
            with self._changes.transaction() as tx, ExitStack() as stack:
                changes = {
                    name: (agent, stack.enter_context(agent.carrier.changing()))
                    for name, agent in self._agents.items()
                }
                batch, lines = Batch(tx, changes, self._puts.write), iter(ops)
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
        agent = self._changes.agent_for(gateway)
        with self._changes.turn(), garbage_left_alone():
            with self._changes.transaction() as tx:
                steps = work(tx)
                touched = steps.before or steps.after
                gone = self._changes.count(tx, gateway, steps.before, steps.after, steps.readings)
                confirmed = touched and self._changes.carry_out(
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
        return self._changes.agent_for(gateway).counting

    def wait_on(self, gateway: str, session_id: str, *, bounds: Bounds | None) -> None:
        """Have what waits for a session wait within other bounds, or, None, drop it.

        Raises:
            StoreError: the session cannot be read.
        """
        stored, agent = self._store.get(session_id), self._changes.agent_for(gateway)
        if stored is None or stored.session.detail is None:
            return
        slot = stored.session.detail.slot
        if bounds is None:
            agent.holding.drop([slot])
        else:
            agent.holding.extend(slot, bounds)

    def _told(self, done: Done) -> SessionView:
        """The session after a change; the change is made known, if it was one."""
        before, after = done.before, done.after
        if done.changed:
            self._changes.changed(None if before is None else before.session, after.session)
            kind = "session_created" if before is None else "session_changed"
            facts = {"session": after.session.id, "state": str(after.state)}
            self.events.publish(kind, gateway=after.session.gateway, **facts)
        if before is None:
            return self._views.one(after, Used())  # it has used nothing yet
        return self._views.counted([after])[0]

    # --- reading

    def get(self, session_id: str) -> SessionView:
        """One session; see `Service`."""
        return self._views.counted([self._views.stored(session_id)])[0]

    def list(self, filter: SessionFilter) -> tuple[Sequence[SessionView], str | None]:
        """One page of sessions; see `Service`."""
        asked = _matching(filter)
        page, cursor = self._store.list(**asked, limit=filter.limit, cursor=filter.cursor)
        if not filter.counters:
            return [self._views.one(stored) for stored in page], cursor
        return self._views.counted(page), cursor

    def count(self, filter: SessionFilter) -> int:
        """How many sessions match; see `Service`."""
        return self._store.count_matching(**_matching(filter))

    def session_flows(self, session_id: str) -> Sequence[FlowView]:
        """The flows of a session; see `Service`."""
        return self._views.flows(session_id)

    def session_usage(self, session_id: str) -> UsageView:
        """What a session has used, up to now; see `Service`."""
        return self._views.usage(session_id)

    def usage(self, filter: UsageFilter) -> UsagePage:
        """What sessions have used, as it was last read of all of them; see `Service`."""
        if filter.gateway is not None:
            self._changes.agent_for(filter.gateway)
        return listing.page(self._store, filter)

    def session_rules(self, session_id: str) -> dict[str, Any]:
        """A session as its control plane made it; see `Service`."""
        return self._views.rules(session_id)

    def seen(self, session_id: str) -> Sequence[SeenView]:
        """What was lately seen to go wrong; see `Service`."""
        return self._views.seen(session_id)

    def flows_text(self, gateway: str | None) -> Iterator[str]:
        """All wanted flows, as ovs-ofctl lines; see `Service`."""
        if gateway is not None:
            self._changes.agent_for(gateway)
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
        agents = self._some(gateway)
        return [peer for agent in agents for peer in agent.signalling.report(state, worst)]

    def history(self, gateway: str | None, seconds: int) -> Sequence[HistoryView]:
        """The last minutes; see `Service`."""
        agents = self._some(gateway)
        now = time.monotonic()
        return [
            HistoryView(agent.gateway.name, agent.history.last(seconds, now)) for agent in agents
        ]

    def _some(self, gateway: str | None) -> Iterable[GatewayAgent]:
        return [self._changes.agent_for(gateway)] if gateway is not None else self._agents.values()

    def pfcp(self) -> Sequence[PfcpView]:
        """The gateways that speak PFCP; see `Service`."""
        return [node.view() for node in self.nodes.values()]

    def metrics(self) -> Sequence[GatewayMetrics]:
        """Every gateway in numbers; see `Service`."""
        pool = eventlet.GreenPool()
        return [*pool.imap(report.metrics, self._agents.values())]

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether the store can be written and every gateway works; see `Service`."""
        return report.health(self._store, self._agents.values(), self._node)


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


def _matching(filter: SessionFilter) -> Matching:
    """What of a filter says which sessions match, as the store is asked."""
    return Matching(
        gateway=filter.gateway,
        part_of_id=filter.id,
        ue_ip=filter.ue_ip,
        ue_ipv6=filter.ue_ipv6,
        teid=filter.teid,
        peer=filter.peer,
        state=filter.state,
    )
