"""Addresses, routes and offloads of the host, by `ip -json` and `ethtool --json`.

No library: what is needed is a dozen calls when a gateway starts, and these two commands are on
every host that has the switch.
"""

from __future__ import annotations

import fcntl
import json
import logging
import socket
import struct
from collections.abc import Iterable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_interface,
    ip_network,
)
from pathlib import Path
from typing import Any, Literal

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.filters import Network, overlap
from ofgtp.core.model import Address, Gateway
from ofgtp.core.packets.icmpv6 import MTU_MIN
from ofgtp.southbound.command import attempt, run

log = logging.getLogger(__name__)

CORE_NEXT_HOP, CORE_NEXT_HOP6 = IPv4Address("169.254.0.1"), IPv6Address("fe80::1")
"""Where the host routes the UE pools to, on the bridge's core device."""

ROUTE_PROTOCOL = "152"
"""Marks the routes we make (`ip route … proto`); unassigned in iproute2's rt_protos."""

OFFLOADS = {
    "generic-receive-offload": "gro",
    "large-receive-offload": "lro",
    "rx-gro-hw": "rx-gro-hw",
}
"""Receive offloads that merge packets before the switch reads them: ethtool's names, as shown
and as set."""


IPV6_CONF = Path("/proc/sys/net/ipv6/conf")
"""The settings of IPv6; there are none where the kernel has no IPv6."""
FORCED = "force_forwarding"
"""Of IPv6, an interface's (Linux 6.17): what comes in by it is routed, whatever the others do."""

PACKET_SOCKETS, ETH_P_ALL = Path("/proc/net/packet"), "0003"
"""The sockets of packet(7), and the protocol of those that read all, as it is shown there."""

LinkState = Literal["up", "no carrier", "down", "missing"]

SIOCGIFFLAGS, IFF_UP, IFF_RUNNING = 0x8913, 0x1, 0x40
"""Of netdevice(7)."""


def exists(port: str) -> bool:
    """Whether the host has an interface of that name."""
    return attempt(["ip", "-json", "link", "show", "dev", port])[0] == 0


def mac(port: str) -> str:
    """The interface's MAC address, as `aa:bb:cc:dd:ee:ff`.

    Raises:
        GatewayNotReady: there is no such interface.
    """
    return str(shown(port)["address"])


def mtu(port: str) -> int:
    """The interface's MTU in bytes.

    Raises:
        GatewayNotReady: there is no such interface.
    """
    return int(shown(port)["mtu"])


def ifindex(port: str) -> int:
    """The kernel's number of the interface: one that is made anew under its name has another.

    Raises:
        GatewayNotReady: there is no such interface.
    """
    try:
        return socket.if_nametoindex(port)
    except OSError as error:
        raise GatewayNotReady(f"interface {port} does not exist") from error


def is_read(index: int) -> bool:
    """Whether somebody reads all that comes in by the interface of that number, by packet(7).

    A socket is bound to the interface itself: it does not move on to another one of that name, nor
    come back with one that was in another network namespace.
    """
    sockets = (line.split() for line in PACKET_SOCKETS.read_text().splitlines()[1:])
    return any(words[3:5] == [ETH_P_ALL, str(index)] for words in sockets)


def is_abandoned(device: str) -> bool:
    """Whether an internal port's device is gone, or none that a program has open any more.

    A tap without its program has no carrier; one that is down does not show it.

    Raises:
        GatewayNotReady: it is another kind of interface, and in the way.
    """
    state = link_state(device)
    if state != "missing":
        (link,) = _ip("-details", "link", "show", "dev", device)
        if link.get("linkinfo", {}).get("info_kind") != "tun":
            raise GatewayNotReady(
                f"interface {device} is not the switch's, and in the way of its port of that name: "
                f"delete it (ip link del {device})"
            )
    return state in ("missing", "no carrier")


def is_up(port: str) -> bool:
    """Whether the interface is set up (its carrier is another matter).

    Raises:
        GatewayNotReady: there is no such interface.
    """
    return "UP" in shown(port)["flags"]


def link_state(port: str) -> LinkState:
    """The interface's state, without a command: for what is asked often.

    Raises:
        GatewayNotReady: no socket can be had.
    """
    request = struct.pack("16sH14x", port.encode(), 0)
    try:
        asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        raise GatewayNotReady(f"port {port} cannot be looked at: {error.strerror}") from error
    with asks as sock:
        try:
            answer = fcntl.ioctl(sock, SIOCGIFFLAGS, request)
        except OSError:
            return "missing"
    (flags,) = struct.unpack_from("16xH", answer)
    if not flags & IFF_UP:
        return "down"
    return "up" if flags & IFF_RUNNING else "no carrier"


