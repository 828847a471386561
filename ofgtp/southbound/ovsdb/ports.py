"""The ports that the gateway's bridge is to have: their names, numbers, types and options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import CE_PORT, ECT_1_PORT, Gateway
from ofgtp.southbound.ovsdb.columns import Row
from ofgtp.southbound.ovsdb.connection import Connection
from ofgtp.southbound.ovsdb.memory import IFINDEX, told_of
from ofgtp.southbound.ovsdb.own import FACT, TAG
from ofgtp.southbound.ovsdb.transaction import Edit

ACCESS_OFPORT, CORE_OFPORT, GTPU_OFPORT, LOOP_OUT_OFPORT, LOOP_IN_OFPORT = 1, 2, 3, 4, 5
ECT_1_OFPORT, CE_OFPORT, GRE_OFPORT = 6, 7, 8
MORE_OFPORTS = {"access": 100, "core": 200}
"""Of further ways to a port, less their numbers, which begin at 1."""


def derived_macs(access_mac: str) -> tuple[str, str]:
    """The MAC addresses of LOCAL and of an internal core port: stable, local, not the port's own.

    The last five bytes are the access port's. The first nibble is never 4 or 6: a T-PDU that the
    switch takes for an Ethernet frame starts with that nibble, and signalling with LOCAL's MAC.
    """
    first, rest = access_mac[:2], access_mac[2:]
    local, core = [byte for byte in ("02", "06", "0a") if byte != first][:2]
    return local + rest, core + rest


def describe_ports(
    edit: Edit,
    db: Connection,
    bridge: Row,
    gateway: Gateway,
    macs: Mapping[str, str],
    numbers: Mapping[str, int],
    mtu: int,
) -> bool:
    """Have the bridge have the gateway's ports, and no other ports of ours.

    Returns whether a port is added. `numbers` are kept with the ports, from when they are made.

    `mtu` is what fits the access side without its tunnel headers: the host, where it routes
    packets to UEs, must know, to fragment them or to tell their senders (RFC 791, RFC 1191).
    """
    tag = {TAG: gateway.name}
    wanted = _wanted(gateway, macs, mtu)
    ports = {port.name: port for port in edit.get(bridge, "ports", [])}
    adds = bool(wanted.keys() - ports.keys())
    told = told_of(gateway, ports)
    for name, columns in wanted.items():
        port = ports.get(name)
        made_for = {FACT + IFINDEX: str(numbers[name])} if name in numbers else {}
        if port is None:
            _refuse_taken(db, name, gateway)
            known = told.get(name, {})
            interface = edit.insert("Interface", name=name, external_ids=known | tag | made_for)
            port = edit.insert("Port", name=name, interfaces=[interface], external_ids=tag)
            edit.add(bridge, "ports", port)
        elif port.external_ids.get(TAG) != gateway.name:
            raise GatewayNotReady(
                f"port {name} of bridge {gateway.bridge} was not made by ofgtp: "
                f"take it out (ovs-vsctl del-port {gateway.bridge} {name})"
            )
        else:
            (interface,) = port.interfaces
        edit.set(interface, **columns)
        if made_for and FACT + IFINDEX not in interface.external_ids:
            edit.merge(interface, "external_ids", made_for)
    for name, port in ports.items():
        if name not in wanted and port.external_ids.get(TAG) == gateway.name:
            edit.discard(bridge, "ports", port)
    return adds


def _wanted(gateway: Gateway, macs: Mapping[str, str], mtu: int) -> dict[str, dict[str, object]]:
    """The ports by name, each with the columns of its interface."""
    core_mac = macs[gateway.core_device] if gateway.host_core else ""
    core: dict[str, object] = {
        "type": "internal",
        "mac": core_mac,
        "mtu_request": mtu,
        "ofport_request": CORE_OFPORT,
    }
    kind: dict[str, object] = {"type": gateway.port_type} if gateway.veths else {}
    tunnel = {
        "remote_ip": "flow",
        "key": "flow",
        "packet_type": "ptap",
        "tos": "inherit" if gateway.dscp is None else str(gateway.dscp << 2),
    }
    by_gre: dict[str, dict[str, object]] = {}
    if gateway.access_ip6 is not None:
        # Its checksum is right, and nftables makes GTP-U of it: docs/ovs-faults.md.
        whole = {"local_ip": str(gateway.access_ip6.ip), "csum": "true", "seq": "true"}
        by_gre[gateway.gre_port] = {
            "ofport_request": GRE_OFPORT,
            "type": "gre",
            "options": tunnel | whole,
        }
    else:
        # Without it a port takes both IP versions.
        tunnel["local_ip"] = str(gateway.access_ip.ip)
    ect_1, ce = gateway.ecn_ports
    loop_out, loop_in = gateway.loop_ports
    return {
        gateway.bridge: {"type": "internal"},
        **{end: {"ofport_request": ofport} | kind for end, ofport in _ofports(gateway)},
        **({gateway.core_device: core} if gateway.host_core else {}),
        gateway.gtpu_port: {
            "ofport_request": GTPU_OFPORT,
            "type": "gtpu",
            "options": tunnel,
        },
        ect_1: {
            "ofport_request": ECT_1_OFPORT,
            "type": "gtpu",
            "options": tunnel | {"dst_port": str(ECT_1_PORT)},
        },
        ce: {
            "ofport_request": CE_OFPORT,
            "type": "gtpu",
            "options": tunnel | {"dst_port": str(CE_PORT)},
        },
        **by_gre,
        loop_out: {
            "ofport_request": LOOP_OUT_OFPORT,
            "type": "patch",
            "options": {"peer": loop_in},
        },
        loop_in: {
            "ofport_request": LOOP_IN_OFPORT,
            "type": "patch",
            "options": {"peer": loop_out},
        },
    }


def _ofports(gateway: Gateway) -> Iterator[tuple[str, int]]:
    """The ports by which the bridge has the host's interfaces, and the numbers that they are to
    have."""
    sides = [("access", ACCESS_OFPORT, gateway.access_ends)]
    if not gateway.host_core:
        sides.append(("core", CORE_OFPORT, gateway.core_ends))
    for side, first, ends in sides:
        for number, end in enumerate(ends):
            yield end, MORE_OFPORTS[side] + number if number else first


def _refuse_taken(db: Connection, name: str, gateway: Gateway) -> None:
    for bridge in db.rows("Bridge"):
        if any(port.name == name for port in getattr(bridge, "ports", ())):
            raise GatewayNotReady(
                f"port {name} is in bridge {bridge.name}, and gateway {gateway.name} needs "
                f"it: take it out there (ovs-vsctl del-port {bridge.name} {name})"
            )
