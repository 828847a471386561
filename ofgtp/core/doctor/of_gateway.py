"""Checks of a gateway's part of the host: bridge, ports, addresses, routes and rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from ofgtp.core.doctor.facts import Interface, Route, Socket, Switch
from ofgtp.core.doctor.finding import (
    LOG,
    RESTART,
    START,
    Finding,
    failed,
    ok,
    skipped,
    some,
    warning,
)
from ofgtp.core.filters import Network, within
from ofgtp.core.model import Gateway
from ofgtp.core.packets.icmpv6 import MTU_MIN
from ofgtp.core.rules.terms import CONTAINER_HEADERS, TUNNEL_HEADERS

UE_MTU = 1500
"""The MTU of a UE that the network has told no other."""
SMALLEST_MTU = 576
"""Every IPv4 host takes packets of this many octets (RFC 791)."""


def bridge(gateway: Gateway, switch: Switch) -> Finding:
    check = "bridge"
    if gateway.bridge in switch.bridges:
        owner = switch.bridges[gateway.bridge]
        if owner is None:
            text = f"{gateway.bridge} exists, and ofgtp did not make it"
            return failed(check, text, f"ovs-vsctl del-br {gateway.bridge}   # or another `bridge`")
        if owner != gateway.name:
            text = f"{gateway.bridge} was made for gateway {owner}"
            return failed(check, text, f"ofgtp gateway remove {owner}   # with the old file")
    for port in (*gateway.ports, *gateway.access_ends, *gateway.core_ends):
        at = switch.ports.get(port, gateway.bridge)
        if at != gateway.bridge:
            return failed(check, f"{port} is in bridge {at}", f"ovs-vsctl del-port {at} {port}")
    if gateway.bridge in switch.bridges:
        return ok(check, f"{gateway.bridge} is there")
    return ok(check, f"{gateway.bridge} is not there yet, and nothing is in its way")


def reading(gateway: Gateway, switch: Switch, refusal: str | None) -> Finding:
    """How the switch reads the ports. `refusal`: why this host cannot have AF_XDP."""
    check, kind, cores = "ports", gateway.port_type, switch.pmd_cores
    if not gateway.veths:
        return ok(check, "the switch reads them by AF_PACKET, in its main thread")
    if refusal is not None:
        return failed(check, refusal, 'edit ofgtp.toml: ports = "af_packet"')
    if switch.interface_types and kind not in switch.interface_types:
        text = "this Open vSwitch was built without AF_XDP"
        return failed(check, text, 'edit ofgtp.toml: ports = "af_packet"')
    wanted = [*gateway.pmd_cores]
    if wanted and cores is not None and wanted != [*cores]:
        text = (
            f"pmd_cores is {wanted}, and somebody else has given the switch's threads {[*cores]}:"
            " that stays"
        )
        forget = "ovs-vsctl remove Open_vSwitch . other_config pmd-cpu-mask"
        return warning(check, text, f"{forget}   # then ofgtp sets it")
    on = f"cores {', '.join(map(str, cores))}" if cores else "a core that the switch chooses"
    return ok(check, f"the switch reads them by AF_XDP, on {on}")


def port(role: str, found: Interface, installed: bool, *, completes: bool = False) -> Finding:
    """`completes`: the host completes what comes in by it, on its way to the switch."""
    name = found.name
    if found.link == "missing":
        return failed(
            role,
            f"interface {name} does not exist",
            f"ip -br link   # which one is it? put its name in `{role.replace(' ', '_')}`",
        )
    if found.refusal is not None:
        return failed(role, found.refusal, f"ip addr show dev {name}; ip route show dev {name}")
    if found.link == "down":
        up = f"ip link set dev {name} up"
        if installed:
            return failed(role, f"{name} is down", up)
        return ok(role, f"{name} is down, ofgtp sets it up when it starts")
    if found.link == "no carrier":
        text = f"{name} is up, but has no carrier: the cable, or the other end, which may be down"
        return failed(role, text, f"ethtool {name}")
    if found.xdp:
        text = f"an XDP program is on {name}: what it drops the switch never sees"
        return warning(role, text, f"ip link set dev {name} xdp off   # if it drops GTP-U")
    if found.filters:
        text = f"tc has filters on {name}: what they drop of the switch's packets does not leave"
        return warning(role, text, f"tc filter show dev {name} egress")
    note = ""
    if found.kind == "veth" and not completes:
        note = "; a veth: its other end must send whole checksums (ethtool -K … tx off)"
    return ok(role, f"{name} is up and carries no address or default route of the host{note}")


def offloads(ports: Sequence[Interface], installed: bool) -> Finding:
    check = "offloads"
    on = {p.name: [f for f, state in p.offloads.items() if state == "on"] for p in ports}
    if not any(on.values()):
        return ok(check, "packets are not merged on receipt (GRO, LRO)")
    shown = ", ".join(f"{name}: {' '.join(names)}" for name, names in on.items() if names)
    if not installed:
        return ok(check, f"{shown} on; ofgtp turns them off when it starts")
    text = f"{shown} on: merged packets do not fit the tunnel"
    off = [
        f"ethtool -K {name} {' '.join(f'{each} off' for each in names)}"
        for name, names in on.items()
        if names
    ]
    return failed(check, text, *off)


def mtu(
    access: Interface,
    core: Interface | None,
    *,
    ipv6: bool = False,
    tunnel: int = TUNNEL_HEADERS,
) -> Finding:
    """`core` None: the host routes, and knows the tunnel's MTU. `ipv6`: UEs have it. `tunnel`: the
    octets that one adds, but for a PDU Session Container (N3)."""
    fits, check, tunnel_5g = access.mtu - tunnel, "mtu", tunnel + CONTAINER_HEADERS
    if fits < SMALLEST_MTU:
        text = f"{access.name} has MTU {access.mtu}: too small for a tunnel"
        return failed(check, text, f"ip link set dev {access.name} mtu {UE_MTU + tunnel_5g}")
    for port, least in ((access, MTU_MIN + tunnel_5g), (core, MTU_MIN)):
        if ipv6 and port is not None and port.mtu < least:
            text = (
                f"{port.name} has MTU {port.mtu}: IPv6 needs {MTU_MIN} octets on every link, so"
                f" {least} here, and nobody is told to send less"
            )
            return failed(check, text, f"ip link set dev {port.name} mtu {least}")
    if core is None:
        return ok(check, f"{access.name} has {access.mtu}: packets of {fits} octets fit a tunnel")
    if core.mtu < min(fits, UE_MTU):
        text = (
            f"{access.name} has {access.mtu}, {core.name} {core.mtu}: packets from UEs of more than"
            f" {core.mtu} octets do not fit {core.name} (too_big_uplink)"
        )
        return warning(
            check,
            text,
            f"ip link set dev {core.name} mtu {min(fits, UE_MTU)}   # if the core network takes it",
            f"or give UEs an MTU of {core.mtu} or less",
        )
    if access.mtu >= core.mtu + tunnel_5g:
        text = f"{access.name} has {access.mtu}: packets of {fits} octets fit a tunnel"
        if fits > core.mtu:
            text += f", those of more than {core.mtu} from UEs not {core.name} (too_big_uplink)"
        return ok(check, text)
    wanted = core.mtu + tunnel_5g
    text = (
        f"{access.name} has {access.mtu}, {core.name} {core.mtu}: packets to UEs of more than"
        f" {fits} octets do not fit a tunnel ({access.mtu - tunnel_5g} on N3)"
    )
    if access.mtu >= core.mtu + tunnel:
        text = f"{access.name} has {access.mtu}: enough on S1-U, 8 octets short on N3 (5G)"
    return warning(
        check,
        text,
        f"ip link set dev {access.name} mtu {wanted}   # if the base stations' network takes it",
        f"or give UEs an MTU of {access.mtu - tunnel_5g} or less",
    )


def addresses(
    gateway: Gateway,
    present: Mapping[str, Sequence[IPv4Interface | IPv6Interface]],
    installed: bool,
) -> Finding:
    """`present`: the host's addresses by interface."""
    check = "addresses"
    wanted: list[tuple[str, IPv4Interface | IPv6Interface]] = [(gateway.bridge, gateway.access_ip)]
    if gateway.host_core:
        wanted.append((gateway.core_device, gateway.core_ip))
        wanted += [] if gateway.core_ip6 is None else [(gateway.core_device, gateway.core_ip6)]
    elif gateway.core_ip6 is not None:
        # The switch answers for it: another who has it finds that it is taken (RFC 4862, 5.4).
        for other, theirs in present.items():
            if gateway.core_ip6.ip in [each.ip for each in theirs]:
                text = f"{gateway.core_ip6.ip} (core_ip6) is on {other}: it must be ofgtp's alone"
                return failed(check, text, f"ip addr del {gateway.core_ip6} dev {other}")
    for device, address in wanted:
        for other, theirs in present.items():
            if other != device and address.ip in [each.ip for each in theirs]:
                text = f"{address.ip} is on {other}: it must be ofgtp's alone"
                return failed(check, text, f"ip addr del {address} dev {other}")
        if installed and address not in present.get(device, ()):
            text = f"{device} does not carry {address}"
            return failed(check, text, f"ip link set dev {device} up", RESTART)
    shown = ", ".join(f"{address} on {device}" for device, address in wanted)
    return ok(check, shown if installed else f"free: {shown}")


