"""Sessions as they are shown: what they have used, their flows and rules, what went wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.pfcp import shown
from ofgtp.control.pfcp.clock import ntp_now
from ofgtp.control.pfcp.node import PfcpNode
from ofgtp.control.pfcp.usage import counted as pfcp_counted
from ofgtp.control.usage import listing
from ofgtp.control.usage.limits import Limits
from ofgtp.control.usage.readings import Readings
from ofgtp.control.usage.used import Used, used
from ofgtp.core.errors import GatewayNotReady, UnknownSession
from ofgtp.core.pfcp import stored as pfcp_stored
from ofgtp.core.rules.counts import Counts
from ofgtp.core.sessions.rules import all_teids, peers_of, ue_prefixes
from ofgtp.core.usage.ledger import NO_VOLUME
from ofgtp.northbound.service import (
    Counters,
    FlowCounters,
    FlowView,
    SeenView,
    SessionView,
    UsageView,
)
from ofgtp.southbound.openflow import FlowStats
from ofgtp.store.rows import StoredSession
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)


class Views:
    """Of the sessions of all gateways; `nodes` are the gateways' endpoints of PFCP."""

    def __init__(
        self,
        store: SessionStore,
        agents: Mapping[str, GatewayAgent],
        limits: Limits,
        nodes: Mapping[str, PfcpNode],
    ) -> None:
        self._store, self._agents, self._limits, self._nodes = store, agents, limits, nodes

    def stored(self, session_id: str) -> StoredSession:
        """Raise UnknownSession if there is none."""
        stored = self._store.get(session_id)
        if stored is None:
            raise UnknownSession(session_id)
        return stored

    def counted(self, page: Sequence[StoredSession]) -> Sequence[SessionView]:
        """Sessions of the store with what they have used."""
        found: dict[int, Used] = {}
        for name in {stored.session.gateway for stored in page}:
            some = [stored.session for stored in page if stored.session.gateway == name]
            found |= used(self._store, self._agents.get(name), some)
        # One that is not there any more by now had used something; nobody knows what.
        return [self.one(stored, found.get(stored.session.number, Used())) for stored in page]

    def one(self, stored: StoredSession, seen: Used | None = None) -> SessionView:
        """A session of the store; with `seen` as what it has used."""
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

    def flows(self, session_id: str) -> Sequence[FlowView]:
        """The flows of a session; see `Service`."""
        stored = self.stored(session_id)
        agent = self._agents.get(stored.session.gateway)
        wanted = None if agent is None else agent.wanted_of(stored.session)
        if agent is None or wanted is None:
            return []
        try:
            [seen] = agent.counting.flow_stats([stored.session.number])
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

    def usage(self, session_id: str) -> UsageView:
        """What a session has used, up to now; see `Service`."""
        stored = self.stored(session_id)
        session = stored.session
        found = used(self._store, self._agents.get(session.gateway), [session])
        has_used = found.get(session.number, Used())
        quotas = self._limits.quotas(session, has_used.total, has_used.rules)
        return replace(listing.of_session(stored, has_used), quotas=quotas)

    def rules(self, session_id: str) -> dict[str, Any]:
        """A session as its control plane made it; see `Service`."""
        session = self.stored(session_id).session
        owner = None if session.detail is None else session.detail.owner
        found = owner and self._store.pfcp_session(session.gateway, owner.up_seid)
        if not found:
            return shown.NOTHING
        _, stored = found
        node, agent = self._nodes.get(session.gateway), self._agents.get(session.gateway)
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
        session = self.stored(session_id).session
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


def _counts(counts: Counts) -> tuple[int, int]:
    return counts.packets, counts.octets


def _numbers(stats: FlowStats | None) -> tuple[int, int]:
    return (0, 0) if stats is None else (stats.packets, stats.bytes)
