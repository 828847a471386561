"""What ovs-vswitchd made of the configuration, read back from OVSDB."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway
from ofgtp.southbound import hostnet
from ofgtp.southbound.ovsdb.connection import Connection, block
from ofgtp.southbound.ovsdb.cores import PMD_MASK, cores_of
from ofgtp.southbound.ovsdb.own import own_bridge, own_interface
from ofgtp.southbound.ovsdb.transaction import COMMIT_S

OWED = f"ovs-vswitchd did not take the configuration within {COMMIT_S:.0f} s: is it up?"


@dataclass(frozen=True, slots=True)
class BridgeFacts:
    """What ovs-vswitchd made of the configuration; MAC addresses as `aa:bb:cc:dd:ee:ff`."""

    datapath_id: int
    ovs_version: str | None
    """None when ovs-vswitchd was started without ovs-ctl, which is what writes it."""
    access_ofport: int
    core_ofport: int
    gtpu_ofport: int
    ect_1_ofport: int
    ce_ofport: int
    loop_out_ofport: int
    loop_in_ofport: int
    local_mac: str
    access_mac: str
    core_mac: str
    interfaces: tuple[int, ...]
    """The kernel's numbers of the access port's interface and, if it is a real one, the core's."""
    controller_connected: bool
    gre_ofport: int | None = None
    """None: the gateway has no access_ip6."""
    more: tuple[tuple[int, int], ...] = ()
    """Further ways: the number of each, and that of the port that it stands for."""
    pmd_cores: tuple[int, ...] = ()
    """The cores of the switch's PMD threads, as somebody has set them; none: nobody has."""

    @property
    def devices(self) -> tuple[object, ...]:
        """By what others on the wire know the gateway."""
        return self.interfaces, self.local_mac, self.core_mac


def carried_out(db: Connection) -> bool:
    """Wait until ovs-vswitchd has carried out what is in the database; False if it does not."""
    deadline = time.monotonic() + COMMIT_S
    while db.connected and db.root().cur_cfg < db.root().next_cfg:
        if not block(db.idl.wait, deadline):
            return False
        db.run()
    return db.connected


def read_back(db: Connection, gateway: Gateway, macs: Mapping[str, str]) -> BridgeFacts:
    """Wait until ovs-vswitchd has carried the configuration out, and read what came of it."""
    deadline = time.monotonic() + COMMIT_S
    while True:
        db.run()
        facts = _facts(db, gateway, macs)
        if isinstance(facts, BridgeFacts):
            db.look()
            return facts
        if not block(db.idl.wait, deadline):
            raise GatewayNotReady(facts)
        if not db.connected:
            raise GatewayNotReady(f"ovsdb-server at {db.remote} closed the connection")


def _facts(db: Connection, gateway: Gateway, macs: Mapping[str, str]) -> BridgeFacts | str:
    """What ovs-vswitchd made of the gateway; or what it still owes.

    Raises:
        GatewayNotReady: at once, when it refused a port.
    """
    root = db.root()
    if root.cur_cfg < root.next_cfg:
        return OWED
    bridge = own_bridge(db, gateway)
    if bridge is None:
        raise GatewayNotReady(f"bridge {gateway.bridge} was deleted by somebody else")
    if not bridge.datapath_id:
        return f"ovs-vswitchd did not make bridge {gateway.bridge}"
    (access_end, *more_access), (core_end, *more_core) = gateway.access_ends, gateway.core_ends
    names = (
        gateway.bridge,
        access_end,
        core_end,
        gateway.gtpu_port,
        *gateway.ecn_ports,
        *gateway.loop_ports,
        *more_access,
        *more_core,
        *([] if gateway.access_ip6 is None else [gateway.gre_port]),
    )
    rows = [own_interface(db, gateway, name) for name in names]
    for name, row in zip(names, rows, strict=True):
        if row is None:
            raise GatewayNotReady(f"port {name} was deleted by somebody else")
        if row.error:
            afxdp = ' by AF_XDP (its log says more; or write ports = "af_packet")'
            how = afxdp if gateway.port_of(name) != name else ""
            raise GatewayNotReady(f"Open vSwitch refused port {name}{how}: {row.error[0]}")
        if not row.ofport or row.ofport[0] < 0 or not row.mac_in_use:
            return f"ovs-vswitchd did not open port {name}"
        if row.mac_in_use[0] != macs.get(name, row.mac_in_use[0]):
            return f"ovs-vswitchd has MAC {row.mac_in_use[0]} for port {name}, not {macs[name]}"
    gre = None if gateway.access_ip6 is None else rows.pop()
    local, access, core, tunnel, ect_1, ce, loop_out, loop_in, *more = rows
    stand_for = [access] * len(more_access) + [core] * len(more_core)
    return BridgeFacts(
        datapath_id=int(bridge.datapath_id[0], 16),
        ovs_version=root.ovs_version[0] if root.ovs_version else None,
        access_ofport=access.ofport[0],
        core_ofport=core.ofport[0],
        gtpu_ofport=tunnel.ofport[0],
        ect_1_ofport=ect_1.ofport[0],
        ce_ofport=ce.ofport[0],
        loop_out_ofport=loop_out.ofport[0],
        loop_in_ofport=loop_in.ofport[0],
        local_mac=local.mac_in_use[0],
        access_mac=access.mac_in_use[0],
        core_mac=core.mac_in_use[0],
        interfaces=tuple(hostnet.ifindex(port) for port in gateway.ports),
        controller_connected=any(c.is_connected for c in bridge.controller),
        gre_ofport=None if gre is None else gre.ofport[0],
        more=tuple(
            (row.ofport[0], first.ofport[0]) for row, first in zip(more, stand_for, strict=True)
        ),
        pmd_cores=tuple(cores_of(root.other_config.get(PMD_MASK, ""))),
    )
