"""The gateway's bridge, ports and controller in OVSDB (RFC 7047), through python-ovs' IDL.

Rows that ofgtp makes carry `external_ids:ofgtp=<gateway>`; no other row is changed or deleted,
except that Open_vSwitch.bridges must name our bridge.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ovs import jsonrpc, stream
from ovs.db.idl import Idl, SchemaHelper, Transaction
from ovs.poller import Poller

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.flows.pipeline import CHOOSE, CORE, DOWNLINK, GUARD, OTHER_RULES, RULES, UPLINK
from ofgtp.core.model import CE_PORT, ECT_1_PORT, Gateway
from ofgtp.core.rules.terms import longest_headers
from ofgtp.southbound import hostnet

log = logging.getLogger(__name__)

CONNECT_S = 2.0
"""Longest wait for ovsdb-server to answer."""
COMMIT_S = 5.0
"""Longest wait for a transaction, and again for ovs-vswitchd to carry it out."""

TAG = "ofgtp"
FACT = "ofgtp-"
IFINDEX = "ifindex"
"""The fact about a port that says which interface of its name it was made for."""
ACCESS_OFPORT, CORE_OFPORT, GTPU_OFPORT, LOOP_OUT_OFPORT, LOOP_IN_OFPORT = 1, 2, 3, 4, 5
ECT_1_OFPORT, CE_OFPORT, GRE_OFPORT = 6, 7, 8
MORE_OFPORTS = {"access": 100, "core": 200}
"""Of further ways to a port, less their numbers, which begin at 1."""
PMD_MASK = "pmd-cpu-mask"
"""In `other_config` of the switch: the cores that its PMD threads run on. In our `external_ids`
there: what we have set it to; another value is somebody else's."""
PROTOCOLS = frozenset({"OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"})
"""14 and later have bundles; the others let ovs-ofctl work with its defaults."""

COLUMNS = {
    "Open_vSwitch": [
        "bridges",
        "cur_cfg",
        "next_cfg",
        "ovs_version",
        "iface_types",
        "other_config",
        "external_ids",
    ],
    "Bridge": [
        "name",
        "ports",
        "controller",
        "datapath_type",
        "datapath_id",
        "fail_mode",
        "protocols",
        "flow_tables",
        "other_config",
        "external_ids",
    ],
    "Flow_Table": ["prefixes", "external_ids"],
    "Port": ["name", "interfaces", "external_ids"],
    "Interface": [
        "name",
        "type",
        "options",
        "mac",
        "mac_in_use",
        "ifindex",  # not read: it has us look when an interface goes or comes
        "ofport",
        "ofport_request",
        "mtu_request",
        "error",
        "external_ids",
    ],
    "Controller": [
        "target",
        "connection_mode",
        "inactivity_probe",
        "max_backoff",
        "is_connected",
        "external_ids",
    ],
}

PREFIXES = {
    UPLINK.number: ["ip_dst", "ip_src", "ipv6_src"],
    RULES.number: ["ip_dst", "ip_src", "ipv6_dst"],
    OTHER_RULES.number: ["ip_dst", "ip_src", "ipv6_dst"],
    GUARD.number: ["ip_dst", "ipv6_dst"],
    CORE.number: ["ip_dst", "ipv6_dst", "ipv6_src"],
    DOWNLINK.number: ["ip_dst", "ipv6_dst"],
    CHOOSE.number: ["ip_dst", "ip_src", "ipv6_src"],
}
"""Addresses of which a megaflow shall know no more leading bits than tell it from the table's
prefixes; three at most. Of itself Open vSwitch 3.1 does so with IPv4 alone (3.5 and 4.0 with both),
and has a megaflow for each remote host of IPv6."""

Row = Any
"""python-ovs makes its rows' attributes at run time, from the database's schema; a row that may
be missing is None."""


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


