"""What `ofgtp doctor` judges: facts of a host in, a finding each out. Nothing is read here.

A check says what it saw in one line, and where that is wrong, what to type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

from ofgtp.core import faults
from ofgtp.core.model import GTPU_PORT, Gateway

TUNNEL, TUNNEL_5G = 20 + 8 + 8, 20 + 8 + 8 + 8
"""Octets that a tunnel adds: outer IPv4, UDP and GTP-U; and a PDU Session Container (N3)."""
SMALLEST_MTU = 576
"""Every IPv4 host takes packets of this many octets (RFC 791)."""
SHOWN = 3
"""So many of several alike are named."""

START = "systemctl start ofgtp"
RESTART = "systemctl restart ofgtp"
LOG = "journalctl -u ofgtp -n 50"
RESTART_OVS = "systemctl restart openvswitch-switch"

PACKAGES = {
    "ip": "iproute2",
    "ss": "iproute2",
    "nft": "nftables",
    "ethtool": "ethtool",
    "ovs-vsctl": "openvswitch-switch",
    "ovs-ofctl": "openvswitch-switch",
    "ovs-appctl": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
}
"""The programs that ofgtp and its doctor run -> Debian's packages."""


class Verdict(StrEnum):
    """What a check comes to."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found; `remedy` is command lines, or what to change."""

    check: str
    verdict: Verdict
    text: str
    remedy: tuple[str, ...] = ()
    gateway: str | None = None

    def of(self, gateway: str) -> Finding:
        """The same, of a gateway."""
        return replace(self, gateway=gateway)


def ok(check: str, text: str) -> Finding:
    return Finding(check, Verdict.OK, text)


def warning(check: str, text: str, *remedy: str) -> Finding:
    return Finding(check, Verdict.WARNING, text, remedy)


def failed(check: str, text: str, *remedy: str) -> Finding:
    return Finding(check, Verdict.FAILED, text, remedy)


def skipped(check: str, why: str) -> Finding:
    return Finding(check, Verdict.SKIPPED, why)


# --- facts


@dataclass(frozen=True, slots=True)
class Switch:
    """What the switch behind an OVSDB socket says of itself."""

    ovsdb: str
    ovsdb_error: str | None = None
    """Why the database does not answer."""
    daemon_error: str | None = None
    """Why ovs-vswitchd does not."""
    version: str | None = None
    datapath_types: Sequence[str] = ()
    interface_types: Sequence[str] = ()
    bridges: Mapping[str, str | None] = field(default_factory=dict)
    """Bridge -> the gateway that ofgtp made it for; None: ofgtp did not make it."""
    ports: Mapping[str, str] = field(default_factory=dict)
    """Port -> the bridge that it is in."""

    def installed(self, gateway: Gateway) -> bool:
        """Whether the gateway's bridge is there."""
        return self.bridges.get(gateway.bridge) == gateway.name


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket that waits for packets: of `tcp` or `udp`; an address of None is any."""

    protocol: str
    address: str | None
    port: int
    process: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class Chain:
    """An nftables chain that packets pass by a hook."""

    family: str
    table: str
    name: str
    hook: str
    policy: str
    devices: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the host to a prefix."""

    to: IPv4Network
    device: str
    ours: bool


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of the host; `link` is missing, down, no carrier or up."""

    name: str
    link: str
    mtu: int = 0
    kind: str | None = None
    """Such as veth; None is a real one."""
    refusal: str | None = None
    """Why it cannot be a gateway's port."""
    offloads: Mapping[str, str] = field(default_factory=dict)
    """Of those that merge received packets, what can be changed: name -> on or off."""