def port_refusal(port: str) -> str | None:
    """Why the port cannot be the gateway's: the host uses it; None if it may be.

    What the switch takes, the host loses: its packets are dropped before its stack.

    Raises:
        GatewayNotReady: there is no such interface.
    """
    link = shown(port)
    if "LOOPBACK" in link["flags"]:
        return f"interface {port} is the loopback"
    if "master" in link:
        return f"interface {port} belongs to {link['master']}: take it out of that first"
    for entry in _ip("addr", "show", "dev", port):
        for address in entry.get("addr_info", []):
            if address["family"] == "inet" or address["scope"] == "global":
                return (
                    f"interface {port} carries the host's address {address['local']}: "
                    "take it off, or give the gateway another port"
                )
    for family in ("-4", "-6"):
        for route in _ip(family, "route", "show", "table", "all", "dev", port):
            if route["dst"] == "default":
                return (
                    f"a default route of the host goes out of interface {port}: "
                    "give the gateway another port"
                )
    for other in _ip("-details", "link", "show"):
        kind = other.get("linkinfo", {}).get("info_kind")
        if other.get("link") == port and kind != "veth" and "link_netnsid" not in other:
            return f"interface {other['ifname']} ({kind}) stands on {port}: delete it first"
    return None


def ensure_up(port: str) -> bool:
    """Set the interface up; True if it was not."""
    if is_up(port):
        return False
    run(["ip", "link", "set", "dev", port, "up"])
    return True


def ensure_address(dev: str, address: IPv4Interface | IPv6Interface) -> bool:
    """Give one of the bridge's own devices exactly this address, and set it up; True if changed.

    The device is wholly ours, so that any other address of the IP version is an old one of ours.
    One of IPv6 is not looked for at others first (RFC 4862, 5.4): only the bridge is there, which
    does not answer.
    """
    changed = ensure_up(dev)
    present = [
        ip_interface(f"{entry['local']}/{entry['prefixlen']}")
        for link in _ip(f"-{address.version}", "addr", "show", "dev", dev)
        for entry in link.get("addr_info", [])
    ]
    if address not in present:
        sure = ["nodad"] if address.version == 6 else []
        run(["ip", "addr", "add", str(address), "dev", dev, *sure])
        changed = True
    for other in present:
        if other != address:
            run(["ip", "addr", "del", str(other), "dev", dev])
            changed = True
    return changed


def ensure_device_settings(dev: str, *, forward: bool, ipv6: bool = False) -> bool:
    """Make one of the bridge's own devices a quiet router's; True if changed.

    ARP is answered for the device's own address only, and asked with it only. With `forward`, the
    host routes what comes in from the device. Without `ipv6` there is no IPv6 on it, so that the
    host sends no router solicitation or multicast report there; with it there is, but no address
    that the kernel makes by itself, and no router is looked for. IPv6's `forwarding` is not
    touched, not even the device's own: to write it may take the default route away that the host
    has learned from a router on another interface.
    """
    ipv4 = Path("/proc/sys/net/ipv4/conf") / dev
    changed = _write(ipv4 / "arp_ignore", "1")
    changed |= _write(ipv4 / "arp_announce", "2")
    changed |= _write(ipv4 / "forwarding", "1" if forward else "0")
    conf = IPV6_CONF / dev
    if not ipv6:
        off = conf / "disable_ipv6"
        return (off.exists() and _write(off, "1")) or changed
    if not conf.exists():
        raise GatewayNotReady(
            f"{dev} is to have an IPv6 address, and the host's kernel has no IPv6"
        )
    for name, value in {"addr_gen_mode": "1", "accept_ra": "0", "disable_ipv6": "0"}.items():
        changed |= _write(conf / name, value)
    if (conf / FORCED).exists():
        changed |= _write(conf / FORCED, "1" if forward else "0")
    return changed


def no_ipv6(gateway: Gateway) -> str | None:
    """Why the host can have no GTP-U address of IPv6; None if it can, or need not."""
    if gateway.access_ip6 is None or IPV6_CONF.exists():
        return None
    return (
        "the host has no IPv6, so peers have IPv4 only: start its kernel without ipv6.disable=1, or"
        " take access_ip6 out of the gateway"
    )


def ipv6_refusal(gateway: Gateway) -> str | None:
    """Why the host cannot have IPv6 on the bridge's core device; None if it can, or need not.

    Raises:
        GatewayNotReady: there is no such device.
    """
    if not gateway.host_core or gateway.core_ip6 is None:
        return None
    if not IPV6_CONF.exists():
        return (
            "the host has no IPv6, so UEs have none: start its kernel without ipv6.disable=1, or"
            " take core_ip6 out of the gateway"
        )
    if (octets := mtu(gateway.core_device)) < MTU_MIN:
        port, needed = gateway.access_port, mtu(gateway.access_port) + MTU_MIN - octets
        return (
            f"packets of {octets} octets fit a tunnel, and IPv6 needs {MTU_MIN}, so UEs have"
            f" none: ip link set dev {port} mtu {needed} (or more)"
        )
    return None


