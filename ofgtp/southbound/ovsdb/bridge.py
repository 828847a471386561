"""What the gateway's bridge must look like, and how it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway
from ofgtp.southbound.ovsdb.connection import Connection
from ofgtp.southbound.ovsdb.controller import describe_controller
from ofgtp.southbound.ovsdb.cores import describe_cores
from ofgtp.southbound.ovsdb.own import TAG, own_bridge
from ofgtp.southbound.ovsdb.ports import describe_ports
from ofgtp.southbound.ovsdb.tables import describe_tables
from ofgtp.southbound.ovsdb.transaction import Edit

PROTOCOLS = frozenset({"OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"})
"""14 and later have bundles; the others let ovs-ofctl work with its defaults."""


def describe_bridge(
    edit: Edit,
    db: Connection,
    gateway: Gateway,
    nonce: str,
    macs: Mapping[str, str],
    numbers: Mapping[str, int],
    mtu: int,
    *,
    introduced: bool,
) -> bool:
    """Write the difference between the gateway's configuration and the database.

    Returns whether a port is added. For `nonce` see `Ovsdb.ensure`, for `numbers` and `mtu`
    `describe_ports`. `introduced`: the switch has been given this process as its controller.
    """
    root = db.root()
    if gateway.veths and root.iface_types and gateway.port_type not in root.iface_types:
        raise GatewayNotReady(
            f"this Open vSwitch has no AF_XDP ports (iface_types lacks {gateway.port_type}): "
            'write ports = "af_packet", or take another build of it'
        )
    tag = {TAG: gateway.name}
    bridge = own_bridge(db, gateway)
    if bridge is None:
        bridge = edit.insert("Bridge", name=gateway.bridge, external_ids=tag)
        edit.add(db.root(), "bridges", bridge)
    told = edit.get(bridge, "other_config", {}).get("dp-desc")
    edit.set(bridge, datapath_type="netdev", fail_mode="secure")
    edit.set(bridge, protocols=sorted(PROTOCOLS.union(edit.get(bridge, "protocols", []))))
    edit.merge(
        bridge,
        "other_config",
        {"hwaddr": macs[gateway.bridge], "disable-in-band": "true", "dp-desc": nonce},
    )

    adds = describe_ports(edit, db, bridge, gateway, macs, numbers, mtu)
    describe_cores(edit, db, gateway)
    describe_tables(edit, bridge, gateway)
    describe_controller(edit, bridge, gateway, anew=told != nonce and not introduced)
    return adds


def discard_port(edit: Edit, db: Connection, gateway: Gateway, name: str) -> None:
    """Take one of our ports out of the bridge; by the bridge's own name, all of the bridge."""
    bridge = own_bridge(db, gateway)
    if bridge is not None and name == gateway.bridge:
        edit.discard(db.root(), "bridges", bridge)
        return
    for port in bridge.ports if bridge is not None else ():
        if port.name == name and port.external_ids.get(TAG) == gateway.name:
            edit.discard(bridge, "ports", port)


def delete_bridge(edit: Edit, db: Connection, gateway: Gateway) -> None:
    """Delete the bridge, if there is one of ours.

    Raises:
        GatewayNotReady: the bridge holds a port that is not ours.
    """
    bridge = db.find("Bridge", gateway.bridge)
    if bridge is None or bridge.external_ids.get(TAG) != gateway.name:
        return
    for port in bridge.ports:
        if port.external_ids.get(TAG) != gateway.name:
            raise GatewayNotReady(
                f"bridge {gateway.bridge} holds port {port.name}, which ofgtp did not make: "
                f"take it out first (ovs-vsctl del-port {gateway.bridge} {port.name})"
            )
    edit.discard(db.root(), "bridges", bridge)
    describe_cores(edit, db, replace(gateway, port_type="af_packet"))