def routes(gateway: Gateway, present: Iterable[Route]) -> Finding:
    """Routes of the host that lead away what a gateway sends: to its peers, and to its UEs."""
    check = "routes"
    nets: list[Network] = [gateway.access_ip.network]
    nets += (route.to for route in gateway.access_routes)
    if gateway.host_core:
        nets += [gateway.core_ip.network, *gateway.pools]
        nets += [] if gateway.core_ip6 is None else [gateway.core_ip6.network]
    ours = {gateway.bridge, gateway.core_device}
    for route in present:
        if route.ours or route.device in ours or route.to.prefixlen == 0:
            continue
        for net in nets:
            if within(route.to, net):
                text = f"the host has a route to {route.to} by {route.device}, inside {net}"
                return failed(check, text, f"{_ip(net)} route del {route.to} dev {route.device}")
    return ok(check, f"nothing leads away from {', '.join(map(str, nets))}")


def _ip(network: Network) -> str:
    """The command for routes of its IP version."""
    return "ip -6" if network.version == 6 else "ip"


def routing(gateway: Gateway, device: str | None, forwards: bool) -> Finding:
    """With `core_port = "host"`: the way back in, by the device of the default route."""
    check = "routing"
    if not gateway.host_core:
        return skipped(check, "the host does not route for this gateway")
    if device is None:
        return warning(check, "the host has no default route: UEs reach what it has routes to")
    if forwards:
        return ok(check, f"{device} lets packets for UEs in")
    text = f"forwarding is off on {device}: answers to UEs are dropped there"
    return failed(check, text, f"sysctl -w net.ipv4.conf.{device}.forwarding=1")