@dataclass(frozen=True, slots=True)
class Controller:
    """What the API says; `error` is why it does not."""

    url: str
    error: str | None = None
    refuses: bool = False
    """It runs, but does not tell us."""
    hangs: bool = False
    """Somebody listens there and says nothing."""
    health: Mapping[str, Any] | None = None
    gateways: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name."""
    peers: Sequence[Mapping[str, Any]] = ()

    @property
    def runs(self) -> bool:
        """Whether there is a controller that answers at all."""
        return self.error is None or self.refuses


# --- the host


def root(is_root: bool) -> Finding:
    if is_root:
        return ok("root", "you are root")
    return failed(
        "root", "you are not root, so most of the host cannot be read", "sudo ofgtp doctor"
    )


def programs(missing: Sequence[str]) -> Finding:
    if not missing:
        return ok("programs", "all that ofgtp runs is installed")
    packages = sorted({PACKAGES[name] for name in missing})
    return failed(
        "programs",
        f"not installed: {', '.join(missing)}",
        f"apt-get install {' '.join(packages)}",
    )


def configuration(path: str, error: str | None, gateways: Sequence[str], exists: bool) -> Finding:
    check = "configuration"
    if error is None:
        return ok(check, f"{path}: {_some('gateway', gateways)}")
    if not exists:
        make = f"install -D -m 644 etc/ofgtp.toml {path}   # then edit it"
        return failed(check, f"{path} is not there", make, "ofgtp check-config")
    return failed(check, error, f"edit {path}", "ofgtp check-config")


def store(directory: str, free: int | None, error: str | None) -> Finding:
    """`free` is in bytes."""
    if error is not None:
        return failed("store", error, f"mkdir -p {directory}", f"ls -ld {directory}")
    if free is not None and free < 100 << 20:
        text = f"{directory}: only {free >> 20} MB are free"
        return warning("store", text, f"df -h {directory}")
    return ok("store", f"{directory} can be written")


def nftables(error: str | None, kernel: str) -> Finding:
    """`error` is nft's own, to a set of rules with all that ofgtp needs."""
    if error is None:
        return ok("nftables", f"Linux {kernel} has the hooks (ingress, egress)")
    return failed(
        "nftables",
        f"Linux {kernel} does not take the rules that ofgtp needs: {error}",
        "uname -r; nft --version   # Linux 5.16 or later, nftables 1.0 or later",
    )


def listens(
    what: str, key: str, host: str, port: int, sockets: Iterable[Socket], controller: Controller
) -> Finding:
    """An address that the controller listens on is free, or its own."""
    holders = [
        s
        for s in sockets
        if s.protocol == "tcp" and s.port == port and s.address in (None, host, "0.0.0.0", "::")
    ]
    where = f"{host}:{port}"
    if not holders:
        if not controller.runs:
            return ok(what, f"{where} is free")
        text = f"nobody listens at {where}, though the controller runs: its file is another one"
        return failed(what, text, RESTART)
    holder = _holder(holders[0])
    if controller.runs:
        return ok(what, f"{where} is the controller's ({holder})")
    return failed(
        what,
        f"{where} is taken by {holder}, and the controller does not answer",
        f"ss -ltnp 'sport = :{port}'",
        f"stop that program (or an ofgtp that hangs: {RESTART}), or change `{key}`",
    )


def gtp_port(
    sockets: Iterable[Socket], devices: Sequence[str], gateways: Sequence[Gateway]
) -> Finding:
    """Others that would speak GTP-U on this host."""
    check, ours = "gtp-u", {str(gateway.access_ip.ip) for gateway in gateways}
    taken = [s for s in sockets if s.protocol == "udp" and s.port == GTPU_PORT]
    near = [s for s in taken if s.address is None or s.address in ours | {"0.0.0.0", "::"}]
    if devices:
        text = f"the kernel's own GTP has {_some('device', devices)}: they get no packet of ofgtp's"
        return warning(check, text, *(f"ip link del {device}" for device in devices))
    if near:
        text = (
            f"UDP port {GTPU_PORT} is held by {_holder(near[0])}, which gets no packet of ofgtp's"
        )
        return warning(check, text, f"ss -lunp 'sport = :{GTPU_PORT}'   # stop it")
    return ok(check, f"nobody else speaks GTP-U here (UDP {GTPU_PORT})")


