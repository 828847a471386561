"""The bridge's controller: its row, and whether it is another one."""

from __future__ import annotations

import logging

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway
from ofgtp.southbound.ovsdb.columns import Row
from ofgtp.southbound.ovsdb.connection import Connection
from ofgtp.southbound.ovsdb.own import TAG, own_bridge
from ofgtp.southbound.ovsdb.transaction import Edit

log = logging.getLogger(__name__)


def stand_back(db: Connection, gateway: Gateway) -> None:
    """Raise unless this controller is the bridge's one and only.

    The lock decides. When ovsdb-server was restarted whoever comes first gets it, so that the
    one whom the switch is connected to must be left alone besides.
    """
    db.await_lock(gateway)
    bridge = own_bridge(db, gateway)
    for other in bridge.controller if bridge is not None else ():
        ours = other.external_ids.get(TAG) == gateway.name
        elsewhere = other.target not in _spellings(gateway)
        if ours and other.is_connected and elsewhere:
            raise GatewayNotReady(
                f"another controller looks after bridge {gateway.bridge} (it is connected at "
                f"{other.target}): this one stands back"
            )


def describe_controller(edit: Edit, bridge: Row, gateway: Gateway, *, anew: bool) -> None:
    """Have the bridge's one controller be this one; `anew`: as one that it has not had before."""
    tag = {TAG: gateway.name}
    present = edit.get(bridge, "controller", [])
    controller = next((c for c in present if c.external_ids.get(TAG) == gateway.name), None)
    if controller is None:
        controller = edit.insert("Controller", target=gateway.openflow, external_ids=tag)
    target = edit.get(controller, "target", None)
    if target not in _spellings(gateway):
        target = gateway.openflow
    elif anew:
        target = next(each for each in _spellings(gateway) if each != target)
    edit.set(
        controller,
        target=target,
        connection_mode="out-of-band",
        inactivity_probe=5000,
        max_backoff=1000,
    )
    if len(present) > 1 or controller not in present:
        for other in present:
            if other is not controller:
                log.warning(
                    "gateway=%s bridge=%s controller=%s is not ours: taken off",
                    gateway.name,
                    gateway.bridge,
                    other.target,
                )
        edit.set(bridge, controller=[controller])


def _spellings(gateway: Gateway) -> tuple[str, str]:
    """The controller's address as two texts, of which each process takes the other one.

    Open vSwitch tries a controller that went away again after a second at the earliest, and a new
    one at once; it is a new one if its target is another text. To take it off and add it again
    would not do: a bridge that loses its last controller deletes all flows.
    """
    host, port = gateway.openflow.rsplit(":", 1)
    return gateway.openflow, f"{host}:0{port}"
