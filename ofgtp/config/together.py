"""What gateways share, checked: names, addresses, routes."""

from __future__ import annotations

from ipaddress import IPv4Address

from ofgtp.config.source import Source
from ofgtp.core.filters import Network, overlap, within
from ofgtp.core.model import Gateway


def check_together(source: Source, gateways: tuple[Gateway, ...]) -> None:
    """What gateways share: the names of interfaces, and the routing table of the host.

    Open vSwitch takes tunnel routes from that table as well. UE pools meet in it only where
    `core_port` is "host": two gateways with ports of their own may use one pool in two networks.
    """
    names: set[str] = set()
    devices: dict[str, str] = {}
    networks: list[tuple[Network, str, str]] = []
    routes: dict[Network, str] = {}
    nodes: dict[IPv4Address, str] = {}
    for number, gw in enumerate(gateways):
        if gw.name in names:
            raise source.error(("gateway", number, "name"), f"{gw.name!r} is the name of another")
        names.add(gw.name)
        if gw.pfcp is not None:
            at = ("gateway", number, "pfcp", "listen")
            if gw.pfcp.listen in nodes:
                reason = f"{nodes[gw.pfcp.listen]} listens there: each gateway is a node of its own"
                raise source.error(at, reason)
            nodes[gw.pfcp.listen] = gw.name
            for pool in (pool for other in gateways for pool in other.ue_pools):
                if gw.pfcp.listen in pool:
                    raise source.error(at, f"{gw.pfcp.listen} is in the UE pool {pool}")
        for key, device, role in (
            ("bridge", gw.bridge, "bridge"),
            ("access_port", gw.access_port, "access port"),
            ("bridge", gw.core_device, "core-side internal port")
            if gw.host_core
            else ("core_port", gw.core_port, "core port"),
            ("bridge", gw.gtpu_port, "gtpu port"),
            *(("bridge", port, "gtpu port for marked packets") for port in gw.ecn_ports),
            ("bridge", gw.gre_port, "port for IPv6 peers"),
            *(("bridge", port, "patch port") for port in gw.loop_ports),
            *(("bridge", end, "veth") for pair in gw.veths for end in (pair.end, pair.host_end)),
        ):
            owner = f"the {role} of {gw.name}"
            if device in devices:
                reason = f"{device!r} would be both {devices[device]} and {owner}"
                raise source.error(("gateway", number, key), reason)
            devices[device] = owner
        ours: list[tuple[str, Network]] = [("access_ip", gw.access_ip.network)]
        if gw.access_ip6 is not None:
            ours += [("access_ip6", gw.access_ip6.network)]
        if gw.host_core:
            ours += [("core_ip", gw.core_ip.network)]
            ours += [] if gw.core_ip6 is None else [("core_ip6", gw.core_ip6.network)]
            ours += [("ue_pools", pool) for pool in gw.pools]
        for key, net in ours:
            for other, other_key, owner in networks:
                if overlap(net, other):
                    reason = _both_routed(net, other, other_key, owner)
                    raise source.error(("gateway", number, key), reason)
            for to, owner in routes.items():
                if _in_the_way(to, net, key):
                    reason = _both_routed(net, to, "access_routes", owner)
                    raise source.error(("gateway", number, key), reason)
        for index, route in enumerate(gw.access_routes):
            here = ("gateway", number, "access_routes", index, "to")
            if route.to in routes:
                reason = f"{route.to} is an access route of {routes[route.to]} already"
                raise source.error(here, reason)
            for net, key, owner in networks:
                if _in_the_way(route.to, net, key):
                    raise source.error(here, _both_routed(route.to, net, key, owner))
        networks += [(net, key, gw.name) for key, net in ours]
        routes |= {route.to: gw.name for route in gw.access_routes}


def _in_the_way(to: Network, net: Network, key: str) -> bool:
    """Whether an access route must not meet what the host routes for another gateway.

    It is as in one gateway: a route may hold a whole subnet, but no UE pool.
    """
    return overlap(to, net) if key == "ue_pools" else within(to, net)


def _both_routed(net: Network, other: Network, key: str, owner: str) -> str:
    return f"{net} overlaps {other} ({key} of {owner}): one host routes both"
