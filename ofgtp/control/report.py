"""A gateway as operators and their tools see it; the cost does not grow with its flows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import eventlet

from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.peers.signalling import Ignored
from ofgtp.core.errors import GatewayNotReady, StoreError
from ofgtp.core.flows import drops, faults
from ofgtp.core.model import Address, Gateway
from ofgtp.core.peers.next_hop import NextHop
from ofgtp.core.troubles import shown, troubles
from ofgtp.northbound.service import Counters, GatewayMetrics, Histogram, PfcpView
from ofgtp.southbound import hostnet, portcounts
from ofgtp.southbound.channel import LATENCY_BOUNDS, NotConfirmed
from ofgtp.southbound.ovsdb import BridgeFacts
from ofgtp.southbound.ovstools import Tools
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

METRICS_S = 2.0
"""Longest wait for the switch's counters, in seconds; then the last known are shown."""


def metrics(agent: GatewayAgent) -> GatewayMetrics:
    """In numbers; the switch's are the last known while it is away."""
    _count(agent)
    counters, tally, signalling = agent.totals, agent.tally, agent.signalling
    return GatewayMetrics(
        name=agent.gateway.name,
        connected=agent.connected,
        in_sync=agent.synced,
        sessions=agent.store.count(agent.gateway.name),
        forwarded={
            direction: Counters(counters.packets[direction], counters.bytes[direction])
            for direction in counters.packets
        },
        drops=merged(counters.drops, signalling.unreadable()),
        received={str(port): n for port, n in counters.received.items()},
        own=_own(agent),
        buffer=agent.holding.now(),
        flow_mods=dict(tally.flow_mods),
        barriers=Histogram(LATENCY_BOUNDS, tuple(tally.barriers), tally.barrier_seconds),
        openflow_errors=dict(tally.errors),
        lease=None if agent.lease is None else agent.lease.metrics(),
        repairs=agent.repairs,
        rounds=agent.rounds,
        gtpu_messages=dict(signalling.messages),
        gtpu_ignored={str(why): signalling.ignored[why] for why in Ignored},
        extension_headers=dict(signalling.extensions),
        paths=signalling.peers.paths.counts(),
        neighbours=_neighbours(agent),
        next_hops=_next_hops(agent),
        ovsdb=agent.gateway.ovsdb,
        switch_drops=_switch_drops(agent.gateway) or {},
    )


def _state(agent: GatewayAgent) -> dict[str, Any]:
    """What its health is judged by, but its sessions; the switch is not asked."""
    gateway, facts = agent.gateway, agent.links.facts
    return {
        "name": gateway.name,
        "connected": agent.connected,
        "in_sync": agent.synced,
        "problem": agent.problem,
        "access": {
            "port": gateway.access_port,
            "link": hostnet.link_state(gateway.access_port),
            "ip": str(gateway.access_ip),
            "ip6": None if gateway.access_ip6 is None else str(gateway.access_ip6),
            "mtu": agent.host.access_mtu,
            "mac": None if facts is None else facts.local_mac,
        },
        "core": {
            "port": gateway.core_port,
            "device": gateway.core_device,
            "link": hostnet.link_state(gateway.core_device),
            "ip": str(gateway.core_ip),
            "ip6": None if gateway.core_ip6 is None else str(gateway.core_ip6),
            "mtu": agent.host.core_mtu,
            "mac": None if facts is None else facts.core_mac,
        },
        "next_hop": _next_hop(gateway.next_hop, agent.core_side.next_hop),
        "next_hop6": _next_hop(gateway.next_hop6, agent.core_side.next_hop6),
        "ue_pools": [str(pool) for pool in gateway.pools],
        "paths": {str(k): v for k, v in agent.signalling.peers.paths.counts().items()},
        "neighbours": _neighbours(agent),
        "unrouted": [str(peer) for peer in agent.signalling.peers.unrouted],
        "lease": _lease(agent),
    }


def report(agent: GatewayAgent, node: PfcpView | None = None) -> dict[str, Any]:
    """In words, ready for JSON; `node` is its part in PFCP, if it has one."""
    gateway, facts, counters = agent.gateway, agent.links.facts, agent.totals
    counted, version = _count(agent), agent.host.ovs_version
    now = _state(agent) | {
        "sessions": {str(k): v for k, v in agent.store.count(gateway.name).items()}
    }
    return now | {
        "troubles": _troubles(now, node),
        "bridge": gateway.bridge,
        "datapath_id": None if facts is None else f"{facts.datapath_id:016x}",
        "ovs_version": version,
        "faults": [] if version is None else _known_faults(version),
        "ports": _ports(gateway, facts),
        "forwarded": {
            way: {"packets": counters.packets[way], "bytes": counters.bytes[way]}
            for way in counters.packets
        },
        "drops": merged(counters.standing, agent.signalling.unreadable()) if counted else None,
        "switch_drops": _switch_drops(gateway),
        "buffer": agent.holding.now(),
        "uplink_misses_seen": dict(agent.misses.seen),
        "repairs": agent.repairs,
        "lease_seconds": None if agent.lease is None else agent.lease.seconds,
    }


