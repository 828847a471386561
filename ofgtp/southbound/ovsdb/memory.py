"""What is remembered of ports, beside them in OVSDB: it outlives the controller."""

from __future__ import annotations

from collections.abc import Mapping

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway
from ofgtp.southbound.ovsdb.columns import Row
from ofgtp.southbound.ovsdb.connection import Connection
from ofgtp.southbound.ovsdb.own import FACT, TAG, own_interface
from ofgtp.southbound.ovsdb.transaction import Edit

IFINDEX = "ifindex"
"""The fact about a port that says which interface of its name it was made for."""


def remember(
    edit: Edit, db: Connection, gateway: Gateway, port: str, facts: Mapping[str, str]
) -> None:
    """Keep facts about one of our ports, beside those kept before.

    Raises:
        GatewayNotReady: the port is not one of this gateway's.
    """
    row = own_interface(db, gateway, gateway.ends_of(port)[0])
    if row is None:
        raise GatewayNotReady(f"port {port} is not on bridge {gateway.bridge}")
    edit.merge(row, "external_ids", {FACT + key: value for key, value in facts.items()})


def recall(db: Connection, gateway: Gateway) -> dict[str, dict[str, str]]:
    """Our ports in the gateway's bridge, each with the facts kept about it."""
    bridge = db.find("Bridge", gateway.bridge)
    rows = [row for port in bridge.ports for row in port.interfaces] if bridge else []
    return {
        row.name: {
            key.removeprefix(FACT): value
            for key, value in row.external_ids.items()
            if key.startswith(FACT)
        }
        for row in rows
        if row.external_ids.get(TAG) == gateway.name
    }


def told_of(gateway: Gateway, ports: Mapping[str, Row]) -> dict[str, dict[str, str]]:
    """What is kept of interfaces of the host with ports of other names, that the bridge has had
    them by, for the ports that come in their place."""
    found = {}
    for port in gateway.ports:
        heir = gateway.ends_of(port)[0]
        (before,) = {*gateway.names_of(port)} - {heir}
        rows = ports[before].interfaces if before in ports else []
        found[heir] = {
            key: value
            for row in rows
            for key, value in row.external_ids.items()
            if key.startswith(FACT) and key != FACT + IFINDEX
        }
    return found