def unforwarded6(gateway: Gateway) -> str | None:
    """Why the host does not route UEs' IPv6 on, and what to do; None if it does, or need not.

    A kernel before 6.17 forwards IPv6 by all interfaces or by none. That is the host's matter.
    """
    if not gateway.host_core or gateway.core_ip6 is None or forwards6(gateway.core_device):
        return None
    commands = "; ".join(forwarding6(gateway.core_device))
    return f"the host does not forward IPv6, so that of UEs ends there: {commands}"


def forwards6(dev: str) -> bool:
    """Whether the host routes IPv6 packets that come in by an interface."""
    return any(_read(conf) not in ("", "0") for conf in ("all/forwarding", f"{dev}/{FORCED}"))


def _read(setting: str) -> str:
    """A setting of IPv6; empty if there is none."""
    path = IPV6_CONF / setting
    return path.read_text().strip() if path.exists() else ""


def forwarding6(dev: str) -> list[str]:
    """The commands that have the host route IPv6 packets that come in by an interface, and keep the
    default routes that it has learned from routers."""
    if _read(f"{dev}/{FORCED}"):
        return [f"sysctl -w net/ipv6/conf/{dev}/{FORCED}=1"]
    learned = [
        str(route["dev"])
        for route in _ip("-6", "route", "show", "default")
        if route.get("protocol") == "ra" and "dev" in route
    ]
    kept = [
        f"sysctl -w net/ipv6/conf/{each}/accept_ra=2"
        for each in dict.fromkeys(learned)
        if _read(f"{each}/accept_ra") == "1"
    ]
    return [*kept, "sysctl -w net.ipv6.conf.all.forwarding=1"]


def ensure_routes(
    gateway: Gateway, core_neighbour_mac: str, framed: Iterable[Network] = ()
) -> bool:
    """Make the host's routes to distant GTP-U peers and, with `core_port = "host"`, to the UEs and
    the prefixes behind them (`framed`).

    The UE pools go by way of CORE_NEXT_HOP, with a permanent neighbour entry of
    `core_neighbour_mac` (any unicast MAC that is not the device's; the bridge takes all). One
    entry, since with a route to the device alone there would be one for each UE, and the kernel's
    neighbour table overflows at 1024. Those of IPv6 go by CORE_NEXT_HOP6 in the same way.

    Raises:
        GatewayNotReady: the host has another route to such a prefix, or `ip` refuses one.
    """
    changed = False
    for version in (4,) if gateway.access_ip6 is None else (4, 6):
        routes = (each for each in gateway.access_routes if each.to.version == version)
        access = {route.to: route.via for route in routes}
        changed |= _sync_routes(version, gateway.bridge, access, onlink=False)
    if gateway.host_core:
        dev = gateway.core_device
        present = _ip("neigh", "show", "dev", dev)
        for hop in _core_hops(gateway):
            entry = {"dst": str(hop), "lladdr": core_neighbour_mac, "state": ["PERMANENT"]}
            if not any(entry.items() <= found.items() for found in present):
                entry_words = f"{hop} lladdr {core_neighbour_mac} dev {dev} nud permanent"
                run(["ip", "neigh", "replace", *entry_words.split()])
                changed = True
        changed |= ensure_ue_routes(gateway, framed)
    return changed


def ensure_ue_routes(gateway: Gateway, framed: Iterable[Network]) -> bool:
    """The part of `ensure_routes` that changes with the sessions; of `framed` what the host has a
    route of its own to is left out."""
    prefixes = list(framed)
    taken = own_routes(gateway, prefixes) if prefixes else {}
    free = [prefix for prefix in prefixes if prefix not in taken]
    changed = False
    for hop in _core_hops(gateway):
        mine = (prefix for prefix in (*gateway.pools, *free) if prefix.version == hop.version)
        wanted = dict.fromkeys(mine, hop)
        changed |= _sync_routes(hop.version, gateway.core_device, wanted, onlink=True)
    return changed


def _core_hops(gateway: Gateway) -> tuple[Address, ...]:
    """Where the host routes to UEs, of each IP version that they have."""
    return (CORE_NEXT_HOP,) if gateway.core_ip6 is None else (CORE_NEXT_HOP, CORE_NEXT_HOP6)


def own_routes(gateway: Gateway, prefixes: Iterable[Network]) -> dict[Network, str]:
    """The prefixes to which the host has a route of its own, or that overlap the networks of its
    interfaces; and this route, as `DESTINATION dev INTERFACE`."""
    wanted = list(prefixes)
    theirs = [
        (ip_network(entry["dst"]), _is_connected(entry), entry.get("dev", "?"))
        for version in sorted({prefix.version for prefix in wanted})
        for entry in _ip(f"-{version}", "route", "show")
        if entry["dst"] != "default" and entry.get("dev") not in gateway.internal_ports
    ]
    return {
        prefix: f"{to} dev {dev}"
        for prefix in wanted
        for to, connected, dev in theirs
        if to == prefix or (connected and overlap(to, prefix))
    }


