"""Which rows are a gateway's own: the marks on them, its bridge, its interfaces there."""

from __future__ import annotations

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway
from ofgtp.southbound.ovsdb.columns import Row
from ofgtp.southbound.ovsdb.connection import Connection

TAG = "ofgtp"
FACT = "ofgtp-"
"""In `external_ids`: the key whose value is the gateway's name, and how keys of facts begin."""


def own_bridge(db: Connection, gateway: Gateway) -> Row:
    """The gateway's bridge, None if there is none of that name."""
    bridge = db.find("Bridge", gateway.bridge)
    if bridge is None:
        return None
    owner = bridge.external_ids.get(TAG)
    if owner is None:
        raise GatewayNotReady(
            f"bridge {gateway.bridge} exists and was not made by ofgtp: give the gateway "
            f"another bridge name, or delete it (ovs-vsctl del-br {gateway.bridge})"
        )
    if owner != gateway.name:
        raise GatewayNotReady(
            f"bridge {gateway.bridge} belongs to gateway {owner}: "
            f"remove that one first (ofgtp gateway remove {owner})"
        )
    return bridge


def own_interface(db: Connection, gateway: Gateway, name: str) -> Row:
    """The interface of that name on the gateway's bridge, if it is ours."""
    bridge = db.find("Bridge", gateway.bridge)
    for port in bridge.ports if bridge is not None else ():
        for interface in port.interfaces:
            if interface.name == name and interface.external_ids.get(TAG) == gateway.name:
                return interface
    return None
