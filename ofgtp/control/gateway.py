"""One gateway at run time: its bridge kept in order, its flows kept equal to its sessions."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp.core import arp
from ofgtp.core.errors import GatewayNotReady, StoreError
from ofgtp.core.flow import (
    COOKIE_OWNER_MASK,
    CookieKind,
    Flow,
    FlowKey,
    cookie_kind,
    cookie_number,
    mac_text,
    make_cookie,
)
from ofgtp.core.model import Gateway, Session, SessionState
from ofgtp.core.next_hop import NextHop
from ofgtp.core.pipeline import METERS, ROUTE, UPLINK, DropReason
from ofgtp.core.reconcile import Plan, plan
from ofgtp.core.rules import Links, gateway_flows, session_flows
from ofgtp.southbound import hostnet, megaflows, netfilter
from ofgtp.southbound.channel import Channel, Disconnected, FlowsRefused, NotConfirmed
from ofgtp.southbound.openflow import FlowStats, PacketIn
from ofgtp.southbound.ovsdb import BridgeFacts, Ovsdb
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

AUDIT_S = 3.0
"""Seconds between two looks at the host's part (OVSDB changes are seen at once)."""

RETRY_S = 1.0
"""Seconds before what failed is tried again."""

TICK_S = 0.5
"""Seconds between two looks at the next hop."""

KIND_MASK = COOKIE_OWNER_MASK | 0xFF << 40
UNKNOWN = -1
"""Stands in a reported flow for actions that differ from the wanted ones."""