def _is_connected(route: Mapping[str, Any]) -> bool:
    """Whether a route is to an interface's own network: IPv6 has no scope that says so."""
    return route.get("scope") == "link" or route.get("protocol") == "kernel"


def way_on(destination: Address, source: Address, dev: str) -> tuple[str | None, str]:
    """Where the host sends a packet that comes in by `dev`: the interface, and the router's address
    if there is one; or None and the kernel's reason why it does not."""
    ends = ["from", str(source), "iif", dev]
    code, out, err = attempt(["ip", "-json", "route", "get", str(destination), *ends])
    if code:
        return None, err.strip().removeprefix("RTNETLINK answers: ")
    (found,) = json.loads(out)
    return str(found["dev"]), str(found.get("gateway", ""))


def offloads_off(port: str) -> dict[str, str]:
    """Turn off what merges packets on receipt; the former values of what was changed.

    Merged packets are longer than the MTU, and would not fit into a tunnel. Features that a
    device cannot change are left as they are.

    Raises:
        GatewayNotReady: ethtool's message.
    """
    former = {name: "on" for name, value in offloads(port).items() if value == "on"}
    _set_offloads(port, dict.fromkeys(former, "off"))
    return former


def restore_offloads(port: str, values: Mapping[str, str]) -> None:
    """Set the features that `offloads_off` changed back to what it returned.

    Raises:
        GatewayNotReady: ethtool's message.
    """
    present = offloads(port)
    _set_offloads(port, {k: v for k, v in values.items() if present.get(k, v) != v})


def offloads(port: str) -> dict[str, str]:
    """The features that `offloads_off` minds and the device can change: name -> on or off."""
    features = json.loads(run(["ethtool", "--json", "--show-features", port]))[0]
    return {
        name: "on" if features[key]["active"] else "off"
        for key, name in OFFLOADS.items()
        if key in features and not features[key]["fixed"]
    }


def _set_offloads(port: str, values: Mapping[str, str]) -> None:
    if values:
        run(["ethtool", "--features", port, *(word for item in values.items() for word in item)])
        log.info("port=%s offloads: %s", port, ", ".join(f"{k} {v}" for k, v in values.items()))


def _sync_routes(
    version: int,
    dev: str,
    wanted: Mapping[Network, Address],
    *,
    onlink: bool,
) -> bool:
    """Make our routes on a device those that are wanted, of one IP version; routes of others
    stay."""
    changed, family = False, f"-{version}"
    ours = {
        entry["dst"]: entry.get("gateway")
        for entry in _ip(family, "route", "show", "dev", dev, "proto", ROUTE_PROTOCOL)
    }
    by_name = {_route_name(to): str(via) for to, via in wanted.items()}
    for to in ours.keys() - by_name.keys():
        run(["ip", family, "route", "del", to, "dev", dev, "proto", ROUTE_PROTOCOL])
        changed = True
    for to, via in by_name.items():
        if ours.get(to) == via:
            continue
        for entry in _ip(family, "route", "show", "exact", to):
            if to not in ours:
                raise GatewayNotReady(
                    f"the host has a route to {to} of its own (dev {entry.get('dev')}): "
                    "delete it, or take the prefix out of the gateway"
                )
        flags = ["proto", ROUTE_PROTOCOL, *(["onlink"] if onlink else [])]
        run(["ip", family, "route", "replace", to, "via", via, "dev", dev, *flags])
        changed = True
    return changed


def _route_name(prefix: Network) -> str:
    """A prefix as `ip` shows it."""
    if prefix.prefixlen == 0:
        return "default"
    alone = prefix.prefixlen == prefix.max_prefixlen
    return str(prefix.network_address) if alone else str(prefix)


def shown(port: str) -> dict[str, Any]:
    code, out, _ = attempt(["ip", "-json", "link", "show", "dev", port])
    if code:
        raise GatewayNotReady(f"interface {port} does not exist")
    (link,) = (entry for entry in json.loads(out) if entry)
    return dict(link)


def _ip(*words: str) -> list[dict[str, Any]]:
    """The objects that an `ip -json` command shows (it prints nothing for an empty list)."""
    out = run(["ip", "-json", *words])
    return [entry for entry in json.loads(out or "[]") if entry]


def _write(path: Path, value: str) -> bool:
    """Write a setting of /proc/sys if it differs; True if it did."""
    try:
        if path.read_text().strip() == value:
            return False
        path.write_text(value)
    except OSError as error:
        raise GatewayNotReady(f"{path}: {error.strerror}") from error
    return True