def of_state(agent: GatewayAgent, node: PfcpView | None) -> list[dict[str, str]]:
    """What is wrong, but for sessions, which would have to be counted; ready for JSON."""
    return _troubles(_state(agent), node)


def health(
    store: SessionStore,
    agents: Collection[GatewayAgent],
    node: Callable[[str], PfcpView | None],
) -> tuple[bool, dict[str, Any]]:
    """Whether the store can be written and every gateway works; see `Service`. `node` tells a
    gateway's part in PFCP."""
    written = "ok"
    try:
        store.check()
        instance_id: str | None = store.instance_id
    except StoreError as error:
        written, instance_id = str(error), None
    gateways = [
        {
            "name": agent.gateway.name,
            "connected": agent.connected,
            "in_sync": agent.synced,
            "problem": agent.problem,
            "troubles": of_state(agent, node(agent.gateway.name)),
        }
        for agent in agents
    ]
    well = written == "ok" and all(agent.connected for agent in agents)
    return well, {
        "status": "ok" if well else "degraded",
        "instance_id": instance_id,
        "store": written,
        "gateways": gateways,
    }


def _troubles(now: Mapping[str, Any], node: PfcpView | None) -> list[dict[str, str]]:
    of_pfcp = None
    if node is not None:
        planes = [
            {"node_id": each.node_id, "ip": str(each.ip), "state": str(each.state)}
            for each in node.associations
        ]
        of_pfcp = {"problem": node.problem, "associations": planes}
    return shown(troubles(now, of_pfcp))


def _ports(gateway: Gateway, facts: BridgeFacts | None) -> dict[str, Any]:
    """How the switch has its ports, and on which cores its threads read them, as is said to it:
    by us, or by somebody else, whose word stays."""
    if not gateway.veths:
        return {"type": "af_packet"}
    cores = () if facts is None else facts.pmd_cores
    return {"type": "afxdp", "pmd_cores": [*cores], "ways": len(gateway.access_ends)}


def merged(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """The sums of two mappings; each key of the first, and of the second, is there."""
    return {key: one.get(key, 0) + other.get(key, 0) for key in (*one, *other)}


def _count(agent: GatewayAgent) -> bool:
    """Bring the totals up to date; False if the switch does not tell."""
    try:
        with eventlet.Timeout(METRICS_S, NotConfirmed(f"no counters within {METRICS_S:g} s")):
            agent.totals.read(agent.sync.to_ask, portcounts.read(agent.gateway), time.monotonic())
    except GatewayNotReady as error:
        log.debug("gateway=%s: no counters: %s", agent.gateway.name, error)
        return False
    return True


def _own(agent: GatewayAgent) -> dict[str, int]:
    """Frames for the gateway itself; what of signalling cannot be read is a drop."""
    own, unreadable = agent.totals.own, sum(agent.signalling.unreadable().values())
    read = max(own["signalling"] - unreadable, 0)
    return {**{str(kind): count for kind, count in own.items()}, "signalling": read}


def _switch_drops(gateway: Gateway) -> dict[str, int] | None:
    """What the switch counts by itself, for all its bridges; None if it does not tell."""
    try:
        return drops.switch_drops(Tools(gateway.ovsdb).coverage())
    except GatewayNotReady as error:
        log.debug("gateway=%s: %s", gateway.name, error)
        return None


def _neighbours(agent: GatewayAgent) -> dict[str, int]:
    return {str(k): v for k, v in agent.signalling.peers.neighbours.counts().items()}


def _next_hop(ip: Address | None, known: NextHop) -> dict[str, str | None] | None:
    if ip is None:
        return None
    return {"ip": str(ip), "mac": known.mac, "state": known.state(time.monotonic())}


def _next_hops(agent: GatewayAgent) -> dict[str, bool]:
    """Whether each answers, by its IP version."""
    gateway, core_side, now = agent.gateway, agent.core_side, time.monotonic()
    known = {
        "4": gateway.next_hop and core_side.next_hop,
        "6": gateway.next_hop6 and core_side.next_hop6,
    }
    return {version: hop.state(now) == "resolved" for version, hop in known.items() if hop}


def _lease(agent: GatewayAgent) -> dict[str, Any] | None:
    lease = agent.lease
    if lease is None:
        return None
    left = lease.seconds_left()
    return {
        "seconds": lease.seconds,
        "seconds_left": None if left is None else round(left, 1),
        "renewals": lease.renewals,
        "expiries": lease.expiries,
    }


def _known_faults(version: str) -> list[dict[str, str]]:
    """The faults of the switch's version, and what is done about each."""
    number = faults.parse(version)
    return [
        {
            "name": fault.name,
            "summary": fault.summary,
            "remedy": fault.remedy,
            "basis": str(fault.basis(number)),
            "reference": fault.reference,
        }
        for fault in faults.of(number)
    ]
