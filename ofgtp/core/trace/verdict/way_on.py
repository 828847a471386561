"""Of packets for which switch or host have no way on: next hops, routes, ports, the bridge."""

from __future__ import annotations

from ofgtp.core.model import Address
from ofgtp.core.trace.known import Case, Verdict
from ofgtp.core.trace.verdict.advice import LOOK, ends


def _called(case: Case, peer: Address) -> str:
    relay = case.session.relay
    kind = "core's peer" if relay is not None and relay.ip == peer else "base station"
    return f"the {kind} {peer}"


def no_arp(case: Case, peer: Address) -> Verdict:
    """The next hop to that base station does not answer."""
    gateway = case.gateway
    hop, who = gateway.access_next_hop(peer), _called(case, peer)
    if hop not in (None, peer):
        who = f"the router {hop}, which leads to {who},"
    of_ipv6 = peer.version == 6
    return Verdict(
        False,
        f"{who} does not answer {'neighbour discovery' if of_ipv6 else 'ARP'} on"
        f" {gateway.access_port}",
        "no_arp",
        "check its address, cable and VLAN. Is it asked, and does it answer?",
        f"tcpdump -ni {gateway.access_port} {'icmp6' if of_ipv6 else 'arp'}",
    )


def no_route(case: Case, peer: Address) -> Verdict:
    """The switch knows no way to that base station."""
    gateway, who = case.gateway, _called(case, peer)
    ours = gateway.access_ip6 if peer.version == 6 else gateway.access_ip
    net = "an access network" if ours is None else ours.network
    if gateway.access_next_hop(peer) is None:
        return Verdict(
            False,
            f"no route leads to {who}: it is not in {net}",
            "no_route",
            f"if the address is right, give the router towards it in access_routes of gateway"
            f" {gateway.name} in ofgtp.toml, and: ofgtp reload",
        )
    return Verdict(
        False,
        f"no route leads to {who}: has {gateway.bridge} lost its address?",
        "no_route",
        f"it must be up and have {ours}; restart ofgtp, which sees to it{ends(gateway)}",
        f"ip address show {gateway.bridge}",
    )


def not_routed(case: Case, why: str) -> Verdict:
    """The host, which is to route it on, does not."""
    packet, device = case.packet, case.gateway.core_device
    return Verdict(
        False,
        f"it leaves by {device} for the host, which does not route it on: {why}",
        "not_routed",
        "look at the host's routes and its forwarding of IPv6"
        if packet.version == 6
        else "look at the host's routes, ip_forward and rp_filter",
        f"ip route get {packet.destination} from {packet.source} iif {device}",
    )


def not_unwrapped(case: Case) -> Verdict:
    """The switch sends it to LOCAL as it is."""
    gateway = case.gateway
    ours = (gateway.access_ip6 if case.packet.outer_ipv6 else None) or gateway.access_ip
    return Verdict(
        False,
        f"the switch does not take it out of its tunnel: it has no gtpu port for {ours.ip}",
        "not_unwrapped",
        f"is port {gateway.gtpu_port} there (ovs-vsctl show), and {ours} on"
        f" {gateway.bridge}? If not, restart ofgtp, which makes both{ends(gateway)}",
        f"ip address show {gateway.bridge}",
    )


def refused(case: Case, said: str) -> Verdict:
    """The switch will not trace at all, or says itself what is wrong."""
    bridge = case.gateway.bridge
    if "unknown bridge" in said:
        return _not_there(case, f"the switch has no bridge {bridge}", "no_bridge")
    if "unknown port for in_port" in said:
        return no_port(case, said.rpartition("(")[2].partition(":")[0].strip('"'))
    return Verdict(False, f"the switch says: {' '.join(said.split())}", "switch_error")


def no_port(case: Case, port: str) -> Verdict:
    """The bridge lacks a port that the packet needs."""
    return _not_there(case, f"bridge {case.gateway.bridge} has no port {port}", "no_port")


def _not_there(case: Case, says: str, reason: str) -> Verdict:
    do = "what is in its way? Restart ofgtp, which makes it (systemctl restart ofgtp)"
    do += ends(case.gateway)
    return Verdict(False, says, reason, do, LOOK)