def derived_macs(access_mac: str) -> tuple[str, str]:
    """The MAC addresses of LOCAL and of an internal core port: stable, local, not the port's own.

    The last five bytes are the access port's. The first nibble is never 4 or 6: a T-PDU that the
    switch takes for an Ethernet frame starts with that nibble, and signalling with LOCAL's MAC.
    """
    first, rest = access_mac[:2], access_mac[2:]
    local, core = [byte for byte in ("02", "06", "0a") if byte != first][:2]
    return local + rest, core + rest


class Ovsdb:
    """One connection to ovsdb-server, used by one green thread.

    Every call may raise GatewayNotReady: no server, no ovs-vswitchd, or a configuration that
    cannot be. A lost connection is made anew by the next call.
    """

    def __init__(self, remote: str, *, lock: str | None = None) -> None:
        """`remote` is an active OVSDB connection method such as `unix:/path`; nothing is sent.

        With a `lock`, changes are made only while this connection holds the OVSDB lock of that
        name (RFC 7047, 4.1.8): two controllers on one bridge must not fight.
        """
        self.remote, self._lock = remote, None if lock is None else _identifier(lock)
        self.changes = 0
        """How often `ensure` has changed something."""
        self.opened = 0
        """How often it has had ports opened."""
        self._introduced = False
        """Whether the switch has been given this process as its controller."""
        self._idl: Any = None
        self._seen: tuple[object, ...] = ()

    def close(self) -> None:
        """Drop the connection; the next call makes a new one."""
        if self._idl is not None:
            self._idl.close()
            self._idl = None

    @property
    def connected(self) -> bool:
        """Whether ovsdb-server was there when it was last looked at."""
        return self._idl is not None and self._idl._session.is_connected()

    def wait(self, timeout: float) -> bool:
        """Yield until the database changed since the last call of any method, or `timeout` s.

        Returns True when it changed, or the connection was lost or is back.
        """
        deadline = time.monotonic() + timeout
        if not self.connected:
            try:
                self._connect()
            except GatewayNotReady:
                _block(lambda _poller: None, deadline)
                return False
            return True
        while True:
            self._run()
            if self._state() != self._seen:
                self._look()
                return True
            if not _block(self._idl.wait, deadline):
                return False

    def ensure(self, gateway: Gateway, *, nonce: str) -> BridgeFacts:
        """Make the gateway's bridge, ports and controller what they should be; touch no more.

        `nonce` becomes the datapath description, so that a switch that connects by OpenFlow can
        be told from one that merely claims the datapath id. When nothing differs, nothing is
        written.

        Raises:
            GatewayNotReady: what is missing or in the way, and what to do about it.
        """
        access_mac, access_mtu = hostnet.mac(gateway.access_port), hostnet.mtu(gateway.access_port)
        local_mac, core_mac = derived_macs(access_mac)
        if not gateway.host_core:
            core_mac = hostnet.mac(gateway.core_port)
        macs = {
            gateway.bridge: local_mac,
            **dict.fromkeys(gateway.access_ends, access_mac),
            **dict.fromkeys(gateway.core_ends, core_mac),
        }
        numbers = {port: hostnet.ifindex(port) for port in gateway.switch_ports}
        self._connect()
        self._stand_back(gateway)
        mtu = access_mtu - longest_headers(gateway)

        adds = False

        def describe(edit: _Edit) -> None:
            nonlocal adds
            adds = self._describe(edit, gateway, nonce, macs, numbers, mtu)

        if self._transact(gateway, describe):
            self.changes += 1
            self.opened += adds
            log.info("gateway=%s bridge=%s: configured in OVSDB", gateway.name, gateway.bridge)
        self._introduced = True
        return self._read_back(gateway, macs, numbers)

    def catch_up(self, gateway: Gateway) -> None:
        """Have ovs-vswitchd carry out all that it owes.

        Raises:
            GatewayNotReady: it does not, within COMMIT_S.
        """
        self._connect()
        self._stand_back(gateway)
        self.stir(gateway)
        if not self._carried_out():
            raise GatewayNotReady(_OWED)

    def take_out(self, gateway: Gateway, name: str) -> None:
        """Take one of our ports out of the bridge; by the bridge's own name, all of the bridge.

        Returns when ovs-vswitchd has done it, so that `ensure` has it opened anew: for a port that
        is only described anew nothing is opened.

        Raises:
            GatewayNotReady: it has not, within COMMIT_S.
        """
        self._connect()
        self._stand_back(gateway)

        def discard(edit: _Edit) -> None:
            bridge = self._own_bridge(gateway)
            if bridge is not None and name == gateway.bridge:
                edit.discard(self._root(), "bridges", bridge)
                return
            for port in bridge.ports if bridge is not None else ():
                if port.name == name and port.external_ids.get(TAG) == gateway.name:
                    edit.discard(bridge, "ports", port)

        if self._transact(gateway, discard) and not self._carried_out():
            raise GatewayNotReady(_OWED)

    def stir(self, gateway: Gateway) -> None:
        """Have ovs-vswitchd look at its connections, by asking it for nothing.

        What becomes of a connection that is not up yet it sees only when it wakes for something
        else, which may take it half a second.
        """

        def touch(edit: _Edit) -> None:
            root = self._root()
            root.verify("next_cfg")
            edit.set(root, next_cfg=root.next_cfg + 1)

        self._transact(gateway, touch)

    def remove(self, gateway: Gateway) -> bool:
        """Delete the bridge and all we made with it; False if there is none of ours.

        Returns when ovs-vswitchd has done it, or after COMMIT_S: it may be down.

        Raises:
            GatewayNotReady: the bridge holds a port that is not ours.
        """
        self._connect()
        if not self._transact(gateway, lambda edit: self._delete(edit, gateway)):
            return False
        log.info("gateway=%s bridge=%s: removed from OVSDB", gateway.name, gateway.bridge)
        if not self._carried_out():
            log.warning(
                "gateway=%s: ovs-vswitchd has not removed the bridge yet: is it running?",
                gateway.name,
            )
        return True

    def remember(self, gateway: Gateway, port: str, facts: Mapping[str, str]) -> None:
        """Keep small facts about one of our ports in OVSDB, beside those kept before. Those about
        an interface of the host are kept with the first port by which the bridge has it.

        Raises:
            GatewayNotReady: the port is not one of this gateway's.
        """
        self._connect()

        def keep(edit: _Edit) -> None:
            row = self._interface(gateway, gateway.ends_of(port)[0])
            if row is None:
                raise GatewayNotReady(f"port {port} is not on bridge {gateway.bridge}")
            edit.merge(row, "external_ids", {FACT + key: value for key, value in facts.items()})

        self._transact(gateway, keep)

    def recall(self, gateway: Gateway) -> dict[str, dict[str, str]]:
        """Our ports in the gateway's bridge, each with the facts kept about it."""
        self._connect()
        bridge = self._find("Bridge", gateway.bridge)
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

    # what there should be

    def _describe(
        self,
        edit: _Edit,
        gateway: Gateway,
        nonce: str,
        macs: Mapping[str, str],
        numbers: Mapping[str, int],
        mtu: int,
    ) -> bool:
        """Write the difference between the gateway's configuration and the database.

        Returns whether a port is added. `numbers` are kept with the ports, from when they are made.

        `mtu` is what fits the access side without its tunnel headers: the host, where it routes
        packets to UEs, must know, to fragment them or to tell their senders (RFC 791, RFC 1191).
        """
        root = self._root()
        if gateway.veths and root.iface_types and gateway.port_type not in root.iface_types:
            raise GatewayNotReady(
                f"this Open vSwitch has no AF_XDP ports (iface_types lacks {gateway.port_type}): "
                'write ports = "af_packet", or take another build of it'
            )
        tag = {TAG: gateway.name}
        bridge = self._own_bridge(gateway)
        if bridge is None:
            bridge = edit.insert("Bridge", name=gateway.bridge, external_ids=tag)
            edit.add(self._root(), "bridges", bridge)
        told = edit.get(bridge, "other_config", {}).get("dp-desc")
        edit.set(bridge, datapath_type="netdev", fail_mode="secure")
        edit.set(bridge, protocols=sorted(PROTOCOLS.union(edit.get(bridge, "protocols", []))))
        edit.merge(
            bridge,
            "other_config",
            {"hwaddr": macs[gateway.bridge], "disable-in-band": "true", "dp-desc": nonce},
        )

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
        wanted: dict[str, dict[str, object]] = {
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
        ports = {port.name: port for port in edit.get(bridge, "ports", [])}
        adds = bool(wanted.keys() - ports.keys())
        told_of = _told_of(gateway, ports)
        for name, columns in wanted.items():
            port = ports.get(name)
            made_for = {FACT + IFINDEX: str(numbers[name])} if name in numbers else {}
            if port is None:
                self._refuse_taken(name, gateway)
                known = told_of.get(name, {})
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

        self._describe_cores(edit, gateway)
        _describe_tables(edit, bridge, gateway)

        present = edit.get(bridge, "controller", [])
        controller = next((c for c in present if c.external_ids.get(TAG) == gateway.name), None)
        if controller is None:
            controller = edit.insert("Controller", target=gateway.openflow, external_ids=tag)
        target = edit.get(controller, "target", None)
        if target not in _spellings(gateway):
            target = gateway.openflow
        elif told != nonce and not self._introduced:
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
        return adds

    def _describe_cores(self, edit: _Edit, gateway: Gateway) -> None:
        """Have the switch's PMD threads run where they should, unless somebody else has said
        where. They are the whole switch's, and so is this setting."""
        root = self._root()
        present, ours = root.other_config.get(PMD_MASK), root.external_ids.get(FACT + PMD_MASK)
        if present is not None and present != ours:
            return
        if gateway.pmd_cores and gateway.veths:
            mask = hex(sum(1 << core for core in gateway.pmd_cores))
            edit.merge(root, "other_config", {PMD_MASK: mask})
            edit.merge(root, "external_ids", {FACT + PMD_MASK: mask})
        elif not self._has_veths(but=gateway):
            edit.drop(root, "other_config", PMD_MASK)
            edit.drop(root, "external_ids", FACT + PMD_MASK)

    def _has_veths(self, *, but: Gateway) -> bool:
        """Whether another gateway's ports are read by AF_XDP."""
        return any(
            getattr(row, "type", "").startswith("afxdp")
            and row.external_ids.get(TAG) not in (None, but.name)
            for row in self._rows("Interface")
        )

    def _delete(self, edit: _Edit, gateway: Gateway) -> None:
        bridge = self._find("Bridge", gateway.bridge)
        if bridge is None or bridge.external_ids.get(TAG) != gateway.name:
            return
        for port in bridge.ports:
            if port.external_ids.get(TAG) != gateway.name:
                raise GatewayNotReady(
                    f"bridge {gateway.bridge} holds port {port.name}, which ofgtp did not make: "
                    f"take it out first (ovs-vsctl del-port {gateway.bridge} {port.name})"
                )
        edit.discard(self._root(), "bridges", bridge)
        self._describe_cores(edit, replace(gateway, port_type="af_packet"))

    def _own_bridge(self, gateway: Gateway) -> Row:
        """The gateway's bridge, None if there is none of that name."""
        bridge = self._find("Bridge", gateway.bridge)
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

    def _refuse_taken(self, name: str, gateway: Gateway) -> None:
        for bridge in self._rows("Bridge"):
            if any(port.name == name for port in getattr(bridge, "ports", ())):
                raise GatewayNotReady(
                    f"port {name} is in bridge {bridge.name}, and gateway {gateway.name} needs "
                    f"it: take it out there (ovs-vsctl del-port {bridge.name} {name})"
                )

    # what ovs-vswitchd made of it

    def _carried_out(self) -> bool:
        """Wait until ovs-vswitchd has carried out what is in the database; False if it does not."""
        deadline = time.monotonic() + COMMIT_S
        while self.connected and self._root().cur_cfg < self._root().next_cfg:
            if not _block(self._idl.wait, deadline):
                return False
            self._run()
        return self.connected

    def _read_back(
        self, gateway: Gateway, macs: Mapping[str, str], numbers: Mapping[str, int]
    ) -> BridgeFacts:
        """Wait until ovs-vswitchd has carried the configuration out, and read what came of it."""
        deadline = time.monotonic() + COMMIT_S
        while True:
            self._run()
            facts = self._facts(gateway, macs, numbers)
            if isinstance(facts, BridgeFacts):
                self._look()
                return facts
            if not _block(self._idl.wait, deadline):
                raise GatewayNotReady(facts)
            if not self.connected:
                raise GatewayNotReady(f"ovsdb-server at {self.remote} closed the connection")

    def _facts(
        self, gateway: Gateway, macs: Mapping[str, str], numbers: Mapping[str, int]
    ) -> BridgeFacts | str:
        """What ovs-vswitchd made of the gateway; or what it still owes.

        Raises:
            GatewayNotReady: at once, when it refused a port.
        """
        root = self._root()
        if root.cur_cfg < root.next_cfg:
            return _OWED
        bridge = self._own_bridge(gateway)
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
        rows = [self._interface(gateway, name) for name in names]
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

    # rows

    def _rows(self, table: str) -> list[Row]:
        return list(self._idl.tables[table].rows.values())

    def _root(self) -> Row:
        rows = self._rows("Open_vSwitch")
        if not rows:
            raise GatewayNotReady(
                f"the database at {self.remote} is not initialised (ovs-vsctl --no-wait init)"
            )
        return rows[0]

    def _find(self, table: str, name: str) -> Row:
        return next((row for row in self._rows(table) if row.name == name), None)

    def _interface(self, gateway: Gateway, name: str) -> Row:
        """The interface of that name on the gateway's bridge, if it is ours."""
        bridge = self._find("Bridge", gateway.bridge)
        for port in bridge.ports if bridge is not None else ():
            for interface in port.interfaces:
                if interface.name == name and interface.external_ids.get(TAG) == gateway.name:
                    return interface
        return None

    # the connection

    def _connect(self) -> None:
        """Bring the connection and the copy of the database up to date, within CONNECT_S."""
        if self._idl is not None:
            self._run()
            if self.connected:
                self._look()
                return
            self.close()
        deadline = time.monotonic() + CONNECT_S
        helper = SchemaHelper(schema_json=_schema(self.remote, deadline))
        for table, columns in COLUMNS.items():
            helper.register_columns(table, columns)
        self._idl = Idl(self.remote, helper)
        while True:
            self._run()
            if self._idl.has_ever_connected():
                break
            if not _block(self._idl.wait, deadline):
                self.close()
                raise GatewayNotReady(f"ovsdb-server at {self.remote} does not answer")
        if self._lock is not None:
            # not before: the answer would pass for the database's content
            self._idl.set_lock(self._lock)
        self._look()

    def _stand_back(self, gateway: Gateway) -> None:
        """Raise unless this controller is the bridge's one and only.

        The lock decides. When ovsdb-server was restarted whoever comes first gets it, so that the
        one whom the switch is connected to must be left alone besides.
        """
        self._await_lock(gateway)
        bridge = self._own_bridge(gateway)
        for other in bridge.controller if bridge is not None else ():
            ours = other.external_ids.get(TAG) == gateway.name
            elsewhere = other.target not in _spellings(gateway)
            if ours and other.is_connected and elsewhere:
                raise GatewayNotReady(
                    f"another controller looks after bridge {gateway.bridge} (it is connected at "
                    f"{other.target}): this one stands back"
                )

    def _await_lock(self, gateway: Gateway) -> None:
        deadline = time.monotonic() + CONNECT_S
        while self._lock is not None and not self._idl.has_lock:
            if self._idl.is_lock_contended or not _block(self._idl.wait, deadline):
                raise GatewayNotReady(
                    f"another controller looks after bridge {gateway.bridge} (it holds the OVSDB "
                    f"lock {self._lock}): this one stands back"
                )
            self._run()

    def _run(self) -> None:
        """Take in what has arrived, all of it (the IDL stops after 50 messages)."""
        before = None
        while before != (before := self._idl.change_seqno):
            self._idl.run()

    def _state(self) -> tuple[object, ...]:
        return self.connected, self._idl.change_seqno

    def _look(self) -> None:
        self._seen = self._state()

    def _transact(self, gateway: Gateway, describe: Callable[[_Edit], None]) -> bool:
        """Commit what `describe` writes, in one transaction; False if it wrote nothing."""
        deadline = time.monotonic() + COMMIT_S
        while True:
            idl = self._idl
            before = idl.change_seqno
            txn = Transaction(idl)
            edit = _Edit(txn, idl)
            try:
                describe(edit)
                if not edit.changed:
                    return False
                txn.add_comment(f"ofgtp: gateway {gateway.name}")
                self._root().increment("next_cfg")
                status = self._commit(txn, deadline)
            finally:
                if idl.txn is txn:
                    txn.abort()
            if status == Transaction.SUCCESS:
                self._look()
                return True
            if status != Transaction.TRY_AGAIN:
                raise GatewayNotReady(f"ovsdb-server refused the change: {txn.get_error()}")
            while idl.change_seqno == before:
                self._pause(deadline)

    def _commit(self, txn: Any, deadline: float) -> str:
        while (status := txn.commit()) == Transaction.INCOMPLETE:
            self._pause(deadline)
        return str(status)

    def _pause(self, deadline: float) -> None:
        """Let the connection do its work; raise when it is gone or the time is up."""
        on_time = _block(self._idl.wait, deadline)
        self._idl.run()
        if not on_time or not self.connected:
            self.close()
            raise GatewayNotReady(f"ovsdb-server at {self.remote} did not answer a transaction")


class _Edit:
    """Writes to one transaction, and only what differs from what is there."""

    def __init__(self, txn: Any, idl: Any) -> None:
        self._txn, self._idl = txn, idl
        self._new: list[Row] = []
        self.changed = False

    def insert(self, table: str, **columns: object) -> Row:
        row = self._txn.insert(self._idl.tables[table])
        self._new.append(row)
        for column, value in columns.items():
            setattr(row, column, value)
        self.changed = True
        return row

    def get(self, row: Row, column: str, default: Any) -> Any:
        """A column's value; the default in a row that this transaction makes."""
        return default if row in self._new else getattr(row, column)

    def set(self, row: Row, **columns: object) -> None:
        """Set columns; a value stands for an optional column's one element."""
        for column, value in columns.items():
            present = self.get(row, column, None)
            if present != value and present != [value]:
                setattr(row, column, value)
                self.changed = True

    def merge(self, row: Row, column: str, entries: dict[str, str]) -> None:
        """Set entries of a map, leaving its others."""
        if row in self._new:
            setattr(row, column, entries)
            return
        present = getattr(row, column)
        for key, value in entries.items():
            if present.get(key) != value:
                row.setkey(column, key, value)
                self.changed = True

    def drop(self, row: Row, column: str, key: str) -> None:
        """Take an entry out of a map."""
        if key in getattr(row, column):
            row.delkey(column, key)
            self.changed = True

    def add(self, row: Row, column: str, child: Row) -> None:
        """Put a child in a set, whatever else others put there meanwhile."""
        if row in self._new:
            setattr(row, column, [*getattr(row, column, []), child])
        else:
            row.addvalue(column, child)
        self.changed = True

    def discard(self, row: Row, column: str, child: Row) -> None:
        """Take a child out of a set; the database deletes rows that nothing refers to."""
        row.delvalue(column, child)
        self.changed = True


_OWED = f"ovs-vswitchd did not take the configuration within {COMMIT_S:.0f} s: is it up?"


def _describe_tables(edit: _Edit, bridge: Row, gateway: Gateway) -> None:
    """Have the switch tell IPv6 prefixes apart by their leading bits, where there are any."""
    present = edit.get(bridge, "flow_tables", {})
    tables = {
        number: row
        for number, row in present.items()
        if row.external_ids.get(TAG) != gateway.name or (gateway.ue_pools6 and number in PREFIXES)
    }
    for number, prefixes in PREFIXES.items() if gateway.ue_pools6 else ():
        if number not in tables:
            tag = {TAG: gateway.name}
            tables[number] = edit.insert("Flow_Table", prefixes=prefixes, external_ids=tag)
        elif tables[number].external_ids.get(TAG) == gateway.name:
            edit.set(tables[number], prefixes=prefixes)
    if tables != present:
        edit.set(bridge, flow_tables=tables)


def cores_of(mask: str) -> list[int]:
    """The cores of a mask, as `pmd-cpu-mask` has it; none of what is no number."""
    try:
        bits = int(mask, 16)
    except ValueError:
        return []
    return [core for core in range(bits.bit_length()) if bits >> core & 1]


def _told_of(gateway: Gateway, ports: Mapping[str, Row]) -> dict[str, dict[str, str]]:
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


def _ofports(gateway: Gateway) -> Iterator[tuple[str, int]]:
    """The ports by which the bridge has the host's interfaces, and the numbers that they are to
    have."""
    sides = [("access", ACCESS_OFPORT, gateway.access_ends)]
    if not gateway.host_core:
        sides.append(("core", CORE_OFPORT, gateway.core_ends))
    for side, first, ends in sides:
        for number, end in enumerate(ends):
            yield end, MORE_OFPORTS[side] + number if number else first


def _spellings(gateway: Gateway) -> tuple[str, str]:
    """The controller's address as two texts, of which each process takes the other one.

    Open vSwitch tries a controller that went away again after a second at the earliest, and a new
    one at once; it is a new one if its target is another text. To take it off and add it again
    would not do: a bridge that loses its last controller deletes all flows.
    """
    host, port = gateway.openflow.rsplit(":", 1)
    return gateway.openflow, f"{host}:0{port}"


def _identifier(text: str) -> str:
    """An <id> of RFC 7047 (3.1), different for each text: letters, digits, underscores."""
    return re.sub(r"[^A-Za-z0-9]", lambda found: f"_{ord(found[0]):x}_", text)


def _block(wait: Callable[[Any], None], deadline: float) -> bool:
    """Yield until what `wait` waits for; False when the deadline has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    poller = Poller()
    poller.timer_wait(max(1, int(left * 1000)))
    wait(poller)
    poller.block()
    return True


def _schema(remote: str, deadline: float) -> Any:
    """Ask ovsdb-server for its schema: the IDL needs it, and it may be of another version."""
    left_ms = max(0, int((deadline - time.monotonic()) * 1000))
    error, connection = stream.Stream.open_block(stream.Stream.open(remote), left_ms)
    if error:
        raise GatewayNotReady(f"no ovsdb-server at {remote}: is openvswitch running?")
    rpc = jsonrpc.Connection(connection)
    try:
        request = jsonrpc.Message.create_request("get_schema", ["Open_vSwitch"])
        rpc.send(request)
        while True:
            rpc.run()
            error, message = rpc.recv()
            if message is not None and message.id == request.id:
                if message.type == jsonrpc.Message.T_ERROR:
                    raise GatewayNotReady(f"{remote} has no Open_vSwitch database")
                return message.result
            if rpc.get_status():
                raise GatewayNotReady(f"ovsdb-server at {remote} closed the connection")

            def ready(poller: Any) -> None:
                rpc.wait(poller)
                rpc.recv_wait(poller)

            if not _block(ready, deadline):
                raise GatewayNotReady(f"ovsdb-server at {remote} does not answer")
    finally:
        rpc.close()