def routing6(gateway: Gateway, device: str | None, commands: Sequence[str]) -> Finding | None:
    """The same for IPv6; `commands` have the host route what comes in by the device, and are empty
    if it does. None: the gateway has no IPv6, or the host does not route for it."""
    check = "routing IPv6"
    if not gateway.host_core or gateway.core_ip6 is None:
        return None
    if device is None:
        text = "the host has no IPv6 default route: UEs reach what it has routes to"
        look = "ip -6 route; sysctl net.ipv6.conf.all.disable_ipv6   # is it to have one?"
        return warning(check, text, look)
    if not commands:
        return ok(check, f"{device} lets packets for UEs in")
    text = f"forwarding of IPv6 is off on {device}: answers to UEs are dropped there"
    return failed(check, text, *commands)


def host_services(gateway: Gateway, sockets: Iterable[Socket]) -> Finding:
    """With `core_port = "host"`: what of the host itself UEs reach."""
    check = "host services"
    if gateway.host_services == "deny":
        return ok(check, "UEs get ping from this host, and answers to what it began: no service")
    served = {
        f"{each.process} ({each.protocol} {each.port})"
        for each in sockets
        if each.address is None or not ip_address(each.address).is_loopback
    }
    if not served:
        return ok(check, "UEs may reach this host, which serves nobody")
    text = f"UEs may reach what this host serves: {some('program', sorted(served))}"
    return warning(check, text, 'host_services = "deny" of the gateway, or rules of your own')


def rules(present: bool, exact: bool, controlled: bool) -> Finding:
    """The gateway's nftables; `controlled`: its controller runs and looks after them."""
    check = "rules"
    if exact or (present and controlled):
        return ok(check, "the nftables rules are in place")
    if not present:
        text = "nftables rules are missing: somebody has flushed them, or they could not be made"
        if controlled:
            again = "ofgtp doctor   # within 3 s the controller has put them back"
            return failed(check, text, again, LOG)
        return failed(check, text, START)
    return warning(check, "the nftables rules are not as ofgtp makes them", START)


def packet(wrong: Sequence[str]) -> Finding:
    """What a real packet through a tunnel has shown."""
    check = "packet"
    if not wrong:
        text = (
            "IPv4 and IPv6 went through a tunnel both ways: headers, checksums, content are right"
        )
        return ok(check, text)
    text = "; ".join(wrong)
    return failed(check, text, "nft list ruleset", "ofgtp status -v   # the faults of this version")