class GatewayAgent:
    """Owns one bridge. All methods are for green threads of one process.

    `writer` is the lock under which sessions change; who holds it may call `change`.
    """

    def __init__(
        self,
        gateway: Gateway,
        store: SessionStore,
        writer: Semaphore,
        protected: Sequence[IPv4Network],
        nonce: str,
    ) -> None:
        self.gateway = gateway
        self.facts: BridgeFacts | None = None
        self.ovs_version: str | None = None
        self.synced = False
        """Whether the switch is known to have exactly the flows of the stored sessions."""
        self._host_problem: str | None = "starting"
        self._switch_problem: str | None = "the switch has not connected by OpenFlow yet"
        self.misses: Counter[str] = Counter()
        """Uplink misses that the controller saw, by what they were."""
        self.generation = 0
        """Goes up with each change of a session that the switch has not seen."""
        self._store, self._writer, self._protected = store, writer, protected
        self._nonce = nonce
        self._ovsdb = Ovsdb(gateway.ovsdb)
        self._channel: Channel | None = None
        self._next_hop = NextHop()
        self._links: Links | None = None
        self._base: list[Flow] = []
        self._stale = True
        """Whether the switch may still treat packets as it did before the last change."""

    @property
    def problem(self) -> str | None:
        """What keeps the gateway from working, for the operator; None if nothing does."""
        return self._host_problem or self._switch_problem

    @property
    def connected(self) -> bool:
        """Whether the bridge's OpenFlow connection is up and is the bridge's own."""
        return self._channel is not None

    @property
    def channel(self) -> Channel:
        """The OpenFlow connection, to ask something that need not be known.

        Raises:
            Disconnected: there is none.
            NotConfirmed: the switch owes an answer, so that asking more would only take time.
        """
        if self._channel is None:
            raise Disconnected(f"the switch of gateway {self.gateway.name} is not connected")
        if self._channel.silent:
            raise NotConfirmed(f"the switch of gateway {self.gateway.name} does not answer")
        return self._channel

    # --- the host's part and the bridge

    def run(self) -> None:
        """Keep host and bridge in order for ever; to be spawned."""
        while True:
            try:
                self._prepare()
                self._host_problem = self._say(self._host_problem, None)
                self._ovsdb.wait(AUDIT_S)
            except GatewayNotReady as error:
                self._host_problem = self._say(self._host_problem, str(error))
                eventlet.sleep(RETRY_S)
            except Exception:
                log.exception("gateway=%s: unexpected", self.gateway.name)
                self._host_problem = "an internal error, see the log"
                eventlet.sleep(RETRY_S)

    def _prepare(self) -> None:
        gateway = self.gateway
        ports = [gateway.access_port] + ([] if gateway.host_core else [gateway.core_port])
        for port in ports:
            refusal = hostnet.port_refusal(port)
            if refusal is not None:
                raise GatewayNotReady(refusal)
        facts = self._ovsdb.ensure(gateway, nonce=self._nonce)
        self.ovs_version = facts.ovs_version or self.ovs_version
        for port in ports:
            hostnet.ensure_up(port)
            former = hostnet.offloads_off(port)
            if former:
                self._ovsdb.remember(gateway, port, former)
        hostnet.ensure_device_settings(gateway.bridge, forward=False)
        hostnet.ensure_address(gateway.bridge, gateway.access_ip)
        if gateway.host_core:
            hostnet.ensure_device_settings(gateway.core_device, forward=True)
            hostnet.ensure_address(gateway.core_device, gateway.core_ip)
        hostnet.ensure_routes(gateway, facts.local_mac)
        if self.ovs_version is not None:
            netfilter.apply(gateway, version_numbers(self.ovs_version))
        self._learn(facts)

    def _learn(self, facts: BridgeFacts) -> None:
        """Take new facts of the bridge; if its links changed, its flows must change."""
        before, self.facts = self.facts, facts
        if before is None or before.datapath_id != facts.datapath_id:
            log.info("gateway=%s dpid=%016x: bridge ready", self.gateway.name, facts.datapath_id)
        if self._links_now() != self._links and self._channel is not None and self.synced:
            self.resync_soon("the bridge's ports changed")

    def _links_now(self) -> Links | None:
        facts = self.facts
        if facts is None:
            return None
        host = self.gateway.host_core
        return Links(
            access=facts.access_ofport,
            core=facts.core_ofport,
            gtpu=facts.gtpu_ofport,
            local_mac=facts.local_mac,
            core_mac=facts.local_mac if host else facts.core_mac,
            peer_mac=facts.core_mac if host else self._next_hop.mac,
        )

    def _say(self, before: str | None, now: str | None) -> str | None:
        """Log a problem when it is new, and its end; returns `now`."""
        if now != before and now is not None:
            log.warning("gateway=%s: %s", self.gateway.name, now)
        elif now != before:
            log.info("gateway=%s: over: %s", self.gateway.name, before)
        return now

    # --- the OpenFlow connection

    def attach(self, channel: Channel) -> None:
        """Take over a connection that claims our datapath id, if it really is our bridge.

        Anybody on this host can connect and claim an id; only the bridge knows what we wrote into
        OVSDB as its description.

        Raises:
            GatewayNotReady: it is not, or it went away.
        """
        version, description = channel.description()
        if description != self._nonce:
            raise GatewayNotReady("it claims the bridge's datapath id but is not that bridge")
        if self._channel is not None:
            self._channel.close()
        self.ovs_version = version
        self._channel = channel
        self.synced = False
        self._switch_problem = "comparing the switch's flows with the sessions"
        log.info("gateway=%s: Open vSwitch %s connected", self.gateway.name, version)
        eventlet.spawn(self._serve, channel)

    def detach(self, channel: Channel) -> None:
        """The connection is gone."""
        channel.close()
        if self._channel is channel:
            self._channel = None
            self.synced = False
            self._switch_problem = self._say(None, "the switch disconnected")

    def resync_soon(self, reason: str) -> None:
        """Read the switch's flows again and put right what differs; requests wait in the store."""
        if self.synced:
            log.warning(
                "gateway=%s: reading the switch's flows again: %s", self.gateway.name, reason
            )
        self.synced = False

    def _serve(self, channel: Channel) -> None:
        """Work on one connection until it ends."""
        while self._channel is channel:
            try:
                if not self.synced:
                    self._resync(channel)
                self._ask_next_hop(channel)
            except (GatewayNotReady, FlowsRefused, StoreError) as error:
                if self._channel is channel:
                    self._switch_problem = self._say(self._switch_problem, str(error))
                    eventlet.sleep(RETRY_S)
            except Exception:
                log.exception("gateway=%s: unexpected", self.gateway.name)
                eventlet.sleep(RETRY_S)
            eventlet.sleep(TICK_S)

    # --- flows

    def _resync(self, channel: Channel) -> None:
        """Make the switch's flows those of the store. Changes meanwhile make another round."""
        netfilter.apply(self.gateway, version_numbers(self.ovs_version or ""))
        self._ensure_meters(channel)
        failed: dict[int, str] = {}
        while True:
            generation = self.generation
            reported = list(channel.flows())
            self._assume_next_hop(reported)
            links = self._links_now()
            if links is None:
                raise GatewayNotReady("the bridge's ports are not known yet")
            base = list(gateway_flows(self.gateway, links, self._protected))
            try:
                changes = self._equalise(channel, reported, base, links, failed)
            except FlowsRefused as error:
                self._note_failed(error, failed)
                continue
            with self._writer:
                if self.generation != generation or self._links_now() != links:
                    continue
                with self._store.transaction() as tx:
                    tx.set_gateway_state(self.gateway.name, SessionState.ACTIVE)
                    for number, reason in failed.items():
                        tx.set_state([number], SessionState.FAILED, reason)
                self._links, self._base = links, base
                self.synced = True
            log.info("gateway=%s: in sync, %d flows changed", self.gateway.name, changes)
            self._switch_problem = None
            return

    def _assume_next_hop(self, reported: Iterable[FlowStats]) -> None:
        """After a restart, go on with the MAC that the switch still sends to."""
        if self.gateway.host_core:
            return
        for stats in reported:
            if stats.table == ROUTE.number and (mac := stats.sets("dl_dst")) is not None:
                self._next_hop.assume(mac_text(mac))

    def _equalise(
        self,
        channel: Channel,
        flows: Iterable[FlowStats],
        base: list[Flow],
        links: Links,
        failed: dict[int, str],
    ) -> int:
        reported: dict[FlowKey, FlowStats] = {}
        foreign: list[FlowStats] = []
        for stats in flows:
            if stats.match is None:
                foreign.append(stats)
            else:
                reported[FlowKey(stats.table, stats.priority, stats.match)] = stats

        def desired() -> Iterator[Flow]:
            yield from base
            for place, session in enumerate(self._store.iterate(self.gateway.name)):
                if place % 500 == 499:
                    eventlet.sleep(0)
                if session.number not in failed:
                    yield from session_flows(session, links)

        wanted = list(desired())
        same = {
            flow.key: flow
            for flow in wanted
            if (there := reported.get(flow.key)) is not None
            and there.cookie == flow.cookie
            and there.same_actions(flow)
        }
        installed = [same.get(key) or _as_flow(stats) for key, stats in reported.items()]
        changes = plan(wanted, installed)
        if changes or foreign:
            self._apply(channel, changes, foreign)
        elif self._stale:
            self._refresh()
        return len(changes) + len(foreign)

    def _apply(
        self, channel: Channel, changes: Plan, foreign: list[FlowStats] | None = None
    ) -> None:
        """Carry a plan out, as seen by packets: what the switch has cached follows too."""
        self._stale = True
        channel.apply(changes, foreign)
        self._refresh()

    def _refresh(self) -> None:
        if version_numbers(self.ovs_version or "") < megaflows.FIXED:
            megaflows.purge(self.gateway.ovsdb)
        self._stale = False

    def _note_failed(self, error: FlowsRefused, failed: dict[int, str]) -> None:
        """Leave the sessions out whose flows were refused; raise if a base flow was."""
        for flow, reason in error.refused:
            if flow is None or cookie_kind(flow.cookie) is not CookieKind.SESSION:
                raise error
            number = cookie_number(flow.cookie)
            failed[number] = reason
            log.error(
                "gateway=%s session number=%d: the switch refused %s: %s",
                self.gateway.name,
                number,
                flow,
                reason,
            )

    def _ensure_meters(self, channel: Channel) -> None:
        present = channel.meters()
        for meter in METERS.values():
            if meter.number not in present:
                channel.set_meter(meter, add=True)
            elif present[meter.number] != meter:
                channel.set_meter(meter, add=False)

    def change(self, before: Iterable[Session], after: Iterable[Session]) -> bool:
        """Replace sessions' flows in the switch; the caller holds the writer lock.

        Returns True when the switch has confirmed, False when it is away, not in sync yet or did
        not answer in time: then the next reconcile does it from the store.

        Raises:
            FlowsRefused: the switch refused a flow and has what it had.
        """
        links = self._links
        if not self.synced or self._channel is None or links is None:
            self.generation += 1
            return False
        changes = plan(_flows(after, links), _flows(before, links))
        try:
            if changes:
                self._apply(self._channel, changes)
        except FlowsRefused:
            raise
        except GatewayNotReady as error:
            self.generation += 1
            self.resync_soon(str(error))
            return False
        return True

    def forget(self) -> None:
        """What `change` did was not kept after all: the switch must be compared with the store."""
        self.generation += 1
        self.resync_soon("the store did not keep a change")

    def _update_base(self) -> None:
        """Bring the base flows up to date with the next hop."""
        with self._writer:
            links = self._links_now()
            if not self.synced or self._channel is None or links is None:
                return
            base = list(gateway_flows(self.gateway, links, self._protected))
            try:
                self._apply(self._channel, plan(base, self._base))
                self._links, self._base = links, base
            except (GatewayNotReady, FlowsRefused) as error:
                self.resync_soon(str(error))

    def wanted(self) -> Iterator[Flow]:
        """Every flow that should be in the switch. Raises GatewayNotReady before it was ready."""
        links = self._links_now()
        if links is None:
            raise GatewayNotReady(
                f"gateway {self.gateway.name}: the bridge's ports are not known yet"
            )
        yield from gateway_flows(self.gateway, links, self._protected)
        for session in self._store.iterate(self.gateway.name):
            yield from session_flows(session, links)

    def wanted_of(self, session: Session) -> tuple[Flow, Flow] | None:
        """A session's uplink and downlink flow; None while the bridge's ports are not known."""
        links = self._links_now()
        return None if links is None else session_flows(session, links)

    # --- what the switch tells

    def packet_in(self, packet: PacketIn) -> None:
        """A packet from the switch. What it says of the network is believed; its bytes are not."""
        if cookie_kind(packet.cookie) is CookieKind.BASE:
            self._hear_next_hop(packet.frame)
        elif packet.cookie == make_cookie(CookieKind.DROP, DropReason.NO_UPLINK_SESSION):
            self.misses[self._classify(packet)] += 1

    def _classify(self, packet: PacketIn) -> str:
        """Why a T-PDU matched no session's uplink flow."""
        stored = self._store.by_teid(self.gateway.name, packet.tun_id)
        if stored is None:
            return "unknown_teid"
        session = stored.session
        inner = packet.frame[14:]
        if len(inner) < 20 or IPv4Address(inner[12:16]) != session.ue_ip:
            return "spoofed_source"
        if session.uplink.remote_ip not in (None, IPv4Address(packet.tun_src)):
            return "wrong_peer"
        return "not_installed"

    def _hear_next_hop(self, frame: bytes) -> None:
        said = arp.parse(frame)
        if said is None or said.sender_ip != self.gateway.next_hop:
            return
        facts = self.facts
        if facts is not None and said.sender_mac == facts.core_mac:
            return
        if self._next_hop.heard(said.sender_mac, time.monotonic()):
            log.info(
                "gateway=%s: next hop %s is at %s",
                self.gateway.name,
                said.sender_ip,
                said.sender_mac,
            )
            eventlet.spawn(self._update_base)

    def _ask_next_hop(self, channel: Channel) -> None:
        next_hop, links = self.gateway.next_hop, self._links
        if next_hop is None or links is None or not self._next_hop.due(time.monotonic()):
            return
        question = arp.request(links.core_mac, self.gateway.core_ip.ip, next_hop)
        channel.packet_out(links.core, question)

    def counters(self, numbers: Sequence[int]) -> list[tuple[FlowStats | None, FlowStats | None]]:
        """Uplink and downlink flow of each session number, as the switch reports them now.

        Raises:
            GatewayNotReady: the switch is away.
        """
        cookies = [make_cookie(CookieKind.SESSION, number) for number in numbers]
        result = []
        for flows in self.channel.flows_of(cookies):
            up = next((flow for flow in flows if flow.table == UPLINK.number), None)
            down = next((flow for flow in flows if flow.table != UPLINK.number), None)
            result.append((up, down))
        return result

    def drops(self) -> dict[str, int]:
        """Packets dropped, by reason: exact, from the switch's own counters.

        Raises:
            GatewayNotReady: the switch is away.
        """
        counted = {reason.label: 0 for reason in DropReason}
        labels = {reason.value: reason.label for reason in DropReason}
        for flow in self.channel.flows(make_cookie(CookieKind.DROP), KIND_MASK):
            label = labels.get(cookie_number(flow.cookie))
            if label is not None:
                counted[label] += flow.packets
        over = self.channel.meter_drops()
        for name in ("ping", "arp"):
            counted[f"rate_limited_{name}"] = over.get(METERS[name].number, 0)
        return counted

    def report(self) -> dict[str, Any]:
        """The gateway for operators, ready for JSON."""
        gateway, facts = self.gateway, self.facts
        shown: dict[str, Any] = {
            "name": gateway.name,
            "connected": self.connected,
            "in_sync": self.synced,
            "problem": self.problem,
            "bridge": gateway.bridge,
            "datapath_id": None if facts is None else f"{facts.datapath_id:016x}",
            "ovs_version": self.ovs_version,
            "access": {
                "port": gateway.access_port,
                "ip": str(gateway.access_ip),
                "mac": None if facts is None else facts.local_mac,
            },
            "core": {
                "port": gateway.core_port,
                "device": gateway.core_device,
                "ip": str(gateway.core_ip),
                "mac": None if facts is None else facts.core_mac,
            },
            "next_hop": None,
            "ue_pools": [str(pool) for pool in gateway.ue_pools],
            "sessions": {str(k): v for k, v in self._store.count(gateway.name).items()},
            "drops": None,
            "uplink_misses_seen": dict(self.misses),
        }
        if gateway.next_hop is not None:
            shown["next_hop"] = {
                "ip": str(gateway.next_hop),
                "mac": self._next_hop.mac,
                "state": self._next_hop.state(time.monotonic()),
            }
        try:
            shown["drops"] = self.drops()
        except GatewayNotReady:
            log.debug("gateway=%s: no counters, the switch is away", gateway.name)
        return shown


def version_numbers(version: str) -> tuple[int, int]:
    """Major and minor of `3.1.0`; (0, 0), which gets every remedy, if it cannot be read."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _flows(sessions: Iterable[Session], links: Links) -> Iterator[Flow]:
    for session in sessions:
        yield from session_flows(session, links)


def _as_flow(stats: FlowStats) -> Flow:
    """A reported flow that is not as it should be; one with a timeout must be added anew."""
    cookie = 0 if stats.timeouts else stats.cookie
    return Flow(stats.table, stats.priority, stats.match or (), cookie, goto=UNKNOWN)