def firewall(
    chains: Iterable[Chain], legacy: Sequence[str], gateways: Sequence[Gateway]
) -> Finding:
    """Rules of others that would stop users' packets."""
    check = "firewall"
    ports = {gateway.access_port for gateway in gateways}
    ports |= {gateway.core_device for gateway in gateways}
    routed = [gateway for gateway in gateways if gateway.host_core]
    others = [chain for chain in chains if not chain.table.startswith("ofgtp_")]
    for chain in others:
        if chain.family == "netdev" and (shared := ports.intersection(chain.devices)):
            text = f"chain {_name(chain)} is on {', '.join(sorted(shared))}, which is ofgtp's"
            return warning(check, text, f"nft list chain {_name(chain)}")
    for chain in others:
        if chain.hook == "forward" and chain.policy == "drop" and routed:
            accept = [
                f"nft insert rule {_name(chain)} {way} {gateway.core_device} accept"
                for gateway in routed
                for way in ("iifname", "oifname")
            ]
            text = f"chain {_name(chain)} drops by default what this host routes: UEs' packets, too"
            return warning(check, text, *accept)
    if legacy and routed:
        text = f"old iptables have tables ({', '.join(legacy)}), which cannot be judged here"
        return warning(check, text, "iptables-legacy -S FORWARD   # must let the UE pools pass")
    known = {"firewalld": "firewalld", "ufw-": "ufw"}
    for chain in others:
        for start, name in known.items():
            if chain.table.startswith(start) or chain.name.startswith(start):
                return ok(check, f"{name} is active, and not in the way of these gateways")
    return ok(check, "no other rules in the way")


# --- the switch


def ovsdb(switch: Switch) -> Finding:
    if switch.ovsdb_error is None:
        return ok("ovsdb", f"ovsdb-server answers at {switch.ovsdb}")
    return failed(
        "ovsdb",
        f"no ovsdb-server at {switch.ovsdb}: {switch.ovsdb_error}",
        RESTART_OVS,
        "systemctl status ovsdb-server",
    )


def vswitchd(switch: Switch) -> Finding:
    if switch.daemon_error is None:
        return ok("vswitchd", "ovs-vswitchd answers")
    return failed(
        "vswitchd",
        f"ovs-vswitchd does not answer: {switch.daemon_error}",
        RESTART_OVS,
        "tail -n 30 /var/log/openvswitch/ovs-vswitchd.log",
    )


def version(switch: Switch) -> Finding:
    number, check = faults.parse(switch.version), "version"
    known = faults.of(number)
    text = f"Open vSwitch {switch.version or '(unknown)'}"
    if number is not None and number < faults.GTPU_SINCE:
        first = ".".join(map(str, faults.GTPU_SINCE))
        return failed(check, f"{text} has no GTP-U: {first} is the first", "apt-get upgrade")
    remedied = f"{len(known)} known faults, all worked around"
    if number not in faults.TRIED:
        tried = ", ".join(".".join(map(str, each)) for each in faults.TRIED)
        return warning(check, f"{text}: {remedied}; ofgtp's tests run on {tried}", "ofgtp status")
    return ok(check, f"{text}: {remedied}")


def datapath(switch: Switch) -> Finding:
    lacks = []
    if "netdev" not in switch.datapath_types:
        lacks.append("the userspace datapath (netdev)")
    if "gtpu" not in switch.interface_types:
        lacks.append("gtpu ports")
    if lacks:
        text = f"this Open vSwitch lacks {' and '.join(lacks)}"
        return failed("datapath", text, "apt-get install --reinstall openvswitch-switch")
    return ok("datapath", "netdev and gtpu ports are available")


def leftover(switch: Switch, bridge: str) -> Finding | None:
    """What an interrupted `--packet` has left behind."""
    if bridge not in switch.bridges:
        return None
    text = f"bridge {bridge} was left by an `ofgtp doctor --packet` that was killed"
    return warning("leftover", text, "ofgtp doctor --packet   # takes it away first")


# --- the controller


def controller(found: Controller, installed: bool) -> Finding:
    check = "controller"
    if found.error is not None:
        if found.refuses:
            return failed(
                check, f"it runs, but refuses: {found.error}", "ofgtp doctor --token-file FILE"
            )
        if found.hangs:
            return failed(check, found.error, LOG, RESTART)
        if not installed:
            return skipped(check, f"not running, and nothing is installed yet: {START}")
        return failed(check, found.error, START, LOG)
    health = found.health or {}
    if health.get("store", "ok") != "ok":
        return failed(check, f"its session store: {health['store']}", LOG)
    return ok(check, f"it runs and answers at {found.url}")


def connected(gateway: Gateway, found: Controller) -> Finding:
    check = "connected"
    report = found.gateways.get(gateway.name)
    if report is None:
        text = f"the running controller has no gateway {gateway.name}: its file is an older one"
        return failed(check, text, RESTART)
    if not report["connected"] or report["problem"]:
        text = str(report["problem"] or "the switch is not connected")
        return failed(check, text, LOG, f"ovs-vsctl get-controller {gateway.bridge}")
    if not report["in_sync"]:
        return warning(check, "flows are being compared with the sessions", "ofgtp status --watch")
    return ok(check, "the switch is connected and in sync")


def next_hop(gateway: Gateway, report: Mapping[str, Any]) -> Finding:
    check, hop = "next hop", report["next_hop"]
    if hop is None:
        return skipped(check, "the host's own routes decide")
    if hop["state"] == "resolved":
        return ok(check, f"{hop['ip']} is at {hop['mac']}")
    return failed(
        check,
        f"{hop['ip']} does not answer ARP on {gateway.core_port}: no uplink leaves",
        f"tcpdump -eni {gateway.core_port} arp   # is it asked, and does it answer?",
        "is `next_hop` the router's address, and `core_ip` in its subnet?",
    )


def peers(gateway: Gateway, found: Sequence[Mapping[str, Any]]) -> Finding:
    check = "peers"
    mine = [peer for peer in found if peer["gateway"] == gateway.name]
    if not mine:
        return ok(check, "no session names a peer yet")
    stranded = [peer["ip"] for peer in mine if peer["next_hop"] is None]
    if stranded:
        text = f"no route leads to {_some('peer', stranded)}"
        return failed(check, text, "add them to `access_routes` of the gateway", RESTART)
    silent = [peer["ip"] for peer in mine if peer["next_hop"]["mac"] is None]
    if silent:
        text = f"{_some('peer', silent)} {_verb(silent)} not answer ARP: no downlink goes there"
        return warning(check, text, f"tcpdump -eni {gateway.access_port} arp")
    down = [peer["ip"] for peer in mine if peer["state"] == "down"]
    if down:
        text = f"{_some('peer', down)} {_verb(down)} not answer Echo Requests any more"
        return warning(check, text, f"tcpdump -ni {gateway.access_port} udp port {GTPU_PORT}")
    return ok(check, f"{_count(mine, 'peer')}, and their MAC addresses are known")


def lease(report: Mapping[str, Any]) -> Finding:
    check, found = "lease", report["lease"]
    if found is None:
        return ok(check, 'none: ownership = "switch"')
    if found["seconds_left"] is None:
        return skipped(check, "it has not begun")
    if found["seconds_left"] <= 0:
        return failed(check, "it has run out: nothing is forwarded", LOG, RESTART)
    if found["expiries"]:
        text = f"renewed, but it ran out {found['expiries']} times: traffic stopped meanwhile"
        return warning(check, text, "a longer `lease_seconds`", LOG)
    return ok(check, f"renewed, {found['seconds_left']:.0f} s left of {found['seconds']}")


def forwarding(sessions: int | None) -> Finding:
    """What the switch does without a controller: by how many sessions' flows it forwards."""
    if sessions is None:
        return failed("forwarding", "the switch forwards nothing", START, LOG)
    text = f"without its controller the switch forwards: {sessions} sessions"
    return warning("forwarding", text, START)


def flows(bridge: str, missing: Sequence[str], surplus: Sequence[str]) -> Finding:
    """What the switch lacks, and what it has of ours beside what it should have."""
    if not missing and not surplus:
        return ok("flows", "the switch has exactly the flows that it should have")
    text = (
        f"{bridge} lacks {_count(missing, 'flow')} and has {len(surplus)} too many; the first: "
        f"{(missing or surplus)[0]}"
    )
    return failed("flows", text, RESTART, LOG)


# --- a gateway's part of the host


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
    for port in (gateway.access_port, gateway.core_device):
        at = switch.ports.get(port, gateway.bridge)
        if at != gateway.bridge:
            return failed(check, f"{port} is in bridge {at}", f"ovs-vsctl del-port {at} {port}")
    if gateway.bridge in switch.bridges:
        return ok(check, f"{gateway.bridge} is there")
    return ok(check, f"{gateway.bridge} is not there yet, and nothing is in its way")


def port(role: str, found: Interface, installed: bool) -> Finding:
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
    note = ""
    if found.kind == "veth":
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


def mtu(access: Interface, core: Interface | None) -> Finding:
    """`core` None: the host routes, and knows the tunnel's MTU."""
    fits, check = access.mtu - TUNNEL, "mtu"
    if fits < SMALLEST_MTU:
        text = f"{access.name} has MTU {access.mtu}: too small for a tunnel"
        return failed(check, text, f"ip link set dev {access.name} mtu 1544")
    if core is None or access.mtu >= core.mtu + TUNNEL_5G:
        return ok(check, f"{access.name} has {access.mtu}: packets of {fits} octets fit a tunnel")
    wanted = core.mtu + TUNNEL_5G
    text = (
        f"{access.name} has {access.mtu}, {core.name} {core.mtu}: packets to UEs of more than"
        f" {fits} octets do not fit a tunnel ({access.mtu - TUNNEL_5G} on N3)"
    )
    if access.mtu >= core.mtu + TUNNEL:
        text = f"{access.name} has {access.mtu}: enough on S1-U, 8 octets short on N3 (5G)"
    return warning(
        check,
        text,
        f"ip link set dev {access.name} mtu {wanted}   # if the base stations' network takes it",
        f"or give UEs an MTU of {access.mtu - TUNNEL_5G} or less",
    )


def addresses(
    gateway: Gateway, present: Mapping[str, Sequence[IPv4Interface]], installed: bool
) -> Finding:
    """`present`: the host's addresses by interface."""
    check = "addresses"
    wanted = {gateway.bridge: gateway.access_ip}
    if gateway.host_core:
        wanted[gateway.core_device] = gateway.core_ip
    for device, address in wanted.items():
        for other, theirs in present.items():
            if other != device and address.ip in [each.ip for each in theirs]:
                text = f"{address.ip} is on {other}: it must be ofgtp's alone"
                return failed(check, text, f"ip addr del {address} dev {other}")
        if installed and address not in present.get(device, ()):
            text = f"{device} does not carry {address}"
            return failed(check, text, f"ip link set dev {device} up", RESTART)
    shown = ", ".join(f"{address} on {device}" for device, address in wanted.items())
    return ok(check, shown if installed else f"free: {shown}")


def routes(gateway: Gateway, present: Iterable[Route]) -> Finding:
    """Routes of the host that lead away what a gateway sends: to its peers, and to its UEs."""
    check = "routes"
    nets = [gateway.access_ip.network, *(route.to for route in gateway.access_routes)]
    if gateway.host_core:
        nets += [gateway.core_ip.network, *gateway.ue_pools]
    ours = {gateway.bridge, gateway.core_device}
    for route in present:
        if route.ours or route.device in ours or route.to.prefixlen == 0:
            continue
        for net in nets:
            if route.to.subnet_of(net):
                text = f"the host has a route to {route.to} by {route.device}, inside {net}"
                return failed(check, text, f"ip route del {route.to} dev {route.device}")
    return ok(check, f"nothing leads away from {', '.join(map(str, nets))}")


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


def rules(present: bool, exact: bool, controlled: bool) -> Finding:
    """The gateway's nftables; `controlled`: its controller runs and looks after them."""
    check = "rules"
    if exact or (present and controlled):
        return ok(check, "the nftables rules are in place")
    if not present:
        text = "nftables rules are missing: somebody has flushed them"
        if controlled:
            again = "ofgtp doctor   # within 3 s the controller has put them back"
            return failed(check, text, again, LOG)
        return failed(check, text, START)
    return warning(check, "the nftables rules are not as ofgtp makes them", START)


def packet(wrong: Sequence[str]) -> Finding:
    """What a real packet through a tunnel has shown."""
    check = "packet"
    if not wrong:
        text = "went through a tunnel both ways: headers, checksums and content are right"
        return ok(check, text)
    text = "; ".join(wrong)
    return failed(check, text, "nft list ruleset", "ofgtp status   # the faults of this version")


# --- words


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _some(noun: str, names: Sequence[str]) -> str:
    """`peers a, b, c and 4 more`."""
    shown = ", ".join(map(str, names[:SHOWN]))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{noun}{'' if len(names) == 1 else 's'} {shown}{more}"


def _verb(names: Sequence[object]) -> str:
    return "does" if len(names) == 1 else "do"


def _holder(socket: Socket) -> str:
    return f"{socket.process} (pid {socket.pid})" if socket.pid else socket.process


def _name(chain: Chain) -> str:
    return f"{chain.family} {chain.table} {chain.name}"
